"""Rows of masked tokens, next tokens, prefixes and labels: cut, packed, seeded, read both ways."""

import dataclasses
import functools
import types

import memory_source
import numpy as np
import pytest
import seqio
import tensorflow as tf

from presence_t5x import tasks
from presence_t5x.config_types import (
    DataConfig,
    DecoderOnlyConfig,
    EncoderOnlyConfig,
    OptimizerConfig,
    PresenceConfig,
    RunConfig,
    T5Config,
    TemperatureConfig,
)
from presence_t5x.config_types.weighting import FIRST_BLOCKS
from presence_t5x.data.batches import PreparedBatches
from presence_t5x.data.documents import Document
from presence_t5x.data.evaluation import make_batches, plant_permuted_words, sample_rows
from presence_t5x.data.mixing import make_groups
from presence_t5x.data.raw_rows import TextRow
from presence_t5x.data.row_features import RowFeatures
from presence_t5x.data.sources import open_batches
from presence_t5x.data.streaming import StreamingBatches
from presence_t5x.data.vocabularies import load_vocabulary
from presence_t5x.objective import abstract_batch
from presence_t5x.scoring.corpus import Corpus

MASK, BEGIN, EOS = 4999, 4998, 1


def shapes_of(features):
    return {name: (found.shape, str(found.dtype)) for name, found in features.items()}


def compiled_shapes(config):
    """What a step is compiled for."""
    models = {
        "span_corruption": T5Config(vocab_size=5000),
        "masked_tokens": EncoderOnlyConfig(vocab_size=5000),
        "classification": EncoderOnlyConfig(vocab_size=5000, num_classes=3),
    }
    model = models.get(config.objective) or DecoderOnlyConfig(vocab_size=5000)
    run = RunConfig(
        model_dir="none",
        train_steps=1,
        model=model,
        data=config,
        optimizer=OptimizerConfig(),
        presence=PresenceConfig(num_microbatches=1, layers=(FIRST_BLOCKS,)),
        temperature=TemperatureConfig(),
    )
    return shapes_of(abstract_batch(run, None))


def encode(text):
    return [*map(int, text.split())]


def decode(ids):
    return " ".join(map(str, ids))


VOCABULARY = types.SimpleNamespace(
    vocab_size=5000, eos_id=EOS, extra_ids=100, encode=encode, decode=decode
)
LENGTH = 16
NEXT_TOKEN = DataConfig(
    mixture_or_task_name="t",
    task_feature_lengths={"targets": LENGTH},
    objective="next_token",
    batch_size=4,
    seed=3,
)
MASKED = dataclasses.replace(
    NEXT_TOKEN, objective="masked_tokens", task_feature_lengths={"inputs": LENGTH}
)
PREFIX = dataclasses.replace(
    NEXT_TOKEN, objective="prefix", task_feature_lengths={"inputs": 12, "targets": 5}
)
LABELLED = dataclasses.replace(
    MASKED, objective="classification", label_names=("20 21", "22", "23")
)


def packed(config):
    return dataclasses.replace(config, pack=True)


def make_text(name, number, rng, first=30):
    """Every token occurs once, so that a row tells where its tokens come from."""
    documents = []
    for i in range(number):
        size = int(rng.integers(1, 60))
        text = " ".join(map(str, range(first, first + size)))
        documents.append(Document(text, f"{name}{i}", name, "web", "clean" if i % 3 else "bad"))
        first += size
    return documents


TEXT = make_text("sw", 30, np.random.default_rng(0))
PAIRS = [
    Document(
        LABELLED.label_names[i % 3],
        f"p{i}",
        "sw",
        inputs=" ".join(map(str, range(30 + 20 * i, 30 + 20 * i + 1 + i * 7 % 15))),
    )
    for i in range(23)
]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    return {
        kind: memory_source.make_store(folder / kind, [("t", 1.0, documents)], encode)
        for kind, documents in (("text", TEXT), ("pairs", PAIRS))
    }


CASES = {
    "next_token": ("text", NEXT_TOKEN),
    "next_token packed": ("text", packed(NEXT_TOKEN)),
    "masked_tokens": ("text", MASKED),
    "masked_tokens packed": ("text", packed(MASKED)),
    "prefix": ("pairs", PREFIX),
    "prefix packed": ("pairs", packed(PREFIX)),
    "classification": ("pairs", LABELLED),
}
EVERY_CASE = pytest.mark.parametrize(("kind", "config"), CASES.values(), ids=CASES)


def open_store(store, config, **settings):
    return PreparedBatches(make_groups([store], "train"), config, VOCABULARY, **settings)


def epoch_of(store, config, epoch=0):
    """(features of the row, id) of every row of an epoch."""
    batches = open_store(store, dataclasses.replace(config, batch_size=1))
    (number,) = batches.rows_per_epoch
    found = [batches.batch_at(step) for step in range(epoch * number, (epoch + 1) * number)]
    return [({k: v[0] for k, v in batch.features.items()}, *batch.example_ids) for batch in found]


def assert_equal(one, two):
    assert one[1:] == two[1:] and one.features.keys() == two.features.keys()
    for name, array in one.features.items():
        assert array.dtype == two.features[name].dtype
        assert np.array_equal(array, two.features[name]), name


@EVERY_CASE
def test_batches_are_a_function_of_seed_and_step(stores, kind, config):
    whole = open_store(stores[kind], config)
    reader = open_store(stores[kind], config)
    iterator = reader.iterate()
    for step in range(5):
        assert_equal(next(iterator), whole.batch_at(step))
    iterator.close()
    resumed = open_store(stores[kind], config)
    resumed.set_state(reader.get_state())
    assert_equal(next(resumed.iterate()), whole.batch_at(5))
    for count in (2, 4):
        parts = [
            open_store(stores[kind], config, process_index=i, process_count=count).batch_at(7)
            for i in range(count)
        ]
        for name, array in whole.batch_at(7).features.items():
            joined = np.concatenate([part.features[name] for part in parts])
            assert np.array_equal(joined, array)
        ids = [name for part in parts for name in part.example_ids]
        assert ids == whole.batch_at(7).example_ids
    other = open_store(stores[kind], dataclasses.replace(config, seed=4))
    assert other.batch_at(0).example_ids != whole.batch_at(0).example_ids


@EVERY_CASE
def test_no_row_has_more_targets_than_are_told(stores, kind, config):
    """The loss forms no other logits; some row of masked tokens has as many."""
    most = config.most_targets
    if most is None:
        assert config.pack or config.objective in ("next_token", "classification")
        return
    (name,) = (n for n in open_store(stores[kind], config).batch_at(0).features if "weights" in n)
    counts = [row[name].sum() for row, _ in epoch_of(stores[kind], config)]
    assert max(counts) == most or (config.objective == "prefix" and max(counts) < most)


@EVERY_CASE
def test_features_have_the_shapes_that_are_told_of_them(stores, kind, config):
    features = open_store(stores[kind], config).batch_at(0).features
    assert shapes_of(features) == compiled_shapes(config)


def segments_of(row, side):
    """The positions of every segment of a packed row."""
    ids = row[f"{side}_segment_ids"]
    assert not row[f"{side}_positions"][ids == 0].any()
    return [np.flatnonzero(ids == number) for number in range(1, ids.max() + 1)]


def framed_documents(begin=()):
    return {found.id: [*begin, *encode(found.text), EOS] for found in TEXT}


def test_next_token_cuts_documents_that_end_in_eos(stores):
    expected = []
    for name, tokens in framed_documents().items():
        for number, start in enumerate(range(0, len(tokens), LENGTH)):
            piece = tokens[start : start + LENGTH]
            if len(piece) > 1:
                expected.append((piece, name + (f"#{number}" if number else "")))
    found = []
    for row, name in epoch_of(stores["text"], NEXT_TOKEN):
        targets = row["decoder_target_tokens"]
        found.append((targets[targets > 0].tolist(), name))
        assert row["decoder_input_tokens"].tolist() == [0, *targets[:-1]]
        assert np.array_equal(row["decoder_loss_weights"], targets > 0)
        assert row["decoder_loss_weights"].dtype == np.float32
    assert sorted(found) == sorted(expected)
    assert any(len(piece) == LENGTH and piece[-1] != EOS for piece, _ in found)


def test_packed_next_tokens_are_full_rows_of_documents_told_apart(stores):
    documents = framed_documents()
    total = sum(map(len, documents.values()))
    missing = set()
    for epoch in range(3):
        rows = epoch_of(stores["text"], packed(NEXT_TOKEN), epoch)
        assert len(rows) == (total - LENGTH + 1) // LENGTH
        seen = []
        for row, ids in rows:
            targets = row["decoder_target_tokens"]
            assert (targets > 0).all() and (row["decoder_loss_weights"] == 1).all()
            segments = segments_of(row, "decoder")
            assert len(segments) == len(ids.split("|"))
            for number, (where, name) in enumerate(zip(segments, ids.split("|"))):
                piece = targets[where].tolist()
                assert row["decoder_input_tokens"][where].tolist() == [0, *piece[:-1]]
                assert row["decoder_positions"][where].tolist() == [*range(len(piece))]
                document = documents[name]
                start = document.index(piece[0])
                assert piece == document[start : start + len(piece)]
                assert number == 0 or start == 0  # only the first may begin in the middle
                is_last = number == len(segments) - 1
                assert is_last or piece[-1] == EOS
                seen += piece
        real = [token for token in seen if token != EOS]
        assert len(real) == len({*real}) and len(seen) == len(rows) * LENGTH
        missing.add(frozenset(range(30, 2000)) - {*real})
    assert len(missing) > 1  # another offset every epoch


def chosen_in(row):
    weights = row["encoder_loss_weights"]
    targets, inputs = row["encoder_target_tokens"], row["encoder_input_tokens"]
    assert {*weights.tolist()} <= {0.0, 1.0} and weights.dtype == np.float32
    assert np.array_equal(inputs[weights == 0], targets[weights == 0])
    real = (targets > EOS) & (targets != BEGIN)
    assert weights.sum() == max(1, round(real.sum() * 0.15)) and not weights[~real].any()
    return tuple(np.flatnonzero(weights).tolist())


def test_masked_rows_begin_and_documents_end(stores):
    expected = []
    for name, tokens in framed_documents((BEGIN,)).items():
        for number, start in enumerate(range(0, len(tokens), LENGTH - 1)):
            piece = tokens[start : start + LENGTH - 1]
            if len(piece) > 1:
                piece = piece if number == 0 else [BEGIN, *piece]
                expected.append((piece, name + (f"#{number}" if number else "")))
    found = []
    for row, name in epoch_of(stores["text"], MASKED):
        targets = row["encoder_target_tokens"]
        found.append((targets[targets > 0].tolist(), name))
        if targets[1] != EOS:
            chosen_in(row)
    assert sorted(found) == sorted(expected)


def test_packed_masked_rows_tell_documents_apart(stores):
    documents = framed_documents((BEGIN,))
    for row, ids in epoch_of(stores["text"], packed(MASKED)):
        targets = row["encoder_target_tokens"]
        chosen_in(row)
        segments, names = segments_of(row, "encoder"), ids.split("|")
        assert sum(map(len, segments)) in (LENGTH - 1, LENGTH) and len(segments) == len(names)
        for number, (where, name) in enumerate(zip(segments, names)):
            piece, document = targets[where].tolist(), documents[name]
            assert piece[0] == BEGIN
            assert row["encoder_positions"][where].tolist() == [*range(len(piece))]
            start = document.index(piece[1]) if len(piece) > 1 else 1
            assert piece[1:] == document[start : start + len(piece) - 1]
            assert number == 0 or start == 1
            assert number == len(segments) - 1 or piece[-1] == EOS


def test_masks_change_with_epoch_and_seed(stores):
    def masks(config, epoch):
        rows = epoch_of(stores["text"], config, epoch)
        return {name: chosen_in(row) for row, name in rows if row["encoder_target_tokens"][1] > 1}

    first = masks(MASKED, 0)
    assert first == masks(dataclasses.replace(MASKED, batch_size=8), 0)
    for other in (masks(MASKED, 1), masks(dataclasses.replace(MASKED, seed=9), 0)):
        full = [name for name, chosen in first.items() if len(chosen) == 2]
        assert len(full) > 20
        assert np.mean([first[name] == other[name] for name in full]) < 0.2


def test_packed_rows_of_one_document_have_masks_of_their_own(tmp_path):
    text = " ".join(map(str, range(30, 30 + 40 * LENGTH)))
    store = memory_source.make_store(tmp_path / "s", [("t", 1.0, [Document(text, "d")])], encode)
    rows = epoch_of(store, packed(MASKED))
    assert len({chosen_in(row) for row, _ in rows}) > len(rows) / 2


def trimmed(text, length):
    return [*encode(text)[: length - 1], EOS]


def test_prefixes_have_their_loss_on_targets(stores):
    expected = {d.id: (trimmed(d.inputs, 12), trimmed(d.text, 5)) for d in PAIRS}
    for config in (PREFIX, packed(PREFIX)):
        seen = []
        for row, ids in epoch_of(stores["pairs"], config):
            names = ids.split("|")
            targets = row["decoder_target_tokens"]
            parts = segments_of(row, "decoder") if config.pack else [np.flatnonzero(targets)]
            assert len(parts) == len(names) and targets.shape == (17,)
            for where, name in zip(parts, names):
                inputs, answer = expected[name]
                assert targets[where].tolist() == inputs + answer
                weights = row["decoder_loss_weights"][where].tolist()
                assert weights == [0] * len(inputs) + [1] * len(answer)
                causal = row["decoder_causal_attention"][where].tolist()
                assert causal == [1] * (len(inputs) + 1) + [0] * (len(answer) - 1)
            assert not row["decoder_loss_weights"][targets == 0].any()
            seen += names
        assert sorted(seen) == sorted(expected)
    assert len(epoch_of(stores["pairs"], packed(PREFIX))) < len(PAIRS)


def test_labels_and_what_is_cut(stores):
    for row, name in epoch_of(stores["pairs"], LABELLED):
        document = PAIRS[int(name[1:])]
        tokens = [BEGIN, *encode(document.inputs)[: LENGTH - 2], EOS]
        assert row["encoder_input_tokens"].tolist() == tokens + [0] * (LENGTH - len(tokens))
        assert row["labels"] == int(name[1:]) % 3
    (found,) = open_store(stores["pairs"], LABELLED).trimmed()
    longer = sum(len(encode(document.inputs)) > LENGTH - 2 for document in PAIRS)
    assert longer and (found["inputs"], found["targets"]) == (longer, 0)
    other = dataclasses.replace(LABELLED, label_names=("20 21", "22"))
    with pytest.raises(ValueError, match=r"example 'p\d+' has targets that are none of the labels"):
        epoch_of(stores["pairs"], other)


@EVERY_CASE
def test_held_out_rows(stores, kind, config):
    features = RowFeatures(config, VOCABULARY, has_text=kind == "text", has_pairs=kind == "pairs")
    labels = {"split": "train", "language": "sw"}
    rows = sample_rows([stores[kind]], features.plan, max_rows=6, labels=labels)
    first, second = (make_batches(rows, features, 4) for _ in range(2))
    assert len(first) == 2 and first[1].example_ids[2:] == ["", ""]
    for one, two in zip(first, second):
        assert_equal(one, two)
        assert shapes_of(one.features) == compiled_shapes(config)
    padding = {name: array[2:] for name, array in first[1].features.items()}
    if config.objective == "classification":
        assert (
            padding.pop("labels").tolist() == [-1, -1] and (first[0].features["labels"] >= 0).all()
        )
    else:
        (weights,) = [name for name in padding if name.endswith("_weights")]
        assert first[0].features[weights].any(axis=1).all()
    assert not any(array.any() for array in padding.values())


def test_permuted_words_keep_the_special_tokens():
    features = RowFeatures(MASKED, VOCABULARY)
    rows = [row_of("5 6 7 8 9 10 11", "a"), row_of("12 13 14", "b")]
    clean, permuted = plant_permuted_words(rows, np.ones(5000, bool))
    for kind, label in ((clean, "clean"), (permuted, "permuted_words")):
        (batch,) = make_batches(kind, features, 2)
        targets = batch.features["encoder_target_tokens"]
        assert batch.noise == [label] * 2 and (targets[:, 0] == BEGIN).all()
        assert targets[0, 8] == EOS and targets[1, 4] == EOS
        assert sorted(targets[0, 1:8]) == [*range(5, 12)]


def row_of(text, name):
    return TextRow(np.array(encode(text), np.int32), name, "sw", "", "")


# What a row was made of, whatever is hidden of it.
TOKENS = ("decoder_target_tokens", "encoder_target_tokens", "encoder_input_tokens")


@EVERY_CASE
def test_scored_documents_are_whole(stores, kind, config):
    """Every document's rows are those of an epoch without packing, with masks of their own."""
    corpus = Corpus(stores[kind], config, VOCABULARY, seed=0)
    ids, tokens = [], []
    for batch, documents in corpus.batches(range(len(stores[kind])), 4):
        features = batch.features
        name = next(name for name in TOKENS if name in features)
        for row, (example_id, document) in enumerate(zip(batch.example_ids, documents)):
            assert (document == -1) == (example_id == "")
            if example_id:
                assert stores[kind][int(document)].id == example_id.split("#")[0]
                ids.append(example_id)
                tokens.append(features[name][row].tolist())
    loose = epoch_of(stores[kind], dataclasses.replace(config, pack=False))
    assert sorted(zip(ids, tokens)) == sorted((i, row[name].tolist()) for row, i in loose)


def with_text(tmp_path, config):
    texts = ["".join(chr(97 + (n * 7 + i * i) % 26) for i in range(n * 3)) for n in range(1, 40)]
    (tmp_path / "a.txt").write_text("\n\n".join(["x", *texts]))
    return dataclasses.replace(
        config,
        mixture_or_task_name="local_text",
        local_text_files=str(tmp_path / "a.txt"),
        vocabulary_file="bytes",
        batch_size=1,
    )


def rows_of(batches, number):
    found = []
    for _ in range(number):
        batch = next(batches)
        values = tuple(sorted((k, v[0].tobytes()) for k, v in batch.features.items()))
        found.append((*batch.example_ids, *batch.languages, *batch.sources, values))
    return found


def stream(config, number):
    """The first rows of a task in order, as often as it takes."""
    task = seqio.TaskRegistry.get(config.mixture_or_task_name)
    task = task.replace(name="objectives_in_order", shuffle_buffer_size=1)
    seqio.TaskRegistry.add_provider(task.name, task)
    try:
        streamed = dataclasses.replace(
            config, mixture_or_task_name=task.name, reader="streaming", pack=False
        )
        return rows_of(StreamingBatches(streamed), number)
    finally:
        seqio.TaskRegistry.remove(task.name)


@pytest.mark.parametrize("config", [NEXT_TOKEN, MASKED], ids=["next_token", "masked_tokens"])
def test_local_text_streams_what_it_prepares(config, tmp_path):
    config = with_text(tmp_path, config)
    prepared = open_batches(config, prepared_root=tmp_path / "data")
    (number,) = prepared.rows_per_epoch
    expected = rows_of(prepared.iterate(), 2 * number)
    tasks.register_local_text(config.local_text_files, "bytes")
    found = stream(config, 2 * number)
    for epoch in (slice(number), slice(number, None)):
        assert {*found[epoch]} == {*expected[epoch]} and len({*found[epoch]}) == number
    # The second epoch has other masks, and the same text.
    assert ({*found[:number]} == {*found[number:]}) == (config.objective == "next_token")


@pytest.mark.parametrize("config", [NEXT_TOKEN, MASKED], ids=["next_token", "masked_tokens"])
def test_streams_pack_documents_and_resume(config, tmp_path):
    config = dataclasses.replace(packed(with_text(tmp_path, config)), reader="streaming")
    root = {"prepared_root": tmp_path}
    whole = open_batches(config, **root)
    features = next(whole).features
    side = "decoder" if config.objective == "next_token" else "encoder"
    assert {f"{side}_segment_ids", f"{side}_positions"} <= {*features}
    assert shapes_of(features) == compiled_shapes(config)
    if side == "decoder":
        return  # the iterator is saved below objectives, once is enough
    rest = []
    for number in range(12):
        if number == 6:
            state = whole.get_state()
        rest.append(next(whole).features)
        counts = rest[-1]["encoder_loss_weights"].sum(axis=1)
        assert counts.sum() >= 1
        assert config.most_targets is None or counts.max() <= config.most_targets
    resumed = open_batches(config, **root)
    resumed.set_state(state)
    for features in rest[6:]:
        found = next(resumed).features
        assert all(np.array_equal(found[name], array) for name, array in features.items())


def with_examples(tmp_path, config):
    names = ("entailment", "neutral", "contradiction")
    lines = [
        f'{{"premise": "p {i}", "hypothesis": "h{i * i}", "label": "{names[i % 3]}"}}'
        for i in range(20)
    ]
    for name in ("train", "dev"):
        (tmp_path / f"{name}.en.jsonl").write_text("\n".join(lines))
    return dataclasses.replace(
        config,
        mixture_or_task_name="local_nli_zeroshot",
        local_task_files=str(tmp_path / "*.jsonl"),
        vocabulary_file="bytes",
        batch_size=1,
        label_names=None,
        task_feature_lengths={
            "inputs": 40,
            "targets": 5,
        },  # of labels the inputs alone
    )


@pytest.mark.parametrize("config", [PREFIX, LABELLED], ids=["prefix", "classification"])
def test_pairs_stream_what_they_prepare(config, tmp_path):
    config = with_examples(tmp_path, config)
    prepared = open_batches(config, prepared_root=tmp_path / "data")
    expected = rows_of(prepared.iterate(), 20)
    streamed = dataclasses.replace(config, reader="streaming")
    found = rows_of(open_batches(streamed, prepared_root=tmp_path), 200)  # shuffled over passes
    # A store's ids begin with the task's name.
    assert {row[1:] for row in found} == {row[1:] for row in expected}
    assert len({row[1:] for row in found}) == 20
    if config.objective == "classification":
        labels = [next(prepared.iterate(i)).features["labels"][0] for i in range(20)]
        assert sorted(labels) == sorted(i % 3 for i in range(20))


@pytest.mark.parametrize("ends", [[], [seqio.preprocessors.append_eos]], ids=["no end", "EOS"])
def test_labels_of_a_task_of_ones_own(ends):
    """Whether its targets end in EOS or not, and longer than a row."""
    names = ("contradiction, and a long one", "yes")
    lines = {"inputs": [f"text {i}" for i in range(4)], "targets": [names[i % 2] for i in range(4)]}
    feature = seqio.Feature(load_vocabulary("bytes"), add_eos=bool(ends))
    task = seqio.TaskRegistry.add(
        "objectives_labelled",
        seqio.FunctionDataSource(
            lambda split, shuffle_files, seed=None: tf.data.Dataset.from_tensor_slices(lines),
            splits=("train",),
        ),
        preprocessors=[seqio.preprocessors.tokenize, *ends],
        output_features={"inputs": feature, "targets": feature},
        shuffle_buffer_size=1,
    )
    try:
        config = dataclasses.replace(
            LABELLED,
            mixture_or_task_name=task.name,
            label_names=names,
            task_feature_lengths={"inputs": 12},
            reader="streaming",
            batch_size=4,
        )
        assert next(StreamingBatches(config)).features["labels"].tolist() == [0, 1, 0, 1]
    finally:
        seqio.TaskRegistry.remove(task.name)


ERRORS = [
    ("text", {"objective": "prefix"}, "takes pairs.*set objective='next_token'"),
    ("text", {"objective": "classification"}, "takes pairs.*set objective='masked_tokens'"),
    ("pairs", {"objective": "next_token"}, "takes text.*set objective='prefix'"),
    ("pairs", {"objective": "masked_tokens"}, "takes text.*set objective='classification'"),
]


@pytest.mark.parametrize(("kind", "changes", "message"), ERRORS)
def test_rows_of_the_wrong_kind(stores, kind, changes, message):
    with pytest.raises(ValueError, match=message):
        lengths = {"next_token": ("targets",), "masked_tokens": ("inputs",)}
        needed = lengths.get(changes["objective"], ("inputs", "targets"))
        changes = changes | {"task_feature_lengths": dict.fromkeys(needed, 9)}
        open_store(stores[kind], dataclasses.replace(PREFIX, **changes))


BAD_SETTINGS = [
    ({"objective": "span"}, "objective='span' must be one of.*'span_corruption'"),
    ({"objective": "prefix"}, r"the keys 'inputs' and 'targets' for objective='prefix', e.g. \{"),
    ({"task_feature_lengths": {"inputs": 9}}, "the key 'targets' for objective='next_token'"),
    (
        {"task_feature_lengths": {"inputs": 9, "targets": 9}},
        "the key 'targets' for objective='next_token', e.g. {'targets': 229}",
    ),
    (
        {"objective": "masked_tokens", "task_feature_lengths": {"inputs": 9, "targets": 8}},
        "has a target for every input; leave 'targets' out",
    ),
    ({"label_names": ("a", "b")}, "belongs to objective='classification', not 'next_token'"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_SETTINGS)
def test_settings_that_do_not_go_together(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(NEXT_TOKEN, **changes)


@pytest.mark.parametrize("names", [("a",), ("a", "a"), ()])
def test_labels_that_are_none(names):
    with pytest.raises(ValueError, match="must be at least two different names"):
        dataclasses.replace(LABELLED, label_names=names)
    with pytest.raises(ValueError, match="packs nothing"):
        dataclasses.replace(LABELLED, pack=True)


def test_labels_that_the_vocabulary_cannot_write(stores):
    change = functools.partial(dataclasses.replace, LABELLED)
    with pytest.raises(ValueError, match="gives back '20' for the label ' 20'"):
        open_store(stores["pairs"], change(label_names=("20", " 20")))
    with pytest.raises(ValueError, match="needs label_names for mixture_or_task_name='prepared'"):
        open_store(
            stores["pairs"],
            change(label_names=None, mixture_or_task_name="prepared", prepared_stores="x"),
        )
    tasks.register_all()
    without = change(label_names=None, mixture_or_task_name="encyclopedia_qa_zeroshot")
    with pytest.raises(ValueError, match="does not tell its labels; set label_names"):
        open_store(stores["pairs"], without)


def test_rows_that_hold_nothing(stores):
    short = dataclasses.replace(MASKED, task_feature_lengths={"inputs": 2})
    with pytest.raises(ValueError, match="must be >= 3 to hold a begin token"):
        open_store(stores["text"], short)


def test_a_task_with_steps_of_its_own_is_not_streamed(tmp_path):
    task = tasks.register_local_text(with_text(tmp_path, NEXT_TOKEN).local_text_files, "bytes")
    steps = [step for step in task.preprocessors if "segments" not in str(step)]
    name = "objectives_of_its_own"
    seqio.TaskRegistry.add_provider(name, task.replace(name=name, preprocessors=steps))
    try:
        config = dataclasses.replace(NEXT_TOKEN, mixture_or_task_name=name, reader="streaming")
        with pytest.raises(ValueError, match="makes rows by steps of its own"):
            StreamingBatches(config)
    finally:
        seqio.TaskRegistry.remove(name)
