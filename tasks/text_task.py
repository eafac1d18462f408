"""The one shape of a pre-training task: text -> tokens -> raw segments -> span corruption."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import seqio
import tensorflow as tf

from presence_t5x.data import preprocessors
from presence_t5x.data.documents import Document


def add_text_task(
    name: str,
    source: seqio.DataSource,
    vocabulary: seqio.Vocabulary | Callable[[], seqio.Vocabulary],
    *,
    to_text: Sequence[Callable[..., Any]],
    concatenate: bool,
) -> seqio.Task:
    """Registers a span-corruption task, in place of one of the same name.

    Args:
      name: of the task.
      source: of raw examples.
      vocabulary: of inputs and targets, or a function that loads it on first use.
      to_text: preprocessors up to text: `targets` (string), empty `inputs`, labels.
      concatenate: join documents to full rows (mC4), or keep one document a row.
    """
    features = {
        "inputs": seqio.Feature(vocabulary, add_eos=True, required=False),
        "targets": seqio.Feature(vocabulary, add_eos=True),
    }
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    return seqio.TaskRegistry.add(
        name,
        source=source,
        preprocessors=[
            *to_text,
            seqio.preprocessors.tokenize,
            seqio.CacheDatasetPlaceholder(),
            functools.partial(preprocessors.segments, concatenate=concatenate),
            preprocessors.span_corruption,
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features=features,
    )


def documents_to_dataset(
    documents: Callable[[], Any], to_document: Callable[[Any], Document] = lambda item: item
) -> tf.data.Dataset:
    """Returns a dataset of {text, id, language, source, noise} over what `documents()` iterates."""
    fields = Document._fields

    def generate():
        for item in documents():
            yield to_document(item)._asdict()

    return tf.data.Dataset.from_generator(
        generate, output_signature={name: tf.TensorSpec((), tf.string) for name in fields}
    )


def shuffled(order_of: Sequence[Any], shuffle: bool, seed: int | None) -> Sequence[int]:
    """Indices 0, 1, ... in order, or in an order of the seed."""
    import numpy as np

    if not shuffle:
        return range(len(order_of))
    return np.random.default_rng(seed).permutation(len(order_of)).tolist()


LabelMap = Mapping[str, str]
