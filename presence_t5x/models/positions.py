"""Where a token stands: T5's relative position biases, and rotary positions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from presence_t5x import ghost_norms
from presence_t5x.models.layers import norm_probe

NUM_BUCKETS = 32
MAX_DISTANCE = 128

_POSITION_INIT = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")


class RelativePositionBiases(nn.Module):
    """A learned attention bias per head and bucket of (key position - query position).

    The table is `rel_embedding`, (heads, 32). It is looked up by a product with a one-hot matrix,
    so that neither direction needs a gather or a scatter.
    """

    num_heads: int
    bidirectional: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, query_length: int, key_length: int
    ) -> Float[Array, "rows_or_1 heads query_length key_length"]:
        table = self.table()
        distances = jnp.arange(key_length)[None, :] - jnp.arange(query_length)[:, None]

        def biases(table: Array) -> Array:
            return self.look_up(table, distances)

        probe = norm_probe(self, "rel_embedding")
        if probe is not None:
            return ghost_norms.for_every_row(biases, table, probe)
        return biases(table)[None]

    def table(self) -> Float[Array, "heads buckets"]:
        """Returns the parameter."""
        shape = (self.num_heads, NUM_BUCKETS)
        return self.param("rel_embedding", _POSITION_INIT, shape, jnp.float32)

    def look_up(
        self,
        table: Float[Array, "heads buckets"],
        distances: Int[Array, "query_length key_length"],
    ) -> Float[Array, "heads query_length key_length"]:
        """Returns the biases of (key position - query position)."""
        first, last = (
            bound[None, :, None] for bound in relative_position_bounds(self.bidirectional)
        )
        is_within = (distances[:, None, :] >= first) & (distances[:, None, :] <= last)
        # A product for every query: summed over queries and keys at once, the table's gradient
        # takes TPU's compiler three times as long.
        tables = jnp.broadcast_to(table, (len(distances), *table.shape))
        one_hot = is_within.astype(jnp.float32)
        product = jnp.einsum("qhn,qnk->hqk", tables, one_hot, precision=jax.lax.Precision.HIGHEST)
        return product.astype(self.dtype)


def relative_position_bounds(
    bidirectional: bool,
) -> tuple[Int[np.ndarray, " buckets"], Int[np.ndarray, " buckets"]]:
    """Returns the first and last (key position - query position) of every bucket.

    A bucket without any has its first after its last.
    """
    distances = np.arange(-2 * MAX_DISTANCE, 2 * MAX_DISTANCE + 1)
    buckets = relative_position_buckets(distances, bidirectional)
    limits = np.iinfo(np.int32)
    distances[[0, -1]] = limits.min, limits.max
    own = buckets == np.arange(NUM_BUCKETS)[:, None]
    first = np.where(own, distances, limits.max).min(axis=1)
    return first, np.where(own, distances, limits.min).max(axis=1)


def relative_position_buckets(
    distances: Int[np.ndarray, " distances"], bidirectional: bool
) -> Int[np.ndarray, " distances"]:
    """Returns the bucket in [0, 32) of each (key position - query position).

    Half of a direction's buckets hold one distance each; the others widen logarithmically up to
    128, and the last takes everything farther. Bidirectional: later keys use the upper 16 buckets.
    Otherwise later keys fall into bucket 0. Source: Raffel et al. 2020, T5X's behaviour.

    >>> relative_position_buckets(np.array([-200, -20, -3, 0, 3]), bidirectional=True).tolist()
    [15, 10, 3, 0, 19]
    >>> relative_position_buckets(np.array([-200, -20, -3, 0, 3]), bidirectional=False).tolist()
    [31, 17, 3, 0, 0]
    """
    num_buckets = NUM_BUCKETS // 2 if bidirectional else NUM_BUCKETS
    first_bucket = num_buckets * (distances > 0) if bidirectional else 0
    behind = np.abs(distances) if bidirectional else np.maximum(-distances, 0)
    num_exact = num_buckets // 2
    # The epsilon keeps log(0) finite, and powers of two from being rounded down in float32.
    ratio = behind.astype(np.float32) / num_exact + np.finfo(np.float32).eps
    widening = np.log(ratio) / math.log(MAX_DISTANCE / num_exact) * (num_buckets - num_exact)
    far = np.minimum(num_exact + widening.astype(np.int32), num_buckets - 1)
    return first_bucket + np.where(behind < num_exact, behind, far)


def rotate(
    vectors: Float[Array, "batch length heads head_dim"],
    positions: Int[Array, "#batch length"],
    base: float,
) -> Float[Array, "batch length heads head_dim"]:
    """Returns vectors turned by their positions, so that products depend on differences alone.

    Feature i of the first half and feature i of the second are a point in a plane, turned by
    position * base ** (-2 i / head_dim). Angles are float32. Source: Su et al. 2021, with the
    features paired as in Llama's public checkpoints.

    >>> quarter = rotate(jnp.array([[[[1.0, 0.0]]]]), jnp.array([[1]]), base=2.0)
    >>> print(quarter[0, 0, 0].round(4))  # cos(1), sin(1)
    [0.5403 0.8415]
    """
    half = vectors.shape[-1] // 2
    frequencies = jnp.float32(base) ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions.astype(jnp.float32)[:, :, None, None] * frequencies
    cos, sin = (fun(angles).astype(vectors.dtype) for fun in (jnp.cos, jnp.sin))
    first, second = vectors[..., :half], vectors[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
