"""Which device keeps which part of which parameter: shardings of a state, and the map over rows.

`partitioning` says what the mesh axes are; here they meet a model's parameters. Every device keeps
a part of each parameter, of its gradient and of the optimizer's state, and updates that part. For a
step the parts are gathered over "data", but for the tables that a vocabulary indexes: they are most
of mT5, and a loss function that knows how (`cut_vocabulary`) works with them cut, exchanging its
tokens' vectors instead of the tables and their gradients.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from presence_t5x.influence import STACK_AXIS
from presence_t5x.partitioning import (
    DATA_AXIS,
    FSDP_AXIS,
    MESH_AXES,
    TENSOR_AXIS,
    batch_sharding,
    replicated,
    row_axes,
)
from presence_t5x.reduction import RowDevices, scatter_axis

_VOCABULARY = "vocab"
# What the array axes of a layer's parameters mean, by the end of their path.
_PARAMETER_AXES = (
    (r"embedding", (_VOCABULARY, "embed")),
    (r"(query|key|value)/kernel", ("embed", "heads")),
    (r"out/kernel", ("heads", "embed")),
    (r"wi(_\d+)?/kernel", ("embed", "mlp")),
    (r"wo/kernel", ("mlp", "embed")),
    (r"logits_dense/kernel", ("embed", _VOCABULARY)),
    (r"rel_embedding", ("heads", None)),
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the parts of parameters, gradients and batches lie on a mesh.

    Attributes:
      cut_vocabulary: a loss function is given its device's part of every token table, and returns
        that part's gradient summed over "data" (where the vocabulary divides and no "tensor" axis
        cuts it already).
    """

    mesh: Mesh
    cut_vocabulary: bool = False

    @classmethod
    def of(cls, loss_fun: Callable[..., Any], mesh: Mesh) -> "Layout":
        """Returns the layout that a loss function works with."""
        return cls(mesh, getattr(loss_fun, "cut_vocabulary", False))

    def loss_shardings(self, params: PyTree) -> PyTree:
        """Returns the shardings that a loss needs: whole over data, or a part of a token table."""
        return self._map_specs(params, self._loss_spec)

    def whole_shardings(self, params: PyTree) -> PyTree:
        """Returns shardings that are alike on all row devices: cut over fsdp and tensor alone."""
        return self._map_specs(params, self._parameter_spec)

    def part_shardings(self, params: PyTree) -> PyTree:
        """Returns the shardings of kept parts: one axis is cut over data as well."""
        return self._map_specs(params, self._part_spec)

    def state_shardings(self, state: PyTree, params: PyTree) -> PyTree:
        """Returns shardings of an optimizer's state: what looks like a parameter is cut like it.

        That is a leaf whose path ends in a parameter's path and that has its shape; the rest
        (counts, factored moments) is small and whole everywhere.
        """
        paths, _ = jax.tree_util.tree_flatten_with_path(params)
        known = {tuple(path): leaf for path, leaf in paths}

        def sharding(path, leaf):
            for start in range(len(path)):
                param = known.get(tuple(path[start:]))
                if param is not None and param.shape == leaf.shape:
                    return NamedSharding(self.mesh, self._part_spec(path[start:], leaf.shape))
            return replicated(self.mesh)

        return jax.tree_util.tree_map_with_path(sharding, state)

    def row_devices(self, params: PyTree) -> RowDevices:
        """Returns how gradients of `params` are reduced, each device keeping its part."""
        leaves, _ = jax.tree_util.tree_flatten_with_path(params)
        axes = tuple(self._scatter_axis(path, leaf.shape) for path, leaf in leaves)
        cut = tuple(self._cut_axis(path, leaf.shape) is not None for path, leaf in leaves)
        # XLA refuses sums over axes of one device when all row axes are such.
        names = tuple(name for name in row_axes(self.mesh) if self.mesh.shape[name] > 1)
        return RowDevices(names, DATA_AXIS if DATA_AXIS in names else None, axes, cut)

    def map_over_rows(self, fun: Callable[..., Any]) -> Callable[..., Any]:
        """Maps fun(params, batch, *whole) -> (gradients, whole) over the devices that hold rows.

        Only the batch is cut (and token tables), and of the gradients each device returns its part.
        `fun` sees its own rows, and gradients that it takes are local sums: nothing is reduced
        behind its back.
        """
        whole = PartitionSpec()
        axes = row_axes(self.mesh)
        explicit = any(kind == AxisType.Explicit for kind in self.mesh.axis_types)

        @functools.wraps(fun)
        def mapped(params, batch, *rest):
            if explicit:  # such a mesh reshards only when asked to
                batch = jax.reshard(batch, batch_sharding(self.mesh))
                params = jax.reshard(params, self.loss_shardings(params))
                rest = jax.reshard(rest, replicated(self.mesh))

            def manual_specs(axis_fn):
                return jax.tree_util.tree_map_with_path(
                    lambda path, leaf: _manual_spec(axis_fn(path, leaf.shape)), params
                )

            local = jax.shard_map(
                fun,
                mesh=self.mesh,
                in_specs=(
                    manual_specs(self._cut_axis),
                    PartitionSpec(axes),
                    *(whole for _ in rest),
                ),
                out_specs=(manual_specs(self._scatter_axis), whole),
                axis_names=set(axes),
                check_vma=False,
            )
            return local(params, batch, *rest)

        return mapped

    def _map_specs(self, params: PyTree, spec_fn: Callable[..., PartitionSpec]) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: NamedSharding(self.mesh, spec_fn(path, leaf.shape)), params
        )

    def _parameter_spec(self, path: Sequence[Any], shape: tuple[int, ...]) -> PartitionSpec:
        """Returns the mesh axis (fsdp, tensor) of every array axis of a parameter."""
        names = (MESH_AXES.get(meaning or "") for meaning in _meanings(path, shape))
        sizes = self.mesh.shape
        return PartitionSpec(*(n if n and sizes.get(n, 1) > 1 else None for n in names))

    def _cut_axis(self, path: Sequence[Any], shape: tuple[int, ...]) -> int | None:
        """Returns the array axis of a token table that stays cut over data; None of all others."""
        meanings = _meanings(path, shape)
        if not self.cut_vocabulary or _VOCABULARY not in meanings:
            return None
        axis = meanings.index(_VOCABULARY)
        parts = self.mesh.shape[DATA_AXIS]
        free = self.mesh.shape.get(TENSOR_AXIS, 1) == 1
        return axis if free and parts > 1 and shape[axis] % parts == 0 else None

    def _scatter_axis(self, path: Sequence[Any], shape: tuple[int, ...]) -> int | None:
        """Returns the array axis of a gradient that is cut over data: one that is free."""
        cut = self._cut_axis(path, shape)
        if cut is not None:
            return cut
        taken = [axis for axis, name in enumerate(self._parameter_spec(path, shape)) if name]
        return scatter_axis(shape, self.mesh.shape[DATA_AXIS], taken)

    def _loss_spec(self, path: Sequence[Any], shape: tuple[int, ...]) -> PartitionSpec:
        return self._with_data_axis(path, shape, self._cut_axis(path, shape))

    def _part_spec(self, path: Sequence[Any], shape: tuple[int, ...]) -> PartitionSpec:
        return self._with_data_axis(path, shape, self._scatter_axis(path, shape))

    def _with_data_axis(self, path, shape, axis: int | None) -> PartitionSpec:
        spec = list(self._parameter_spec(path, shape))
        spec += [None] * (len(shape) - len(spec))
        if axis is not None:
            spec[axis] = DATA_AXIS
        return PartitionSpec(*spec)


def _meanings(path: Sequence[Any], shape: tuple[int, ...]) -> tuple[str | None, ...]:
    """Returns what a parameter's array axes mean, () where it is not known."""
    name = "/".join(str(getattr(key, "key", key)) for key in path)
    for pattern, axes in _PARAMETER_AXES:
        if re.search(rf"(^|/){pattern}$", name):
            is_stack = len(shape) == len(axes) + 1
            return (*axes[:STACK_AXIS], None, *axes[STACK_AXIS:]) if is_stack else axes
    return ()


def _manual_spec(axis: int | None) -> PartitionSpec:
    return PartitionSpec() if axis is None else PartitionSpec(*([None] * axis), DATA_AXIS)
