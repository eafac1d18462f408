"""How much two numbers agree on the order of documents."""

import numpy as np
from jaxtyping import Real
from scipy.stats import rankdata

Values = Real[np.ndarray, " documents"]
TOP_SHARES = (0.1, 0.2)


def spearman(one: Values, other: Values) -> float:
    """Returns Spearman's rank correlation, equal values sharing their mean rank.

    1 is the same order, 0 chance, -1 the reverse. NaN for fewer than two documents, a NaN, or
    values that are all equal.

    >>> round(spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0])), 6)
    1.0
    """
    pair = np.array([one, other], np.float64)
    if pair.shape[1] < 2 or np.isnan(pair).any():
        return float("nan")
    ranks = rankdata(pair, axis=1)
    centered = ranks - ranks.mean(axis=1, keepdims=True)
    size = np.sqrt(np.prod(np.sum(centered**2, axis=1)))
    return float(centered[0] @ centered[1] / size) if size else float("nan")


def top_overlap(one: Values, other: Values, share: float) -> float:
    """Returns which part of the documents highest in one is among the highest in the other.

    Chance is the share itself. Of equal values the earlier document is higher.

    Args:
      share: of the documents that are "highest"; at least one is.

    >>> top_overlap(np.array([3.0, 2.0, 1.0, 0.0]), np.array([3.0, 1.0, 2.0, 0.0]), 0.5)
    0.5
    """
    if not len(one) or np.isnan(one).any() or np.isnan(other).any():
        return float("nan")
    number = max(1, round(share * len(one)))
    tops = [set(np.argsort(-values, kind="stable")[:number].tolist()) for values in (one, other)]
    return len(tops[0] & tops[1]) / number


def agreement(one: Values, other: Values) -> dict[str, float]:
    """Returns rank correlation and the overlaps of the tops, as columns of a study."""
    return {
        "spearman": spearman(one, other),
        **{f"top_{share:.0%}": top_overlap(one, other, share) for share in TOP_SHARES},
    }
