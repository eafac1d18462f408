"""What the T5's encoder and decoder are made of: layers, and their position biases.

A layer is a sequence of pre-norm residual blocks (Raffel et al. 2020, section 2.1).
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from presence_t5x.config_types import T5Config
from presence_t5x.models.attention import MultiHeadAttention
from presence_t5x.models.layers import RMSNorm
from presence_t5x.models.positions import RelativePositionBiases
from presence_t5x.models.stacks import ACTIVATION_AXES, Layer
from presence_t5x.partitioning import constrain


class ResidualLayer(Layer):
    """What encoder and decoder layers share: pre-norm residual blocks."""

    def attend(
        self,
        attention_type: type[MultiHeadAttention],
        name: str,
        norm_name: str,
        inputs: Array,
        *others,
    ) -> Array:
        """Adds attention(normed inputs, *others) to `inputs`."""
        attention = self.attention(name, attention_type)
        return self.pre_norm(self._norm(norm_name), attention, inputs, *others)

    def feed_forward(self, inputs: Array) -> Array:
        """Adds the MLP block to `inputs`."""
        mlp = self.mlp(self.config.mlp_activations)
        return self.pre_norm(self._norm("pre_mlp_layer_norm"), mlp, inputs)

    def _norm(self, name: str) -> RMSNorm:
        return RMSNorm(jnp.dtype(self.config.dtype), name=name)


class EncoderLayer(ResidualLayer):
    """Self-attention and MLP. Returns (outputs, None), the form that nn.scan takes."""

    @nn.compact
    def __call__(self, inputs: Array, biases: tuple[Array, ...]) -> tuple[Array, None]:
        inputs = constrain(inputs, ACTIVATION_AXES)
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
        inputs = constrain(inputs, ACTIVATION_AXES)
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
