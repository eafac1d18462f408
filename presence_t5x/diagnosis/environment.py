"""Python, packages, and what the system allows."""

import importlib.metadata
import importlib.resources
import importlib.util
import re
import resource
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from presence_t5x.diagnosis.findings import Finding
from presence_t5x.optional_modules import install_extra

OLDEST_PYTHON, TESTED_PYTHON = (3, 11), (3, 11)
_OTHER_FILES = 256  # libraries, sockets, logs, checkpoints
_NAMES_SHOWN = 5
_TPU_DEVICES = ("/dev/accel0", "/dev/vfio/0")


def check_environment(num_store_parts: int) -> Iterable[Finding]:
    """Yields findings on this process.

    Args:
      num_store_parts: files of token stores that a run keeps open.
    """
    yield judge_python(sys.version_info[:2])
    yield judge_versions(installed_versions(), tested_versions(), required_packages())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield judge_open_files(soft, hard, num_store_parts)
    has_tpu = any(Path(device).exists() for device in _TPU_DEVICES)
    yield judge_tpu_extra(has_tpu, importlib.util.find_spec("libtpu") is not None)
    yield judge_t5x_extra(
        importlib.util.find_spec("t5x") is not None,
        [name for name in ("cached_property", "fiddle") if importlib.util.find_spec(name) is None],
    )


def judge_python(version: tuple[int, ...]) -> Finding:
    """Judges the version of Python."""
    shown, tested = (".".join(map(str, found)) for found in (version, TESTED_PYTHON))
    if version < OLDEST_PYTHON:
        fix = f"install Python {tested} and make the environment anew"
        return Finding("python", "fault", f"Python {shown} is too old", fix)
    if version != TESTED_PYTHON:
        what = f"Python {shown}; the tested one is {tested}"
        return Finding("python", "warning", what, f"use Python {tested} if anything is odd")
    return Finding("python", "ok", f"Python {shown}")


def judge_versions(
    installed: Mapping[str, str], tested: Mapping[str, str], required: Iterable[str]
) -> Finding:
    """Judges installed packages against those that were tested together.

    Args:
      installed: versions by normalised name.
      tested: the same, of constraints.txt.
      required: names of what must be there.
    """
    install = "pip install --constraint constraints.txt -e .  (in a checkout)"
    missing = sorted(name for name in required if name not in installed)
    if missing:
        return Finding("packages", "fault", f"not installed: {_some(missing)}", install)
    differing = [
        f"{name} {installed[name]} (tested {version})"
        for name, version in sorted(tested.items())
        if installed.get(name, version) != version
    ]
    if differing:
        what = f"{len(differing)} versions are not those tested: {_some(differing)}"
        return Finding("packages", "warning", what, install)
    number = sum(name in installed for name in tested)
    return Finding("packages", "ok", f"{number} packages in the versions that were tested")


def judge_open_files(soft: int, hard: int, num_store_parts: int) -> Finding:
    """Judges how many files this process may open (-1: any number)."""
    needed = num_store_parts + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        shown = "any number of" if soft == resource.RLIM_INFINITY else f"{soft:,}"
        return Finding("open files", "ok", f"{shown} files may be open, {needed:,} are needed")
    what = f"{soft:,} files may be open, {needed:,} are needed (stores: {num_store_parts:,} parts)"
    can_raise = hard == resource.RLIM_INFINITY or hard >= needed
    fix = f"ulimit -n {needed}" + ("" if can_raise else ", after root raised the hard limit")
    return Finding("open files", "fault", what, fix)


def judge_tpu_extra(has_tpu: bool, has_libtpu: bool) -> Finding:
    """Judges whether this machine's TPUs can be used."""
    if has_tpu and not has_libtpu:
        what = "this machine has TPUs, but libtpu is not installed: JAX would use its CPU"
        return Finding("extra tpu", "fault", what, f"{install_extra('tpu')}  (in a checkout)")
    if not has_libtpu:
        return Finding("extra tpu", "ok", "libtpu is not installed; no TPU is here to need it")
    return Finding("extra tpu", "ok", "libtpu is installed")


def judge_t5x_extra(has_t5x: bool, missing: list[str]) -> Finding:
    """Judges whether the trainer for T5X can be used."""
    if has_t5x and missing:
        what = f"T5X is here, but not {', '.join(missing)}, which it needs"
        return Finding("extra t5x", "warning", what, f"{install_extra('t5x')}  (in a checkout)")
    shown = "T5X is installed" if has_t5x else "T5X is not installed; its trainer alone needs it"
    return Finding("extra t5x", "ok", shown)


def parse_constraints(text: str) -> dict[str, str]:
    """Returns versions by normalised name.

    >>> parse_constraints("# tested\\njax==0.10.2\\nabsl_py==2.5.1\\n")
    {'jax': '0.10.2', 'absl-py': '2.5.1'}
    """
    pairs = (line.split("#")[0].strip().partition("==") for line in text.splitlines())
    return {_normalised(name): version for name, equals, version in pairs if equals}


def tested_versions() -> dict[str, str]:
    """Returns the versions that were tested together; packaged beside this code."""
    file = importlib.resources.files("presence_t5x").joinpath("constraints.txt")
    return parse_constraints(file.read_text(encoding="utf-8"))


def installed_versions() -> dict[str, str]:
    """Returns the versions of everything that is installed, by normalised name."""
    found = importlib.metadata.distributions()
    return {_normalised(one.metadata["Name"]): one.version for one in found if one.metadata["Name"]}


def required_packages() -> list[str]:
    """Returns what this package cannot do without; nothing where it is not installed itself."""
    try:
        lines = importlib.metadata.requires("presence-t5x") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [
        _normalised(re.split(r"[^A-Za-z0-9._-]", line)[0])
        for line in lines
        if "extra ==" not in line
    ]


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _some(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
