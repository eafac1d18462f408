"""How often the loops of a compiled program run.

The compiler may have written the number down (CPU); otherwise (TPU) it follows from the loop's
condition, its counter's start and its counter's step, where these are constants.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from presence_t5x.planning.hlo_text import (
    ArrayShape,
    Computation,
    Instruction,
    Module,
    called_computations,
)

_FORWARDING = frozenset(["bitcast", "convert", "copy", "copy-done", "copy-start", "reshape"])
_MIRRORED = {"LT": "GT", "LE": "GE", "GT": "LT", "GE": "LE", "NE": "NE", "EQ": "EQ"}


class _Affine(NamedTuple):
    """A scalar of a loop: an element of its state plus a constant; without element a constant."""

    element: int | None
    offset: int


def trip_count(loop: Instruction, computation: Computation, module: Module) -> int | None:
    """Returns how often a `while` of `computation` runs; None if the text does not tell."""
    if loop.known_trip_count is not None:
        return loop.known_trip_count
    condition, body = (
        module.computations[called_computations(loop, name)[0]] for name in ("condition", "body")
    )
    comparison = _comparison(condition, module)
    if comparison is None:
        return None
    counter, direction, bound = comparison
    start = _initial_value(loop, counter, computation, module)
    step = _added_per_iteration(body, counter, module)
    limit = bound.offset
    if bound.element is not None:  # a bound that the loop carries along
        initial = _initial_value(loop, bound.element, computation, module)
        if initial is None or _added_per_iteration(body, bound.element, module) != 0:
            return None
        limit += initial
    if start is None or not step:
        return None
    return _num_iterations(start, limit, step, direction)


def _num_iterations(start: int, limit: int, step: int, direction: str) -> int | None:
    """Returns how often `for (i = start; i DIRECTION limit; i += step)` runs; None if for ever."""
    if direction in ("LE", "GE"):
        limit += 1 if direction == "LE" else -1
    rising = direction in ("LT", "LE") or (direction == "NE" and step > 0)
    endless = direction == "NE" and (limit - start) % step
    if direction == "EQ" or (step > 0) != rising or endless:
        return None
    return max(0, math.ceil((limit - start) / step))


def _comparison(condition: Computation, module: Module) -> tuple[int, str, _Affine] | None:
    """Returns (the counter's element, direction, bound), None for any other condition."""
    root, scope, inputs = condition.instructions[condition.root], condition, None
    if root.opcode in ("fusion", "call"):
        inputs = _inputs(root, condition, module, None)
        scope = _callee(root, module)
        root = scope.instructions[scope.root]
    found = re.search(r"direction=([A-Z]+)", root.attributes)
    if root.opcode != "compare" or not found:
        return None
    left, right = (_affine(scope.operand(root, i), scope, module, inputs) for i in (0, 1))
    direction = found[1]
    if left is not None and left.element is None:
        left, right, direction = right, left, _MIRRORED[direction]
    if left is None or right is None or left.element is None:
        return None
    return left.element, direction, right._replace(offset=right.offset - left.offset)


def _initial_value(
    loop: Instruction, element: int, computation: Computation, module: Module
) -> int | None:
    """Returns an element of the state before the loop, if it is a constant."""
    state = computation.operand(loop, 0)
    if state.opcode != "tuple":
        return None
    value = _affine(computation.operand(state, element), computation, module, None)
    return value.offset if value is not None and value.element is None else None


def _added_per_iteration(body: Computation, element: int, module: Module) -> int | None:
    """Returns what one iteration adds to an element of the state, if it is a constant."""
    root = body.instructions[body.root]
    if root.opcode != "tuple":
        return None
    value = _affine(body.operand(root, element), body, module, None)
    return value.offset if value is not None and value.element == element else None


def _affine(
    value: Instruction, scope: Computation, module: Module, inputs: Sequence[_Affine | None] | None
) -> _Affine | None:
    """Returns a scalar as state element plus constant, None if it is anything else.

    Args:
      inputs: of the parameters of a called computation; None in the loop's own.
    """
    if not isinstance(value.shape, ArrayShape) or value.shape.num_elements != 1:
        copies = value.opcode == "copy-start"  # a tuple whose first element is the copy
        return _affine(scope.operand(value, 0), scope, module, inputs) if copies else None
    if value.opcode == "constant":
        number = re.fullmatch(r"\{?(-?\d+)\}?", value.arguments.strip())
        return _Affine(None, int(number[1])) if number else None
    if value.opcode == "parameter":
        return inputs[int(value.arguments)] if inputs is not None else None
    if value.opcode in _FORWARDING:
        return _affine(scope.operand(value, 0), scope, module, inputs)
    if value.opcode == "get-tuple-element":
        index = re.search(r"index=(\d+)", value.attributes)
        is_state = inputs is None and scope.operand(value, 0).opcode == "parameter"
        return _Affine(int(index[1]), 0) if index and is_state else None
    if value.opcode in ("add", "subtract"):
        left, right = (_affine(scope.operand(value, i), scope, module, inputs) for i in (0, 1))
        return _combine(left, right, 1 if value.opcode == "add" else -1)
    if value.opcode in ("fusion", "call"):
        callee = _callee(value, module)
        root = callee.instructions[callee.root]
        return _affine(root, callee, module, _inputs(value, scope, module, inputs))
    return None


def _combine(left: _Affine | None, right: _Affine | None, sign: int) -> _Affine | None:
    """Returns left + sign * right where that has at most one state element, not subtracted."""
    if left is None or right is None or (right.element is not None and sign < 0):
        return None
    if left.element is not None and right.element is not None:
        return None
    element = right.element if left.element is None else left.element
    return _Affine(element, left.offset + sign * right.offset)


def _inputs(
    call: Instruction, scope: Computation, module: Module, inputs: Sequence[_Affine | None] | None
) -> list[_Affine | None]:
    """Returns what a fusion or call passes to its computation."""
    operands = range(len(call.operands))
    return [_affine(scope.operand(call, index), scope, module, inputs) for index in operands]


def _callee(call: Instruction, module: Module) -> Computation:
    name = (called_computations(call, "calls") or called_computations(call, "to_apply"))[0]
    return module.computations[name]
