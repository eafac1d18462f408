"""Where a run writes, and whether the clocks of its hosts and file systems agree."""

import os
import struct
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import jax
import numpy as np

from presence_t5x.config_types import RunConfig
from presence_t5x.diagnosis.findings import Finding
from presence_t5x.diagnosis.resources import nearest_folder
from presence_t5x.resilience import hosts

WARNING_SECONDS, FAULT_SECONDS = 2.0, 60.0


def check_places(config: RunConfig) -> Iterable[Finding]:
    """Yields whether a run can write where it will; leaves nothing there."""
    places = {"MODEL_DIR": config.model_dir}
    if config.data.prepared_dir is not None and config.data.reader == "prepared":
        places["PREPARED_DIR"] = config.data.prepared_dir
    for name, path in places.items():
        yield judge_write(name, path, write_error(Path(path)))


def write_error(path: Path) -> str | None:
    """Returns why no folder can be made, or no file written, at a path; None if both can be."""
    try:
        if path.exists() and not path.is_dir():
            raise NotADirectoryError("it is a file")
        folder = nearest_folder(path)
        above = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
        if not above.is_dir():
            raise NotADirectoryError(f"{above} is a file")
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        return str(error)
    return None


def judge_write(name: str, path: str, error: str | None) -> Finding:
    """Judges an attempt to write."""
    if error is None:
        return Finding("write access", "ok", f"{name}={path!r} can be written")
    what = f"{name}={path!r} cannot be written ({error})"
    return Finding(
        "write access", "fault", what, f"give a {name} in a folder that you may write to"
    )


def check_clocks(config: RunConfig) -> Iterable[Finding]:
    """Yields whether clocks agree: those of all hosts, or this one's and the file system's."""
    if jax.process_count() > 1:
        times = host_times()
        yield judge_clocks([f"host {number}" for number in range(len(times))], times)
        return
    folder = nearest_folder(Path(config.model_dir))
    yield judge_clocks(["this host", f"the file system of {folder}"], file_system_times(folder))


def host_times() -> list[float]:
    """Returns every host's time, in seconds, asked at the same moment."""
    hosts.wait_for_all("presence_t5x.doctor")
    # As bytes: JAX would round a float64 to seconds by the hundred.
    times = hosts.gather_bytes(struct.pack("<d", time.time()))
    return [struct.unpack("<d", packed)[0] for packed in times]


def file_system_times(folder: Path) -> tuple[float, float]:
    """Returns this host's time, and what the file system takes for it, in seconds."""
    handle, path = tempfile.mkstemp(dir=folder, prefix=".doctor")
    try:
        os.write(handle, b"0")
        os.fsync(handle)
        return time.time(), os.stat(path).st_mtime
    finally:
        os.close(handle)
        os.unlink(path)


def judge_clocks(names: Sequence[str], times: Sequence[float]) -> Finding:
    """Judges clocks that were read at the same moment, in seconds."""
    first, last = int(np.argmin(times)), int(np.argmax(times))
    skew = times[last] - times[first]
    if skew <= WARNING_SECONDS:
        return Finding("clocks", "ok", f"{len(times)} clocks agree to {skew:.1f} s")
    what = f"{names[last]} is {skew:.1f} s ahead of {names[first]}"
    verdict = "fault" if skew > FAULT_SECONDS else "warning"
    return Finding("clocks", verdict, what, "synchronise the clocks (chrony, ntpd)")
