"""The two shapes of our seqio tasks; `tasks/` registers with these, nothing is on import.

Pre-training: text -> tokens -> raw segments -> span corruption, in place of which `with_objective`
puts another objective of text. Fine-tuning: inputs and targets as text -> tokens, trimmed.
"""

# seqio, TensorFlow and protobuf declare no usable types here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from presence_t5x.data import preprocessors
from presence_t5x.data.documents import (
    HELD_OUT_ONE_IN,
    TRAIN,
    VALIDATION,
    Document,
    id_hash,
    split_of,
)
from presence_t5x.data.quiet_tensorflow import seqio, tf
from presence_t5x.data.text_files import check_text_files, read_documents

_DOCUMENTS_PER_BLOCK = 256
_SHUFFLE_BUFFER = seqio.dataset_providers.SHUFFLE_BUFFER_SIZE


def add_text_task(
    name: str,
    source: seqio.DataSource,
    vocabulary: seqio.Vocabulary,
    *,
    to_text: Sequence[Callable[..., Any]],
    concatenate: bool,
    shuffle_buffer_size: int = _SHUFFLE_BUFFER,
) -> seqio.Task:
    """Registers a span-corruption task, in place of one of the same name.

    Args:
      name: of the task.
      source: of raw examples.
      vocabulary: of inputs and targets; seqio's own read their file on first use.
      to_text: preprocessors up to text: string `targets`, empty `inputs`, string labels.
      concatenate: join documents to full rows (mC4), or keep one document a row.
      shuffle_buffer_size: rows that the streaming reader shuffles among.
    """
    to_rows = [
        functools.partial(preprocessors.segments, concatenate=concatenate),
        preprocessors.span_corruption,
    ]
    return _add_task(name, source, vocabulary, to_text, to_rows, shuffle_buffer_size)


def with_objective(
    provider: seqio.Task | seqio.Mixture, objective: str
) -> seqio.Task | seqio.Mixture:
    """Returns a task of `add_text_task`, or a mixture of such, with another objective of text.

    Nothing is registered; rates, order and labels stay.

    Args:
      provider: of span corruption.
      objective: "next_token" (gives `targets`) or "masked_tokens" (`inputs`, `targets`, `marks`).

    Raises:
      ValueError: a task has other steps than ours.
    """
    if isinstance(provider, seqio.Mixture):
        members = [(with_objective(t, objective), provider.get_rate(t)) for t in provider.tasks]
        return seqio.Mixture(provider.name, members, sample_fn=provider._sample_fn)
    functions = [getattr(step, "func", step) for step in provider.preprocessors]
    if preprocessors.segments not in functions:
        raise ValueError(
            f"task {provider.name!r} makes rows by steps of its own, so objective={objective!r} "
            "cannot be put in their place; use reader='prepared', or register it with add_text_task"
        )
    position = functions.index(preprocessors.segments)
    to_segments = functools.partial(provider.preprocessors[position], objective=objective)
    step, names = {
        "next_token": (preprocessors.next_token, ("targets",)),
        "masked_tokens": (preprocessors.masked_tokens, ("inputs", "targets", "marks")),
    }[objective]
    feature = seqio.Feature(provider.output_features["targets"].vocabulary, add_eos=False)
    return provider.replace(
        preprocessors=[*provider.preprocessors[:position], to_segments, step],
        output_features=dict.fromkeys(names, feature),
    )


def add_pair_task(
    name: str,
    source: seqio.DataSource,
    vocabulary: seqio.Vocabulary,
    *,
    to_text: Sequence[Callable[..., Any]],
    metric_fns: Sequence[Callable[..., dict[str, float]]],
    postprocess_fn: Callable[..., Any] | None = None,
) -> seqio.Task:
    """Registers a task of given inputs and targets, in place of one of the same name.

    Args:
      name: of the task.
      source: of raw examples.
      vocabulary: of inputs and targets; seqio's own read their file on first use.
      to_text: preprocessors up to text: strings `inputs` and `targets`, string labels.
      metric_fns: (targets, predictions) -> values by name.
      postprocess_fn: a decoded string to what the metrics compare; None leaves it as it is.
    """
    settings = {"metric_fns": [*metric_fns], "postprocess_fn": postprocess_fn}
    return _add_task(name, source, vocabulary, to_text, [], **settings)


def _add_task(
    name, source, vocabulary, to_text, to_rows, shuffle_buffer_size=_SHUFFLE_BUFFER, **settings
) -> seqio.Task:
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    return seqio.TaskRegistry.add(
        name,
        source=source,
        shuffle_buffer_size=shuffle_buffer_size,
        preprocessors=[
            *to_text,
            seqio.preprocessors.tokenize,
            seqio.CacheDatasetPlaceholder(),
            *to_rows,
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features={
            "inputs": seqio.Feature(vocabulary, add_eos=True, required=False),
            "targets": seqio.Feature(vocabulary, add_eos=True),
        },
        **settings,
    )


def replace_mixture(name: str, members: Sequence[str] | Mapping[str, float]) -> seqio.Mixture:
    """Registers a mixture of tasks at their rates, or 1 each, in place of one of the same name."""
    if name in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(name)
    rated = [*members.items()] if isinstance(members, Mapping) else [(one, 1) for one in members]
    return seqio.MixtureRegistry.add(name, [(one, float(rate)) for one, rate in rated])


def gives_pairs(task: seqio.Task) -> bool:
    """Returns whether a task, ours or another, gives inputs and targets as they are.

    That is so if nothing but caching and EOS follows on its `tokenize`: its rows can then be made
    of tokens that are stored, without its own steps.
    """
    steps = [getattr(step, "func", step) for step in task.preprocessors]
    if seqio.preprocessors.tokenize not in steps:
        return False
    rest = steps[steps.index(seqio.preprocessors.tokenize) + 1 :]
    ends = (seqio.preprocessors.append_eos, seqio.preprocessors.append_eos_after_trim)
    return all(step in ends or isinstance(step, seqio.CacheDatasetPlaceholder) for step in rest)


def documents_dataset(documents: Callable[[], Iterable[Document]]) -> tf.data.Dataset:
    """Returns a dataset of {text, id, language, source, noise} over a fresh `documents()`.

    Documents cross from Python to TensorFlow in blocks: one at a time costs half a
    millisecond each.
    """

    def generate():
        remaining = iter(documents())
        while block := list(itertools.islice(remaining, _DOCUMENTS_PER_BLOCK)):
            yield dict(zip(Document._fields, map(list, zip(*block))))

    signature = {name: tf.TensorSpec((None,), tf.string) for name in Document._fields}
    return tf.data.Dataset.from_generator(generate, output_signature=signature).unbatch()


class LocalTextSplits:
    """Local files split by a hash of the document's id, so that adding files moves no document.

    One document in 20 is held out: those whose BLAKE2 hash of the id is divisible by 20. If there
    is none, the one with the smallest hash is, so that there always is a validation document.
    """

    SPLITS = (TRAIN, VALIDATION)

    def __init__(self, pattern: str):
        """Remembers the pattern; files are read when a split is."""
        self.pattern = pattern

    @functools.cached_property
    def _lone_held_out_hash(self) -> int | None:
        """The smallest hash if no document is held out otherwise; reads (and checks) everything."""
        hashes = []
        num_held_out = 0

        def visit(document):
            nonlocal num_held_out
            hashes.append(id_hash(document.id))
            num_held_out += split_of(hashes[-1]) == VALIDATION
            if len(hashes) > HELD_OUT_ONE_IN and num_held_out:
                hashes[:] = [min(hashes)]

        num_documents = check_text_files(self.pattern, visit)
        if num_documents < 2 or num_held_out == num_documents:
            raise ValueError(
                f"local_text_files={self.pattern!r}: {num_documents} documents, {num_held_out} of "
                "them held out; a train and a validation split need more (in .txt files blank "
                "lines separate documents)"
            )
        return None if num_held_out else min(hashes)

    def documents(self, split: str) -> Iterable[Document]:
        """Yields the documents of "train" or "validation", in file order."""
        lone_hash = self._lone_held_out_hash
        for document in read_documents(self.pattern):
            hashed = id_hash(document.id)
            held_out = split_of(hashed) == VALIDATION if lone_hash is None else hashed == lone_hash
            if held_out == (split == VALIDATION):
                yield document

    def dataset(
        self, split: str, shuffle_files: bool = False, seed: int | None = None
    ) -> tf.data.Dataset:
        """A seqio source function; files keep their order, the task's buffer shuffles."""
        del shuffle_files, seed
        return documents_dataset(lambda: self.documents(split))
