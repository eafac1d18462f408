"""Span corruption against T5's published numbers, an inversion, and uniformity of the cuts."""

import collections

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from presence_t5x.data.span_corruption import (
    check_span_corruption,
    corrupt_spans,
    noise_counts,
    noise_mask,
    span_corruption_lengths,
)

FIRST_SENTINEL, EOS = 9999, 1

# (inputs, raw tokens, targets, noise tokens, spans) of T5's length helper at density 0.15, span 3.
PUBLISHED_LENGTHS = [
    (32, 34, 8, 5, 2),
    (64, 70, 14, 10, 3),
    (128, 141, 29, 21, 7),
    (256, 284, 58, 43, 14),
    (512, 568, 114, 85, 28),
    (1024, 1137, 229, 171, 57),
    (2048, 2274, 456, 341, 114),
]


def restore(inputs, targets):
    """The raw tokens: what follows a sentinel in the targets replaces it in the inputs."""
    spans = {}
    for token in targets[:-1]:
        if token > FIRST_SENTINEL - 1000:
            span = spans.setdefault(int(token), [])
        else:
            span.append(int(token))
    raw = []
    for token in inputs[:-1]:
        raw.extend(spans.pop(int(token)) if int(token) in spans else [int(token)])
    assert not spans
    return raw


@pytest.mark.parametrize(("inputs", "raw", "targets", "noise", "spans"), PUBLISHED_LENGTHS)
def test_lengths_are_those_of_t5(inputs, raw, targets, noise, spans):
    assert span_corruption_lengths(inputs, 0.15, 3.0) == (raw, targets)
    assert noise_counts(raw, 0.15, 3.0) == (noise, spans)
    corrupted = corrupt_spans(
        np.arange(5, 5 + raw), np.random.default_rng(0), FIRST_SENTINEL, EOS, num_sentinels=spans
    )
    assert [len(part) for part in corrupted] == [inputs, targets]


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(2, 400),
    seed=st.integers(0, 2**31),
    density=st.sampled_from([0.01, 0.15, 0.5, 0.9]),
    mean_span=st.sampled_from([1.0, 3.0, 10.0]),
)
def test_inputs_and_targets_are_the_raw_tokens_again(length, seed, density, mean_span):
    tokens = np.random.default_rng(seed).integers(2, 500, length)
    inputs, targets = corrupt_spans(
        tokens,
        np.random.default_rng(seed),
        FIRST_SENTINEL,
        EOS,
        num_sentinels=400,
        noise_density=density,
        mean_span=mean_span,
    )
    assert inputs.dtype == targets.dtype == np.int32
    assert restore(inputs, targets) == tokens.tolist()
    num_spans = noise_counts(length, density, mean_span).num_spans
    expected = [FIRST_SENTINEL - number for number in range(num_spans)]
    for part in (inputs, targets):
        assert part[-1] == EOS
        assert [token for token in part.tolist() if token > 500] == expected
    assert inputs[0] < 500 and targets[0] == FIRST_SENTINEL


def test_shorter_examples_never_need_more_room():
    for raw in range(2, 300):
        inputs, targets = corrupt_spans(
            np.arange(5, 5 + raw), np.random.default_rng(raw), FIRST_SENTINEL, EOS
        )
        following, _ = corrupt_spans(
            np.arange(5, 6 + raw), np.random.default_rng(raw), FIRST_SENTINEL, EOS
        )
        assert len(inputs) <= len(following) <= len(inputs) + 1
        assert len(targets) <= len(inputs) + 1


def test_every_pair_of_compositions_is_equally_likely():
    # 12 tokens, 4 of them noise in 2 spans: 3 cuts of the noise times 7 of the rest.
    counts = collections.Counter(
        noise_mask(12, np.random.default_rng(seed), 0.34, 2.0).tobytes() for seed in range(6300)
    )
    assert len(counts) == 21
    assert scipy.stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_the_generator_alone_decides():
    tokens = np.arange(5, 305)
    first, again, other = (
        corrupt_spans(tokens, np.random.default_rng(seed), FIRST_SENTINEL, EOS)[0]
        for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_masks_do_not_change_between_versions():
    # Regenerate by printing the mask; a change breaks the resumption of running experiments.
    mask = noise_mask(20, np.random.default_rng(7), 0.3, 2.0)
    assert "".join(map(str, mask.astype(int))) == "00000000011100011001"


@pytest.mark.parametrize("length", [0, 1])
def test_too_few_tokens(length):
    with pytest.raises(ValueError, match=rf"length={length} must be >= 2"):
        corrupt_spans(np.arange(length), np.random.default_rng(0), FIRST_SENTINEL, EOS)


def test_too_short_rows_and_too_few_sentinels():
    assert check_span_corruption(1024, 229, 100) == 1137
    with pytest.raises(ValueError, match=r"\['targets'\]=228 is too short.*need targets >= 229"):
        check_span_corruption(1024, 228, 100)
    with pytest.raises(ValueError, match="114 noise spans but the vocabulary has 100 sentinels"):
        check_span_corruption(2048, 512, 100)
    with pytest.raises(ValueError, match="114 noise spans but there are only num_sentinels=100"):
        corrupt_spans(np.arange(2274), np.random.default_rng(0), FIRST_SENTINEL, EOS)
    with pytest.raises(ValueError, match="inputs length 2 must be >= 3"):
        span_corruption_lengths(2)
