"""seqio preprocessors: labels, documents to raw segments, span corruption and masked tokens.

They make seqio tasks of the same parts that the prepared reader uses: noise is
`span_corruption.corrupt_rows` and `masked_tokens.mask_rows` through `tf.numpy_function`, and its
key is `mask_key`, so that a row has the same mask from either reader, whatever the order and
however many hosts read. Examples carry their labels (`LABELS`, scalar strings) up to the batch.

A mask depends on (seed, row id, epoch). The seed is that of `data_seed` around the building of the
dataset; without it (T5X) seqio's own map seed. seqio repeats a source before `segments` sees it, so
the epoch is counted there: see `_stamp_epochs`.
"""

# seqio, TensorFlow and protobuf declare no usable types here.
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportCallIssue=false

import contextlib
import contextvars
import functools
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from presence_t5x.data.masked_tokens import encoder_ids, mask_rows, with_begin
from presence_t5x.data.quiet_tensorflow import seqio, tf
from presence_t5x.data.raw_rows import Frame
from presence_t5x.data.seeded_rows import RaggedRows, mask_key
from presence_t5x.data.sentinels import sentinels_of
from presence_t5x.data.span_corruption import corrupt_rows
from presence_t5x.data.text_plans import MEAN_NOISE_SPAN_LENGTH, NOISE_DENSITY, text_plan

LABELS = ("id", "language", "source", "noise")
_CARRIED = (*LABELS, "epoch")
MAX_DOCUMENT_TOKENS = 65_536
DOCUMENTS_PER_GROUP = 128
# What `masked_tokens` says of a token; none is 0, which seqio takes for padding.
SHOWN, CHOSEN = 1, 2
_SEED: contextvars.ContextVar[int | None] = contextvars.ContextVar("_SEED", default=None)


@contextlib.contextmanager
def data_seed(seed: int) -> Iterator[None]:
    """Datasets that are built inside have the masks of this seed, as prepared data has."""
    token = _SEED.set(seed)
    try:
        yield
    finally:
        _SEED.reset(token)


def _mask_seed() -> int:
    """The seed of the masks of a dataset that is being built."""
    seed = _SEED.get()
    # seqio has no public way to ask for its seed; None there means another one every time.
    seed = getattr(seqio.utils, "_NEXT_MAP_SEED", None) if seed is None else seed
    return secrets.randbits(64) if seed is None else int(seed) % 2**64


def add_labels(dataset: tf.data.Dataset, **labels: str) -> tf.data.Dataset:
    """Gives every example the labels it lacks: those passed here, empty strings for the rest.

    Also numbers the examples (`position`), so that `segments` can tell where a pass begins.
    """
    defaults = {name: labels.get(name, "") for name in LABELS}

    def label(example):
        return {name: tf.constant(value) for name, value in defaults.items()} | example

    def number(position, example):
        return position + 1, example | {"position": position}

    # Not `enumerate`: a zip that has ended forgets its input when it is saved, and with it which
    # order of the files comes next.
    numbered = dataset.scan(tf.constant(0, tf.int64), number)
    return numbered.map(label, num_parallel_calls=tf.data.AUTOTUNE)


def _stamp_epochs(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Adds `epoch`, the number of the pass over the source.

    A pass begins where the first example comes again. It is known by the position `add_labels` gave
    it, which is exact for every order of every pass; by its id in examples without position, which
    is exact in the first pass, and in later ones where the source keeps its order. An id that two
    documents share makes the number larger, never irreproducible.
    """

    def step(state, example):
        epoch, first = state
        has_position = "position" in example
        mark = tf.strings.as_string(example["position"]) if has_position else example["id"]
        first = tf.where(epoch < 0, mark, first)
        epoch += tf.cast(mark == first, tf.int64)
        return (epoch, first), example | {"epoch": epoch}

    return dataset.scan((tf.constant(-1, tf.int64), tf.constant("")), step)


def _name_by_tokens(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """An id for a document without one, or all of them would share their masks."""

    def name():
        text = tf.strings.reduce_join(tf.strings.as_string(example["targets"]), separator=" ")
        return tf.strings.format("tokens:{}", tf.strings.to_hash_bucket_fast(text, 2**63 - 1))

    identity = example["id"]
    return example | {"id": tf.cond(tf.equal(identity, ""), name, lambda: identity)}


def text_to_targets(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Renames `text` to `targets`, adds empty `inputs`, and keeps labels; everything else goes."""

    def convert(example):
        labels = {name: example[name] for name in LABELS if name in example}
        return {"inputs": "", "targets": example["text"], **labels}

    return dataset.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def _add_frame(example: dict[str, tf.Tensor], frame: Frame) -> dict[str, tf.Tensor]:
    """A document with its special tokens."""
    parts = [tf.constant(frame.begin, tf.int32), example["targets"], list(frame.end)]
    return example | {"targets": tf.concat(parts, axis=0)}


def _cut(example: Mapping[str, tf.Tensor], raw_length: int) -> tf.data.Dataset:
    """Segments of one stream of tokens; the last one may be shorter."""
    tokens = example["targets"]
    num_segments = (tf.size(tokens) + raw_length - 1) // raw_length
    labels = {name: example[name] for name in _CARRIED}

    def segment(number):
        start = number * raw_length
        suffix = tf.cond(number > 0, lambda: tf.strings.format("#{}", number), lambda: "")
        return labels | {
            "targets": tokens[start : start + raw_length],
            "id": labels["id"] + suffix,
        }

    return tf.data.Dataset.range(tf.cast(num_segments, tf.int64), output_type=tf.int32).map(segment)


@seqio.map_over_dataset(num_seeds=1)
def _random_chunk(example: dict[str, tf.Tensor], seed: Any) -> dict[str, tf.Tensor]:
    """A random aligned chunk of a very long document."""
    tokens = example["targets"]
    num_chunks = tf.maximum(1, (tf.size(tokens) + MAX_DOCUMENT_TOKENS - 1) // MAX_DOCUMENT_TOKENS)
    chunk = tf.random.stateless_uniform((), seed, 0, num_chunks, tf.int32)
    start = chunk * MAX_DOCUMENT_TOKENS
    return example | {"targets": tokens[start : start + MAX_DOCUMENT_TOKENS]}


def _join_group(group: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """One stream of a group's tokens, labelled as its first document."""
    labels = {name: group[name][0] for name in _CARRIED}
    return labels | {"targets": group["targets"].flat_values}


def segments(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int],
    output_features: Mapping[str, seqio.Feature],
    *,
    concatenate: bool,
    objective: str = "span_corruption",
    noise_density: float = NOISE_DENSITY,
    mean_span: float = MEAN_NOISE_SPAN_LENGTH,
) -> tf.data.Dataset:
    """Cuts tokenised documents into raw segments for `span_corruption` or another objective.

    A segment's id is its document's, with "#k" for the k-th later one; a document without an id is
    named by a hash of its tokens. `epoch` is added.

    Args:
      dataset: `targets` tokens without EOS, and labels.
      sequence_length: lengths of a model row; they fix the raw length.
      output_features: give the vocabulary.
      concatenate: mT5's way: empty documents dropped, a random chunk of at most 65 536 tokens of
        each, groups of 128 documents joined with nothing between them but what the objective adds
        (a row is labelled as the first document of its group). False cuts each document on its own.
        A last segment of a single token is dropped.
      objective: of text; all but "span_corruption" add special tokens to documents (`text_plan`).
      noise_density: as in `span_corruption`.
      mean_span: as in `span_corruption`.

    Raises:
      ValueError: the lengths do not fit the density.
    """
    vocabulary = output_features["targets"].vocabulary
    plan = text_plan(objective, sequence_length, vocabulary, noise_density, mean_span)
    dataset = _stamp_epochs(dataset.map(_name_by_tokens, num_parallel_calls=tf.data.AUTOTUNE))
    dataset = dataset.filter(lambda example: tf.size(example["targets"]) > 0)
    if plan.frame.size:
        dataset = dataset.map(functools.partial(_add_frame, frame=plan.frame))
    if concatenate:
        dataset = _random_chunk(dataset)
        dataset = dataset.map(lambda e: {name: e[name] for name in (*_CARRIED, "targets")})
        dataset = dataset.ragged_batch(DOCUMENTS_PER_GROUP).map(_join_group)
    dataset = dataset.flat_map(functools.partial(_cut, raw_length=plan.raw_length))
    return dataset.filter(lambda example: tf.size(example["targets"]) >= 2)


def span_corruption(
    dataset: tf.data.Dataset,
    output_features: Mapping[str, seqio.Feature],
    *,
    noise_density: float = NOISE_DENSITY,
    mean_span: float = MEAN_NOISE_SPAN_LENGTH,
) -> tf.data.Dataset:
    """Turns raw segments into `inputs` and `targets`; `append_eos_after_trim` adds their EOS.

    Args:
      dataset: of `segments`; `epoch` is dropped.
      output_features: give the vocabulary.
      noise_density: share of the tokens that are noise.
      mean_span: mean length of a noise span, in tokens.
    """
    vocabulary = output_features["targets"].vocabulary
    sentinels = sentinels_of(vocabulary)

    def corrupt(tokens, key):
        inputs, targets = corrupt_rows(
            [tokens],
            [key],
            sentinels.first_id,
            vocabulary.eos_id,
            num_sentinels=sentinels.num_sentinels,
            noise_density=noise_density,
            mean_span=mean_span,
        )
        return inputs.tokens[:-1], targets.tokens[:-1]

    return _map_seeded(dataset, corrupt, ("inputs", "targets"))


def _map_seeded(
    dataset: tf.data.Dataset, fun: Callable[..., Any], names: Sequence[str]
) -> tf.data.Dataset:
    """Adds what `fun` makes of raw segments: (tokens, key of the row) to int32 arrays by name."""
    seed = _mask_seed()

    def make(tokens, identity, epoch):
        return fun(tokens, mask_key(seed, identity.decode("utf-8", "replace"), int(epoch)))

    def make_example(example):
        epoch = example.pop("epoch")
        arguments = [example["targets"], example["id"], epoch]
        found = tf.numpy_function(make, arguments, (tf.int32,) * len(names), stateful=False)
        for tensor in found:
            tensor.set_shape([None])
        return example | dict(zip(names, found))

    return dataset.map(make_example, num_parallel_calls=tf.data.AUTOTUNE)


def masked_tokens(
    dataset: tf.data.Dataset,
    output_features: Mapping[str, seqio.Feature],
    *,
    noise_density: float = NOISE_DENSITY,
) -> tf.data.Dataset:
    """Turns raw segments into `inputs`, `targets` and `marks`, which are `CHOSEN` or `SHOWN`.

    Args:
      dataset: of `segments`; `epoch` is dropped.
      output_features: give the vocabulary.
      noise_density: share of the tokens that are chosen.
    """
    ids = encoder_ids(output_features["targets"].vocabulary)

    def mask(tokens, key):
        targets = with_begin(tokens, ids)
        rows = RaggedRows.join([targets])
        inputs, is_chosen = mask_rows(rows, [key], ids, noise_density=noise_density)
        return inputs.tokens, targets, np.where(is_chosen, CHOSEN, SHOWN).astype(np.int32)

    return _map_seeded(dataset, mask, ("inputs", "targets", "marks"))


def next_token(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Leaves raw segments of `segments` as they are; `epoch` is dropped."""
    return dataset.map(lambda example: {k: v for k, v in example.items() if k != "epoch"})
