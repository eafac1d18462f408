"""Labelled examples that Python reads, and TFDS data sets in a row, as sources of seqio tasks.

Examples cross from Python to TensorFlow in blocks: one at a time costs half a millisecond each.
"""

# seqio and TensorFlow declare no usable types here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from presence_t5x.data.documents import Part, Report, raise_problem
from presence_t5x.data.finetuning.family import NUMBER, NUMBERS, REAL, TEXT, TEXTS, Family
from presence_t5x.data.finetuning.formats import LINE
from presence_t5x.data.quiet_tensorflow import seqio, tf

_EXAMPLES_PER_BLOCK = 256
_LABEL_FIELDS = {"id": TEXT, "language": TEXT, "source": TEXT, LINE: NUMBER}
_SPECS = {
    TEXT: tf.TensorSpec((None,), tf.string),
    NUMBER: tf.TensorSpec((None,), tf.int64),
    REAL: tf.TensorSpec((None,), tf.float32),
    TEXTS: tf.RaggedTensorSpec((None, None), tf.string),
    NUMBERS: tf.RaggedTensorSpec((None, None), tf.int64),
}


class LabelledExample(NamedTuple):
    """One example and where it comes from.

    Attributes:
      fields: of its family.
      id: its own; "" if it has none.
      language: code; "" is unknown.
      source: of what it was taken.
      line: of its file, from 1; the number of the example elsewhere.
    """

    fields: Mapping[str, Any]
    id: str
    language: str
    source: str
    line: int


ReadPart = Callable[[Part, Report], Iterator[LabelledExample]]


class ExamplesSource(seqio.FunctionDataSource):
    """A seqio source over parts that Python reads; a shard is a part.

    Attributes:
      content: what a prepared store of it depends on.
    """

    def __init__(
        self,
        family: Family,
        parts: Mapping[str, Sequence[Part]],
        read: ReadPart,
        *,
        num_examples: Mapping[str, int],
        content: Callable[[], Any],
    ):
        """Remembers what it is given; reads nothing yet.

        Args:
          family: of the examples.
          parts: of every split.
          read: yields the examples of a part; what cannot be read is reported.
          num_examples: of every split; seqio keeps small ones in memory.
          content: gives what a store depends on, when it is asked for.
        """
        super().__init__(self._all_parts, splits=parts, num_input_examples=num_examples)
        self._family, self._parts, self._read, self._content = family, parts, read, content

    @property
    def content(self) -> Any:
        """What a prepared store of it depends on."""
        return self._content()

    def parts(self, split: str) -> Sequence[Part]:
        """Returns the parts of a split in order."""
        return self._parts[split]

    def list_shards(self, split: str) -> Sequence[str]:
        """Returns the names of the parts of a split."""
        return [part.name for part in self._parts[split]]

    def get_dataset(
        self, split: str = "train", shuffle: bool = True, seed=None, shard_info=None, **unused
    ) -> tf.data.Dataset:
        """Returns the parts of a shard; they keep their order, the task's buffer shuffles."""
        del shuffle, seed, unused
        chosen = self._parts[split]
        if shard_info is not None:
            chosen = chosen[shard_info.index :: shard_info.num_shards]
        return self.read_parts(chosen, raise_problem)

    def read_parts(self, parts: Sequence[Part], report: Report) -> tf.data.Dataset:
        """Returns the raw examples of parts; what cannot be read is reported while it is."""

        def read() -> Iterator[LabelledExample]:
            return itertools.chain.from_iterable(self._read(part, report) for part in parts)

        return _dataset(read, {**_LABEL_FIELDS, **self._family.fields})

    def _all_parts(self, split, shuffle_files, seed=None):
        return self.get_dataset(split, shuffle_files, seed)


def _dataset(
    read: Callable[[], Iterable[LabelledExample]], kinds: Mapping[str, Any]
) -> tf.data.Dataset:
    """A dataset of examples with their labels as fields."""

    def blocks():
        examples = iter(read())
        while block := list(itertools.islice(examples, _EXAMPLES_PER_BLOCK)):
            yield _stack(kinds, [{**found.fields, **_labels(found)} for found in block])

    signature = tf.nest.map_structure(_SPECS.__getitem__, dict(kinds))
    return tf.data.Dataset.from_generator(blocks, output_signature=signature).unbatch()


def _labels(example: LabelledExample) -> dict[str, Any]:
    return dict(zip(_LABEL_FIELDS, example[1:]))


def _stack(kind: Any, values: Sequence[Any]) -> Any:
    """The values of a block of examples as one (ragged) tensor, or as a dict of them."""
    if isinstance(kind, Mapping):
        return {name: _stack(kind[name], [value[name] for value in values]) for name in kind}
    if kind in (TEXT, NUMBER, REAL):
        return values
    flat = tf.constant(list(itertools.chain(*values)), _SPECS[kind].dtype)
    return tf.RaggedTensor.from_row_lengths(flat, [len(value) for value in values])


class TfdsUnion(seqio.FunctionDataSource):
    """Several TFDS data sets, one after the other.

    Attributes:
      members: the sources of the data sets.
    """

    def __init__(
        self,
        members: Mapping[str, seqio.TfdsDataSource],
        splits: Sequence[str],
    ):
        """Args: the sources by language, which their examples are labelled with; common splits."""
        super().__init__(functools.partial(_union, members), splits=splits)
        self.members = [*members.values()]


def _union(members, split, shuffle_files, seed=None):
    def labelled(language):
        dataset = members[language].get_dataset(split, shuffle=shuffle_files, seed=seed)
        return dataset.map(lambda example: {**example, "language": language})

    first, *others = map(labelled, members)
    for other in others:
        first = first.concatenate(other)
    return first
