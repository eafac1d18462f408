"""Plans as TOML files, packaged in `configs/plans` or a user's own."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from presence_t5x._validate import check_int
from presence_t5x.packaged_toml import read_packaged_toml
from presence_t5x.reproduction.plan_parts import (
    Evaluation,
    Filtering,
    Finetuning,
    Preparation,
    Pretraining,
    Steps,
    Table,
    Task,
)
from presence_t5x.reproduction.plans import MOST_SEEDS, Plan

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
    path, content = read_packaged_toml(name, "plans")
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
            content = _with_seeds(content, seeds)
        return _build(path.stem, content)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: {_without_class(error)}; see the packaged plans") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Returns a plan as JSON can hold it; `plan_from_json` gives it back."""
    content = dataclasses.asdict(plan)
    content["tasks"] = {task.pop("name"): task for task in content["tasks"]}
    return json.loads(json.dumps(content))


def plan_from_json(content: Mapping[str, Any]) -> Plan:
    """Returns a plan that `plan_as_json` wrote.

    Raises:
      ValueError: it is none.
    """
    try:
        fields = dict(content)
        return _build(fields.pop("name"), fields)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no plan: {_without_class(error)}") from error


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
            _finetuning(_merged(finetuning, fields)) for fields in content.pop("finetunings", ())
        ),
        "preparations": tuple(Preparation(**fields) for fields in content.pop("preparations", ())),
    }
    steps = content.pop("steps", None)
    return Plan(name=name, steps=steps and Steps(**steps), **found, **content)


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
    content = {**content, **{k: v for k, v in shortcuts.items() if k == "jobs"}}
    if "seeds" in shortcuts:
        content = _with_seeds(content, shortcuts["seeds"])
    if "steps" in shortcuts:
        content["steps"] = {**content.get("steps", {}), **shortcuts["steps"]}
    for kind in ("pretraining", "finetuning"):
        changed = shortcuts.get(f"{kind}_settings", {})
        content[f"{kind}s"] = [
            {**fields, "settings": {**fields.get("settings", {}), **changed}}
            for fields in content.get(f"{kind}s", ())
        ]
    more = list(shortcuts.get("evaluation_arguments", ()))
    for finetuning in content["finetunings"]:
        finetuning["evaluations"] = [
            {**found, "arguments": [*found.get("arguments", ()), *more]}
            for found in finetuning["evaluations"]
        ]
    return content


def _with_seeds(content: Mapping[str, Any], seeds: int) -> dict[str, Any]:
    """A plan's content with so many seeds; no pre-training has more."""
    pretrainings = [
        {**fields, "seeds": min(fields["seeds"], seeds)} if fields.get("seeds") else fields
        for fields in content["pretrainings"]
    ]
    return {**content, "seeds": seeds, "pretrainings": pretrainings}


def _without_class(error: Exception) -> str:
    """A message without the name of a constructor in front."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    text = str(error)
    return text.split("__init__() ")[-1] if text else type(error).__name__
