"""A study's results in the one format that all studies share: JSON, CSV and markdown.

Rows are long: one for each combination of labels. Charts and tables say which of them they show,
so that whoever reads study.json can draw them without knowing the study; the page is in `page`.
"""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from presence_t5x._validate import check_choice
from presence_t5x.files import write_text_atomically
from presence_t5x.run_log import plain_numbers

JSON_NAME, CSV_NAME, MARKDOWN_NAME, PAGE_NAME = (
    f"study.{ending}" for ending in ("json", "csv", "md", "html")
)
KINDS = ("label", "number")
_DASH = "–"


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the rows: its name there, its title for people, and what it holds."""

    name: str
    title: str
    kind: Literal["label", "number"] = "number"

    def __post_init__(self):
        check_choice("kind", self.kind, KINDS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture of some rows; every field but title, `where` and `x_log` is a column's name.

    Attributes:
      x: a number makes lines over it, a label one line of dots for each of its values.
      y: a number.
      series: a line, or a dot, for each value of it; None is one alone.
      where: which rows, by their values; a list holds those that may be.
      low, high: of an interval around y, over a number x.
      x_log: x is drawn on a log scale.
    """

    title: str
    x: str
    y: str
    series: str | None = None
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    low: str | None = None
    high: str | None = None
    x_log: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Some rows to be read; names of columns throughout.

    Attributes:
      where: as for a chart.
      columns: shown, a line a row.
      across: instead of `columns`: a line for each value of `down`, a column for each of `across`,
        and `value` in the cells.
    """

    title: str
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    columns: Sequence[str] = ()
    down: str | None = None
    across: str | None = None
    value: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """What a study found.

    Attributes:
      study: its name as a command.
      findings: sentences that stand above everything else, computed from the rows.
      rows: values by column; None is unknown.
      protocol: how the rows came about, for JSON.
    """

    study: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    protocol: Mapping[str, Any]
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    findings: Sequence[str] = ()

    def __post_init__(self):
        """Refuses charts, tables and rows that speak of columns which are not there."""
        known = {column.name for column in self.columns}
        for shown in (*self.charts, *self.tables):
            fields = {k: v for k, v in vars(shown).items() if k not in ("title", "x_log")}
            where, columns = fields.pop("where"), fields.pop("columns", ())
            named = {*where, *columns, *(name for name in fields.values() if name)}
            if named - known:
                raise ValueError(f"{shown.title!r} shows {sorted(named - known)}, not in {known}")
        for row in self.rows:
            if set(row) - known:
                raise ValueError(f"rows have {sorted(set(row) - known)}, not in {sorted(known)}")


def write_study(directory: Path, study: Study) -> dict[str, Any]:
    """Writes study.csv, study.md, study.html and, last, study.json; returns what it holds."""
    from presence_t5x.studies.page import study_page

    content = plain_numbers(dataclasses.asdict(study))
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, [c.name for c in study.columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows(content["rows"])
    write_text_atomically(sheet.getvalue(), directory / CSV_NAME)
    write_text_atomically(markdown(content), directory / MARKDOWN_NAME)
    write_text_atomically(study_page(content), directory / PAGE_NAME)
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_text_atomically(text + "\n", directory / JSON_NAME)
    return content


def read_study(directory: Path) -> dict[str, Any]:
    """Returns the content of a study's directory.

    Raises:
      ValueError: it holds none, or a broken one.
    """
    path = directory / JSON_NAME
    if not path.is_file():
        raise ValueError(f"{directory} has no {JSON_NAME}; python -m presence_t5x.study writes it")
    try:
        found = json.loads(path.read_text("utf-8"))
        missing = {"study", "title", "columns", "charts", "rows", "protocol"} - set(found)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}; run the study again") from error
    if missing:
        raise ValueError(f"{path} lacks {sorted(missing)}; run the study again")
    return found


class Grid(NamedTuple):
    """A table as it is shown: header and lines of texts, and which columns are labels."""

    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    is_label: Sequence[bool]


def grids(study: Mapping[str, Any]) -> list[Grid]:
    """Returns a study's tables as texts; those without a line are left out.

    Args:
      study: as `write_study` returns and study.json holds it; one without tables shows all rows.
    """
    columns = [column["name"] for column in study["columns"]]
    tables = study.get("tables") or [{"title": "", "where": {}, "columns": columns}]
    found = (_grid(study, table) for table in tables)
    return [grid for grid in found if grid.lines]


def chosen_rows(study: Mapping[str, Any], where: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the rows with these values, or with one of those in a list."""
    wanted = {name: v if isinstance(v, (list, tuple)) else [v] for name, v in where.items()}
    return [
        row
        for row in study["rows"]
        if all(row.get(name) in values for name, values in wanted.items())
    ]


def value_text(value: Any) -> str:
    """Returns a cell: numbers with about three digits, a dash for what is unknown.

    >>> [value_text(v) for v in (0.12345, 1234, 1e-7, None, "en")]
    ['0.123', '1,234', '1e-07', '–', 'en']
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return _DASH
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.3g}"
    return str(value)


def protocol_lines(study: Mapping[str, Any]) -> list[str]:
    """Returns "name: value" of everything in the protocol."""
    texts = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in study["protocol"].items()
    }
    return [f"{name}: {text}" for name, text in texts.items()]


def markdown(study: Mapping[str, Any]) -> str:
    """Returns findings, tables and protocol."""
    parts = [f"# {study['title']}", ""]
    parts += [*(f"- {line}" for line in study.get("findings", ())), ""]
    for grid in grids(study):
        rules = ["---" if is_label else "---:" for is_label in grid.is_label]
        parts += [f"## {grid.title}", ""] if grid.title else []
        parts += [_markdown_line(line) for line in (grid.header, rules, *grid.lines)]
        parts.append("")
    parts += ["## Protocol", "", *(f"- {line}" for line in protocol_lines(study))]
    return "\n".join(parts) + "\n"


def _grid(study: Mapping[str, Any], table: Mapping[str, Any]) -> Grid:
    titles = {column["name"]: column["title"] for column in study["columns"]}
    kinds = {column["name"]: column["kind"] for column in study["columns"]}
    rows = chosen_rows(study, table["where"])
    if table.get("across"):
        down, across, value = (table[name] for name in ("down", "across", "value"))
        names = list(dict.fromkeys(row.get(across) for row in rows))
        cells = {(row.get(down), row.get(across)): row.get(value) for row in rows}
        lines = [
            [value_text(label), *(value_text(cells.get((label, name))) for name in names)]
            for label in dict.fromkeys(row.get(down) for row in rows)
        ]
        header = [titles[down], *map(value_text, names)]
        return Grid(table["title"], header, lines, [True, *[False] * len(names)])
    columns = table["columns"]
    lines = [[value_text(row.get(name)) for name in columns] for row in rows]
    is_label = [kinds[name] == "label" for name in columns]
    return Grid(table["title"], [titles[name] for name in columns], lines, is_label)


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
