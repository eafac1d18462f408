"""Span corruption: runs of tokens replaced by sentinels, and what the model must fill in.

The one definition of the objective. The prepared reader calls it on NumPy arrays, seqio tasks call
it through `tf.numpy_function`. It knows no files, no batches and no padding, and it is a pure
function of its tokens and its generator.

The numbers are those of T5 (Raffel et al. 2020, section 3.1.4) as mT5 uses them: noise tokens are
round(length * noise_density) clipped to [1, length - 1]; spans are max(1, round(noise / mean
length)); noise and rest are each cut into that many non-empty runs, every cut equally likely; the
runs alternate and the first one is kept. `round` is Python's (half to even). T5 does not say what
happens when there are more spans than kept tokens (densities far above 0.15): here spans are also
clipped to the number of tokens on either side, which changes nothing at the usual settings.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from presence_t5x.data.documents import id_hash

# What the generator is for; `rows` numbers the other purposes.
_MASKS = 3


class NoiseCounts(NamedTuple):
    """How many tokens of an example are noise and in how many spans."""

    num_noise_tokens: int
    num_spans: int


class SpanCorruptionLengths(NamedTuple):
    """Raw tokens that fill an encoder row, and the decoder row they need (EOS included)."""

    raw_length: int
    targets_length: int


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


def mask_generator(seed: int, row_id: str, epoch: int) -> np.random.Generator:
    """Returns the generator of a row's mask: the same for prepared and for streamed data.

    It depends on nothing else: order, batch size, hosts and what was read before play no part.

    Args:
      seed: of the run's data.
      row_id: the document's id, with "#k" for its k-th later segment.
      epoch: which pass over the data this is, from 0.

    >>> mask_generator(0, "a.txt:1#2", 0).integers(1000, size=3)
    array([146, 800, 493])
    """
    row_hash = id_hash(row_id)
    # Always five words, the hash as two of them: SeedSequence takes a number as its 32-bit words
    # and pads with zeros, so that tuples of other lengths could collide.
    words = (seed, _MASKS, row_hash >> 32, row_hash & 0xFFFFFFFF, epoch)
    return np.random.default_rng(words)


def _random_composition(
    total: int, num_parts: int, rng: np.random.Generator
) -> Int[np.ndarray, " parts"]:
    """Cuts `total` into non-empty parts, every composition equally likely."""
    cuts = rng.choice(total - 1, size=num_parts - 1, replace=False, shuffle=False)
    bounds = np.concatenate([[0], np.sort(cuts) + 1, [total]])
    return np.diff(bounds)


def noise_mask(
    length: int,
    rng: np.random.Generator,
    noise_density: float = 0.15,
    mean_span: float = 3.0,
) -> Bool[np.ndarray, " tokens"]:
    """Returns which tokens are noise; the first one never is, the last one always.

    Args:
      length: number of tokens, at least 2.
      rng: the only source of randomness; the same state gives the same mask.
      noise_density: share of the tokens that are noise.
      mean_span: mean length of a noise span, in tokens.

    >>> noise_mask(10, np.random.default_rng(0), 0.3).sum()
    np.int64(3)
    """
    num_noise_tokens, num_spans = noise_counts(length, noise_density, mean_span)
    kept = _random_composition(length - num_noise_tokens, num_spans, rng)
    noise = _random_composition(num_noise_tokens, num_spans, rng)
    run_lengths = np.stack([kept, noise], axis=1).reshape(-1)
    return np.repeat(np.arange(2 * num_spans) % 2 == 1, run_lengths)


def _replace_runs(tokens, mask, first_sentinel_id, eos_id):
    """Each run of the mask becomes one sentinel, numbered downwards; EOS is appended."""
    starts = mask & ~np.concatenate([[False], mask[:-1]])
    sentinels = first_sentinel_id + 1 - np.cumsum(starts)
    replaced = np.where(starts, sentinels, tokens)[~mask | starts]
    return np.append(replaced, eos_id).astype(np.int32)


def corrupt_spans(
    tokens: Int[np.ndarray, " tokens"],
    rng: np.random.Generator,
    first_sentinel_id: int,
    eos_id: int,
    *,
    num_sentinels: int = 100,
    noise_density: float = 0.15,
    mean_span: float = 3.0,
) -> tuple[Int[np.ndarray, " inputs"], Int[np.ndarray, " targets"]]:
    """Returns (inputs, targets) as int32, each ending in EOS.

    Inputs are the tokens with every noise span replaced by one sentinel; targets are the tokens
    with every kept run replaced by one. Sentinels count down from `first_sentinel_id`, one per
    span, and number s stands in the targets right before the span that it replaces in the inputs:
    the two together are the raw tokens again.

    Args:
      tokens: at least 2, without EOS or padding.
      rng: the only source of randomness.
      first_sentinel_id: the highest sentinel, usually vocabulary size - 1.
      eos_id: appended to both.
      num_sentinels: how many sentinels lie below and at `first_sentinel_id`.

    Raises:
      ValueError: fewer than 2 tokens, or more spans than sentinels.
    """
    tokens = np.asarray(tokens)
    num_spans = noise_counts(tokens.size, noise_density, mean_span).num_spans
    if num_spans > num_sentinels:
        raise ValueError(
            f"{tokens.size} tokens have {num_spans} noise spans but there are only "
            f"num_sentinels={num_sentinels}; cut shorter segments or raise mean_span={mean_span}"
        )
    mask = noise_mask(tokens.size, rng, noise_density, mean_span)
    inputs = _replace_runs(tokens, mask, first_sentinel_id, eos_id)
    targets = _replace_runs(tokens, ~mask, first_sentinel_id, eos_id)
    return inputs, targets
