"""What a step reports: pure functions of its results; names are paths such as `train/loss`.

Where the numbers go (files, TensorBoard, the terminal) is `run_log`.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from presence_t5x.gradients import PresenceAux

# More units than this are summarised only, so that a metrics line stays readable.
_MOST_LISTED_UNITS = 32


def step_metrics(aux: PresenceAux, *, weighted: bool, every_unit: bool = False) -> dict[str, Any]:
    """Returns a step's metrics; those of the weighting only when `weighted`.

    `train/loss` is the mean token loss of the live units (z-loss included), in nats;
    `train/accuracy` the share of their target tokens ranked first. With `every_unit` the units'
    scores, weights and liveness are there as a dict, "units", however many they are.
    """
    num_tokens = jnp.maximum(aux.num_tokens, 1.0)
    metrics: dict[str, Any] = {
        "train/loss": aux.loss_sum / num_tokens,
        "train/num_tokens": aux.num_tokens,
    }
    for name, total in (("accuracy", "num_correct"), ("z_loss", "z_loss_sum")):
        if total in aux.metrics:
            metrics[f"train/{name}"] = aux.metrics[total] / num_tokens
    if every_unit:
        metrics["units"] = {name: aux[name] for name in ("scores", "weights", "losses", "live")}
    return metrics | (weighting_metrics(aux) if weighted else {})


def weighting_metrics(aux: PresenceAux) -> dict[str, Float[Array, "..."]]:
    """Returns statistics of the live units' scores and weights, and how many units were dropped."""
    score_mean, score_std = _mean_and_std(aux.scores, aux.live)
    _, weight_std = _mean_and_std(aux.weights, aux.live)
    metrics = {
        "score_mean": score_mean,
        "score_std": score_std,
        "score_min": jnp.min(jnp.where(aux.live, aux.scores, jnp.inf)),
        "score_max": jnp.max(jnp.where(aux.live, aux.scores, -jnp.inf)),
        "weight_max": jnp.max(aux.weights),
        "weight_std": weight_std,
        "effective_sample_size": aux.effective_sample_size,
        "temperature": aux.temperature,
        "num_live_units": aux.num_live_units,
        "num_nonfinite_units": aux.num_nonfinite_units,
        "score_loss_correlation": _correlation(aux.scores, aux.losses, aux.live),
    }
    if aux.scores.size <= _MOST_LISTED_UNITS:
        metrics |= {"scores": aux.scores, "weights": aux.weights}
    return {f"presence/{name}": value for name, value in metrics.items()}


def _mean_and_std(
    values: Float[Array, " units"], live: Bool[Array, " units"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns mean and population standard deviation over the live units."""
    count = jnp.maximum(jnp.sum(live), 1)
    mean = jnp.sum(jnp.where(live, values, 0.0)) / count
    variance = jnp.sum(jnp.where(live, (values - mean) ** 2, 0.0)) / count
    return mean, jnp.sqrt(variance)


def _correlation(
    left: Float[Array, " units"], right: Float[Array, " units"], live: Bool[Array, " units"]
) -> Float[Array, ""]:
    """Returns Pearson's correlation over the live units; 0 where one of them does not vary."""
    means, stds = zip(_mean_and_std(left, live), _mean_and_std(right, live))
    scale = stds[0] * stds[1]
    product = jnp.where(live, (left - means[0]) * (right - means[1]), 0.0)
    mean = jnp.sum(product) / jnp.maximum(jnp.sum(live), 1)
    return jnp.where(scale > 0, mean / jnp.where(scale > 0, scale, 1.0), 0.0)
