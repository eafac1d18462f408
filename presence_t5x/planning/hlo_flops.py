"""The floating-point operations of one instruction, counted as XLA's own cost analysis does.

A multiply-add is two; an element-wise instruction is one for each element, transcendental ones
(exp, tanh, ...) are a count of their own. What an instruction calls is `hlo_cost`'s part.
"""

import functools
import math
import re
from typing import NamedTuple

import numpy as np

from presence_t5x.planning.hlo_text import (
    ArrayShape,
    Computation,
    Instruction,
    array_leaves,
    num_elements,
)

_ELEMENTWISE = frozenset(
    [
        "abs",
        "add",
        "and",
        "bitcast-convert",
        "ceil",
        "clamp",
        "clz",
        "compare",
        "complex",
        "convert",
        "count-leading-zeros",
        "divide",
        "floor",
        "imag",
        "is-finite",
        "maximum",
        "minimum",
        "multiply",
        "negate",
        "not",
        "or",
        "popcnt",
        "real",
        "reduce-precision",
        "remainder",
        "round-nearest-afz",
        "round-nearest-even",
        "select",
        "shift-left",
        "shift-right-arithmetic",
        "shift-right-logical",
        "sign",
        "stochastic-convert",
        "subtract",
        "xor",
    ]
)
_TRANSCENDENTAL = frozenset(
    [
        "atan2",
        "cbrt",
        "cosine",
        "erf",
        "exponential",
        "exponential-minus-one",
        "log",
        "log-plus-one",
        "logistic",
        "power",
        "rng",
        "rng-bit-generator",
        "rsqrt",
        "sine",
        "sqrt",
        "tan",
        "tanh",
    ]
)


class WindowDimension(NamedTuple):
    """One spatial dimension of a convolution's window."""

    size: int = 1
    stride: int = 1
    padding_low: int = 0
    padding_high: int = 0
    base_dilation: int = 1
    window_dilation: int = 1


def matmul_flops(instruction: Instruction, computation: Computation) -> int:
    """Returns the FLOPs of a dot or a convolution, 0 for any other instruction."""
    if instruction.opcode == "dot":
        return _dot_flops(instruction, computation)
    if instruction.opcode == "convolution":
        return _convolution_flops(instruction, computation)
    return 0


def elementwise_flops(instruction: Instruction) -> int:
    """Returns one for each element of an arithmetic, comparing or converting instruction."""
    if instruction.opcode in _ELEMENTWISE or instruction.opcode in (
        "all-reduce",
        "all-reduce-start",  # one sum for each element
    ):
        return num_elements(instruction.shape)
    if instruction.opcode == "sort":
        elements = next(array_leaves(instruction.shape)).num_elements
        return elements * math.ceil(math.log2(max(elements, 1)))
    return 0


def transcendental_count(instruction: Instruction) -> int:
    """Returns the transcendental functions evaluated: one for each element."""
    return num_elements(instruction.shape) if instruction.opcode in _TRANSCENDENTAL else 0


def num_applications(instruction: Instruction, computation: Computation) -> int:
    """Returns how often `to_apply` runs in a reduce, reduce-window, scatter or map; 0 elsewhere."""
    if not instruction.operands:
        return 0
    if instruction.opcode == "map":
        return num_elements(instruction.shape)
    if instruction.opcode == "scatter":
        updates = computation.operand(instruction, len(instruction.operands) - 1)
        return num_elements(updates.shape)
    outputs = next(array_leaves(instruction.shape))
    if instruction.opcode == "reduce":
        return num_elements(computation.operand(instruction, 0).shape) - outputs.num_elements
    if instruction.opcode == "reduce-window":
        return _window_reductions(outputs, parse_window(instruction.attributes))
    return 0


def parse_window(attributes: str) -> list[WindowDimension]:
    """Returns the window's dimensions, [] if there are none.

    >>> for dimension in parse_window("window={size=3x1 pad=1_2x0_0 lhs_dilate=2x1}"):
    ...     print(*dimension)
    3 1 1 2 2 1
    1 1 0 0 1 1
    """
    found = re.search(r"window=\{([^}]*)\}", attributes)
    if not found or not found[1]:
        return []
    fields = dict(field.split("=") for field in found[1].split())
    sizes = fields["size"].split("x")
    columns = {
        name: fields[name].split("x") if name in fields else [default] * len(sizes)
        for name, default in (
            ("stride", "1"),
            ("pad", "0_0"),
            ("lhs_dilate", "1"),
            ("rhs_dilate", "1"),
        )
    }
    dimensions = []
    for index, size in enumerate(sizes):
        low, high = map(int, columns["pad"][index].split("_"))
        stride, base, window = (
            int(columns[n][index]) for n in ("stride", "lhs_dilate", "rhs_dilate")
        )
        dimensions.append(WindowDimension(int(size), stride, low, high, base, window))
    return dimensions


def _dot_flops(dot: Instruction, computation: Computation) -> int:
    """Returns 2 x results x contracted size."""
    lhs = next(array_leaves(computation.operand(dot, 0).shape))
    found = re.search(r"lhs_contracting_dims=\{([^}]*)\}", dot.attributes)
    contracted = [int(number) for number in found[1].split(",")] if found and found[1] else []
    width = math.prod(lhs.dimensions[dimension] for dimension in contracted)
    return 2 * num_elements(dot.shape) * width


def _convolution_flops(convolution: Instruction, computation: Computation) -> int:
    """Returns 2 x batch x features in x features out x window positions that meet a real input.

    TPU programs write every matrix product this way; its batch dimensions may be spatial ones, with
    dilation or padding that leaves one input for each output.
    """
    lhs, rhs = (next(array_leaves(computation.operand(convolution, i).shape)) for i in (0, 1))
    result = next(array_leaves(convolution.shape))
    labels = re.search(r"dim_labels=([a-z0-9]+)_([a-z0-9]+)->([a-z0-9]+)", convolution.attributes)
    if not labels:
        raise ValueError(f"convolution {convolution.name!r} has no dim_labels")
    lhs_labels, rhs_labels, result_labels = labels.groups()
    positions = 1
    for index, window in enumerate(parse_window(convolution.attributes)):
        label = str(index)
        positions *= valid_positions(
            window,
            num_inputs=lhs.dimensions[lhs_labels.index(label)],
            kernel_size=rhs.dimensions[rhs_labels.index(label)],
            num_outputs=result.dimensions[result_labels.index(label)],
        )
    groups = _group_count(convolution, "feature") * _group_count(convolution, "batch")
    batch, features_in = (lhs.dimensions[lhs_labels.index(label)] for label in "bf")
    features_out = result.dimensions[result_labels.index("f")]
    return 2 * batch * features_in * features_out * positions // groups


def _group_count(convolution: Instruction, kind: str) -> int:
    """Returns `feature_group_count` or `batch_group_count`, 1 where it is not written."""
    found = re.search(rf"{kind}_group_count=(\d+)", convolution.attributes)
    return int(found[1]) if found else 1


@functools.lru_cache(maxsize=4096)
def valid_positions(
    window: WindowDimension, *, num_inputs: int, kernel_size: int, num_outputs: int
) -> int:
    """Returns the pairs (output, kernel element) that meet an input: no padding, no dilation hole.

    >>> valid_positions(WindowDimension(size=3, padding_low=1, padding_high=1),
    ...     num_inputs=4, kernel_size=3, num_outputs=4)
    10
    """
    starts = np.arange(num_outputs, dtype=np.int64) * window.stride - window.padding_low
    offsets = np.arange(kernel_size, dtype=np.int64) * window.window_dilation
    few, many = (starts, offsets) if num_outputs < kernel_size else (offsets, starts)
    last = (num_inputs - 1) * window.base_dilation
    total = 0
    for position in few:
        inputs = many + position
        inside = (inputs >= 0) & (inputs <= last) & (inputs % window.base_dilation == 0)
        total += int(np.count_nonzero(inside))
    return total


def _window_reductions(outputs: ArrayShape, window: list[WindowDimension]) -> int:
    """Returns results x (window elements - 1), but a reduction's own count for reduce-and-spread.

    XLA writes a sum that is spread back over its dimension as a window of twice that size; its
    cost analysis knows the pattern.
    """
    wide = [index for index, dimension in enumerate(window) if dimension.size != 1]
    padded = [dim for dim in window if dim.padding_low or dim.padding_high]
    if len(wide) == 1 and len(padded) == 1:
        span, dimension = outputs.dimensions[wide[0]], window[wide[0]]
        if dimension.padding_low == dimension.padding_high == span - 1 > 0 and (
            dimension.size == 2 * span - 1
        ):
            return outputs.num_elements // span + span - 1
    return (math.prod(dimension.size for dimension in window) - 1) * outputs.num_elements
