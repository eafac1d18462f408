"""Token losses as (sum, token count) per row, never a mean.

Who calls decides what to divide by: `influence` scores means or sums of a unit, `accumulation` adds
weighted sums over units and divides once by a constant. Nothing here knows a model's class.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, UInt32

from presence_t5x.config_types.features import ENCODER_DECODER, BatchFeatures
from presence_t5x.counted_targets import take_counted
from presence_t5x.cross_entropy import blockwise_cross_entropy

Batch = Mapping[str, Any]  # of arrays
Metrics = dict[str, Float[Array, ""]]
Rng = PRNGKeyArray | UInt32[Array, "2"] | None
LossFun = Callable[
    [PyTree, Batch, Rng],
    tuple[Float[Array, "*batch"], Float[Array, "*batch"], Metrics],
]


class Model(Protocol):
    """What `token_loss` needs of a model that returns logits, such as T5X's network."""

    def apply(self, variables: Any, /, *args: Any, **kwargs: Any) -> Any: ...


@runtime_checkable
class HiddenModel(Model, Protocol):
    """A model that, applied `with_logits=False`, gives vectors to multiply by `output_kernel`.

    `output_bias` is added then, if there is one. It also takes norm probes (`ghost_norms`) in a
    collection of that name. Its tables of tokens, the matrix of `num_outputs` columns among them,
    may be given as a device's part of them.
    """

    @property
    def features(self) -> BatchFeatures: ...

    @property
    def num_outputs(self) -> int: ...

    def output_kernel(self, params: PyTree) -> Float[Array, "embed vocab"]: ...

    def output_bias(self, params: PyTree) -> Float[Array, " vocab"] | None: ...

    def probe_shape(self, path: Sequence[str], rows: int) -> tuple[int, ...] | None: ...


def cross_entropy_with_z_loss(
    logits: Float[Array, "batch length vocab"],
    targets: Int[Array, "batch length"],
    weights: Float[Array, "batch length"],
    z_loss: float,
) -> tuple[Float[Array, " batch"], Float[Array, " batch"], Metrics]:
    """Returns each row's weighted token losses summed, its token count, and metrics of the batch.

    A token's loss is log Z - logit[target] + z_loss * (log Z)^2, where Z is the softmax normaliser;
    all in float32 and stable for logits up to 1e18 (beyond, the square overflows). A row whose
    weights are all 0 gives exactly 0 for both sums, and zero gradients. Targets outside the
    vocabulary are not checked; they lose log Z. Source: T5X's `compute_weighted_cross_entropy`
    behaviour without smoothing; the z-loss is that of Mesh TensorFlow.

    Args:
      weights: 1 for a token that counts and 0 for one that does not (other weights are allowed).
      z_loss: factor of (log Z)^2, 1e-4 in T5X.

    Returns:
      loss sums, numbers of tokens (the sum of `weights`), and scalars that add up over batches:
      "loss_sum", "z_loss_sum", "num_tokens", "num_correct" (weighted; the target's logit is the
      largest, alone or with others).

    >>> logits = jnp.zeros((1, 2, 4))
    >>> sums, num_tokens, _ = cross_entropy_with_z_loss(
    ...     logits, jnp.array([[1, 0]]), jnp.array([[1.0, 0.0]]), z_loss=0.0)
    >>> print(sums, num_tokens)  # one token of loss log(4)
    [1.3862944] [1.]
    """
    logits = jnp.asarray(logits).astype(jnp.float32)
    weights = jnp.asarray(weights).astype(jnp.float32)
    log_z = jax.nn.logsumexp(logits, axis=-1)
    # A masked sum instead of a gather: its gradient is the same mask, not a scatter.
    targets = jnp.asarray(targets).astype(jnp.int32)[:, :, None]
    is_target = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 2) == targets
    target_logits = jnp.sum(jnp.where(is_target, logits, 0.0), axis=-1)
    z_losses = z_loss * jnp.square(log_z)
    losses = log_z - target_logits + z_losses

    loss_sums = jnp.sum(losses * weights, axis=-1)
    num_tokens = jnp.sum(weights, axis=-1)
    # The maximum is logsumexp's own; an argmax would add a third to this function's time on CPUs.
    is_correct = (target_logits >= jnp.max(logits, axis=-1)).astype(jnp.float32)
    metrics = {
        "loss_sum": jnp.sum(loss_sums),
        "z_loss_sum": jnp.sum(z_losses * weights),
        "num_tokens": jnp.sum(num_tokens),
        "num_correct": jnp.sum(is_correct * weights),
    }
    return loss_sums, num_tokens, jax.lax.stop_gradient(metrics)


def token_loss(
    model: Model,
    z_loss: float,
    *,
    per_row: bool = True,
    cut_vocabulary: bool = False,
    most_targets: int | None = None,
) -> LossFun:
    """Returns loss_fun(params, batch, rng) -> (loss_sums, num_tokens, metrics) of a batch.

    `batch` has the model's features (`config_types.features`; those of T5X's encoder-decoders where
    a model does not say); others are ignored. `rng` is the dropout key, None for no dropout.
    Results as in `cross_entropy_with_z_loss`; of a `HiddenModel` they are computed without ever
    holding all logits, and the function is a `ProbedLoss`. Of a model with one target a row that
    target is a row's one token.

    Args:
      per_row: loss_sums and num_tokens are given for each row. False gives their sums: cheaper to
        differentiate, and all that units of whole microbatches need.
      cut_vocabulary: on a mesh, devices keep their parts of the token tables and exchange tokens'
        vectors (`layouts.Layout`); of a `HiddenModel` only.
      most_targets: that count in a row, so that a `HiddenModel`'s logits need not be formed at its
        other positions; a row that has more loses NaN. None is all.

    Raises:
      ValueError: (from loss_fun, while tracing) a required feature is missing.
    """
    if isinstance(model, HiddenModel):
        return ProbedLoss(model, z_loss, per_row, cut_vocabulary, most_targets)
    return logits_loss(model, ENCODER_DECODER, z_loss, per_row=per_row)


def logits_loss(
    model: Model, features: BatchFeatures, z_loss: float, *, per_row: bool = True
) -> LossFun:
    """Returns `token_loss`'s loss_fun, written plainly: of all logits of a batch at once."""

    def loss_fun(params: PyTree, batch: Batch, rng: Rng):
        inputs, options = _model_arguments(features, batch, rng)
        logits = model.apply({"params": params}, *inputs, **options)
        targets = _targets(features, batch)
        losses, num_tokens, metrics = cross_entropy_with_z_loss(logits, *targets, z_loss)
        if per_row:
            return losses, num_tokens, metrics
        return jnp.sum(losses), jnp.sum(num_tokens), metrics

    return loss_fun


@dataclasses.dataclass(frozen=True)
class ProbedLoss:
    """A loss function that gives rows' gradient norms and weighted sums without rows' gradients.

    Calling it is `token_loss`'s loss_fun.
    """

    model: HiddenModel
    z_loss: float
    per_row: bool
    cut_vocabulary: bool = False
    most_targets: int | None = None

    def __call__(self, params: PyTree, batch: Batch, rng: Rng):
        loss, num_tokens, row_metrics = self._run({"params": params}, batch, rng, self.per_row)
        metrics = jax.tree.map(jnp.sum, row_metrics)
        return loss, num_tokens if self.per_row else jnp.sum(num_tokens), metrics

    def probed(self, params: PyTree, probes: PyTree, batch: Batch, rng: Rng):
        """Returns each row's (loss sum, token count, metrics).

        Args:
          probes: nested as the parameters, arrays of `probe_shape`, 1 where a norm is wanted; their
            cotangents are the rows' squared gradient norms.
        """
        return self._run({"params": params, "probes": probes}, batch, rng, per_row=True)

    def weighted_sum(
        self, params: PyTree, factors: Float[Array, " batch"], batch: Batch, rng: Rng
    ) -> Float[Array, ""]:
        """Returns the sum of the rows' losses times `factors` (no gradient goes to them)."""
        factors = jax.lax.stop_gradient(factors)
        return self._run({"params": params}, batch, rng, per_row=False, factors=factors)[0]

    def probe_shape(self, path: Sequence[str], rows: int) -> tuple[int, ...] | None:
        """Returns the shape of a parameter's probe; None if the model has none for it."""
        return self.model.probe_shape(path, rows)

    def _run(
        self,
        variables: dict[str, PyTree],
        batch: Batch,
        rng: Rng,
        per_row: bool,
        factors: Float[Array, " batch"] | None = None,
    ):
        """Returns the loss (one, or one a row), and every row's token count and metrics."""
        model, features = self.model, self.model.features
        inputs, options = _model_arguments(features, batch, rng)
        targets, weights = _targets(features, batch)
        if factors is not None:
            weights = weights * factors[:, None]
        num_tokens = jnp.sum(weights.astype(jnp.float32), axis=1)
        hidden = model.apply(variables, *inputs, **options, with_logits=False)
        if self.most_targets is not None and self.most_targets < hidden.shape[1]:
            hidden, targets, weights = take_counted(hidden, targets, weights, self.most_targets)
        loss, sums = blockwise_cross_entropy(
            hidden,
            model.output_kernel(variables["params"]),
            targets,
            weights,
            self.z_loss,
            per_row=per_row,
            bias=model.output_bias(variables["params"]),
            vocab_size=model.num_outputs,
        )
        row_metrics = {
            "loss_sum": sums.loss,
            "z_loss_sum": sums.z_loss,
            "num_tokens": num_tokens,
            "num_correct": sums.num_correct,
        }
        return loss, num_tokens, row_metrics


def count_tokens(features: BatchFeatures, batch: Batch) -> Float[np.ndarray, " batch"]:
    """Returns how many targets of each row count, as a loss on these features has it.

    The batch is the host's, and so is the count: a device would count behind the step it is at.
    """
    return np.sum(np.asarray(_targets(features, batch)[1], np.float32), axis=1)


def _targets(features: BatchFeatures, batch: Batch) -> tuple[Array, Array]:
    """Returns targets and weights, [rows, length]; one target a row is a length of 1."""
    targets = batch[features.targets]
    weights = targets >= 0 if features.weights is None else batch[features.weights]
    if targets.ndim == 1:
        return targets[:, None], weights[:, None]
    return targets, weights


def _model_arguments(
    features: BatchFeatures, batch: Batch, rng: Rng
) -> tuple[list[Array], dict[str, Any]]:
    """Returns what a model is applied to, and its keyword arguments."""
    missing = [name for name in features.required if name not in batch]
    if missing:
        raise ValueError(f"batch lacks {missing}; it has {sorted(batch)}")
    options: dict[str, Any] = {name: batch[name] for name in features.options(batch)}
    options |= {"enable_dropout": rng is not None}
    options |= {"rngs": None if rng is None else {"dropout": rng}}
    return [batch[name] for name in features.inputs], options
