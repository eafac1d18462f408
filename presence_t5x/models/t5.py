"""T5.1.1/mT5: the encoder-decoder that PRESENCE pre-trains, with T5X's parameter tree.

Teacher forcing only: cached decoding is not here. `T5` gives T5X's `examples/t5/network.py` numbers
for the same parameters (Raffel et al. 2020; Xue et al. 2021, section 3), and with the same PRNG
key the same initial parameters. `scan_layers=True` is the same function with stacked parameters.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, UInt32

from presence_t5x.config_types import T5Config
from presence_t5x.models.layers import (
    MIXED_VALUES,
    PROBES,
    Dense,
    Embedding,
    MlpBlock,
    MultiHeadAttention,
    RelativePositionBiases,
    RMSNorm,
    mask_bias,
    visible_keys,
)
from presence_t5x.partitioning import constrain

_ACTIVATION_AXES = ("rows", None, None)
_PROJECTIONS = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
_REMAT_POLICIES: dict[str, Callable[..., bool] | None] = {
    "elementwise": jax.checkpoint_policies.dots_saveable,
    "attention": jax.checkpoint_policies.save_from_both_policies(
        _PROJECTIONS, jax.checkpoint_policies.save_only_these_names(MIXED_VALUES)
    ),
    "minimal": _PROJECTIONS,
    "full": None,
}
_STACK_AXIS = 1  # of a scanned parameter, as T5X's `param_scan_axis`


class _Layer(nn.Module):
    """What encoder and decoder layers share: pre-norm residual blocks of one configuration."""

    config: T5Config
    deterministic: bool

    def attend(self, name: str, norm_name: str, inputs: Array, keys: Array | None, biases) -> Array:
        """Adds attention to `inputs`; `keys` None is self-attention."""
        cfg = self.config
        dtype = jnp.dtype(cfg.dtype)
        x = RMSNorm(dtype, name=norm_name)(inputs)
        x = MultiHeadAttention(
            num_heads=cfg.num_heads,
            head_dim=cfg.head_dim,
            dtype=dtype,
            dropout_rate=cfg.dropout_rate,
            deterministic=self.deterministic,
            float32_logits=cfg.float32_attention_logits,
            name=name,
        )(x, x if keys is None else keys, biases)
        return inputs + self.drop(x)

    def with_own_positions(self, biases: tuple[Array, ...], length: int, bidirectional: bool):
        """Returns the biases of self-attention, with those of the layer's own table if it has one."""
        if not self.config.position_biases_per_layer:
            return biases
        return (*biases, _position_biases(self.config, length, bidirectional))

    def feed_forward(self, inputs: Array) -> Array:
        """Adds the MLP block to `inputs`."""
        cfg = self.config
        dtype = jnp.dtype(cfg.dtype)
        x = RMSNorm(dtype, name="pre_mlp_layer_norm")(inputs)
        x = MlpBlock(
            mlp_dim=cfg.mlp_dim,
            activations=cfg.mlp_activations,
            dtype=dtype,
            dropout_rate=cfg.dropout_rate,
            deterministic=self.deterministic,
            name="mlp",
        )(x)
        return inputs + self.drop(x)

    def drop(self, inputs: Array) -> Array:
        """Applies dropout, the same features along the whole length."""
        return _dropout(self.config, self.deterministic)(inputs)


class EncoderLayer(_Layer):
    """Self-attention and MLP. Returns (outputs, None), the form that nn.scan takes."""

    @nn.compact
    def __call__(self, inputs: Array, biases: tuple[Array, ...]) -> tuple[Array, None]:
        inputs = constrain(inputs, _ACTIVATION_AXES)
        biases = self.with_own_positions(biases, inputs.shape[1], True)
        x = self.attend("attention", "pre_attention_layer_norm", inputs, None, biases)
        return self.feed_forward(x), None


class DecoderLayer(_Layer):
    """Causal self-attention, attention to the encoder, and MLP. Returns (outputs, None)."""

    @nn.compact
    def __call__(
        self,
        inputs: Array,
        encoded: Array,
        biases: tuple[Array, ...],
        encoder_biases: tuple[Array, ...],
    ) -> tuple[Array, None]:
        inputs = constrain(inputs, _ACTIVATION_AXES)
        biases = self.with_own_positions(biases, inputs.shape[1], False)
        x = self.attend("self_attention", "pre_self_attention_layer_norm", inputs, None, biases)
        x = self.attend(
            "encoder_decoder_attention",
            "pre_cross_attention_layer_norm",
            x,
            encoded,
            encoder_biases,
        )
        return self.feed_forward(x), None


class Encoder(nn.Module):
    """A stack of encoder layers over embedded tokens, and the final norm."""

    config: T5Config

    @nn.compact
    def __call__(self, embedded: Array, mask: Array, deterministic: bool) -> Array:
        cfg = self.config
        dtype = jnp.dtype(cfg.dtype)
        biases = (mask_bias(mask, dtype), *_shared_biases(cfg, embedded.shape[1], True))
        x = _dropout(cfg, deterministic)(embedded)
        x = _run_stack(EncoderLayer, "encoder", cfg, cfg.num_encoder_layers, deterministic)(
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
        biases = (mask_bias(mask, dtype), *_shared_biases(cfg, embedded.shape[1], False))
        x = _dropout(cfg, deterministic)(embedded)
        x = _run_stack(DecoderLayer, "decoder", cfg, cfg.num_decoder_layers, deterministic)(
            x, encoded, biases, (mask_bias(encoder_mask, dtype),)
        )
        x = RMSNorm(dtype, name="decoder_norm")(x)
        x = _dropout(cfg, deterministic)(x)
        if not with_logits:
            return x
        return Dense(_vocab_size(cfg), jnp.dtype(jnp.float32), name="logits_dense")(x)


class T5(nn.Module):
    """A T5.1.1/mT5 encoder-decoder.

    Guarantees: float32 logits; a position's logits depend on no later decoder input, no padding and
    no other example of a packed row; logits at padded targets are finite and mean nothing.
    Tokens must lie in [0, vocab_size): id 0 is padding, ids outside the vocabulary give NaN.

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
        self.token_embedder = Embedding(_vocab_size(cfg), cfg.emb_dim, jnp.dtype(cfg.dtype))
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
    def vocab_size(self) -> int:
        """Rows of the whole token table."""
        return _vocab_size(self.config)

    def output_kernel(self, params: PyTree) -> Float[Array, "embed vocab"]:
        """Returns the matrix by which vectors become logits."""
        if self.config.logits_via_embedding:
            return params["token_embedder"]["embedding"].T / math.sqrt(self.config.emb_dim)
        return params["decoder"]["logits_dense"]["kernel"]

    def probe_shape(self, path: Sequence[str], rows: int) -> tuple[int, ...] | None:
        """Returns the shape of a parameter's norm probe; None if the parameter has none.

        The output matrix has none: its gradient is formed where no single row is seen.
        """
        cfg = self.config
        if "logits_dense" in path or ("embedding" in path and cfg.logits_via_embedding):
            return None
        stacks = {"encoder": cfg.num_encoder_layers, "decoder": cfg.num_decoder_layers}
        in_stack = cfg.scan_layers and path[0] == path[1] and path[0] in stacks
        return (stacks[path[0]], rows) if in_stack else (rows,)

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
            return self.token_embedder.attend(hidden) / math.sqrt(self.config.emb_dim)
        return hidden


def init_params(
    config: T5Config, rng: PRNGKeyArray | UInt32[Array, "2"]
) -> PyTree[Float[Array, "..."]]:
    """Returns float32 parameters as nested dicts, T5X's for the same key when layers are unrolled.

    With `scan_layers` each layer still has its own draw, but from other keys than when unrolled.
    Call it under `jax.jit` with out_shardings to create the parameters sharded.
    """
    return jax.jit(lambda key: _init(config, key))(rng)


def num_parameters(config: T5Config) -> int:
    """Returns the number of parameters without allocating any.

    >>> num_parameters(T5Config(vocab_size=250112))  # mT5-small
    300176768
    """
    # Stacked layers are as large as separate ones and are traced once, not 48 times.
    stacked = dataclasses.replace(config, scan_layers=True, remat_policy="none")
    shapes = jax.eval_shape(lambda: _init(stacked, jax.random.key(0)))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def _init(config: T5Config, rng: Array) -> PyTree:
    """Initialises on one-token dummies: no shape depends on batch or length."""
    tokens = jnp.ones((1, 1), jnp.int32)
    return T5(config).init(rng, tokens, tokens, tokens, enable_dropout=False)["params"]


def _vocab_size(config: T5Config) -> int:
    """Returns the rows of the embedding table; ValueError while a run has not filled them in."""
    if config.vocab_size is None:
        raise ValueError(
            "vocab_size=None: set it to the vocabulary's size rounded up to a multiple of 128"
        )
    return config.vocab_size


def _dropout(config: T5Config, deterministic: bool) -> nn.Dropout:
    """Returns dropout that treats every position of a sequence alike."""
    return nn.Dropout(config.dropout_rate, broadcast_dims=(-2,), deterministic=deterministic)


def _shared_biases(config: T5Config, length: int, bidirectional: bool) -> tuple[Array, ...]:
    """Returns the position biases that the layers of a stack share, if they do."""
    if config.position_biases_per_layer:
        return ()
    return (_position_biases(config, length, bidirectional),)


def _position_biases(config: T5Config, length: int, bidirectional: bool) -> Array:
    """Returns self-attention's position biases, as a submodule of the module that calls."""
    table = RelativePositionBiases(
        config.num_heads, bidirectional, jnp.dtype(config.dtype), name="relpos_bias"
    )
    return table(length, length)


def _run_stack(layer_type, name: str, config: T5Config, num_layers: int, deterministic: bool):
    """Returns function(x, *others) -> x through `layers_i`, or through one scanned stack `name`."""
    if config.remat_policy != "none":
        layer_type = nn.remat(
            layer_type,
            prevent_cse=not config.scan_layers,
            policy=_REMAT_POLICIES[config.remat_policy],
        )
    if not config.scan_layers:
        layers = [
            layer_type(config, deterministic, name=f"layers_{index}") for index in range(num_layers)
        ]

        def run(x: Array, *others) -> Array:
            for layer in layers:
                x, _ = layer(x, *others)
            return x

        return run

    stack_type = nn.scan(
        layer_type,
        variable_axes={"params": _STACK_AXIS, PROBES: 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=nn.broadcast,  # pyright: ignore[reportArgumentType]
        length=num_layers,
    )
    stack = stack_type(config, deterministic, name=name)
    return lambda x, *others: stack(x, *others)[0]
