"""Which tokens make up row r: global order, epochs, mixing of groups, and the two row layouts.

Row r of the global order is a pure function of (seed, r); hosts, batch size and what was read
before play no part. Everything here is index arithmetic on the token counts: no token is read, and
no order is held in memory (an epoch is shuffled as a whole by a keyed permutation of row numbers).

Mixing: rows are dealt to the groups (`mixing`) in blocks. In each block a group gets its share by
rate, exact to one row and without drift over blocks, in random order (a fixed alternation would
line up with microbatches). Each group counts its own epochs.

Layouts: "one document a row" cuts a document into segments of the raw length; the last, shorter one
becomes a padded row, or is dropped if it is a single token. "packed" concatenates a group's
documents in the order of the store, with nothing between them (as mT5 does), and cuts the stream
into exact raw lengths, from another offset in every epoch; what remains at the ends is dropped in
that epoch. As groups are concatenated one by one, a packed row of one language's group has one
language. In both layouts rows are then shuffled over the whole epoch.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from grain.experimental import index_shuffle
from jaxtyping import Int

from presence_t5x.data.mixing import RowGroup
from presence_t5x.data.running_totals import RunningTotals

# What a generator is for: different purposes never share a state.
_ROW_ORDER, _OFFSETS, _GROUP_ORDER, EVALUATION = range(4)


def make_generator(seed: int, purpose: int, *numbers: int) -> np.random.Generator:
    """Returns the generator of one purpose, e.g. the row order of (group, epoch)."""
    # Always five words: SeedSequence pads shorter ones with zeros, so (1, 2) would equal (1, 2, 0).
    return np.random.default_rng((seed, purpose, *numbers) + (0,) * (3 - len(numbers)))


class Piece(NamedTuple):
    """Tokens start:stop of one document."""

    document: int
    start: int
    stop: int


class Row(NamedTuple):
    """The pieces of a row, the number of its group, and which pass over that group it is in."""

    group: int
    epoch: int
    pieces: tuple[Piece, ...]


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


class OneDocumentLayout:
    """Every row holds a segment of one document."""

    def __init__(self, group: RowGroup, raw_length: int):
        self._group = group
        self._raw_length = raw_length

        def read(start: int, stop: int) -> np.ndarray:
            return segment_counts(group.token_counts(start, stop), raw_length)

        self._totals = RunningTotals(len(group.documents), read)
        self.num_rows = self._totals.total

    def pieces(self, epoch: int, number: int) -> tuple[Piece, ...]:
        """Returns the one piece of a row; the same in every epoch."""
        item, first_row = self._totals.find(number)
        start = (number - first_row) * self._raw_length
        num_tokens = int(self._group.token_counts(item, item + 1)[0])
        stop = min(start + self._raw_length, num_tokens)
        return (Piece(int(self._group.documents[item]), start, stop),)


class PackedLayout:
    """Every row is full; the stream of documents is cut from another offset each epoch."""

    def __init__(self, group: RowGroup, raw_length: int, offset: Callable[[int], int]):
        self._group = group
        self._raw_length = raw_length
        self._totals = RunningTotals(len(group.documents), group.token_counts)
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
            num_tokens = int(self._group.token_counts(item, item + 1)[0])
            stop = min(start + remaining, num_tokens)
            if stop > start:
                pieces.append(Piece(int(self._group.documents[item]), start, stop))
            remaining -= stop - start
            item, start = item + 1, 0
        return tuple(pieces)


class RowOrder:
    """The endless global order of rows of a mixture of groups."""

    def __init__(self, groups: Sequence[RowGroup], raw_length: int, *, pack: bool, seed: int):
        """Args: what is mixed; tokens of a full row; the layout; the seed of every shuffle.

        Raises:
          ValueError: a group has too few tokens for a single row.
        """
        self._seed = seed
        self.groups = tuple(groups)
        self._layouts = [
            self._make_layout(number, group, raw_length, pack)
            for number, group in enumerate(self.groups)
        ]
        self._deal = _GroupDealer([group.rate for group in self.groups], seed)
        self._epoch_seed = functools.lru_cache(maxsize=4096)(self._make_epoch_seed)

    def _make_layout(self, number: int, group: RowGroup, raw_length: int, pack: bool) -> Layout:
        layout: Layout
        if pack:

            def offset(epoch):
                return self._epoch_seed(_OFFSETS, number, epoch)

            layout = PackedLayout(group, raw_length, offset)
        else:
            layout = OneDocumentLayout(group, raw_length)
        if not layout.num_rows:
            raise ValueError(
                f"{group.name!r} has {group.num_tokens()} tokens in {len(group.documents)} "
                f"documents, too few for one row of {raw_length}; add text or shorten "
                "task_feature_lengths" + (", or set pack=False" if pack else "")
            )
        return layout

    def _make_epoch_seed(self, purpose, group, epoch):
        return int(make_generator(self._seed, purpose, group, epoch).integers(2**32))

    @property
    def rows_per_epoch(self) -> list[int]:
        """Rows of one epoch of each group."""
        return [layout.num_rows for layout in self._layouts]

    def epochs_at(self, num_rows: int) -> list[float]:
        """Returns how many epochs of each group the first `num_rows` rows of the order are."""
        whole_blocks = num_rows - num_rows % self._deal.block_size
        dealt = self._deal.dealt(whole_blocks)
        for index in range(whole_blocks, num_rows):
            dealt[self._deal(index)[0]] += 1
        return [rows / layout.num_rows for rows, layout in zip(dealt.tolist(), self._layouts)]

    def row(self, index: int) -> Row:
        """Returns row `index` (0, 1, ...) of the global order."""
        group, place = self._deal(index)
        layout = self._layouts[group]
        epoch, place = divmod(place, layout.num_rows)
        seed = self._epoch_seed(_ROW_ORDER, group, epoch)
        number = index_shuffle(place, max_index=layout.num_rows - 1, seed=seed, rounds=4)
        return Row(group, epoch, layout.pieces(epoch, number))


class _GroupDealer:
    """Global row -> (group, how many rows of that group came before, in dealing order)."""

    def __init__(self, rates, seed):
        shares = np.asarray(rates, np.float64) / np.sum(rates)
        self._upper = np.cumsum(shares)
        self._upper[-1] = 1.0
        self._seed = seed
        # At least four rows of the rarest group, so that rounding never makes a count negative.
        self.block_size = max(1024, math.ceil(4 / shares.min()))
        self._block = functools.lru_cache(maxsize=4)(self._make_block)

    def dealt(self, num_rows):
        """Rows of each group among the first `num_rows`; sums to `num_rows` exactly."""
        return np.diff(np.floor(num_rows * self._upper).astype(np.int64), prepend=0)

    def _make_block(self, block):
        before = self.dealt(block * self.block_size)
        counts = self.dealt((block + 1) * self.block_size) - before
        groups = np.repeat(np.arange(counts.size), counts)
        starts = np.cumsum(counts) - counts
        places = np.arange(self.block_size) - starts[groups] + before[groups]
        order = make_generator(self._seed, _GROUP_ORDER, block).permutation(groups.size)
        return groups[order], places[order]

    def __call__(self, index):
        if self._upper.size == 1:
            return 0, index
        block, position = divmod(index, self.block_size)
        groups, places = self._block(block)
        return int(groups[position]), int(places[position])
