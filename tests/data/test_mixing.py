"""Rates and epochs of mixtures over stores; order at the scale of mC4."""

import collections

import memory_source
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence_t5x.data.documents import Document
from presence_t5x.data.mixing import RowGroup, make_groups
from presence_t5x.data.rows import RowOrder
from presence_t5x.data.running_totals import RunningTotals
from presence_t5x.tasks.mc4 import NUM_TRAIN_PAGES


def encode(text):
    return [int(word) for word in text.split()]


def make_store(directory, sizes, *, task="t", rate=1.0, source="web"):
    """`sizes` documents of each language, in turn, two tokens each."""
    documents = [
        Document("5 6", f"{task}-{language}{number}", language, f"{source}-{language}")
        for language, size in sizes.items()
        for number in range(size)
    ]
    return memory_source.make_store(directory, [(task, rate, documents)], encode)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    root = tmp_path_factory.mktemp("stores")
    return [
        make_store(root / "a", {"en": 400, "sw": 100}, task="a", rate=2.0),
        make_store(root / "b", {"sw": 60, "zh": 40}, task="b", rate=1.0, source="book"),
    ]


def rates(groups):
    """Shares by name."""
    shares = collections.Counter()
    for group in groups:
        shares[group.name] += group.rate
    return {name: rate / sum(shares.values()) for name, rate in shares.items()}


def test_tasks_keep_the_recorded_rates(stores):
    assert rates(make_groups(stores, "train")) == pytest.approx({"a": 2 / 3, "b": 1 / 3})


def test_languages_without_exponent_are_drawn_as_they_come(stores):
    found = rates(make_groups(stores, "train", mix_by="language"))
    assert found == pytest.approx({"en": 400 / 600, "sw": 160 / 600, "zh": 40 / 600})


def test_exponent_flattens(stores):
    weights = {"en": 400**0.3, "sw": 160**0.3, "zh": 40**0.3}
    expected = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    found = make_groups(stores, "train", mix_by="language", exponent=0.3)
    assert rates(found) == pytest.approx(expected)
    parts = [group for group in found if group.name == "sw"]
    assert [len(group.documents) for group in parts] == [100, 60]
    assert parts[0].rate / parts[1].rate == pytest.approx(100 / 60)
    tasks = rates(make_groups(stores, "train", exponent=1.0))  # instead of the recorded rates
    assert tasks == pytest.approx({"a": 500 / 600, "b": 100 / 600})
    equal = rates(make_groups(stores, "train", mix_by="language", exponent=0.0))
    assert equal == pytest.approx(dict.fromkeys(("en", "sw", "zh"), 1 / 3))


def test_given_rates_and_sources(stores):
    given_rates = {"web-en": 1.0, "web-sw": 0.0, "book-sw": 3.0, "book-zh": 0.0}
    groups = make_groups(stores, "train", mix_by="source", rates=given_rates)
    assert rates(groups) == pytest.approx({"web-en": 0.25, "book-sw": 0.75})
    with pytest.raises(ValueError, match=r"names the language 'ws', which .* did you mean 'sw'"):
        make_groups(stores, "train", mix_by="language", rates={"ws": 1.0})
    with pytest.raises(ValueError, match=r"no rate for the language \['en', 'zh'\]; give"):
        make_groups(stores, "train", mix_by="language", rates={"sw": 1.0})
    with pytest.raises(ValueError, match="must hold a rate above 0"):
        make_groups(stores, "train", rates={"a": 0.0, "b": 0})
    with pytest.raises(ValueError, match=r"split 'test' has no document in .*a, .*b"):
        make_groups(stores, "test")


def synthetic_groups(rates):
    """Groups that are not on any disk: every language has 1000 documents of two tokens."""
    counts = np.full(1000, 2, np.int32)
    store = collections.namedtuple("Store", "token_counts directory")(counts, "none")
    return [RowGroup(name, rate, store, range(1000)) for name, rate in rates.items()]


def test_rates_of_mt5_over_100_000_draws():
    exponents = {language: pages**0.3 for language, pages in NUM_TRAIN_PAGES.items()}
    order = RowOrder(synthetic_groups(exponents), 10, pack=False, seed=3)
    draws = collections.Counter(order.row(index).group for index in range(100_000))
    total = sum(exponents.values())
    for number, rate in enumerate(exponents.values()):
        expected = 100_000 * rate / total
        # Within 1 %; the rarest language has 200 draws, of which no part can be drawn.
        assert abs(draws[number] - expected) <= max(0.01 * expected, 1)
    epochs = order.epochs_at(100_000)
    assert epochs == [draws[number] / 1000 for number in range(len(exponents))]


def test_epochs_of_every_prefix():
    order = RowOrder(synthetic_groups({"a": 3.0, "b": 1.0}), 10, pack=False, seed=0)
    drawn = [0, 0]
    for index in range(1500):
        assert order.epochs_at(index) == [count / 1000 for count in drawn]
        drawn[order.row(index).group] += 1


def test_the_order_of_an_epoch_is_a_permutation_and_differs():
    order = RowOrder(synthetic_groups({"a": 1.0}), 10, pack=False, seed=7)
    epochs = [
        [order.row(index).pieces[0].document for index in range(start, start + 1000)]
        for start in (0, 1000)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(1000))
    assert epochs[0] != epochs[1]
    for order_of_epoch in epochs:  # global: places are uniform over the epoch
        places = np.argsort(order_of_epoch)
        assert abs(np.corrcoef(places, np.arange(1000))[0, 1]) < 4 / np.sqrt(1000)
        # Neighbours end up a third of the epoch apart on average, as for random places.
        assert 0.28 < np.abs(np.diff(places)).mean() / 1000 < 0.39


class HugeCounts:
    """Token counts of 300 million documents, made when they are asked for."""

    size = 300_000_000

    def __getitem__(self, items):
        if isinstance(items, slice):
            return np.full(items.stop - items.start, 7, np.int32)
        return np.int32(7)


def test_an_order_of_300_million_documents(monkeypatch):
    # Fewer, larger blocks: their totals are made in Python here.
    monkeypatch.setattr("presence_t5x.data.running_totals._ITEMS_PER_BLOCK", 1 << 22)
    store = collections.namedtuple("Store", "token_counts directory")(HugeCounts(), "none")
    group = RowGroup("en", 1.0, store, range(HugeCounts.size))
    order = RowOrder([group], 10, pack=False, seed=0)
    assert order.rows_per_epoch == [HugeCounts.size]
    documents = [order.row(index).pieces[0].document for index in range(20)]
    assert len(set(documents)) == 20 and max(documents) > HugeCounts.size / 2


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 7))
def test_running_totals_find_every_position(counts, block):
    original = RunningTotals.__init__.__globals__
    before, original["_ITEMS_PER_BLOCK"] = original["_ITEMS_PER_BLOCK"], block
    try:
        array = np.array(counts)
        totals = RunningTotals(len(counts), lambda start, stop: array[start:stop])
        expected = [
            (item, sum(counts[:item])) for item, count in enumerate(counts) for _ in range(count)
        ]
        assert totals.total == len(expected)
        assert [totals.find(position) for position in range(totals.total)] == expected
    finally:
        original["_ITEMS_PER_BLOCK"] = before
