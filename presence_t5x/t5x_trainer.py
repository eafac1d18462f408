"""PRESENCE on T5X: a drop-in for `t5x.trainer.Trainer` whose step weighs its microbatches.

Only the step differs. It is built on `presence_gradients`, runs where T5X's partitioner puts it,
donates what T5X's donates, and updates with T5X's optimizer. Losses are in `t5x_loss`, what models
need in `t5x_model`; these three modules alone import T5X (tested at commit cc342d4).
"""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import clu.metrics
import clu.values
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree
from t5x import metrics as metrics_lib
from t5x import models, partitioning, trainer
from t5x import train_state as train_state_lib

from presence_t5x.config_types import PresenceConfig, TemperatureConfig
from presence_t5x.config_types.weighting import UNWEIGHTED
from presence_t5x.gradients import PresenceAux, presence_gradients
from presence_t5x.layouts import can_cut_vocabulary
from presence_t5x.metrics import weighting_metrics
from presence_t5x.partitioning import row_axes, with_row_groups
from presence_t5x.scored_layers import select_layers
from presence_t5x.t5x_loss import T5XMetrics, step_loss
from presence_t5x.t5x_model import MOMENTS, pack_moments, unpack_moments
from presence_t5x.units import all_finite, squares_finite
from presence_t5x.weighting import Schedule, temperature_schedule

_COUNTED = ("presence/num_nonfinite_units", "presence/num_skipped_updates")
_HISTOGRAM_BUCKETS = 30


class PresenceTrainer(trainer.Trainer):
    """T5X's trainer with PRESENCE's gradients: only the training step differs.

    With `num_microbatches` None or 1 and granularity "microbatch" (one unit, of weight 1), or
    without a temperature, it runs its parent's step.

    The loss normaliser is the model's, taken for the whole batch (`t5x_loss.step_loss`). Every
    microbatch folds its index into the step's dropout key; T5X gives all of them one key. A step
    without a live unit, or whose gradient (its square too) or new parameters are not finite, is
    counted and changes only the step number. Rows must be a multiple of microbatches times data
    partitions.

    Metrics are the model's, of live units, and `presence/*`: means over the steps between two
    summaries, the last temperature, sums of dropped units and skipped updates, and histograms of
    the last step's scores and weights.
    """

    def __init__(
        self,
        model: models.BaseTransformerModel,
        train_state: train_state_lib.TrainState,
        partitioner: partitioning.BasePartitioner,
        eval_names: Sequence[str],
        summary_dir: str | None,
        train_state_axes: Any,
        rng: Array,
        learning_rate_fn: trainer.LearningRateCallable,
        num_microbatches: int | None,
        weight_metrics_computer: trainer.WeightMetricsComputer | None = None,
        *,
        temperature_fn: Schedule | None,
        presence_config: PresenceConfig | None = None,
    ):
        """Takes T5X's arguments and two more.

        Args:
          num_microbatches: as T5X's, None is 1; it replaces `presence_config`'s.
          temperature_fn: step (updates already done) -> temperature, e.g. of
            `temperature_schedule`; None runs T5X's own step.
          presence_config: units, score, normaliser, accumulator; None is the paper's, with rows in
            T5X's order ("contiguous"). Its loss normaliser must be the model's, or None.

        Raises:
          ValueError: a model without T5X's loss, layers that match nothing, score moments that the
            train state does not carry, a mesh without data axis; with the remedy.
        """
        config = presence_config or PresenceConfig(row_order="contiguous")
        config = dataclasses.replace(config, num_microbatches=num_microbatches or 1)
        single_unit = config.granularity == "microbatch" and config.num_microbatches == 1
        self._is_plain = temperature_fn is None or single_unit
        _check_temperature_fn(temperature_fn)
        _check_moments(train_state.flax_mutables, config, self._is_plain)
        self._mesh = None
        if not self._is_plain:
            _check_model(model, config)
            select_layers(train_state.params, config.layers)
            mesh = with_row_groups(partitioner.mesh)
            self._mesh = mesh if mesh.size > 1 else None
        self._config = dataclasses.replace(config, loss_normalizer=None)  # divided in the step
        self._temperature_fn = temperature_fn
        super().__init__(
            model=model,
            train_state=train_state,
            partitioner=partitioner,
            eval_names=eval_names,
            summary_dir=summary_dir,
            train_state_axes=train_state_axes,
            rng=rng,
            learning_rate_fn=learning_rate_fn,
            num_microbatches=num_microbatches,
            weight_metrics_computer=weight_metrics_computer,
        )

    @functools.cached_property
    def _partitioned_train_step(self) -> trainer.PartitionedTrainCallable:
        """The step as T5X's loop calls it, partitioned and donating as its parent's."""
        if self._is_plain:
            return super()._partitioned_train_step
        return self._partitioner.partition(
            self._weighted_step,
            in_axis_resources=(self._train_state_axes, self._partitioner.data_partition_spec),
            out_axis_resources=(self._train_state_axes, None),
            donate_argnums=(0,),
        )

    def _weighted_step(
        self, state: train_state_lib.TrainState, batch: Mapping[str, Array]
    ) -> tuple[train_state_lib.TrainState, T5XMetrics]:
        """Returns the state after one update, and the step's metrics."""
        assert self._temperature_fn is not None  # without, the step is the parent's
        config, mesh = self._config, self._mesh
        loss = step_loss(
            self._model,
            batch,
            per_row=config.granularity == "example",
            cut_vocabulary=mesh is not None and can_cut_vocabulary(state.params, config, mesh),
            row_axes=() if mesh is None else row_axes(mesh),
        )
        with _context(mesh):
            gradients, aux = presence_gradients(
                loss.fun,
                state.params,
                loss.batch,
                self._get_step_rng(state.step),
                temperature=self._temperature_fn(state.step),
                config=config,
                state=unpack_moments(state.flax_mutables),
                mesh=mesh,
                has_aux=True,
            )
        gradients = jax.tree.map(lambda leaf: leaf / loss.normalizer, gradients)
        updated, metrics = trainer.apply_grads(
            state,
            gradients,
            loss.metrics_fn(aux.metrics),
            self._learning_rate_fn(state.step),
            self._weight_metrics_computer,
            {"flax_mutables": pack_moments(aux.state)} if state.flax_mutables else None,
        )
        # T5X's optimizers may still make a NaN of it (Adafactor, of a column without gradient).
        finite = squares_finite(gradients) & all_finite(updated.params)
        usable = (aux.num_live_units > 0) & finite
        kept = jax.tree.map(lambda new, old: jnp.where(usable, new, old), updated, state)
        return kept.replace_step(state.step + 1), metrics | _presence_metrics(aux, ~usable)


def _context(mesh: jax.sharding.Mesh | None) -> contextlib.AbstractContextManager[Any]:
    """Makes `mesh` the one in force, in place of T5X's own, which has no groups of rows."""
    if mesh is None:
        return contextlib.nullcontext()
    return jax.sharding.use_abstract_mesh(mesh.abstract_mesh)


def build_temperature_fn(
    config: TemperatureConfig,
    learning_rate_fn: Schedule | None = None,
    peak_step: int = 0,
) -> Schedule | None:
    """Returns `temperature_schedule`'s function, None for the schedule "unweighted"; for gin."""
    if config.schedule == UNWEIGHTED:
        return None
    return temperature_schedule(config, learning_rate_fn, peak_step)


@flax.struct.dataclass
class UnitValues(clu.metrics.Metric):
    """One number a unit, of the last step; summaries show their histogram."""

    values: Float[Array, " units"]

    def merge(self, other: "UnitValues") -> "UnitValues":
        """Returns the later step's."""
        return other

    def compute(self) -> Float[Array, " units"]:
        """Returns the values."""
        return self.values

    def compute_value(self) -> clu.values.Histogram:
        """Returns what TensorBoard is given."""
        return clu.values.Histogram(self.values, num_buckets=_HISTOGRAM_BUCKETS)


def _presence_metrics(aux: PresenceAux, skipped: Array) -> T5XMetrics:
    """Returns the weighting's metrics, named as `metrics.weighting_metrics` names them."""
    values = weighting_metrics(aux) | {"presence/num_skipped_updates": skipped}
    some_live = aux.num_live_units > 0

    def metric(name: str, value: Array) -> clu.metrics.Metric:
        if value.ndim:
            return UnitValues(value)
        if name in _COUNTED:
            return metrics_lib.Sum.from_model_output(value.astype(jnp.int32))
        value = value.astype(jnp.float32)[None]
        if name == "presence/temperature":
            return clu.metrics.LastValue.from_model_output(value)
        counts = some_live | (name == "presence/num_live_units")  # the others mean nothing without
        return clu.metrics.Average.from_model_output(value, mask=counts[None])

    return {name: metric(name, value) for name, value in values.items()}


def _check_temperature_fn(temperature_fn: Any) -> None:
    """Refuses what is no function, such as the configuration of one."""
    if temperature_fn is not None and not callable(temperature_fn):
        raise ValueError(
            f"temperature_fn={temperature_fn!r} must be a function of the step, e.g. "
            "build_temperature_fn(TemperatureConfig()), or None for T5X's own step"
        )


def _check_model(model: Any, config: PresenceConfig) -> None:
    """Refuses a model whose loss cannot be taken apart, and a second loss normaliser."""
    if not isinstance(model, models.BaseTransformerModel):
        raise ValueError(
            f"model={type(model).__name__}: PresenceTrainer needs the loss of a "
            "t5x.models.BaseTransformerModel; derive the model from it, or use t5x.trainer.Trainer"
        )
    own = model._loss_normalizing_factor
    if config.loss_normalizer is not None and config.loss_normalizer != _normalizer_name(own):
        raise ValueError(
            f"presence_config.loss_normalizer={config.loss_normalizer!r} but the model's "
            f"loss_normalizing_factor={own!r}, which divides the step; leave the former None"
        )


def _normalizer_name(factor: Any) -> Any:
    """Returns T5X's loss normaliser as `PresenceConfig` spells it."""
    name = getattr(factor, "name", factor)  # an enumeration, a string, a number or None
    return name.lower() if isinstance(name, str) else name


def _check_moments(flax_mutables: Mapping[str, PyTree], config: PresenceConfig, plain: bool):
    """Refuses a train state without the moments of "ema", and one with variables of other kinds."""
    others = sorted(set(flax_mutables) - {MOMENTS})
    if plain and MOMENTS in flax_mutables:
        raise ValueError(
            "normalizer='ema': T5X's own step (one microbatch, or no temperature) cannot carry "
            "score moments; set normalizer='batch' in the model and in presence_config"
        )
    if plain:
        return
    if others:
        raise ValueError(
            f"the model's mutable variables {others} would be changed by every unit in turn; "
            "PresenceTrainer takes models without such variables alone"
        )
    if config.normalizer == "ema" and MOMENTS not in flax_mutables:
        raise ValueError(
            "normalizer='ema' needs score moments in the train state: set MODEL = "
            "@t5x_model.PresenceEncoderDecoderModel() with normalizer='ema', or normalizer='batch'"
        )
