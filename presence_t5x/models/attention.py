"""Attention, and which keys a query may see; positions are `positions`.

Parameters are float32 and named, shaped and initialised as T5X's `examples/t5/layers.py` does.
"""

import functools
import math
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from presence_t5x.models.layers import ATTENTION_INIT, Dense, Initializer
from presence_t5x.models.positions import rotate

MASKED_LOGIT = -1e10  # added to the logit of a key that may not be seen
MIXED_VALUES = "mixed_values"  # what a remat policy may keep of attention


class MultiHeadAttention(nn.Module):
    """Multi-head attention. As it comes, it is T5's: logits are not divided by sqrt(head_dim).

    T5 folds that factor into the initial query kernel instead (Raffel et al. 2020; T5X's
    `MultiHeadDotProductAttention` behaviour). Dropout on the attention weights drops a key for all
    queries of a head at once. A query that may see no key at all averages over every key.

    Attributes:
      float32_logits: logits and softmax in float32 whatever `dtype` is.
      deterministic: no dropout, and no "dropout" key needed.
      num_kv_heads: heads of keys and values, each shared by as many query heads as follow each
        other (Ainslie et al. 2023); None is `num_heads`.
      kernel_init: of all kernels; None is T5's.
      scales_queries: divides queries by sqrt(head_dim) (Vaswani et al. 2017).
      use_bias: projections have biases.
    """

    num_heads: int
    head_dim: int
    dtype: jnp.dtype
    dropout_rate: float
    deterministic: bool
    float32_logits: bool = False
    num_kv_heads: int | None = None
    kernel_init: Initializer | None = None
    scales_queries: bool = False
    use_bias: bool = False

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
        key: Float[Array, "batch keys kv_heads head_dim"],
        value: Float[Array, "batch keys kv_heads head_dim"],
        biases: Sequence[Float[Array, "#batch #heads #queries keys"]],
    ) -> Float[Array, "batch queries joined_heads"]:
        """Returns the values mixed by the softmax of queries times keys, all heads in a row."""
        query = self.scale(query)
        if self.num_kv_heads not in (None, self.num_heads):
            key, value = (
                jnp.repeat(array, self.num_heads // self.num_kv_heads, axis=2)
                for array in (key, value)
            )
        if self.float32_logits:
            query, key = query.astype(jnp.float32), key.astype(jnp.float32)
        logits = jnp.einsum("bqhd,bkhd->bhqk", query, key)
        if biases:
            bias = functools.reduce(operator.add, biases)
            logits = logits + bias.astype(logits.dtype)
        weights = self._drop_keys(jax.nn.softmax(logits).astype(self.dtype))
        mixed = checkpoint_name(jnp.einsum("bhqk,bkhd->bqhd", weights, value), MIXED_VALUES)
        return mixed.reshape(*mixed.shape[:2], self.num_heads * self.head_dim)

    def scale(self, query: Array) -> Array:
        """Returns queries divided by sqrt(head_dim), if that is to be done."""
        if not self.scales_queries:
            return query
        return query * jnp.asarray(1 / math.sqrt(self.head_dim), query.dtype)

    def project(
        self, name: str, inputs: Float[Array, "batch length embed"]
    ) -> Float[Array, "batch length heads head_dim"]:
        """Returns the inputs projected to "query", "key" or "value"."""
        heads = self.num_heads if name == "query" else self.num_kv_heads or self.num_heads
        default = self._query_init if name == "query" else ATTENTION_INIT
        projected = Dense(
            heads * self.head_dim,
            self.dtype,
            self.kernel_init or default,
            ("embed", "heads"),
            self.use_bias,
            name=name,
        )(inputs)
        return projected.reshape(*inputs.shape[:2], heads, self.head_dim)

    def project_back(
        self, mixed: Float[Array, "batch length joined_heads"], features: int
    ) -> Float[Array, "batch length embed"]:
        """Returns `mix`'s heads projected to `features`."""
        init, axes = self.kernel_init or ATTENTION_INIT, ("heads", "embed")
        return Dense(features, self.dtype, init, axes, self.use_bias, name="out")(mixed)

    def _query_init(self, *args) -> Array:
        """Draws the kernel and divides it by sqrt(head_dim) as rounded to `dtype`, like T5X."""
        kernel = ATTENTION_INIT(*args)
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


class RotaryAttention(MultiHeadAttention):
    """Self-attention whose queries and keys are turned by their positions (`positions.rotate`).

    Attributes:
      rotary_base: of the wavelengths.
    """

    rotary_base: float = 10_000.0

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch length embed"],
        positions: Int[Array, "#batch length"],
        biases: Sequence[Float[Array, "#batch #heads length length"]],
    ) -> Float[Array, "batch length embed"]:
        """Attends from every position to those that the biases show."""
        query, key, value = self.project_turned(inputs, positions)
        return self.project_back(self.mix(query, key, value, biases), inputs.shape[-1])

    def project_turned(
        self, inputs: Float[Array, "batch length embed"], positions: Int[Array, "#batch #length"]
    ) -> tuple[Array, Array, Array]:
        """Returns queries, keys and values, the first two turned by their positions."""
        query, key, value = (self.project(name, inputs) for name in ("query", "key", "value"))
        query, key = (rotate(array, positions, self.rotary_base) for array in (query, key))
        return query, key, value


def visible_keys(
    query_tokens: Int[Array, "batch queries"],
    key_tokens: Int[Array, "batch keys"],
    query_segment_ids: Int[Array, "batch queries"] | None = None,
    key_segment_ids: Int[Array, "batch keys"] | None = None,
    *,
    causal: bool = False,
    prefix: Int[Array, "batch keys"] | None = None,
) -> Bool[Array, "batch 1 queries keys"]:
    """Returns which keys each query may see.

    Padding (id 0) neither sees nor is seen. With segment ids, only the own example of a packed row
    is seen; with `causal`, only keys at or before the query's position, and from tokens whose
    `prefix` is not 0 the others of these, in both directions.
    """
    mask = (query_tokens > 0)[:, :, None] & (key_tokens > 0)[:, None, :]
    if query_segment_ids is not None and key_segment_ids is not None:
        mask &= query_segment_ids[:, :, None] == key_segment_ids[:, None, :]
    if causal:
        positions = np.arange(query_tokens.shape[1])
        is_seen = jnp.asarray(positions[:, None] >= positions[None, :])[None]
        if prefix is not None:
            is_seen |= (prefix != 0)[:, :, None] & (prefix != 0)[:, None, :]
        mask &= is_seen
    return mask[:, None]


def mask_bias(
    mask: Bool[Array, "batch 1 queries keys"], dtype: jnp.dtype
) -> Float[Array, "batch 1 queries keys"]:
    """Returns 0 where a key is visible and -1e10 where it is not."""
    return jnp.where(mask, jnp.zeros((), dtype), jnp.full((), MASKED_LOGIT, dtype))
