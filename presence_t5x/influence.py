"""Which parameters are scored, and the score: the squared norm of a unit's gradient.

Path patterns select parameters (Thakkar et al. 2023, section 2: the first encoder and the first
decoder layer); a score is float32 whatever the gradients are. How units are cut is `accumulation`.
"""

import difflib
import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from presence_t5x.config_types import PresenceConfig

# Scanned models stack their layers along axis 1 and name the stack like its parent, as T5X does:
# `encoder/encoder/...` instead of `encoder/layers_0/...`, `encoder/layers_1/...`.
STACK_AXIS = 1
_NUMBERED_SEGMENT = re.compile(r".+_(\d+)")


class SelectedLeaf(NamedTuple):
    """One scored parameter: its place among the tree's leaves, and its layer if it is a stack."""

    path: str
    leaf_index: int
    stack_index: int | None


def select_layers(params: PyTree, patterns: Sequence[str]) -> tuple[SelectedLeaf, ...]:
    """Returns the leaves whose path contains one of the patterns, in tree order.

    A pattern is a run of whole path segments, each of which may be a glob: "layers_1" never matches
    "layers_10", "encoder/layers_*" matches every unrolled encoder layer. On a scanned model, whose
    stack has no `layers_2`, "encoder/layers_2" selects element 2 of `encoder/encoder`.

    Args:
      params: the parameters, or anything of their structure with shapes.
      patterns: at least one.

    Raises:
      ValueError: a pattern matches nothing; the nearest paths are listed.

    >>> import jax.numpy as jnp
    >>> params = {"encoder": {"layers_1": jnp.zeros(2), "layers_10": jnp.zeros(2)}}
    >>> [leaf.path for leaf in select_layers(params, ["layers_1"])]
    ['encoder/layers_1']
    """
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    paths = [tuple(_segment(key) for key in path) for path, _ in leaves]
    shapes = [jnp.shape(leaf) for _, leaf in leaves]
    selected: dict[int, set[int | None]] = {}
    for pattern in patterns:
        matches = _match(pattern, paths, shapes)
        if not matches:
            raise ValueError(_no_match_message(pattern, paths))
        for leaf_index, stack_index in matches:
            selected.setdefault(leaf_index, set()).add(stack_index)
    return tuple(
        SelectedLeaf(_display_path(paths[leaf_index], stack_index), leaf_index, stack_index)
        for leaf_index in sorted(selected)
        for stack_index in _without_overlap(selected[leaf_index])
    )


def take_selected(tree: PyTree, selection: Sequence[SelectedLeaf]) -> dict[str, Array]:
    """Returns the selected leaves (or layers of stacked leaves) of `tree`, by path."""
    leaves = jax.tree.leaves(tree)
    return {
        path: leaves[leaf_index]
        if stack_index is None
        else leaves[leaf_index].take(stack_index, axis=STACK_AXIS)
        for path, leaf_index, stack_index in selection
    }


def replace_selected(
    tree: PyTree, selection: Sequence[SelectedLeaf], values: dict[str, Array]
) -> PyTree:
    """Returns `tree` with the selected leaves (or layers) replaced; inverse of `take_selected`."""
    leaves, structure = jax.tree.flatten(tree)
    for path, leaf_index, stack_index in selection:
        if stack_index is None:
            leaves[leaf_index] = values[path]
        else:
            where = (slice(None),) * STACK_AXIS + (stack_index,)
            leaves[leaf_index] = leaves[leaf_index].at[where].set(values[path])
    return jax.tree.unflatten(structure, leaves)


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
        tuple(_segment(key) for key in path)
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
            found = found[_segment(key)]
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


def _match(pattern: str, paths, shapes) -> list[tuple[int, int | None]]:
    """Returns (leaf index, None) of literal matches, else (leaf index, layer) of stacked ones."""
    segments = pattern.strip("/").split("/")
    direct: list[tuple[int, int | None]] = [
        (i, None) for i, path in enumerate(paths) if _contains(path, segments)
    ]
    if direct:
        return direct
    matches = []
    for position in range(1, len(segments)):
        numbered = _NUMBERED_SEGMENT.fullmatch(segments[position])
        if not numbered:
            continue
        layer = int(numbered.group(1))
        stack = [*segments[:position], segments[position - 1], *segments[position + 1 :]]
        matches += [
            (i, layer)
            for i, path in enumerate(paths)
            if _contains(path, stack) and len(shapes[i]) > 1 and layer < shapes[i][STACK_AXIS]
        ]
    return matches


def _contains(path: Sequence[str], segments: Sequence[str]) -> bool:
    """Whether `segments` match a contiguous run of whole segments of `path`."""
    return any(
        all(fnmatch.fnmatchcase(part, glob) for part, glob in zip(path[start:], segments))
        for start in range(len(path) - len(segments) + 1)
    )


def _without_overlap(stack_indices: set[int | None]) -> list[int | None]:
    """Drops single layers where the whole stack is selected too."""
    return [None] if None in stack_indices else sorted(stack_indices)  # pyright: ignore


def _segment(key: Any) -> str:
    """Returns the plain name of one step of a tree path."""
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _display_path(path: Sequence[str], stack_index: int | None) -> str:
    return "/".join(path) + ("" if stack_index is None else f"[{stack_index}]")


def _no_match_message(pattern: str, paths) -> str:
    """Names the nearest sub-paths of the tree, shortest first."""
    runs = {
        "/".join(path[start:end])
        for path in paths
        for start in range(len(path))
        for end in range(start + 1, len(path) + 1)
    }
    near = difflib.get_close_matches(
        pattern, sorted(runs, key=lambda run: (len(run), run)), n=4, cutoff=0.4
    )
    hint = f"near matches: {near}" if near else f"the tree has {sorted({p[0] for p in paths})}"
    return f"layers: pattern {pattern!r} matches no parameter; {hint}"
