"""Token losses as (sum, token count) per row, never a mean.

Who calls decides what to divide by: `influence` scores means or sums of a unit, `accumulation` adds
weighted sums over units and divides once by a constant. Nothing here knows a model's class.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, UInt32

Batch = Mapping[str, Array]
Metrics = dict[str, Float[Array, ""]]
LossFun = Callable[
    [PyTree, Batch, PRNGKeyArray | UInt32[Array, "2"] | None],
    tuple[Float[Array, " batch"], Float[Array, " batch"], Metrics],
]

_REQUIRED_FEATURES = (
    "encoder_input_tokens",
    "decoder_input_tokens",
    "decoder_target_tokens",
    "decoder_loss_weights",
)
_PACKING_FEATURES = (
    "encoder_segment_ids",
    "decoder_segment_ids",
    "encoder_positions",
    "decoder_positions",
)


class EncoderDecoder(Protocol):
    """What `encoder_decoder_loss` needs of a model: `models.t5.T5` or T5X's network."""

    def apply(self, variables: Any, /, *args: Any, **kwargs: Any) -> Any: ...


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


def encoder_decoder_loss(model: EncoderDecoder, z_loss: float) -> LossFun:
    """Returns loss_fun(params, batch, rng) -> (loss_sums, num_tokens, metrics) of a batch.

    `batch` has T5X's features: encoder_input_tokens, decoder_input_tokens, decoder_target_tokens,
    decoder_loss_weights, and for packed rows *_segment_ids and *_positions; others are ignored.
    `rng` is the dropout key, None for no dropout. Results as in `cross_entropy_with_z_loss`.

    Raises:
      ValueError: (from loss_fun, while tracing) a required feature is missing.
    """

    def loss_fun(
        params: PyTree, batch: Batch, rng: PRNGKeyArray | UInt32[Array, "2"] | None
    ) -> tuple[Float[Array, " batch"], Float[Array, " batch"], Metrics]:
        missing = [name for name in _REQUIRED_FEATURES if name not in batch]
        if missing:
            raise ValueError(f"batch lacks {missing}; it has {sorted(batch)}")
        logits = model.apply(
            {"params": params},
            batch["encoder_input_tokens"],
            batch["decoder_input_tokens"],
            batch["decoder_target_tokens"],
            **{name: batch[name] for name in _PACKING_FEATURES if name in batch},
            enable_dropout=rng is not None,
            rngs=None if rng is None else {"dropout": rng},
        )
        return cross_entropy_with_z_loss(
            logits, batch["decoder_target_tokens"], batch["decoder_loss_weights"], z_loss
        )

    return loss_fun
