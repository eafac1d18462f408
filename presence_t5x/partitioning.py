"""The device mesh and what its axes mean; the only module that names mesh axes.

Rows are cut over "replica", "outer" and "data" by this package itself
(`layouts.Layout.map_over_rows`): gradients are local sums until they are reduced on purpose. "fsdp"
and "tensor" are left to the compiler, which follows the parameters' shardings and the hints that
layers give (`constrain`). A vocabulary may be cut over "tensor" by the compiler or over "data" by
this package. T5X's meshes, with the axes "data" and "model", serve as well: "model" is what
"tensor" is here.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree, Shaped

from presence_t5x.config_types import ModelConfig, PartitioningConfig
from presence_t5x.reduction import TILE_ROWS

_MOST_PARTS = 16  # of a gradient, over one axis
REPLICA_AXIS, OUTER_AXIS, DATA_AXIS = "replica", "outer", "data"
FSDP_AXIS, TENSOR_AXIS = "fsdp", "tensor"
_ROW_AXES = (REPLICA_AXIS, OUTER_AXIS, DATA_AXIS)
T5X_TENSOR_AXIS = "model"
# Over which axis the compiler cuts what an array axis of a parameter or activation means.
_MESH_AXES = {
    "embed": FSDP_AXIS,
    "heads": TENSOR_AXIS,
    "joined_kv": TENSOR_AXIS,
    "mlp": TENSOR_AXIS,
    "vocab": TENSOR_AXIS,
}


def data_mesh(devices: Any = None) -> Mesh:
    """Returns a mesh of all (or the given) devices along the data axis."""
    devices = np.asarray(jax.devices() if devices is None else devices)
    return Mesh(devices.reshape(-1), (DATA_AXIS,))


def make_mesh(config: PartitioningConfig, model: ModelConfig, devices: Any = None) -> Mesh:
    """Returns a mesh of all (or the given) devices, of all axes that this module names.

    The devices that hold rows share a gradient in groups ("data") whose parts of the model's width
    are whole rows of TPU tiles; groups of groups ("outer") cut these parts once more, and what is
    left ("replica") holds the same parts. (libtpu turned reduce-scatters over 64 and 128 devices
    into all-reduces; those over 16 survive.)

    Raises:
      ValueError: the partitions do not divide the devices, or the model's sizes.
    """
    devices = np.asarray(jax.devices() if devices is None else devices).reshape(-1)
    fsdp, tensor = config.num_fsdp_partitions, config.num_tensor_partitions
    if devices.size % (fsdp * tensor):
        raise ValueError(
            f"num_fsdp_partitions={fsdp} x num_tensor_partitions={tensor} must divide the "
            f"{devices.size} devices"
        )
    divided = [("num_fsdp_partitions", fsdp, "emb_dim", model.emb_dim)]
    divided += [
        ("num_tensor_partitions", tensor, name, size or tensor)
        for name, size in model.tensor_sizes.items()
    ]
    for setting, parts, name, size in divided:
        if size % parts:
            raise ValueError(
                f"{setting}={parts} must divide {name}={size}; use a divisor of "
                f"{math.gcd(size, devices.size)}"
            )
    rows = devices.size // (fsdp * tensor)
    shape = (*_row_groups(rows, max(1, model.emb_dim // TILE_ROWS)), fsdp, tensor)
    return Mesh(devices.reshape(shape), (*_ROW_AXES, FSDP_AXIS, TENSOR_AXIS))


def with_row_groups(mesh: Mesh) -> Mesh:
    """Returns a mesh of T5X's with its row devices in groups, as `make_mesh` groups them.

    The devices keep their order, so that arrays laid out on one mesh are on the other.

    Raises:
      ValueError: the mesh has no data axis.
    """
    rows = num_unit_parts(mesh)
    others = {name: size for name, size in mesh.shape.items() if name not in _ROW_AXES}
    if tuple(mesh.shape)[: len(row_axes(mesh))] != row_axes(mesh) or rows <= _MOST_PARTS:
        return mesh
    devices = mesh.devices.reshape(*_row_groups(rows, rows), *others.values())
    return Mesh(devices, (*_ROW_AXES, *others))


def _row_groups(rows: int, most_data: int) -> tuple[int, int, int]:
    """Returns how many devices that hold rows lie along replica, outer and data."""
    data = math.gcd(rows, most_data, _MOST_PARTS)
    outer = math.gcd(rows // data, _MOST_PARTS)
    return rows // (data * outer), outer, data


def row_axes(mesh: Mesh) -> tuple[str, ...]:
    """Returns the mesh axes over which this package cuts rows itself.

    Raises:
      ValueError: the mesh has no data axis.
    """
    if DATA_AXIS not in mesh.shape:
        raise ValueError(
            f"mesh has the axes {tuple(mesh.axis_names)}; one must be named {DATA_AXIS!r}"
        )
    return tuple(name for name in _ROW_AXES if name in mesh.shape)


def num_unit_parts(mesh: Mesh | None) -> int:
    """Returns over how many devices, or groups of them, this package cuts rows itself."""
    return 1 if mesh is None else math.prod(mesh.shape[name] for name in row_axes(mesh))


def num_row_parts(mesh: Mesh | None) -> int:
    """Returns how many parts a batch is cut into, fsdp included."""
    return 1 if mesh is None else num_unit_parts(mesh) * mesh.shape.get(FSDP_AXIS, 1)


def bytes_per_device(tree: PyTree) -> int:
    """Returns what arrays of these shapes and shardings take on one device."""

    def size(leaf: jax.ShapeDtypeStruct) -> int:
        shape = leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape)
        return math.prod(shape) * leaf.dtype.itemsize

    return sum(map(size, jax.tree.leaves(tree)))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays [rows, ...]: rows over replica, outer, data and fsdp."""
    fsdp = (FSDP_AXIS,) if FSDP_AXIS in mesh.shape else ()
    return NamedSharding(mesh, PartitionSpec((*row_axes(mesh), *fsdp)))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def mesh_axis(meaning: str | None, sizes: Mapping[str, int]) -> str | None:
    """Returns the mesh axis that cuts array axes of a meaning; None if it has one device or none.

    Args:
      meaning: "embed", "heads", "mlp", "vocab" ...; others are never cut.
      sizes: of a mesh's axes, by name.
    """
    name = _MESH_AXES.get(meaning or "", "")
    if name == TENSOR_AXIS and T5X_TENSOR_AXIS in sizes:
        name = T5X_TENSOR_AXIS
    return name if sizes.get(name, 1) > 1 else None


def constrain(array: jax.Array, axes: Sequence[str | None]) -> jax.Array:
    """Hints how an array of a layer lies on the fsdp and tensor axes, if there are any.

    Args:
      axes: the meaning of each array axis: "rows", "heads", "mlp", "vocab", or None. "embed" is
        whole: a parameter cut over fsdp is gathered where it is used. So is an axis whose size the
        devices do not divide (a head of three classes).
    """
    sizes = _compiler_axes()
    meanings = {"rows": "embed", "embed": None}
    names = [mesh_axis(meanings.get(axis or "", axis), sizes) for axis in axes]
    if not any(size > 1 for size in sizes.values()):
        return array
    names = [
        name if name and size % sizes[name] == 0 else None for name, size in zip(names, array.shape)
    ]
    return jax.lax.with_sharding_constraint(array, PartitionSpec(*names))


def map_over_vocabulary(fun: Callable[..., Any], table: jax.Array, *whole: Any, cut: bool) -> Any:
    """Returns fun(rows of a token table, number of the first, *whole) over the cut vocabulary.

    Args:
      fun: sees a device's rows of the table, or all of them where the vocabulary is not cut.
      cut: results are such rows as well; otherwise they are parts of a sum over the devices.
    """
    tensor = mesh_axis("vocab", _compiler_axes())
    if tensor is None:
        return fun(table, 0, *whole)

    def part(rows, *whole):
        result = fun(rows, jax.lax.axis_index(tensor) * rows.shape[0], *whole)
        return result if cut else jax.lax.psum(result, tensor)

    return jax.shard_map(
        part,
        in_specs=(PartitionSpec(tensor), *(PartitionSpec() for _ in whole)),
        out_specs=PartitionSpec(tensor) if cut else PartitionSpec(),
        axis_names={tensor},
        check_vma=False,
    )(table, *whole)


@dataclasses.dataclass(frozen=True)
class VocabularyParts:
    """The devices along "data" that hold one part each of a token table; or one device with all.

    Such devices work on the rows of all of them, each for its own part of the vocabulary: they
    gather rows, and give every row's result back to the device that it came from. All of them must
    take part in every call.
    """

    is_cut: bool

    @classmethod
    def of(cls, part_size: int, vocab_size: int) -> "VocabularyParts":
        """Returns who has the rest of a table of which `part_size` of `vocab_size` are here.

        Raises:
          ValueError: (while tracing) the table is neither whole nor such a part.
        """
        if part_size == vocab_size:
            return cls(False)
        manual = jax.sharding.get_abstract_mesh().manual_axes
        num_parts = lax.axis_size(DATA_AXIS) if DATA_AXIS in manual else 1
        if part_size * num_parts != vocab_size:
            raise ValueError(
                f"a token table of {part_size} rows belongs to another vocabulary than "
                f"vocab_size={vocab_size}; set vocab_size to that of the parameters"
            )
        return cls(True)

    def first(self, part_size: int) -> Any:
        """Returns the first token of this device's part."""
        return lax.axis_index(DATA_AXIS) * part_size if self.is_cut else 0

    def gather_rows(self, tree: PyTree[Shaped[Array, "rows ..."]]) -> PyTree:
        """Returns the rows of all devices, in their order."""
        return lax.all_gather(tree, DATA_AXIS, tiled=True) if self.is_cut else tree

    def own_rows(self, tree: PyTree[Shaped[Array, "all_rows ..."]]) -> PyTree:
        """Returns this device's rows of results that all devices have alike."""

        def take(leaf):
            size = leaf.shape[0] // lax.axis_size(DATA_AXIS)
            return lax.dynamic_slice_in_dim(leaf, lax.axis_index(DATA_AXIS) * size, size)

        return jax.tree.map(take, tree) if self.is_cut else tree

    def sum_own_rows(self, parts: Shaped[Array, "all_rows ..."]) -> Shaped[Array, "rows ..."]:
        """Returns this device's rows of results of which every device has a term."""
        return lax.psum_scatter(parts, DATA_AXIS, tiled=True) if self.is_cut else parts

    def sum(self, value: Array) -> Array:
        """Sums over the parts."""
        return lax.psum(value, DATA_AXIS) if self.is_cut else value

    def max(self, value: Array) -> Array:
        """Returns the largest of the parts' values."""
        return lax.pmax(value, DATA_AXIS) if self.is_cut else value


def _compiler_axes() -> dict[str, int]:
    """Returns the sizes of the axes of the mesh in force that are left to the compiler."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return {}
    return {
        name: mesh.shape[name]
        for name, kind in zip(mesh.axis_names, mesh.axis_types)
        if kind == AxisType.Auto and name in (FSDP_AXIS, TENSOR_AXIS, T5X_TENSOR_AXIS)
    }
