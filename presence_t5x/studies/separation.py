"""How well a number tells spoiled documents from clean ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Real

from presence_t5x.ranking import auroc

CLEAN, ALL = "clean", "all"
TOP_SHARES = (0.1, 0.2)


def average_precision(
    positive: Real[np.ndarray, " positives"], negative: Real[np.ndarray, " negatives"]
) -> float:
    """Returns the area under precision over recall as steps, equal values taken together.

    NaN when a side is empty or a value is NaN; chance is the share of positives.

    >>> average_precision(np.array([3.0, 1.0]), np.array([2.0]))
    0.8333333333333333
    """
    positive, negative = np.asarray(positive, np.float64), np.asarray(negative, np.float64)
    values = np.concatenate([positive, negative])
    if not positive.size or not negative.size or np.isnan(values).any():
        return float("nan")
    thresholds = np.unique(values)[::-1]
    found = positive.size - np.searchsorted(np.sort(positive), thresholds, side="left")
    false = negative.size - np.searchsorted(np.sort(negative), thresholds, side="left")
    recall = np.diff(found, prepend=0) / positive.size
    return float(np.sum(recall * found / (found + false)))


def share_found(
    positive: Real[np.ndarray, " positives"],
    negative: Real[np.ndarray, " negatives"],
    share: float,
) -> float:
    """Returns which part of the positives is among the largest `share` of all values.

    Of equal values at the edge as many count as there is room for, on average.

    >>> share_found(np.array([4.0, 1.0]), np.array([3.0, 2.0]), 0.5)
    0.5
    """
    values = np.concatenate([positive, negative]).astype(np.float64)
    if not len(positive) or np.isnan(values).any():
        return float("nan")
    room = share * len(values)
    edge = np.sort(values)[::-1][max(0, int(np.ceil(room)) - 1)]
    above, at = np.sum(values > edge), np.sum(values == edge)
    found = np.sum(positive > edge) + np.sum(positive == edge) * max(0.0, room - above) / at
    return float(found / len(positive))


def separations(
    rows: Sequence[Mapping[str, Any]], measures: Mapping[str, str], seed: int = 0
) -> list[dict[str, Any]]:
    """Returns how well every measure ranks each kind of noise above clean text.

    Documents without a score are left out, and counted. A random number is measured beside.

    Args:
      rows: with "language", "noise" (or "clean"), and the measures' columns.
      measures: title to column.
      seed: of the random number.

    Returns:
      for each language (and all of them), kind and measure: AUROC, average precision, the share of
      the noise among the highest 10 and 20 %, mean over clean mean, and numbers of documents.
    """
    known = [row for row in rows if row["score"] is not None]
    chance = np.random.default_rng(seed).random(len(known))
    columns = {title: np.array([row[key] for row in known]) for title, key in measures.items()}
    columns["random"] = chance
    languages = np.array([row["language"] for row in known], object)
    noise = np.array([row["noise"] for row in known], object)
    results = []
    for language in [*sorted(set(languages)), ALL]:
        within = (languages == language) | (language == ALL)
        clean = within & (noise == CLEAN)
        for kind in sorted(set(noise) - {CLEAN}):
            spoiled = within & (noise == kind)
            if clean.any() and spoiled.any():
                labels = {"language": language, "noise": kind}
                counts = {"num_noise": int(spoiled.sum()), "num_clean": int(clean.sum())}
                for title, values in columns.items():
                    found = _separation(values[spoiled], values[clean])
                    results.append({**labels, "measure": title, **found, **counts})
    return results


def _separation(positive: np.ndarray, negative: np.ndarray) -> dict[str, float]:
    mean = float(np.mean(negative))
    return {
        "auroc": auroc(positive, negative),
        "average_precision": average_precision(positive, negative),
        **{
            f"found_in_top_{share:.0%}": share_found(positive, negative, share)
            for share in TOP_SHARES
        },
        "over_clean": float(np.mean(positive)) / mean if mean else float("nan"),
    }
