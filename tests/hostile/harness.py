"""What every hostile input has in common: how it is made, which command meets it, how it must end.

A corpus is a module of functions that write one input each and return the command's arguments. The
command is called in this process as its `python -m` would call it.
"""

import importlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

MOST_SECONDS = 30


class Place(NamedTuple):
    """Where an input is written.

    Attributes:
      folder: for the input.
      output: the folder that the command's result belongs into; empty.
      valid: intact inputs to be spoilt.
    """

    folder: Path
    output: Path
    valid: Any


class Case(NamedTuple):
    """One hostile input.

    Attributes:
      make: writes it; returns the command's arguments.
      says: patterns that the error must match: what, where, what to do.
    """

    make: Callable[[Place], list[str]]
    command: str
    says: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.command}-{self.make.__name__}"


class Corpus(list):
    """The cases of one module, in order."""

    def add(self, command: str, *says: str):
        """Returns a decorator of the function that makes a case."""

        def register(make):
            self.append(Case(make, command, says))
            return make

        return register


def run(command: str, arguments: list[str]) -> int:
    """Runs `python -m presence_t5x.COMMAND` in this process; returns its exit status."""
    module = f"presence_t5x.{command}" + (".__main__" if command == "convert" else "")
    try:
        return importlib.import_module(module).main(arguments)
    except SystemExit as end:
        return end.code


def check_refused(case: Case, place: Place, capfd) -> None:
    """Asserts that a case ends in one line that helps, and leaves nothing."""
    arguments = case.make(place)
    capfd.readouterr()
    start = time.monotonic()
    status = run(case.command, arguments)
    seconds = time.monotonic() - start
    check_ending(status, capfd.readouterr().err, case.says)
    assert seconds < MOST_SECONDS
    check_nothing_left(place.output)


def check_ending(status: int, messages: str, says: tuple[str, ...]) -> None:
    """Asserts what a command that refuses its input says, and how it ends."""
    assert isinstance(status, int) and status != 0, f"status {status}\n{messages}"
    assert "Traceback" not in messages, messages
    lines = messages.rstrip("\n").split("\n")
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and lines[-1] == errors[0], messages
    assert errors[0].isprintable(), repr(errors[0])
    assert len(errors[0]) < 1500, errors[0]
    for pattern in says:
        assert re.search(pattern, errors[0]), f"{pattern!r} is not in\n{errors[0]}"


def check_nothing_left(output: Path) -> None:
    """Asserts that a folder holds no file but locks, which keep programs apart and stay."""
    left = [path for path in output.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert not left, left
