"""Layers that the T5-style models share: norm, dense, attention, MLP, position biases, embedding.

Parameters are float32 and named, shaped and initialised as T5X's `examples/t5/layers.py` does, so
that a T5X checkpoint fits and one PRNG key gives the same weights; arithmetic runs in each layer's
`dtype`. Whole models are in `t5.py`; nothing here knows about losses, devices or decoding caches.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from presence_t5x import ghost_norms
from presence_t5x.partitioning import constrain

NUM_BUCKETS = 32
MAX_DISTANCE = 128
MASKED_LOGIT = -1e10  # added to the logit of a key that may not be seen

MIXED_VALUES = "mixed_values"  # what a remat policy may keep of attention
PROBES = "probes"  # the variable collection, shaped like "params", of `norm_probe`

Initializer = Callable[..., Array]

_ATTENTION_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
_MLP_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
_POSITION_INIT = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": nn.gelu,  # the tanh approximation, as T5.1.1 was trained
    "relu": nn.relu,
    "silu": nn.silu,
    "linear": lambda x: x,
}


def norm_probe(module: nn.Module, name: str) -> Float[Array, " rows"] | None:
    """Returns the probe of a parameter's per-row gradient norms (`ghost_norms`), if it has one."""
    return module.get_variable(PROBES, name) if module.has_variable(PROBES, name) else None


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis with a scale and no bias.

    The mean square and the division are computed in float32, the scaling in `dtype`; an all-zero
    vector stays zero. Source: Zhang and Sennrich 2019, T5X's `LayerNorm` behaviour.
    """

    dtype: jnp.dtype
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, inputs: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        x = inputs.astype(jnp.float32)
        mean_square = jnp.mean(jax.lax.square(x), axis=-1, keepdims=True)
        x = (x * jax.lax.rsqrt(mean_square + self.epsilon)).astype(self.dtype)
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        probe = norm_probe(self, "scale")
        if probe is not None:
            return ghost_norms.scale(x, scale.astype(self.dtype), probe)
        return x * jnp.broadcast_to(scale.astype(self.dtype), x.shape)


class Dense(nn.Module):
    """A matrix product over the last axis, without bias; the kernel is (inputs, features).

    `axes` says what the kernel's axes mean (`partitioning.constrain`).
    """

    features: int
    dtype: jnp.dtype
    kernel_init: Initializer = _MLP_INIT
    axes: tuple[str | None, str | None] = (None, None)

    @nn.compact
    def __call__(self, inputs: Float[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
        shape = (inputs.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        inputs = inputs.astype(self.dtype)
        kernel = constrain(kernel.astype(self.dtype), self.axes)
        return ghost_norms.dense(inputs, kernel, norm_probe(self, "kernel"))


class MultiHeadAttention(nn.Module):
    """Multi-head attention whose logits are not divided by sqrt(head_dim).

    T5 folds that factor into the initial query kernel instead (Raffel et al. 2020; T5X's
    `MultiHeadDotProductAttention` behaviour). Dropout on the attention weights drops a key for all
    queries of a head at once. A query that may see no key at all averages over every key.

    Attributes:
      float32_logits: logits and softmax in float32 whatever `dtype` is.
      deterministic: no dropout, and no "dropout" key needed.
    """

    num_heads: int
    head_dim: int
    dtype: jnp.dtype
    dropout_rate: float
    deterministic: bool
    float32_logits: bool = False

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "batch queries embed"],
        keys: Float[Array, "batch keys embed"] | None,
        biases: Sequence[Float[Array, "#batch #heads queries keys"]],
    ) -> Float[Array, "batch queries embed"]:
        """Attends from `queries` to `keys` (None: to themselves).

        The `biases` are added to each other, then to the logits. They are kept apart (masks without
        heads, positions without batch) because their broadcast sum fuses into the softmax, while
        the sum itself would be as large as the logits.
        """
        query = self.project("query", queries)
        keys = queries if keys is None else keys
        key, value = self.project("key", keys), self.project("value", keys)
        return self.project_back(self.mix(query, key, value, biases), queries.shape[-1])

    def mix(
        self,
        query: Float[Array, "batch queries heads head_dim"],
        key: Float[Array, "batch keys heads head_dim"],
        value: Float[Array, "batch keys heads head_dim"],
        biases: Sequence[Float[Array, "#batch #heads #queries keys"]],
    ) -> Float[Array, "batch queries joined_heads"]:
        """Returns the values mixed by the softmax of queries times keys, all heads in a row."""
        if self.float32_logits:
            query, key = query.astype(jnp.float32), key.astype(jnp.float32)
        logits = jnp.einsum("bqhd,bkhd->bhqk", query, key)
        if biases:
            bias = functools.reduce(operator.add, biases)
            logits = logits + bias.astype(logits.dtype)
        weights = self._drop_keys(jax.nn.softmax(logits).astype(self.dtype))
        mixed = checkpoint_name(jnp.einsum("bhqk,bkhd->bqhd", weights, value), MIXED_VALUES)
        return mixed.reshape(*mixed.shape[:2], self.num_heads * self.head_dim)

    def project(
        self, name: str, inputs: Float[Array, "batch length embed"]
    ) -> Float[Array, "batch length heads head_dim"]:
        """Returns the inputs projected to "query", "key" or "value"."""
        features, axes = self.num_heads * self.head_dim, ("embed", "heads")
        kernel_init = self._query_init if name == "query" else _ATTENTION_INIT
        projected = Dense(features, self.dtype, kernel_init, axes, name=name)(inputs)
        return projected.reshape(*inputs.shape[:2], self.num_heads, self.head_dim)

    def project_back(
        self, mixed: Float[Array, "batch length joined_heads"], features: int
    ) -> Float[Array, "batch length embed"]:
        """Returns `mix`'s heads projected to `features`."""
        return Dense(features, self.dtype, _ATTENTION_INIT, ("heads", "embed"), name="out")(mixed)

    def _query_init(self, *args) -> Array:
        """Draws the kernel and divides it by sqrt(head_dim) as rounded to `dtype`, like T5X."""
        kernel = _ATTENTION_INIT(*args)
        return kernel / jnp.sqrt(self.head_dim).astype(self.dtype).astype(kernel.dtype)

    def _drop_keys(self, weights: Array) -> Array:
        """Applies dropout to (batch, heads, queries, keys), the same keys for every query."""
        if self.deterministic or self.dropout_rate == 0.0:
            return weights
        keep_prob = 1.0 - self.dropout_rate
        batch, heads, _, num_keys = weights.shape
        keep = jax.random.bernoulli(
            self.make_rng("dropout"), keep_prob, (batch, heads, 1, num_keys)
        )
        return weights * (keep.astype(self.dtype) / jnp.asarray(keep_prob, self.dtype))


class MlpBlock(nn.Module):
    """The feed-forward block: a product of activated projections, dropout, a projection back.

    ("gelu", "linear") is the gated GELU of T5.1.1 (Shazeer 2020). Input kernels are `wi_0`,
    `wi_1`... and plain `wi` when there is a single activation. Dropout is shared along length.
    """

    mlp_dim: int
    activations: Sequence[str]
    dtype: jnp.dtype
    dropout_rate: float
    deterministic: bool

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch length embed"]
    ) -> Float[Array, "batch length embed"]:
        hidden = []
        for index, activation in enumerate(self.activations):
            name = "wi" if len(self.activations) == 1 else f"wi_{index}"
            axes = ("embed", "mlp")
            projected = Dense(self.mlp_dim, self.dtype, axes=axes, name=name)(inputs)
            hidden.append(_ACTIVATIONS[activation](projected))
        x = functools.reduce(operator.mul, hidden)
        x = nn.Dropout(self.dropout_rate, broadcast_dims=(-2,), deterministic=self.deterministic)(x)
        return Dense(inputs.shape[-1], self.dtype, axes=("mlp", "embed"), name="wo")(x)


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


class Embedding(nn.Module):
    """A table of token vectors, looked up by gather; its gradient is a scatter of summed vectors.

    T5X multiplies by a one-hot matrix, which gives the same vectors. Ids outside the vocabulary
    (T5X: zero vectors) give NaN, so that a wrong vocabulary is seen in the first loss.
    """

    vocab_size: int
    emb_dim: int
    dtype: jnp.dtype

    def setup(self):
        if self.has_variable("params", "embedding"):  # all of it, or a device's part of its rows
            self.embedding = self.get_variable("params", "embedding")
        else:
            shape = (self.vocab_size, self.emb_dim)
            init = nn.initializers.normal(1.0)
            self.embedding = self.param("embedding", init, shape, jnp.float32)

    def __call__(self, tokens: Int[Array, "batch length"]) -> Float[Array, "batch length embed"]:
        """Returns the vectors of `tokens` in `dtype`."""
        probe = norm_probe(self, "embedding")
        table = constrain(self.embedding, ("vocab", "embed"))
        return ghost_norms.lookup(table, tokens, probe, self.vocab_size, self.dtype)

    def attend(
        self, inputs: Float[Array, "batch length embed"]
    ) -> Float[Array, "batch length vocab"]:
        """Returns the float32 product of each vector with every token's vector."""
        return jnp.einsum("ble,ve->blv", inputs.astype(jnp.float32), self.embedding)


def visible_keys(
    query_tokens: Int[Array, "batch queries"],
    key_tokens: Int[Array, "batch keys"],
    query_segment_ids: Int[Array, "batch queries"] | None = None,
    key_segment_ids: Int[Array, "batch keys"] | None = None,
    *,
    causal: bool = False,
) -> Bool[Array, "batch 1 queries keys"]:
    """Returns which keys each query may see.

    Padding (id 0) neither sees nor is seen. With segment ids, only the own example of a packed row
    is seen; with `causal`, only keys at or before the query's position.
    """
    mask = (query_tokens > 0)[:, :, None] & (key_tokens > 0)[:, None, :]
    if query_segment_ids is not None and key_segment_ids is not None:
        mask &= query_segment_ids[:, :, None] == key_segment_ids[:, None, :]
    if causal:
        positions = np.arange(query_tokens.shape[1])
        mask &= jnp.asarray(positions[:, None] >= positions[None, :])[None]
    return mask[:, None]


def mask_bias(
    mask: Bool[Array, "batch 1 queries keys"], dtype: jnp.dtype
) -> Float[Array, "batch 1 queries keys"]:
    """Returns 0 where a key is visible and -1e10 where it is not."""
    return jnp.where(mask, jnp.zeros((), dtype), jnp.full((), MASKED_LOGIT, dtype))
