"""Per-row squared gradient norms without per-row gradients: layers whose cotangent carries them.

A layer here takes a `probe`, one number a row that changes nothing in the forward pass. In the
backward pass its cotangent is the squared norm of that row's gradient for the layer's parameter,
found from activations and cotangents alone ("mixed ghost norms", Bu et al. 2022). So one
differentiation gives all rows' norms, and another cotangent through the same forward pass gives
gradients. A parameter used more than once must pass one of these functions once: norms do not add.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from presence_t5x.partitioning import VocabularyParts, map_over_vocabulary

Probe = Float[Array, " rows"]


@jax.custom_vjp
def dense(
    inputs: Float[Array, "rows *length inputs"],
    kernel: Float[Array, "inputs features"],
    probe: Probe | None = None,
) -> Float[Array, "rows *length features"]:
    """Returns inputs @ kernel. The probe asks for norms where it is not 0.

    The kernel's gradient is asked for as [inputs, features]: autodiff forms its transpose, for
    which XLA computes activations' derivatives anew, transposed (a tenth of a step on CPUs).
    """
    del probe
    return inputs @ kernel


def _dense_backward(residuals, cotangent):
    inputs, kernel, probe = residuals
    rows = inputs.shape[0]
    # One contracted axis: with two XLA takes minutes to compile the step under vmap, on CPUs.
    flat = (x.reshape(-1, x.shape[-1]) for x in (inputs, cotangent))
    kernel_gradient = jnp.einsum("ni,no->io", *flat).astype(kernel.dtype)

    def norms():
        return _dense_norms(*(x.reshape(rows, -1, x.shape[-1]) for x in (inputs, cotangent)))

    input_gradient = (cotangent @ kernel.T).astype(inputs.dtype)
    return input_gradient, kernel_gradient, None if probe is None else _if_asked(probe, norms)


dense.defvjp(lambda x, kernel, probe: (x @ kernel, (x, kernel, probe)), _dense_backward)


def _dense_norms(inputs: Array, cotangents: Array) -> Array:
    """Returns ||a^T d||^2 of every row by the cheaper of two ways, in float32.

    Forming a^T d costs T * d_in * d_out products, the Gram matrices of a and d T^2 (d_in + d_out).
    """
    _, length, num_inputs = inputs.shape
    num_features = cotangents.shape[-1]
    if length * (num_inputs + num_features) < num_inputs * num_features:
        grams = (
            jnp.einsum("rti,rsi->rts", x, x, preferred_element_type=jnp.float32)
            for x in (inputs, cotangents)
        )
        return jnp.einsum("rts,rts->r", *grams)
    formed = jnp.einsum("rti,rto->rio", inputs, cotangents, preferred_element_type=jnp.float32)
    return jnp.sum(jnp.square(formed), axis=(1, 2))


@jax.custom_vjp
def scale(
    inputs: Float[Array, "rows *length features"], factors: Float[Array, " features"], probe: Probe
) -> Float[Array, "rows *length features"]:
    """Returns inputs * factors, the scaling of a norm layer."""
    del probe
    return inputs * factors


def _scale_backward(residuals, cotangent):
    inputs, factors, probe = residuals
    products = (inputs * cotangent).astype(jnp.float32)
    by_row = jnp.sum(products, axis=tuple(range(1, products.ndim - 1)))
    norms = _if_asked(probe, lambda: jnp.sum(jnp.square(by_row), axis=-1))
    return cotangent * factors, jnp.sum(by_row, axis=0).astype(factors.dtype), norms


scale.defvjp(lambda x, factors, probe: (x * factors, (x, factors, probe)), _scale_backward)


@jax.custom_vjp
def shift(
    inputs: Float[Array, "rows *length features"], bias: Float[Array, " features"], probe: Probe
) -> Float[Array, "rows *length features"]:
    """Returns inputs + bias."""
    del probe
    return inputs + bias


def _shift_backward(probe, cotangent):
    by_row = cotangent.astype(jnp.float32)
    by_row = jnp.sum(by_row, axis=tuple(range(1, by_row.ndim - 1)))
    norms = _if_asked(probe, lambda: jnp.sum(jnp.square(by_row), axis=-1))
    return cotangent, jnp.sum(by_row, axis=0).astype(cotangent.dtype), norms


shift.defvjp(lambda x, bias, probe: (x + bias, probe), _shift_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def lookup(
    table: Float[Array, "vocab features"],
    tokens: Int[Array, "rows length"],
    probe: Probe | None,
    vocab_size: int,
    dtype: jnp.dtype,
) -> Float[Array, "rows length features"]:
    """Returns table[tokens] in `dtype`, NaN for ids outside [0, vocab_size).

    The table's gradient adds the cotangents of equal tokens in float32, rounds the sums to the
    table's dtype, and scatters as many rows as there are tokens. A row's norm is the Gram matrix of
    its cotangents, summed where tokens agree.

    Args:
      table: all rows, or this device's part of them: devices then look up each other's tokens, and
        the gradient is the part's, of the tokens of all (`partitioning.VocabularyParts`).
    """
    del probe
    parts = VocabularyParts.of(table.shape[0], vocab_size)

    def take(rows, first, tokens):
        inside, local = _local_rows(tokens, first, rows.shape[0])
        vectors = jnp.take(rows, local, axis=0, mode="clip").astype(dtype)
        return jnp.where(inside[..., None], vectors, jnp.zeros((), dtype))

    # Rows cross devices as tokens in a line: a reshape of all rows takes seconds to compile.
    all_tokens = parts.gather_rows(tokens.reshape(-1)) - parts.first(table.shape[0])
    vectors = parts.sum_own_rows(map_over_vocabulary(take, table, all_tokens, cut=False))
    vectors = vectors.reshape(*tokens.shape, -1)
    known = (tokens >= 0) & (tokens < vocab_size)
    return jnp.where(known[..., None], vectors, jnp.nan)


def _lookup_forward(table, tokens, probe, vocab_size, dtype):
    return lookup(table, tokens, probe, vocab_size, dtype), (table, tokens, probe)


def _lookup_backward(vocab_size, dtype, residuals, cotangent):
    del dtype
    table, tokens, probe = residuals
    parts = VocabularyParts.of(table.shape[0], vocab_size)
    all_tokens = parts.gather_rows(tokens.reshape(-1)) - parts.first(table.shape[0])
    vectors = parts.gather_rows(cotangent.reshape(-1, cotangent.shape[-1]))
    summed, ids = _sum_equal(all_tokens, vectors)

    def put(rows, first, summed, ids):
        empty = jnp.zeros(rows.shape, rows.dtype)
        return empty.at[ids - first].set(
            summed,
            mode="drop",
            indices_are_sorted=True,
            unique_indices=True,
            wrap_negative_indices=False,
        )

    table_gradient = map_over_vocabulary(put, table, summed.astype(table.dtype), ids, cut=True)

    def norms():
        agree = tokens[:, :, None] == tokens[:, None, :]
        gram = jnp.einsum("rti,rsi->rts", cotangent, cotangent, preferred_element_type=jnp.float32)
        return jnp.sum(jnp.where(agree, gram, 0.0), axis=(1, 2))

    return table_gradient, None, None if probe is None else _if_asked(probe, norms)


def _local_rows(tokens: Array, first: Any, size: int) -> tuple[Array, Array]:
    """Returns which tokens lie among `size` rows of the table from `first` on, and where."""
    return (tokens >= first) & (tokens < first + size), tokens - first


def _sum_equal(tokens: Array, vectors: Array) -> tuple[Array, Array]:
    """Returns the vectors of equal tokens summed, and the table row of each sum.

    Sums stand in the order of their tokens; the row of what is left over, and of negative tokens,
    lies outside any table. Rows rise strictly: a scatter to sorted rows needs no sort of its own.
    """
    places = jnp.arange(tokens.shape[0])
    outside = jnp.iinfo(jnp.int32).max - tokens.shape[0] + places
    tokens = jnp.where(tokens < 0, outside[0] - 1, tokens)
    ranked, order = jax.lax.sort((tokens, places), num_keys=2, is_stable=False)
    is_first = jnp.concatenate([jnp.ones(1, bool), ranked[1:] != ranked[:-1]])
    group = jnp.cumsum(is_first) - 1
    vectors = vectors[order].astype(jnp.float32)
    sums = jnp.zeros(vectors.shape).at[group].add(vectors, indices_are_sorted=True)
    return sums, outside.at[group].set(ranked, indices_are_sorted=True)


lookup.defvjp(_lookup_forward, _lookup_backward)


def for_every_row(
    fun: Callable[[Array], Array], parameter: Array, probe: Probe
) -> Float[Array, "rows ..."]:
    """Returns fun(parameter), which has no row axis, repeated for every row.

    For parameters that enter without inputs, such as a relative-position table.
    """

    @jax.custom_vjp
    def repeated(parameter, probe):
        value = fun(parameter)
        return jnp.broadcast_to(value, (*probe.shape, *value.shape))

    def backward(residuals, cotangent):
        parameter, probe = residuals
        by_row = jax.vmap(jax.vjp(fun, parameter)[1])(cotangent)[0].astype(jnp.float32)
        norms = _if_asked(
            probe, lambda: jnp.sum(jnp.square(by_row), axis=tuple(range(1, by_row.ndim)))
        )
        return jnp.sum(by_row, axis=0).astype(parameter.dtype), norms

    repeated.defvjp(lambda p, probe: (repeated(p, probe), (p, probe)), backward)
    return repeated(parameter, probe)


def _if_asked(probe: Array, norms_fn: Callable[[], Array]) -> Array:
    """Returns norms_fn() where the probe is not 0; computes nothing where it is 0 everywhere.

    In a scanned stack every layer passes here, and most are not scored.
    """
    return jax.lax.cond(
        jnp.any(probe != 0), lambda: norms_fn() * (probe != 0), lambda: jnp.zeros_like(probe)
    )
