"""Plans as TOML files, packaged in `configs/plans` or a user's own."""

import importlib.resources
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from presence_t5x._validate import check_int, did_you_mean
from presence_t5x.reproduction.plans import (
    MOST_SEEDS,
    Evaluation,
    Filtering,
    Finetuning,
    Plan,
    Preparation,
    Pretraining,
    Table,
    Task,
)

DATA_DIR = "{data_dir}"
_LISTS = ("tables", "pretrainings", "finetunings", "preparations")


def load_plan(
    name: str, *, data_dir: str | None = None, quick: bool = False, seeds: int | None = None
) -> Plan:
    """Returns a plan.

    Args:
      name: of a packaged plan, or the path of a TOML file.
      data_dir: in place of `{data_dir}`.
      quick: with the settings of the plan's table [quick] in place of its own.
      seeds: in place of the plan's; None keeps them.

    Raises:
      ValueError: no such plan, one that is broken, or a `data_dir` that is missing or not needed.
    """
    path, content = _read(name)
    needs_data = DATA_DIR in repr(content)
    if needs_data and data_dir is None:
        raise ValueError(f"plan {name!r} reads your files; give their folder with --data_dir=DIR")
    if data_dir is not None:
        if not needs_data:
            raise ValueError(f"plan {name!r} reads no files of yours; leave out --data_dir")
        if not Path(data_dir).is_dir():
            raise ValueError(f"data_dir={data_dir!r} is no folder; give the one with your files")
        content = replace_text(content, {DATA_DIR: str(Path(data_dir).resolve())})
    shortcuts = content.pop("quick", None)
    if quick and shortcuts is None:
        raise ValueError(f"plan {name!r} has no [quick] settings; run it without --quick")
    if seeds is not None:
        check_int("--seeds", seeds, minimum=1, maximum=MOST_SEEDS)
    try:
        _check_tables(content)
        if quick:
            content = _with_shortcuts(content, shortcuts)
        if seeds is not None:
            content["seeds"] = seeds
        return _build(path.stem, content)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: {_without_class(error)}; see the packaged plans") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def replace_text(value: Any, replacements: Mapping[str, str]) -> Any:
    """Returns nested values with texts replaced in every string."""
    if isinstance(value, str):
        for old, new in replacements.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, Mapping):
        return {name: replace_text(item, replacements) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [replace_text(item, replacements) for item in value]
    return value


def _read(name: str) -> tuple[Path, dict[str, Any]]:
    """The file of a plan and its content."""
    root = Path(str(importlib.resources.files("presence_t5x.configs"))) / "plans"
    path = Path(name) if name.endswith(".toml") else root / f"{name}.toml"
    if not path.is_file():
        known = sorted(found.stem for found in root.glob("*.toml"))
        raise ValueError(
            f"plan {name!r} is neither one of {known} nor a .toml file{did_you_mean(name, known)}"
        )
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path} is no TOML: too many brackets within each other") from error
    except ValueError as error:
        raise ValueError(f"{path} is no TOML: {error}; see the packaged plans") from error


def _check_tables(content: Mapping[str, Any]) -> None:
    """Refuses other things where tables of TOML belong."""
    for name in _LISTS:
        found = content.get(name, [])
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise ValueError(f"{name} must be tables, each under its own [[{name}]]")
    for name in ("tasks", "pretraining_defaults", "finetuning_defaults"):
        if not isinstance(content.get(name, {}), dict):
            raise ValueError(f"{name} must be a table, [{name}]")


def _build(name: str, content: Mapping[str, Any]) -> Plan:
    """The plan of a file's content, with its defaults filled in."""
    content = dict(content)
    pretraining = content.pop("pretraining_defaults", {})
    finetuning = content.pop("finetuning_defaults", {})
    tasks = content.pop("tasks")
    found = {
        "tasks": tuple(Task(name=key, **fields) for key, fields in tasks.items()),
        "tables": tuple(Table(**fields) for fields in content.pop("tables")),
        "pretrainings": tuple(
            _pretraining(_merged(pretraining, fields)) for fields in content.pop("pretrainings")
        ),
        "finetunings": tuple(
            _finetuning(_merged(finetuning, fields)) for fields in content.pop("finetunings")
        ),
        "preparations": tuple(Preparation(**fields) for fields in content.pop("preparations", ())),
    }
    return Plan(name=name, **found, **content)


def _pretraining(fields: dict[str, Any]) -> Pretraining:
    filtered = fields.pop("filtered", None)
    return Pretraining(filtered=filtered and Filtering(**filtered), **fields)


def _finetuning(fields: dict[str, Any]) -> Finetuning:
    evaluations = tuple(Evaluation(**found) for found in fields.pop("evaluations"))
    return Finetuning(evaluations=evaluations, **fields)


def _merged(defaults: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields over defaults, setting by setting."""
    settings = {**defaults.get("settings", {}), **fields.get("settings", {})}
    return {**defaults, **fields, "settings": settings}


def _with_shortcuts(content: dict[str, Any], shortcuts: Mapping[str, Any]) -> dict[str, Any]:
    """A plan's content with less to do."""
    content = {**content, **{k: v for k, v in shortcuts.items() if k in ("seeds", "jobs")}}
    for kind in ("pretraining", "finetuning"):
        changed = shortcuts.get(f"{kind}_settings", {})
        content[f"{kind}s"] = [
            {**fields, "settings": {**fields.get("settings", {}), **changed}}
            for fields in content[f"{kind}s"]
        ]
    more = list(shortcuts.get("evaluation_arguments", ()))
    for finetuning in content["finetunings"]:
        finetuning["evaluations"] = [
            {**found, "arguments": [*found.get("arguments", ()), *more]}
            for found in finetuning["evaluations"]
        ]
    return content


def _without_class(error: Exception) -> str:
    """A message without the name of a constructor in front."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    text = str(error)
    return text.split("__init__() ")[-1] if text else type(error).__name__
