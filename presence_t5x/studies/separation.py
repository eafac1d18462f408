"""How well a number tells spoiled documents from clean ones."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Real

from presence_t5x.ranking import auroc

CLEAN, ALL = "clean", "all"
MEAN = "mean"  # of the languages, each ranked by itself and counted once
_LABELS = {"language", "noise", "measure"}
_COUNTS = {"num_noise", "num_clean"}
TOP_SHARES = (0.1, 0.2)


def average_precision(
    positive: Real[np.ndarray, " positives"],
    negative: Real[np.ndarray, " negatives"],
    rate: float | None = None,
) -> float:
    """Returns the area under precision over recall as steps, equal values taken together.

    NaN when a side is empty or a value is NaN; chance is the share of positives.

    Args:
      rate: the share of positives in a corpus of which both samples are; None is as they are.

    >>> average_precision(np.array([3.0, 1.0]), np.array([2.0]))
    0.8333333333333333
    """
    curve = _curve(positive, negative, rate)
    if curve is None:
        return float("nan")
    recall, taken, rate = curve
    return float(np.sum(np.diff(recall) * rate * recall[1:] / taken[1:]))


def share_found(
    positive: Real[np.ndarray, " positives"],
    negative: Real[np.ndarray, " negatives"],
    share: float,
    rate: float | None = None,
) -> float:
    """Returns which part of the positives is among the largest `share` of all values.

    Of equal values at the edge as many count as there is room for, on average.

    Args:
      rate: as in `average_precision`.

    >>> share_found(np.array([4.0, 1.0]), np.array([3.0, 2.0]), 0.5)
    0.5
    """
    curve = _curve(positive, negative, rate)
    if curve is None:
        return float("nan")
    recall, taken, _ = curve
    return float(np.interp(share, taken, recall))


def separations(
    rows: Sequence[Mapping[str, Any]],
    measures: Mapping[str, str],
    rates: Sequence[float | None] = (None,),
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Returns how well every measure ranks each kind of noise above clean text.

    Documents without a score are left out, and counted. A random number is measured beside.

    Args:
      rows: with "language", "noise" (or "clean"), and the measures' columns.
      measures: title to column.
      rates: shares of noise in a corpus, for what depends on it; None is as many as there are.
      seed: of the random number.

    Returns:
      for each language, all in one ranking ("all") and the mean over languages ("mean"), and for
      each kind, measure and rate: AUROC, average precision, the share of the noise among the
      highest 10 and 20 %, means, noise over clean, and numbers of documents.
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
        for kind in dict.fromkeys(noise[noise != CLEAN]):
            spoiled = within & (noise == kind)
            if clean.any() and spoiled.any():
                labels = {"language": language, "noise": kind}
                counts = {"num_noise": int(spoiled.sum()), "num_clean": int(clean.sum())}
                for title, values in columns.items():
                    fixed = {**labels, "measure": title, **counts}
                    found = _separation(values[spoiled], values[clean], rates)
                    results += [{**fixed, **numbers} for numbers in found]
    return results + _means([row for row in results if row["language"] != ALL])


def _means(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The mean over languages of whatever is measured; numbers of documents are summed."""
    by_rate: dict[tuple[str, str], dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        languages = by_rate.setdefault((row["noise"], row["measure"]), {})
        languages.setdefault(row["language"], []).append(row)
    found = []
    for languages in by_rate.values():
        for same in zip(*languages.values()):
            counts = {name: sum(row[name] for row in same) for name in _COUNTS}
            means = {
                name: statistics.mean(row[name] for row in same)  # exact: of equal rates their own
                for name in same[0].keys() - _LABELS - _COUNTS
            }
            found.append({**same[0], **counts, **means, "language": MEAN})
    return found


def _separation(
    positive: np.ndarray, negative: np.ndarray, rates: Sequence[float | None]
) -> list[dict[str, Any]]:
    mean, clean_mean = float(np.mean(positive)), float(np.mean(negative))
    fixed = {
        "auroc": auroc(positive, negative),
        "mean_noise": mean,
        "mean_clean": clean_mean,
        "over_clean": mean / clean_mean if clean_mean else float("nan"),
    }
    return [
        {
            "rate": positive.size / (positive.size + negative.size) if rate is None else rate,
            **fixed,
            "average_precision": average_precision(positive, negative, rate),
            **{
                f"found_in_top_{share:.0%}": share_found(positive, negative, share, rate)
                for share in TOP_SHARES
            },
        }
        for rate in rates
    ]


def _curve(
    positive: Real[np.ndarray, " positives"],
    negative: Real[np.ndarray, " negatives"],
    rate: float | None,
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Returns (share of the positives, share of the corpus) above falling thresholds, and the rate.

    Both start at 0. Samples are weighted so that positives are `rate` of all.
    """
    positive, negative = np.asarray(positive, np.float64), np.asarray(negative, np.float64)
    values = np.concatenate([positive, negative])
    if not positive.size or not negative.size or np.isnan(values).any():
        return None
    rate = positive.size / values.size if rate is None else rate
    thresholds = np.unique(values)[::-1]
    shares = [
        np.append(0.0, 1 - np.searchsorted(np.sort(side), thresholds, side="left") / side.size)
        for side in (positive, negative)
    ]
    return shares[0], rate * shares[0] + (1 - rate) * shares[1], rate
