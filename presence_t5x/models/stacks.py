"""Layers of one configuration, and the stacks that run them one by one or scanned.

What a layer does stands in its family's module; here is what layers of all families are built from.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from presence_t5x.config_types import ModelConfig
from presence_t5x.models.attention import MIXED_VALUES, MultiHeadAttention
from presence_t5x.models.caches import CACHE
from presence_t5x.models.layers import PROBES, MlpBlock, RMSNorm
from presence_t5x.scored_layers import STACK_AXIS

ACTIVATION_AXES = ("rows", None, None)
_PROJECTIONS = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
_REMAT_POLICIES: dict[str, Callable[..., bool] | None] = {
    "elementwise": jax.checkpoint_policies.dots_saveable,
    "attention": jax.checkpoint_policies.save_from_both_policies(
        _PROJECTIONS, jax.checkpoint_policies.save_only_these_names(MIXED_VALUES)
    ),
    "minimal": _PROJECTIONS,
    "full": None,
}


class Layer(nn.Module):
    """One layer of a stack. Called, it returns (outputs, None), the form that nn.scan takes."""

    config: Any  # a ModelConfig
    deterministic: bool

    def attention(
        self, name: str, attention_type: type[MultiHeadAttention] = MultiHeadAttention, **options
    ) -> Any:
        """Returns attention in the configured sizes."""
        cfg = self.config
        return attention_type(
            num_heads=cfg.num_heads,
            head_dim=cfg.head_dim,
            dtype=jnp.dtype(cfg.dtype),
            dropout_rate=cfg.dropout_rate,
            deterministic=self.deterministic,
            float32_logits=cfg.float32_attention_logits,
            name=name,
            **options,
        )

    def mlp(self, activations: Sequence[str], **options) -> MlpBlock:
        """Returns the feed-forward block in the configured sizes."""
        cfg = self.config
        return MlpBlock(
            mlp_dim=cfg.mlp_dim,
            activations=activations,
            dtype=jnp.dtype(cfg.dtype),
            dropout_rate=cfg.dropout_rate,
            deterministic=self.deterministic,
            name="mlp",
            **options,
        )

    def pre_norm(self, norm: RMSNorm, block: Any, inputs: Array, *others) -> Array:
        """Adds block(norm(inputs), *others) to `inputs` (Raffel et al. 2020, section 2.1)."""
        return inputs + self.drop(block(norm(inputs), *others))

    def drop(self, inputs: Array) -> Array:
        """Applies dropout, the same features along the whole length."""
        return dropout(self.config, self.deterministic)(inputs)


def dropout(config: ModelConfig, deterministic: bool) -> nn.Dropout:
    """Returns dropout that treats every position of a sequence alike."""
    return nn.Dropout(config.dropout_rate, broadcast_dims=(-2,), deterministic=deterministic)


def run_stack(layer_type, name: str, config: ModelConfig, num_layers: int, deterministic: bool):
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


def probe_shape(config: ModelConfig, path: Sequence[str], rows: int) -> tuple[int, ...]:
    """Returns the shape of a parameter's norm probe: [rows], in a stack [layers, rows]."""
    in_stack = config.scan_layers and path[0] == path[1] and path[0] in config.stacks
    return (config.stacks[path[0]], rows) if in_stack else (rows,)
