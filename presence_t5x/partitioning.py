"""The device mesh and how arrays lie on it; the only module that names mesh axes.

Rows are sharded over the axis "data"; parameters are whole on every device.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"


def data_mesh(devices: Any = None) -> Mesh:
    """Returns a mesh of all (or the given) devices along the data axis."""
    devices = np.asarray(jax.devices() if devices is None else devices)
    return Mesh(devices.reshape(-1), (DATA_AXIS,))


def data_axis_size(mesh: Mesh) -> int:
    """Returns how many parts a batch is cut into.

    Raises:
      ValueError: the mesh has no data axis.
    """
    if DATA_AXIS not in mesh.shape:
        raise ValueError(
            f"mesh has the axes {tuple(mesh.axis_names)}; one must be named {DATA_AXIS!r}"
        )
    return mesh.shape[DATA_AXIS]


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays [rows, ...]: rows over the data axis."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def map_over_data_axis(fun: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """Maps fun(params, batch, *replicated) over the data axis; its results are whole everywhere.

    Only the batch is cut. Other mesh axes stay with the compiler. `fun` sees its own rows, and
    gradients that it takes are local sums: nothing is reduced behind its back.
    """
    spec = PartitionSpec()
    explicit = any(kind == AxisType.Explicit for kind in mesh.axis_types)

    @functools.wraps(fun)
    def mapped(params, batch, *rest):
        if explicit:  # such a mesh reshards only when asked to
            batch = jax.reshard(batch, batch_sharding(mesh))
            params, rest = jax.reshard((params, rest), replicated(mesh))
        local = jax.shard_map(
            fun,
            mesh=mesh,
            in_specs=(spec, PartitionSpec(DATA_AXIS), *(spec for _ in rest)),
            out_specs=spec,
            axis_names={DATA_AXIS},
            check_vma=False,
        )
        return local(params, batch, *rest)

    return mapped
