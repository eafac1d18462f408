"""Agreement of rankings, against definitions taken literally."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from presence_t5x.studies.agreement import agreement, spearman, top_overlap

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12)


def naive_ranks(values):
    """The mean of the places that a value could have among the others."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


@given(PAIRS)
@settings(deadline=None)
def test_spearman_is_the_correlation_of_mean_ranks(pairs):
    one, other = (np.array(values, float) for values in zip(*pairs))
    found = spearman(one, other)
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert math.isnan(found)
    else:
        expected = np.corrcoef(naive_ranks(one), naive_ranks(other))[0, 1]
        assert found == pytest.approx(expected, abs=1e-9)


def test_spearman_of_nothing_is_unknown():
    assert math.isnan(spearman(np.array([1.0]), np.array([2.0])))
    assert math.isnan(spearman(np.array([1.0, math.nan]), np.array([2.0, 3.0])))


@given(st.permutations(range(20)), st.sampled_from([0.1, 0.2, 0.33, 1.0]))
@settings(deadline=None)
def test_overlap_counts_common_documents(order, share):
    one, other = np.arange(20.0), np.array(order, float)
    number = round(share * 20)
    highest = [
        {place for place in range(20) if values[place] >= 20 - number} for values in (one, other)
    ]
    assert top_overlap(one, other, share) == len(highest[0] & highest[1]) / number


def test_overlap_has_one_document_at_least_and_takes_the_first_of_equals():
    assert top_overlap(np.array([1.0, 2.0]), np.array([3.0, 4.0]), 0.01) == 1.0
    assert top_overlap(np.array([1.0, 1.0]), np.array([4.0, 3.0]), 0.5) == 1.0
    assert math.isnan(top_overlap(np.array([math.nan]), np.array([1.0]), 0.5))


def test_columns():
    found = agreement(np.arange(10.0), np.arange(10.0)[::-1])
    assert found == {"spearman": pytest.approx(-1.0), "top_10%": 0.0, "top_20%": 0.0}
