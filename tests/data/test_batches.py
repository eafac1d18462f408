"""Batches as a pure function of (seed, step): order, layouts, hosts, resumption, labels."""

import collections
import dataclasses
import hashlib
import itertools
import types

import memory_source
import numpy as np
import oracles
import pytest

from presence_t5x.config_types import DataConfig
from presence_t5x.data.batches import PreparedBatches
from presence_t5x.data.documents import Document
from presence_t5x.data.evaluation import make_batches, sample_rows
from presence_t5x.data.mixing import make_groups
from presence_t5x.data.row_features import RowFeatures

VOCABULARY = types.SimpleNamespace(vocab_size=5000, eos_id=1, extra_ids=100)
CONFIG = DataConfig(
    mixture_or_task_name="t", task_feature_lengths={"inputs": 32, "targets": 8}, batch_size=8
)
RAW_LENGTH = 34
PACKED = dataclasses.replace(CONFIG, pack=True)


def make_documents(name, num_documents, first_token, rng):
    """Every token occurs once, so that a row tells where its tokens come from."""
    documents = []
    for number in range(num_documents):
        size = int(rng.integers(1, 120))
        text = " ".join(map(str, range(first_token, first_token + size)))
        noise = "permuted" if number % 4 == 0 else "clean"
        documents.append(Document(text, f"{name}{number}", name, f"{name}-web", noise))
        first_token += size
    return documents


def make_store(directory, groups):
    return memory_source.make_store(directory, groups, lambda text: [*map(int, text.split())])


def open_batches(store, config, vocabulary=VOCABULARY, **processes):
    return PreparedBatches(make_groups([store], "train"), config, vocabulary, **processes)


def evaluate(store, config, *, max_rows, seed=0, **labels):
    features = RowFeatures(config, VOCABULARY)
    rows = sample_rows([store], features.plan, max_rows=max_rows, labels=labels, seed=seed)
    return make_batches(rows, features, config.batch_size, seed)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    documents = make_documents("sw", 40, 10, np.random.default_rng(0))
    return make_store(tmp_path_factory.mktemp("one") / "s", [("t", 1.0, documents)])


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    rng = np.random.default_rng(1)
    groups = [
        ("a", 3.0, make_documents("sw", 30, 10, rng)),
        ("b", 1.0, make_documents("ro", 9, 2500, rng)),
    ]
    return make_store(tmp_path_factory.mktemp("two") / "s", groups)


def raw_tokens(features, row):
    """The tokens before corruption, from the features alone."""
    inputs, targets = features["encoder_input_tokens"], features["decoder_target_tokens"]
    return oracles.restore_tokens(inputs[row], targets[row], 4900)


def assert_equal(first, second):
    assert first[1:] == second[1:]
    assert first.features.keys() == second.features.keys()
    for name, array in first.features.items():
        assert array.dtype == second.features[name].dtype
        assert np.array_equal(array, second.features[name]), name


def epoch_rows(batches, epoch):
    """Raw rows of one epoch of a one-task store."""
    (num_rows,) = batches.rows_per_epoch
    rows = []
    for step in range(epoch * num_rows // 8, (epoch + 1) * num_rows // 8 + 1):
        batch = batches.batch_at(step)
        for row in range(8):
            if epoch * num_rows <= step * 8 + row < (epoch + 1) * num_rows:
                rows.append((raw_tokens(batch.features, row), batch.example_ids[row]))
    return rows


def test_shapes_dtypes_and_shift(store):
    features = open_batches(store, CONFIG).batch_at(0).features
    assert {name: (a.shape, str(a.dtype)) for name, a in features.items()} == {
        "encoder_input_tokens": ((8, 32), "int32"),
        "decoder_target_tokens": ((8, 8), "int32"),
        "decoder_input_tokens": ((8, 8), "int32"),
        "decoder_loss_weights": ((8, 8), "float32"),
    }
    targets = features["decoder_target_tokens"]
    assert np.array_equal(features["decoder_input_tokens"][:, 1:], targets[:, :-1])
    assert not features["decoder_input_tokens"][:, 0].any()
    assert np.array_equal(features["decoder_loss_weights"], (targets != 0) * 1.0)
    assert ((targets == 1).sum(axis=1) == 1).all()


def test_one_document_a_row_covers_every_token_once_an_epoch(store):
    batches = open_batches(store, CONFIG)
    for epoch in (0, 1):
        rows = epoch_rows(batches, epoch)
        expected = []
        for document in store:
            tokens = document.tokens.tolist()
            segments = [tokens[i : i + RAW_LENGTH] for i in range(0, len(tokens), RAW_LENGTH)]
            for number, segment in enumerate(segments):
                if len(segment) >= 2:  # a last token alone is dropped
                    name = document.id if number == 0 else f"{document.id}#{number}"
                    expected.append((segment, name))
        assert sorted(rows) == sorted(expected)
    assert epoch_rows(batches, 0) != epoch_rows(batches, 1)


def test_packed_rows_are_full_and_follow_the_documents(store):
    batches = open_batches(store, PACKED)
    assert batches.rows_per_epoch == [(store.num_tokens - RAW_LENGTH + 1) // RAW_LENGTH]
    documents = {document.id: document.tokens.tolist() for document in store}
    ends = {tokens[-1] for tokens in documents.values()}
    starts = {tokens[0] for tokens in documents.values()}
    missing = []
    for epoch in (0, 1):
        rows = epoch_rows(batches, epoch)
        seen = [token for tokens, _ in rows for token in tokens]
        assert len(seen) == len(set(seen)) == len(rows) * RAW_LENGTH
        missing.append({t for tokens in documents.values() for t in tokens} - set(seen))
        for tokens, ids in rows:
            assert len(tokens) == RAW_LENGTH
            for left, right in itertools.pairwise(tokens):
                assert right == left + 1 or (left in ends and right in starts)
            pieces = [documents[name] for name in ids.split("|")]
            assert set(tokens) <= {token for piece in pieces for token in piece}
            assert all(set(tokens) & set(piece) for piece in pieces)
    assert max(map(len, missing)) < 2 * RAW_LENGTH and missing[0] != missing[1]


def test_packed_rows_of_one_long_document_have_masks_of_their_own(tmp_path):
    text = " ".join(map(str, range(10, 10 + 40 * RAW_LENGTH)))
    store = make_store(tmp_path / "s", [("t", 1.0, [Document(text, "long")])])
    inputs = open_batches(store, PACKED).batch_at(0).features["encoder_input_tokens"]
    places = {tuple(np.flatnonzero(row >= 4900).tolist()) for row in inputs}
    assert len(places) > 4  # 8 rows; alike if the document's id alone were the key


@pytest.mark.parametrize("config", [CONFIG, PACKED], ids=["one_document", "packed"])
def test_iterate_equals_batch_at_from_any_step(store, config):
    batches = open_batches(store, config)
    for start in (0, 5):
        iterator = batches.iterate(start)
        for step in range(start, start + 12):
            assert_equal(next(iterator), open_batches(store, config).batch_at(step))
        iterator.close()


def test_state_resumes(store):
    batches = open_batches(store, CONFIG)
    iterator = batches.iterate()
    for _ in range(3):
        next(iterator)
    resumed = open_batches(store, CONFIG)
    resumed.set_state(batches.get_state())
    assert_equal(next(resumed.iterate()), next(iterator))


@pytest.mark.parametrize("process_count", [2, 4])
@pytest.mark.parametrize("config", [CONFIG, PACKED], ids=["one_document", "packed"])
def test_processes_share_one_global_batch(mixture, config, process_count):
    whole = open_batches(mixture, config).batch_at(3)
    parts = [
        open_batches(mixture, config, process_index=index, process_count=process_count).batch_at(3)
        for index in range(process_count)
    ]
    for name, array in whole.features.items():
        assert np.array_equal(array, np.concatenate([part.features[name] for part in parts]))
    for field in range(1, 5):
        assert whole[field] == [label for part in parts for label in part[field]]


@pytest.mark.parametrize(
    "num_steps", [300, pytest.param(10_000, marks=pytest.mark.slow)], ids=["300", "10000"]
)
def test_example_ids_hash_the_same_on_every_number_of_hosts(mixture, num_steps):
    """Batch t is a function of (seed, t): on 1, 2 and 4 hosts, and from a start in the middle."""
    config = dataclasses.replace(CONFIG, batch_size=4)

    def digest(num_hosts, first_step, seed=0):
        hashed = hashlib.sha256()
        hosts = [
            open_batches(
                mixture,
                dataclasses.replace(config, seed=seed),
                process_index=index,
                process_count=num_hosts,
            ).iterate(first_step)
            for index in range(num_hosts)
        ]
        for _ in range(first_step, num_steps):
            ids = [name for host in hosts for name in next(host).example_ids]
            hashed.update("\n".join(ids).encode())
        for host in hosts:
            host.close()
        return hashed.hexdigest()

    whole = digest(1, 0)
    assert whole == digest(2, 0) == digest(4, 0) != digest(1, 0, seed=1)
    middle = num_steps * 2 // 3
    assert digest(1, middle) == digest(4, middle) != whole


def test_seeds_change_order_and_masks_separately_from_batch_size(store):
    def rows(config, num_rows):
        batches = open_batches(store, config)
        features = [
            batches.batch_at(step).features["encoder_input_tokens"]
            for step in range(num_rows // config.batch_size)
        ]
        return np.concatenate(features)

    base = rows(CONFIG, 32)
    assert np.array_equal(base, rows(dataclasses.replace(CONFIG, batch_size=16), 32))
    assert not np.array_equal(base, rows(dataclasses.replace(CONFIG, seed=1), 32))


def test_masks_differ_between_epochs(store):
    batches = open_batches(store, CONFIG)
    (num_rows,) = batches.rows_per_epoch
    inputs = collections.defaultdict(set)
    for step in range(2 * num_rows // 8):
        batch = batches.batch_at(step)
        for row in range(8):
            key = tuple(raw_tokens(batch.features, row))
            inputs[key].add(batch.features["encoder_input_tokens"][row].tobytes())
    full = [masks for key, masks in inputs.items() if len(key) == RAW_LENGTH]
    assert np.mean([len(masks) == 2 for masks in full]) > 0.8


@pytest.mark.parametrize("config", [CONFIG, PACKED], ids=["one_document", "packed"])
def test_mixture_rates_epochs_and_labels(mixture, config):
    batches = open_batches(mixture, dataclasses.replace(config, batch_size=1024))
    ids = collections.Counter()
    for step in range(3):
        batch = batches.batch_at(step)
        counts = collections.Counter(batch.languages)
        assert counts == {"sw": 768, "ro": 256}  # 3 to 1, exact in every block
        assert all(s == f"{lang}-web" for s, lang in zip(batch.sources, batch.languages))
        # No alternation that would line up with microbatches.
        sides = [sum(lang == "ro" for lang in batch.languages[i::8]) for i in range(8)]
        assert min(sides) > 10 and max(sides) < 55
        # 128 expected in either half, standard deviation 7.
        assert 90 < sum(lang == "ro" for lang in batch.languages[:512]) < 166
        ids.update(batch.example_ids)
    # Each task counts its own epochs: its rows come round evenly.
    if not config.pack:
        rare = [count for name, count in ids.items() if name.startswith("ro")]
        assert max(rare) - min(rare) <= 1
        assert {*batch.noise} == {"clean", "permuted"}
    else:
        assert {*batch.noise} == {"clean", "permuted", "mixed"}


def test_evaluation_rows_are_fixed(mixture):
    first = evaluate(mixture, CONFIG, max_rows=20, seed=3)
    for other in (PACKED, dataclasses.replace(CONFIG, seed=9)):
        for one, two in zip(first, evaluate(mixture, other, max_rows=20, seed=3)):
            assert_equal(one, two)
    changed = evaluate(mixture, CONFIG, max_rows=20, seed=4)
    assert first[0].example_ids != changed[0].example_ids
    assert [len(batch.example_ids) for batch in first] == [8, 8, 8]
    names = [name for batch in first for name in batch.example_ids]
    assert len(set(names[:20])) == 20 and names[20:] == [""] * 4
    assert not any(array[4:].any() for array in first[2].features.values())
    tokens = {document.id: document.tokens.tolist() for document in mixture}
    for batch in first:
        for row, name in enumerate(batch.example_ids):
            assert raw_tokens(batch.features, row) == (tokens[name][:RAW_LENGTH] if name else [])


def test_evaluation_noise_depends_on_the_id_alone(store, tmp_path):
    document = next(d for d in store if len(d.tokens) > RAW_LENGTH)
    text = " ".join(map(str, document.tokens))
    alone = make_store(tmp_path / "s", [("other", 1.0, [Document(text, document.id, "x")])])
    (small,) = evaluate(alone, CONFIG, max_rows=1)
    for batch in evaluate(store, CONFIG, max_rows=99):
        for row, name in enumerate(batch.example_ids):
            if name == document.id:
                found = batch.features["encoder_input_tokens"][row]
                assert np.array_equal(found, small.features["encoder_input_tokens"][0])
                return
    raise AssertionError("row not found")


def test_evaluation_selection(mixture):
    labels = {"language": "ro", "noise": "permuted"}
    (batch,) = evaluate(mixture, CONFIG, max_rows=8, **labels)
    assert {*batch.languages} <= {"ro", ""} and {*batch.noise} <= {"permuted", ""}
    assert evaluate(mixture, CONFIG, max_rows=8, language="xx") == []


def test_errors(store, tmp_path):
    with pytest.raises(ValueError, match="process_count=3 must divide batch_size=8"):
        open_batches(store, CONFIG, process_count=3)
    with pytest.raises(ValueError, match="process_index=2 must be less than process_count=2;"):
        open_batches(store, CONFIG, process_index=2, process_count=2)
    long = dataclasses.replace(CONFIG, task_feature_lengths={"inputs": 32, "targets": 7})
    with pytest.raises(ValueError, match="need targets >= 8"):
        open_batches(store, long)
    tiny = make_store(tmp_path / "s", [("t", 1.0, [Document("5 6 7", "d")])])
    with pytest.raises(ValueError, match=r"'t' has 3 tokens in 1 documents.*or set pack=False"):
        open_batches(tiny, PACKED)
    with pytest.raises(ValueError, match="has no sentinels"):
        no_sentinels = types.SimpleNamespace(vocab_size=10, eos_id=1)
        open_batches(tiny, CONFIG, no_sentinels)
