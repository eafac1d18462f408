"""The public transformation: a loss function and a temperature to a weighted gradient.

`presence_gradients` is Algorithm 2 of Thakkar et al. 2023 with the choices of `PresenceConfig`;
`unweighted_gradients` is the plain step beside it: no score, no stored gradient, one reduction.
Both work under `jax.jit`, under `jax.pmap` or `jax.shard_map` (`axis_name`), and over the data axis
of a `mesh`. What happens on one device's rows is `local_gradients`; optimizers and loops are
elsewhere (`train_step`, `train`).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from presence_t5x import accumulation
from presence_t5x._validate import check_float
from presence_t5x.config_types import PresenceConfig
from presence_t5x.example_units import RowNorms, norm_sweep, scoring_sweep
from presence_t5x.layouts import Layout
from presence_t5x.local_gradients import PresenceAux, plain_gradients, weighted_gradients
from presence_t5x.partitioning import DATA_AXIS, num_row_parts
from presence_t5x.reduction import Cut, RowDevices, scatter_axis
from presence_t5x.scored_layers import select_layers
from presence_t5x.units import Problem, unit_scoring_sweep
from presence_t5x.weighting import PresenceState, init_presence_state

_OF_UNITS = ("scores", "weights", "losses", "live")


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
    """Returns G = m * sum_i w_i g_i over the batch's m live units, in float32, and how it was made.

    g_i is the gradient of unit i's summed token loss divided by one constant for the whole step
    (`config.loss_normalizer`), w the softmax of temperature times normalised scores. Temperature 0
    gives the plain sum of the live gradients, that is, the whole batch's gradient. The temperature
    may be traced: one compiled function serves a whole schedule.

    A unit with a non-finite loss, score or gradient, or without tokens, gets weight 0 by selection
    and leaves the others exact. Of "example" units only the loss and the scored layers' gradients
    are looked at; a microbatch whose weighted gradient is still not finite is dropped whole.

    Each microbatch folds its index (and, on a mapped axis, the device's) into `rng`; where rows are
    scored one by one ("example" without norm probes, or with a function as the score) each folds
    its own number too. So a unit's score and its gradient share dropout masks.

    Args:
      loss_fun: (params, batch, rng) -> (loss_sums f32[rows], num_tokens f32[rows]), and with
        `has_aux` a third value, a tree of summable metrics. For "microbatch" scalars serve too.
      params: a tree of float arrays.
      batch: a tree of arrays [rows, ...]; all rows, or this device's under `axis_name`.
      rng: a PRNG key, or None for a loss without randomness.
      temperature: tau, a finite number or a traced scalar.
      config: units, score, normaliser, accumulator.
      state: from `init_presence_state` or the step before; needed by normalizer "ema".
      mesh: its axes "replica", "outer" and "data" hold the rows, over which params are whole; the
        returned gradients are cut over the last two. "fsdp" and "tensor" are the compiler's. A
        `loss_fun` whose `cut_vocabulary` is set gets token tables cut over "data"
        (`layouts.Layout`).
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
    _check_summed(problem)
    state = init_presence_state(config) if state is None else state
    temperature = jnp.asarray(temperature, jnp.float32)
    local, batch = _local_problem(problem, batch, mesh)
    compute = functools.partial(weighted_gradients, local)
    mapped = compute if mesh is None else Layout.of(loss_fun, mesh).map_over_rows(compute)
    gradients, aux = mapped(params, batch, rng, temperature, state)
    if local.config.row_order != config.row_order and config.granularity == "example":
        restore = functools.partial(_rows_from_strided, config=config)
        vectors = {name: restore(aux[name]) for name in _OF_UNITS}
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
    local, batch = _local_problem(problem, batch, mesh)
    compute = functools.partial(plain_gradients, local)
    mapped = compute if mesh is None else Layout.of(loss_fun, mesh).map_over_rows(compute)
    return mapped(params, batch, rng)


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


def unit_scores(
    loss_fun: Callable[..., Any],
    params: PyTree,
    batch: PyTree,
    *,
    config: PresenceConfig,
    has_aux: bool = False,
) -> tuple[Float[Array, " units"], Float[Array, " units"], Float[Array, " units"]]:
    """Returns every microbatch's score, loss sum and token count, without dropout and update.

    The scores are those of `presence_gradients` with granularity "microbatch": of the gradient of
    all of a unit's tokens together, not a mean over rows. Only the scored layers' gradients are
    formed. Rows of padding (no token) may fill a unit.
    """
    config = dataclasses.replace(config, granularity="microbatch")
    problem = _check_problem(loss_fun, params, batch, config, None, None, has_aux)
    units = unit_scoring_sweep(problem, params, accumulation.split_rows(batch, config), None)
    return units.score, units.loss_sum, units.num_tokens


def example_norms(
    loss_fun: Callable[..., Any],
    params: PyTree,
    batch: PyTree,
    *,
    config: PresenceConfig,
    has_aux: bool = False,
) -> RowNorms:
    """Returns every row's squared gradient norm for each scored parameter; their sum is its score.

    The parameters are in the order of `select_layers(params, config.layers)`, so that one pass
    scores any parts of a model at once. `config.score` plays no role; else as `example_scores`.
    """
    config = dataclasses.replace(config, granularity="example")
    problem = _check_problem(loss_fun, params, batch, config, None, None, has_aux)
    found = norm_sweep(problem, params, accumulation.split_rows(batch, config))
    return RowNorms(*(accumulation.join_rows(values, config) for values in found))


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
        parts = num_row_parts(mesh)
        if rows % parts:
            raise ValueError(
                f"batch: {rows} rows cannot be cut over {parts} devices of axis {DATA_AXIS!r}"
            )
        where = f"of each device ({rows} rows over {parts} devices)"
        accumulation.check_divides(rows // parts, config, where=where)
    selection = select_layers(params, config.layers)
    devices = _row_devices(loss_fun, params, mesh, axis_name)
    return Problem(loss_fun, config, selection, devices, has_aux)


def _check_summed(problem: Problem) -> None:
    """Refuses gradients that arrive summed over devices where single devices' are needed."""
    config, devices = problem.config, problem.devices
    remedy = "build the loss with token_loss(..., cut_vocabulary=False)"
    if config.granularity == "shard" and devices.shares_gradients:
        raise ValueError(
            "granularity='shard' weighs every device's gradient by itself, but token tables that "
            f"are cut over devices have one gradient for all; {remedy}"
        )
    scored = [leaf.path for leaf in problem.selection if devices.comes_summed(leaf)]
    if config.granularity == "example" and scored:
        raise ValueError(
            f"granularity='example' cannot score {scored}: cut over devices they have no gradient "
            f"for a single row; {remedy}, or leave them out of layers"
        )


def _row_devices(loss_fun, params, mesh, axis_name) -> RowDevices:
    """Returns over what the rows are cut; a mapped axis of the caller's gets whole results."""
    if mesh is not None:
        return Layout.of(loss_fun, mesh).row_devices(params)
    if axis_name is None:
        return RowDevices()
    size = jax.lax.axis_size(axis_name)
    axes = (scatter_axis(leaf.shape, size) for leaf in jax.tree.leaves(params))
    cuts = tuple(() if axis is None else (Cut(axis_name, axis),) for axis in axes)
    return RowDevices((axis_name,), cuts, gather=True)


def _local_problem(problem: Problem, batch, mesh):
    """Returns the problem as every device of a mesh sees it, and the batch in its row order."""
    if mesh is None or problem.config.row_order == "strided":
        return problem, batch
    strided = dataclasses.replace(problem.config, row_order="strided")
    batch = accumulation.contiguous_as_strided(batch, problem.config)
    return dataclasses.replace(problem, config=strided), batch


def _rows_from_strided(values, config: PresenceConfig):
    """Undoes `contiguous_as_strided` on a vector of per-row values."""
    return values.reshape(-1, config.num_microbatches).T.reshape(-1)
