"""The arithmetic of span corruption: how many tokens are noise, in how many spans, what fits a row.

The numbers are those of T5 (Raffel et al. 2020, section 3.1.4) as mT5 uses them: noise tokens are
round(length * noise_density) clipped to [1, length - 1]; spans are max(1, round(noise / mean
length)). `round` is Python's (half to even). T5 does not say what happens when there are more spans
than kept tokens (densities far above 0.15): here spans are also clipped to the number of tokens on
either side, which changes nothing at the usual settings.
"""

import functools
from typing import NamedTuple


class NoiseCounts(NamedTuple):
    """How many tokens of an example are noise and in how many spans."""

    num_noise_tokens: int
    num_spans: int


class SpanCorruptionLengths(NamedTuple):
    """Raw tokens that fill an encoder row, and the decoder row they need (EOS included)."""

    raw_length: int
    targets_length: int


@functools.lru_cache(maxsize=100_000)
def noise_counts(length: int, noise_density: float, mean_span: float) -> NoiseCounts:
    """Returns the number of noise tokens and of spans of an example.

    >>> noise_counts(1137, 0.15, 3.0)
    NoiseCounts(num_noise_tokens=171, num_spans=57)

    Raises:
      ValueError: fewer than 2 tokens, of which one would have to be noise and one kept.
    """
    if length < 2:
        raise ValueError(
            f"length={length} must be >= 2: span corruption needs one token to keep and one to drop"
        )
    num_noise_tokens = min(max(round(length * noise_density), 1), length - 1)
    num_spans = max(1, round(num_noise_tokens / mean_span))
    return NoiseCounts(
        num_noise_tokens, min(num_spans, num_noise_tokens, length - num_noise_tokens)
    )


def span_corruption_lengths(
    inputs_length: int, noise_density: float = 0.15, mean_span: float = 3.0
) -> SpanCorruptionLengths:
    """Returns the largest raw length whose corrupted inputs fit, and the targets length it needs.

    Both corrupted sequences count their sentinels and one EOS. Shorter examples never need more.

    >>> span_corruption_lengths(1024)
    SpanCorruptionLengths(raw_length=1137, targets_length=229)

    Raises:
      ValueError: `inputs_length` is too short for two tokens, a sentinel and EOS.
    """

    def encoded_length(raw_length):
        counts = noise_counts(raw_length, noise_density, mean_span)
        return raw_length - counts.num_noise_tokens + counts.num_spans + 1

    if inputs_length < encoded_length(2):
        raise ValueError(
            f"inputs length {inputs_length} must be >= {encoded_length(2)} to hold a kept token, a "
            "sentinel and EOS"
        )
    raw_length = 2
    while encoded_length(raw_length + 1) <= inputs_length:
        raw_length += 1
    counts = noise_counts(raw_length, noise_density, mean_span)
    return SpanCorruptionLengths(raw_length, counts.num_noise_tokens + counts.num_spans + 1)


def check_span_corruption(
    inputs_length: int,
    targets_length: int,
    num_sentinels: int,
    noise_density: float = 0.15,
    mean_span: float = 3.0,
) -> int:
    """Returns the raw length of a full row after checking that corrupted rows always fit.

    Raises:
      ValueError: the targets length is too short for the density (the needed one is named), or a
        full row has more spans than the vocabulary has sentinels.
    """
    lengths = span_corruption_lengths(inputs_length, noise_density, mean_span)
    if targets_length < lengths.targets_length:
        raise ValueError(
            f"task_feature_lengths['targets']={targets_length} is too short: inputs of "
            f"{inputs_length} tokens at noise_density={noise_density} and "
            f"mean_noise_span_length={mean_span} need targets >= {lengths.targets_length}"
        )
    num_spans = noise_counts(lengths.raw_length, noise_density, mean_span).num_spans
    if num_spans > num_sentinels:
        raise ValueError(
            f"rows of {inputs_length} inputs have {num_spans} noise spans but the vocabulary has "
            f"{num_sentinels} sentinels; shorten the inputs or raise mean_noise_span_length="
            f"{mean_span}"
        )
    return lengths.raw_length
