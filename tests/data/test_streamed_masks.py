"""Streamed rows are those of prepared data: a mask depends on seed, row id and epoch alone."""

import contextlib
import dataclasses
import functools
import hashlib

import numpy as np
import pytest
import seqio
import tensorflow as tf

from presence_t5x import tasks
from presence_t5x.config_types import DataConfig
from presence_t5x.data.preprocessors import add_labels, text_to_targets
from presence_t5x.data.seeded_rows import mask_key
from presence_t5x.data.sources import open_batches
from presence_t5x.data.span_corruption import corrupt_rows
from presence_t5x.data.streaming import StreamingBatches
from presence_t5x.data.text_tasks import add_text_task
from presence_t5x.data.vocabularies import load_vocabulary

LENGTHS = {"inputs": 32, "targets": 8}
RAW_LENGTH = 34
# Bytes of the documents: single tokens (no row), single tokens left over, several segments.
SIZES = [1, 2, 33, 34, 35, 36, 68, 69, 70, 100, 171, 340, *range(3, 63)]
CONFIG = DataConfig(
    mixture_or_task_name="streamed_lines",
    task_feature_lengths=LENGTHS,
    batch_size=2,
    reader="streaming",
    seed=5,
)


def text_of(number):
    return "".join(chr(97 + (number * 7 + i * i) % 26) for i in range(SIZES[number]))


def expected_key(seed, row_id, epoch):
    """`mask_key` from its definition."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{row_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def expected_rows(documents, seed, epoch):
    """{row id: (inputs, targets)} of one pass over {id: text}, byte vocabulary."""
    rows = {}
    for identity, text in documents.items():
        tokens = np.array([byte + 3 for byte in text.encode()], np.int32)
        for number, start in enumerate(range(0, len(tokens), RAW_LENGTH)):
            segment = tokens[start : start + RAW_LENGTH]
            if len(segment) > 1:
                row_id = identity + (f"#{number}" if number else "")
                pair = corrupt_rows([segment], [expected_key(seed, row_id, epoch)], 358, 1)
                rows[row_id] = tuple(tuple(part.tokens.tolist()) for part in pair)
    return rows


def rows_of(batches, num_rows):
    """The first rows of a reader: (row id, inputs, targets) without padding."""
    rows = []
    while len(rows) < num_rows:
        batch = next(batches)
        features = [batch.features[f"{n}_tokens"] for n in ("encoder_input", "decoder_target")]
        for row_id, *parts in zip(batch.example_ids, *features):
            rows.append((row_id, *(tuple(part[part != 0].tolist()) for part in parts)))
    return rows[:num_rows]


def epochs_of(rows, documents, seed, num_epochs):
    """(row id, epoch) of every row, found by its mask; rows that are in no epoch are an error."""
    known = {}
    for epoch in range(num_epochs):
        for row_id, pair in expected_rows(documents, seed, epoch).items():
            known.setdefault((row_id, *pair), []).append(epoch)
    # Short rows have few masks, so a row may fit several epochs.
    return [(row[0], known[row]) for row in rows]


def lines_to_text(dataset):
    def split(line):
        parts = tf.strings.split(line, "\t")
        return {"id": parts[0], "text": parts[1]}

    return dataset.map(split)


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    return {f"doc{number}": text_of(number) for number in range(len(SIZES))}


@pytest.fixture(scope="module", autouse=True)
def registered(documents, tmp_path_factory):
    """`streamed_lines` (files, in order) and `streamed_shuffled` (another order every pass)."""
    folder = tmp_path_factory.mktemp("lines")
    lines = [f"{identity}\t{text}" for identity, text in documents.items()]
    names = [str(folder / f"{number}.txt") for number in range(2)]
    for number, name in enumerate(names):
        with open(name, "w") as file:
            file.write("\n".join(lines[number::2]))

    def shuffled(split, shuffle_files, seed=None):
        return tf.data.Dataset.from_tensor_slices(lines).shuffle(len(lines), seed=seed)

    sources = {
        "streamed_lines": seqio.TextLineDataSource({"train": names}),
        "streamed_shuffled": seqio.FunctionDataSource(shuffled, splits=("train",)),
    }
    for name, source in sources.items():
        add_text_task(
            name,
            source,
            load_vocabulary("bytes"),
            to_text=[lines_to_text, text_to_targets, add_labels],
            concatenate=False,
            shuffle_buffer_size=8,
        )
    yield
    for name in sources:
        seqio.TaskRegistry.remove(name)


@contextlib.contextmanager
def in_order(name):
    """The task without its last shuffle, which mixes the ends of passes."""
    task = seqio.TaskRegistry.get(name).replace(name="streamed_in_order", shuffle_buffer_size=1)
    seqio.TaskRegistry.add_provider(task.name, task)
    yield task.name
    seqio.TaskRegistry.remove(task.name)


def test_expected_key_is_the_one_of_the_package():
    args = 2**40 + 1, "ü.txt:3#2", 7
    assert mask_key(*args) == expected_key(*args)


@pytest.mark.parametrize("name", ["streamed_lines", "streamed_shuffled"])
def test_every_pass_has_every_row_with_the_mask_of_its_epoch(name, documents):
    num_rows = len(expected_rows(documents, 5, 0))
    with in_order(name) as task_name:
        config = dataclasses.replace(CONFIG, mixture_or_task_name=task_name)
        rows = rows_of(StreamingBatches(config), 3 * num_rows)
    orders = []
    for epoch in range(3):
        part = rows[epoch * num_rows : (epoch + 1) * num_rows]
        assert {row[0]: row[1:] for row in part} == expected_rows(documents, 5, epoch)
        orders.append([row[0] for row in part])
    assert name == "streamed_lines" or orders[0] != orders[1] != orders[2]
    mixed = rows_of(StreamingBatches(dataclasses.replace(CONFIG, mixture_or_task_name=name)), 200)
    assert {*rows[:num_rows]} <= {*mixed} and [*mixed] != rows[:200]


def test_another_seed_and_another_epoch_have_other_masks(documents):
    first = expected_rows(documents, 5, 0)
    # Full rows have 4 * 28 masks; those of up to 30 tokens have one span, at the end: one mask.
    full = [row_id for row_id, (inputs, _) in first.items() if len(inputs) == LENGTHS["inputs"]]
    for other in (expected_rows(documents, 5, 1), expected_rows(documents, 6, 0)):
        assert np.mean([first[row_id] == other[row_id] for row_id in full]) < 0.1
    rows = rows_of(StreamingBatches(dataclasses.replace(CONFIG, seed=6)), len(first))
    epochs_of(rows, documents, 6, 2)
    with pytest.raises(KeyError):
        epochs_of(rows, documents, 5, 2)


def test_shards_have_the_rows_of_the_whole(documents):
    rows = []
    num_rows = len(expected_rows(documents, 5, 0))
    for index in range(2):
        batches = StreamingBatches(CONFIG, process_index=index, process_count=2)
        found = rows_of(batches, num_rows)
        epochs_of(found, documents, 5, 3)
        rows += found
    assert {(row_id, *pair) for row_id, pair in expected_rows(documents, 5, 0).items()} <= {*rows}


@pytest.mark.parametrize("name", ["streamed_lines", "streamed_shuffled"])
@pytest.mark.parametrize("step", [10, 57])
def test_resumed_in_the_first_or_second_pass(name, step, documents):
    config = dataclasses.replace(CONFIG, mixture_or_task_name=name)
    whole = StreamingBatches(config)
    rows_of(whole, 2 * step)
    state = whole.get_state()
    assert (b"files" in state) == (name == "streamed_lines")
    rest = rows_of(whole, 160)
    assert {3} & {epoch for _, found in epochs_of(rest, documents, 5, 4) for epoch in found}
    resumed = StreamingBatches(config)
    resumed.set_state(state)
    assert rows_of(resumed, 160) == rest


def test_local_text_streams_what_it_prepares(tmp_path):
    texts = [text_of(number) for number in range(1, len(SIZES))]
    (tmp_path / "a.txt").write_text("\n\n".join(["x", *texts]))
    config = DataConfig(
        mixture_or_task_name="local_text",
        task_feature_lengths=LENGTHS,
        batch_size=1,
        local_text_files=str(tmp_path / "a.txt"),
        vocabulary_file="bytes",
        seed=9,
    )
    prepared = open_batches(config, prepared_root=tmp_path / "data")
    (num_rows,) = prepared.rows_per_epoch
    prepared = rows_of(prepared.iterate(), num_rows)
    tasks.register_local_text(config.local_text_files, "bytes")
    with in_order("local_text") as name:
        streamed = rows_of(
            StreamingBatches(dataclasses.replace(config, mixture_or_task_name=name)), num_rows
        )
    assert {*streamed} == {*prepared} and len({*prepared}) == num_rows > len(SIZES)


def numbered(dataset, **labels):
    labels = {"language": "", "source": "", "noise": ""} | labels
    return dataset.map(lambda text: {"inputs": "", "targets": text} | labels)


def test_documents_without_an_id_have_masks_of_their_own():
    texts = [text_of(3)[:-1] + letter for letter in "abcdefghijklmnop"]

    def source(split, shuffle_files, seed=None):
        return tf.data.Dataset.from_tensor_slices(texts)

    add_text_task(
        "streamed_unnamed",
        seqio.FunctionDataSource(source, splits=("train",)),
        load_vocabulary("bytes"),
        to_text=[functools.partial(numbered, id="")],
        concatenate=False,
        shuffle_buffer_size=1,
    )
    try:
        config = dataclasses.replace(CONFIG, mixture_or_task_name="streamed_unnamed")
        rows = rows_of(StreamingBatches(config), len(texts))
    finally:
        seqio.TaskRegistry.remove("streamed_unnamed")
    assert len({row[0] for row in rows}) == len(texts)
    places = {tuple(np.flatnonzero(np.array(row[1]) > 340)) for row in rows}
    assert len(places) > len(texts) // 2


def test_as_t5x_reads_a_task():
    task = seqio.TaskRegistry.get("streamed_lines")

    def read(seed):
        dataset = task.get_dataset(LENGTHS, shuffle=False, seed=seed, num_epochs=2)
        assert not {"epoch", "position"} & set(dataset.element_spec)
        dataset = seqio.EncDecFeatureConverter(pack=False)(dataset, LENGTHS)
        return [row["encoder_input_tokens"].tolist() for row in dataset.as_numpy_iterator()]

    one, again, other, unseeded = (read(seed) for seed in (1, 1, 2, None))
    half = len(one) // 2
    assert one == again != other and unseeded != one and one[:half] != one[half:]


def test_full_size_rows_through_seqio():
    """At 1024 inputs and 229 targets: R2.2's numbers, and masks that differ from row to row."""
    lengths = {"inputs": 1024, "targets": 229}
    text = "".join(chr(97 + i % 26) for i in range(1137))

    def source(split, shuffle_files, seed=None):
        return tf.data.Dataset.from_tensor_slices([f"{i}\t{text}" for i in range(300)])

    add_text_task(
        "streamed_full",
        seqio.FunctionDataSource(source, splits=("train",)),
        load_vocabulary("bytes"),
        to_text=[lines_to_text, text_to_targets, add_labels],
        concatenate=False,
    )
    try:
        config = dataclasses.replace(
            CONFIG, mixture_or_task_name="streamed_full", task_feature_lengths=lengths
        )
        rows = rows_of(StreamingBatches(config), 300)
    finally:
        seqio.TaskRegistry.remove("streamed_full")
    inputs, targets = (np.array(column) for column in list(zip(*rows))[1:])
    assert inputs.shape == (300, 1024) and targets.shape == (300, 229)
    assert ((inputs >= 259).sum(axis=1) == 57).all() and ((targets >= 259).sum(axis=1) == 57).all()
    noise = (targets < 259) & (targets != 1)
    assert (noise.sum(axis=1) == 171).all()
    assert len({row.tobytes() for row in inputs}) == 300
    # The second span begins after the first, of 3 tokens on average (standard deviation 2.4).
    first_span = np.argmax(targets[:, 1:] >= 259, axis=1)
    assert abs(first_span.mean() - 3) < 4 * 2.4 / 300**0.5
