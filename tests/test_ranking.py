"""AUROC against counting every pair."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from presence_t5x.ranking import auroc

# Few distinct values, so that ties are common.
SIDE = st.lists(st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 1.0, 3.0, math.inf]), max_size=12)


def by_counting_pairs(positive, negative):
    wins = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    return sum(wins) / len(wins) if wins else math.nan


@settings(max_examples=200, deadline=None)
@given(SIDE, SIDE)
def test_equals_counting_pairs(positive, negative):
    expected = by_counting_pairs(positive, negative)
    assert auroc(np.array(positive), np.array(negative)) == pytest.approx(expected, nan_ok=True)


def test_exchanging_the_sides_gives_the_complement():
    random = np.random.default_rng(0)
    positive, negative = random.integers(0, 9, 300), random.integers(2, 11, 500)
    assert auroc(positive, negative) == pytest.approx(1 - auroc(negative, positive), abs=1e-12)


def test_an_increasing_function_changes_nothing():
    random = np.random.default_rng(1)
    positive, negative = random.normal(0.5, 1, 80), random.normal(0, 1, 90)
    assert auroc(np.exp(positive), np.exp(negative)) == auroc(positive, negative)


@pytest.mark.parametrize("sides", [([], [1.0]), ([1.0], []), ([], []), ([math.nan], [1.0]),
                                   ([1.0, 2.0], [math.nan, 0.0])])  # fmt: skip
def test_nan_without_a_rank(sides):
    assert math.isnan(auroc(*map(np.array, sides)))


def test_many_rows_do_not_overflow_the_count():
    many = np.ones(70_000, np.float32)  # 4.9e9 pairs: more than 32 bits hold
    assert auroc(many, many) == 0.5
