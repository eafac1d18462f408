"""Streaming through seqio/tf.data: features, labels, packing, shards, exact resumption."""

import dataclasses
import functools

import numpy as np
import pytest
import seqio

from presence_t5x.config_types import DataConfig
from presence_t5x.data.documents import Document
from presence_t5x.data.evaluation import evaluation_batches
from presence_t5x.data.preprocessors import add_labels
from presence_t5x.data.streaming import StreamingBatches
from presence_t5x.data.text_tasks import add_text_task, documents_dataset
from presence_t5x.data.vocabularies import load_vocabulary

CONFIG = DataConfig(
    mixture_or_task_name="stream_function",
    task_feature_lengths={"inputs": 32, "targets": 8},
    batch_size=4,
    reader="streaming",
)
NUM_DOCUMENTS = 60


def text_of(number):
    return "".join(chr(97 + (number * 7 + i) % 26) for i in range(10 + number * 3))


def _documents(split, shuffle_files=False, seed=None):
    return documents_dataset(
        lambda: (
            Document(text_of(i), f"{split}{i}", "sw" if i % 2 else "ro", "web", "clean")
            for i in range(NUM_DOCUMENTS)
        )
    )


def line_to_targets(dataset):
    return dataset.map(lambda line: {"inputs": "", "targets": line})


def _use_text(dataset):
    keep = ("id", "language", "source", "noise")
    return dataset.map(lambda e: {k: e[k] for k in keep} | {"inputs": "", "targets": e["text"]})


@pytest.fixture(scope="module", autouse=True)
def registered(tmp_path_factory):
    vocabulary = load_vocabulary("bytes")
    path = tmp_path_factory.mktemp("lines") / "lines.txt"
    path.write_text("\n".join(text_of(i) for i in range(NUM_DOCUMENTS)))
    lines = [f"{path.parent}/{i}.txt" for i in range(2)]
    for number, name in enumerate(lines):
        with open(name, "w") as file:
            file.write("\n".join(text_of(i) for i in range(number, NUM_DOCUMENTS, 2)))
    functions = seqio.FunctionDataSource(_documents, splits=("train",))
    add_text_task(
        "stream_function",
        functions,
        vocabulary,
        to_text=[_use_text],
        concatenate=False,
        shuffle_buffer_size=30,
    )
    add_text_task(
        "stream_files",
        seqio.TextLineDataSource({"train": lines}),
        vocabulary,
        to_text=[line_to_targets, functools.partial(add_labels, language="sw", source="lines")],
        concatenate=True,
        shuffle_buffer_size=30,
    )
    seqio.MixtureRegistry.add("stream_mixture", [("stream_files", 1), ("stream_function", 2)])
    yield
    seqio.MixtureRegistry.remove("stream_mixture")
    for name in ("stream_files", "stream_function"):
        seqio.TaskRegistry.remove(name)


def config_for(name, **changes):
    return dataclasses.replace(CONFIG, mixture_or_task_name=name, **changes)


def take(batches, count):
    return [next(batches) for _ in range(count)]


def assert_equal(first, second):
    assert len(first) == len(second)
    for one, two in zip(first, second):
        assert one[1:] == two[1:]
        assert one.features.keys() == two.features.keys()
        assert all(np.array_equal(a, two.features[name]) for name, a in one.features.items())


def test_features_and_labels():
    for batch in take(StreamingBatches(CONFIG), 5):
        assert {name: (a.shape, str(a.dtype)) for name, a in batch.features.items()} == {
            "encoder_input_tokens": ((4, 32), "int32"),
            "decoder_target_tokens": ((4, 8), "int32"),
            "decoder_input_tokens": ((4, 8), "int32"),
            "decoder_loss_weights": ((4, 8), "float32"),
        }
        targets = batch.features["decoder_target_tokens"]
        assert np.array_equal(batch.features["decoder_input_tokens"][:, 1:], targets[:, :-1])
        assert (targets[:, 0] == 358).all() and ((targets == 1).sum(axis=1) == 1).all()
        for name, language in zip(batch.example_ids, batch.languages):
            number = int(name.removeprefix("train").split("#")[0])
            assert language == ("sw" if number % 2 else "ro")
        assert {*batch.sources} == {"web"} and {*batch.noise} == {"clean"}


def test_concatenated_rows_are_full():
    features = [
        b.features["encoder_input_tokens"]
        for b in take(StreamingBatches(config_for("stream_files")), 20)
    ]
    rows = np.concatenate(features)
    assert np.mean((rows != 0).all(axis=1)) > 0.9


RESUMED = [
    ("stream_function", False),
    ("stream_function", True),
    ("stream_files", False),
    ("stream_mixture", False),
]


@pytest.mark.parametrize(("name", "pack"), RESUMED)
def test_resumed_runs_continue_identically(name, pack):
    config = config_for(name, pack=pack)
    whole = StreamingBatches(config)
    take(whole, 3)
    state = whole.get_state()
    rest = take(whole, 4)
    resumed = StreamingBatches(config)
    next(resumed)  # whatever it has read does not matter
    resumed.set_state(state)
    assert_equal(take(resumed, 4), rest)
    expected = name == "stream_files"
    assert whole.checkpoints_iterator == expected and (b"files" in state) == expected


def test_seed_changes_the_stream():
    one, two = (
        next(StreamingBatches(config_for("stream_function", seed=seed))).example_ids
        for seed in (0, 1)
    )
    assert one != two


def test_packed_rows_have_segments_and_no_labels():
    batch = next(StreamingBatches(config_for("stream_function", pack=True)))
    assert {n for n in batch.features if "segment" in n or "position" in n} == {
        f"{side}_{kind}" for side in ("encoder", "decoder") for kind in ("segment_ids", "positions")
    }
    assert batch.languages == [""] * 4


def test_processes_read_disjoint_shards():
    seen = []
    for index in range(2):
        batches = StreamingBatches(CONFIG, process_index=index, process_count=2)
        found = take(batches, 20)
        assert all(len(batch.example_ids) == 2 for batch in found)
        seen.append({name.split("#")[0] for batch in found for name in batch.example_ids})
    assert seen[0] and seen[1] and not seen[0] & seen[1]


HELD_OUT = ("en", "sw")


@pytest.fixture
def held_out_mixture():
    def source(language):
        def documents(split, shuffle_files=False, seed=None):
            return documents_dataset(
                lambda: (
                    Document(text_of(i), f"{language}-{split}{i}", language, "web", "")
                    for i in range(20)
                )
            )

        return seqio.FunctionDataSource(documents, splits=("train", "validation"))

    names = [f"held_out_{language}" for language in HELD_OUT]
    for name, language in zip(names, HELD_OUT):
        add_text_task(
            name,
            source(language),
            load_vocabulary("bytes"),
            to_text=[_use_text],
            concatenate=False,
            shuffle_buffer_size=30,
        )
    seqio.MixtureRegistry.add("held_out_mixture", [(name, 1) for name in names])
    yield "held_out_mixture"
    seqio.MixtureRegistry.remove("held_out_mixture")
    for name in names:
        seqio.TaskRegistry.remove(name)


@pytest.mark.parametrize("rows_per_group", [3, 6, 1000])
def test_held_out_rows_are_of_every_language_once_whatever_the_seed(
    held_out_mixture, rows_per_group
):
    config = config_for(held_out_mixture, pack=True)
    options = {"rows_per_group": rows_per_group, "prepared_root": "unused"}
    batches = evaluation_batches(config, **options)
    assert_equal(evaluation_batches(dataclasses.replace(config, seed=7), **options), batches)
    found = {language: [] for language in HELD_OUT}
    for batch in batches:
        assert {len(array) for array in batch.features.values()} == {config.batch_size}
        num_tokens = batch.features["decoder_loss_weights"].sum(axis=1)
        for name, language, tokens in zip(batch.example_ids, batch.languages, num_tokens):
            assert bool(name) == bool(language) == (tokens > 0)
            if name:
                assert name.startswith(f"{language}-validation")
                found[language].append(name)
    for names in found.values():
        assert len(set(names)) == len(names)
        assert len(names) == rows_per_group if rows_per_group < 1000 else len(names) > 20


def test_errors():
    with pytest.raises(ValueError, match="has no split 'test'; it has"):
        StreamingBatches(CONFIG, "test")
    with pytest.raises(ValueError, match="process_count=3 must divide batch_size=4"):
        StreamingBatches(CONFIG, process_count=3)
    with pytest.raises(ValueError, match="process_index=2 must be less than process_count=2;"):
        StreamingBatches(CONFIG, process_index=2, process_count=2)
    batches = StreamingBatches(CONFIG)
    assert batches.iterate(0) is batches
    with pytest.raises(ValueError, match="start_step=5 but 0 batches are read"):
        batches.iterate(5)
    with pytest.raises(ValueError, match="damaged data position"):
        batches.set_state(b"?")
    other = StreamingBatches(config_for("stream_files")).get_state()
    with pytest.raises(ValueError, match="saved by another kind of source"):
        batches.set_state(other)
