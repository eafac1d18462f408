"""What a collective of a compiled program sends, counted one way for all programs.

All-reduce: its operands whole. Reduce-scatter: its operands half, all-gather: its results half (an
all-reduce is one of each). Others: their operands whole. What crosses the wire also depends on the
algorithm and on the number of devices; these figures compare programs.
"""

import re
from typing import NamedTuple

from presence_t5x.planning.hlo_text import (
    ArrayShape,
    Computation,
    Instruction,
    Shape,
    array_leaves,
    num_bytes,
)

_KINDS = (
    "all-reduce",
    "reduce-scatter",
    "all-gather",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)


class Collective(NamedTuple):
    """One collective instruction of a step.

    Attributes:
      op: "all-reduce", "reduce-scatter", "all-gather", ...
      bytes: counted for one execution, on one device.
      executions: in a step.
      in_loop: whether it stands in a loop's body.
      dtype: of what is sent.
    """

    op: str
    bytes: int
    executions: int
    in_loop: bool
    dtype: str

    @property
    def total_bytes(self) -> int:
        """Bytes of all executions of a step."""
        return self.bytes * self.executions


def read_collective(instruction: Instruction, computation: Computation) -> Collective | None:
    """Returns the collective that an instruction is, executed once, or None.

    An asynchronous one counts where it starts. An all-reduce in a computation that XLA names
    all-reduce-scatter is a reduce-scatter: each device keeps only its part.
    """
    op = instruction.opcode.removesuffix("-start")
    if op not in _KINDS:
        return None
    if op == "all-reduce" and re.match(r"all[-_]reduce[-_]scatter", computation.name):
        op = "reduce-scatter"
    operands = [computation.instructions[name].shape for name in instruction.operands]
    if op == "collective-permute":
        operands = operands[:1]  # others are buffers and offsets of the in-place form
    if op == "all-gather":
        size = num_bytes(_gathered(instruction)) / 2
    else:
        size = sum(map(num_bytes, operands)) / (2 if op == "reduce-scatter" else 1)
    dtypes = {leaf.dtype for shape in operands for leaf in array_leaves(shape)}
    return Collective(op, round(size), 1, False, "+".join(sorted(dtypes)))


def is_continuation(instruction: Instruction, called: str) -> bool:
    """Whether a fusion repeats a collective that another one has started.

    TPU programs let a collective run beside products: a fusion "async-collective-start", fusions
    of the products that carry it along, "async-collective-done", each with all of the collective.
    """
    carries = re.match(r"async_collective_fusion", called) is not None
    return carries or instruction.name.startswith("async-collective-done")


def _gathered(instruction: Instruction) -> Shape:
    """Returns the results of an all-gather; one that starts gives (operands, results)."""
    shape = instruction.shape
    if isinstance(shape, ArrayShape) or instruction.opcode != "all-gather-start":
        return shape
    return shape[1]
