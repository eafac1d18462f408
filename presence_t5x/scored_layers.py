"""Which parameters are scored: path patterns select layers, of scanned models too.

The paper's are the first encoder and the first decoder layer (Thakkar et al. 2023, section 2).
"""

import difflib
import fnmatch
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

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
    paths = [tuple(segment(key) for key in path) for path, _ in leaves]
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


def segment(key: Any) -> str:
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
