"""Scores of labels: accuracy, F1, Matthews correlation."""

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from typing import Any

from presence_t5x.task_metrics.checks import check_lengths


def accuracy(targets: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
    """Returns {"accuracy": percent} of predictions that equal their targets, strings or classes.

    Args:
      targets: gold labels.
      predictions: labels; text that is no label is wrong.

    Raises:
      ValueError: no example, or not as many predictions as targets.

    >>> accuracy(["0", "2", "1", "1"], ["0", "2", "1", "neutral"])
    {'accuracy': 75.0}
    """
    check_lengths(targets, predictions)
    num_right = sum(target == found for target, found in zip(targets, predictions))
    return {"accuracy": 100 * num_right / len(targets)}


def f1_with_invalid(targets: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
    """Returns {"f1": percent} of class 1, as T5 scores MRPC and QQP.

    A prediction that is neither 0 nor 1 counts as the class that its target is not: as a false
    positive where the target is 0, as a missed one where it is 1. 0 where neither targets nor
    predictions have class 1, as scikit-learn has it.

    Args:
      targets: 0 or 1.
      predictions: any class; -1 is text that is no label.

    Raises:
      ValueError: no example, or not as many predictions as targets.

    >>> f1_with_invalid([1, 1, 0], [1, -1, 0])["f1"] == f1_with_invalid([1, 1, 0], [1, 0, 0])["f1"]
    True
    """
    check_lengths(targets, predictions)
    valid = [
        found if found in (0, 1) else 1 - target for target, found in zip(targets, predictions)
    ]
    return {"f1": 100 * _class_f1(targets, valid, 1)}


def mean_multiclass_f1(
    targets: Sequence[int], predictions: Sequence[int], num_classes: int
) -> dict[str, float]:
    """Returns {"mean_3class_f1": percent} for 3 classes: the mean of every class's F1 (CB).

    A class that neither targets nor predictions have counts as 0. Predictions of no class are
    missed targets, and false positives of nothing.

    Args:
      targets: classes.
      predictions: classes; -1 is text that is no label.
      num_classes: all of them, from 0.

    Raises:
      ValueError: no example, or not as many predictions as targets.

    >>> mean_multiclass_f1([0, 1, 2, 2], [0, 1, -1, -1], num_classes=4)
    {'mean_4class_f1': 50.0}
    """
    check_lengths(targets, predictions)
    each = [_class_f1(targets, predictions, number) for number in range(num_classes)]
    return {f"mean_{num_classes}class_f1": 100 * sum(each) / num_classes}


def _class_f1(targets: Sequence[int], predictions: Sequence[int], number: int) -> float:
    """F1 of one class, 0 to 1; 0 where nothing is of it."""
    num_right = sum(number == gold == found for gold, found in zip(targets, predictions))
    num_gold, num_found = (sum(one == number for one in some) for some in (targets, predictions))
    return 2 * num_right / (num_gold + num_found) if num_gold + num_found else 0.0


def matthews_correlation(targets: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
    """Returns {"matthews_corrcoef": -100 to 100}, as T5 scores CoLA.

    A prediction that is no label (-1) is a third class, as in T5: the coefficient is that of K
    classes (Gorodkin 2004). 0 where targets or predictions are all of one class.

    Args:
      targets: classes.
      predictions: classes.

    Raises:
      ValueError: no example, or not as many predictions as targets.

    >>> matthews_correlation([0, 1, 1, 0], [0, 1, 0, 0])
    {'matthews_corrcoef': 57.73502691896258}
    """
    check_lengths(targets, predictions)
    num = len(targets)
    num_right = sum(gold == found for gold, found in zip(targets, predictions))
    gold, found = Counter(targets), Counter(predictions)
    covariance = num_right * num - sum(count * found[number] for number, count in gold.items())
    variances = [num**2 - sum(count**2 for count in some.values()) for some in (gold, found)]
    if not all(variances):
        return {"matthews_corrcoef": 0.0}
    return {"matthews_corrcoef": 100 * covariance / sqrt(variances[0] * variances[1])}
