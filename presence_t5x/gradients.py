"""The public transformation: a loss function and a temperature to a weighted gradient.

`presence_gradients` is Algorithm 2 of Thakkar et al. 2023 with the choices of `PresenceConfig`;
`unweighted_gradients` is the plain step beside it: no score, no stored gradient, one reduction.
Both work under `jax.jit`, under `jax.pmap` or `jax.shard_map` (`axis_name`), and over the data axis
of a `mesh`. Optimizers and loops are elsewhere (`train_step`, `train`).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from presence_t5x import accumulation
from presence_t5x._validate import check_float
from presence_t5x.config_types import PresenceConfig
from presence_t5x.influence import select_layers
from presence_t5x.partitioning import DATA_AXIS, data_axis_size, map_over_data_axis
from presence_t5x.units import (
    Problem,
    UnitResults,
    all_finite,
    example_sweep,
    scored_example_sweep,
    scoring_sweep,
    stored_sweep,
    streaming_sweep,
)
from presence_t5x.weighting import (
    PresenceState,
    effective_sample_size,
    init_presence_state,
    softmax_weights,
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


def presence_gradients(
    loss_fun: Callable[..., Any],
    params: PyTree,
    batch: PyTree,
    rng: Any,
    *,
    temperature: Any,
    config: PresenceConfig = PresenceConfig(),  # noqa: B008 (frozen)
    state: PresenceState | None = None,
    mesh: jax.sharding.Mesh | None = None,
    axis_name: str | None = None,
    has_aux: bool = False,
) -> tuple[PyTree, PresenceAux]:
    """Returns G = m * sum_i w_i g_i over the batch's m live units, and what it was made of.

    g_i is the gradient of unit i's summed token loss divided by one constant for the whole step
    (`config.loss_normalizer`), w the softmax of temperature times normalised scores. Temperature 0
    gives the plain sum of the live gradients, that is, the whole batch's gradient. The temperature
    may be traced: one compiled function serves a whole schedule.

    A unit with a non-finite loss, score or gradient, or without tokens, gets weight 0 by selection
    and leaves the others exact. Of "example" units only the loss and the scored layers' gradients
    are looked at; a microbatch whose weighted gradient is still not finite is dropped whole.

    Each microbatch folds its index (and, on a mapped axis, the device's; for "example" the row's)
    into `rng`, so that a scoring sweep and its weighted sweep share dropout masks.

    Args:
      loss_fun: (params, batch, rng) -> (loss_sums f32[rows], num_tokens f32[rows]), and with
        `has_aux` a third value, a tree of summable metrics. For "microbatch" scalars serve too.
      params: a tree of float arrays.
      batch: a tree of arrays [rows, ...]; all rows, or this device's under `axis_name`.
      rng: a PRNG key, or None for a loss without randomness.
      temperature: tau, a finite number or a traced scalar.
      config: units, score, normaliser, accumulator.
      state: from `init_presence_state` or the step before; needed by normalizer "ema".
      mesh: its axis "data" holds the rows; params are whole on every device.
      axis_name: the mapped axis when called under `jax.pmap` or `jax.shard_map`.
      has_aux: `loss_fun` returns metrics.

    Raises:
      ValueError: an argument that is wrong or cannot be exact, with the remedy; while tracing.
    """
    if isinstance(temperature, (str, bool, int, float)):
        check_float("temperature", temperature)
    if config.normalizer == "ema" and state is None:
        raise ValueError(
            "normalizer='ema' needs the previous steps' moments: pass "
            "state=init_presence_state(config), then each step's aux.state"
        )
    problem = _check_problem(loss_fun, params, batch, config, mesh, axis_name, has_aux)
    state = init_presence_state(config) if state is None else state
    temperature = jnp.asarray(temperature, jnp.float32)
    if mesh is None:
        return _weighted(problem, params, batch, rng, temperature, state)
    if config.row_order == "contiguous":
        batch = accumulation.contiguous_as_strided(batch, config)
    local = dataclasses.replace(
        problem, axis_name=DATA_AXIS, config=dataclasses.replace(config, row_order="strided")
    )
    mapped = map_over_data_axis(functools.partial(_weighted, local), mesh)
    gradients, aux = mapped(params, batch, rng, temperature, state)
    if config.row_order == "contiguous" and config.granularity == "example":
        restore = functools.partial(_rows_from_strided, config=config)
        vectors = {name: restore(aux[name]) for name in ("scores", "weights", "live")}
        aux = dataclasses.replace(aux, **vectors)
    return gradients, aux


def unweighted_gradients(
    loss_fun: Callable[..., Any],
    params: PyTree,
    batch: PyTree,
    rng: Any,
    *,
    config: PresenceConfig,
    mesh: jax.sharding.Mesh | None = None,
    axis_name: str | None = None,
    has_aux: bool = False,
) -> tuple[PyTree, PresenceAux]:
    """Returns the plain sum of the microbatch gradients: the step that weighting is measured by.

    No score is computed and no unit gradient kept; gradients are summed in place and reduced once.
    The loss normaliser, row order and dropout keys are those of `presence_gradients`. A non-finite
    gradient makes the whole step one dead unit. Arguments are `presence_gradients`' own.
    """
    problem = _check_problem(loss_fun, params, batch, config, mesh, axis_name, has_aux)
    if mesh is None:
        return _unweighted(problem, params, batch, rng)
    if config.row_order == "contiguous":
        batch = accumulation.contiguous_as_strided(batch, config)
    local = dataclasses.replace(
        problem, axis_name=DATA_AXIS, config=dataclasses.replace(config, row_order="strided")
    )
    return map_over_data_axis(functools.partial(_unweighted, local), mesh)(params, batch, rng)


def example_scores(
    loss_fun: Callable[..., Any],
    params: PyTree,
    batch: PyTree,
    *,
    config: PresenceConfig,
    has_aux: bool = False,
) -> tuple[Float[Array, " rows"], Float[Array, " rows"], Float[Array, " rows"]]:
    """Returns every row's score, loss sum and token count, without dropout and without an update.

    Rows are scored `rows / config.num_microbatches` at a time (vmap over the scored layers).
    """
    config = dataclasses.replace(config, granularity="example")
    problem = _check_problem(loss_fun, params, batch, config, None, None, has_aux)
    units = scoring_sweep(problem, params, accumulation.split_rows(batch, config), None)
    score, loss_sum, num_tokens = (
        accumulation.join_rows(values, config)
        for values in (units.score, units.loss_sum, units.num_tokens)
    )
    return score, loss_sum, num_tokens


def _weighted(problem: Problem, params, batch, rng, temperature, state):
    """`presence_gradients` on the rows that this device sees."""
    config, axis_name = problem.config, problem.axis_name
    sweep_inputs = (problem, params, accumulation.split_rows(batch, config), rng)
    streamed = stored = None
    if config.granularity == "example" and config.normalizer == "batch":
        local = scoring_sweep(*sweep_inputs)
        temperature, z = _sharpness(_gather(local, problem), temperature, config, state)
        logits = _own_rows(temperature * z, problem, local.score.shape)
        streamed, local = scored_example_sweep(*sweep_inputs, local, logits)
        units = _gather(local, problem)
    else:
        if config.granularity == "example":
            streamed, local = example_sweep(*sweep_inputs, temperature, state)
        elif config.accumulator == "streaming":
            streamed, local = streaming_sweep(*sweep_inputs, temperature, state)
        else:
            local, stored = stored_sweep(*sweep_inputs)
        units = _gather(local, problem)
        temperature, z = _sharpness(units, temperature, config, state)
    weights = softmax_weights(z, temperature, units.live)
    scale = jnp.sum(units.live) / _loss_normalizer(units.num_tokens, config)
    if streamed is not None:
        shared = config.granularity == "microbatch"
        gradients = accumulation.finish_streaming_sum(
            streamed, scale, axis_name, units_are_global=shared
        )
    else:
        gradients = accumulation.finish_stored_sum(stored, scale * weights, params, axis_name)
    gradients = jax.tree.map(lambda g, p: g.astype(p.dtype), gradients, params)
    state = update_presence_state(state, units.score, units.live, config.ema_decay)
    return gradients, _aux(units, weights, temperature, state)


def _unweighted(problem: Problem, params, batch, rng):
    """`unweighted_gradients` on the rows that this device sees."""
    config, axis_name = problem.config, problem.axis_name
    microbatches = accumulation.split_rows(batch, config)
    params = accumulation.as_varying(params, axis_name)

    def add(total, inputs):
        rows, index = inputs
        (loss_sum, (num_tokens, metrics)), gradient = jax.value_and_grad(
            problem.total_loss, has_aux=True
        )(params, rows, problem.microbatch_key(rng, index))
        total = jax.tree.map(lambda t, g: g.astype(jnp.float32) + t, total, gradient)
        return total, (loss_sum, num_tokens, metrics)

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), params)
    total, sums = lax.scan(
        add,
        accumulation.as_varying(zeros, axis_name),
        (microbatches, jnp.arange(config.num_microbatches)),
    )
    sums = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), sums)
    total, (loss_sum, num_tokens, metrics) = accumulation.psum((total, sums), axis_name)
    finite = jnp.isfinite(loss_sum) & all_finite(total)
    live = finite & (num_tokens > 0)
    scale = 1.0 / _loss_normalizer(num_tokens, config)
    gradients = jax.tree.map(
        lambda g, p: jnp.where(live, scale * g, 0.0).astype(p.dtype), total, params
    )
    unit = UnitResults(jnp.zeros(()), loss_sum, num_tokens, live, ~finite, metrics)
    units = jax.tree.map(lambda leaf: leaf[None], unit)._replace(metrics=metrics)
    weights = units.live.astype(jnp.float32)
    return gradients, _aux(units, weights, jnp.zeros(()), init_presence_state(config))


def _gather(local: UnitResults, problem: Problem) -> UnitResults:
    """Returns the results of all devices' units as vectors, and the live units' summed metrics."""
    config, axis_name = problem.config, problem.axis_name

    def total(leaf):
        live = local.live.reshape(local.live.shape + (1,) * (leaf.ndim - local.live.ndim))
        return jnp.sum(jnp.where(live, leaf, 0), axis=tuple(range(local.live.ndim)))

    def gather(values):
        if config.granularity == "example":
            values = accumulation.join_rows(values, config)
        if axis_name is None or config.granularity == "microbatch":
            return values
        tiled = config.granularity == "example"
        axis = 0 if tiled else 1
        gathered = lax.all_gather(values, axis_name, axis=axis, tiled=tiled, to="invarying")
        return gathered.reshape(-1)

    metrics = accumulation.psum(jax.tree.map(total, local.metrics), axis_name)
    vectors = local._replace(metrics=None)
    return jax.tree.map(gather, vectors)._replace(metrics=metrics)


def _own_rows(values, problem: Problem, shape: tuple[int, ...]):
    """Returns this device's part of per-row values, as [microbatches, rows]; inverse of gather."""
    if problem.axis_name is not None:
        size = shape[0] * shape[1]
        values = lax.dynamic_slice_in_dim(values, lax.axis_index(problem.axis_name) * size, size)
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


def _check_problem(loss_fun, params, batch, config, mesh, axis_name, has_aux) -> Problem:
    """Checks what can be checked before anything compiles, and returns the step's problem."""
    if mesh is not None and axis_name is not None:
        raise ValueError("pass either mesh or axis_name (inside a mapped function), not both")
    if axis_name is not None and config.row_order == "contiguous":
        raise ValueError(
            "row_order='contiguous' needs the rows of all devices; under axis_name set "
            "row_order='strided', or pass mesh instead"
        )
    rows = accumulation.num_rows(batch)
    if mesh is None:
        where = "of the batch" if axis_name is None else "that each device sees"
        accumulation.check_divides(rows, config, where=where)
    else:
        devices = data_axis_size(mesh)
        if rows % devices:
            raise ValueError(
                f"batch: {rows} rows cannot be cut over {devices} devices of axis {DATA_AXIS!r}"
            )
        where = f"of each device ({rows} rows over {devices} devices)"
        accumulation.check_divides(rows // devices, config, where=where)
    selection = select_layers(params, config.layers)
    return Problem(loss_fun, config, selection, axis_name, has_aux)


def _rows_from_strided(values, config: PresenceConfig):
    """Undoes `contiguous_as_strided` on a vector of per-row values."""
    return values.reshape(-1, config.num_microbatches).T.reshape(-1)
