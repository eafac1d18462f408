"""Weighted and plain gradients from the rows that one device sees, reduced over a mapped axis.

The step's order of events: sweep the microbatches (`units`), gather every unit's score, weigh them
(`weighting`), finish the sum (`accumulation`). Arguments are checked in `gradients`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from presence_t5x import accumulation
from presence_t5x.config_types import PresenceConfig
from presence_t5x.example_units import example_sweep, scored_example_sweep, scoring_sweep
from presence_t5x.units import (
    Problem,
    UnitResults,
    all_finite,
    scan_microbatches,
    stored_sweep,
    streaming_sweep,
)
from presence_t5x.weighting import (
    PresenceState,
    effective_sample_size,
    init_presence_state,
    softmax_weights,
    standardize_scores,
    step_z_scores,
    target_temperature,
    update_presence_state,
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PresenceAux:
    """What a weighted gradient was made of; `aux["scores"]` is the same as `aux.scores`.

    Attributes:
      scores: one a unit, before normalisation; whatever was computed for dead units.
      weights: after the softmax; they sum to 1 over the live units, 0 elsewhere.
      losses: mean token loss of each unit; whatever was computed for dead units.
      live: which units had a finite loss, score and gradient, and at least one token.
      loss_sum, num_tokens: over the live units of the whole batch.
      effective_sample_size: 1 / sum(weights^2), in units.
      num_live_units: 0 means that the gradient is 0 and the update should be skipped.
      num_nonfinite_units: dropped for a non-finite loss, score or gradient.
      temperature: what multiplied the normalised scores.
      metrics: sums over live units of what `loss_fun` returned beside the losses ({} without).
      state: to be passed to the next step.
    """

    scores: Float[Array, " units"]
    weights: Float[Array, " units"]
    losses: Float[Array, " units"]
    live: Bool[Array, " units"]
    loss_sum: Float[Array, ""]
    num_tokens: Float[Array, ""]
    effective_sample_size: Float[Array, ""]
    num_live_units: Int[Array, ""]
    num_nonfinite_units: Int[Array, ""]
    temperature: Float[Array, ""]
    metrics: PyTree
    state: PresenceState

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


def weighted_gradients(problem: Problem, params, batch, rng, temperature, state):
    """Returns the weighted gradient (this device's part, or whole) and its `PresenceAux`.

    `batch` is this device's rows, in strided order under a mapped axis; everything else is whole.
    """
    config, devices = problem.config, problem.devices
    sweep_inputs = (problem, params, accumulation.split_rows(batch, config), rng)
    streamed = stored = sharpness = None
    if config.granularity == "example":
        streamed, local, sharpness = _sweep_examples(*sweep_inputs, temperature, state)
    elif config.accumulator == "streaming":
        streamed, local = streaming_sweep(*sweep_inputs, temperature, state)
    else:
        local, stored = stored_sweep(*sweep_inputs)
    units = _gather(local, problem)
    temperature, z = sharpness or _sharpness(units, temperature, config, state)
    weights = softmax_weights(z, temperature, units.live)
    scale = jnp.sum(units.live) / _loss_normalizer(units.num_tokens, config)
    if streamed is not None:
        gradients = accumulation.finish_streaming_sum(streamed, scale, devices, config)
    else:
        gradients = accumulation.finish_stored_sum(stored, scale * weights, devices)
    state = update_presence_state(state, units.score, units.live, config.ema_decay)
    return gradients, _aux(units, weights, temperature, state)


def _sweep_examples(problem: Problem, params, microbatches, rng, temperature, state):
    """Returns the streaming sum over examples, their results, and `_sharpness` if it is known.

    One sweep where that can be exact. With this step's normaliser the weights need every score
    first: two sweeps, unless a single microbatch holds all rows.
    """
    config, inputs = problem.config, (problem, params, microbatches, rng)
    if config.normalizer != "batch":

        def own_logits(units):
            return temperature * standardize_scores(units.score, config, state)

        return *example_sweep(*inputs, own_logits), None

    def step_sharpness(local):
        return _sharpness(_gather(local, problem), temperature, config, state)

    def logits(sharpness, local):
        return _own_rows(sharpness[0] * sharpness[1], problem, local.score.shape)

    if config.num_microbatches == 1:

        def all_logits(units):
            local = jax.tree.map(lambda leaf: leaf[None], units)
            return logits(step_sharpness(local), local)[0]

        return *example_sweep(*inputs, all_logits), None
    local = scoring_sweep(*inputs)
    sharpness = step_sharpness(local)
    return *scored_example_sweep(*inputs, local, logits(sharpness, local)), sharpness


def plain_gradients(problem: Problem, params, batch, rng):
    """Returns the plain sum of the microbatch gradients, and a `PresenceAux` of one unit."""
    config, devices = problem.config, problem.devices
    microbatches = accumulation.split_rows(batch, config)
    params = devices.as_varying(params)

    def add(total, inputs):
        rows, index = inputs
        key = problem.microbatch_key(rng, index)
        (loss_sum, (num_tokens, metrics)), gradient = problem.differentiate(params, rows, key)
        total = jax.tree.map(lambda t, g: g.astype(jnp.float32) + t, total, gradient)
        return total, (loss_sum, num_tokens, metrics)

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), params)
    total, sums = scan_microbatches(add, devices.as_varying(zeros), microbatches)
    loss_sum, num_tokens, metrics = devices.psum(
        jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), sums)
    )
    total = accumulation.reduce_sum(total, devices, config)
    faulty = devices.psum(1.0 - all_finite(total))
    finite = jnp.isfinite(loss_sum) & (faulty == 0)
    live = finite & (num_tokens > 0)
    scale = 1.0 / _loss_normalizer(num_tokens, config)
    gradients = jax.tree.map(lambda g: jnp.where(live, scale * g, 0.0), total)
    unit = UnitResults(jnp.zeros(()), loss_sum, num_tokens, live, ~finite, metrics)
    units = jax.tree.map(lambda leaf: leaf[None], unit)._replace(metrics=metrics)
    weights = units.live.astype(jnp.float32)
    return gradients, _aux(units, weights, jnp.zeros(()), init_presence_state(config))


def _gather(local: UnitResults, problem: Problem) -> UnitResults:
    """Returns the results of all devices' units as vectors, and the live units' summed metrics."""
    config, names = problem.config, problem.devices.names

    def total(leaf):
        live = local.live.reshape(local.live.shape + (1,) * (leaf.ndim - local.live.ndim))
        return jnp.sum(jnp.where(live, leaf, 0), axis=tuple(range(local.live.ndim)))

    def gather(values):
        if config.granularity == "example":
            values = accumulation.join_rows(values, config)
        if not names or config.granularity == "microbatch":
            return values
        tiled = config.granularity == "example"
        axis = 0 if tiled else 1
        gathered = lax.all_gather(values, names, axis=axis, tiled=tiled, to="invarying")
        return gathered.reshape(-1)

    metrics = problem.devices.psum(jax.tree.map(total, local.metrics))
    vectors = local._replace(metrics=None)
    return jax.tree.map(gather, vectors)._replace(metrics=metrics)


def _own_rows(values, problem: Problem, shape: tuple[int, ...]):
    """Returns this device's part of per-row values, as [microbatches, rows]; inverse of gather."""
    if problem.devices.names:
        size = shape[0] * shape[1]
        values = lax.dynamic_slice_in_dim(values, problem.devices.index() * size, size)
    return accumulation.split_rows(values, problem.config)


def _sharpness(units: UnitResults, temperature, config: PresenceConfig, state: PresenceState):
    """Returns the temperature in force and every unit's normalised score."""
    z = step_z_scores(units.score, units.live, config, state)
    if config.target_effective_sample_size is not None:
        temperature = target_temperature(
            z, units.live, temperature, config.target_effective_sample_size
        )
    return temperature, z


def _loss_normalizer(num_tokens, config: PresenceConfig):
    """Returns the constant C that divides the step's gradient."""
    if config.loss_normalizer == "num_real_target_tokens":
        total = jnp.sum(jnp.where(jnp.isfinite(num_tokens), num_tokens, 0.0))
        return jnp.where(total > 0, total, 1.0)
    return 1.0 if config.loss_normalizer is None else float(config.loss_normalizer)


def _aux(units: UnitResults, weights, temperature, state: PresenceState) -> PresenceAux:
    def live_sum(values):
        return jnp.sum(jnp.where(units.live, values, 0.0))

    return PresenceAux(
        scores=units.score,
        weights=weights,
        losses=units.loss_sum / jnp.maximum(units.num_tokens, 1.0),
        live=units.live,
        loss_sum=live_sum(units.loss_sum),
        num_tokens=live_sum(units.num_tokens),
        effective_sample_size=effective_sample_size(weights),
        num_live_units=jnp.sum(units.live),
        num_nonfinite_units=jnp.sum(units.nonfinite),
        temperature=temperature,
        metrics=units.metrics,
        state=state,
    )
