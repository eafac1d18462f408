"""T5.1.1/mT5: the encoder-decoder that PRESENCE pre-trains, with T5X's parameter tree.

Teacher forcing only: one token at a time is `t5_decoding`. `T5` gives T5X's
`examples/t5/network.py` numbers for the same parameters (Raffel et al. 2020; Xue et al. 2021,
section 3), and with the same PRNG key the same initial parameters. `scan_layers=True` is the same
function with stacked parameters.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, PyTree

from presence_t5x.config_types import BatchFeatures, T5Config
from presence_t5x.models.attention import mask_bias, visible_keys
from presence_t5x.models.embedding import Embedding, table_rows
from presence_t5x.models.layers import Dense, RMSNorm
from presence_t5x.models.stacks import dropout, probe_shape, run_stack
from presence_t5x.models.t5_layers import DecoderLayer, EncoderLayer, shared_position_biases


class Encoder(nn.Module):
    """A stack of encoder layers over embedded tokens, and the final norm."""

    config: T5Config

    @nn.compact
    def __call__(self, embedded: Array, mask: Array, deterministic: bool) -> Array:
        cfg = self.config
        dtype = jnp.dtype(cfg.dtype)
        biases = (mask_bias(mask, dtype), *shared_position_biases(cfg, embedded.shape[1], True))
        x = dropout(cfg, deterministic)(embedded)
        x = run_stack(EncoderLayer, "encoder", cfg, cfg.num_encoder_layers, deterministic)(
            x, biases
        )
        x = RMSNorm(dtype, name="encoder_norm")(x)
        return nn.Dropout(cfg.dropout_rate, deterministic=deterministic)(x)  # T5X: not broadcast


class Decoder(nn.Module):
    """A stack of decoder layers over embedded tokens, the final norm, and float32 logits."""

    config: T5Config

    @nn.compact
    def __call__(
        self,
        encoded: Array,
        embedded: Array,
        mask: Array,
        encoder_mask: Array,
        deterministic: bool,
        with_logits: bool,
    ) -> Array:
        cfg = self.config
        dtype = jnp.dtype(cfg.dtype)
        biases = (mask_bias(mask, dtype), *shared_position_biases(cfg, embedded.shape[1], False))
        x = dropout(cfg, deterministic)(embedded)
        x = run_stack(DecoderLayer, "decoder", cfg, cfg.num_decoder_layers, deterministic)(
            x, encoded, biases, (mask_bias(encoder_mask, dtype),)
        )
        return self.finish(x, deterministic, with_logits)

    def finish(self, x: Array, deterministic: bool, with_logits: bool) -> Array:
        """Returns what follows the layers: the norm, and the logits if they are asked for."""
        cfg = self.config
        x = RMSNorm(jnp.dtype(cfg.dtype), name="decoder_norm")(x)
        x = dropout(cfg, deterministic)(x)
        if not with_logits:
            return x
        return Dense(table_rows(cfg), jnp.dtype(jnp.float32), name="logits_dense")(x)


class T5(nn.Module):
    """A T5.1.1/mT5 encoder-decoder.

    Guarantees: float32 logits; a position's logits depend on no later decoder input, no padding and
    no other example of a packed row; logits at padded targets are finite and mean nothing.
    Tokens must lie in [0, vocab_size): id 0 is padding, ids outside the vocabulary give NaN.

    >>> import jax
    >>> from presence_t5x.models.families import init_params
    >>> config = T5Config(vocab_size=10, emb_dim=8, num_heads=2, head_dim=4, mlp_dim=16,
    ...     num_encoder_layers=1, num_decoder_layers=1, dtype="float32")
    >>> params = init_params(config, jax.random.key(0))
    >>> tokens = jnp.array([[3, 4, 1, 0]])
    >>> T5(config).apply({"params": params}, tokens, tokens, tokens, enable_dropout=False).shape
    (1, 4, 10)
    """

    config: T5Config

    def setup(self):
        cfg = self.config
        self.token_embedder = Embedding(table_rows(cfg), cfg.emb_dim, jnp.dtype(cfg.dtype))
        self.encoder = Encoder(cfg)
        self.decoder = Decoder(cfg)

    def __call__(
        self,
        encoder_input_tokens: Int[Array, "batch inputs"],
        decoder_input_tokens: Int[Array, "batch targets"],
        decoder_target_tokens: Int[Array, "batch targets"],
        encoder_segment_ids: Int[Array, "batch inputs"] | None = None,
        decoder_segment_ids: Int[Array, "batch targets"] | None = None,
        encoder_positions: Int[Array, "batch inputs"] | None = None,
        decoder_positions: Int[Array, "batch targets"] | None = None,
        *,
        enable_dropout: bool = True,
        with_logits: bool = True,
    ) -> Float[Array, "batch targets vocab_or_embed"]:
        """Returns logits of every target position, teacher forced.

        Args:
          decoder_input_tokens: targets shifted right by one, 0 at the start of each example.
          decoder_target_tokens: only their padding is used.
          encoder_segment_ids, decoder_segment_ids: which example of a packed row each token belongs
            to, 0 for padding; both or neither.
          encoder_positions, decoder_positions: taken for T5X's signature and unused, since relative
            positions inside an example do not depend on where it was packed.
          enable_dropout: needs `rngs={"dropout": key}` unless the rate is 0.
          with_logits: False returns vectors; times `output_kernel` in float32 they are the logits.

        Raises:
          ValueError: one of the segment ids is missing.
        """
        del encoder_positions, decoder_positions
        num_inputs = encoder_input_tokens.shape[1]
        # One lookup for both, so that its gradient is one scatter into one table.
        tokens = jnp.concatenate([encoder_input_tokens, decoder_input_tokens], axis=1)
        embedded = self.token_embedder(tokens)
        encoded = self._encode(
            embedded[:, :num_inputs], encoder_input_tokens, encoder_segment_ids, enable_dropout
        )
        return self._decode(
            encoded,
            embedded[:, num_inputs:],
            (encoder_input_tokens, decoder_target_tokens),
            (encoder_segment_ids, decoder_segment_ids),
            enable_dropout,
            with_logits,
        )

    def encode(
        self,
        encoder_input_tokens: Int[Array, "batch inputs"],
        encoder_segment_ids: Int[Array, "batch inputs"] | None = None,
        *,
        enable_dropout: bool = True,
    ) -> Float[Array, "batch inputs embed"]:
        """Returns the encoder's outputs, in the configured dtype."""
        embedded = self.token_embedder(encoder_input_tokens)
        return self._encode(embedded, encoder_input_tokens, encoder_segment_ids, enable_dropout)

    def decode(
        self,
        encoded: Float[Array, "batch inputs embed"],
        encoder_input_tokens: Int[Array, "batch inputs"],
        decoder_input_tokens: Int[Array, "batch targets"],
        decoder_target_tokens: Int[Array, "batch targets"],
        encoder_segment_ids: Int[Array, "batch inputs"] | None = None,
        decoder_segment_ids: Int[Array, "batch targets"] | None = None,
        decoder_positions: Int[Array, "batch targets"] | None = None,
        *,
        enable_dropout: bool = True,
    ) -> Float[Array, "batch targets vocab"]:
        """Returns logits given `encode`'s outputs; `encoder_input_tokens` tells their padding."""
        del decoder_positions
        return self._decode(
            encoded,
            self.token_embedder(decoder_input_tokens),
            (encoder_input_tokens, decoder_target_tokens),
            (encoder_segment_ids, decoder_segment_ids),
            enable_dropout,
            with_logits=True,
        )

    @property
    def features(self) -> BatchFeatures:
        """What a batch holds."""
        return self.config.features

    @property
    def num_outputs(self) -> int:
        """Columns of the whole output matrix."""
        return table_rows(self.config)

    def output_bias(self, params: PyTree) -> None:
        """Returns nothing: T5's logits have no bias."""
        del params

    def output_kernel(self, params: PyTree) -> Float[Array, "embed vocab"]:
        """Returns the matrix by which vectors become logits."""
        if self.config.logits_via_embedding:
            return params["token_embedder"]["embedding"].T / math.sqrt(self.config.emb_dim)
        return params["decoder"]["logits_dense"]["kernel"]

    def probe_shape(self, path: Sequence[str], rows: int) -> tuple[int, ...] | None:
        """Returns the shape of a parameter's norm probe; None if the parameter has none.

        The output matrix has none: its gradient is formed where no single row is seen.
        """
        if "logits_dense" in path or ("embedding" in path and self.config.logits_via_embedding):
            return None
        return probe_shape(self.config, path, rows)

    def _encode(self, embedded, tokens, segment_ids, enable_dropout) -> Array:
        mask = visible_keys(tokens, tokens, segment_ids, segment_ids)
        return self.encoder(embedded, mask, not enable_dropout)

    def _decode(self, encoded, embedded, tokens, segment_ids, enable_dropout, with_logits) -> Array:
        """Decodes embedded inputs; `tokens` and `segment_ids` are of encoder and targets."""
        if (segment_ids[0] is None) != (segment_ids[1] is None):
            missing = "encoder" if segment_ids[0] is None else "decoder"
            raise ValueError(
                f"{missing}_segment_ids=None: a packed batch needs encoder_segment_ids and "
                "decoder_segment_ids; pass both or neither"
            )
        inputs, targets = tokens
        mask = visible_keys(targets, targets, segment_ids[1], segment_ids[1], causal=True)
        encoder_mask = visible_keys(targets, inputs, segment_ids[1], segment_ids[0])
        in_table = self.config.logits_via_embedding
        hidden = self.decoder(
            encoded, embedded, mask, encoder_mask, not enable_dropout, with_logits and not in_table
        )
        if with_logits and in_table:
            return logits_from_table(self.token_embedder, hidden)
        return hidden


def logits_from_table(
    token_embedder: Embedding, hidden: Float[Array, "batch length embed"]
) -> Float[Array, "batch length vocab"]:
    """Returns logits by the table that tokens are looked up in, scaled as T5 does."""
    return token_embedder.attend(hidden) / math.sqrt(hidden.shape[-1])
