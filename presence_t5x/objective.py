"""From a run's settings to its compiled step: loss, optimizer, schedules, mesh, sharded state.

What `train`, `benchmark` and `plan` share. Nothing here reads data or writes files, and nothing is
computed before the returned functions are called.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from presence_t5x import partitioning
from presence_t5x.config_types import DataConfig, ModelConfig, RunConfig
from presence_t5x.config_types.weighting import UNWEIGHTED
from presence_t5x.host_rows import row_holders, share_rows
from presence_t5x.layouts import can_cut_vocabulary
from presence_t5x.losses import LossFun, token_loss
from presence_t5x.models.families import build_model, init_params
from presence_t5x.optimizer import build_optimizer, learning_rate_schedule
from presence_t5x.scored_layers import select_layers
from presence_t5x.train_step import Objective, TrainState, init_train_state, train_step
from presence_t5x.weighting import temperature_schedule


def make_mesh(config: RunConfig, devices: Any = None) -> jax.sharding.Mesh | None:
    """Returns the run's mesh over all (or the given) devices; None for a single device.

    Raises:
      ValueError: the partitions do not divide the devices or the model, or leave hosts that share
        only some of their rows.
    """
    mesh = partitioning.make_mesh(config.partitioning, config.model, devices)
    share_rows(row_holders(mesh))
    return mesh if mesh.size > 1 else None


def make_objective(config: RunConfig, mesh: jax.sharding.Mesh | None) -> Objective:
    """Returns what is optimised; everything in it is checked here.

    Raises:
      ValueError: rows that the devices and microbatches do not divide, layers that match nothing,
        an unknown schedule.
    """
    _check_rows(config, mesh)
    shapes = _parameter_shapes(config)
    select_layers(shapes, config.presence.layers)
    learning_rate_fn = learning_rate_schedule(config.optimizer)
    weighted = config.temperature.schedule != UNWEIGHTED
    dropout = config.model.dropout_rate > 0
    return Objective(
        loss_fun=token_loss(
            build_model(config.model),
            config.z_loss,
            per_row=config.presence.granularity == "example",
            cut_vocabulary=mesh is not None
            and (not weighted or can_cut_vocabulary(shapes, config.presence, mesh)),
            most_targets=config.data.most_targets,
        ),
        optimizer=build_optimizer(config.optimizer, config.model.scan_layers),
        learning_rate_fn=learning_rate_fn,
        temperature_fn=temperature_schedule(
            config.temperature, learning_rate_fn, config.optimizer.warmup_steps
        )
        if weighted
        else None,
        config=config.presence,
        dropout_rng=jax.random.fold_in(jax.random.key(config.random_seed), 1) if dropout else None,
        mesh=mesh,
        compute_dtype=_compute_dtype(config),
        lists_units=config.influence_log,
    )


def row_loss_fun(config: RunConfig) -> LossFun:
    """Returns the run's loss with one sum a row, as evaluation needs it."""
    most_targets = config.data.most_targets
    return token_loss(build_model(config.model), config.z_loss, most_targets=most_targets)


def initial_state(config: RunConfig, objective: Objective) -> TrainState:
    """Returns the state before step 0, created where it belongs."""
    shardings: Any = objective.mesh and _shardings(abstract_state(config, objective))
    init = jax.jit(functools.partial(_init, config, objective), out_shardings=shardings)
    return init(jax.random.key(config.random_seed))


def abstract_state(config: RunConfig, objective: Objective) -> TrainState:
    """Returns the state's shapes and types, with shardings on a mesh; allocates nothing."""
    state = jax.eval_shape(functools.partial(_init, config, objective), jax.random.key(0))
    layout = objective.layout
    if layout is None:
        return state
    shardings = jax.tree.map(lambda _: partitioning.replicated(layout.mesh), state)._replace(
        params=layout.part_shardings(state.params),
        optimizer_state=layout.state_shardings(state.optimizer_state, state.params),
    )
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        state,
        shardings,
    )


def abstract_batch(config: RunConfig, mesh: jax.sharding.Mesh | None) -> dict[str, Any]:
    """Returns the shapes and types of a step's batch, with shardings on a mesh."""
    sharding = None if mesh is None else partitioning.batch_sharding(mesh)
    return abstract_rows(config.model, config.data, config.data.batch_size, sharding)


def abstract_rows(
    model: ModelConfig,
    data: DataConfig,
    num_rows: int,
    sharding: jax.sharding.Sharding | None = None,
) -> dict[str, Any]:
    """Returns the shapes and types of rows as a model reads them.

    Args:
      model: whose features.
      data: lengths, and whether rows are packed.
      num_rows: of the batch.
      sharding: of every feature; None is a single device.
    """

    def feature(name: str, dtype: Any) -> jax.ShapeDtypeStruct:
        shape = (num_rows, lengths[name.split("_")[0]]) if "_" in name else (num_rows,)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    features, lengths = model.features, model.row_lengths(data.task_feature_lengths)
    names = [*features.required, *(features.packing if data.pack else ())]
    names += features.optional if len(data.task_feature_lengths) > 1 else ()
    batch = {name: feature(name, jnp.int32) for name in names if name != features.weights}
    if features.weights is not None:
        batch[features.weights] = feature(features.weights, jnp.float32)
    return batch


def compile_ready_step(config: RunConfig, objective: Objective) -> Callable[..., Any]:
    """Returns the jitted (state, batch) -> (state, metrics), which donates the state."""
    shardings: Any = None
    if objective.mesh is not None:
        shardings = (_shardings(abstract_state(config, objective)), None)
    step = functools.partial(train_step, objective)
    return jax.jit(step, donate_argnums=0, out_shardings=shardings)


def _compute_dtype(config: RunConfig) -> Any:
    """Returns bfloat16 where layers use their parameters so and gradients cross devices so.

    The model then gives the same numbers, but for its float32 logits, whose product TPUs round to
    bfloat16 factors by themselves; gradients come out in bfloat16, at half the memory.
    """
    dtypes = {config.model.dtype, config.presence.gradient_dtype}
    return jnp.bfloat16 if dtypes == {"bfloat16"} else jnp.float32


def gather_parameters(params: PyTree, objective: Objective) -> PyTree:
    """Returns a state's float32 parameters whole on every row device, for evaluation."""
    if objective.layout is None:
        return params
    return jax.device_put(params, objective.layout.whole_shardings(params))


def _init(config: RunConfig, objective: Objective, key: Any) -> TrainState:
    return init_train_state(objective, init_params(config.model, key))


def _shardings(abstract: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.sharding, abstract)


def _parameter_shapes(config: RunConfig) -> PyTree:
    return jax.eval_shape(lambda key: init_params(config.model, key), jax.random.key(0))


def _check_rows(config: RunConfig, mesh: jax.sharding.Mesh | None) -> None:
    """Refuses a batch that devices and microbatches do not divide, naming the next that they do."""
    parts = partitioning.num_row_parts(mesh)
    rows, num_microbatches = config.data.batch_size, config.presence.num_microbatches
    if rows % (parts * num_microbatches):
        raise ValueError(
            f"batch_size={rows} must be a multiple of {parts} devices x num_microbatches="
            f"{num_microbatches} = {parts * num_microbatches}"
        )
