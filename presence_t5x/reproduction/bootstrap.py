"""Intervals by drawing seeds and examples anew (a hierarchical bootstrap).

In every replicate the seeds are drawn with replacement, then the test examples, once for all drawn
seeds: seeds share the test set, so that what a hard example costs does not average out over them.
An interval tells where the mean would lie with other seeds and other examples of the same kind. Two
or three seeds tell little of how seeds differ: with S seeds their part of the variance comes out
(S - 1) / S of an unbiased estimate, with one it is missing.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import scipy.stats
from jaxtyping import Float, Int, UInt16

from presence_t5x._validate import LARGEST_INT64, check_float, check_int

_TINY = 1e-13  # as in span_f1
_COUNTS_AT_A_TIME = 4_000_000  # as float64: 32 MB


@dataclasses.dataclass(frozen=True, kw_only=True)
class BootstrapConfig:
    """How many replicates, which share of them an interval covers, and the seed of all draws."""

    num_replicates: int = 2000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self):
        check_int("num_replicates", self.num_replicates, minimum=1)
        check_float("level", self.level, minimum=0.0, maximum=1.0, exclusive_minimum=True)
        check_int("seed", self.seed, minimum=0, maximum=LARGEST_INT64)


def mean_metric(sums: Float[np.ndarray, "*draws 2"]) -> Float[np.ndarray, "*draws"]:
    """Returns the mean of (sum of values, number of examples)."""
    return sums[..., 0] / sums[..., 1]


def f1_metric(sums: Float[np.ndarray, "*draws 3"]) -> Float[np.ndarray, "*draws"]:
    """Returns F1 in percent of (right, predicted, gold), as `span_f1` counts them."""
    right, predicted, gold = np.moveaxis(sums, -1, 0)
    precision, recall = right / (predicted + _TINY), right / (gold + _TINY)
    return 100 * 2 * precision * recall / (precision + recall + _TINY)


# By the number of values of an example.
_METRICS = {2: mean_metric, 3: f1_metric}

Values = Float[np.ndarray, "seeds examples values"]


def metric_of(values: Values) -> Float[np.ndarray, " seeds"]:
    """Returns each seed's metric: of (value, 1) their mean, of three counts F1 in percent.

    >>> import numpy as np
    >>> metric_of(np.array([[[100.0, 1.0], [0.0, 1.0]]]))
    array([50.])
    """
    return _METRICS[values.shape[-1]](values.sum(axis=1))


def replicates(
    values: Sequence[Values], config: BootstrapConfig
) -> Float[np.ndarray, " replicates"]:
    """Returns replicates of the mean over seeds of the mean over sets (languages) of a metric.

    Sets of one size are drawn alike: where row i is the same example in every language its
    translations are drawn together, and elsewhere it makes no difference. The draws depend on
    numbers of seeds and examples alone, so that two calls can be compared draw by draw.

    Args:
      values: of every set; all have the same seeds.
      config: the draws.

    Raises:
      ValueError: no set, or sets with other seeds.
    """
    num_seeds = {found.shape[0] for found in values}
    if len(num_seeds) != 1:
        raise ValueError(f"sets have {sorted(num_seeds)} seeds; all must have the same")
    (seeds,) = num_seeds
    draws = _draw_seeds(seeds, config)
    total = np.zeros(config.num_replicates)
    for found in values:
        metric = _metric_by_draw(found, config)
        total += (metric * draws).sum(axis=1) / seeds
    return total / len(values)


def interval(
    drawn: Float[np.ndarray, " replicates"], config: BootstrapConfig
) -> tuple[float, float]:
    """Returns the percentiles between which `config.level` of the replicates lie."""
    tail = (1 - config.level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def seed_interval(
    values: Float[np.ndarray, " seeds"], config: BootstrapConfig
) -> tuple[float, float] | None:
    """Returns Student's interval for the mean over seeds; None with a single seed.

    For figures of test rows that stay what they are: few seeds drawn with replacement would give an
    interval that is too narrow.

    >>> import numpy as np
    >>> low, high = seed_interval(np.array([1.0, 2.0, 3.0]), BootstrapConfig())
    >>> print(f"{low:.3f} {high:.3f}")
    -0.484 4.484
    """
    number = len(values)
    if number < 2:
        return None
    factor = scipy.stats.t.ppf((1 + config.level) / 2, number - 1) / np.sqrt(number)
    half, mean = float(factor * np.std(values, ddof=1)), float(np.mean(values))
    return mean - half, mean + half


def _draw_seeds(num_seeds: int, config: BootstrapConfig) -> Int[np.ndarray, "replicates seeds"]:
    """How often each seed is drawn."""
    rng = np.random.default_rng([config.seed, 0, num_seeds])
    return rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), config.num_replicates)


@functools.lru_cache(maxsize=2)
def _draw_examples(
    num_examples: int, config: BootstrapConfig
) -> UInt16[np.ndarray, "replicates examples"]:
    """How often each example is drawn."""
    rng = np.random.default_rng([config.seed, 1, num_examples])
    share = np.full(num_examples, 1 / num_examples)
    found = np.empty((config.num_replicates, num_examples), np.uint16)
    for draw in found:
        draw[:] = rng.multinomial(num_examples, share)
    return found


def _metric_by_draw(
    values: Values, config: BootstrapConfig
) -> Float[np.ndarray, "replicates seeds"]:
    """The metric of every seed over each draw of examples."""
    seeds, num_examples, width = values.shape
    columns = np.moveaxis(values, 1, 0).reshape(num_examples, -1)
    counts = _draw_examples(num_examples, config)
    at_a_time = max(1, _COUNTS_AT_A_TIME // num_examples)
    parts = [
        counts[start : start + at_a_time].astype(np.float64) @ columns
        for start in range(0, config.num_replicates, at_a_time)
    ]
    return _METRICS[width](np.concatenate(parts).reshape(-1, seeds, width))
