"""How the documents of one group are cut into rows: index arithmetic on token counts.

An objective may count special tokens into every document (`raw_rows.Frame`): a document's length is
then that of its tokens and these together, here and in pieces.

Text: "one document a row" cuts a document into segments of the raw length; the last, shorter one
becomes a padded row, or is dropped if it is a single token. "packed" concatenates a group's
documents in the order of the store, with nothing between them (as mT5 does), and cuts the stream
into exact raw lengths, from another offset in every epoch; what remains at the ends is dropped in
that epoch. As groups are concatenated one by one, a packed row of one language's group has one
language.

Pairs of inputs and targets: one a row, or "packed" as many as fit, told apart by segment ids.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Int

from presence_t5x.data.mixing import RowGroup
from presence_t5x.data.packing import PAIR_FEATURES, assign_rows
from presence_t5x.data.running_totals import RunningTotals


class Piece(NamedTuple):
    """Tokens start:stop of one document, counted with its special ones; of a pair always all."""

    document: int
    start: int
    stop: int


class Layout(Protocol):
    """How the documents of one group are cut into rows."""

    num_rows: int

    def pieces(self, epoch: int, number: int) -> tuple[Piece, ...]: ...


def segment_counts(
    token_counts: Int[np.ndarray, " documents"], raw_length: int
) -> Int[np.ndarray, " documents"]:
    """Returns the number of one-document rows of each document; a last token alone makes none.

    >>> segment_counts(np.array([1, 2, 10, 11, 12]), 10)
    array([0, 1, 1, 1, 2])
    """
    return token_counts // raw_length + (token_counts % raw_length >= 2)


def cut_document(num_tokens: int, raw_length: int) -> list[tuple[int, int]]:
    """Returns (start, stop) of the one-document rows of a document.

    >>> cut_document(11, 10), cut_document(12, 10)
    ([(0, 10)], [(0, 10), (10, 12)])
    """
    number = int(segment_counts(np.array([num_tokens]), raw_length)[0])
    return [(i * raw_length, min((i + 1) * raw_length, num_tokens)) for i in range(number)]


class OneDocumentLayout:
    """Every row holds a segment of one document of text."""

    def __init__(self, group: RowGroup, raw_length: int, num_special: int = 0):
        """Args: text; tokens of a row; how many special ones are counted into a document."""
        self._group = group
        self._raw_length = raw_length
        self._num_special = num_special

        def read(start: int, stop: int) -> np.ndarray:
            return segment_counts(group.token_counts(start, stop) + num_special, raw_length)

        self._totals = RunningTotals(len(group.documents), read)
        self.num_rows = self._totals.total

    def pieces(self, epoch: int, number: int) -> tuple[Piece, ...]:
        """Returns the one piece of a row; the same in every epoch."""
        item, first_row = self._totals.find(number)
        start = (number - first_row) * self._raw_length
        num_tokens = int(self._group.token_counts(item, item + 1)[0]) + self._num_special
        stop = min(start + self._raw_length, num_tokens)
        return (Piece(int(self._group.documents[item]), start, stop),)


class PackedLayout:
    """Every row is full; the stream of documents is cut from another offset each epoch."""

    def __init__(
        self,
        group: RowGroup,
        raw_length: int,
        offset: Callable[[int], int],
        num_special: int = 0,
    ):
        """Args: as `OneDocumentLayout`; gives the offset of an epoch."""
        self._group = group
        self._raw_length = raw_length
        self._num_special = num_special

        def read(start: int, stop: int) -> np.ndarray:
            return group.token_counts(start, stop) + num_special

        self._totals = RunningTotals(len(group.documents), read)
        # As many rows as fit from every offset, so that all epochs are equally long.
        total = self._totals.total
        self.num_rows = max((total - raw_length + 1) // raw_length, min(total // raw_length, 1))
        self._num_offsets = min(raw_length, total - self.num_rows * raw_length + 1)
        self._offset = offset

    def pieces(self, epoch: int, number: int) -> tuple[Piece, ...]:
        """Returns the pieces of a row in order; their lengths sum to the raw length."""
        start = number * self._raw_length + self._offset(epoch) % self._num_offsets
        remaining = self._raw_length
        item, first = self._totals.find(start)
        pieces = []
        start -= first
        while remaining:
            num_tokens = int(self._group.token_counts(item, item + 1)[0]) + self._num_special
            stop = min(start + remaining, num_tokens)
            if stop > start:
                pieces.append(Piece(int(self._group.documents[item]), start, stop))
            remaining -= stop - start
            item, start = item + 1, 0
        return tuple(pieces)


class PairLayout:
    """Every row holds one pair."""

    def __init__(self, group: RowGroup):
        self._group = group
        self.num_rows = len(group.documents)

    def pieces(self, epoch: int, number: int) -> tuple[Piece, ...]:
        """Returns the whole of one document; the same in every epoch."""
        return (_whole(self._group, number),)


class PackedPairLayout:
    """Every row holds the pairs that fit, the next ones of a random order.

    The order is drawn once: the same pairs stand together in every epoch.
    """

    def __init__(
        self,
        group: RowGroup,
        lengths: Mapping[str, int],
        rng: np.random.Generator,
        *,
        in_line: bool = False,
    ):
        """Finds which pairs share a row.

        Args:
          group: pairs.
          lengths: of inputs and targets, by `PAIR_FEATURES`.
          rng: gives the order.
          in_line: targets stand behind their inputs, in a row as long as both lengths together.
        """
        self._group = group
        limits = [lengths[name] for name in PAIR_FEATURES]
        sizes = np.minimum(group.pair_counts() + 1, limits)  # with EOS
        if in_line:
            sizes, limits = sizes.sum(axis=1, keepdims=True), [sum(limits)]
        self._order = rng.permutation(len(sizes))
        self._starts = np.append(assign_rows(sizes[self._order], limits), len(sizes))
        self.num_rows = len(self._starts) - 1

    def pieces(self, epoch: int, number: int) -> tuple[Piece, ...]:
        """Returns the documents of a row, whole; the same in every epoch."""
        items = self._order[self._starts[number] : self._starts[number + 1]]
        return tuple(_whole(self._group, item) for item in items.tolist())


def _whole(group: RowGroup, item: int) -> Piece:
    num_tokens = int(group.token_counts(item, item + 1)[0])
    return Piece(int(group.documents[item]), 0, num_tokens)
