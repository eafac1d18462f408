"""One update: split, gradient, score, weigh, sum, update, metrics.

The step is a pure function of (state, batch). What a weighted gradient is stands in `gradients`,
the loop around the step in `train`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from presence_t5x.config_types import PresenceConfig
from presence_t5x.gradients import PresenceAux, presence_gradients, unweighted_gradients
from presence_t5x.layouts import Layout
from presence_t5x.metrics import step_metrics
from presence_t5x.units import squares_finite
from presence_t5x.weighting import PresenceState, Schedule, init_presence_state


class TrainState(NamedTuple):
    """Everything that a step changes.

    Attributes:
      step: steps done, skipped updates included.
      params: float32; on a mesh, each device's part.
      optimizer_state: of `optimizer.init(params)`.
      presence: the score moments of normalizer "ema".
      num_skipped_updates: steps so far that had no live unit, or a gradient that does not square.
      num_nonfinite_units: units dropped so far for a non-finite loss, score or gradient.
    """

    step: Int[Array, ""]
    params: PyTree
    optimizer_state: PyTree
    presence: PresenceState
    num_skipped_updates: Int[Array, ""]
    num_nonfinite_units: Int[Array, ""]

    @property
    def num_updates(self) -> Int[Array, ""]:
        """Updates done, as the optimizer counts them: what schedules are functions of."""
        return self.step - self.num_skipped_updates


class Objective(NamedTuple):
    """What a step optimises and how.

    Attributes:
      loss_fun: (params, batch, rng) -> (loss_sums, num_tokens, metrics).
      optimizer: with its learning rate inside.
      learning_rate_fn: updates done -> learning rate, for the metrics alone.
      temperature_fn: updates done -> temperature; None is the unweighted step.
      config: units, scores, accumulator.
      dropout_rng: folded with the step; None turns dropout off.
      mesh: whose data axis holds the rows; None is a single device. Parameters and optimizer state
        may be cut over it like gradients (`layouts.Layout.part_shardings`).
      compute_dtype: of the copy of the parameters that the loss is computed from.
      lists_units: metrics hold every unit's score and weight, for `influence_log`.
    """

    loss_fun: Callable[..., Any]
    optimizer: optax.GradientTransformation
    learning_rate_fn: Schedule
    temperature_fn: Schedule | None
    config: PresenceConfig
    dropout_rng: Any = None
    mesh: jax.sharding.Mesh | None = None
    compute_dtype: Any = jnp.float32
    lists_units: bool = False

    @property
    def layout(self) -> Layout | None:
        """Where parameters, gradients and optimizer state lie on the mesh."""
        return None if self.mesh is None else Layout.of(self.loss_fun, self.mesh)


def init_train_state(objective: Objective, params: PyTree) -> TrainState:
    """Returns the state before step 0."""
    zero = jnp.zeros((), jnp.int32)
    return TrainState(
        step=zero,
        params=params,
        optimizer_state=objective.optimizer.init(params),
        presence=init_presence_state(objective.config),
        num_skipped_updates=zero,
        num_nonfinite_units=zero,
    )


def step_gradients(
    objective: Objective, state: TrainState, batch: Mapping[str, Array]
) -> tuple[PyTree, PresenceAux]:
    """Returns this step's weighted (or plain) gradient and what it was made of."""
    rng = objective.dropout_rng
    arguments = (
        objective.loss_fun,
        _whole_parameters(objective, state.params),
        batch,
        None if rng is None else jax.random.fold_in(rng, state.step),
    )
    options = {"config": objective.config, "mesh": objective.mesh, "has_aux": True}
    if objective.temperature_fn is None:
        return unweighted_gradients(*arguments, **options)
    temperature = objective.temperature_fn(state.num_updates)
    return presence_gradients(*arguments, temperature=temperature, state=state.presence, **options)


def train_step(
    objective: Objective, state: TrainState, batch: Mapping[str, Array]
) -> tuple[TrainState, dict[str, Any]]:
    """Returns the state after one update, and the step's metrics.

    With no live unit or a gradient whose squared norm is not finite (above 9e18), parameters,
    optimizer and weighting state stay as they are and the step is counted as skipped.
    """
    gradients, aux = step_gradients(objective, state, batch)
    updates, optimizer_state = objective.optimizer.update(
        gradients, state.optimizer_state, state.params
    )
    # This keeps updates and moments finite with Adafactor and AdamW: the moments are means of
    # squares, and `optimizer` gives no update that is not finite of a gradient that is. To look at
    # updates and moments costs more: they must then be stored before they are chosen or not (on
    # CPUs 0.1 of the optimizer's time with Adafactor, 1.5 with AdamW).
    usable = (aux.num_live_units > 0) & squares_finite(gradients)
    params, optimizer_state, presence = jax.tree.map(
        lambda new, old: jnp.where(usable, new, old),
        (optax.apply_updates(state.params, updates), optimizer_state, aux.state),
        (state.params, state.optimizer_state, state.presence),
    )
    new_state = TrainState(
        step=state.step + 1,
        params=params,
        optimizer_state=optimizer_state,
        presence=presence,
        num_skipped_updates=state.num_skipped_updates + ~usable,
        num_nonfinite_units=state.num_nonfinite_units + aux.num_nonfinite_units,
    )
    weighted = objective.temperature_fn is not None
    metrics = step_metrics(aux, weighted=weighted, every_unit=objective.lists_units)
    metrics["train/learning_rate"] = objective.learning_rate_fn(state.num_updates)
    metrics["train/num_skipped_updates"] = new_state.num_skipped_updates
    metrics["train/num_nonfinite_units_so_far"] = new_state.num_nonfinite_units
    return new_state, metrics


def _whole_parameters(objective: Objective, params: PyTree) -> PyTree:
    """Returns the parameters gathered from the devices that hold parts of them, for the loss."""
    whole = jax.tree.map(lambda leaf: leaf.astype(objective.compute_dtype), params)
    layout = objective.layout
    if layout is None:
        return whole
    # Cast first, pinned to its part: or the compiler gathers float32 and casts afterwards.
    whole = jax.lax.with_sharding_constraint(whole, layout.part_shardings(params))
    return jax.lax.with_sharding_constraint(whole, layout.loss_shardings(params))
