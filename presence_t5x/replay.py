"""A step that a run could not survive, once more: `python -m presence_t5x.replay MODEL_DIR`.

Runs exactly that step from the state and the rows that the run left (`resilience.bad_steps`) and
shows every unit and example, and in which layer a number first went bad.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from presence_t5x.command_line import OneLineParser, exit_status
from presence_t5x.config import load_config
from presence_t5x.resilience.bad_steps import find_bad_step
from presence_t5x.resilience.replaying import Replay, replay
from presence_t5x.run_log import plain_numbers

_MOST_EXAMPLES = 40  # shown on a terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Replays and shows; errors are one line and exit status 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return exit_status(lambda: _run(_parser().parse_args(words)))


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m presence_t5x.replay",
        description="Run a step again whose numbers went bad, and show where they did.",
    )
    parser.add_argument("model_dir", metavar="MODEL_DIR", help="of presence_t5x.train")
    parser.add_argument("--step", type=int, help="which of its bad steps (default: the latest)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _run(options: argparse.Namespace) -> None:
    model_dir = Path(options.model_dir)
    folder = find_bad_step(model_dir, options.step)
    found = replay(load_config([str(model_dir / "config.gin")]), folder)
    if options.json:
        print(json.dumps(plain_numbers(found._asdict()), ensure_ascii=False))
    else:
        show(found, Console())


def show(found: Replay, console: Console) -> None:
    """Shows a replay: first where, then which units and examples."""
    outcome = "skipped again" if found.skipped else "not skipped this time"
    console.print(f"step {found.step}: the update is {outcome}", highlight=False)
    for what, paths in (
        ("parameters", found.nonfinite_parameters),
        ("gradients (backward order)", found.nonfinite_gradients),
    ):
        more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
        text = f"{', '.join(paths[:5])}{more}" if paths else "none"
        console.print(f"{what} that are not finite: {text}", highlight=False, markup=False)
    layer = found.first_nonfinite_layer or "none: the forward pass is finite"
    console.print(f"first layer that is not finite: {layer}", highlight=False, markup=False)
    if found.units:
        console.print(_table("units", found.units))
    worst = sorted(found.examples, key=lambda row: row["finite"])[:_MOST_EXAMPLES]
    console.print(_table(f"examples ({len(worst)} of {len(found.examples)})", worst))


def _table(title: str, rows: Sequence[dict]) -> Table:
    """Returns rows of one kind as a table."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    return table


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value[:4])) + (" ..." if len(value) > 4 else "")
    return f"{value:.5g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
