"""Sums over the devices that hold a batch's rows, and who keeps which part of them.

A finished gradient is needed in parts only (each device updates its own): it is reduce-scattered,
half the bytes of an all-reduce, and 1/D of the memory. Which mesh axes hold rows is said by
`partitioning`; what is summed, by `units` and `accumulation`.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from presence_t5x.scored_layers import STACK_AXIS, SelectedLeaf

_WIDE = 1024
TILE_ROWS, TILE_LANES = 16, 128  # of bfloat16 arrays in a TPU's memory


class Cut(NamedTuple):
    """An array axis of a parameter that is cut over the mapped axis `name`.

    `is_summed`: the parameter's gradients come in such parts, of all devices' rows
    (`layouts.Layout.cut_vocabulary`).
    """

    name: str
    axis: int
    is_summed: bool = False


Cuts = tuple[Cut, ...]


@dataclasses.dataclass(frozen=True)
class RowDevices:
    """The mapped axes over which rows are cut; without names, a single device.

    Attributes:
      names: all of them, major first.
      cuts: of every parameter, in tree order, how a device's part is cut out, one axis after the
        other; over names that are left out it is whole.
      gather: results are made whole on every device at the end.
    """

    names: tuple[str, ...] = ()
    cuts: tuple[Cuts, ...] = ()
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

    @property
    def shares_gradients(self) -> bool:
        """Whether some parameter's gradients come as parts of all devices' rows."""
        return bool(self._sharing())

    def agree(self, flag: Bool[Array, ""]) -> Bool[Array, ""]:
        """Whether it is so on all devices that share parameters' gradients.

        What decides about rows of one device then decides about those of all.
        """
        sharing = self._sharing()
        return lax.pmin(flag.astype(jnp.int32), sharing) == 1 if sharing else flag

    def largest(self, value: Float[Array, ""]) -> Float[Array, ""]:
        """Returns the largest value among the devices that share parameters' gradients."""
        sharing = self._sharing()
        return lax.pmax(value, sharing) if sharing else value

    def comes_summed(self, leaf: SelectedLeaf) -> bool:
        """Whether a parameter's gradients come as parts that devices share."""
        return any(cut.is_summed for cut in self._cuts_of(leaf))

    def reduce_scatter(self, gradient: PyTree, dtype: Any) -> PyTree:
        """Sums gradients over the names that cut them, in `dtype`; each device keeps its part.

        Sums over the other names, if there are any, wait for `finish_parts`.
        """
        leaves, structure = jax.tree.flatten(gradient)
        parts = [_scatter(leaf.astype(dtype), cuts) for leaf, cuts in self._paired(leaves)]
        return jax.tree.unflatten(structure, parts)

    def reduce_scatter_selected(
        self, selected: dict[str, Array], selection: Sequence[SelectedLeaf], dtype: Any
    ) -> dict[str, Array]:
        """Does the same for leaves, or layers of stacked leaves, that `take_selected` took."""
        return {
            leaf.path: _scatter(selected[leaf.path].astype(dtype), self._cuts_of(leaf))
            for leaf in selection
        }

    def finish_parts(self, parts: PyTree) -> PyTree:
        """Sums (weighted) parts over the names that `reduce_scatter` left out, in float32."""
        leaves, structure = jax.tree.flatten(parts)
        sums = [self._finish(leaf, cuts) for leaf, cuts in self._paired(leaves)]
        return jax.tree.unflatten(structure, sums)

    def gather_parts(self, parts: PyTree) -> PyTree:
        """Returns what `finish_parts` gave, made whole."""
        leaves, structure = jax.tree.flatten(parts)
        whole = [_gather(leaf, cuts) for leaf, cuts in self._paired(leaves)]
        return jax.tree.unflatten(structure, whole)

    def gather_selected(
        self, parts: dict[str, Array], selection: Sequence[SelectedLeaf]
    ) -> dict[str, Array]:
        """Returns what `reduce_scatter_selected` gave, summed over all devices and made whole."""
        return {
            leaf.path: _gather(self._finish(parts[leaf.path], cuts), cuts)
            for leaf, cuts in ((leaf, self._cuts_of(leaf)) for leaf in selection)
        }

    def squared_norm(
        self, parts: dict[str, Array], selection: Sequence[SelectedLeaf]
    ) -> Float[Array, ""]:
        """Returns the float32 squared norm of reduce-scattered leaves: parts, summed at last."""
        squares: dict[tuple[str, ...], Array] = {}
        for leaf in selection:
            cuts = self._cuts_of(leaf)
            part = self._finish(parts[leaf.path], cuts).astype(jnp.float32)
            names = tuple(cut.name for cut in cuts)
            squares[names] = squares.get(names, jnp.zeros(())) + jnp.sum(jnp.square(part))
        sums = (lax.psum(value, names) if names else value for names, value in squares.items())
        return sum(sums, start=jnp.zeros(()))

    def _sharing(self) -> tuple[str, ...]:
        """Returns the names over which some parameter's gradients come summed."""
        found = {cut.name for cuts in self.cuts for cut in cuts if cut.is_summed}
        return tuple(name for name in self.names if name in found)

    def _paired(self, leaves: Sequence[Array]) -> Iterator[tuple[Array, Cuts]]:
        return zip(leaves, self.cuts or itertools.repeat((), len(leaves)), strict=True)

    def _cuts_of(self, leaf: SelectedLeaf) -> Cuts:
        """Returns how a selected leaf is cut, once its layer is taken out of a stack."""
        cuts = self.cuts[leaf.leaf_index] if self.cuts else ()
        if leaf.stack_index is None:
            return cuts
        return tuple(cut._replace(axis=cut.axis - (cut.axis > STACK_AXIS)) for cut in cuts)

    def _finish(self, part: Array, cuts: Cuts) -> Array:
        """Sums a part over the names that do not cut it, in float32."""
        cutting = {cut.name for cut in cuts}
        others = tuple(name for name in self.names if name not in cutting)
        return lax.psum(part.astype(jnp.float32), others) if others else part


def _scatter(leaf: Array, cuts: Cuts) -> Array:
    """Sums over the cutting names one after the other; keeps this device's part."""
    for cut in cuts:
        if cut.is_summed:
            continue
        last = leaf.ndim - 1
        padded = leaf if cut.axis == last else _pad_lanes(leaf)
        part = lax.psum_scatter(padded, cut.name, scatter_dimension=cut.axis, tiled=True)
        leaf = (
            lax.slice_in_dim(part, 0, leaf.shape[last], axis=last) if padded is not leaf else part
        )
    return leaf


def _gather(part: Array, cuts: Cuts) -> Array:
    """Inverse of `_scatter`, for sums."""
    for cut in reversed(cuts):
        part = lax.all_gather(part, cut.name, axis=cut.axis, tiled=True, to="invarying")
    return part


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
