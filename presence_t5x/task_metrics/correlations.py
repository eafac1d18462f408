"""Correlations of numbers that a model wrote with those it should have (STS-B)."""

import math
from collections.abc import Sequence

import scipy.stats

from presence_t5x.task_metrics.checks import check_lengths


def pearson_correlation(targets: Sequence[float], predictions: Sequence[float]) -> dict[str, float]:
    """Returns {"pearson_corrcoef": -100 to 100}; 0 where it is not defined.

    It is not for fewer than two examples, or numbers that are all the same, such as the -1 of a
    model that has not learnt yet to write numbers: T5 gives NaN, which no choice of a checkpoint
    could rank.

    Args:
      targets: numbers.
      predictions: finite numbers.

    Raises:
      ValueError: no example, or not as many predictions as targets.

    >>> pearson_correlation([1.0, 2.0, 3.0], [-1.0, -1.0, -1.0])
    {'pearson_corrcoef': 0.0}
    """
    return {"pearson_corrcoef": _percent(scipy.stats.pearsonr, targets, predictions)}


def spearman_correlation(
    targets: Sequence[float], predictions: Sequence[float]
) -> dict[str, float]:
    """Returns {"spearman_corrcoef": -100 to 100} of ranks; 0 where it is not defined.

    Equal numbers share the mean of their ranks; see `pearson_correlation` for what is not defined.

    Args:
      targets: numbers.
      predictions: finite numbers.

    Raises:
      ValueError: no example, or not as many predictions as targets.

    >>> round(spearman_correlation([0.0, 2.4, 5.0], [1.0, 2.0, 100.0])["spearman_corrcoef"], 9)
    100.0
    """
    return {"spearman_corrcoef": _percent(scipy.stats.spearmanr, targets, predictions)}


def _percent(correlation, targets: Sequence[float], predictions: Sequence[float]) -> float:
    check_lengths(targets, predictions)
    if len({*targets}) < 2 or len({*predictions}) < 2:
        return 0.0
    value = float(correlation(targets, predictions).statistic)
    return 100 * value if math.isfinite(value) else 0.0
