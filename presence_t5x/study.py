"""What self-influence sees: `python -m presence_t5x.study NAME --checkpoint=... --input=...`.

Each study writes study.json, study.csv, study.md and study.html to its directory. Stopped, the same
command goes on. What a study does is in `studies`; here its command line is read, and its results
are shown.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging
from rich.console import Console

from presence_t5x.command_line import OneLineParser, exit_status
from presence_t5x.config import parse_arguments
from presence_t5x.host_memory import keep_freed_memory
from presence_t5x.packaged_toml import read_packaged_toml
from presence_t5x.studies import checkpoints, granularity, layers, noise
from presence_t5x.studies.results import CSV_NAME, JSON_NAME, PAGE_NAME, write_study

STUDIES = {
    "noise": noise,
    "layers": layers,
    "checkpoints": checkpoints,
    "granularity": granularity,
}
_EPILOG = """\
--config=NAME (of configs/studies) or FILE.toml holds options by their names, e.g. documents = 40;
those of the command line count more. --gin_file and --gin.NAME=VALUE are as for presence_t5x.score.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a study; errors are one line and exit status 2."""
    keep_freed_memory()
    logging.set_verbosity(logging.ERROR)  # Orbax warns about files that T5X does not write
    files, bindings, rest = parse_arguments(sys.argv[1:] if arguments is None else arguments)

    def command() -> None:
        options = _parser().parse_args(_with_config(rest))
        options.gin = (files, bindings)
        _show(options, write_study(Path(options.output), STUDIES[options.study].run(options)))

    return exit_status(command)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m presence_t5x.study", allow_abbrev=False)
    studies = parser.add_subparsers(dest="study", required=True, parser_class=OneLineParser)
    for name, module in STUDIES.items():
        study = studies.add_parser(
            name,
            help=module.HELP,
            description=(module.__doc__ or "").splitlines()[0],
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        study.add_argument("--config", metavar="NAME", help="of configs/studies, or FILE.toml")
        module.add_arguments(study)
    return parser


def _with_config(words: Sequence[str]) -> list[str]:
    """Returns a command line with the settings of its --config in front of its own.

    Raises:
      ValueError: no such file, or a setting that no option can be.
    """
    config = OneLineParser(add_help=False, allow_abbrev=False)
    config.add_argument("--config", action="append", default=[])
    settings = []
    for name in config.parse_known_args(words)[0].config:
        path, content = read_packaged_toml(name, "studies")
        settings += [_as_option(path, *item) for item in content.items()]
    return [*words[:1], *(word for word in settings if word), *words[1:]]


def _as_option(path: Path, name: str, value: Any) -> str:
    """Returns the argument that says the same as a setting; "" for a switch that is off."""
    if isinstance(value, bool):
        return f"--{name}" if value else ""
    if isinstance(value, dict):
        raise ValueError(f"{path}: {name} is a table; a study's settings are options by name")
    items = value if isinstance(value, list) else [value]
    return f"--{name}={','.join(map(str, items))}"


def _show(options: argparse.Namespace, study: dict[str, Any]) -> None:
    """Prints what was found, and where the rest is."""
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    for line in study["findings"]:
        console.print(line, markup=False)
    names = (PAGE_NAME, "study.md", CSV_NAME, JSON_NAME)
    console.print(f"results: {', '.join(str(Path(options.output) / name) for name in names)}")


if __name__ == "__main__":
    sys.exit(main())
