"""Which tokens make up row r: global order, epochs, mixing of tasks, and the two row layouts.

Row r of the global order is a pure function of (seed, r); hosts, batch size and what was read
before play no part. Everything here is index arithmetic on the token counts: no token is read.

Mixing: rows are dealt to the tasks of a store in blocks. In each block a task gets its share by
rate, exact to one row and without drift over blocks, in random order (a fixed alternation would
line up with microbatches). Each task counts its own epochs.

Layouts: "one document a row" cuts a document into segments of the raw length; the last, shorter one
becomes a padded row, or is dropped if it is a single token. "packed" concatenates a task's
documents in the epoch's order, with nothing between them (as mT5 does), and cuts the stream into
exact raw lengths; the rest shorter than a row is dropped and differs from epoch to epoch. As tasks
are concatenated one by one, a packed row of a per-language task has one language. In both layouts
rows are then shuffled over the whole epoch.
"""

import functools
import math
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Int

from presence_t5x.data.token_store import TaskRange, TokenStore

# What a generator is for: different purposes never share a state.
_DOCUMENT_ORDER, _ROW_ORDER, _TASK_ORDER, MASKS, EVALUATION = range(5)


def make_generator(seed: int, purpose: int, *numbers: int) -> np.random.Generator:
    """Returns the generator of one purpose, e.g. the noise of (task, epoch, row)."""
    # Always five words: SeedSequence pads shorter ones with zeros, so (1, 2) would equal (1, 2, 0).
    return np.random.default_rng((seed, purpose, *numbers) + (0,) * (3 - len(numbers)))


class Piece(NamedTuple):
    """Tokens start:stop of one document."""

    document: int
    start: int
    stop: int


class Row(NamedTuple):
    """The pieces of a row and what identifies it: (task, epoch, number) seeds its noise."""

    task: int
    epoch: int
    number: int
    pieces: tuple[Piece, ...]


class Layout(Protocol):
    """How the documents of one task are cut into rows."""

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

    def __init__(self, token_counts, first_document, raw_length):
        self._token_counts = token_counts
        self._first_document = first_document
        self._raw_length = raw_length
        self._ends = np.cumsum(segment_counts(token_counts, raw_length), dtype=np.int64)
        self.num_rows = int(self._ends[-1])

    def pieces(self, epoch: int, number: int) -> tuple[Piece, ...]:
        """Returns the one piece of a row; the same in every epoch."""
        document = int(np.searchsorted(self._ends, number, side="right"))
        first_row = int(self._ends[document - 1]) if document else 0
        start = (number - first_row) * self._raw_length
        stop = min(start + self._raw_length, int(self._token_counts[document]))
        return (Piece(self._first_document + document, start, stop),)


class PackedLayout:
    """Every row is full; documents are concatenated in an order of their own each epoch."""

    def __init__(self, token_counts, first_document, raw_length, seed, task):
        self._token_counts = token_counts
        self._first_document = first_document
        self._raw_length = raw_length
        self._seed = seed
        self._task = task
        self.num_rows = int(token_counts.sum(dtype=np.int64)) // raw_length
        self._stream = functools.lru_cache(maxsize=2)(self._make_stream)

    def _make_stream(self, epoch):
        rng = make_generator(self._seed, _DOCUMENT_ORDER, self._task, epoch)
        order = rng.permutation(self._token_counts.size)
        return order, np.cumsum(self._token_counts[order], dtype=np.int64)

    def pieces(self, epoch: int, number: int) -> tuple[Piece, ...]:
        """Returns the pieces of a row in order; their lengths sum to the raw length."""
        order, ends = self._stream(epoch)
        start, stop = number * self._raw_length, (number + 1) * self._raw_length
        pieces = []
        place = int(np.searchsorted(ends, start, side="right"))
        while start < stop:
            document = int(order[place])
            first = int(ends[place]) - int(self._token_counts[document])
            end = min(stop, int(ends[place]))
            pieces.append(Piece(self._first_document + document, start - first, end - first))
            start, place = end, place + 1
        return tuple(pieces)


class RowOrder:
    """The endless global order of rows of a store."""

    def __init__(self, store: TokenStore, raw_length: int, *, pack: bool, seed: int):
        """Args: the store; tokens of a full row; the layout; the seed of every shuffle.

        Raises:
          ValueError: a task has too few tokens for a single row.
        """
        self._seed = seed
        self._layouts = [
            self._make_layout(store, number, task, raw_length, pack)
            for number, task in enumerate(store.tasks)
        ]
        self._deal = _TaskDealer([task.rate for task in store.tasks], seed)
        self._permutation = functools.lru_cache(maxsize=2 * len(self._layouts))(
            self._make_permutation
        )

    def _make_layout(
        self, store: TokenStore, number: int, task: TaskRange, raw_length: int, pack: bool
    ) -> Layout:
        last = task.first_document + task.num_documents
        counts = store.token_counts[task.first_document : last]
        if pack:
            layout = PackedLayout(counts, task.first_document, raw_length, self._seed, number)
        else:
            layout = OneDocumentLayout(counts, task.first_document, raw_length)
        if not layout.num_rows:
            raise ValueError(
                f"task {task.name!r} has {counts.sum()} tokens in {counts.size} documents, too few "
                f"for one row of {raw_length}; add text or shorten task_feature_lengths"
                + (", or set pack=False" if pack else "")
            )
        return layout

    def _make_permutation(self, task, epoch):
        rng = make_generator(self._seed, _ROW_ORDER, task, epoch)
        return rng.permutation(self._layouts[task].num_rows)

    @property
    def rows_per_epoch(self) -> list[int]:
        """Rows of one epoch of each task."""
        return [layout.num_rows for layout in self._layouts]

    def row(self, index: int) -> Row:
        """Returns row `index` (0, 1, ...) of the global order."""
        task, place = self._deal(index)
        epoch, place = divmod(place, self._layouts[task].num_rows)
        number = int(self._permutation(task, epoch)[place])
        return Row(task, epoch, number, self._layouts[task].pieces(epoch, number))


class _TaskDealer:
    """Global row -> (task, how many rows of that task came before, in dealing order)."""

    def __init__(self, rates, seed):
        shares = np.asarray(rates, np.float64) / np.sum(rates)
        self._upper = np.cumsum(shares)
        self._upper[-1] = 1.0
        self._seed = seed
        # At least four rows of the rarest task, so that rounding never makes a count negative.
        self._block_size = max(1024, math.ceil(4 / shares.min()))
        self._block = functools.lru_cache(maxsize=4)(self._make_block)

    def _dealt(self, num_rows):
        """Rows of each task among the first `num_rows`; sums to `num_rows` exactly."""
        return np.diff(np.floor(num_rows * self._upper).astype(np.int64), prepend=0)

    def _make_block(self, block):
        before = self._dealt(block * self._block_size)
        counts = self._dealt((block + 1) * self._block_size) - before
        tasks = np.repeat(np.arange(counts.size), counts)
        starts = np.cumsum(counts) - counts
        places = np.arange(self._block_size) - starts[tasks] + before[tasks]
        order = make_generator(self._seed, _TASK_ORDER, block).permutation(tasks.size)
        return tasks[order], places[order]

    def __call__(self, index):
        if self._upper.size == 1:
            return 0, index
        block, position = divmod(index, self._block_size)
        tasks, places = self._block(block)
        return int(tasks[position]), int(places[position])
