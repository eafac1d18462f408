"""What the commands' parsers share."""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """Raises ValueError with one line where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; --help lists the arguments")


def one_line(error: BaseException) -> str:
    """Returns what an error says, as one line that no terminal takes for a command.

    >>> one_line(ValueError("no file a\\n\\x1b[31m.txt"))
    'no file a \\\\x1b[31m.txt'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def report_error(error: BaseException) -> None:
    """Prints an error for people, on one line."""
    print(f"error: {one_line(error)}", file=sys.stderr, flush=True)


def exit_status(command: Callable[[], object], *also: type[Exception]) -> int:
    """Runs a command that the same call continues; returns its exit status.

    Errors of settings and files, and those of classes in `also`, are one line and status 2, an
    interruption is 130.
    """
    try:
        command()
    except (ValueError, OSError, *also) as error:
        report_error(error)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        return 130
    return 0


def import_modules(modules: Sequence[str]) -> None:
    """Imports what --module_import names, before anything asks for what it registers.

    Raises:
      ValueError: one cannot be imported.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ValueError(f"--module_import={module}: {error}") from error


def parse_task_files(arguments: Sequence[str]) -> str | dict[str, str] | None:
    """Returns what --task_files=... names, given once or more: a pattern, or one for each split.

    >>> parse_task_files(["train=a/*.jsonl", "test=b/*.jsonl"])
    {'train': 'a/*.jsonl', 'test': 'b/*.jsonl'}

    Raises:
      ValueError: a mixture of both, or a split twice.
    """
    if len(arguments) < 2 and not any("=" in argument for argument in arguments):
        return arguments[0] if arguments else None
    pairs = [argument.partition("=") for argument in arguments]
    if len({split for split, _, _ in pairs}) < len(pairs) or not all(p for _, _, p in pairs):
        raise ValueError(
            f"--task_files={' '.join(arguments)}: give one pattern, or SPLIT=PATTERN once for each "
            "split"
        )
    return {split: pattern for split, _, pattern in pairs}
