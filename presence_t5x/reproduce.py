"""From a plan to the paper's tables: `python -m presence_t5x.reproduce --plan=PLAN`.

Runs every pre-training, fine-tuning and evaluation that the plan's tables need, each in a process
of its own, and writes `tables.json`, `plan.json`, `tables.md`, `tables/NAME.csv` and `index.html`.
The same command again goes on where it was stopped; `--tables_only` writes the tables of what is
done.
"""

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from presence_t5x._validate import check_int
from presence_t5x.command_line import OneLineParser, exit_status
from presence_t5x.files import write_text_atomically
from presence_t5x.reproduction.bootstrap import BootstrapConfig
from presence_t5x.reproduction.display import ProgressDisplay
from presence_t5x.reproduction.execution import UnitFailedError, run_units
from presence_t5x.reproduction.expansion import expand
from presence_t5x.reproduction.measured import measure, measure_held_out
from presence_t5x.reproduction.page import render_page
from presence_t5x.reproduction.plan_files import load_plan
from presence_t5x.reproduction.plans import Plan
from presence_t5x.reproduction.protocol import protocols
from presence_t5x.reproduction.records import done_seconds
from presence_t5x.reproduction.rows import Row, make_rows
from presence_t5x.reproduction.saved_tables import SavedTables, write_saved
from presence_t5x.reproduction.summary import findings, transfer_lines
from presence_t5x.reproduction.text_files import markdown, table_csv
from presence_t5x.reproduction.units import KINDS, Work

TABLES_MARKDOWN, PAGE = "tables.md", "index.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; a wrong setting ends it with one line and status 2."""
    signal.signal(signal.SIGTERM, _interrupt)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        return exit_status(lambda: reproduce(_parser().parse_args(words)))
    except UnitFailedError as error:
        print(f"error: {error}\nrun the same command again to continue", file=sys.stderr)
        return 1


def reproduce(options: argparse.Namespace) -> None:
    """Does what a command line asks for.

    Raises:
      ValueError: anything that could be known to be wrong before the first unit.
      UnitFailedError: a unit failed.
    """
    plan = load_plan(
        options.plan, data_dir=options.data_dir, quick=options.quick, seeds=options.seeds
    )
    jobs = plan.jobs if options.jobs is None else options.jobs
    check_int("--jobs", jobs, minimum=1)
    output = Path(options.output_dir or _default_directory(plan, options.quick)).resolve()
    work = expand(plan)
    config = BootstrapConfig(num_replicates=options.num_replicates)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if options.dry_run:
        print_commands(plan, work, output)
        return
    done = done_seconds(work.units, output)
    console.print(_overview(work, len(done), output), markup=False)
    if not options.tables_only:
        display = ProgressDisplay(console, work.units, done, jobs)
        try:
            run_units(work.units, output, jobs=jobs, display=display)
        finally:
            display.close()
    rows = write_tables(plan, work, output, config)
    for line in [*findings(plan, rows), *transfer_lines(plan, rows)]:
        console.print(line, markup=False)
    print(f"tables: {output / TABLES_MARKDOWN}\npage:   {output / PAGE}")


def write_tables(plan: Plan, work: Work, output: Path, config: BootstrapConfig) -> list[Row]:
    """Writes the tables of what is done so far; returns their rows.

    Raises:
      ValueError: damaged results.
    """
    measured = measure(plan, work.cells, output) | measure_held_out(plan, work, output)
    rows = make_rows(plan, measured, config)
    told = protocols(plan, work, output, config)
    write_saved(SavedTables(plan, rows, told), output)
    write_text_atomically(markdown(plan, rows, told), output / TABLES_MARKDOWN)
    for table in plan.tables:
        write_text_atomically(table_csv(table, rows), output / "tables" / f"{table.name}.csv")
    write_text_atomically(render_page(plan, rows, told), output / PAGE)
    return rows


def print_commands(plan: Plan, work: Work, output: Path) -> None:
    """Prints every command in order with its number of steps, and what cannot be run."""
    for unit in work.units:
        steps = f", {unit.num_steps:,} steps" if unit.num_steps else ""
        print(f"# {unit.name}{steps}\n{shlex.join(unit.command(output, 'python'))}")
    for found in plan.pretrainings:
        if found.unavailable:
            print(f"# not run: {found.name}: {found.unavailable}")
    print(f"# {_overview(work, 0, output)}")


def _overview(work: Work, num_done: int, output: Path) -> str:
    counts = {kind: sum(unit.kind == kind for unit in work.units) for kind in KINDS}
    kinds = ", ".join(f"{number} to {kind}" for kind, number in counts.items() if number)
    steps = sum(unit.num_steps for unit in work.units)
    number = len(work.units)
    return f"{number} units ({kinds}), {steps:,} training steps; {num_done} are done; {output}"


def _default_directory(plan: Plan, quick: bool) -> str:
    return f"runs/{plan.name}{'_quick' if quick else ''}"


def _interrupt(number, frame) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m presence_t5x.reproduce",
        description="Pre-train, fine-tune and evaluate what a plan asks for; write its tables.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--plan", required=True, metavar="NAME", help="of configs/plans, or a .toml file")
    add("--output_dir", metavar="DIR", help="(default: runs/PLAN)")
    add("--seeds", type=int, metavar="N", help="how many (default: the plan's)")
    add("--quick", action="store_true", help="the plan's shorter settings")
    add("--data_dir", metavar="DIR", help="your files, for plans that read them")
    add("--jobs", type=int, metavar="N", help="units at once, sharing cores (default: the plan's)")
    add("--num_replicates", type=int, default=2000, metavar="N", help="of the bootstrap")
    add("--dry_run", action="store_true", help="print the commands, run nothing")
    add("--tables_only", action="store_true", help="run nothing; tables of what is done")
    return parser


if __name__ == "__main__":
    sys.exit(main())
