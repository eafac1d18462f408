"""Is everything there that a run needs? `python -m presence_t5x.doctor [--gin_file=... ]`.

Looks at Python, packages, limits and devices; with a gin file also at mesh, memory, disk, data,
vocabulary, write access and clocks of that run. Writes nothing that stays. Exit status: 0 where
nothing is wrong (warnings may be), 1 where something is, 2 for a wrong command line.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from absl import logging
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from presence_t5x.command_line import OneLineParser, exit_status
from presence_t5x.config import load_config, parse_arguments
from presence_t5x.config_types import RunConfig
from presence_t5x.diagnosis.environment import check_environment
from presence_t5x.diagnosis.findings import VERDICTS, Finding, from_error, look, worst

_STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Diagnoses and reports; returns the exit status."""
    logging.set_verbosity(logging.ERROR)
    files, bindings, rest = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    findings: list[Finding] = []

    def run() -> None:
        options = _parser().parse_args(rest)
        if bindings and not files:
            raise ValueError(f"--gin.{bindings[0]} changes the settings of a run; add --gin_file")
        findings.extend(diagnose(files, bindings, thorough=options.thorough))
        report(findings, as_json=options.json)

    return exit_status(run) or int(worst(findings) == "fault")


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m presence_t5x.doctor",
        description="Look at this machine and, with --gin_file, at a run; tell every fault's fix.",
        epilog="--gin_file=FILE and --gin.NAME=VALUE as for presence_t5x.train.",
        allow_abbrev=False,
    )
    parser.add_argument("--thorough", action="store_true", help="read all of the run's stores")
    parser.add_argument("--json", action="store_true", help="print one object")
    return parser


def diagnose(
    gin_files: Sequence[str], bindings: Sequence[str] = (), *, thorough: bool = False
) -> list[Finding]:
    """Returns what there is to say of this machine and, with gin files, of a run on it."""
    findings: list[Finding] = []
    parts = 0
    if gin_files:
        try:
            config = load_config(gin_files, bindings)
            findings = [Finding("settings", "ok", ", ".join(gin_files)), *_run(config, thorough)]
            parts = _num_store_parts(config)
        except ValueError as error:
            findings = [from_error("settings", error)]
    from presence_t5x.diagnosis.resources import check_devices  # it imports Orbax

    return [
        *look("environment", lambda: check_environment(parts)),
        *look("devices", check_devices),
        *findings,
    ]


def _run(config: RunConfig, thorough: bool) -> list[Finding]:
    """Returns what there is to say of a run."""
    # They import Orbax and TensorFlow, which takes seconds.
    from presence_t5x.diagnosis import places, resources, run_data

    vocabulary = look("vocabulary", lambda: run_data.check_vocabulary(config))
    fits = []
    if config.model.vocab_size is not None or worst(vocabulary) != "fault":
        fits = look("mesh", lambda: resources.check_run(run_data.sized(config)))
    return [
        *vocabulary,
        *look("data", lambda: run_data.check_run_data(config, thorough=thorough)),
        *fits,
        *look("write access", lambda: places.check_places(config)),
        *look("clocks", lambda: places.check_clocks(config)),
    ]


def _num_store_parts(config: RunConfig) -> int:
    """Returns how many files of token stores a run keeps open; 0 where they cannot be opened."""
    from presence_t5x.data.token_store import read_manifest
    from presence_t5x.diagnosis.run_data import store_directories

    try:
        return sum(len(read_manifest(found)["parts"]) for found in store_directories(config))
    except (OSError, ValueError):
        return 0  # told by the check of the data


def report(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Prints findings for people, or as one object."""
    if as_json:
        content = {"verdict": worst(findings), "findings": [one._asdict() for one in findings]}
        print(json.dumps(content, indent=2))
        return
    table = Table(box=box.SIMPLE)
    for name in ("check", "verdict", "found", "fix"):
        table.add_column(name, overflow="fold")
    for one in findings:
        verdict = Text(one.verdict, style=_STYLES[one.verdict])
        table.add_row(Text(one.check), verdict, Text(one.what), Text(one.fix))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    counts = [f"{sum(one.verdict == kind for one in findings)} {kind}" for kind in VERDICTS]
    print(", ".join(counts))


if __name__ == "__main__":
    sys.exit(main())
