"""Span corruption: runs of tokens replaced by sentinels, and what the model must fill in.

The one definition of the objective. The prepared reader corrupts all rows of a batch at once, seqio
tasks one at a time through `tf.numpy_function`; both call `corrupt_rows`, a pure function of the
tokens and one 64-bit key a row, so a row is the same whatever stands beside it. It knows no files,
no batches and no padding.

Noise and rest are each cut into as many non-empty runs as there are spans (`span_lengths`), every
cut equally likely; the runs alternate and the first one is kept (Raffel et al. 2020, section
3.1.4). Where they are cut is where the smallest random numbers are drawn (`seeded_rows`).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt64

from presence_t5x.data.seeded_rows import RaggedRows, draw_numbers, mix_bits, smallest_of_rows
from presence_t5x.data.span_lengths import noise_counts


def _cut_rows(
    totals: Int[np.ndarray, " rows"],
    num_parts: Int[np.ndarray, " rows"],
    keys: UInt64[np.ndarray, " rows"],
) -> Int[np.ndarray, " parts"]:
    """Cuts every total into non-empty parts, every composition equally likely; row after row."""
    numbers = draw_numbers(totals, keys)
    numbers[np.cumsum(totals) - totals] = 0  # a row's first place is always a cut
    starts = smallest_of_rows(totals, numbers, num_parts)
    return np.diff(starts, append=numbers.size)


def noise_masks(
    lengths: Int[np.ndarray, " rows"],
    keys: UInt64[np.ndarray, " rows"],
    noise_density: float = 0.15,
    mean_span: float = 3.0,
) -> Bool[np.ndarray, " tokens"]:
    """Returns which tokens are noise, row after row; the first of a row never, the last always.

    Args:
      lengths: tokens of each row, at least 2.
      keys: of each row, its only source of randomness.
      noise_density: share of the tokens that are noise.
      mean_span: mean length of a noise span, in tokens.

    >>> noise_masks(np.array([10]), np.array([7], np.uint64), 0.3).astype(int)
    array([0, 0, 0, 0, 0, 0, 0, 1, 1, 1])
    """
    counts = np.array([noise_counts(n, noise_density, mean_span) for n in lengths.tolist()])
    num_noise_tokens, num_spans = counts.T
    kept = _cut_rows(lengths - num_noise_tokens, num_spans, keys)
    noise = _cut_rows(num_noise_tokens, num_spans, mix_bits(~keys))
    run_lengths = np.stack([kept, noise], axis=1).reshape(-1)
    return np.repeat(np.arange(run_lengths.size) % 2 == 1, run_lengths)


def _replace_runs(rows: RaggedRows, mask, first_sentinel_id: int, eos_id: int) -> RaggedRows:
    """Each run of the mask becomes one sentinel, numbered downwards; EOS is appended."""
    row_starts = np.cumsum(rows.lengths) - rows.lengths
    starts = mask.copy()
    starts[1:] &= ~mask[:-1]
    starts[row_starts] = mask[row_starts]
    runs = np.cumsum(starts)
    before = runs[row_starts] - starts[row_starts]
    sentinels = first_sentinel_id + 1 - (runs - np.repeat(before, rows.lengths))
    kept = ~mask | starts
    lengths = np.add.reduceat(kept, row_starts, dtype=np.int64)
    replaced = np.where(starts, sentinels, rows.tokens)[kept]
    return RaggedRows(np.insert(replaced, np.cumsum(lengths), eos_id).astype(np.int32), lengths + 1)


def corrupt_rows(
    rows: Sequence[Int[np.ndarray, " tokens"]],
    keys: Sequence[int],
    first_sentinel_id: int,
    eos_id: int,
    *,
    num_sentinels: int = 100,
    noise_density: float = 0.15,
    mean_span: float = 3.0,
) -> tuple[RaggedRows, RaggedRows]:
    """Returns (inputs, targets) of every row as int32, each row ending in EOS.

    Inputs are the tokens with every noise span replaced by one sentinel; targets are the tokens
    with every kept run replaced by one. Sentinels count down from `first_sentinel_id`, one per
    span, and number s stands in the targets right before the span that it replaces in the inputs:
    the two together are the raw tokens again.

    Args:
      rows: at least one, at most 2**20, of at least 2 tokens each, without EOS or padding.
      keys: of each row, from `mask_key`; its only source of randomness.
      first_sentinel_id: the highest sentinel, usually vocabulary size - 1.
      eos_id: appended to both.
      num_sentinels: how many sentinels lie below and at `first_sentinel_id`.
      noise_density: share of the tokens that are noise.
      mean_span: mean length of a noise span, in tokens.

    Raises:
      ValueError: fewer than 2 tokens, or more spans than sentinels.
    """
    ragged = RaggedRows.join(rows)
    lengths = ragged.lengths
    longest = int(lengths.max())
    num_spans = noise_counts(longest, noise_density, mean_span).num_spans
    if num_spans > num_sentinels:
        raise ValueError(
            f"{longest} tokens have {num_spans} noise spans but there are only "
            f"num_sentinels={num_sentinels}; cut shorter segments or raise mean_span={mean_span}"
        )
    mask = noise_masks(lengths, np.asarray(keys, np.uint64), noise_density, mean_span)
    inputs = _replace_runs(ragged, mask, first_sentinel_id, eos_id)
    targets = _replace_runs(ragged, ~mask, first_sentinel_id, eos_id)
    return inputs, targets
