"""TOML files that come with the package in `configs`, or a user's own."""

import importlib.resources
import tomllib
from pathlib import Path
from typing import Any

from presence_t5x._validate import did_you_mean


def read_packaged_toml(name: str, folder: str) -> tuple[Path, dict[str, Any]]:
    """Returns the path and the content of a file.

    Args:
      name: of a packaged file without its ending, or a path that ends in .toml.
      folder: of `configs`, e.g. "plans".

    Raises:
      ValueError: no such file, or no TOML.
    """
    root = Path(str(importlib.resources.files("presence_t5x.configs"))) / folder
    path = Path(name) if name.endswith(".toml") else root / f"{name}.toml"
    if not path.is_file():
        known = sorted(found.stem for found in root.glob("*.toml"))
        raise ValueError(
            f"{name!r} is neither one of {known} nor a .toml file{did_you_mean(name, known)}"
        )
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path} is no TOML: too many brackets within each other") from error
    except ValueError as error:
        raise ValueError(f"{path} is no TOML: {error}; see the packaged {folder}") from error
