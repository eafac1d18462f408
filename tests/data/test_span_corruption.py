"""Span corruption against T5's published numbers, an inversion, and uniformity of the cuts."""

import collections
import itertools
import math

import numpy as np
import oracles
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from presence_t5x.data.seeded_rows import mask_key
from presence_t5x.data.span_corruption import corrupt_rows, noise_masks
from presence_t5x.data.span_lengths import (
    check_span_corruption,
    noise_counts,
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


def corrupt_spans(tokens, key, first_sentinel_id, eos_id, **settings):
    """One row."""
    inputs, targets = corrupt_rows([tokens], [key], first_sentinel_id, eos_id, **settings)
    return inputs.tokens, targets.tokens


@pytest.mark.parametrize(("inputs", "raw", "targets", "noise", "spans"), PUBLISHED_LENGTHS)
def test_lengths_are_those_of_t5(inputs, raw, targets, noise, spans):
    assert span_corruption_lengths(inputs, 0.15, 3.0) == (raw, targets)
    assert noise_counts(raw, 0.15, 3.0) == (noise, spans)
    corrupted = corrupt_spans(np.arange(5, 5 + raw), 0, FIRST_SENTINEL, EOS, num_sentinels=spans)
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
        seed,
        FIRST_SENTINEL,
        EOS,
        num_sentinels=400,
        noise_density=density,
        mean_span=mean_span,
    )
    assert inputs.dtype == targets.dtype == np.int32
    assert oracles.restore_tokens(inputs, targets, 9000) == tokens.tolist()
    num_spans = noise_counts(length, density, mean_span).num_spans
    expected = [FIRST_SENTINEL - number for number in range(num_spans)]
    for part in (inputs, targets):
        assert part[-1] == EOS
        assert [token for token in part.tolist() if token > 500] == expected
    assert inputs[0] < 500 and targets[0] == FIRST_SENTINEL


def test_shorter_examples_never_need_more_room():
    for raw in range(2, 300):
        inputs, targets = corrupt_spans(np.arange(5, 5 + raw), raw, FIRST_SENTINEL, EOS)
        following, _ = corrupt_spans(np.arange(5, 6 + raw), raw, FIRST_SENTINEL, EOS)
        assert len(inputs) <= len(following) <= len(inputs) + 1
        assert len(targets) <= len(inputs) + 1


def test_every_pair_of_compositions_is_equally_likely():
    # 12 tokens, 4 of them noise in 2 spans: 3 cuts of the noise times 7 of the rest.
    keys = np.array([mask_key(0, str(row), 0) for row in range(6300)], np.uint64)
    masks = noise_masks(np.full(6300, 12), keys, 0.34, 2.0).reshape(6300, 12)
    counts = collections.Counter(mask.tobytes() for mask in masks)
    assert len(counts) == 21
    assert scipy.stats.chisquare(list(counts.values())).pvalue > 1e-3


def run_lengths(rows):
    """Lengths of the runs after each sentinel [rows, sentinels], and the sentinels."""
    is_sentinel = rows > 5000
    sentinels = rows[is_sentinel].reshape(len(rows), -1)
    # Every row has as many sentinels, so that the places in order are those of row after row.
    places = np.nonzero(is_sentinel)[1].reshape(sentinels.shape)
    ends = np.full((len(rows), 1), rows.shape[1])
    return np.diff(np.concatenate([places, ends], axis=1), axis=1) - 1, sentinels


def assert_follows_composition_law(lengths, total, num_parts):
    """One part of independent uniform compositions: P(l) = C(total-l-1, k-2) / C(total-1, k-1)."""
    longest = total - num_parts + 1
    law = np.array(
        [
            math.comb(total - length - 1, num_parts - 2) / math.comb(total - 1, num_parts - 1)
            for length in range(1, longest + 1)
        ]
    )
    assert math.isclose(law.sum(), 1, rel_tol=1e-9)
    expected = law * len(lengths)
    last = int(np.flatnonzero(expected >= 10)[-1])  # the rest is one cell
    cells = np.minimum(lengths, last + 1) - 1
    expected = np.append(expected[:last], expected[last:].sum())
    counts = np.bincount(cells, minlength=last + 1)
    # Seeds are fixed; the bound is what one of a thousand right samplers would fail.
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3


def test_ten_thousand_full_rows_have_the_published_statistics():
    """1024 inputs and 229 targets: everything is read back from the two sequences alone."""
    num_rows, raw = 10_000, np.arange(5, 5 + 1137)
    keys = [mask_key(0, f"document {row}", 0) for row in range(num_rows)]
    inputs, targets = (
        rows.tokens.reshape(num_rows, -1)
        for rows in corrupt_rows([raw] * num_rows, keys, FIRST_SENTINEL, EOS)
    )
    assert inputs.shape == (num_rows, 1024) and targets.shape == (num_rows, 229)
    for part in (inputs, targets):
        assert (part[:, -1] == EOS).all() and (part[:, :-1] != EOS).all()
    inputs, targets = inputs[:, :-1], targets[:, :-1]
    spans, sentinels = run_lengths(targets)
    assert (sentinels == FIRST_SENTINEL - np.arange(57)).all()
    assert (spans.sum(axis=1) == 171).all() and spans.min() >= 1
    assert spans.mean() == 3.0 and round(171 / 1137, 4) == 0.1504
    kept_after, sentinels = run_lengths(inputs)
    assert (sentinels == FIRST_SENTINEL - np.arange(57)).all()
    assert (kept_after[:, -1] == 0).all() and kept_after[:, :-1].min() >= 1
    kept = np.concatenate([np.argmax(inputs > 5000, axis=1)[:, None], kept_after[:, :-1]], axis=1)
    assert (kept.sum(axis=1) == 1137 - 171).all() and kept.min() >= 1
    # Every raw token is in one of the two, once.
    together = np.concatenate([inputs, targets], axis=1)
    together = np.sort(together[together < 5000].reshape(num_rows, -1), axis=1)
    assert (together == raw).all()
    for number in (0, 1, 28, 55, 56):
        assert_follows_composition_law(spans[:, number], 171, 57)
        assert_follows_composition_law(kept[:, number], 966, 57)
    # Parts of a composition repel each other by -1 / (k - 1); 4 standard deviations are 0.04.
    for parts in (spans, kept):
        correlation = np.corrcoef(parts[:, 10], parts[:, 40])[0, 1]
        assert abs(correlation + 1 / 56) < 0.04
    # Noise and rest are cut independently.
    assert abs(np.corrcoef(spans[:, 20], kept[:, 20])[0, 1]) < 0.04


def test_the_key_alone_decides():
    tokens = np.arange(5, 305)
    first, again, other = (corrupt_spans(tokens, key, FIRST_SENTINEL, EOS)[0] for key in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(2, 200), min_size=1, max_size=9), seed=st.integers(0, 99))
def test_a_row_is_the_same_whatever_stands_beside_it(lengths, seed):
    rows = [np.arange(5, 5 + length) for length in lengths]
    keys = [mask_key(seed, str(number), 0) for number in range(len(rows))]
    together = corrupt_rows(rows, keys, FIRST_SENTINEL, EOS)
    for number, (row, key) in enumerate(zip(rows, keys)):
        alone = corrupt_spans(row, key, FIRST_SENTINEL, EOS)
        for part, expected in zip(together, alone):
            assert np.array_equal(part.split()[number], expected)
            padded = part.pad(len(rows) + 1, 300)
            assert np.array_equal(padded[number, : expected.size], expected)
            assert not padded[number, expected.size :].any() and not padded[-1].any()


def test_keys_differ_by_seed_row_and_epoch():
    names = itertools.product((0, 1, 10), ("a", "0/a", "a#1"), (0, 1, 10))
    assert len({mask_key(*name) for name in names}) == 27


def test_masks_do_not_change_between_versions():
    # Regenerate by printing the mask; a change breaks the resumption of running experiments.
    mask = noise_masks(np.array([20]), np.array([7], np.uint64), 0.3, 2.0)
    assert "".join(map(str, mask.astype(int))) == "01100000000011100001"


@pytest.mark.parametrize("length", [0, 1])
def test_too_few_tokens(length):
    with pytest.raises(ValueError, match=rf"length={length} must be >= 2"):
        corrupt_spans(np.arange(length), 0, FIRST_SENTINEL, EOS)


def test_too_short_rows_and_too_few_sentinels():
    assert check_span_corruption(1024, 229, 100) == 1137
    with pytest.raises(ValueError, match=r"\['targets'\]=228 is too short.*need targets >= 229"):
        check_span_corruption(1024, 228, 100)
    with pytest.raises(ValueError, match="114 noise spans but the vocabulary has 100 sentinels"):
        check_span_corruption(2048, 512, 100)
    with pytest.raises(ValueError, match="114 noise spans but there are only num_sentinels=100"):
        corrupt_spans(np.arange(2274), 0, FIRST_SENTINEL, EOS)
    with pytest.raises(ValueError, match="inputs length 2 must be >= 3"):
        span_corruption_lengths(2)
