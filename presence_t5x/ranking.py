"""How well a number separates noise from clean text: the area under the ROC curve.

Rank based and exact; what is ranked (self-influence or its rival, the loss) is decided by callers.
"""

import numpy as np
from jaxtyping import Real


def auroc(
    positive: Real[np.ndarray, " positives"], negative: Real[np.ndarray, " negatives"]
) -> float:
    """Returns the probability that a random positive lies above a random negative.

    0.5 is chance, 1 means that every positive is above every negative. Ties count half, so equal
    values give exactly 0.5, and exchanging the sides gives one minus the result. Any increasing
    function of the values changes nothing; infinities rank as the largest and smallest values.
    Takes O((p + n) log n) time and no table of pairs.

    Args:
      positive: the values that should be high, here of noisy rows.
      negative: the values that should be low, here of clean rows.

    Returns:
      A number in [0, 1]; NaN when a side is empty, or when a value is NaN: it has no rank, and
      leaving it out would hide a broken row.

    >>> import numpy as np
    >>> auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0]))
    0.875
    >>> auroc(np.array([]), np.array([1.0]))
    nan
    """
    positive = np.asarray(positive, np.float64)
    negative = np.sort(np.asarray(negative, np.float64))
    if not positive.size or not negative.size:
        return float("nan")
    if np.isnan(positive).any() or np.isnan(negative[-1]):  # sorting puts NaN last
        return float("nan")
    below = np.searchsorted(negative, positive, side="left").sum(dtype=np.int64)
    not_above = np.searchsorted(negative, positive, side="right").sum(dtype=np.int64)
    return float((below + not_above) / (2 * positive.size * negative.size))
