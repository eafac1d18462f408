"""A decoder-only model one target position at a time, behind inputs that it reads at once.

`CachedDecoderOnly` has the parameters of `DecoderOnly`. A target stands behind the begin token (id
0) and a row's inputs, as `data.decoder_rows` lays them out. Their keys and values are computed
once and stored once a row: beside what `caches` names, the cache has `input_key` and `input_value`
[rows, 1 + inputs, kv_heads, head_dim]. The last input is read a second time, since it predicts the
first target.
"""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, PyTree

from presence_t5x.config_types import DecoderOnlyConfig, DecodingConfig
from presence_t5x.models.attention import RotaryAttention, mask_bias
from presence_t5x.models.caches import CACHE, at_start, next_position, remember
from presence_t5x.models.decoder_only import Block, Decoder, DecoderOnly


class ReadingAttention(RotaryAttention):
    """Attention among inputs, whose keys and values are remembered."""

    def mix(self, query: Array, key: Array, value: Array, biases: Any) -> Array:
        for name, array in (("input_key", key), ("input_value", value)):
            self.variable(CACHE, name, lambda array: array, array)
        return super().mix(query, key, value, biases)


class ReadingBlock(Block):
    attention_type = ReadingAttention


class ReadingDecoder(Decoder):
    block_type = ReadingBlock


class InputReader(DecoderOnly):
    """A `DecoderOnly` that remembers what it reads."""

    decoder_type = ReadingDecoder


class ReadInputs(NamedTuple):
    """Inputs as they are read, behind the begin token.

    Attributes:
      last: the place of every row's last one.
      is_real: no padding.
    """

    tokens: Int[Array, "rows inputs"]
    last: Int[Array, "rows 1"]
    is_real: Bool[Array, "rows inputs"]


class StepBiases(NamedTuple):
    """Where a step is, and what it may see: biases of every input, and of every target so far."""

    position: Int[Array, ""]
    inputs: Float[Array, "rows 1 1 inputs"]
    targets: Float[Array, " max_length"]


class CachedAttention(RotaryAttention):
    """Attention from one position of every hypothesis to the inputs and to the targets so far."""

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "rows beams embed"],
        positions: Int[Array, "rows 1"],
        biases: StepBiases,
    ) -> Float[Array, "rows beams embed"]:
        """Attends from `positions`, the same of all hypotheses of a row."""
        query, key, value = self.project_turned(inputs, positions)
        length = biases.targets.shape[-1]
        key = remember(self, "cached_key", key, biases.position, length)
        value = remember(self, "cached_value", value, biases.position, length)
        return self.project_back(self._mix_both(query, key, value, biases), inputs.shape[-1])

    def _mix_both(
        self,
        query: Float[Array, "rows beams heads head_dim"],
        key: Float[Array, "rows beams length kv_heads head_dim"],
        value: Float[Array, "rows beams length kv_heads head_dim"],
        biases: StepBiases,
    ) -> Float[Array, "rows beams joined_heads"]:
        """Returns what `mix` would of the inputs' and the targets' values in one row."""
        input_key, input_value = (
            self.get_variable(CACHE, name) for name in ("input_key", "input_value")
        )
        query = self.scale(query)
        if self.float32_logits:
            query, key, input_key = (x.astype(jnp.float32) for x in (query, key, input_key))
        query = query.reshape(*query.shape[:2], key.shape[3], -1, self.head_dim)
        of_inputs = jnp.einsum("rbkgd,rikd->rbkgi", query, input_key)
        of_targets = jnp.einsum("rbkgd,rbtkd->rbkgt", query, key)
        of_inputs += biases.inputs[:, None].astype(of_inputs.dtype)
        of_targets += biases.targets.astype(of_targets.dtype)
        logits = jnp.concatenate([of_inputs, of_targets], axis=-1)
        weights = jax.nn.softmax(logits).astype(self.dtype)
        to_inputs, to_targets = jnp.split(weights, [input_key.shape[1]], axis=-1)
        mixed = jnp.einsum("rbkgi,rikd->rbkgd", to_inputs, input_value)
        mixed += jnp.einsum("rbkgt,rbtkd->rbkgd", to_targets, value)
        return mixed.reshape(*mixed.shape[:2], -1)


class CachedBlock(Block):
    attention_type = CachedAttention


class CachedDecoder(Decoder):
    """A `Decoder` that sees one position of every hypothesis, the one that `cache_index` tells."""

    block_type = CachedBlock

    @nn.compact
    def __call__(
        self,
        embedded: Float[Array, "2 rows beams embed"],
        read: ReadInputs,
        max_length: int,
        with_logits: bool,
    ) -> Array:
        """Reads the last input at position 0, `embedded[0]`, and targets after it, `embedded[1]`.

        Args:
          read: what stands before.
          max_length: of targets.
        """
        position, dtype = next_position(self), jnp.dtype(self.config.dtype)
        places = jnp.arange(max_length)
        biases = StepBiases(
            position,
            mask_bias(read.is_real[:, None, None], dtype),
            # Place 0 is the last input's, which is among the inputs already.
            mask_bias((places <= position) & (places > 0), dtype),
        )
        x = jnp.where(position == 0, *embedded)
        return self.run(x, read.last + position, biases, True, with_logits)


class CachedDecoderOnly(DecoderOnly):
    """One decoding step for several hypotheses a row; `start_cache` makes its cache."""

    decoder_type = CachedDecoder

    def __call__(
        self,
        tokens: Int[Array, "rows beams"],
        input_tokens: Int[Array, "rows inputs"],
        max_length: int,
    ) -> Float[Array, "rows beams vocab"]:
        """Returns the logits of the next token of every hypothesis; moves the cache on.

        Args:
          tokens: at the current position; of no account at the first.
          input_tokens: 0 behind the last.
          max_length: of targets; the cache's.
        """
        read = _read(input_tokens)
        last = jnp.take_along_axis(read.tokens, read.last, axis=1)
        last = jnp.broadcast_to(last, tokens.shape)
        in_table, decoder = self.config.logits_via_embedding, cast(CachedDecoder, self.decoder)
        hidden = decoder(
            self.token_embedder(jnp.stack([last, tokens])),
            read,
            max_length,
            not in_table,
        )
        return self.token_embedder.attend(hidden) if in_table else hidden


def start_cache(
    config: DecoderOnlyConfig,
    params: PyTree,
    input_tokens: Int[Array, "rows inputs"],
    decoding: DecodingConfig,
) -> dict[str, Any]:
    """Returns the cache before the first target: keys and values of the inputs."""
    read = _read(input_tokens)
    is_read = read.is_real.astype(jnp.int32)
    _, variables = InputReader(config).apply(
        {"params": params},
        read.tokens,
        is_read,
        decoder_causal_attention=None if decoding.causal_inputs else is_read,
        enable_dropout=False,
        with_logits=False,
        mutable=[CACHE],
    )
    # A step makes the places of targets; the first one of a search writes the same there again.
    start = jnp.zeros((len(input_tokens), decoding.num_beams or 1), jnp.int32)
    _, variables = CachedDecoderOnly(config).apply(
        {"params": params, **variables}, start, input_tokens, decoding.max_length, mutable=[CACHE]
    )
    return at_start(variables[CACHE])


def _read(input_tokens: Int[Array, "rows inputs"]) -> ReadInputs:
    tokens = jnp.pad(input_tokens, ((0, 0), (1, 0)))
    last = jnp.sum(input_tokens > 0, axis=1, keepdims=True)
    return ReadInputs(tokens, last, jnp.arange(tokens.shape[1]) <= last)
