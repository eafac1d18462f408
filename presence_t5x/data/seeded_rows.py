"""Rows of unequal length as one array, and random numbers that depend on a row's key alone.

What corrupts or masks rows draws from here: the numbers are SplitMix64's of (key, place), so a row
is the same whatever stands beside it, and all rows of a batch are drawn at once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt64

from presence_t5x.data.documents import id_hash

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ROW_BITS = np.uint64(20)


class RaggedRows(NamedTuple):
    """Rows of unequal length, one after the other."""

    tokens: Int[np.ndarray, " tokens"]
    lengths: Int[np.ndarray, " rows"]

    @classmethod
    def join(cls, rows: Sequence[Int[np.ndarray, " tokens"]]) -> "RaggedRows":
        """Returns rows (at least one) as one."""
        return cls(np.concatenate(rows), np.array([len(row) for row in rows]))

    def pad(self, num_rows: int, length: int) -> Int[np.ndarray, "{num_rows} {length}"]:
        """Returns the rows as an int32 array, zeros behind them and below them."""
        padded = np.zeros((num_rows, length), np.int32)
        padded[rows_of(self.lengths), places_of(self.lengths)] = self.tokens
        return padded

    def split(self) -> list[Int[np.ndarray, " tokens"]]:
        """Returns the rows one by one."""
        return np.split(self.tokens, np.cumsum(self.lengths)[:-1])


def mask_key(seed: int, row_id: str, epoch: int) -> int:
    """Returns the key of a row's noise: the same for prepared and for streamed data.

    It depends on nothing else: order, batch size, hosts and what was read before play no part.

    Args:
      seed: of the run's data.
      row_id: the document's id, with "#k" for its k-th later segment.
      epoch: which pass over the data this is, from 0.

    >>> mask_key(0, "a.txt:1#2", 0)
    7578703171505402179
    """
    return id_hash(f"{seed}/{epoch}/{row_id}")


def rows_of(lengths: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " tokens"]:
    """Returns 0 for every token of row 0, 1 for those of row 1, ..."""
    return np.repeat(np.arange(lengths.size), lengths)


def places_of(lengths: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " tokens"]:
    """Returns 0, 1, ... within every row."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def mix_bits(numbers: UInt64[np.ndarray, " numbers"]) -> UInt64[np.ndarray, " numbers"]:
    """Returns SplitMix64's mixing of 64-bit numbers: one to one, every bit of each looks random."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def draw_numbers(
    lengths: Int[np.ndarray, " rows"], keys: UInt64[np.ndarray, " rows"]
) -> UInt64[np.ndarray, " tokens"]:
    """Returns a random 64-bit number for every token of every row.

    Args:
      lengths: of the rows.
      keys: of each row, its only source of randomness.
    """
    places = places_of(lengths) + 1
    return mix_bits(np.repeat(keys, lengths) + places.astype(np.uint64) * _GOLDEN)


def smallest_of_rows(
    lengths: Int[np.ndarray, " rows"],
    numbers: UInt64[np.ndarray, " tokens"],
    counts: Int[np.ndarray, " rows"],
) -> Int[np.ndarray, " chosen"]:
    """Returns which tokens have the smallest numbers of their row, in order; ties by place.

    Args:
      lengths: of the rows, at most 2**20 of them.
      numbers: of every token; their upper 44 bits count.
      counts: how many of each row.
    """
    # Sorted by row, then by number.
    rows = rows_of(lengths).astype(np.uint64) << (np.uint64(64) - _ROW_BITS)
    order = np.argsort(rows | (numbers >> _ROW_BITS), kind="stable")
    return np.sort(order[places_of(lengths) < np.repeat(counts, lengths)])
