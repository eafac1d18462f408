"""A T5X model's loss as sums, which `presence_gradients` takes, and T5X's metrics from such sums.

T5X's `loss_fn` gives one number: token losses summed and divided by a normaliser. Here the
normaliser is one number for the whole step, found by T5X's own function, so that multiplying by it
gives the sum back. Imports T5X; what is done with the loss is `t5x_trainer`.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import clu.metrics
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, PyTree
from t5x import losses, models

from presence_t5x.losses import HiddenModel, LossFun, token_loss

T5XMetrics = dict[str, clu.metrics.Metric]


class StepLoss(NamedTuple):
    """The loss of one step's batch.

    Attributes:
      fun: (params, rows, rng) -> (loss sum, token count, what `metrics_fn` takes), where rows are
        some of `batch`.
      batch: with "decoder_loss_weights" as the model's normaliser wants them.
      normalizer: what divides the step's summed loss.
      metrics_fn: sums over the units of `fun`'s third value -> T5X's metrics of the step.
    """

    fun: LossFun
    batch: dict[str, Array]
    normalizer: Float[Array, ""]
    metrics_fn: Callable[[PyTree], T5XMetrics]


def step_loss(
    model: models.BaseTransformerModel,
    batch: Mapping[str, Array],
    *,
    per_row: bool,
    cut_vocabulary: bool = False,
    row_axes: Sequence[str] = (),
) -> StepLoss:
    """Returns the loss of `model` on a step's batch, to be cut into units as one pleases.

    The model's `loss_normalizing_factor` is taken for the whole batch, as T5X itself does without
    microbatches. None and numbers are the same either way. NUM_REAL_TARGET_TOKENS and
    NUM_TOTAL_TARGET_TOKENS count the tokens of all units. AVERAGE_PER_SEQUENCE divides the weights
    of a sequence's tokens by their sum, so that "tokens" are sequences here, and their number over
    all units divides the step. (With n microbatches T5X counts each anew: gradients become about n
    times as large, and turn towards microbatches with fewer tokens.)

    A model whose module is this package's T5 and whose loss is T5X's own, without label smoothing,
    is differentiated through `losses.token_loss`, which never holds all logits.

    Args:
      batch: all rows, as T5X's feature converters make them.
      per_row: units are single rows.
      cut_vocabulary: whether `losses.token_loss` may cut token tables over devices.
      row_axes: mesh axes over which `fun` is mapped, so that it sees one device's rows.
    """
    normalizer, weights = losses.get_loss_normalizing_factor_and_weights(
        model._loss_normalizing_factor, batch
    )
    if weights is None:  # T5X counts padding too then
        weights = jnp.ones(batch["decoder_target_tokens"].shape, jnp.float32)
    batch = {**batch, "decoder_loss_weights": weights}
    normalizer = jnp.asarray(1.0 if normalizer is None else normalizer, jnp.float32)
    normalizer = jnp.where(normalizer > 0, normalizer, 1.0)
    module = model.module
    if isinstance(module, HiddenModel) and _has_stock_loss(model):
        fun = token_loss(module, model._z_loss, per_row=per_row, cut_vocabulary=cut_vocabulary)

        def metrics_fn(sums: PyTree) -> T5XMetrics:
            return _metrics_of_sums(sums, batch, normalizer)

        return StepLoss(fun, batch, normalizer, metrics_fn)
    return StepLoss(_own_loss(model, normalizer, row_axes), batch, normalizer, _check_additive)


def _has_stock_loss(model: models.BaseTransformerModel) -> bool:
    """Whether the model's loss is that of T5X's encoder-decoder, without label smoothing."""
    stock = models.EncoderDecoderModel
    names = ("loss_fn", "_compute_logits", "_compute_metrics")
    unchanged = all(getattr(type(model), name) is getattr(stock, name, None) for name in names)
    return unchanged and model._label_smoothing == 0


def _own_loss(
    model: models.BaseTransformerModel, normalizer: Float[Array, ""], row_axes: Sequence[str]
) -> LossFun:
    """Returns the model's `loss_fn` on some rows, multiplied by the step's normaliser."""
    model = copy.copy(model)
    model._loss_normalizing_factor = normalizer

    def loss_fun(params: PyTree, batch: Mapping[str, Array], rng: Any):
        # The model hints where its activations lie; over its rows' axes it is mapped already.
        with nn.logical_axis_rules(_rules_without(row_axes)):
            loss, metrics = model.loss_fn(params, batch, rng)
        return normalizer * loss, jnp.sum(batch["decoder_loss_weights"]), metrics

    return loss_fun


def _rules_without(row_axes: Sequence[str]) -> list[tuple[str, Any]]:
    """Returns the logical axis rules in force without the mesh axes `row_axes`."""

    def kept(mesh_axes: Any) -> Any:
        if isinstance(mesh_axes, str) or mesh_axes is None:
            return None if mesh_axes in row_axes else mesh_axes
        return tuple(axis for axis in mesh_axes if axis not in row_axes) or None

    return [(name, kept(mesh_axes)) for name, mesh_axes in nn.get_logical_axis_rules()]


def _check_additive(metrics: PyTree) -> T5XMetrics:
    """Returns a model's metrics, added up number by number, if that is how they merge.

    Raises:
      ValueError: a metric merges otherwise; names it.
    """
    for name, metric in metrics.items():
        one, two = (
            jax.tree.map(lambda leaf, n=number: np.full(np.shape(leaf), n), metric)
            for number in (1, 2)
        )
        with jax.ensure_compile_time_eval():
            merged = jax.tree.leaves(one.merge(two))
            added = all(np.all(np.asarray(leaf) == 3) for leaf in merged)
        if not added:
            raise ValueError(
                f"metric {name!r} is a {type(metric).__name__}, which does not merge by addition: "
                "it cannot be summed over units; use clu.metrics.Average or t5x.metrics.Sum, or "
                "drop it from the model's _compute_metrics"
            )
    return dict(metrics)


def _metrics_of_sums(
    sums: Mapping[str, Array], batch: Mapping[str, Array], normalizer: Float[Array, ""]
) -> T5XMetrics:
    """Returns T5X's metrics of a step from what `losses.token_loss` reports of it."""
    targets = batch["decoder_target_tokens"]
    segments = {
        name.removesuffix("_segment_ids"): ids
        for name, ids in batch.items()
        if name.endswith("_segment_ids")
    } or {
        name: batch[name] != 0
        for name in ("encoder_input_tokens", "decoder_target_tokens")
        if name in batch
    }
    metrics = models.compute_base_metrics(
        logits=jnp.zeros((*targets.shape, 1)),  # for the accuracy alone, which is set below
        targets=targets,
        mask=batch["decoder_loss_weights"],
        loss=sums["loss_sum"] / normalizer,
        z_loss=sums["z_loss_sum"] / normalizer,
        segment_ids=segments,
    )
    accuracy = metrics["accuracy"].replace(total=sums["num_correct"], count=sums["num_tokens"])
    return {**metrics, "accuracy": accuracy}
