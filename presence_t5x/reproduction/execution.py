"""Runs units of work, each in a process of its own, and takes up what is done.

A unit's directory holds `log.txt` and its record (see `records`). The same call again skips what is
done with the same fingerprint and runs the rest; a training that was stopped goes on from its
checkpoint. A unit of another fingerprint is never overwritten. What was made of a need that was run
again since is set aside and made anew.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from presence_t5x.provenance import source_commit
from presence_t5x.reproduction.records import (
    TIME_FORMAT,
    Record,
    done_seconds,
    set_stale_aside,
    write_record,
)
from presence_t5x.reproduction.units import MODEL_DIR, Unit
from presence_t5x.run_log import METRICS

LOG = "log.txt"
_LOCK = ".reproduce.lock"
_SECONDS_BETWEEN_LOOKS = 0.2
_LAST_LINES = 15
_MOST_OF_A_LINE = 65_536  # bytes
# Small runs compile longer than they train.
_ENVIRONMENT = {
    "JAX_COMPILATION_CACHE_DIR": "compilation_cache",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    "PYTHONUNBUFFERED": "1",
    "COLUMNS": "120",
}


class Display(Protocol):
    """Where progress is shown."""

    def start(self, unit: Unit) -> None:
        """A unit has begun."""
        ...

    def tell(self, text: str) -> None:
        """Something that whoever started this should know."""
        ...

    def advance(self, shares: Mapping[str, float]) -> None:
        """The share of each running unit that is done, by name; 0 where it is not known."""
        ...

    def finish(self, unit: Unit, seconds: float) -> None:
        """A unit is done."""
        ...


class UnitFailedError(RuntimeError):
    """A unit ended with an error; the message names its log and quotes the end of it."""


def run_units(units: Sequence[Unit], output: Path, *, jobs: int, display: Display) -> None:
    """Runs what is not done yet, `jobs` at a time, each after what it needs.

    Args:
      units: in an order in which they can run.
      output: the plan's directory, made if it is missing.
      jobs: processes at once; more than one share the cores evenly.
      display: where progress is shown.

    Raises:
      ValueError: as `done_seconds`, or another process runs in this directory.
      UnitFailedError: a command failed; units that run beside it are stopped.
    """
    output.mkdir(parents=True, exist_ok=True)
    with _only_one(output) as lock:
        done = done_seconds(units, output)
        waiting = [unit for unit in units if unit.name not in done]
        finished, running = set(done), dict[int, _Process]()
        try:
            while waiting or running:
                for place in sorted(set(range(jobs)) - running.keys()):
                    unit = next((u for u in waiting if finished.issuperset(u.needs)), None)
                    if unit is not None:
                        waiting.remove(unit)
                        if old := set_stale_aside(unit, output):
                            display.tell(
                                f"{unit.name}: what it needs was run again, so it starts anew; "
                                f"what was there is in {old}"
                            )
                        running[place] = _Process(unit, output, _cores(place, jobs), lock)
                        display.start(unit)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                for place, process in [*running.items()]:
                    if (seconds := process.poll()) is not None:
                        del running[place]
                        finished.add(process.unit.name)
                        display.finish(process.unit, seconds)
                display.advance({p.unit.name: p.share_done() for p in running.values()})
        finally:
            for process in running.values():
                process.stop()


class _Process:
    """A running unit."""

    def __init__(self, unit: Unit, output: Path, cores: Sequence[int], lock: int):
        self.unit, self._directory = unit, output / unit.name
        self._directory.mkdir(parents=True, exist_ok=True)
        command = unit.command(output, sys.executable)
        self._record = Record(
            fingerprint=unit.fingerprint,
            command=command,
            started=time.strftime(TIME_FORMAT),
            commit=source_commit(),
        )
        write_record(self._record, self._directory)
        self._log_path = self._directory / LOG
        self._log_start = self._log_path.stat().st_size if self._log_path.exists() else 0
        self._start = time.perf_counter()
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **_environment(output)},
                # Where this process is killed, the directory is taken until its units have ended.
                pass_fds=(lock,),
            )
        if cores:
            with contextlib.suppress(ProcessLookupError):  # it may have ended already
                os.sched_setaffinity(self._process.pid, cores)

    def poll(self) -> float | None:
        """Returns the seconds it took if it is done, None while it runs.

        Raises:
          UnitFailedError: it failed.
        """
        status = self._process.poll()
        if status is None:
            return None
        if status != 0:
            raise UnitFailedError(
                f"{self.unit.name} failed with status {status}; the end of {self._log_path}:\n"
                + self._last_lines()
            )
        seconds = time.perf_counter() - self._start
        done = dataclasses.replace(self._record, seconds=round(seconds, 1))
        write_record(done, self._directory)
        return seconds

    def share_done(self) -> float:
        """Returns which share of a training's steps is logged."""
        if not self.unit.num_steps:
            return 0.0
        num_steps = _logged_steps(self._directory / MODEL_DIR / METRICS)
        return min(num_steps / self.unit.num_steps, 1.0)

    def stop(self) -> None:
        """Ends it; what it wrote whole stays."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _last_lines(self) -> str:
        with self._log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode("utf-8", "replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_LAST_LINES:])


def _logged_steps(path: Path) -> int:
    """How many steps lie between the first and the last whole line; 0 where there are none."""
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline())["step"]
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _MOST_OF_A_LINE))
            lines = file.read().split(b"\n")[:-1]
        return int(json.loads(lines[-1])["step"] - first)
    except (OSError, ValueError, IndexError, KeyError):
        return 0


def _environment(output: Path) -> dict[str, Any]:
    """What every command sees besides what this process does; the user's own values go first."""
    found = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    if "JAX_COMPILATION_CACHE_DIR" in found:
        found["JAX_COMPILATION_CACHE_DIR"] = str(output / found["JAX_COMPILATION_CACHE_DIR"])
    return found


def _cores(place: int, jobs: int) -> list[int]:
    """The cores of one of several jobs; none: wherever the system likes."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(0))[place::jobs]


@contextlib.contextmanager
def _only_one(output: Path) -> Iterator[int]:
    """Holds a directory while its units run; yields the descriptor of the lock."""
    with (output / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"{output} is in use by another reproduction, or by units that one left running "
                "when it was killed; wait for them, end them, or choose another --output_dir"
            ) from error
        yield file.fileno()
