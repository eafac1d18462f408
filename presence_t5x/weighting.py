"""Scores and a temperature become weights (Thakkar et al. 2023, section 4).

Works on a vector of unit scores that every device holds whole; where the scores come from is
`influence`, what the weights multiply is `accumulation`. Dead units (`live` False) take part in no
statistic and get weight 0 by selection, so that a NaN never spreads.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from jaxtyping import ArrayLike as JaxArrayLike

from presence_t5x.config_types import PresenceConfig, TemperatureConfig

Schedule = Callable[[Any], Float[Array, ""]]

# The search for |temperature| stops here: with |z| of order one, exp(50 z) is already one unit.
_MAX_TEMPERATURE = 50.0
_BISECTION_STEPS = 40


class PresenceState(NamedTuple):
    """Running score moments of normalizer "ema"; carried with the optimizer's state.

    Attributes:
      num_updates: steps with at least one live unit so far.
      score_ema: decayed sum of mean(scores), not yet bias-corrected.
      score_rms: root of the decayed sum of mean(scores ** 2), likewise. The sum itself would leave
        float32's range with scores of 1e20 and 1e-24.
    """

    num_updates: Int[Array, ""]
    score_ema: Float[Array, ""]
    score_rms: Float[Array, ""]


def init_presence_state(config: PresenceConfig) -> PresenceState:
    """Returns the state before the first step; the same for every configuration."""
    del config
    return PresenceState(jnp.zeros((), jnp.int32), jnp.zeros(()), jnp.zeros(()))


def update_presence_state(
    state: PresenceState,
    scores: Float[Array, " units"],
    live: Bool[Array, " units"],
    decay: float,
) -> PresenceState:
    """Adds one step's live scores to the running moments; unchanged when no unit is live."""
    safe, scale = _scaled(scores, live)
    num_live = jnp.sum(live)
    mean = scale * (jnp.sum(safe) / jnp.maximum(num_live, 1))
    rms = scale * jnp.sqrt(jnp.sum(safe * safe) / jnp.maximum(num_live, 1))
    updated = PresenceState(
        num_updates=state.num_updates + 1,
        score_ema=decay * state.score_ema + (1 - decay) * mean,
        score_rms=jnp.hypot(math.sqrt(decay) * state.score_rms, math.sqrt(1 - decay) * rms),
    )
    return jax.tree.map(lambda new, old: jnp.where(num_live > 0, new, old), updated, state)


def normalize_scores(
    scores: Float[Array, " units"],
    live: Bool[Array, " units"] | None = None,
    *,
    epsilon: float = 1e-8,
) -> Float[Array, " units"]:
    """Returns (scores - mean) / sqrt(var + epsilon * mean^2) over the live units.

    The population variance is used, and epsilon is relative to the squared mean: the paper
    (equation 7) leaves both open, and an absolute epsilon would turn weighting off when the loss is
    divided by a batch's token count. Scaling all scores by a positive number changes nothing. Equal
    scores, a single unit, and dead units give 0.

    Args:
      scores: one score a unit; values of dead units are ignored, NaN included.
      live: which units count; None is all of them.
      epsilon: relative, >= 0.

    >>> import jax.numpy as jnp
    >>> [round(float(z), 4) for z in normalize_scores(jnp.array([1.0, 2.0, 3.0, 4.0]), epsilon=0.0)]
    [-1.3416, -0.4472, 0.4472, 1.3416]
    """
    scores = jnp.asarray(scores, jnp.float32)
    live = jnp.ones(scores.shape, bool) if live is None else live
    safe, _ = _scaled(scores, live)
    num_live = jnp.maximum(jnp.sum(live), 1)
    mean = jnp.sum(safe) / num_live
    deviation = jnp.where(live, safe - mean, 0.0)
    variance = jnp.sum(deviation**2) / num_live
    return _divide(deviation, variance + epsilon * mean**2)


def standardize_scores(
    scores: Float[Array, "*shape"], config: PresenceConfig, state: PresenceState
) -> Float[Array, "*shape"]:
    """Returns z of each unit alone, for the normalisers that need no other unit of this step.

    "ema" uses the bias-corrected moments of *previous* steps, so that the first step is uniform;
    "none" is z = score. Clipped by `config.score_clip`.
    """
    if config.normalizer == "none":
        return _clip(scores, config)
    correction = 1.0 - jnp.float32(config.ema_decay) ** state.num_updates
    correction = jnp.where(state.num_updates > 0, correction, 1.0)
    rms = state.score_rms / jnp.sqrt(correction)
    unit = jnp.where(rms > 0, rms, 1.0)  # of what follows, so that no square leaves the range
    mean = state.score_ema / correction / unit
    variance = jnp.maximum((rms > 0) - mean**2, 0.0)
    z = _divide(scores / unit - mean, variance + config.epsilon * mean**2)
    return _clip(jnp.where(state.num_updates > 0, z, 0.0), config)


def step_z_scores(
    scores: Float[Array, " units"],
    live: Bool[Array, " units"],
    config: PresenceConfig,
    state: PresenceState,
) -> Float[Array, " units"]:
    """Returns z of every unit of a step under the configured normaliser, clipped."""
    if config.normalizer == "batch":
        return _clip(normalize_scores(scores, live, epsilon=config.epsilon), config)
    return standardize_scores(scores, config, state)


def softmax_weights(
    scores: Float[Array, " units"],
    temperature: JaxArrayLike,
    live: Bool[Array, " units"] | None = None,
) -> Float[Array, " units"]:
    """Returns softmax(temperature * scores) over the live units; dead ones get exactly 0.

    The temperature multiplies, as in the paper's equation 8: > 0 favours high scores, < 0 low ones,
    0 is uniform. Finite for every finite temperature. With no live unit all weights are 0.

    >>> import jax.numpy as jnp
    >>> z = normalize_scores(jnp.array([1.0, 2.0, 3.0, 4.0]), epsilon=0.0)
    >>> [f"{w:.6f}" for w in softmax_weights(z, 1.0)]
    ['0.041560', '0.101653', '0.248637', '0.608150']
    """
    scores = jnp.asarray(scores, jnp.float32)
    live = jnp.ones(scores.shape, bool) if live is None else live
    logits = jnp.where(live, temperature * scores, -jnp.inf)
    largest = jnp.max(logits)
    exponentials = jnp.where(live, jnp.exp(logits - jnp.where(live.any(), largest, 0.0)), 0.0)
    total = jnp.sum(exponentials)
    return exponentials / jnp.where(total > 0, total, 1.0)


def effective_sample_size(weights: Float[Array, " units"]) -> Float[Array, ""]:
    """Returns 1 / sum(weights^2), in units: all of them when uniform, 1 when one unit has it all.

    >>> import jax.numpy as jnp
    >>> float(effective_sample_size(jnp.array([0.5, 0.5, 0.0])))
    2.0
    """
    total = jnp.sum(weights**2)
    return jnp.where(total > 0, 1.0 / jnp.where(total > 0, total, 1.0), 0.0)


def target_temperature(
    z: Float[Array, " units"],
    live: Bool[Array, " units"],
    temperature: JaxArrayLike,
    target_effective_sample_size: float,
) -> Float[Array, ""]:
    """Returns the temperature of the same sign at which the weights have the target's sample size.

    The sample size falls as |temperature| grows, so bisection on [0, 50] finds it; a target above
    the number of live units gives 0, one below what ties allow gives the bound of 50.
    """
    sign = jnp.sign(jnp.asarray(temperature, jnp.float32))

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        size = effective_sample_size(softmax_weights(z, sign * middle, live))
        too_sharp = size < target_effective_sample_size
        return jnp.where(too_sharp, low, middle), jnp.where(too_sharp, middle, high)

    zero = jnp.zeros_like(sign)
    low, _ = jax.lax.fori_loop(0, _BISECTION_STEPS, halve, (zero, zero + _MAX_TEMPERATURE))
    return sign * low


def two_stage_schedule(temperature_1: float, temperature_2: float, switch_step: int) -> Schedule:
    """Returns temperature_1 for steps 0 .. switch_step - 1 and temperature_2 from there on.

    So the first `switch_step` updates use temperature_1 (Thakkar et al. 2023, section 4.2; the
    paper counts i <= I and leaves open whether its first step is 0 or 1).

    >>> schedule = two_stage_schedule(1.0, -1.0, 100)
    >>> float(schedule(99)), float(schedule(100))
    (1.0, -1.0)
    """
    config = TemperatureConfig(
        temperature_1=temperature_1, temperature_2=temperature_2, switch_step=switch_step
    )
    return temperature_schedule(config)


def temperature_schedule(
    config: TemperatureConfig, learning_rate_fn: Schedule | None = None, peak_step: int = 0
) -> Schedule:
    """Returns the step -> temperature function of a configuration; traceable in the step.

    Args:
      config: which schedule, with its numbers.
      learning_rate_fn: of "learning_rate": temperature_1 times learning rate over its peak.
      peak_step: where the learning rate is highest (the end of its warm-up).

    Raises:
      ValueError: "learning_rate" without a learning rate, or "unweighted", which has none.
    """
    first, second, switch = config.temperature_1, config.temperature_2, config.switch_step

    def fraction(step):
        return jnp.minimum(jnp.asarray(step, jnp.float32) / switch, 1.0)

    if config.schedule == "two_stage":
        return lambda step: jnp.where(jnp.asarray(step) < switch, first, second).astype(jnp.float32)
    if config.schedule == "constant":
        return lambda step: jnp.full(jnp.shape(step), first, jnp.float32)
    if config.schedule == "linear":
        return lambda step: first + (second - first) * fraction(step)
    if config.schedule == "cosine":
        return lambda step: second + (first - second) * (1 + jnp.cos(math.pi * fraction(step))) / 2
    if config.schedule == "piecewise":
        steps, temperatures = (jnp.asarray(column, jnp.float32) for column in zip(*config.points))
        return lambda step: jnp.interp(jnp.asarray(step, jnp.float32), steps, temperatures)
    if config.schedule == "learning_rate" and learning_rate_fn is not None:
        peak = learning_rate_fn(peak_step)
        return lambda step: first * learning_rate_fn(step) / peak
    raise ValueError(
        f"schedule={config.schedule!r} has no temperature of its own; 'learning_rate' needs "
        "learning_rate_fn, and 'unweighted' runs the plain step"
    )


def _scaled(scores, live):
    """Returns the live scores over their largest magnitude (others as 0), and that.

    So neither squares nor their sum leave float32's range.
    """
    safe = jnp.where(live, scores, 0.0)
    scale = jnp.max(jnp.abs(safe))
    return safe / jnp.where(scale > 0, scale, 1.0), scale


def _divide(deviation, variance):
    """Returns deviation / sqrt(variance), 0 where the variance is 0."""
    positive = variance > 0
    return jnp.where(positive, deviation / jnp.sqrt(jnp.where(positive, variance, 1.0)), 0.0)


def _clip(z, config: PresenceConfig):
    """Clips z to the configured bound, if there is one."""
    bound = config.score_clip
    return z if bound is None else jnp.clip(z, -bound, bound)
