"""Which device keeps which part of which parameter: shardings of a state, and the map over rows.

`partitioning` says what the mesh axes are; here they meet a model's parameters. Every device keeps
a part of each parameter, of its gradient and of the optimizer's state, and updates that part. For a
step the parts are gathered, but for the tables that a vocabulary indexes: they are most
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

from presence_t5x.config_types import PresenceConfig
from presence_t5x.partitioning import (
    DATA_AXIS,
    OUTER_AXIS,
    batch_sharding,
    mesh_axis,
    num_row_parts,
    replicated,
    row_axes,
)
from presence_t5x.reduction import Cut, Cuts, RowDevices, scatter_axis
from presence_t5x.scored_layers import STACK_AXIS, select_layers

_VOCABULARY, _LAYERS = "vocab", "layers"
_SCALE = ("embed",)  # too small to be cut
# What the array axes of a layer's parameters mean, in T5X's words, by the end of their path.
_PARAMETER_AXES = (
    (r"position_embedder/embedding", ("abspos_buckets", "embed")),
    (r"embedding", (_VOCABULARY, "embed")),
    (r"(query|key|value)/kernel", ("embed", "joined_kv")),
    (r"out/kernel", ("joined_kv", "embed")),
    (r"wi(_\d+)?/kernel", ("embed", "mlp")),
    (r"wo/kernel", ("mlp", "embed")),
    (r"logits_dense/kernel", ("embed", _VOCABULARY)),
    (r"rel_embedding", ("heads", "relpos_buckets")),
    (r"lm_head/dense/kernel", ("embed", "head_features")),
    (r"lm_head/bias", (_VOCABULARY,)),
    (r"(scale|bias)", _SCALE),
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
        return self._map_specs(params, self._whole_spec)

    def part_shardings(self, params: PyTree) -> PyTree:
        """Returns the shardings of kept parts, cut over data and outer as well."""
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
        cuts = tuple(self._part_cuts(path, leaf.shape) for path, leaf in leaves)
        # XLA refuses sums over axes of one device when all row axes are such.
        names = tuple(name for name in row_axes(self.mesh) if self.mesh.shape[name] > 1)
        return RowDevices(names, cuts)

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

            def manual_specs(cuts_fn):
                return jax.tree_util.tree_map_with_path(
                    lambda path, leaf: _cut_spec((None,) * leaf.ndim, cuts_fn(path, leaf.shape)),
                    params,
                )

            local = jax.shard_map(
                fun,
                mesh=self.mesh,
                in_specs=(
                    manual_specs(self._loss_cuts),
                    PartitionSpec(axes),
                    *(whole for _ in rest),
                ),
                out_specs=(manual_specs(self._part_cuts), whole),
                axis_names=set(axes),
                check_vma=False,
            )
            return local(params, batch, *rest)

        return mapped

    def map_rows(self, fun: Callable[..., Any], params: PyTree, rows: PyTree) -> PyTree:
        """Returns fun(params, rows), every device that holds rows working on its own.

        Their loops may end at different times; on the axes left to the compiler they end together.

        Args:
          rows: arrays [rows, ...]; so are the results.

        Raises:
          ValueError: the devices do not divide the rows.
        """
        num_rows, parts = len(jax.tree.leaves(rows)[0]), num_row_parts(self.mesh)
        if num_rows % parts:
            raise ValueError(
                f"{num_rows} rows must be a multiple of the {parts} devices that hold rows; add "
                "rows of padding (0) and drop their results"
            )
        axes = row_axes(self.mesh)
        mapped = jax.shard_map(
            fun,
            mesh=self.mesh,
            in_specs=(PartitionSpec(), PartitionSpec(axes)),
            out_specs=PartitionSpec(axes),
            axis_names=set(axes),
            check_vma=False,
        )
        params = jax.lax.with_sharding_constraint(params, self.whole_shardings(params))
        return mapped(params, jax.lax.with_sharding_constraint(rows, batch_sharding(self.mesh)))

    def _map_specs(self, params: PyTree, spec_fn: Callable[..., PartitionSpec]) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: NamedSharding(self.mesh, spec_fn(path, leaf.shape)), params
        )

    def _compiler_axes(self, path: Sequence[Any], shape: tuple[int, ...]) -> tuple[Any, ...]:
        """Returns the mesh axis (fsdp, tensor), or None, of every array axis of a parameter."""
        meanings = _meanings(path, len(shape))
        if set(meanings) <= {*_SCALE, _LAYERS}:
            return ()
        return tuple(mesh_axis(meaning, self.mesh.shape) for meaning in meanings)

    def _loss_cuts(self, path: Sequence[Any], shape: tuple[int, ...]) -> Cuts:
        """Returns how a token table stays cut while losses are computed; () for all others."""
        meanings = _meanings(path, len(shape))
        is_free = mesh_axis(_VOCABULARY, self.mesh.shape) is None
        if not self.cut_vocabulary or _VOCABULARY not in meanings or not is_free:
            return ()
        axis, parts = meanings.index(_VOCABULARY), self._size(DATA_AXIS)
        return (Cut(DATA_AXIS, axis, True),) if parts > 1 and shape[axis] % parts == 0 else ()

    def _part_cuts(self, path: Sequence[Any], shape: tuple[int, ...]) -> Cuts:
        """Returns how a device's part of a parameter is cut out, along axes that are free."""
        taken = [axis for axis, name in enumerate(self._compiler_axes(path, shape)) if name]
        cuts = self._loss_cuts(path, shape)
        for name in (DATA_AXIS, OUTER_AXIS):
            if self._size(name) == 1 or name in [cut.name for cut in cuts]:
                continue
            axis = scatter_axis(self._part_shape(shape, cuts), self._size(name), taken)
            cuts += () if axis is None else (Cut(name, axis),)
        return cuts

    def _part_shape(self, shape: tuple[int, ...], cuts: Cuts) -> list[int]:
        sizes = list(shape)
        for cut in cuts:
            sizes[cut.axis] //= self._size(cut.name)
        return sizes

    def _whole_spec(self, path: Sequence[Any], shape: tuple[int, ...]) -> PartitionSpec:
        return _cut_spec(self._compiler_axes(path, shape), ())

    def _loss_spec(self, path: Sequence[Any], shape: tuple[int, ...]) -> PartitionSpec:
        return _cut_spec(self._compiler_axes(path, shape), self._loss_cuts(path, shape))

    def _part_spec(self, path: Sequence[Any], shape: tuple[int, ...]) -> PartitionSpec:
        return _cut_spec(self._compiler_axes(path, shape), self._part_cuts(path, shape))

    def _size(self, name: str) -> int:
        return self.mesh.shape.get(name, 1)


def jit_over_rows(fun: Callable[..., Any], mesh: Mesh | None) -> Callable[..., Any]:
    """Returns fun(params, rows), compiled: the mesh's devices share the rows, if there is one, and
    every process gets all results."""
    if mesh is None:
        return jax.jit(fun)
    over_rows = functools.partial(Layout(mesh).map_rows, fun)
    return jax.jit(over_rows, out_shardings=replicated(mesh))


def _cut_spec(axes: Sequence[str | None], cuts: Cuts) -> PartitionSpec:
    """Returns the mesh axes of every array axis, cut in order: the first of an axis is major."""
    spec: list[tuple[str, ...]] = [(name,) if name else () for name in axes]
    for cut in cuts:
        spec += [()] * (cut.axis + 1 - len(spec))
        spec[cut.axis] += (cut.name,)
    return PartitionSpec(*(names or None for names in spec))


def can_cut_vocabulary(params: PyTree, config: PresenceConfig, mesh: Mesh) -> bool:
    """Whether a weighted step may keep token tables cut: no unit needs its own gradient of them.

    Args:
      params: arrays or shapes.
    """
    if config.granularity == "microbatch":
        return True
    devices = Layout(mesh, cut_vocabulary=True).row_devices(params)
    scored = select_layers(params, config.layers)
    return config.granularity == "example" and not any(map(devices.comes_summed, scored))


def parameter_axes(params: PyTree) -> PyTree:
    """Returns T5X's names of every parameter's array axes, () where a parameter is not known.

    >>> import numpy as np
    >>> parameter_axes({"mlp": {"wo": {"kernel": np.zeros((2, 3))}}})
    {'mlp': {'wo': {'kernel': ('mlp', 'embed')}}}
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: _meanings(path, len(leaf.shape)), params
    )


def _meanings(path: Sequence[Any], rank: int) -> tuple[str, ...]:
    """Returns what a parameter's array axes mean, () where it is not known."""
    name = "/".join(str(getattr(key, "key", key)) for key in path)
    for pattern, axes in _PARAMETER_AXES:
        if re.search(rf"(^|/){pattern}$", name):
            stacked = (*axes[:STACK_AXIS], _LAYERS, *axes[STACK_AXIS:])
            return {len(axes): axes, len(stacked): stacked}.get(rank, ())
    return ()
