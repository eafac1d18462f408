"""What a run's step costs on a TPU topology, asked of the TPU compiler on a machine without TPUs.

`python -m presence_t5x.plan --gin_file=configs/runs/NAME.gin --topology=v4:4x4x4 [--json]
[--dump_hlo=DIR] [--suggest] [--t5x] [--utilization=0.4] [--gin.NAME=VALUE]`. Compiles the
configured step and the unweighted one, with `--t5x` T5X's own too where it is installed, and
compares FLOPs, memory, collectives and compile time. Needs no MODEL_DIR,
data or vocabulary; TPU topologies need libtpu (`pip install -c constraints.txt -e ".[tpu]"`).
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from presence_t5x._validate import check_float
from presence_t5x.command_line import OneLineParser, report_error
from presence_t5x.config import load_config, parse_arguments
from presence_t5x.config_types import RunConfig
from presence_t5x.planning.analytic import training_flops
from presence_t5x.planning.compilation import StepPlan, check_rows, compile_step
from presence_t5x.planning.display import PlanContext, plan_as_json, print_plan
from presence_t5x.planning.suggestion import suggest_microbatches
from presence_t5x.planning.t5x_step import check_t5x_installed, compile_t5x_step
from presence_t5x.planning.topology import Topology, get_topology, prepare_environment
from presence_t5x.vocabulary_table import table_setting

PRESENCE, UNWEIGHTED, T5X = "presence", "unweighted", "t5x"
# Required macros that say where data and results are: a plan reads neither.
_UNUSED_MACROS = {
    "MODEL_DIR": '"unused"',
    "INITIAL_CHECKPOINT": '"unused"',
    "LOCAL_TASK_FILES": '"unused"',
    "LOCAL_TEXT_FILES": '"unused"',
    "PREPARED_STORES": '"unused"',
    "VOCABULARY_FILE": '"bytes"',
}


class Options(NamedTuple):
    """The command line besides gin.

    Attributes:
      utilization: share of the chip's peak speed for which chip-hours are stated.
    """

    topology: str
    json: bool = False
    dump_hlo: str | None = None
    suggest: bool = False
    t5x: bool = False
    utilization: float = 0.4


def parse_options(arguments: Sequence[str]) -> Options:
    """Returns the options that a command line sets.

    >>> parse_options(["--topology=cpu:8", "--json"])
    Options(topology='cpu:8', json=True, dump_hlo=None, suggest=False, t5x=False, utilization=0.4)

    Raises:
      ValueError: an unknown argument or value, or no topology.
    """
    options = Options(**vars(_parser().parse_args(arguments)))
    if options.topology is None:
        raise ValueError("--topology is missing, e.g. --topology=v4:4x4x4 or cpu:8")
    return options._replace(utilization=_share(str(options.utilization)))


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m presence_t5x.plan",
        description="Tell what a run's step costs on a TPU topology, from the compiler alone.",
        epilog="--gin_file=FILE and --gin.NAME=VALUE as for presence_t5x.train; MODEL_DIR, data "
        "and vocabulary are not needed.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--topology", metavar="NAME", help="e.g. v4:4x4x4, or cpu:8 for virtual CPUs; needed")
    add("--json", action="store_true", help="one object instead of tables")
    add("--dump_hlo", metavar="DIR", help="gets the compiled programs as text")
    add("--suggest", action="store_true", help="find the largest microbatch that fits first")
    add("--t5x", action="store_true", help="T5X's own step beside it, where T5X is installed")
    add("--utilization", default="0.4", metavar="SHARE",
        help="of the chip's peak speed, for chip-hours (0.4)")  # fmt: skip
    return parser


def load_plan_config(gin_files: Sequence[str], bindings: Sequence[str]) -> RunConfig:
    """Returns the run's settings; what a plan does not need may stay without a value.

    Raises:
      ValueError: as `load_config`, or no vocabulary size.
    """
    config = load_config(gin_files, bindings, _UNUSED_MACROS).counting_from(0)
    if config.model.vocab_size is None:
        raise ValueError(
            "vocab_size=None: a run takes it from its vocabulary, a plan reads none; set the "
            "number of pieces rounded up to a multiple of 128, e.g. "
            f"--gin.{table_setting(config.model)}=32128"
        )
    return config


def make_plan(
    config: RunConfig, topology: Topology, console: Console, weighted: StepPlan | None = None
) -> dict[str, StepPlan]:
    """Compiles the weighted and the unweighted step of a run; says so on `console`.

    A run that is itself unweighted is compared with what its weighting settings would cost.

    Args:
      weighted: the weighted step, if it is compiled already.
    """
    check_rows(config, topology)
    steps = {} if weighted is None else {PRESENCE: weighted}
    for name in (PRESENCE, UNWEIGHTED):
        if name in steps:
            continue
        console.print(f"compiling the {name} step for {topology.name}", markup=False)
        steps[name] = compile_step(_variant(config, name), topology)
    return steps


def chip_hours(flops_per_device: float, topology: Topology, steps: int, share: float) -> float:
    """Returns the hours of all chips together for a run; nan where the peak speed is unknown."""
    if topology.chip is None:
        return float("nan")
    flops = flops_per_device * topology.num_devices * steps
    return flops / (topology.chip.peak_flops * share) / 3600


def _variant(config: RunConfig, name: str) -> RunConfig:
    """Returns the run with its weighting on or off."""
    schedule = config.temperature.schedule
    if (schedule == UNWEIGHTED) == (name == UNWEIGHTED):
        return config
    wanted = UNWEIGHTED if name == UNWEIGHTED else "two_stage"
    temperature = dataclasses.replace(config.temperature, schedule=wanted, points=())
    return dataclasses.replace(config, temperature=temperature)


def _share(text: str) -> float:
    """Parses --utilization."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"--utilization={text!r} must be a number in (0, 1], e.g. 0.4") from None
    check_float("--utilization", value, minimum=0.0, maximum=1.0, exclusive_minimum=True)
    return value


def _write_programs(steps: Mapping[str, StepPlan], directory: str) -> None:
    """Writes the programs' texts to DIR/presence.hlo.txt, DIR/unweighted.hlo.txt and so on."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for name, plan in steps.items():
        (folder / f"{name}.hlo.txt").write_text(plan.hlo_text, encoding="utf-8")


def _run(options: Options, config: RunConfig) -> None:
    """Plans and prints; messages go to standard error, results to standard output."""
    if options.t5x:
        check_t5x_installed()
    topology = get_topology(options.topology)
    messages = Console(stderr=True)
    suggestion = None
    if options.suggest:
        suggestion = suggest_microbatches(_variant(config, PRESENCE), topology, messages)
        config = suggestion.config
    steps = make_plan(config, topology, messages, suggestion.step if suggestion else None)
    if options.t5x:
        messages.print(f"compiling T5X's step for {topology.name}", markup=False)
        steps[T5X] = compile_t5x_step(config, topology)
    hours = {
        name: chip_hours(plan.cost.flops, topology, config.train_steps, options.utilization)
        for name, plan in steps.items()
        if topology.chip is not None
    }
    analytic = training_flops(config) / topology.num_devices
    context = PlanContext(config, topology, analytic, options.utilization, hours)
    if options.dump_hlo:
        _write_programs(steps, options.dump_hlo)
    if options.json:
        print(json.dumps(plan_as_json(steps, context, suggestion)))
    else:
        print_plan(Console(width=None if sys.stdout.isatty() else 100), steps, context)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the plan; errors are one line and exit status 2."""
    files, bindings, rest = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    try:
        options = parse_options(rest)
        config = load_plan_config(files, bindings)
        prepare_environment(options.topology)
        _run(options, config)
    except (ValueError, OSError) as error:
        report_error(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
