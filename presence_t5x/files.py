"""Files that are there whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class DamagedFileError(OSError, ValueError):
    """A file holds something else than it should; the message says which and what to do."""


def write_text_atomically(text: str, path: str | Path) -> None:
    """Replaces a file in one step, so that a reader sees the old text or the new one."""
    write_bytes_atomically(text.encode("utf-8"), path)


def write_bytes_atomically(content: bytes, path: str | Path) -> None:
    """Replaces a file in one step, so that a reader sees the old content or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes files that only their owner may read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a name that no reader looks for; what is written there becomes `path` at the end."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_writable(name: str, path: str | Path) -> None:
    """Raises ValueError unless a file can be written there; makes its folder, leaves no file."""
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a directory")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ValueError(
            f"{name}={str(path)!r} cannot be written ({error}); give the path of a file in a "
            "folder that you may write to"
        ) from error


def check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], where: Path, what: str) -> None:
    """Raises ValueError if what is there came of other settings than what is asked for.

    Args:
      found: settings of what is there.
      wanted: of what would be written.
      where: the file or directory.
      what: it holds, e.g. "scores".
    """
    if differing := differences(found, wanted):
        raise ValueError(
            f"{where} holds other {what}: {'; '.join(differing)}; choose another --output, or "
            "remove it"
        )


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Returns what differs between settings that are there and those that are asked for.

    >>> differences({"seed": 0, "rows": 8}, {"seed": 1, "rows": 8})
    ['seed=0 there, 1 here']
    """
    return [
        f"{name}={found.get(name)!r} there, {wanted.get(name)!r} here"
        for name in sorted({*found, *wanted})
        if found.get(name) != wanted.get(name)
    ]
