"""Measures of separation, against definitions taken literally."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from presence_t5x.studies.separation import average_precision, separations, share_found

VALUES = st.lists(st.integers(0, 6), min_size=1, max_size=12)


def naive_average_precision(positive, negative):
    """Sum over thresholds of (recall gained) x (precision at it)."""
    total, recall = 0.0, 0.0
    for threshold in sorted({*positive, *negative}, reverse=True):
        found = sum(value >= threshold for value in positive)
        taken = found + sum(value >= threshold for value in negative)
        total += (found / len(positive) - recall) * found / taken
        recall = found / len(positive)
    return total


@given(VALUES, VALUES)
@settings(deadline=None)
def test_average_precision(positive, negative):
    found = average_precision(np.array(positive), np.array(negative))
    assert found == pytest.approx(naive_average_precision(positive, negative))


def test_average_precision_of_nothing_is_unknown():
    assert math.isnan(average_precision(np.array([]), np.array([1.0])))
    assert math.isnan(average_precision(np.array([math.nan]), np.array([1.0])))


@given(VALUES, VALUES, st.sampled_from([0.1, 0.2, 0.5, 1.0]), st.integers(0, 3))
@settings(deadline=None, max_examples=50)
def test_share_found_is_the_mean_over_orders_of_ties(positive, negative, share, seed):
    values = np.array([*positive, *negative], float)
    is_noise = np.arange(len(values)) < len(positive)
    room = share * len(values)
    rng, found = np.random.default_rng(seed), []
    for _ in range(300):
        order = np.lexsort((rng.random(len(values)), -values))
        whole = int(room)
        taken = is_noise[order[:whole]].sum()
        taken += (room - whole) * is_noise[order[whole]] if whole < len(values) else 0
        found.append(taken / len(positive))
    result = share_found(np.array(positive), np.array(negative), share)
    assert result == pytest.approx(np.mean(found), abs=0.12)


def repeated(positive, negative, rate):
    """Both samples copied so often that positives are `rate` (a multiple of 0.1) of all."""
    tenths = round(rate * 10)
    return (
        np.repeat(positive, tenths * len(negative)),
        np.repeat(negative, (10 - tenths) * len(positive)),
    )


@given(VALUES, VALUES, st.sampled_from([0.1, 0.3, 0.8]))
@settings(deadline=None)
def test_a_rate_is_as_if_documents_were_repeated(positive, negative, rate):
    copies = repeated(positive, negative, rate)
    sides = np.array(positive), np.array(negative)
    found = average_precision(*sides, rate)
    assert found == pytest.approx(naive_average_precision(*map(list, copies)))
    for share in (0.1, 0.2, 0.65):
        expected = share_found(*copies, share)
        assert share_found(*sides, share, rate) == pytest.approx(expected)


def test_rates_change_what_depends_on_them_alone():
    values = {"clean": (1.0, 2.0, 4.0), "markup": (3.0, 5.0)}
    rows = [
        {"language": "en", "noise": noise, "score": score}
        for noise, scores in values.items()
        for score in scores
    ]
    rare, common = (
        row
        for row in separations(rows, {"score": "score"}, rates=(0.1, 0.5))
        if row["measure"] == "score" and row["language"] == "en"
    )
    assert (rare["rate"], common["rate"]) == (0.1, 0.5)
    assert rare["auroc"] == common["auroc"] == 5 / 6
    assert rare["average_precision"] < common["average_precision"]
    # At a rate of 0.1 each noisy document is 0.05 of the corpus, each clean one 0.3.
    assert rare["found_in_top_10%"] == pytest.approx(0.5)
    assert common["found_in_top_10%"] == pytest.approx(0.2)


def test_a_table():
    rows = [
        {"language": language, "noise": noise, "score": score, "loss": -score}
        for language in ("en", "sw")
        for noise, scores in (("clean", (1.0, 2.0)), ("permuted_words", (3.0, 5.0)))
        for score in scores
    ]
    rows.append({"language": "en", "noise": "clean", "score": None, "loss": None})
    table = separations(rows, {"score": "score", "loss": "loss"})
    assert len(table) == 4 * 3  # two languages, all and their mean; score, loss and random
    first = table[0]
    assert (first["language"], first["measure"], first["auroc"]) == ("en", "score", 1.0)
    assert first["over_clean"] == pytest.approx(4.0 / 1.5)
    assert first["found_in_top_20%"] == pytest.approx(0.4)  # 0.8 of one place in two
    assert (first["num_noise"], first["num_clean"]) == (2, 2)
    assert table[1]["measure"] == "loss" and table[1]["auroc"] == 0.0


def test_the_mean_of_languages_is_not_all_in_one_ranking():
    scores = {
        ("en", "clean"): (1.0, 2.0), ("en", "markup"): (3.0,),  # found
        ("sw", "clean"): (11.0, 12.0, 13.0, 14.0), ("sw", "markup"): (15.0, 11.5),
    }  # fmt: skip
    rows = [
        {"language": language, "noise": noise, "score": score}
        for (language, noise), values in scores.items()
        for score in values
    ]
    for rates in ((None,), (0.1, 0.5)):
        found = [
            row for row in separations(rows, {"score": "score"}, rates) if row["measure"] == "score"
        ]
        by_language = {row["language"]: row for row in found}
        assert len(found) == 4 * len(rates)
        assert by_language["sw"]["auroc"] == 5 / 8
        assert by_language["mean"]["auroc"] == pytest.approx((1 + 5 / 8) / 2)
        assert by_language["all"]["auroc"] == pytest.approx((2 + 6 + 3) / 18)
        means = [by_language[name]["average_precision"] for name in ("en", "sw")]
        assert by_language["mean"]["average_precision"] == pytest.approx(np.mean(means))
        assert (by_language["mean"]["num_noise"], by_language["mean"]["num_clean"]) == (3, 6)


def test_the_rate_of_a_mean_is_that_of_its_languages():
    rows = [
        {"language": f"l{i}", "noise": noise, "score": score}
        for i in range(7)
        for noise, score in (("clean", 1.0), ("markup", 2.0))
    ]
    found = separations(rows, {"score": "score"}, (0.05, 0.1))
    assert {row["rate"] for row in found if row["language"] == "mean"} == {0.05, 0.1}
