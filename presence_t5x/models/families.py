"""From a model's settings, of any family, to the model and its initial parameters."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, UInt32

from presence_t5x.config_types import (
    DecoderOnlyConfig,
    EncoderOnlyConfig,
    ModelConfig,
    T5Config,
)
from presence_t5x.models.decoder_only import DecoderOnly
from presence_t5x.models.encoder_only import EncoderOnly
from presence_t5x.models.t5 import T5

_MODELS: dict[type[ModelConfig], Any] = {
    T5Config: T5,
    DecoderOnlyConfig: DecoderOnly,
    EncoderOnlyConfig: EncoderOnly,
}


def build_model(config: ModelConfig) -> Any:
    """Returns the model, a `losses.HiddenModel`; no parameter is made."""
    return _MODELS[type(config)](config)


def init_params(
    config: ModelConfig, rng: PRNGKeyArray | UInt32[Array, "2"]
) -> PyTree[Float[Array, "..."]]:
    """Returns float32 parameters as nested dicts, a T5's T5X's for the same key when unrolled.

    With `scan_layers` each layer still has its own draw, but from other keys than when unrolled.
    Call it under `jax.jit` with out_shardings to create the parameters sharded.
    """
    return _init(config, rng)


def num_parameters(config: ModelConfig) -> int:
    """Returns the number of parameters without allocating any.

    >>> num_parameters(T5Config(vocab_size=250112))  # mT5-small
    300176768
    """
    # Stacked layers are as large as separate ones and are traced once, not 48 times.
    stacked = dataclasses.replace(config, scan_layers=True, remat_policy="none")
    shapes = jax.eval_shape(lambda: _init(stacked, jax.random.key(0)))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


@functools.partial(jax.jit, static_argnums=0)  # compiled once for all models of a configuration
def _init(config: ModelConfig, rng: Array) -> PyTree:
    """Initialises on one-token dummies: no shape depends on batch or length."""
    model, tokens = build_model(config), jnp.ones((1, 1), jnp.int32)
    inputs = [tokens] * len(model.features.inputs)
    return model.init(rng, *inputs, enable_dropout=False)["params"]
