"""An encoder as XLM-RoBERTa's, with the head of a masked language model or of a classifier.

Conneau et al. 2020, after RoBERTa (Liu et al. 2019): learned positions, biases, LayerNorm after
every block, exact GELU, logits by the token table. Parameters are named as T5X would name them.
Padding is id 0 here as everywhere in this package; XLM-RoBERTa's own vocabulary has it at 1.
Dropout is that of this package's T5: inside the MLP as well, where RoBERTa has none, and with one
mask for all positions of a row.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, PyTree

from presence_t5x.config_types import BatchFeatures, EncoderOnlyConfig
from presence_t5x.models.attention import mask_bias, visible_keys
from presence_t5x.models.embedding import Embedding, LearnedPositions, table_rows
from presence_t5x.models.layers import SMALL_NORMAL_INIT, Dense, LayerNorm, add_bias
from presence_t5x.models.stacks import ACTIVATION_AXES, Layer, dropout, probe_shape, run_stack
from presence_t5x.partitioning import constrain

# Rows of the position table before the first position: fairseq counts from the padding's id, 1.
POSITION_OFFSET = 2
_ACTIVATION = "exact_gelu"
_OPTIONS = {"kernel_init": SMALL_NORMAL_INIT, "use_bias": True}


class Block(Layer):
    """Self-attention and MLP, each added to its inputs and then normed."""

    @nn.compact
    def __call__(self, inputs: Array, biases: tuple[Array, ...]) -> tuple[Array, None]:
        cfg = self.config
        inputs = constrain(inputs, ACTIVATION_AXES)
        attention = self.attention("attention", scales_queries=True, **_OPTIONS)
        x = inputs + self.drop(attention(inputs, None, biases))
        x = _norm(cfg, "post_attention_layer_norm")(x)
        x = x + self.drop(self.mlp((_ACTIVATION,), **_OPTIONS)(x))
        return _norm(cfg, "post_mlp_layer_norm")(x), None


class TokenType(nn.Module):
    """The vector of the one type of token there is, added to every token's."""

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        return add_bias(self, inputs)


class Encoder(nn.Module):
    """The norm of embedded tokens, and a stack of blocks."""

    config: EncoderOnlyConfig

    @nn.compact
    def __call__(self, embedded: Array, mask: Array, deterministic: bool) -> Array:
        cfg = self.config
        x = dropout(cfg, deterministic)(_norm(cfg, "embedding_layer_norm")(embedded))
        return run_stack(Block, "encoder", cfg, cfg.num_layers, deterministic)(
            x, (mask_bias(mask, jnp.dtype(cfg.dtype)),)
        )


class MaskedLanguageHead(nn.Module):
    """A transformation of every vector; the token table and `bias` turn results into logits."""

    config: EncoderOnlyConfig

    @nn.compact
    def __call__(self, encoded: Array, deterministic: bool) -> Array:
        del deterministic
        cfg = self.config
        x = _dense(cfg, cfg.emb_dim, "dense")(encoded)
        # Logits are formed where the table is, and of the table's parts by a part of this.
        if not self.has_variable("params", "bias"):
            self.param("bias", nn.initializers.zeros, (table_rows(cfg),), jnp.float32)
        return _norm(cfg, "layer_norm")(nn.gelu(x, approximate=False))


class ClassificationHead(nn.Module):
    """From a row's first vector to one that `classes` turns into logits."""

    config: EncoderOnlyConfig

    @nn.compact
    def __call__(self, encoded: Array, deterministic: bool) -> Array:
        cfg = self.config
        first = dropout(cfg, deterministic)(encoded[:, :1])
        x = jnp.tanh(_dense(cfg, cfg.emb_dim, "dense")(first))
        return dropout(cfg, deterministic)(x)


class EncoderOnly(nn.Module):
    """A masked language model, or a classifier of rows if `num_classes` is set.

    Guarantees: float32 logits; they depend on no padding and no other example of a packed row;
    those at padding are finite and mean nothing. Tokens must lie in [0, vocab_size): id 0 is
    padding; ids outside the vocabulary, and positions beyond `max_positions`, give NaN.

    >>> import jax
    >>> from presence_t5x.models.families import init_params
    >>> config = EncoderOnlyConfig(vocab_size=10, emb_dim=8, num_heads=2, head_dim=4, mlp_dim=16,
    ...     num_layers=1, dtype="float32")
    >>> params = init_params(config, jax.random.key(0))
    >>> tokens = jnp.array([[3, 4, 1, 0]])
    >>> EncoderOnly(config).apply({"params": params}, tokens, enable_dropout=False).shape
    (1, 4, 10)
    """

    config: EncoderOnlyConfig

    def setup(self):
        cfg = self.config
        dtype = jnp.dtype(cfg.dtype)
        self.token_embedder = Embedding(table_rows(cfg), cfg.emb_dim, dtype, SMALL_NORMAL_INIT)
        self.position_embedder = LearnedPositions(
            cfg.max_positions, cfg.emb_dim, dtype, POSITION_OFFSET, SMALL_NORMAL_INIT
        )
        self.token_type = TokenType()
        self.encoder = Encoder(cfg)
        if cfg.num_classes is None:
            self.lm_head = MaskedLanguageHead(cfg)
        else:
            self.classifier = ClassificationHead(cfg)
            self.classes = Dense(
                cfg.num_classes, jnp.dtype("float32"), SMALL_NORMAL_INIT, use_bias=True
            )

    def __call__(
        self,
        encoder_input_tokens: Int[Array, "batch length"],
        encoder_segment_ids: Int[Array, "batch length"] | None = None,
        encoder_positions: Int[Array, "batch length"] | None = None,
        *,
        enable_dropout: bool = True,
        with_logits: bool = True,
    ) -> Float[Array, "batch length_or_1 vocab_or_classes_or_embed"]:
        """Returns logits of every position, or of a row's classes at its one position.

        Args:
          encoder_input_tokens: with the masks in place; a classifier looks at the first.
          encoder_segment_ids: which example of a packed row each token belongs to, 0 for padding.
          encoder_positions: inside an example, from 0; None counts a row's tokens.
          enable_dropout: needs `rngs={"dropout": key}` unless the rate is 0.
          with_logits: False returns vectors; times `output_kernel`, plus `output_bias`, in float32
            they are the logits.
        """
        tokens, segments = encoder_input_tokens, encoder_segment_ids
        is_token = tokens > 0
        if encoder_positions is None:
            encoder_positions = jnp.cumsum(is_token, axis=1) - 1
        positions = jnp.where(is_token, encoder_positions, -1)
        embedded = self.token_embedder(tokens) + self.position_embedder(positions)
        mask = visible_keys(tokens, tokens, segments, segments)
        encoded = self.encoder(self.token_type(embedded), mask, not enable_dropout)
        if self.config.num_classes is not None:
            hidden = self.classifier(encoded, not enable_dropout)
            return self.classes(hidden) if with_logits or self.is_initializing() else hidden
        hidden = self.lm_head(encoded, not enable_dropout)
        if not with_logits:
            return hidden
        return self.token_embedder.attend(hidden) + self.lm_head.get_variable("params", "bias")

    @property
    def features(self) -> BatchFeatures:
        """What a batch holds: masked tokens, or `labels`, one a row and negative for none."""
        return self.config.features

    @property
    def num_outputs(self) -> int:
        """Columns of the whole output matrix."""
        return self.config.num_classes or table_rows(self.config)

    def output_kernel(self, params: PyTree) -> Float[Array, "embed vocab"]:
        """Returns the matrix by which vectors become logits."""
        if self.config.num_classes is not None:
            return params["classes"]["kernel"]
        return params["token_embedder"]["embedding"].T

    def output_bias(self, params: PyTree) -> Float[Array, " vocab"]:
        """Returns what is added to the logits then."""
        return params["lm_head" if self.config.num_classes is None else "classes"]["bias"]

    def probe_shape(self, path: Sequence[str], rows: int) -> tuple[int, ...] | None:
        """Returns the shape of a parameter's norm probe; None if the parameter has none.

        What forms the logits has none: its gradient is formed where no single row is seen.
        """
        is_masked = self.config.num_classes is None
        outputs = [("token_embedder", "embedding"), ("lm_head", "bias")] if is_masked else []
        if tuple(path) in outputs or path[0] == "classes":
            return None
        return probe_shape(self.config, path, rows)


def _dense(config: EncoderOnlyConfig, features: int, name: str) -> Dense:
    return Dense(features, jnp.dtype(config.dtype), SMALL_NORMAL_INIT, use_bias=True, name=name)


def _norm(config: EncoderOnlyConfig, name: str) -> LayerNorm:
    return LayerNorm(jnp.dtype(config.dtype), config.norm_epsilon, name=name)
