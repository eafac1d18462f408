"""Accuracy of labels."""

from collections.abc import Sequence
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
