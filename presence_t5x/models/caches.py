"""What decoders keep that see one position at a time: keys and values of the targets so far.

The variables are a flax collection "cache", stacked over layers along axis 0 if layers are scanned:
`cached_key`, `cached_value` [rows, beams, length, heads, head_dim], `cache_index`, the position,
and what a family keeps of a row's inputs, without an axis of beams. A row's hypotheses ("beams")
are decoded side by side.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from presence_t5x.config_types import ModelConfig

CACHE = "cache"
_OF_BEAMS = ("cached_key", "cached_value")  # variables with an axis of beams


def remember(
    module: nn.Module,
    name: str,
    new: Float[Array, "rows beams heads head_dim"],
    position: Int[Array, ""],
    length: int,
) -> Float[Array, "rows beams length heads head_dim"]:
    """Writes a position's vectors into a module's cache; returns all of it, zeros where none is."""
    rows, beams, heads, head_dim = new.shape
    cached = module.variable(
        CACHE, name, jnp.zeros, (rows, beams, length, heads, head_dim), new.dtype
    )
    cached.value = jax.lax.dynamic_update_slice_in_dim(
        cached.value, new[:, :, None], position, axis=2
    )
    return cached.value


def next_position(module: nn.Module) -> Int[Array, ""]:
    """Returns a decoder's position, and moves it on."""
    index = module.variable(CACHE, "cache_index", jnp.zeros, (), jnp.int32)
    position = index.value
    index.value = position + 1
    return position


def at_start(cache: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the cache at position 0 again; what was written there will be once more."""
    return _replace_leaves(cache, "cache_index", jnp.zeros_like)


def reorder_beams(
    config: ModelConfig, cache: Mapping[str, Any], beams: Int[Array, "rows beams"]
) -> dict[str, Any]:
    """Returns the cache whose hypothesis b of row r is the old hypothesis beams[r, b]."""
    axis = 2 if config.scan_layers else 1
    index = beams[..., None, None, None]
    index = index[None] if config.scan_layers else index
    for name in _OF_BEAMS:
        cache = _replace_leaves(
            cache, name, lambda leaf: jnp.take_along_axis(leaf, index, axis, mode="clip")
        )
    return dict(cache)


def _replace_leaves(cache: Mapping[str, Any], name: str, fun: Any) -> dict[str, Any]:
    """Applies `fun` to the variables of one name."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: fun(leaf) if path[-1].key == name else leaf, dict(cache)
    )
