"""Faults on purpose: `bash scripts/chaos.sh [--short] [OUTPUT_DIR]`, seed from CHAOS_SEED.

Runs a small job whole, then again and again with a fault at a random instant: killed, out of disk
during a save, its newest checkpoint corrupted, one of two hosts killed. Each time the same command
is run again, and must end with the same bits. `outcomes.json` has a record for each fault.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from presence_t5x.command_line import OneLineParser, exit_status
from presence_t5x.files import write_text_atomically
from presence_t5x.resilience import injection
from presence_t5x.resilience.chaos_job import Job, UnexpectedError, write_texts

_NUMBERS = {"kill": 20, "disk_full": 5, "corrupt_checkpoint": 5, "host_killed": 5}
_SHORT = {"kill": 3, "disk_full": 1, "corrupt_checkpoint": 1, "host_killed": 1}
_FAULTS: dict[str, Callable[[Job, random.Random], int]] = {
    "kill": injection.kill,
    "disk_full": injection.fill_the_disk,
    "corrupt_checkpoint": injection.corrupt_newest_checkpoint,
    "host_killed": injection.kill_a_host,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Injects and reports; status 2 if anything was lost."""
    logging.set_verbosity(logging.ERROR)  # Orbax warns about files that it does not need
    options = None

    def run() -> None:
        nonlocal options
        options = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
        if not _run(Path(options.output_dir), _SHORT if options.short else _NUMBERS):
            raise ValueError(f"something was lost: see {options.output_dir}/outcomes.json")

    return exit_status(run)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="bash scripts/chaos.sh",
        description="Break a small run in every way, and see that nothing is lost.",
    )
    parser.add_argument("output_dir", nargs="?", default="runs/chaos", metavar="OUTPUT_DIR")
    parser.add_argument("--short", action="store_true", help="3 kills and one of each other fault")
    return parser


def _run(output: Path, numbers: dict[str, int]) -> bool:
    """Runs every fault and writes the outcomes; returns whether nothing was lost."""
    seed = int(os.environ.get("CHAOS_SEED", "0"))
    output.mkdir(parents=True, exist_ok=True)
    write_texts(output / "texts")
    whole: dict[int, dict[str, str]] = {}
    outcomes: list[dict[str, Any]] = []
    for fault, number in numbers.items():
        for index in range(number):
            hosts = 2 if fault == "host_killed" else 1
            if hosts not in whole:
                job = Job(output, f"whole_on_{hosts}", hosts)
                whole[hosts] = job.finish_fresh()
            job = Job(output, f"{fault}_{index}", hosts)
            start = time.perf_counter()
            record = _one(job, fault, random.Random(f"{seed}/{fault}/{index}"), whole[hosts])
            outcomes.append(record | {"seconds": round(time.perf_counter() - start, 1)})
            text = json.dumps(outcomes, indent=1) + "\n"
            write_text_atomically(text, output / "outcomes.json")
            print(
                f"{fault} {index + 1}/{number} at step {record['injected_at_step']}: "
                f"{record['outcome']}",
                file=sys.stderr,
                flush=True,
            )
    return all(record["outcome"] == "identical" for record in outcomes)


def _one(job: Job, fault: str, rng: random.Random, whole: dict[str, str]) -> dict[str, Any]:
    """Runs a job with a fault and again without; returns its record."""
    step, outcome, found = None, "identical", {}
    job.clear()
    try:
        step = _FAULTS[fault](job, rng)
        found = job.finish()
    except UnexpectedError as error:
        outcome = f"{error}"
    differing = [name for name, value in whole.items() if found.get(name) != value]
    if found and differing:
        outcome = f"differs: {', '.join(differing)}"
    record = {"fault": fault, "injected_at_step": step, "outcome": outcome}
    hashes = {name: found.get(name) for name in whole}
    return record | hashes | {f"uninterrupted_{name}": value for name, value in whole.items()}


if __name__ == "__main__":
    sys.exit(main())
