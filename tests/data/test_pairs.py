"""Stores and batches of pairs: what is written, trimmed, packed, mixed, and read again."""

import collections
import dataclasses
import itertools
import types

import memory_source
import numpy as np
import pytest

from presence_t5x.config_types import DataConfig
from presence_t5x.data.batches import PreparedBatches
from presence_t5x.data.documents import Document
from presence_t5x.data.evaluation import make_batches, sample_rows
from presence_t5x.data.mixing import make_groups
from presence_t5x.data.row_features import RowFeatures
from presence_t5x.data.token_store import open_store

EOS = 1
VOCABULARY = types.SimpleNamespace(vocab_size=5000, eos_id=EOS, extra_ids=100)
LENGTHS = {"inputs": 12, "targets": 5}
CONFIG = DataConfig(mixture_or_task_name="t", task_feature_lengths=LENGTHS, batch_size=8, seed=3)
# Text needs longer targets.
MIXED = dataclasses.replace(CONFIG, task_feature_lengths={"inputs": 32, "targets": 8})


def encode(text):
    return [*map(int, text.split())]


def make_pairs(name, number, first=10):
    """Pairs of unequal lengths, some longer than a row; every token occurs once."""
    pairs = []
    for i in range(number):
        sizes = 1 + i * 7 % 15, 1 + i * 5 % 6
        ends = np.cumsum((first, *sizes)).tolist()
        texts = [" ".join(map(str, range(a, b))) for a, b in itertools.pairwise(ends)]
        language = "sw" if i % 3 else "ro"
        pairs.append(Document(texts[1], f"{name}{i}", language, "web", "", inputs=texts[0]))
        first = ends[-1]
    return pairs


def make_text(name, number, first=3000):
    texts = [" ".join(map(str, range(first + 40 * i, first + 40 * i + 34))) for i in range(number)]
    return [Document(text, f"{name}{i}", "sw") for i, text in enumerate(texts)]


PAIRS = make_pairs("p", 37)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pairs") / "s"
    return memory_source.make_store(directory, [("t", 1.0, PAIRS)], encode)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    groups = [("pairs", 1.0, PAIRS), ("text", 3.0, make_text("d", 20))]
    return memory_source.make_store(tmp_path_factory.mktemp("mixed") / "s", groups, encode)


def open_batches(store, config, **processes):
    return PreparedBatches(make_groups([store], "train"), config, VOCABULARY, **processes)


def trimmed(text, length):
    return [*encode(text)[: length - 1], EOS]


EXPECTED = {
    found.id: tuple(
        trimmed(text, LENGTHS[name])
        for text, name in ((found.inputs, "inputs"), (found.text, "targets"))
    )
    for found in PAIRS
}


def test_pairs_are_read_back(store):
    assert store.num_pairs == len(store) == 37
    for document, found in zip(PAIRS, store):
        inputs, targets = found.pair
        assert inputs.tolist() == encode(document.inputs)
        assert targets.tolist() == encode(document.text)
        assert found.labels == (document.id, document.language, "web", "")
    assert store.input_counts.tolist() == [len(encode(found.inputs)) for found in PAIRS]
    assert store.manifest["num_tokens"] == sum(store.token_counts)
    store.verify()


def test_text_alone_has_no_index_of_pairs(tmp_path):
    store = memory_source.make_store(tmp_path / "s", [("t", 1.0, make_text("d", 3))], encode)
    assert store.num_pairs == 0 and store.input_counts is None
    assert not (tmp_path / "s" / "input_counts.npy").exists()
    assert all(found.num_inputs == 0 for found in store)
    # The manifest of a store that was written before there were pairs.
    path = tmp_path / "s" / "manifest.json"
    path.write_text(path.read_text().replace(' "num_pairs": 0,\n', ""))
    assert open_store(tmp_path / "s").num_pairs == 0


@pytest.mark.parametrize(
    ("inputs", "text", "named"), [("<>", "5", "inputs' text"), ("5", "<>", "the text")]
)
def test_a_pair_without_tokens_on_a_side_is_reported(inputs, text, named, tmp_path):
    broken = Document(text, "x", inputs=inputs)
    documents = [*PAIRS[:2], broken]
    store = memory_source.make_store(
        tmp_path / "s",
        [("t", 1.0, documents)],
        lambda found: [] if found == "<>" else encode(found),
    )
    assert len(store) == 2 and store.manifest["problems"] == {"no_token": 1}
    problem = (tmp_path / "s" / "problems.jsonl").read_text()
    assert f"{named} has no token" in problem and '"line": 3' in problem


def test_rows_are_trimmed_pairs_with_eos(store):
    batches = open_batches(store, CONFIG)
    (num_rows,) = batches.rows_per_epoch
    assert num_rows == 37
    seen = collections.Counter()
    for step in range(num_rows):  # 8 epochs
        batch = batches.batch_at(step)
        features = batch.features
        assert {name: a.dtype for name, a in features.items()} == {
            "encoder_input_tokens": np.int32,
            "decoder_target_tokens": np.int32,
            "decoder_input_tokens": np.int32,
            "decoder_loss_weights": np.float32,
        }
        for row, name in enumerate(batch.example_ids):
            inputs, targets = EXPECTED[name]
            pad = [0] * (12 - len(inputs)), [0] * (5 - len(targets))
            assert features["encoder_input_tokens"][row].tolist() == inputs + pad[0]
            assert features["decoder_target_tokens"][row].tolist() == targets + pad[1]
            assert features["decoder_input_tokens"][row].tolist() == [0, *(targets + pad[1])[:-1]]
            weights = [1.0] * len(targets) + [0.0] * len(pad[1])
            assert features["decoder_loss_weights"][row].tolist() == weights
            seen[name] += 1
    assert set(seen.values()) == {8} and len(seen) == 37


def test_what_is_cut_is_counted(store):
    (found,) = open_batches(store, CONFIG).trimmed()
    assert found == {
        "group": "t",
        "pairs": 37,
        "inputs": sum(len(encode(d.inputs)) > 11 for d in PAIRS),
        "targets": sum(len(encode(d.text)) > 4 for d in PAIRS),
    }
    assert found["inputs"] > 3 and found["targets"] > 3


def examples_of(features, row):
    """(inputs, targets) of every segment of a packed row, from the features alone."""
    encoder, decoder = features["encoder_segment_ids"][row], features["decoder_segment_ids"][row]
    assert set(encoder) == set(decoder) or 0 in set(encoder) ^ set(decoder)
    found = []
    for segment in range(1, encoder.max() + 1):
        inputs = features["encoder_input_tokens"][row][encoder == segment]
        targets = features["decoder_target_tokens"][row][decoder == segment]
        shifted = features["decoder_input_tokens"][row][decoder == segment]
        assert shifted.tolist() == [0, *targets[:-1]]
        for side, size in (("encoder", inputs.size), ("decoder", targets.size)):
            ids = features[f"{side}_segment_ids"][row]
            positions = features[f"{side}_positions"][row][ids == segment]
            assert positions.tolist() == [*range(size)]
        found.append((inputs.tolist(), targets.tolist()))
    return found


def test_packed_rows_hold_every_pair_once_an_epoch(store):
    config = dataclasses.replace(
        CONFIG, pack=True, task_feature_lengths={"inputs": 24, "targets": 10}
    )
    expected = {found.id: (trimmed(found.inputs, 24), trimmed(found.text, 10)) for found in PAIRS}
    batches = open_batches(store, config)
    (num_rows,) = batches.rows_per_epoch
    assert num_rows < 37
    seen = collections.Counter()
    for step in range(num_rows):
        batch = batches.batch_at(step)
        for row, names in enumerate(batch.example_ids):
            names = names.split("|")
            assert examples_of(batch.features, row) == [expected[name] for name in names]
            seen.update(names)
            languages = {found.language for found in PAIRS if found.id in names}
            label = languages.pop() if len(languages) == 1 else "mixed"
            assert batch.languages[row] == label
            weights = batch.features["decoder_loss_weights"][row]
            assert np.array_equal(weights, batch.features["decoder_segment_ids"][row] > 0)
    assert set(seen.values()) == {8} and len(seen) == 37
    other = open_batches(store, dataclasses.replace(config, seed=4))
    rows = [
        {name for step in range(6) for name in reader.batch_at(step).example_ids}
        for reader in (batches, other)
    ]
    assert len(rows[0] & rows[1]) < len(rows[0]) / 2  # other pairs stand together


def assert_equal(one, two):
    assert one[1:] == two[1:] and one.features.keys() == two.features.keys()
    assert all(np.array_equal(array, two.features[name]) for name, array in one.features.items())


@pytest.mark.parametrize("pack", [False, True])
def test_batches_are_a_function_of_seed_and_step(store, pack):
    config = dataclasses.replace(CONFIG, pack=pack)
    whole = open_batches(store, config)
    for step, batch in zip(range(7), open_batches(store, config).iterate()):
        assert_equal(batch, whole.batch_at(step))
    reader = open_batches(store, config)
    iterator = reader.iterate()
    for _ in range(3):
        next(iterator)
    resumed = open_batches(store, config)
    resumed.set_state(reader.get_state())
    assert_equal(next(resumed.iterate()), whole.batch_at(3))
    halves = [
        open_batches(store, config, process_index=i, process_count=2).batch_at(5) for i in (0, 1)
    ]
    joined = [name for half in halves for name in half.example_ids]
    assert joined == whole.batch_at(5).example_ids
    for name, array in whole.batch_at(5).features.items():
        assert np.array_equal(np.concatenate([half.features[name] for half in halves]), array)


def restored(features, row):
    spans = {}
    for token in features["decoder_target_tokens"][row].tolist():
        if token >= 4900:
            span = spans.setdefault(token, [])
        elif token > EOS:
            span.append(token)
    inputs = features["encoder_input_tokens"][row].tolist()
    return [raw for token in inputs if token > EOS for raw in spans.get(token, [token])]


def test_text_and_pairs_share_a_run_at_their_rates(mixed):
    batches = open_batches(mixed, dataclasses.replace(MIXED, batch_size=32))
    pairs = {found.id: found for found in PAIRS}
    text = {found.id: found for found in make_text("d", 20)}
    counts = collections.Counter()
    for step in range(32):
        batch = batches.batch_at(step)
        for row, name in enumerate(batch.example_ids):
            if name in pairs:
                inputs = batch.features["encoder_input_tokens"][row]
                assert inputs[inputs > 0].tolist() == trimmed(pairs[name].inputs, 32)
            else:
                assert restored(batch.features, row) == encode(text[name].text)
            counts[name in pairs] += 1
    assert counts == {True: 256, False: 768}
    assert [found["group"] for found in batches.trimmed()] == ["pairs"]


def test_packed_text_and_pairs_have_the_same_features(mixed):
    batches = open_batches(mixed, dataclasses.replace(MIXED, pack=True))
    for step in range(6):
        batch = batches.batch_at(step)
        for row, name in enumerate(batch.example_ids):
            if name.startswith("d"):
                assert batch.features["encoder_segment_ids"][row].max() == 1
            else:
                assert len(examples_of(batch.features, row)) == len(name.split("|"))


def test_a_label_of_both_kinds_makes_two_groups(mixed):
    groups = make_groups([mixed], "train", mix_by="language")
    assert [(g.name, g.is_pairs, len(g.documents)) for g in groups] == [
        ("ro", True, 13),
        ("sw", False, 20),
        ("sw", True, 24),
    ]
    assert groups[1].rate / groups[2].rate == pytest.approx(20 / 24)


def test_pairs_need_no_sentinels_and_no_long_targets(store):
    vocabulary = types.SimpleNamespace(vocab_size=5000, eos_id=EOS)
    lengths = {"inputs": 64, "targets": 2}
    config = dataclasses.replace(CONFIG, task_feature_lengths=lengths)
    batch = PreparedBatches(make_groups([store], "train"), config, vocabulary).batch_at(0)
    assert batch.features["decoder_target_tokens"].shape == (8, 2)


def test_held_out_rows_of_pairs(store):
    features = RowFeatures(CONFIG, VOCABULARY, has_text=False, has_pairs=True)
    labels = {"split": "train", "language": "ro"}
    rows = sample_rows([store], features.plan, max_rows=6, labels=labels)
    (batch,) = make_batches(rows, features, 8)
    assert batch.example_ids[6:] == ["", ""] and {*batch.languages[:6]} == {"ro"}
    for row, name in enumerate(batch.example_ids[:6]):
        inputs = batch.features["encoder_input_tokens"][row]
        assert inputs[inputs > 0].tolist() == EXPECTED[name][0]
    assert not batch.features["decoder_loss_weights"][6:].any()
