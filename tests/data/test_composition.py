"""Rows of one kind share a unit; the rows of a batch, hosts and resumption are as ever."""

import collections
import dataclasses
import types

import hypothesis
import memory_source
import numpy as np
import pytest
from hypothesis import strategies as st

from presence_t5x.accumulation import rows_of_units
from presence_t5x.config_types import DataConfig, PresenceConfig
from presence_t5x.data.batches import PreparedBatches
from presence_t5x.data.composition import compose_units
from presence_t5x.data.documents import Document
from presence_t5x.data.mixing import make_groups

VOCABULARY = types.SimpleNamespace(vocab_size=5000, eos_id=1, extra_ids=100)
CONFIG = DataConfig(
    mixture_or_task_name="t", task_feature_lengths={"inputs": 32, "targets": 8}, batch_size=24
)
UNITS = rows_of_units(24, PresenceConfig(num_microbatches=6))
SHARDS = rows_of_units(
    24,
    PresenceConfig(
        num_microbatches=3, granularity="shard", normalizer="ema", accumulator="streaming"
    ),
    num_parts=2,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three languages, five sources that say nothing of the language."""
    rng = np.random.default_rng(0)
    documents = []
    for number in range(150):
        language = ("sw", "ro", "en")[number % 3]
        text = " ".join(map(str, rng.integers(10, 4000, rng.integers(5, 90))))
        documents.append(Document(text, f"d{number}", language, f"s{number % 5}", "clean"))
    tokens = lambda text: [*map(int, text.split())]  # noqa: E731
    return memory_source.make_store(
        tmp_path_factory.mktemp("c") / "s", [("t", 1.0, documents)], tokens
    )


def batches_of(store, composition="language", *, units=UNITS, pack=False, **processes):
    config = dataclasses.replace(CONFIG, microbatch_composition=composition, pack=pack)
    return PreparedBatches(
        make_groups([store], "train"), config, VOCABULARY, units=units, **processes
    )


def as_rows(batch):
    """The rows of a batch with all that belongs to them."""
    columns = [[row.tobytes() for row in array] for array in batch.features.values()]
    return [*zip(*batch[1:], *columns, strict=True)]


def most_pure_units(labels, size):
    """No arrangement has more: a pure unit takes `size` rows of one label."""
    return sum(number // size for number in collections.Counter(labels).values())


@hypothesis.given(st.integers(1, 6), st.integers(1, 8), st.randoms())
def test_as_many_units_as_possible_are_pure(size, num_units, random):
    labels = [random.choice("abcde") for _ in range(size * num_units)]
    places = [*range(len(labels))]
    random.shuffle(places)
    units = np.array(places).reshape(-1, size)
    placed = compose_units(labels, units)
    assert sorted(placed) == sorted(places)
    found = [[labels[placed[place]] for place in unit] for unit in units]
    pure = [unit for unit in found if len(set(unit)) == 1]
    assert len(pure) >= most_pure_units(labels, size)
    for label in set(labels):
        assert sum(label in unit for unit in found if len(set(unit)) > 1) <= 2


@pytest.mark.parametrize("units", [UNITS, SHARDS], ids=["microbatch", "shard"])
@pytest.mark.parametrize("composition", ["language", "source"])
def test_units_are_pure_and_the_batch_is_the_same(store, composition, units):
    random, composed = (batches_of(store, c, units=units) for c in ("random", composition))
    for step in (0, 7):
        found = composed.batch_at(step)
        assert sorted(as_rows(found)) == sorted(as_rows(random.batch_at(step)))
        labels = {"language": found.languages, "source": found.sources}[composition]
        pure = [unit for unit in units if len({labels[place] for place in unit}) == 1]
        assert len(pure) >= most_pure_units(labels, units.shape[1])
    mixed = random.batch_at(0).languages
    assert sum(len({mixed[place] for place in unit}) == 1 for unit in units) < 2


def test_packed_rows_of_several_languages_go_together(store):
    found = batches_of(store, pack=True).batch_at(0)
    assert "mixed" in found.languages
    pure = [unit for unit in UNITS if len({found.languages[place] for place in unit}) == 1]
    assert len(pure) >= most_pure_units(found.languages, 4)


@pytest.mark.parametrize("process_count", [2, 4])
def test_hosts_share_one_composed_batch(store, process_count):
    whole = as_rows(batches_of(store).batch_at(3))
    parts = [
        as_rows(batches_of(store, process_index=index, process_count=process_count).batch_at(3))
        for index in range(process_count)
    ]
    assert whole == [row for part in parts for row in part]


def test_resumed_goes_on_with_the_same_rows(store):
    first = batches_of(store)
    iterator = first.iterate()
    for _ in range(5):
        next(iterator)
    resumed = batches_of(store)
    resumed.set_state(first.get_state())
    assert as_rows(next(resumed.iterate())) == as_rows(next(iterator))
    assert as_rows(batches_of(store).batch_at(5)) == as_rows(resumed.batch_at(5))


def test_what_cannot_be_composed_is_refused(store):
    with pytest.raises(ValueError, match="needs reader='prepared': of a stream no host knows"):
        dataclasses.replace(CONFIG, microbatch_composition="source", reader="streaming")
    with pytest.raises(ValueError, match=r"microbatch_composition='langauge'.*'language'"):
        dataclasses.replace(CONFIG, microbatch_composition="langauge")
    with pytest.raises(ValueError, match="needs units=rows_of_units"):
        batches_of(store, units=None)
