"""Metrics of GLUE and SuperGLUE: cases of the published scorers, quirks, oracles, properties.

Oracles are the definitions over whole tables of counts (F1 by precision and recall, Matthews as a
correlation of one-hot vectors, correlations by sums), where the code under test counts as it goes.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence_t5x import task_metrics

ROUNDING = {"rel": 1e-9, "abs": 1e-9}  # of float64 sums
RIGHT_AND_INVALID = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0, 1, -1, 7])), min_size=1, max_size=30
)
THREE = st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2)), min_size=1, max_size=30)
SCORES = st.lists(
    st.tuples(st.integers(0, 25), st.integers(-5, 25)).map(lambda p: (p[0] / 5, p[1] / 5)),
    min_size=1,
    max_size=30,
)


def f1_by_precision_and_recall(targets, predictions, number):
    targets, predictions = np.asarray(targets) == number, np.asarray(predictions) == number
    right = (targets & predictions).sum()
    if not right:
        return 0.0
    precision, recall = right / predictions.sum(), right / targets.sum()
    return 2 * precision * recall / (precision + recall)


@given(RIGHT_AND_INVALID)
def test_f1_with_invalid_predictions(pairs):
    targets, predictions = zip(*pairs)
    swapped = np.where(np.isin(predictions, (0, 1)), predictions, 1 - np.array(targets))
    expected = 100 * f1_by_precision_and_recall(targets, swapped, 1)
    assert task_metrics.f1_with_invalid(targets, predictions)["f1"] == pytest.approx(
        expected, **ROUNDING
    )


def test_f1_counts_invalid_predictions_as_wrong():
    """One of two found, and one false alarm by an invalid prediction: precision 1/2, recall 1/2."""
    f1 = task_metrics.f1_with_invalid
    assert f1([1, 1, 0, 0], [1, -1, -1, 0]) == {"f1": 50.0}
    assert f1([1, 1, 0, 0], [1, 5, 0, 0])["f1"] == pytest.approx(200 / 3)
    assert f1([0, 0], [0, 0]) == {"f1": 0.0}  # nothing to find, nothing found
    # What is asked for is class 1, not the mean of both.
    assert f1([0, 0, 0, 1], [0, 0, 0, 0]) == {"f1": 0.0}


@given(THREE)
def test_mean_f1_of_classes(pairs):
    targets, predictions = zip(*pairs)
    expected = 100 * np.mean([f1_by_precision_and_recall(*zip(*pairs), k) for k in range(3)])
    found = task_metrics.mean_multiclass_f1(targets, predictions, num_classes=3)
    assert found == {"mean_3class_f1": pytest.approx(expected, **ROUNDING)}


def test_a_class_that_nobody_names_counts_as_zero():
    """Three classes in the mean, though one is not in the data: 2/3, 4/5 and 0."""
    found = task_metrics.mean_multiclass_f1([0, 0, 1, 1], [0, 1, 1, 1], num_classes=3)
    assert found == {"mean_3class_f1": pytest.approx(100 * (2 / 3 + 4 / 5 + 0) / 3)}


def matthews_by_vectors(targets, predictions):
    classes = sorted({*targets, *predictions})
    gold, found = (np.equal.outer(some, classes).astype(float) for some in (targets, predictions))
    gold, found = gold - gold.mean(axis=0), found - found.mean(axis=0)
    scale = math.sqrt((gold**2).sum() * (found**2).sum())
    return 100 * (gold * found).sum() / scale if scale > 1e-9 else 0.0


@given(RIGHT_AND_INVALID)
def test_matthews_correlation_of_any_number_of_classes(pairs):
    targets, predictions = zip(*pairs)
    found = task_metrics.matthews_correlation(targets, predictions)["matthews_corrcoef"]
    assert found == pytest.approx(matthews_by_vectors(targets, predictions), **ROUNDING)


def test_matthews_correlation_of_two_classes():
    """(TP TN - FP FN) / sqrt(...) with TP 3, TN 2, FP 1, FN 2."""
    targets, predictions = [1, 1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0, 1]
    expected = 100 * (3 * 2 - 1 * 2) / math.sqrt(4 * 5 * 3 * 4)
    found = task_metrics.matthews_correlation(targets, predictions)
    assert found == {"matthews_corrcoef": pytest.approx(expected)}
    assert task_metrics.matthews_correlation(targets, [1] * 8) == {"matthews_corrcoef": 0.0}
    opposite = [1 - target for target in targets]
    assert task_metrics.matthews_correlation(targets, opposite)["matthews_corrcoef"] == -100


def pearson_by_sums(x, y):
    n, (sx, sy) = len(x), (math.fsum(x), math.fsum(y))
    xy = n * math.fsum(a * b for a, b in zip(x, y)) - sx * sy
    xx, yy = (n * math.fsum(a * a for a in z) - s * s for z, s in ((x, sx), (y, sy)))
    return 100 * xy / math.sqrt(xx * yy)


def ranks(values):
    """1 more than how many are smaller, and half of how many are the same."""
    return [1 + sum(o < v for o in values) + (sum(o == v for o in values) - 1) / 2 for v in values]


@given(SCORES)
def test_correlations(pairs):
    targets, predictions = zip(*pairs)
    pearson = task_metrics.pearson_correlation(targets, predictions)["pearson_corrcoef"]
    spearman = task_metrics.spearman_correlation(targets, predictions)["spearman_corrcoef"]
    if len({*targets}) < 2 or len({*predictions}) < 2:
        assert pearson == spearman == 0.0
        return
    assert pearson == pytest.approx(pearson_by_sums(targets, predictions), abs=1e-6)
    expected = pearson_by_sums(ranks(targets), ranks(predictions))
    assert spearman == pytest.approx(expected, abs=1e-6)


def test_unparsable_numbers_are_minus_one():
    texts = ["3.4", " 5 ", "1e1", "", "four", "3,4", "nan", "inf", "-2.0", "3.4 points"]
    found = [task_metrics.string_to_float(text, example={}, is_target=False) for text in texts]
    assert found == [3.4, 5.0, 10.0, -1, -1, -1, -1, -1, -2.0, -1]


def multirc(rows):
    """Rows (paragraph, question, gold text, predicted text) as the metrics get them."""
    examples = [{"idx/paragraph": np.int32(p), "idx/question": np.int32(q)} for p, q, *_ in rows]
    pairs = [(gold, found) for *_, gold, found in rows]
    return (
        [task_metrics.multirc(gold, e, True) for (gold, _), e in zip(pairs, examples)],
        [task_metrics.multirc(found, e, False) for (_, found), e in zip(pairs, examples)],
    )


def test_multirc_by_answers_and_by_questions():
    rows = [
        (0, 0, "True", "True"),
        (0, 0, "False", "False"),  # question 0 of paragraph 0: all right
        (0, 1, "True", "false"),  # no label: wrong
        (0, 1, "False", "False"),
        (1, 0, "True", "True"),
        (1, 0, "False", "True"),
    ]
    assert task_metrics.multirc_exact_match(*multirc(rows))["exact_match"] == pytest.approx(100 / 3)
    # Found 2 of 3, one false alarm.
    assert task_metrics.multirc_f1(*multirc(rows))["f1"] == pytest.approx(100 * 2 / 3)
    # Answers to one question need not stand together.
    mixed = [rows[i] for i in (5, 0, 2, 4, 1, 3)]
    assert task_metrics.multirc_exact_match(*multirc(mixed))["exact_match"] == pytest.approx(
        100 / 3
    )


def test_record_counts_a_query_once():
    def example(answers, passage, query):
        return {"answers": answers, "idx/passage": passage, "idx/query": query}

    examples = [example([b"Ana", b"Dr. Ana Vogt"], 0, 0)] * 2 + [example([b"Oslo"], 0, 1)]
    predictions = ["dr ana vogt", "nobody", "in Oslo"]
    gold = [task_metrics.record("?", e, True) for e in examples]
    found = [task_metrics.record(p, e, False) for p, e in zip(predictions, examples)]
    # The second copy's answer plays no part; "in Oslo" has precision 1/2, recall 1.
    assert task_metrics.record_squad(gold, found) == {
        "em": 50.0,
        "f1": pytest.approx((100 + 200 / 3) / 2),
    }


NAMES = [
    ("the Dog", "dog", 1),  # neither case nor determiner
    ("a big dog", "the dog", 1),  # one holds the other's words ...
    ("dog", "the big dog", 1),  # ... in either direction
    ("big cat", "big dog", 0),
    ("hat", "Bob's hat", 0),  # an apostrophe on one side alone
    ("Bob's hat", "hat", 0),
    ("Bob's", "Bob's hat", 1),
    ("dogs", "dog", 0),  # words, not prefixes
    ("", "dog", -1),
    ("the", "dog", -1),
    ("dog .", "dog", 1),  # a mark is a word of its own: the other's are among them
    ("dog.", "dog", 0),
]


@pytest.mark.parametrize(("answer", "phrase", "expected"), NAMES)
def test_wsc_compares_words(answer, phrase, expected):
    for encoded in (phrase, phrase.encode()):
        example = {"span1_text": encoded, "label": np.int64(1)}
        assert task_metrics.names_referent(answer, example=example, is_target=False) == expected
        assert task_metrics.names_referent(answer, example=example, is_target=True) == 1


DETERMINERS = (
    "a an few her his each every many much my our some that the their these this those which whose "
    "your"
)


def test_determiners_say_nothing():
    for word in DETERMINERS.split():
        example = {"span1_text": "big dog", "label": 1}
        assert task_metrics.names_referent(f"{word} dog", example=example) == 1, word
        assert task_metrics.names_referent(word, example=example) == -1, word


@pytest.mark.parametrize(
    "metric_fn",
    [
        task_metrics.f1_with_invalid,
        task_metrics.matthews_correlation,
        task_metrics.pearson_correlation,
        task_metrics.spearman_correlation,
        task_metrics.multirc_f1,
        task_metrics.multirc_exact_match,
        task_metrics.record_squad,
    ],
)
def test_nothing_and_unequal_numbers_are_refused(metric_fn):
    one = [{"value": 1, "group": 0}]
    with pytest.raises(ValueError, match="no examples: a mean over nothing is no score"):
        metric_fn([], [])
    with pytest.raises(ValueError, match="1 targets but 2 predictions"):
        metric_fn(one, one * 2)
