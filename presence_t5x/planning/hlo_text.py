"""The text of a compiled XLA program as instructions, by computation.

Reads what `compiled.as_text()` prints, on CPU and TPU. Only what the counting modules need is kept:
shapes without layouts, opcodes, operands by name, and the attributes before the metadata.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_HEADER = re.compile(r"(ENTRY )?%?([^\s(]+) \(.*\) -> .*\{$")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([^\s=]+) = ")
_ARRAY = re.compile(r"([a-z][a-z0-9]*)\[([^\]]*)\]")
_OPCODE = re.compile(r"\s*([a-z][a-z0-9-]*)\(")
_OPERAND = re.compile(r"%([^\s,()]+)")
_COMMENT = re.compile(r"/\*.*?\*/")
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_BITS = {"pred": 8, "token": 0, "opaque": 0, "bf16": 16, "c64": 64, "c128": 128}


class ArrayShape(NamedTuple):
    """One array: its element type as XLA names it ("bf16"), and its dimensions."""

    dtype: str
    dimensions: tuple[int, ...]

    @property
    def num_elements(self) -> int:
        """The product of the dimensions; 1 for a scalar."""
        return math.prod(self.dimensions)

    @property
    def num_bytes(self) -> float:
        """Elements times their size, without the padding of a layout."""
        return self.num_elements * _num_bits(self.dtype) / 8


Shape = ArrayShape | tuple["Shape", ...]  # a tuple's elements may be tuples again


class Instruction(NamedTuple):
    """One line of a computation.

    Attributes:
      operands: names of instructions of the same computation.
      arguments: what stands between the parentheses, e.g. the value of a constant.
      attributes: what follows them, up to the metadata.
      known_trip_count: of a loop, where the compiler wrote it down.
    """

    name: str
    opcode: str
    shape: Shape
    operands: tuple[str, ...]
    arguments: str
    attributes: str
    known_trip_count: int | None = None


class Computation(NamedTuple):
    """Instructions by name in program order, and the one whose value is the result."""

    name: str
    instructions: dict[str, Instruction]
    root: str

    def operand(self, instruction: Instruction, index: int) -> Instruction:
        """Returns the instruction that gives an operand."""
        return self.instructions[instruction.operands[index]]


class Module(NamedTuple):
    """A whole program: its computations by name, and the one that is run."""

    computations: dict[str, Computation]
    entry: str


def parse_module(text: str) -> Module:
    """Returns the program that `compiled.as_text()` printed.

    >>> module = parse_module('''
    ... ENTRY %main (x: f32[2,3]) -> f32[2,3] {
    ...   %x = f32[2,3]{1,0} parameter(0)
    ...   ROOT %y = f32[2,3]{1,0} add(%x, %x), metadata={op_name="y"}
    ... }''')
    >>> module.computations[module.entry].instructions["y"].operands
    ('x', 'x')

    Raises:
      ValueError: the text holds no entry computation, or a line that is no instruction.
    """
    computations: dict[str, Computation] = {}
    entry, name, root = "", "", ""
    instructions: dict[str, Instruction] = {}
    for line in text.splitlines():
        if not line.startswith((" ", "}")):
            header = _HEADER.match(line)
            if header:
                name, instructions = header[2], {}
                entry = name if header[1] else entry
        elif line.startswith("}") and name:
            if not instructions:
                raise ValueError(f"computation {name!r} of a compiled program has no instruction")
            computations[name] = Computation(
                name, instructions, root or next(reversed(instructions))
            )
            name, root = "", ""
        elif name:
            start = _INSTRUCTION.match(line)
            if start:
                instruction = _parse_instruction(start[2], line[start.end() :])
                instructions[instruction.name] = instruction
                root = instruction.name if start[1] else root
    if not entry:
        raise ValueError("this is no compiled XLA program: no computation is marked ENTRY")
    return Module(computations, entry)


def array_leaves(shape: Shape) -> Iterator[ArrayShape]:
    """Yields the arrays of a possibly nested shape, in order."""
    if isinstance(shape, ArrayShape):
        yield shape
    else:
        for element in shape:
            yield from array_leaves(element)


def num_elements(shape: Shape) -> int:
    """Returns the elements of all arrays of a shape."""
    return sum(leaf.num_elements for leaf in array_leaves(shape))


def num_bytes(shape: Shape) -> float:
    """Returns the bytes of all arrays of a shape, without padding."""
    return sum(leaf.num_bytes for leaf in array_leaves(shape))


def called_computations(instruction: Instruction, attribute: str) -> list[str]:
    """Returns the computations that an attribute names: `calls=%f`, `branch_computations={%f, %g}`.

    >>> call = Instruction("f", "fusion", ArrayShape("f32", ()), (), "", "kind=kLoop, calls=%g")
    >>> called_computations(call, "calls"), called_computations(call, "body")
    (['g'], [])
    """
    found = re.search(rf"\b{attribute}=(\{{[^}}]*\}}|%?[^\s,]+)", instruction.attributes)
    if not found:
        return []
    return [name.lstrip("%") for name in re.split(r"[{},\s]+", found[1]) if name]


def _num_bits(dtype: str) -> int:
    """Returns an element's size; the digits of most types say it ("f32", "s4", "f8e4m3fn")."""
    if dtype in _BITS:
        return _BITS[dtype]
    digits = re.match(r"[a-z]+(\d+)", dtype)
    if not digits:
        raise ValueError(f"element type {dtype!r} is unknown; its size cannot be told")
    return int(digits[1])


def _parse_instruction(name: str, text: str) -> Instruction:
    """Parses what follows "name = ": shape, opcode, operands, attributes."""
    if "/*" in text:
        text = _COMMENT.sub("", text)
    shape_end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    opcode = _OPCODE.match(text, shape_end)
    if not opcode:
        raise ValueError(f"the line of {name!r} in a compiled program is no instruction: {text!r}")
    close = _closing(text, opcode.end() - 1)
    arguments, rest = text[opcode.end() : close], text[close + 1 :].removeprefix(", ")
    trips = _TRIP_COUNT.search(rest) if opcode[1] == "while" else None
    return Instruction(
        name=name,
        opcode=opcode[1],
        shape=_parse_shape(text[:shape_end]),
        operands=tuple(_OPERAND.findall(arguments)) if "%" in arguments else (),
        arguments=arguments,
        attributes=rest.split("metadata={", 1)[0].split("backend_config=", 1)[0],
        known_trip_count=int(trips[1]) if trips else None,
    )


def _closing(text: str, start: int) -> int:
    """Returns where the parenthesis that opens at `start` closes."""
    depth = 0
    for match in re.compile(r'[()]|"(?:[^"\\]|\\.)*"').finditer(text, start):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return match.start()
    raise ValueError(f"unbalanced parentheses in a compiled program: {text[start : start + 200]!r}")


def _parse_shape(text: str) -> Shape:
    """Parses "f32[2,3]{1,0:T(8,128)}" or a tuple of such, nested or not."""
    if not text.startswith("("):
        array = _ARRAY.match(text)
        if not array:
            raise ValueError(f"{text!r} in a compiled program is no shape")
        sizes = [size.strip().lstrip("<=") for size in array[2].split(",") if size.strip()]
        return ArrayShape(array[1], tuple(map(int, sizes)))
    return tuple(_parse_shape(part) for part in _split_elements(text[1:-1]))


def _split_elements(text: str) -> list[str]:
    """Splits a tuple's elements at the commas that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(r"[\[\](){},]", text):
        if match[0] == "," and depth == 0:
            parts.append(text[start : match.start()].strip())
            start = match.end()
        elif match[0] != ",":
            depth += 1 if match[0] in "[({" else -1
    last = text[start:].strip()
    return [*parts, last] if last else parts
