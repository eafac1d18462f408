"""What the T5's encoder and decoder are made of: layers, and the stacks that run them.

A layer is a sequence of pre-norm residual blocks (Raffel et al. 2020, section 2.1). A stack runs
layers one by one, or as one scanned layer with stacked parameters.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from presence_t5x.config_types import T5Config
from presence_t5x.influence import STACK_AXIS
from presence_t5x.models.layers import (
    MIXED_VALUES,
    PROBES,
    MlpBlock,
    MultiHeadAttention,
    RelativePositionBiases,
    RMSNorm,
)
from presence_t5x.partitioning import constrain

CACHE = "cache"  # the variable collection of decoding one token at a time
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


class ResidualLayer(nn.Module):
    """What encoder and decoder layers share: pre-norm residual blocks of one configuration."""

    config: T5Config
    deterministic: bool

    def attend(
        self,
        attention_type: type[MultiHeadAttention],
        name: str,
        norm_name: str,
        inputs: Array,
        *others,
    ) -> Array:
        """Adds attention(normed inputs, *others) to `inputs`."""
        cfg = self.config
        dtype = jnp.dtype(cfg.dtype)
        attention: Any = attention_type(
            num_heads=cfg.num_heads,
            head_dim=cfg.head_dim,
            dtype=dtype,
            dropout_rate=cfg.dropout_rate,
            deterministic=self.deterministic,
            float32_logits=cfg.float32_attention_logits,
            name=name,
        )
        return inputs + self.drop(attention(RMSNorm(dtype, name=norm_name)(inputs), *others))

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
        return dropout(self.config, self.deterministic)(inputs)


class EncoderLayer(ResidualLayer):
    """Self-attention and MLP. Returns (outputs, None), the form that nn.scan takes."""

    @nn.compact
    def __call__(self, inputs: Array, biases: tuple[Array, ...]) -> tuple[Array, None]:
        inputs = constrain(inputs, _ACTIVATION_AXES)
        if self.config.position_biases_per_layer:
            biases = (*biases, position_biases(self.config, inputs.shape[1], True))
        x = self.attend(
            MultiHeadAttention, "attention", "pre_attention_layer_norm", inputs, None, biases
        )
        return self.feed_forward(x), None


class DecoderLayer(ResidualLayer):
    """Causal self-attention, attention to the encoder, and MLP. Returns (outputs, None)."""

    self_attention_type = MultiHeadAttention
    cross_attention_type = MultiHeadAttention

    @nn.compact
    def __call__(
        self,
        inputs: Array,
        encoded: Array | None,
        biases: tuple[Array, ...],
        encoder_biases: tuple[Array, ...],
        position: Array | None = None,
    ) -> tuple[Array, None]:
        """Decodes whole targets; `position` is for layers that see one at a time."""
        inputs = constrain(inputs, _ACTIVATION_AXES)
        if self.config.position_biases_per_layer:
            biases = (*biases, self.own_position_biases(inputs, biases, position))
        x = self.attend(
            self.self_attention_type,
            "self_attention",
            "pre_self_attention_layer_norm",
            inputs,
            position,
            biases,
        )
        x = self.attend(
            self.cross_attention_type,
            "encoder_decoder_attention",
            "pre_cross_attention_layer_norm",
            x,
            encoded,
            encoder_biases,
        )
        return self.feed_forward(x), None

    def own_position_biases(self, inputs: Array, biases: tuple[Array, ...], position: Array | None):
        """Returns self-attention's position biases from the layer's own table."""
        del biases, position
        return position_biases(self.config, inputs.shape[1], False)


def dropout(config: T5Config, deterministic: bool) -> nn.Dropout:
    """Returns dropout that treats every position of a sequence alike."""
    return nn.Dropout(config.dropout_rate, broadcast_dims=(-2,), deterministic=deterministic)


def shared_position_biases(config: T5Config, length: int, bidirectional: bool) -> tuple[Array, ...]:
    """Returns the position biases that the layers of a stack share, if they do."""
    if config.position_biases_per_layer:
        return ()
    return (position_biases(config, length, bidirectional),)


def position_biases(config: T5Config, length: int, bidirectional: bool) -> Array:
    """Returns self-attention's position biases, as a submodule of the module that calls."""
    table = RelativePositionBiases(
        config.num_heads, bidirectional, jnp.dtype(config.dtype), name="relpos_bias"
    )
    return table(length, length)


def run_stack(layer_type, name: str, config: T5Config, num_layers: int, deterministic: bool):
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
        variable_axes={"params": STACK_AXIS, PROBES: 0, CACHE: 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=nn.broadcast,  # pyright: ignore[reportArgumentType]
        length=num_layers,
    )
    stack = stack_type(config, deterministic, name=name)
    return lambda x, *others: stack(x, *others)[0]
