"""A decoder as Llama's: RMSNorm before every block, rotary positions, SwiGLU, grouped heads.

Touvron et al. 2023; grouped-query attention by Ainslie et al. 2023. Parameters are named as T5X
names those of a decoder. With `decoder_causal_attention` (seqio's prefix language modelling) the
tokens of a prefix see each other in both directions. Teacher forcing only: one token at a time is
`decoder_only_decoding`.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, PyTree

from presence_t5x.config_types import BatchFeatures, DecoderOnlyConfig
from presence_t5x.models.attention import RotaryAttention, mask_bias, visible_keys
from presence_t5x.models.embedding import Embedding, table_rows
from presence_t5x.models.layers import SMALL_NORMAL_INIT, Dense, RMSNorm
from presence_t5x.models.stacks import ACTIVATION_AXES, Layer, dropout, probe_shape, run_stack
from presence_t5x.partitioning import constrain


class Block(Layer):
    """Self-attention and SwiGLU, each on normed inputs and added to them."""

    attention_type = RotaryAttention

    @nn.compact
    def __call__(self, inputs: Array, positions: Array, biases: Any) -> tuple[Array, None]:
        cfg = self.config
        inputs = constrain(inputs, ACTIVATION_AXES)
        attention = self.attention(
            "self_attention",
            self.attention_type,
            num_kv_heads=cfg.num_kv_heads,
            kernel_init=SMALL_NORMAL_INIT,
            scales_queries=True,
            rotary_base=cfg.rotary_base,
        )
        norm = _norm(cfg, "pre_self_attention_layer_norm")
        x = self.pre_norm(norm, attention, inputs, positions, biases)
        mlp = self.mlp(("silu", "linear"), kernel_init=SMALL_NORMAL_INIT)
        return self.pre_norm(_norm(cfg, "pre_mlp_layer_norm"), mlp, x), None


class Decoder(nn.Module):
    """A stack of blocks over embedded tokens, the final norm, and float32 logits."""

    config: DecoderOnlyConfig

    block_type = Block

    @nn.compact
    def __call__(
        self,
        embedded: Array,
        positions: Array,
        mask: Array,
        deterministic: bool,
        with_logits: bool,
    ) -> Array:
        biases = (mask_bias(mask, jnp.dtype(self.config.dtype)),)
        return self.run(embedded, positions, biases, deterministic, with_logits)

    def run(
        self,
        embedded: Array,
        positions: Array,
        biases: Any,
        deterministic: bool,
        with_logits: bool,
    ) -> Array:
        """Returns logits, or the vectors that become them."""
        cfg = self.config
        x = dropout(cfg, deterministic)(embedded)
        x = run_stack(self.block_type, "decoder", cfg, cfg.num_layers, deterministic)(
            x, positions, biases
        )
        x = dropout(cfg, deterministic)(_norm(cfg, "decoder_norm")(x))
        if not with_logits:
            return x
        logits = Dense(
            table_rows(cfg), jnp.dtype("float32"), SMALL_NORMAL_INIT, name="logits_dense"
        )
        return logits(x)


class DecoderOnly(nn.Module):
    """A causal language model.

    Guarantees: float32 logits; a position's logits depend on no later input (but inside a prefix),
    no padding and no other example of a packed row; logits at padded targets are finite and mean
    nothing. Tokens must lie in [0, vocab_size): id 0 is padding among targets and the start among
    inputs, ids outside the vocabulary give NaN.

    >>> import jax
    >>> from presence_t5x.models.families import init_params
    >>> config = DecoderOnlyConfig(vocab_size=10, emb_dim=8, num_heads=4, num_kv_heads=2,
    ...     head_dim=4, mlp_dim=16, num_layers=1, dtype="float32")
    >>> params = init_params(config, jax.random.key(0))
    >>> inputs, targets = jnp.array([[0, 3, 4, 1]]), jnp.array([[3, 4, 1, 0]])
    >>> model = DecoderOnly(config)
    >>> model.apply({"params": params}, inputs, targets, enable_dropout=False).shape
    (1, 4, 10)
    """

    config: DecoderOnlyConfig

    decoder_type = Decoder

    def setup(self):
        cfg = self.config
        dtype = jnp.dtype(cfg.dtype)
        self.token_embedder = Embedding(table_rows(cfg), cfg.emb_dim, dtype, SMALL_NORMAL_INIT)
        self.decoder = self.decoder_type(cfg)

    def __call__(
        self,
        decoder_input_tokens: Int[Array, "batch length"],
        decoder_target_tokens: Int[Array, "batch length"],
        decoder_segment_ids: Int[Array, "batch length"] | None = None,
        decoder_positions: Int[Array, "batch length"] | None = None,
        decoder_causal_attention: Int[Array, "batch length"] | None = None,
        *,
        enable_dropout: bool = True,
        with_logits: bool = True,
    ) -> Float[Array, "batch length vocab_or_embed"]:
        """Returns logits of every target position, teacher forced.

        Args:
          decoder_input_tokens: targets shifted right by one, 0 at the start of each example.
          decoder_target_tokens: only their padding is used.
          decoder_segment_ids: which example of a packed row each token belongs to, 0 for padding.
          decoder_positions: inside an example, from 0; None counts through the row.
          decoder_causal_attention: 1 for the tokens of a prefix.
          enable_dropout: needs `rngs={"dropout": key}` unless the rate is 0.
          with_logits: False returns vectors; times `output_kernel` in float32 they are the logits.
        """
        targets, segments = decoder_target_tokens, decoder_segment_ids
        mask = visible_keys(
            targets, targets, segments, segments, causal=True, prefix=decoder_causal_attention
        )
        if decoder_positions is None:
            decoder_positions = jnp.arange(targets.shape[1])[None]
        in_table = self.config.logits_via_embedding
        hidden = self.decoder(
            self.token_embedder(decoder_input_tokens),
            decoder_positions,
            mask,
            not enable_dropout,
            with_logits and not in_table,
        )
        return self.token_embedder.attend(hidden) if with_logits and in_table else hidden

    @property
    def features(self) -> BatchFeatures:
        """What a batch holds."""
        return self.config.features

    @property
    def num_outputs(self) -> int:
        """Columns of the whole output matrix."""
        return table_rows(self.config)

    def output_kernel(self, params: PyTree) -> Float[Array, "embed vocab"]:
        """Returns the matrix by which vectors become logits."""
        if self.config.logits_via_embedding:
            return params["token_embedder"]["embedding"].T
        return params["decoder"]["logits_dense"]["kernel"]

    def output_bias(self, params: PyTree) -> None:
        """Returns nothing: these logits have no bias."""
        del params

    def probe_shape(self, path: Sequence[str], rows: int) -> tuple[int, ...] | None:
        """Returns the shape of a parameter's norm probe; None if the parameter has none.

        The output matrix has none: its gradient is formed where no single row is seen.
        """
        if "logits_dense" in path or ("embedding" in path and self.config.logits_via_embedding):
            return None
        return probe_shape(self.config, path, rows)


def _norm(config: DecoderOnlyConfig, name: str) -> RMSNorm:
    return RMSNorm(jnp.dtype(config.dtype), config.norm_epsilon, name=name)
