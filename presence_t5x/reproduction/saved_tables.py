"""tables.json and plan.json: the rows of a plan's tables, and all else that showing them needs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from presence_t5x.files import write_text_atomically
from presence_t5x.reproduction.plan_files import plan_as_json, plan_from_json
from presence_t5x.reproduction.plans import Plan
from presence_t5x.reproduction.rows import Row, row_as_json

TABLES, PLAN = "tables.json", "plan.json"


class SavedTables(NamedTuple):
    """What a reproduction found so far.

    Attributes:
      protocols: lines on how figures came about, by table.
    """

    plan: Plan
    rows: Sequence[Row]
    protocols: Mapping[str, Sequence[str]]


def write_saved(found: SavedTables, directory: Path) -> None:
    """Writes both files."""
    _write([row_as_json(row) for row in found.rows], directory / TABLES)
    described = {"plan": plan_as_json(found.plan), "protocols": found.protocols}
    _write(described, directory / PLAN)


def read_saved(directory: Path) -> SavedTables:
    """Returns what `write_saved` wrote.

    Raises:
      ValueError: a file is missing or damaged.
    """
    described, rows = _read(directory / PLAN), _read(directory / TABLES)
    try:
        plan = plan_from_json(described["plan"])
        return SavedTables(plan, [_row(fields) for fields in rows], described["protocols"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{directory}: {PLAN} or {TABLES} is damaged ({error})") from error


def _row(fields: Mapping[str, Any]) -> Row:
    """A row; JSON has lists in place of its intervals."""
    intervals = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return Row(**{**fields, **intervals})


def _write(content: object, path: Path) -> None:
    write_text_atomically(json.dumps(content, indent=1) + "\n", path)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(
            f"{path} is missing; python -m presence_t5x.reproduce --tables_only, with the plan's "
            "other arguments, writes it"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error})") from error
