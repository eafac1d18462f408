"""What layers of all models are made of: norms, matrix products, biases, the feed-forward block.

Parameters are float32 and named, shaped and initialised as T5X's `examples/t5/layers.py` does, so
that a T5X checkpoint fits and one PRNG key gives the same weights; arithmetic runs in each layer's
`dtype`. Nothing here or in `attention`, `positions`, `embedding` and `stacks` knows about a
family of models, losses, devices or decoding caches.
"""

import functools
import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from presence_t5x import ghost_norms
from presence_t5x.partitioning import constrain

PROBES = "probes"  # the variable collection, shaped like "params", of `norm_probe`

Initializer = Callable[..., Array]

ATTENTION_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
MLP_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
SMALL_NORMAL_INIT = nn.initializers.normal(0.02)  # BERT's and Llama's, for all matrices
_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": nn.gelu,  # the tanh approximation, as T5.1.1 was trained
    "exact_gelu": functools.partial(nn.gelu, approximate=False),
    "relu": nn.relu,
    "silu": nn.silu,
    "linear": lambda x: x,
}


def norm_probe(module: nn.Module, name: str) -> Float[Array, " rows"] | None:
    """Returns the probe of a parameter's per-row gradient norms (`ghost_norms`), if it has one."""
    return module.get_variable(PROBES, name) if module.has_variable(PROBES, name) else None


def add_bias(module: nn.Module, inputs: Float[Array, "*batch features"]) -> Array:
    """Returns inputs + the module's parameter "bias", zeros at first."""
    bias = module.param("bias", nn.initializers.zeros, (inputs.shape[-1],), jnp.float32)
    bias, probe = bias.astype(inputs.dtype), norm_probe(module, "bias")
    if probe is not None:
        return ghost_norms.shift(inputs, bias, probe)
    return inputs + jnp.broadcast_to(bias, inputs.shape)


def _multiply_scale(module: nn.Module, inputs: Array) -> Array:
    """Returns inputs * the module's parameter "scale", ones at first."""
    scale = module.param("scale", nn.initializers.ones, (inputs.shape[-1],), jnp.float32)
    scale, probe = scale.astype(inputs.dtype), norm_probe(module, "scale")
    if probe is not None:
        return ghost_norms.scale(inputs, scale, probe)
    return inputs * jnp.broadcast_to(scale, inputs.shape)


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
        return _multiply_scale(self, x)


class LayerNorm(nn.Module):
    """Norm over the last axis with a scale and a bias (Ba et al. 2016).

    Mean, variance and division are computed in float32, scaling and bias in `dtype`.
    """

    dtype: jnp.dtype
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, inputs: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        x = inputs.astype(jnp.float32)
        x = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(jax.lax.square(x), axis=-1, keepdims=True)
        x = (x * jax.lax.rsqrt(variance + self.epsilon)).astype(self.dtype)
        return add_bias(self, _multiply_scale(self, x))


class Dense(nn.Module):
    """A matrix product over the last axis; the kernel is (inputs, features).

    Attributes:
      axes: what the kernel's axes mean (`partitioning.constrain`).
      use_bias: adds a vector.
    """

    features: int
    dtype: jnp.dtype
    kernel_init: Initializer = MLP_INIT
    axes: tuple[str | None, str | None] = (None, None)
    use_bias: bool = False

    @nn.compact
    def __call__(self, inputs: Float[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
        shape = (inputs.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        inputs = inputs.astype(self.dtype)
        kernel = constrain(kernel.astype(self.dtype), self.axes)
        outputs = ghost_norms.dense(inputs, kernel, norm_probe(self, "kernel"))
        return add_bias(self, outputs) if self.use_bias else outputs


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
    kernel_init: Initializer = MLP_INIT
    use_bias: bool = False

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch length embed"]
    ) -> Float[Array, "batch length embed"]:
        hidden = []
        for index, activation in enumerate(self.activations):
            name = "wi" if len(self.activations) == 1 else f"wi_{index}"
            projected = self._dense(self.mlp_dim, ("embed", "mlp"), name)(inputs)
            hidden.append(_ACTIVATIONS[activation](projected))
        x = functools.reduce(operator.mul, hidden)
        x = nn.Dropout(self.dropout_rate, broadcast_dims=(-2,), deterministic=self.deterministic)(x)
        return self._dense(inputs.shape[-1], ("mlp", "embed"), "wo")(x)

    def _dense(self, features: int, axes: tuple[str, str], name: str) -> Dense:
        return Dense(features, self.dtype, self.kernel_init, axes, self.use_bias, name=name)
