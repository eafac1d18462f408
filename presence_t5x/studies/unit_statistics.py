"""What units' values say of the noise in them, and what weights would make of it."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from presence_t5x.ranking import auroc
from presence_t5x.studies.agreement import spearman
from presence_t5x.weighting import effective_sample_size, normalize_scores, softmax_weights


def unit_statistics(
    values: Float[np.ndarray, " units"], share: Float[np.ndarray, " units"], units_per_step: int
) -> dict[str, float]:
    """Returns what units' values say of the noise in them, and what weights they would have.

    Args:
      values: one a unit.
      share: of noise in each unit.
      units_per_step: consecutive units whose values are normalised together; what is left over of
        the last step takes no part in the weights' statistics.
    """
    above = share > share.mean()
    steps = len(values) // units_per_step
    shape = (steps, units_per_step)
    mean = float(np.mean(values))
    found = {
        "spearman_noise": spearman(values, share),
        "auroc_any": auroc(values[share > 0], values[share == 0]),
        "auroc_above": auroc(values[above], values[~above]),
        "mean": mean,
        "spread": float(np.std(values)) / mean if mean else float("nan"),
    }
    if not steps:
        return found
    used, noise = (array[: steps * units_per_step].reshape(shape) for array in (values, share))
    direct, inverse = (_weights(tau)(used) for tau in (1.0, -1.0))
    for name, weights in (("ess_direct", direct), ("ess_inverse", inverse)):
        sizes = np.asarray(jax.vmap(effective_sample_size)(weights))
        found[name] = float(np.mean(sizes)) / units_per_step
    expected = np.mean(noise)
    weighted = np.mean(np.sum(np.asarray(inverse) * noise, axis=1))
    found["noise_weight"] = float(weighted / expected) if expected else float("nan")
    return found


def _weights(temperature: float) -> Callable[..., Any]:
    """Returns the function from steps of values to their weights, as training makes them."""
    return jax.vmap(lambda values: softmax_weights(normalize_scores(values), temperature))
