"""Which tokens make up row r: global order, epochs, mixing of groups.

Row r of the global order is a pure function of (seed, r); hosts, batch size and what was read
before play no part. Everything here is index arithmetic on the token counts: no token is read, and
no order is held in memory but that of packed pairs (an epoch is shuffled as a whole by a keyed
permutation of row numbers).

Mixing: rows are dealt to the groups (`mixing`) in blocks. In each block a group gets its share by
rate, exact to one row and without drift over blocks, in random order (a fixed alternation would
line up with microbatches). Each group counts its own epochs.

How the documents of a group are cut into rows is in `layouts`; over the whole epoch the rows are
then shuffled.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from grain.experimental import index_shuffle

from presence_t5x.data.layouts import (
    Layout,
    OneDocumentLayout,
    PackedLayout,
    PackedPairLayout,
    PairLayout,
    Piece,
)
from presence_t5x.data.mixing import RowGroup

# What a generator is for: different purposes never share a state.
_ROW_ORDER, _OFFSETS, _GROUP_ORDER, EVALUATION, _PACKING = range(5)


def make_generator(seed: int, purpose: int, *numbers: int) -> np.random.Generator:
    """Returns the generator of one purpose, e.g. the row order of (group, epoch)."""
    # Always five words: SeedSequence pads shorter ones with zeros, so (1, 2) would equal (1, 2, 0).
    return np.random.default_rng((seed, purpose, *numbers) + (0,) * (3 - len(numbers)))


class Row(NamedTuple):
    """The pieces of a row, the number of its group, and which pass over that group it is in."""

    group: int
    epoch: int
    pieces: tuple[Piece, ...]


class RowOrder:
    """The endless global order of rows of a mixture of groups."""

    def __init__(
        self,
        groups: Sequence[RowGroup],
        raw_length: int,
        *,
        pack: bool,
        seed: int,
        lengths: Mapping[str, int] | None = None,
        num_special: int = 0,
        in_line: bool = False,
    ):
        """Finds how many rows each group has.

        Args:
          groups: what is mixed.
          raw_length: tokens of a full row of text; of no use to pairs.
          pack: the layout.
          seed: of every shuffle.
          lengths: of the inputs and targets of a model row; needed to pack pairs.
          num_special: tokens that are counted into every document of text.
          in_line: packed pairs have their targets behind their inputs.

        Raises:
          ValueError: a group has too few tokens for a single row.
        """
        self._seed = seed
        self._num_special, self._in_line = num_special, in_line
        self.groups = tuple(groups)
        self._layouts = [
            self._make_pair_layout(number, group, lengths if pack else None)
            if group.is_pairs
            else self._make_layout(number, group, raw_length, pack)
            for number, group in enumerate(self.groups)
        ]
        self._deal = _GroupDealer([group.rate for group in self.groups], seed)
        self._epoch_seed = functools.lru_cache(maxsize=4096)(self._make_epoch_seed)

    def _make_layout(self, number: int, group: RowGroup, raw_length: int, pack: bool) -> Layout:
        layout: Layout
        if pack:

            def offset(epoch):
                return self._epoch_seed(_OFFSETS, number, epoch)

            layout = PackedLayout(group, raw_length, offset, self._num_special)
        else:
            layout = OneDocumentLayout(group, raw_length, self._num_special)
        if not layout.num_rows:
            raise ValueError(
                f"{group.name!r} has {group.num_tokens()} tokens in {len(group.documents)} "
                f"documents, too few for one row of {raw_length}; add text or shorten "
                "task_feature_lengths" + (", or set pack=False" if pack else "")
            )
        return layout

    def _make_pair_layout(
        self, number: int, group: RowGroup, packed_lengths: Mapping[str, int] | None
    ) -> Layout:
        if packed_lengths is None:
            return PairLayout(group)
        rng = make_generator(self._seed, _PACKING, number)
        return PackedPairLayout(group, packed_lengths, rng, in_line=self._in_line)

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
