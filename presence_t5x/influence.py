"""The score: the squared norm of a unit's gradient (Thakkar et al. 2023, section 2).

A score is float32 whatever the gradients are. Which parameters count is `scored_layers`, how units
are cut is `accumulation`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from presence_t5x.config_types import PresenceConfig
from presence_t5x.scored_layers import SelectedLeaf, segment


def norm_probes(
    params: PyTree,
    selection: Sequence[SelectedLeaf],
    shape_fn: Callable[[Sequence[str]], tuple[int, ...] | None],
) -> dict[str, Any] | None:
    """Returns probes (`ghost_norms`) for the selected parameters: 1 where a norm is wanted.

    Args:
      shape_fn: a parameter's path to its probe's shape, [rows] or [layers of a stack, rows]; None
        if it has none.

    Returns:
      nested dicts like the parameters', or None if a selected parameter has no probe.
    """
    paths = [
        tuple(segment(key) for key in path)
        for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]
    ]
    probes: dict[str, Any] = {}
    for leaf in selection:
        path = paths[leaf.leaf_index]
        shape = shape_fn(path)
        if shape is None:
            return None
        parent = probes
        for name in path[:-1]:
            parent = parent.setdefault(name, {})
        probe = parent.get(path[-1], jnp.zeros(shape))
        wanted = slice(None) if leaf.stack_index is None else leaf.stack_index
        parent[path[-1]] = probe.at[wanted].set(1.0)
    return probes


def probed_norms(
    cotangents: dict[str, Any], params: PyTree, selection: Sequence[SelectedLeaf]
) -> Float[Array, "parameters rows"]:
    """Returns the rows' squared gradient norms for each selected parameter, in their order.

    Args:
      cotangents: of the probes of `norm_probes`.
    """
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]

    def norms(leaf: SelectedLeaf) -> Array:
        found: Any = cotangents
        for key in leaves[leaf.leaf_index][0]:
            found = found[segment(key)]
        if leaf.stack_index is not None:
            return found[leaf.stack_index]
        return jnp.sum(found.reshape(-1, found.shape[-1]), axis=0)

    return jnp.stack([norms(leaf) for leaf in selection])


def squared_norm(tree: PyTree) -> Float[Array, ""]:
    """Returns the sum of squares of all leaves, accumulated in float32."""
    return sum(
        (jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(tree)),
        start=jnp.zeros(()),
    )


def unit_score(
    selected_gradients: dict[str, Array],
    loss_sum: Float[Array, ""],
    num_tokens: Float[Array, ""],
    config: PresenceConfig,
    norm_fn: Callable[[dict[str, Array]], Float[Array, ""]] = squared_norm,
) -> Float[Array, ""]:
    """Returns one unit's score from the gradient of its summed token loss.

    With `score_loss="mean"` the gradient of the mean token loss is scored, so that a unit's length
    does not pass for influence; "sum" is the paper's and T5X's. No loss normaliser enters.

    Args:
      selected_gradients: by path, of the unit's summed loss; {} suffices for score "loss".
      loss_sum, num_tokens: the unit's token-loss sum and real target tokens.
      config: `score` and `score_loss`.
      norm_fn: the squared norm of the (scaled) gradients; another one when devices hold parts.
    """
    num_tokens = jnp.maximum(num_tokens, 1.0)
    mean_loss = loss_sum / num_tokens
    if config.score == "loss":
        return mean_loss
    scale = 1.0 / num_tokens if config.score_loss == "mean" else jnp.ones(())
    scored = jax.tree.map(lambda g: g.astype(jnp.float32) * scale, selected_gradients)
    if callable(config.score):
        return jnp.asarray(config.score(scored, loss_sum, num_tokens), jnp.float32)
    return _norm_score(norm_fn(scored), mean_loss, config)


def probed_scores(
    squared_norms: Float[Array, " rows"],
    loss_sums: Float[Array, " rows"],
    num_tokens: Float[Array, " rows"],
    config: PresenceConfig,
) -> Float[Array, " rows"]:
    """Returns `unit_score` of every row from the squared norm of its summed loss's gradient."""
    num_tokens = jnp.maximum(num_tokens, 1.0)
    mean_losses = loss_sums / num_tokens
    if config.score == "loss":
        return mean_losses
    scale = jnp.square(num_tokens) if config.score_loss == "mean" else 1.0
    return _norm_score(squared_norms / scale, mean_losses, config)


def _norm_score(squared_norms: Array, mean_losses: Array, config: PresenceConfig) -> Array:
    """Returns the configured one of the scores that are made of a gradient's squared norm."""
    if config.score == "loss_weighted_influence":
        return squared_norms * jnp.square(mean_losses)
    if config.score == "log_perplexity_influence":
        smallest = jnp.finfo(jnp.float32).tiny  # a gradient of 0 still has a place among others
        return jnp.log(jnp.maximum(squared_norms, smallest)) + 2.0 * mean_losses
    return squared_norms
