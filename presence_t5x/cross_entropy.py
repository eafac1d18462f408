"""Softmax cross-entropy from hidden vectors, a block of positions at a time, with its own gradient.

The logits of all tokens are never held together: with mT5's vocabulary they would be the largest
array of a step. Where all rows' losses are only added up, the gradient is formed in the forward
sweep, while a block's logits are at hand, and merely scaled in the backward one; per-row losses
keep the vectors' gradient and form the kernel's anew. `losses` turns batches into these arguments.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from presence_t5x.partitioning import VocabularyParts, constrain

# Float32 logits held at a time. mT5: 134 tokens; fewer would read the kernel more often.
LOGIT_BLOCK_BYTES = 128 * 2**20
CPU_BLOCK_TOKENS = 640  # a CPU's caches hold more of a smaller block, if its vocabulary is small


class TokenSums(NamedTuple):
    """Sums over each row's tokens, weighted: what a loss function reports of a batch."""

    loss: Float[Array, " batch"]
    z_loss: Float[Array, " batch"]
    num_correct: Float[Array, " batch"]


class _Arguments(NamedTuple):
    """What the loss is a function of; differentiable in `hidden`, `kernel` and `bias`."""

    hidden: Float[Array, "batch length embed"]
    kernel: Float[Array, "embed vocab"]
    bias: Float[Array, " vocab"] | None
    targets: Int[Array, "batch length"]
    weights: Float[Array, "batch length"]


class _Settings(NamedTuple):
    z_loss: float
    positions: int  # of a block
    parts: VocabularyParts


def blockwise_cross_entropy(
    hidden: Float[Array, "batch length embed"],
    kernel: Float[Array, "embed vocab"],
    targets: Int[Array, "batch length"],
    weights: Float[Array, "batch length"],
    z_loss: float,
    *,
    per_row: bool,
    bias: Float[Array, " vocab"] | None = None,
    vocab_size: int | None = None,
    block_bytes: int = LOGIT_BLOCK_BYTES,
) -> tuple[Float[Array, ""] | Float[Array, " batch"], TokenSums]:
    """Returns the weighted token losses summed (for each row, or over all), and sums to report.

    A token's loss is that of `losses.cross_entropy_with_z_loss` for the float32 logits
    hidden @ kernel + bias; value and gradient equal it to float32 rounding, whatever the block
    size. (The gradient of a bfloat16 kernel is rounded after every block.) Differentiable in
    `hidden`, `kernel` and `bias` through the first result; the sums carry no gradient.

    Args:
      weights: 1 for a token that counts and 0 for one that does not.
      z_loss: factor of (log Z)^2.
      per_row: one sum a row, each with its own cotangent (a fourth product of the size of the
        logits); otherwise one sum in all, with gradients formed in the forward sweep.
      bias: of the logits, cut like the kernel's columns; None is none.
      vocab_size: of which `kernel` holds a device's part (`partitioning.VocabularyParts`), whose
        gradient then is that of all devices' rows; a cotangent that all rows share must be the same
        on all devices. None: `kernel` is whole.
      block_bytes: of float32 logits held at a time, on CPUs of CPU_BLOCK_TOKENS at most; at least
        one position of every row is.

    >>> import jax.numpy as jnp
    >>> hidden, kernel = jnp.ones((1, 2, 3)), jnp.zeros((3, 4))
    >>> total, _ = blockwise_cross_entropy(
    ...     hidden, kernel, jnp.array([[1, 0]]), jnp.array([[1.0, 0.0]]), 0.0, per_row=False)
    >>> print(total)  # one token of loss log(4)
    1.3862944
    """
    vocab_size = kernel.shape[1] if vocab_size is None else vocab_size
    parts = VocabularyParts.of(kernel.shape[1], vocab_size)
    positions = max(1, block_bytes // (4 * len(hidden) * vocab_size))
    settings = _Settings(z_loss, positions, parts)
    arguments = _Arguments(hidden, kernel, bias, targets, weights.astype(jnp.float32))
    fun: Any = _row_losses if per_row else _total_loss
    loss, sums = fun(settings, arguments)
    return loss, jax.tree.map(lax.stop_gradient, sums)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _total_loss(settings: _Settings, arguments: _Arguments):
    sums, _, _ = _sweep(settings, arguments)
    return jnp.sum(sums.loss), sums


def _total_loss_forward(settings: _Settings, arguments: _Arguments):
    sums, hidden_gradient, output_gradient = _sweep(
        settings, arguments, with_hidden=True, with_output=True
    )
    assert output_gradient is not None
    return (jnp.sum(sums.loss), sums), (hidden_gradient, *output_gradient)


def _total_loss_backward(settings: _Settings, gradients, cotangents):
    del settings
    scale = cotangents[0]
    scaled = jax.tree.map(lambda g: (scale * g).astype(g.dtype), gradients)
    return (_Arguments(*scaled, None, None),)  # pyright: ignore


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _row_losses(settings: _Settings, arguments: _Arguments):
    sums, _, _ = _sweep(settings, arguments)
    return sums.loss, sums


def _row_losses_forward(settings: _Settings, arguments: _Arguments):
    sums, hidden_gradient, _ = _sweep(settings, arguments, with_hidden=True)
    return (sums.loss, sums), (hidden_gradient, arguments)


def _row_losses_backward(settings: _Settings, residuals, cotangents):
    hidden_gradient, arguments = residuals
    scale = cotangents[0][:, None]
    scaled = arguments._replace(weights=arguments.weights * scale)
    _, _, output_gradient = _sweep(settings, scaled, with_output=True)
    hidden_gradient = (scale[:, :, None] * hidden_gradient).astype(hidden_gradient.dtype)
    return (_Arguments(hidden_gradient, *output_gradient, None, None),)  # pyright: ignore


_total_loss.defvjp(_total_loss_forward, _total_loss_backward)
_row_losses.defvjp(_row_losses_forward, _row_losses_backward)


def _sweep(settings: _Settings, arguments: _Arguments, **wanted: bool):
    """Returns sums by row, and the gradients asked for at a cotangent of 1 (None for others).

    They are those of the hidden vectors, and of the pair (kernel, bias). Which device it is for is
    known when it is compiled.
    """
    most = max(1, CPU_BLOCK_TOKENS // len(arguments.hidden))
    smaller = settings._replace(positions=min(settings.positions, most))
    return lax.platform_dependent(
        arguments,
        cpu=lambda a: _sweep_blocks(smaller, a, _transposed_product, **wanted),
        default=lambda a: _sweep_blocks(settings, a, _kernel_product, **wanted),
    )


def _kernel_product(hidden: Array, gradient: Array) -> Array:
    """Returns a block's part of the kernel's gradient."""
    return jnp.einsum("ne,nv->ev", hidden, gradient)


def _transposed_product(hidden: Array, gradient: Array) -> Array:
    """Returns the same; XLA's fast CPU library takes no transposed left matrix that is no copy."""
    return lax.optimization_barrier(hidden.T) @ gradient


def _sweep_blocks(
    settings: _Settings,
    arguments: _Arguments,
    kernel_product: Callable[[Array, Array], Array],
    *,
    with_hidden: bool = False,
    with_output: bool = False,
):
    parts, output = settings.parts, (arguments.kernel, arguments.bias)
    num_blocks = -(-arguments.hidden.shape[1] // settings.positions)
    kernel = constrain(arguments.kernel.astype(jnp.float32), ("embed", "vocab"))
    rows = parts.gather_rows((arguments.hidden, arguments.targets, arguments.weights))

    def body(output_gradient, block):
        # One axis of tokens: products that contract one axis alone compile several times faster.
        shape = block[1].shape
        hidden, targets, weights = (leaf.reshape(-1, *leaf.shape[2:]) for leaf in block)
        hidden = hidden.astype(jnp.float32)
        logits = _block_logits(hidden, kernel, arguments.bias)
        *values, gradient = _block_losses(settings, logits, targets, weights)
        hidden_gradient = None
        if with_hidden:
            product = jnp.einsum("nv,ev->ne", gradient, kernel).reshape(*shape, -1)
            hidden_gradient = parts.sum_own_rows(product).astype(arguments.hidden.dtype)
        if with_output:
            product = kernel_product(hidden, gradient)
            summed = None if arguments.bias is None else jnp.sum(gradient, axis=0)
            output_gradient = jax.tree.map(
                lambda total, new: (total + new).astype(total.dtype),
                output_gradient,
                (product, summed),
            )
        sums = TokenSums(*(jnp.sum((v * weights).reshape(shape), axis=1) for v in values))
        return output_gradient, (sums, hidden_gradient)

    blocks = jax.tree.map(lambda leaf: _cut_length(leaf, num_blocks), rows)
    start = None
    if with_output:
        start = jax.tree.map(lambda leaf: _zeros_like_gradient(leaf, arguments.hidden), output)
    if num_blocks == 1:
        first = jax.tree.map(lambda leaf: leaf[0], blocks)
        output_gradient, (sums, hidden_gradient) = body(start, first)
    else:
        output_gradient, (sums, hidden_gradient) = lax.scan(body, start, blocks)
        sums = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), sums)
        if with_hidden:
            hidden_gradient = _join_length(hidden_gradient, arguments.hidden.shape[1])
    return parts.own_rows(sums), hidden_gradient, output_gradient


def _block_logits(hidden, kernel, bias):
    """Returns float32 logits [tokens, vocab]."""
    logits = jnp.einsum("ne,ev->nv", hidden, kernel)
    if bias is not None:
        logits = logits + bias.astype(jnp.float32)
    return constrain(logits, ("rows", "vocab"))


def _block_losses(settings: _Settings, logits, targets, weights):
    """Returns losses, z-losses and hits [tokens], and the logits' gradient [tokens, vocab]."""
    z_loss, parts = settings.z_loss, settings.parts
    maximum = parts.max(jnp.max(logits, axis=-1))
    exponentials = jnp.exp(logits - maximum[:, None])
    log_z = maximum + jnp.log(parts.sum(jnp.sum(exponentials, axis=-1)))
    # A masked sum instead of a gather: a vocabulary cut over devices stays where it is.
    local = targets - parts.first(logits.shape[1])
    is_target = lax.broadcasted_iota(jnp.int32, logits.shape, 1) == local[:, None]
    target_logits = parts.sum(jnp.sum(jnp.where(is_target, logits, 0.0), axis=-1))
    z_losses = z_loss * jnp.square(log_z)
    correct = (target_logits >= maximum).astype(jnp.float32)
    slope = (weights * (1.0 + 2.0 * z_loss * log_z))[:, None]
    gradient = jnp.exp(logits - log_z[:, None]) * slope
    gradient -= jnp.where(is_target, weights[:, None], 0.0)
    return log_z - target_logits + z_losses, z_losses, correct, gradient


def _zeros_like_gradient(parameter: Array, hidden: Array) -> Array:
    """Returns zeros of a parameter's shape, device-local where it or the vectors are."""
    zeros = jnp.zeros(parameter.shape, parameter.dtype)
    names: Any = getattr(jax.typeof(parameter), "vma", frozenset())
    names |= getattr(jax.typeof(hidden), "vma", frozenset())
    return lax.pcast(zeros, tuple(names), to="varying") if names else zeros


def _cut_length(leaf: Array, num_blocks: int) -> Array:
    """Returns [blocks, batch, positions, ...], padded with zeros: tokens of weight 0."""
    length = leaf.shape[1]
    positions = -(-length // num_blocks)
    padding = [(0, 0)] * leaf.ndim
    padding[1] = (0, positions * num_blocks - length)
    padded = jnp.pad(leaf, padding)
    blocks = padded.reshape(leaf.shape[0], num_blocks, positions, *leaf.shape[2:])
    return jnp.moveaxis(blocks, 1, 0)


def _join_length(blocks: Any, length: int) -> Array:
    """Inverse of `_cut_length`."""
    joined = jnp.moveaxis(blocks, 0, 1)
    return joined.reshape(joined.shape[0], -1, *joined.shape[3:])[:, :length]
