"""The device mesh and how arrays lie on it; the only module that names mesh axes.

Rows are cut over "replica" and "data" by this package itself (`map_over_rows`): gradients are local
sums until they are reduced on purpose. "fsdp" and "tensor" are left to the compiler, which follows
the parameters' shardings and the hints that layers give (`constrain`). A gradient, and the
optimizer's state like it, is cut over "data" as well, so that every device updates its own part.
"""

import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from presence_t5x.config_types import PartitioningConfig, T5Config
from presence_t5x.influence import STACK_AXIS
from presence_t5x.reduction import TILE_ROWS, RowDevices, scatter_axis

_MOST_PARTS = 16  # of a gradient
REPLICA_AXIS, DATA_AXIS, FSDP_AXIS, TENSOR_AXIS = "replica", "data", "fsdp", "tensor"
# What the array axes of a layer's parameters mean, by the end of their path.
_PARAMETER_AXES = (
    (r"embedding", ("vocab", "embed")),
    (r"(query|key|value)/kernel", ("embed", "heads")),
    (r"out/kernel", ("heads", "embed")),
    (r"wi(_\d+)?/kernel", ("embed", "mlp")),
    (r"wo/kernel", ("mlp", "embed")),
    (r"logits_dense/kernel", ("embed", "vocab")),
    (r"rel_embedding", ("heads", None)),
)
_MESH_AXES = {"embed": FSDP_AXIS, "heads": TENSOR_AXIS, "mlp": TENSOR_AXIS, "vocab": TENSOR_AXIS}


def data_mesh(devices: Any = None) -> Mesh:
    """Returns a mesh of all (or the given) devices along the data axis."""
    devices = np.asarray(jax.devices() if devices is None else devices)
    return Mesh(devices.reshape(-1), (DATA_AXIS,))


def make_mesh(config: PartitioningConfig, model: T5Config, devices: Any = None) -> Mesh:
    """Returns a mesh of all (or the given) devices with the axes replica, data, fsdp and tensor.

    The devices that hold rows share a gradient in groups ("data") whose parts of the model's width
    are whole rows of TPU tiles; the remaining factor ("replica") adds up parts, which moves little.
    (libtpu turned reduce-scatters over 64 and 128 devices into all-reduces; those over 16 survive.)

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
        ("num_tensor_partitions", tensor, name, getattr(model, name) or tensor)
        for name in ("num_heads", "mlp_dim", "vocab_size")
    ]
    for setting, parts, name, size in divided:
        if size % parts:
            raise ValueError(
                f"{setting}={parts} must divide {name}={size}; use a divisor of "
                f"{math.gcd(size, devices.size)}"
            )
    rows = devices.size // (fsdp * tensor)
    data = math.gcd(rows, max(1, model.emb_dim // TILE_ROWS), _MOST_PARTS)
    shape = (rows // data, data, fsdp, tensor)
    return Mesh(devices.reshape(shape), (REPLICA_AXIS, DATA_AXIS, FSDP_AXIS, TENSOR_AXIS))


def row_axes(mesh: Mesh) -> tuple[str, ...]:
    """Returns the mesh axes over which this package cuts rows itself.

    Raises:
      ValueError: the mesh has no data axis.
    """
    if DATA_AXIS not in mesh.shape:
        raise ValueError(
            f"mesh has the axes {tuple(mesh.axis_names)}; one must be named {DATA_AXIS!r}"
        )
    return tuple(name for name in (REPLICA_AXIS, DATA_AXIS) if name in mesh.shape)


def num_row_parts(mesh: Mesh) -> int:
    """Returns how many parts a batch is cut into, fsdp included."""
    return math.prod(mesh.shape.get(name, 1) for name in (*row_axes(mesh), FSDP_AXIS))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays [rows, ...]: rows over replica, data and fsdp."""
    fsdp = (FSDP_AXIS,) if FSDP_AXIS in mesh.shape else ()
    return NamedSharding(mesh, PartitionSpec((*row_axes(mesh), *fsdp)))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def parameter_shardings(params: PyTree, mesh: Mesh) -> PyTree:
    """Returns the parameters' shardings: cut over fsdp and tensor, alike on all row devices."""
    return _map_specs(params, mesh, _parameter_spec)


def gradient_shardings(params: PyTree, mesh: Mesh) -> PyTree:
    """Returns the gradients' shardings: the parameters', with one axis cut over data as well."""
    return _map_specs(params, mesh, _gradient_spec)


def state_shardings(state: PyTree, params: PyTree, mesh: Mesh) -> PyTree:
    """Returns shardings of an optimizer's state: what looks like a parameter lies as its gradient.

    That is a leaf whose path ends in a parameter's path and that has its shape; the rest (counts,
    factored moments) is small and whole everywhere.
    """
    paths, _ = jax.tree_util.tree_flatten_with_path(params)
    known = {tuple(path): leaf for path, leaf in paths}

    def sharding(path, leaf):
        for start in range(len(path)):
            param = known.get(tuple(path[start:]))
            if param is not None and param.shape == leaf.shape:
                return NamedSharding(mesh, _gradient_spec(path[start:], leaf.shape, mesh))
        return replicated(mesh)

    return jax.tree_util.tree_map_with_path(sharding, state)


def row_devices(params: PyTree, mesh: Mesh) -> RowDevices:
    """Returns how gradients of `params` are reduced over a mesh, each device keeping its part."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    axes = tuple(_scatter_axis(path, leaf.shape, mesh) for path, leaf in leaves)
    # XLA refuses sums over axes of one device when all row axes are such.
    names = tuple(name for name in row_axes(mesh) if mesh.shape[name] > 1)
    return RowDevices(names, DATA_AXIS if DATA_AXIS in names else None, axes)


def map_over_rows(fun: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """Maps fun(params, batch, *whole) -> (gradients, whole) over the devices that hold rows.

    Only the batch is cut, and of the gradients each device returns its part. `fun` sees its own
    rows, and gradients that it takes are local sums: nothing is reduced behind its back.
    """
    whole = PartitionSpec()
    axes = row_axes(mesh)
    explicit = any(kind == AxisType.Explicit for kind in mesh.axis_types)

    @functools.wraps(fun)
    def mapped(params, batch, *rest):
        if explicit:  # such a mesh reshards only when asked to
            batch = jax.reshard(batch, batch_sharding(mesh))
            params, rest = jax.reshard((params, rest), replicated(mesh))
        kept = jax.tree_util.tree_map_with_path(
            lambda path, leaf: _manual_spec(_scatter_axis(path, leaf.shape, mesh)), params
        )
        local = jax.shard_map(
            fun,
            mesh=mesh,
            in_specs=(whole, PartitionSpec(axes), *(whole for _ in rest)),
            out_specs=(kept, whole),
            axis_names=set(axes),
            check_vma=False,
        )
        return local(params, batch, *rest)

    return mapped


def constrain(array: jax.Array, axes: Sequence[str | None]) -> jax.Array:
    """Hints how an array of a layer lies on the fsdp and tensor axes, if there are any.

    Args:
      axes: the meaning of each array axis: "rows", "heads", "mlp", "vocab", or None. "embed" is
        whole: a parameter cut over fsdp is gathered where it is used.
    """
    sizes = _compiler_axes()
    names = [
        {"rows": FSDP_AXIS, "embed": None}.get(axis or "", _MESH_AXES.get(axis or ""))
        for axis in axes
    ]
    names = [name if sizes.get(name or "", 1) > 1 else None for name in names]
    if not any(size > 1 for size in sizes.values()):
        return array
    return jax.lax.with_sharding_constraint(array, PartitionSpec(*names))


def map_over_vocabulary(fun: Callable[..., Any], table: jax.Array, *whole: Any, cut: bool) -> Any:
    """Returns fun(rows of a token table, number of the first, *whole) over the cut vocabulary.

    Args:
      fun: sees a device's rows of the table, or all of them where the vocabulary is not cut.
      cut: results are such rows as well; otherwise they are parts of a sum over the devices.
    """
    if _compiler_axes().get(TENSOR_AXIS, 1) == 1:
        return fun(table, 0, *whole)

    def part(rows, *whole):
        result = fun(rows, jax.lax.axis_index(TENSOR_AXIS) * rows.shape[0], *whole)
        return result if cut else jax.lax.psum(result, TENSOR_AXIS)

    return jax.shard_map(
        part,
        in_specs=(PartitionSpec(TENSOR_AXIS), *(PartitionSpec() for _ in whole)),
        out_specs=PartitionSpec(TENSOR_AXIS) if cut else PartitionSpec(),
        axis_names={TENSOR_AXIS},
        check_vma=False,
    )(table, *whole)


def _compiler_axes() -> dict[str, int]:
    """Returns the sizes of the axes of the mesh in force that are left to the compiler."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return {}
    return {
        name: mesh.shape[name]
        for name, kind in zip(mesh.axis_names, mesh.axis_types)
        if kind == AxisType.Auto and name in (FSDP_AXIS, TENSOR_AXIS)
    }


def _map_specs(params: PyTree, mesh: Mesh, spec_fn: Callable[..., PartitionSpec]) -> PyTree:
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, spec_fn(path, leaf.shape, mesh)), params
    )


def _parameter_spec(path: Sequence[Any], shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Returns the mesh axis of every array axis of a parameter, leaving out axes of one device."""
    name = "/".join(str(getattr(key, "key", key)) for key in path)
    for pattern, axes in _PARAMETER_AXES:
        if re.search(rf"(^|/){pattern}$", name):
            if len(shape) == len(axes) + 1:  # a stack of layers
                axes = (*axes[:STACK_AXIS], None, *axes[STACK_AXIS:])
            names = (_MESH_AXES.get(axis or "") for axis in axes)
            return PartitionSpec(*(n if n and mesh.shape.get(n, 1) > 1 else None for n in names))
    return PartitionSpec()


def _scatter_axis(path: Sequence[Any], shape: tuple[int, ...], mesh: Mesh) -> int | None:
    """Returns the array axis of a gradient that is cut over data: one that is free."""
    taken = [axis for axis, name in enumerate(_parameter_spec(path, shape, mesh)) if name]
    return scatter_axis(shape, mesh.shape[DATA_AXIS], taken)


def _gradient_spec(path: Sequence[Any], shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    axis = _scatter_axis(path, shape, mesh)
    spec = list(_parameter_spec(path, shape, mesh))
    spec += [None] * (len(shape) - len(spec))
    if axis is not None:
        spec[axis] = DATA_AXIS
    return PartitionSpec(*spec)


def _manual_spec(axis: int | None) -> PartitionSpec:
    return PartitionSpec() if axis is None else PartitionSpec(*([None] * axis), DATA_AXIS)
