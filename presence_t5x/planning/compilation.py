"""A configured step compiled for a topology, and what the compiled program takes and does.

Nothing runs: arguments are shapes, and the devices may be ones that this machine does not have.
"""

import dataclasses
import math
import re
import time
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from presence_t5x import objective, partitioning
from presence_t5x.config_types import RunConfig
from presence_t5x.planning.hlo_collectives import Collective
from presence_t5x.planning.hlo_cost import Cost, program_cost
from presence_t5x.planning.topology import Topology, larger_topology

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class StepPlan(NamedTuple):
    """What one compiled step takes and does, on each device.

    Attributes:
      cost: FLOPs and collectives of a whole step.
      hbm_argument_bytes: state and batch.
      hbm_output_bytes: results that take no argument's place.
      hbm_temp_bytes: what lives only during a step, as the compiler reports it. libtpu adds the
        heap's fragmentation, and takes for fragmentation what a loop's body holds: up to twice the
        heap itself (EXPERIMENTS.md).
      hbm_code_bytes: the program itself.
      hbm_peak_bytes: the most that is held at a time, arguments and outputs included: what libtpu
        compares with the device's memory.
      lower_seconds: tracing and lowering in Python.
      compile_seconds: the compiler's own time.
      hlo_text: the optimised program.
    """

    cost: Cost
    hbm_argument_bytes: int
    hbm_output_bytes: int
    hbm_temp_bytes: int
    hbm_code_bytes: int
    hbm_peak_bytes: int
    lower_seconds: float
    compile_seconds: float
    hlo_text: str

    @property
    def collectives(self) -> tuple[Collective, ...]:
        """Every collective of the step."""
        return self.cost.collectives


class DoesNotFitError(ValueError):
    """A step that takes more memory than a device has; `needed_bytes` and `available_bytes`."""

    def __init__(self, message: str, needed_bytes: float, available_bytes: float):
        super().__init__(message)
        self.needed_bytes = needed_bytes
        self.available_bytes = available_bytes


def compile_step(config: RunConfig, topology: Topology) -> StepPlan:
    """Returns the plan of a run's step on a topology.

    Raises:
      ValueError: rows or sizes that the devices do not divide.
      DoesNotFitError: the compiler found the devices' memory too small.
    """
    mesh = objective.make_mesh(config, topology.devices)
    run = objective.make_objective(config, mesh)
    step = objective.compile_ready_step(config, run)
    state = objective.abstract_state(config, run)
    try:
        return plan_of(step, state, objective.abstract_batch(config, mesh), topology)
    except jax.errors.JaxRuntimeError as error:
        raise (
            _memory_error(error, config, topology, partitioning.bytes_per_device(state)) or error
        ) from error


def plan_of(step: Any, state: PyTree, batch: PyTree, topology: Topology) -> StepPlan:
    """Lowers and compiles a jitted step for abstract arguments; returns what it takes and does."""
    start = time.perf_counter()
    lowered = step.lower(state, batch)
    lower_seconds = time.perf_counter() - start
    start = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - start
    return _read_compiled(compiled, lower_seconds, seconds, on_tpu=topology.chip is not None)


def _read_compiled(
    compiled: jax.stages.Compiled, lower_seconds: float, compile_seconds: float, *, on_tpu: bool
) -> StepPlan:
    """Returns what a compiled program says of itself."""
    text = compiled.as_text()
    memory = compiled.memory_analysis()
    if text is None or memory is None:
        raise ValueError("this compiler gives neither its program's text nor its memory")
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    together = memory.argument_size_in_bytes + outputs + memory.temp_size_in_bytes
    return StepPlan(
        cost=program_cost(text),
        hbm_argument_bytes=memory.argument_size_in_bytes,
        hbm_output_bytes=outputs,
        hbm_temp_bytes=memory.temp_size_in_bytes,
        hbm_code_bytes=memory.generated_code_size_in_bytes,
        # On CPUs the compiler's own figure leaves the arguments out.
        hbm_peak_bytes=memory.peak_memory_in_bytes if on_tpu else together,
        lower_seconds=lower_seconds,
        compile_seconds=compile_seconds,
        hlo_text=text,
    )


def possible_microbatches(config: RunConfig, topology: Topology) -> list[int]:
    """Returns the numbers of microbatches that batch and devices allow, in rising order."""
    parts = _num_row_parts(config, topology)
    rows = config.data.batch_size // parts
    if config.data.batch_size % parts:
        return []
    return [number for number in range(1, rows + 1) if rows % number == 0]


def with_microbatches(config: RunConfig, num_microbatches: int) -> RunConfig:
    """Returns the run with another number of microbatches."""
    presence = dataclasses.replace(config.presence, num_microbatches=num_microbatches)
    return dataclasses.replace(config, presence=presence)


def check_rows(config: RunConfig, topology: Topology) -> None:
    """Refuses a batch that devices and microbatches do not divide, with what they would.

    Raises:
      ValueError: that, or partitions that do not divide devices or sizes.
    """
    rows, number = config.data.batch_size, config.presence.num_microbatches
    parts = _num_row_parts(config, topology)
    if rows % (parts * number) == 0:
        return
    allowed = possible_microbatches(config, topology)
    multiple = parts * number
    nearest = max(1, round(rows / multiple)) * multiple
    remedies = [f"BATCH_SIZE={nearest}"]
    if allowed:
        remedies.insert(0, f"NUM_MICROBATCHES of {_enumerate(allowed)}")
    else:
        remedies.append("fewer devices, or more of them for NUM_TENSOR_PARTITIONS")
    raise ValueError(
        f"batch_size={rows} does not divide over {topology.name}: {parts} devices that hold rows x "
        f"num_microbatches={number} = {multiple}; use {', or '.join(remedies)}"
    )


def _num_row_parts(config: RunConfig, topology: Topology) -> int:
    return partitioning.num_row_parts(objective.make_mesh(config, topology.devices))


def _memory_error(
    error: Exception, config: RunConfig, topology: Topology, state_bytes: int
) -> DoesNotFitError | None:
    """Turns the compiler's refusal for lack of memory into what is needed and what would help."""
    size = r"\(([\d.]+)([KMGT]?)B?\)"
    pattern = rf"RESOURCE_EXHAUSTED.*?{size} exceeds available HBM {size}"
    found = re.search(pattern, str(error), re.DOTALL)
    if not found:
        return None
    needed, available = (float(found[i]) * _UNITS[found[i + 1]] for i in (1, 3))
    remedies = _activation_remedies(config, topology) if state_bytes < available else []
    remedies += _state_remedies(config, topology, 2 * state_bytes / available)
    return DoesNotFitError(
        f"the step does not fit on {topology.name}: it needs {needed / 2**30:.2f} GiB a device of "
        f"{available / 2**30:.2f} GiB, of which the state takes {state_bytes / 2**30:.2f} GiB; try "
        f"{', or '.join(remedies) or 'a smaller model'}",
        needed,
        available,
    )


def _activation_remedies(config: RunConfig, topology: Topology) -> list[str]:
    """Returns what makes a step's own arrays smaller, the cheapest first."""
    number = config.presence.num_microbatches
    more = [n for n in possible_microbatches(config, topology) if n > number]
    remedies = [f"NUM_MICROBATCHES of {_enumerate(more)} (--suggest finds which)"] if more else []
    if config.model.remat_policy != "full":
        remedies.append(f"{type(config.model).__name__}.remat_policy='full'")
    larger = larger_topology(topology.name)
    return [*remedies, f"--topology={larger}"] if larger else remedies


def _state_remedies(config: RunConfig, topology: Topology, factor: float) -> list[str]:
    """Returns the fsdp partitions that make parameters and optimizer state `factor` smaller."""
    present = config.partitioning.num_fsdp_partitions
    common = math.gcd(topology.num_devices, config.model.emb_dim)
    larger = [n for n in range(present + 1, common + 1) if common % n == 0 and n % present == 0]
    enough = [number for number in larger if number >= present * factor]
    return [f"NUM_FSDP_PARTITIONS={(enough or larger[-1:])[0]}"] if larger else []


def _enumerate(numbers: list[int], most: int = 8) -> str:
    """Returns "1, 2 or 4", at most so many."""
    shown = [str(number) for number in numbers[:most]]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"
