"""What one execution of a compiled program does: FLOPs and collectives, loops multiplied out.

XLA's own cost analysis counts a loop's body once; here it counts as often as it runs. Fusions and
calls are followed, of a conditional the largest branch counts.
"""

from typing import NamedTuple

from presence_t5x.planning.hlo_collectives import (
    Collective,
    is_continuation,
    read_collective,
)
from presence_t5x.planning.hlo_flops import (
    elementwise_flops,
    matmul_flops,
    num_applications,
    transcendental_count,
)
from presence_t5x.planning.hlo_loops import trip_count
from presence_t5x.planning.hlo_text import (
    Computation,
    Instruction,
    Module,
    called_computations,
    parse_module,
)

_CALLS = ("calls", "to_apply", "called_computations")
_APPLYING = ("reduce", "reduce-window", "scatter", "map", "select-and-scatter", "sort")


class Cost(NamedTuple):
    """What a program, or a part of it, does on one device.

    Attributes:
      matmul_flops: of dots and convolutions; a multiply-add is two.
      other_flops: of everything else, one for each element.
      transcendentals: exponentials and the like, not among the FLOPs.
      collectives: in program order; those of a loop once, with their number of executions.
      unknown_loops: loops whose number of iterations the text does not tell; counted once.
    """

    matmul_flops: int = 0
    other_flops: int = 0
    transcendentals: int = 0
    collectives: tuple[Collective, ...] = ()
    unknown_loops: tuple[str, ...] = ()

    @property
    def flops(self) -> int:
        """All floating-point operations, transcendental functions apart."""
        return self.matmul_flops + self.other_flops

    @property
    def collective_bytes(self) -> int:
        """Bytes of all collectives' executions."""
        return sum(collective.total_bytes for collective in self.collectives)

    def repeated(self, num_times: int, *, in_loop: bool) -> "Cost":
        """Returns the cost of running this several times."""
        return Cost(
            self.matmul_flops * num_times,
            self.other_flops * num_times,
            self.transcendentals * num_times,
            tuple(
                collective._replace(
                    executions=collective.executions * num_times,
                    in_loop=collective.in_loop or in_loop,
                )
                for collective in self.collectives
            ),
            self.unknown_loops,
        )


def program_cost(text: str, *, loops_once: bool = False) -> Cost:
    """Returns what the program that `compiled.as_text()` printed does in one execution.

    Args:
      text: an optimised program: partitioned, so that shapes are one device's.
      loops_once: counts loop bodies once, as `compiled.cost_analysis()` does.
    """
    return _Counter(parse_module(text), loops_once).entry_cost()


class _Counter:
    """Walks a module once; a computation that is called twice is counted once and added twice."""

    def __init__(self, module: Module, loops_once: bool):
        self._module = module
        self._loops_once = loops_once
        self._known: dict[str, Cost] = {}

    def entry_cost(self) -> Cost:
        """Returns the cost of the whole program."""
        return self._computation_cost(self._module.entry)

    def _computation_cost(self, name: str) -> Cost:
        if name not in self._known:
            computation = self._module.computations[name]
            costs = (
                self._instruction_cost(instruction, computation)
                for instruction in computation.instructions.values()
            )
            self._known[name] = _sum(costs)
        return self._known[name]

    def _instruction_cost(self, instruction: Instruction, computation: Computation) -> Cost:
        if instruction.opcode == "while":
            return self._loop_cost(instruction, computation)
        if instruction.opcode == "conditional":
            return self._largest_branch(instruction)
        collective = read_collective(instruction, computation)
        own = Cost(
            matmul_flops(instruction, computation),
            elementwise_flops(instruction),
            transcendental_count(instruction),
            (collective,) if collective else (),
        )
        return own if collective else _sum([own, self._called_cost(instruction, computation)])

    def _called_cost(self, instruction: Instruction, computation: Computation) -> Cost:
        """Returns the cost of what a fusion, call or reduction calls."""
        called = [name for key in _CALLS for name in called_computations(instruction, key)]
        if not called:
            return Cost()
        once = _sum(self._computation_cost(name) for name in called)
        if is_continuation(instruction, called[0]):
            return once._replace(collectives=())
        if instruction.opcode not in _APPLYING:
            return once
        return once.repeated(num_applications(instruction, computation), in_loop=False)

    def _loop_cost(self, loop: Instruction, computation: Computation) -> Cost:
        """Returns iterations x (body + condition)."""
        names = [called_computations(loop, key)[0] for key in ("body", "condition")]
        once = _sum(self._computation_cost(name) for name in names)
        iterations = trip_count(loop, computation, self._module)
        if iterations is None:
            once = once._replace(unknown_loops=(*once.unknown_loops, loop.name))
        if iterations is None or self._loops_once:
            iterations = 1
        return once.repeated(iterations, in_loop=True)

    def _largest_branch(self, conditional: Instruction) -> Cost:
        """Returns the branch with the most FLOPs, or of equals with the most bytes."""
        keys = ("branch_computations", "true_computation", "false_computation")
        branches = [name for key in keys for name in called_computations(conditional, key)]
        costs = map(self._computation_cost, branches)
        return max(costs, key=lambda cost: (cost.flops, cost.collective_bytes), default=Cost())


def _sum(costs) -> Cost:
    """Returns the sum, in linear time however many collectives there are."""
    parts = list(costs)
    return Cost(
        sum(part.matmul_flops for part in parts),
        sum(part.other_flops for part in parts),
        sum(part.transcendentals for part in parts),
        tuple(collective for part in parts for collective in part.collectives),
        tuple(loop for part in parts for loop in part.unknown_loops),
    )
