"""Sums over the devices that hold a batch's rows, and who keeps which part of them.

A finished gradient is needed in parts only (each device updates its own): it is reduce-scattered,
half the bytes of an all-reduce, and 1/D of the memory. Which mesh axes hold rows is said by
`partitioning`; what is summed, by `units` and `accumulation`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from presence_t5x.influence import STACK_AXIS, SelectedLeaf

_WIDE = 1024
TILE_ROWS, TILE_LANES = 16, 128  # of bfloat16 arrays in a TPU's memory


@dataclasses.dataclass(frozen=True)
class RowDevices:
    """The mapped axes over which rows are cut; without names, a single device.

    Attributes:
      names: all of them, major first.
      scatter_name: the one of them over which gradients are cut, if any is.
      scatter_axes: of every parameter, in tree order, the array axis that is cut; None keeps it
        whole.
      is_summed: of every parameter, whether its gradients come in parts that are summed over
        `scatter_name` already (`layouts.Layout.cut_vocabulary`).
      gather: results are made whole on every device at the end.
    """

    names: tuple[str, ...] = ()
    scatter_name: str | None = None
    scatter_axes: tuple[int | None, ...] = ()
    is_summed: tuple[bool, ...] = ()
    gather: bool = False

    def psum(self, tree: PyTree) -> PyTree:
        """Sums over all devices; the identity on a single one."""
        return lax.psum(tree, self.names) if self.names else tree

    def as_varying(self, tree: PyTree) -> PyTree:
        """Marks arrays as device-local, so that autodiff reduces nothing by itself."""

        def cast(leaf):
            varying = getattr(jax.typeof(leaf), "vma", frozenset())
            missing = tuple(name for name in self.names if name not in varying)
            return lax.pcast(leaf, missing, to="varying") if missing else leaf

        return jax.tree.map(cast, tree)

    def index(self) -> Any:
        """Returns this device's number among those that hold rows."""
        return lax.axis_index(self.names) if self.names else 0

    def reduce_scatter(self, gradient: PyTree, dtype: Any) -> PyTree:
        """Sums gradients over `scatter_name` in `dtype`; each device gets the part that it keeps.

        Sums over the other names, if there are any, wait for `finish_parts`.
        """
        leaves, structure = jax.tree.flatten(gradient)
        parts = [
            self._scatter(leaf.astype(dtype), axis, index)
            for index, (leaf, axis) in enumerate(self._paired(leaves))
        ]
        return jax.tree.unflatten(structure, parts)

    def reduce_scatter_selected(
        self, selected: dict[str, Array], selection: Sequence[SelectedLeaf], dtype: Any
    ) -> dict[str, Array]:
        """Does the same for leaves, or layers of stacked leaves, that `take_selected` took."""
        return {
            leaf.path: self._scatter(
                selected[leaf.path].astype(dtype), self.selected_axis(leaf), leaf.leaf_index
            )
            for leaf in selection
        }

    def agree(self, flag: Bool[Array, ""]) -> Bool[Array, ""]:
        """Whether it is so on all devices that sum parameters' gradients together.

        What decides about rows of one device then decides about those of all.
        """
        if not any(self.is_summed):
            return flag
        return lax.pmin(flag.astype(jnp.int32), self.scatter_name) == 1

    def largest(self, value: Float[Array, ""]) -> Float[Array, ""]:
        """Returns the largest value among the devices that sum gradients together."""
        return lax.pmax(value, self.scatter_name) if any(self.is_summed) else value

    def _others(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name != self.scatter_name)

    def selected_axis(self, leaf: SelectedLeaf) -> int | None:
        """Returns the axis along which a selected leaf is cut, once its layer is taken out."""
        axis = self.scatter_axes[leaf.leaf_index] if self.scatter_name else None
        taken_out = axis is not None and leaf.stack_index is not None and axis > STACK_AXIS
        return axis - 1 if axis is not None and taken_out else axis

    def finish_parts(self, parts: PyTree) -> PyTree:
        """Sums weighted parts over the names that `reduce_scatter` left out, in float32."""
        others = self._others()
        return lax.psum(parts, others) if others else parts

    def gather_parts(self, parts: PyTree) -> PyTree:
        """Returns what `reduce_scatter` left, made whole."""
        leaves, structure = jax.tree.flatten(parts)
        whole = [self._gather(leaf, axis) for leaf, axis in self._paired(leaves)]
        return jax.tree.unflatten(structure, whole)

    def gather_selected(
        self, parts: dict[str, Array], selection: Sequence[SelectedLeaf]
    ) -> dict[str, Array]:
        """Returns what `reduce_scatter_selected` left, made whole."""
        return {
            leaf.path: self._gather(parts[leaf.path], self.selected_axis(leaf))
            for leaf in selection
        }

    def squared_norm(
        self, parts: dict[str, Array], selection: Sequence[SelectedLeaf]
    ) -> Float[Array, ""]:
        """Returns the float32 squared norm of reduce-scattered leaves: parts, summed at last."""
        cut, whole = jnp.zeros(()), jnp.zeros(())
        parts = self.finish_parts(parts)
        for leaf in selection:
            square = jnp.sum(jnp.square(parts[leaf.path].astype(jnp.float32)))
            if self.selected_axis(leaf) is None:
                whole += square
            else:
                cut += square
        return whole + (lax.psum(cut, self.scatter_name) if self.scatter_name else cut)

    def _paired(self, leaves: Sequence[Array]):
        axes = self.scatter_axes if self.scatter_name else (None,) * len(leaves)
        return zip(leaves, axes, strict=True)

    def _scatter(self, leaf: Array, axis: int | None, index: int) -> Array:
        if self.scatter_name is None or (self.is_summed and self.is_summed[index]):
            return leaf
        if axis is None:
            return lax.psum(leaf, self.scatter_name)
        last = leaf.ndim - 1
        padded = leaf if axis == last else _pad_lanes(leaf)
        part = lax.psum_scatter(padded, self.scatter_name, scatter_dimension=axis, tiled=True)
        return part if axis == last else lax.slice_in_dim(part, 0, leaf.shape[last], axis=last)

    def _gather(self, part: Array, axis: int | None) -> Array:
        if self.scatter_name is None or axis is None:
            return part
        return lax.all_gather(part, self.scatter_name, axis=axis, tiled=True, to="invarying")


def _pad_lanes(leaf: Array) -> Array:
    """Pads a wide last axis to a multiple of 1024: mT5's vocabulary to 245 of them.

    Without it libtpu sums the whole matrix on every device, twice the bytes (seen with 0.0.42.1).
    """
    width = leaf.shape[-1]
    missing = -width % _WIDE if width > _WIDE else 0
    return jnp.pad(leaf, [(0, 0)] * (leaf.ndim - 1) + [(0, missing)]) if missing else leaf


def scatter_axis(shape: Sequence[int], parts: int, excluded: Sequence[int] = ()) -> int | None:
    """Returns an axis of `shape` to cut into `parts`: the first whose parts are whole TPU tiles.

    Failing that, the first that divides. (Parts of broken tiles are exchanged whole on TPUs, as
    zeros outside the part: twice the bytes and D times the memory.) Never the layers of a stack.
    """

    def divides(axis: int, tile: int) -> bool:
        size = shape[axis]
        is_layers = len(shape) > 2 and axis == STACK_AXIS
        free = axis not in excluded and not is_layers
        return size > 0 and free and size % (parts * tile) == 0

    axes = range(len(shape))
    aligned = (a for a in axes if divides(a, TILE_LANES if a == len(shape) - 1 else TILE_ROWS))
    divisible = (axis for axis in axes if divides(axis, 1))
    return next(aligned, next(divisible, None))
