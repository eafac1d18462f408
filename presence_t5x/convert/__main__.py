"""The command: `python -m presence_t5x.convert --from=t5x|hf|presence --to=... SOURCE TARGET`."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from absl import logging
from rich.console import Console

from presence_t5x.command_line import OneLineParser, report_error
from presence_t5x.convert.conversion import Conversion, Report, convert
from presence_t5x.convert.formats import FORMATS
from presence_t5x.convert.logits import LIMIT
from presence_t5x.convert.train_states import Network

_EPILOG = """\
t5x        checkpoint_STEP, or a MODEL_DIR with some; Orbax and the older layout are read, the older
           one, which T5X reads as well, is written: TARGET/checkpoint_STEP; encoder-decoders alone
hf         a folder with config.json and safetensors: t5 (v1.1, ByT5), mt5, umt5, llama, xlm-roberta
presence   a MODEL_DIR of presence_t5x.train, or MODEL_DIR/checkpoints/STEP
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Converts and reports; errors are one line and exit status 2."""
    logging.set_verbosity(logging.ERROR)  # Orbax warns about files that T5X does not write
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        options = _parser().parse_args(arguments)
        report = convert(_conversion(options))
    except (ValueError, OSError) as error:
        report_error(error)
        return 2
    if options.json:
        print(json.dumps(_as_json(report), indent=2))
    else:
        _print(report, Console(width=None if sys.stdout.isatty() else 100))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m presence_t5x.convert",
        description="Convert a checkpoint between T5X, Hugging Face and this package.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--from", dest="source_format", required=True, choices=FORMATS, help="of SOURCE")
    add("--to", dest="target_format", required=True, choices=FORMATS, help="of TARGET")
    add("source", metavar="SOURCE", help="is only read")
    add("target", metavar="TARGET", help="must not exist")
    add("--network", default="t5", choices=get_args(Network),
        help="whose parameters --to=t5x writes: T5X's examples.t5 (layers apart), its examples."
        "scalable_t5 (stacked, a position table each), or this package's scanned model under T5X's "
        "trainer (t5)")  # fmt: skip
    add("--scan_layers", choices=("true", "false"),
        help="--to=presence: stack layers (as in SOURCE)")  # fmt: skip
    add("--vocab_size", type=int, metavar="ROWS", help="of the token table (as in SOURCE)")
    add("--parameters_only", action="store_true", help="leave the optimizer's state out")
    add("--drop_unmapped", action="store_true", help="go on without parameters that do not map")
    add("--skip_check", action="store_true", help="do not compare logits")
    add("--json", action="store_true", help="report as one object")
    return parser


def _conversion(options: argparse.Namespace) -> Conversion:
    """Returns what the command line asks for.

    Raises:
      ValueError: options that do not belong together.
    """
    if options.network != "t5" and options.target_format != "t5x":
        raise ValueError(f"--network={options.network} belongs to --to=t5x")
    if options.scan_layers is not None and options.target_format != "presence":
        raise ValueError(f"--scan_layers={options.scan_layers} belongs to --to=presence")
    if options.vocab_size is not None and options.vocab_size < 1:
        raise ValueError(f"--vocab_size={options.vocab_size} must be >= 1")
    return Conversion(
        source=Path(options.source),
        target=Path(options.target),
        source_format=options.source_format,
        target_format=options.target_format,
        network=options.network,
        scan_layers=None if options.scan_layers is None else options.scan_layers == "true",
        vocab_size=options.vocab_size,
        parameters_only=options.parameters_only,
        drop_unmapped=options.drop_unmapped,
        check=not options.skip_check,
    )


def _as_json(report: Report) -> dict[str, Any]:
    values = report._asdict() | {"location": str(report.location)}
    return values | {"checks": [check._asdict() for check in report.checks]}


def _print(report: Report, console: Console) -> None:
    """Prints what was written, what was decided, what was left out, and what was checked."""

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    state = "with" if report.has_optimizer_state else "without"
    say(f"wrote {report.location}")
    say(f"{report.num_parameters:,} parameters, step {report.step}, {state} optimizer state")
    for note in report.notes:
        say(f"note: {note}")
    for name in report.dropped:
        say(f"not mapped: {name}")
    for check in report.checks:
        if check.difference is None:
            say(f"unchecked: {check.subject}: {check.reason}")
        else:
            say(f"logits equal to {check.difference:.1e} (limit {LIMIT:g}): {check.subject}")


if __name__ == "__main__":
    sys.exit(main())
