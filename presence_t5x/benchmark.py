"""What weighting costs: our steps, plain and weighted, beside T5X's and others', in one process.

    python -m presence_t5x.benchmark [--gin_file=configs/runs/benchmark.gin] [--gin.NAME=VALUE]
        [--blocks=N] [--steps_per_block=N] [--variants=a,b] [--peers=none|all|a,b] [--json]
        [--plot=FILE.svg] [--sweep[=8,16,32,64x1,2,4,8,16]]

Every step is compiled on its own and takes its turn in every round, so that whatever else the
machine does meets all of them alike; figures are medians and their ratios. The data are random
tokens: what is read is not what is measured. `--sweep` measures our steps alone over batch sizes x
numbers of microbatches. How it is done stands in `benchmarking`.
"""

import argparse
import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from presence_t5x.benchmarking import figures, sweep, tables
from presence_t5x.benchmarking.comparison import compare
from presence_t5x.benchmarking.contenders import TRAINING
from presence_t5x.benchmarking.peers import PEERS, find_peers
from presence_t5x.benchmarking.variants import (
    UNWEIGHTED,
    VARIANTS,
    check_variants,
    with_baselines,
)
from presence_t5x.command_line import OneLineParser
from presence_t5x.config import load_config, parse_arguments
from presence_t5x.config_types import RunConfig
from presence_t5x.files import check_writable, write_text_atomically
from presence_t5x.host_memory import keep_freed_memory

_SWEPT = [
    name
    for name, variant in VARIANTS.items()
    if variant.kind == TRAINING and variant.baseline == UNWEIGHTED != name
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; a wrong argument ends it with one line and status 2."""
    keep_freed_memory()
    files, bindings, rest = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser().parse_args(rest)
        config = load_config(files or ["configs/runs/benchmark.gin"], bindings)
        if options.plot is not None:
            check_writable("--plot", options.plot)
        plan = _plan_sweep if options.sweep is not None else _plan_comparison
        shown = plan(options, config)()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.plot is not None:
        write_text_atomically(shown.figure(), options.plot)
    if options.json:
        print(json.dumps(shown.to_json(), indent=2))
    else:
        shown.print(Console(width=None if sys.stdout.isatty() else 100))
    return 0


class _Shown(NamedTuple):
    """A result's three forms."""

    to_json: Callable[[], dict[str, Any]]
    figure: Callable[[], str]
    print: Callable[[Console], None]


def _plan_comparison(options: argparse.Namespace, config: RunConfig) -> Callable[[], _Shown]:
    """Checks what is asked for; returns what measures our variants and the peers."""
    names = with_baselines(options.variants.split(",") if options.variants else VARIANTS)
    check_variants(config, names)
    peers, absent = find_peers(options.peers or "all", config)

    def measure() -> _Shown:
        result = compare(
            config,
            variants=names,
            peers=peers,
            absent=absent,
            blocks=options.blocks,
            steps_per_block=options.steps_per_block,
            say=_say,
        )
        return _Shown(
            result.to_json,
            functools.partial(figures.comparison_figure, result),
            functools.partial(tables.print_comparison, result),
        )

    return measure


def _plan_sweep(options: argparse.Namespace, config: RunConfig) -> Callable[[], _Shown]:
    """Checks what is asked for; returns what measures our variants over a grid."""
    if options.peers not in (None, "none"):
        raise ValueError(f"--peers={options.peers}: peers take no part in a sweep; leave it out")
    names = options.variants.split(",") if options.variants else list(sweep.DEFAULT_VARIANTS)
    unswept = [name for name in with_baselines(names) if name not in (*_SWEPT, UNWEIGHTED)]
    variants = [name for name in names if name != UNWEIGHTED]
    if unswept or not variants:
        raise ValueError(
            f"--variants={options.variants}: a sweep compares {','.join(_SWEPT)} with the "
            "unweighted step; name some of these"
        )
    shapes = sweep.parse_grid(options.sweep)
    for shape in shapes:
        check_variants(sweep.with_shape(config, *shape), variants)

    def measure() -> _Shown:
        result = sweep.run_sweep(
            config,
            shapes,
            variants=variants,
            blocks=options.blocks,
            steps_per_block=options.steps_per_block,
            say=_say,
        )
        return _Shown(
            result.to_json,
            functools.partial(figures.sweep_figure, result),
            functools.partial(tables.print_sweep, result),
        )

    return measure


def _say(line: str) -> None:
    """Tells what happens, where it is in the way of neither tables nor JSON."""
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m presence_t5x.benchmark",
        description="--gin_file=FILE and --gin.NAME=VALUE set the model and the batch.",
        allow_abbrev=False,
    )
    parser.add_argument("--blocks", type=_positive, default=9, help="rounds (9)")
    parser.add_argument("--steps_per_block", type=_positive, default=3, help="timed together (3)")
    parser.add_argument("--variants", help=f"some of {','.join(VARIANTS)} (all of them)")
    parser.add_argument("--peers", help=f"none, all, or some of {','.join(PEERS)} (all)")
    parser.add_argument("--json", action="store_true", help="one object instead of tables")
    parser.add_argument("--plot", type=_svg_file, metavar="FILE.svg", help="also draw it")
    parser.add_argument(
        "--sweep",
        nargs="?",
        const=sweep.DEFAULT_GRID,
        metavar="BATCHESxMICROBATCHES",
        help=f"measure over a grid instead ({sweep.DEFAULT_GRID})",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def _svg_file(text: str) -> Path:
    if Path(text).suffix != ".svg":
        raise argparse.ArgumentTypeError(f"{text!r} must end in .svg")
    return Path(text)


if __name__ == "__main__":
    sys.exit(main())
