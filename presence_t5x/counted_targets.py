"""The positions of a row whose targets count, without the others: logits are formed for them alone.

Of masked tokens it is one position in seven, of a decoder's answers behind their inputs fewer.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def take_counted(
    hidden: Float[Array, "batch length embed"],
    targets: Int[Array, "batch length"],
    weights: Float[Array, "batch length"],
    most: int,
) -> tuple[Float[Array, "batch most embed"], Int[Array, "batch most"], Float[Array, "batch most"]]:
    """Returns vectors, targets and weights where weights are not 0, in order; zeros behind.

    A product with a one-hot matrix picks them, so that neither direction needs a gather.

    Args:
      most: of a row. A row that has more gets NaN as its weights, and loses NaN.

    >>> hidden, targets = jnp.arange(4.0).reshape(1, 4, 1), jnp.array([[5, 6, 7, 8]])
    >>> taken = take_counted(hidden, targets, jnp.array([[0.0, 1.0, 0.0, 1.0]]), 3)
    >>> [part.ravel().tolist() for part in taken]
    [[1.0, 3.0, 0.0], [6, 8, 0], [1.0, 1.0, 0.0]]
    """
    counts = weights != 0
    place = jnp.cumsum(counts, axis=1) - 1
    is_at = counts[:, None, :] & (place[:, None, :] == jnp.arange(most)[None, :, None])
    picked = jnp.einsum(
        "bml,ble->bme", is_at.astype(hidden.dtype), hidden, precision=jax.lax.Precision.HIGHEST
    )
    targets, weights = (
        jnp.sum(jnp.where(is_at, values[:, None, :], 0), axis=2) for values in (targets, weights)
    )
    fits = jnp.sum(counts, axis=1, keepdims=True) <= most
    return picked, targets, jnp.where(fits, weights, jnp.nan)
