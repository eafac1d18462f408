"""The T5's decoder one target position at a time, with what it has seen kept in a cache.

`CachedT5` has the parameters of `T5`. The hypotheses of a row share its encoded inputs, whose keys
and values are computed once and stored once a row: beside what `caches` names, the cache has
`encoded_key` and `encoded_value` [rows, inputs, heads, head_dim].
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, PyTree

from presence_t5x.config_types import DecodingConfig, T5Config
from presence_t5x.models.attention import MultiHeadAttention, mask_bias
from presence_t5x.models.caches import CACHE, at_start, next_position, remember
from presence_t5x.models.embedding import Embedding, table_rows
from presence_t5x.models.positions import RelativePositionBiases
from presence_t5x.models.stacks import run_stack
from presence_t5x.models.t5 import T5, Decoder, logits_from_table
from presence_t5x.models.t5_layers import DecoderLayer


class CachedSelfAttention(MultiHeadAttention):
    """Attention from one position to it and those before, whose keys and values are remembered."""

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "rows beams embed"],
        position: Int[Array, ""],
        biases: Sequence[Float[Array, "1 #heads 1 length"]],
    ) -> Float[Array, "rows beams embed"]:
        """Attends from `position`; the biases are those of its row."""
        length = biases[0].shape[-1]
        query, key, value = (self.project(name, queries) for name in ("query", "key", "value"))
        key = remember(self, "cached_key", key, position, length)
        value = remember(self, "cached_value", value, position, length)
        query, key, value = (
            array.reshape(-1, *array.shape[2:]) for array in (query[:, :, None], key, value)
        )
        mixed = self.mix(query, key, value, biases)
        return self.project_back(mixed.reshape(*queries.shape[:2], -1), queries.shape[-1])


class CachedCrossAttention(MultiHeadAttention):
    """Attention to encoded inputs, whose keys and values are computed at the first call."""

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "rows beams embed"],
        encoded: Float[Array, "rows inputs embed"] | None,
        biases: Sequence[Float[Array, "rows 1 1 inputs"]],
    ) -> Float[Array, "rows beams embed"]:
        """Attends to `encoded`, which may be None once the cache holds its keys and values."""
        key, value = (
            self.variable(CACHE, f"encoded_{name}", self.project, name, encoded).value
            for name in ("key", "value")
        )
        mixed = self.mix(self.project("query", queries), key, value, biases)
        return self.project_back(mixed, queries.shape[-1])


class PositionBiasesOfStep(RelativePositionBiases):
    """The biases of one position to every other, without those of all pairs."""

    @nn.compact
    def __call__(
        self, position: Int[Array, ""], key_length: int
    ) -> Float[Array, "1 heads 1 key_length"]:
        """Returns the biases of the query at `position`."""
        return self.look_up(self.table(), jnp.arange(key_length)[None] - position)[None]


class CachedDecoderLayer(DecoderLayer):
    """A decoder layer that sees one position of every hypothesis."""

    self_attention_type = CachedSelfAttention
    cross_attention_type = CachedCrossAttention

    def own_position_biases(self, inputs: Array, biases: Any, position: Any) -> Array:
        """Returns the position's biases from the layer's own table."""
        return _position_biases(self.config, position, biases[0].shape[-1])


class CachedDecoder(Decoder):
    """A `Decoder` that sees one position of every hypothesis, the one that `cache_index` tells."""

    @nn.compact
    def __call__(
        self,
        encoded: Array | None,
        embedded: Array,
        encoder_mask: Array,
        max_length: int,
        with_logits: bool,
    ) -> Array:
        cfg = self.config
        dtype = jnp.dtype(cfg.dtype)
        position = next_position(self)
        seen = (jnp.arange(max_length) <= position)[None, None, None]
        biases = (mask_bias(seen, dtype),)
        if not cfg.position_biases_per_layer:
            biases += (_position_biases(cfg, position, max_length),)
        x = run_stack(CachedDecoderLayer, "decoder", cfg, cfg.num_decoder_layers, True)(
            embedded, encoded, biases, (mask_bias(encoder_mask, dtype),), position
        )
        return self.finish(x, True, with_logits)


class CachedT5(nn.Module):
    """One decoding step of a `T5` for several hypotheses a row; `start_cache` makes its cache."""

    config: T5Config

    def setup(self):
        cfg = self.config
        self.token_embedder = Embedding(table_rows(cfg), cfg.emb_dim, jnp.dtype(cfg.dtype))
        self.decoder = CachedDecoder(cfg)

    def __call__(
        self,
        tokens: Int[Array, "rows beams"],
        encoder_input_tokens: Int[Array, "rows inputs"],
        max_length: int,
        encoded: Float[Array, "rows inputs embed"] | None = None,
    ) -> Float[Array, "rows beams vocab"]:
        """Returns the logits of the next token of every hypothesis; moves the cache on.

        Args:
          tokens: at the current position; 0 at the first.
          encoder_input_tokens: tell which inputs are padding.
          max_length: of targets; the cache's.
          encoded: of `T5.encode`, while there is no cache yet.
        """
        in_table = self.config.logits_via_embedding
        mask = (encoder_input_tokens > 0)[:, None, None]
        hidden = self.decoder(encoded, self.token_embedder(tokens), mask, max_length, not in_table)
        return logits_from_table(self.token_embedder, hidden) if in_table else hidden


def start_cache(
    config: T5Config,
    params: PyTree,
    encoder_input_tokens: Int[Array, "rows inputs"],
    decoding: DecodingConfig,
) -> dict[str, Any]:
    """Returns the cache before the first position: encoded keys and values, nothing decoded."""
    encode: Any = functools.partial(T5(config).apply, method="encode")
    encoded = encode({"params": params}, encoder_input_tokens, enable_dropout=False)
    start = jnp.zeros((encoded.shape[0], decoding.num_beams or 1), jnp.int32)
    _, variables = CachedT5(config).apply(
        {"params": params},
        start,
        encoder_input_tokens,
        decoding.max_length,
        encoded,
        mutable=[CACHE],
    )
    return at_start(variables[CACHE])


def _position_biases(config: T5Config, position: Array, length: int) -> Array:
    """Returns a position's biases, as a submodule of the module that calls."""
    table: Any = PositionBiasesOfStep(
        config.num_heads, False, jnp.dtype(config.dtype), name="relpos_bias"
    )
    return table(position, length)
