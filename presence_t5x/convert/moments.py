"""Adafactor's second moments of every parameter, between the layouts that frameworks keep them in.

The common form says what a moment belongs to, not what it is called: a factored matrix has one
vector along each of its axes. Which of them is `v_row` differs. Unrolled, in T5X as in optax,
`v_row` runs along the smaller axis; in T5X's scanned models the rule goes by meaning: `v_row` runs
along the embedding axis, and every kernel is factored whatever its size. Shazeer and Stern 2018;
T5X's `adafactor.py` behaviour with its standard logical factor rules.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np

from presence_t5x.config_types import OptimizerConfig
from presence_t5x.convert import stacks, tensors
from presence_t5x.convert.tensors import Tensor, Tensors
from presence_t5x.scored_layers import STACK_AXIS

UNUSED_SHAPE = (1,)  # of a moment that a parameter has no use for
_FACTORED_FROM = OptimizerConfig().min_dim_size_to_factor

# "unrolled": every layer by itself. "stacked": this package's scanned models. "t5x_scanned": T5X's
# optimizer on scanned parameters.
Layout = Literal["unrolled", "stacked", "t5x_scanned"]


class Slots(NamedTuple):
    """A parameter's moments as Adafactor's state names them; an unused one has shape (1,)."""

    v_row: Tensor
    v_col: Tensor
    v: Tensor


class Moments(NamedTuple):
    """The second moments of one unrolled parameter: either of the two, not both.

    Attributes:
      along: of a factored matrix, a vector along axis 0 and one along axis 1.
      whole: of an unfactored parameter, of its shape.
    """

    along: tuple[Tensor, Tensor] | None = None
    whole: Tensor | None = None


def read_moments(slots: Mapping[str, Slots], params: Tensors, layout: Layout) -> dict[str, Moments]:
    """Returns the moments of every parameter, unrolled.

    Args:
      slots: by the path of `params`.
      params: in `layout`; their shapes alone are used.

    Raises:
      ValueError: a parameter without moments, or of another shape than its own.
    """
    moments: dict[str, Moments] = {}
    for path, param in params.items():
        if path not in slots:
            raise ValueError(f"{param.origin}: the optimizer has no state for {path!r}")
        stack = stacks.stack_of(path)
        if stack is None:
            moments[path] = _checked(path, param.shape, _by_size(param.shape, slots[path]))
            continue
        name, rest = stack
        for layer in range(param.shape[STACK_AXIS]):
            one = stacks.join_heads(path, tensors.picked(param, layer, STACK_AXIS))
            found = _LAYER_READERS[layout](path, one.shape, slots[path], layer)
            moments[f"{name}/layers_{layer}/{rest}"] = _checked(path, one.shape, found)
    return moments


def write_moments(
    moments: Mapping[str, Moments], params: Tensors, layout: Layout
) -> dict[str, Slots]:
    """Returns the optimizer's state by the path of `params`; inverse of `read_moments`.

    Args:
      params: in `layout`; their shapes alone are used.

    Raises:
      ValueError: a moment is factored where the layout does not factor, or the other way.
    """
    slots: dict[str, Slots] = {}
    for path, param in params.items():
        stack = stacks.stack_of(path)
        if stack is None:
            slots[path] = _to_slots_by_size(path, param.shape, moments[path])
            continue
        name, rest = stack
        num_layers = param.shape[STACK_AXIS]
        layers = [moments[f"{name}/layers_{layer}/{rest}"] for layer in range(num_layers)]
        slots[path] = _STACK_WRITERS[layout](path, param.shape, layers)
    return slots


def factors_by_size(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Returns the axes of a matrix along which `v_row` and `v_col` run; None if it is not factored.

    Both sizes must be at least 128; of equal ones, `v_row` runs along axis 0.

    >>> factors_by_size((512, 384)), factors_by_size((384, 512)), factors_by_size((6, 32))
    ((1, 0), (0, 1), None)
    """
    if len(shape) != 2 or min(shape) < _FACTORED_FROM:
        return None
    return (0, 1) if shape[0] <= shape[1] else (1, 0)


def _by_size(shape: tuple[int, ...], slots: Slots) -> Moments:
    """Reads slots whose axes were chosen by size."""
    if slots.v_row.shape == UNUSED_SHAPE:
        return Moments(whole=slots.v)
    # Whether to factor depends on a setting, along which axes does not.
    rows_first = shape[0] <= shape[1]
    row, column = slots.v_row, slots.v_col
    return Moments(along=(row, column) if rows_first else (column, row))


def _of_stack(_: str, shape: tuple[int, ...], slots: Slots, layer: int) -> Moments:
    """Reads one layer of this package's stacks: vectors are (layers, size)."""

    def one(slot: Tensor, axis: int) -> Tensor:
        is_unused = slot.shape == UNUSED_SHAPE
        return slot if is_unused else tensors.picked(slot, layer, axis)

    return _by_size(
        shape, Slots(one(slots.v_row, 0), one(slots.v_col, 0), one(slots.v, STACK_AXIS))
    )


def _of_t5x_scan(path: str, _: tuple[int, ...], slots: Slots, layer: int) -> Moments:
    """Reads one layer of T5X's scanned state: `v_row` runs along the embedding axis.

    A slot is the parameter's shape without the axes it was averaged over, so that the layers' place
    depends on where the embedding axis is.
    """
    if slots.v_row.shape == UNUSED_SHAPE:
        return Moments(whole=stacks.join_heads(path, tensors.picked(slots.v, layer, STACK_AXIS)))
    embed_axis = _embed_axis(path)
    row = tensors.picked(slots.v_row, layer, 1 - embed_axis)
    column = tensors.picked(slots.v_col, layer, embed_axis)
    column = tensors.reshaped(column, (math.prod(column.shape),))
    return Moments(along=(row, column) if embed_axis == 0 else (column, row))


def _to_slots_by_size(path: str, shape: tuple[int, ...], moments: Moments) -> Slots:
    axes = factors_by_size(shape)
    if (axes is None) != (moments.along is None):
        raise ValueError(_not_alike(path, shape, moments))
    if moments.along is None or axes is None:
        assert moments.whole is not None
        return Slots(_unused(), _unused(), moments.whole)
    return Slots(moments.along[axes[0]], moments.along[axes[1]], _unused())


def _to_stack(path: str, shape: tuple[int, ...], layers: list[Moments]) -> Slots:
    """Writes this package's stacks."""
    layer_shape = shape[:STACK_AXIS] + shape[STACK_AXIS + 1 :]
    slots = [_to_slots_by_size(path, layer_shape, moments) for moments in layers]
    if layers[0].along is None:
        return Slots(_unused(), _unused(), tensors.stacked([s.v for s in slots], STACK_AXIS))
    rows, columns = ([getattr(s, name) for s in slots] for name in ("v_row", "v_col"))
    return Slots(tensors.stacked(rows, 0), tensors.stacked(columns, 0), _unused())


def _to_t5x_scan(path: str, shape: tuple[int, ...], layers: list[Moments]) -> Slots:
    """Writes T5X's scanned state, heads apart where the parameter keeps them apart."""
    is_kernel = path.endswith("/kernel")
    layer_shape = shape[:STACK_AXIS] + shape[STACK_AXIS + 1 :]
    if is_kernel != (layers[0].along is not None):
        raise ValueError(_not_alike(path, layer_shape, layers[0]))
    if not is_kernel:
        whole = [moments.whole for moments in layers if moments.whole is not None]
        return Slots(_unused(), _unused(), tensors.stacked(whole, STACK_AXIS))
    embed_axis = _embed_axis(path)
    column_shape = layer_shape[1:] if embed_axis == 0 else layer_shape[:-1]
    pairs = [moments.along for moments in layers if moments.along is not None]
    rows = [pair[embed_axis] for pair in pairs]
    columns = [tensors.reshaped(pair[1 - embed_axis], column_shape) for pair in pairs]
    return Slots(
        tensors.stacked(rows, 1 - embed_axis), tensors.stacked(columns, embed_axis), _unused()
    )


_LAYER_READERS: dict[str, Callable[..., Moments]] = {
    "stacked": _of_stack,
    "t5x_scanned": _of_t5x_scan,
}
_STACK_WRITERS: dict[str, Callable[..., Slots]] = {
    "stacked": _to_stack,
    "t5x_scanned": _to_t5x_scan,
}


def _embed_axis(path: str) -> int:
    """Returns which axis of a layer's kernel, as a matrix, is the embedding's."""
    return 1 if path.endswith(("out/kernel", "wo/kernel")) else 0


def _unused() -> Tensor:
    return tensors.of_array(np.zeros(UNUSED_SHAPE, np.float32), "an unused moment")


def _checked(path: str, shape: tuple[int, ...], moments: Moments) -> Moments:
    """Raises unless moments have the sizes of their parameter."""
    if moments.along is not None:
        found = tuple(tensor.shape for tensor in moments.along)
        wanted: tuple[tuple[int, ...], ...] = tuple((size,) for size in shape)
        origin = moments.along[0].origin
    else:
        assert moments.whole is not None
        found, wanted, origin = (moments.whole.shape,), (shape,), moments.whole.origin
    if found != wanted:
        raise ValueError(
            f"{origin}: the optimizer's state for {path!r} has the shapes {found}, its parameter "
            f"{shape}"
        )
    return moments


def _not_alike(path: str, shape: tuple[int, ...], moments: Moments) -> str:
    state = "whole" if moments.along is None else "factored"
    return (
        f"{path!r} {shape}: its second moments are {state} in the source and not in the target "
        "(this package and T5X's unrolled models factor matrices of at least "
        f"{_FACTORED_FROM} x {_FACTORED_FROM}, T5X's scanned ones every kernel); convert with "
        "--parameters_only and start a fresh optimizer"
    )
