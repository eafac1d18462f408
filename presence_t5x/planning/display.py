"""A plan for people, in tables of at most 100 columns, and for programs, as JSON."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from presence_t5x.config_types import RunConfig
from presence_t5x.planning.compilation import StepPlan
from presence_t5x.planning.suggestion import Suggestion
from presence_t5x.planning.topology import Topology

_GIB, _MIB = 2**30, 2**20
_FLOPS = ("FLOPs", "kFLOPs", "MFLOPs", "GFLOPs", "TFLOPs")


class PlanContext(NamedTuple):
    """What is said once for both steps.

    Attributes:
      analytic_flops: of a step on one device, from the model's sizes.
      utilization: the share of peak speed that chip-hours are stated for.
      chip_hours: of the whole run, by step; empty where the chip's speed is unknown.
    """

    config: RunConfig
    topology: Topology
    analytic_flops: float
    utilization: float
    chip_hours: Mapping[str, float]


def print_plan(console: Console, steps: Mapping[str, StepPlan], context: PlanContext) -> None:
    """Prints what the steps cost, side by side, then their collectives."""
    console.print(_heading(context), markup=False, highlight=False)
    console.print(_cost_table(steps, context))
    console.print(_collective_table(steps))
    for name, plan in steps.items():
        if plan.cost.unknown_loops:
            console.print(
                f"{name}: {len(plan.cost.unknown_loops)} loop(s) counted once, for the program "
                f"does not tell how often they run: {', '.join(plan.cost.unknown_loops)}",
                markup=False,
            )
    if context.chip_hours:
        console.print(
            f"Chip-hours are an estimate: {context.config.train_steps:,} steps at "
            f"{context.utilization:.0%} of the chip's peak (--utilization).",
            highlight=False,
        )


def plan_as_json(
    steps: Mapping[str, StepPlan], context: PlanContext, suggestion: Suggestion | None
) -> dict[str, Any]:
    """Returns the plan as one object of plain values; all sizes are one device's."""
    topology, config = context.topology, context.config
    return {
        "topology": topology.name,
        "chip": topology.name.split(":")[0],
        "num_chips": topology.num_chips,
        "num_devices": topology.num_devices,
        "hbm_bytes_per_device": topology.hbm_bytes,
        "analytic_flops_per_device": context.analytic_flops,
        "num_microbatches": config.presence.num_microbatches,
        "train_steps": config.train_steps,
        "utilization": context.utilization,
        **({"suggestion": _suggestion_as_json(suggestion)} if suggestion else {}),
        **{
            name: _step_as_json(plan) | {"chip_hours": context.chip_hours.get(name)}
            for name, plan in steps.items()
        },
    }


def _suggestion_as_json(suggestion: Suggestion) -> dict[str, Any]:
    return {
        "num_microbatches": suggestion.num_microbatches,
        "microbatch_size": suggestion.microbatch_size,
        "trials": list(suggestion.trials),
    }


def _step_as_json(plan: StepPlan) -> dict[str, Any]:
    return {
        "flops_per_device": plan.cost.flops,
        "matmul_flops_per_device": plan.cost.matmul_flops,
        "transcendentals_per_device": plan.cost.transcendentals,
        "hbm_argument_bytes": plan.hbm_argument_bytes,
        "hbm_output_bytes": plan.hbm_output_bytes,
        "hbm_temp_bytes": plan.hbm_temp_bytes,
        "hbm_code_bytes": plan.hbm_code_bytes,
        "hbm_peak_bytes": plan.hbm_peak_bytes,
        "lower_seconds": plan.lower_seconds,
        "compile_seconds": plan.compile_seconds,
        "collective_bytes": plan.cost.collective_bytes,
        "collectives": [collective._asdict() for collective in plan.collectives],
        "loops_counted_once": list(plan.cost.unknown_loops),
    }


def _heading(context: PlanContext) -> str:
    """Returns what was compiled for what."""
    config, topology = context.config, context.topology
    presence, lengths = config.presence, " + ".join(map(str, config.row_lengths.values()))
    memory = f", {topology.hbm_bytes / _GIB:.2f} GiB each" if topology.hbm_bytes else ""
    chips = f"{topology.num_chips} chips = " if topology.chip else ""
    return (
        f"{topology.name}: {chips}{topology.num_devices} devices{memory}\n"
        f"{config.model.describe()}, batch {config.data.batch_size} x "
        f"({lengths}), {presence.num_microbatches} microbatches\n"
        f"presence: {presence.granularity}, {presence.accumulator}, {presence.normalizer}"
    )


def _scaled(figures: Sequence[float], base: int, units: Sequence[str]) -> tuple[list[float], str]:
    """Returns figures in the largest unit that leaves the largest of them above 1, and that unit.

    >>> _scaled([3 * 2**20, 2**19], 2**10, ("B", "KiB", "MiB", "GiB"))
    ([3.0, 0.5], 'MiB')
    """
    power = 0
    while power + 1 < len(units) and max(figures, default=0) >= base ** (power + 1):
        power += 1
    return [figure / base**power for figure in figures], units[power]


def _cost_table(steps: Mapping[str, StepPlan], context: PlanContext) -> Table:
    """Returns a row for each figure and a column for each step."""
    table = Table(title="one step on one device", title_justify="left")
    table.add_column("")
    for name in steps:
        table.add_column(name, justify="right")
    first_name, *other_names = steps
    for name in other_names:
        table.add_column(f"{first_name} / {name}", justify="right")

    def add(label: str, figures: Sequence[float], form: str, *, ratio: bool = True) -> None:
        texts = [form.format(figure) for figure in figures]
        first, *others = figures
        shares = [f"{first / other:.3f}" if ratio and other else "" for other in others]
        table.add_row(label, *texts, *shares)

    def add_bytes(label: str, figures: Sequence[float]) -> None:
        scaled, unit = _scaled(figures, 2**10, ("B", "KiB", "MiB", "GiB"))
        add(f"{label}, {unit}", scaled, "{:,.2f}")

    plans = list(steps.values())
    flops = [plan.cost.flops for plan in plans]
    scaled, unit = _scaled([*flops, context.analytic_flops], 1000, _FLOPS)
    add(f"{unit}, compiled", scaled[:-1], "{:,.3f}")
    add(f"{unit}, analytic", scaled[-1:] * len(plans), "{:,.3f}", ratio=False)
    add("compiled / analytic", [v / context.analytic_flops for v in flops], "{:.3f}", ratio=False)
    table.add_section()
    add_bytes("HBM arguments", [plan.hbm_argument_bytes for plan in plans])
    add_bytes("HBM other outputs", [plan.hbm_output_bytes for plan in plans])
    add_bytes("HBM temporaries", [plan.hbm_temp_bytes for plan in plans])
    add_bytes("HBM peak", [plan.hbm_peak_bytes for plan in plans])
    if context.topology.hbm_bytes:
        shares = [plan.hbm_peak_bytes / context.topology.hbm_bytes for plan in plans]
        add("HBM peak of the device's", shares, "{:.0%}", ratio=False)
    table.add_section()
    add_bytes("collectives", [plan.cost.collective_bytes for plan in plans])
    add("compiled in, s", [plan.compile_seconds for plan in plans], "{:,.1f}")
    if context.chip_hours:
        hours = [context.chip_hours[name] for name in steps]
        add("chip-hours of the run", hours, "{:,.0f}" if max(hours) >= 100 else "{:.2g}")
    return table


def _collective_table(steps: Mapping[str, StepPlan]) -> Table:
    """Returns the collectives, alike ones in one row."""
    table = Table(title="collectives of a step, a device", title_justify="left")
    for title in ("step", "collective", "of", "where", "instructions", "executions", "MiB"):
        left = title in ("step", "collective", "of", "where")
        table.add_column(title, justify="left" if left else "right")
    for name, plan in steps.items():
        numbers, executions, sizes = Counter(), Counter(), Counter()
        for collective in plan.collectives:
            kind = (collective.op, collective.dtype, collective.in_loop)
            numbers[kind] += 1
            executions[kind] += collective.executions
            sizes[kind] += collective.total_bytes
        for kind, size in sizes.most_common():
            op, dtype, in_loop = kind
            where = "in a loop" if in_loop else "once"
            counts = (f"{numbers[kind]:,}", f"{executions[kind]:,}", f"{size / _MIB:,.2f}")
            table.add_row(name, op, dtype, where, *counts)
        table.add_section()
    return table
