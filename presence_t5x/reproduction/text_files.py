"""Tables as markdown and CSV, and how a cell is written."""

import csv
import io
import json
from collections.abc import Mapping, Sequence

from presence_t5x.reproduction.grids import Grid, language_grids, table_grids
from presence_t5x.reproduction.plan_parts import Table
from presence_t5x.reproduction.plans import Plan
from presence_t5x.reproduction.rows import Row, decimals, row_as_json


def cell_parts(row: Row | float | str | None) -> tuple[str, str, str]:
    """Returns a cell's figure, its spread and the paper's figure; "" for what there is not.

    >>> row = Row(table="t", setting="zero_shot", task="nli", language="en", variant="baseline",
    ...     model="tiny", pretraining="a", metric="accuracy", mean=50.04, std=1.0,
    ...     interval=(48.0, 52.0), seeds=2, paper=51.0)
    >>> cell_parts(row)
    ('50.0', '± 1.0 [48.0, 52.0]', 'paper 51.0')
    """
    if row is None or isinstance(row, str):
        return row or "", "", ""
    if not isinstance(row, Row):
        return f"{row:.1f}", "", ""
    digits = decimals(row)
    paper = "" if row.paper is None else f"paper {row.paper:.{digits}f}"
    if row.mean is None:
        return row.missing, "", paper
    std = "" if row.std is None else f"± {row.std:.{digits}f}"
    span = "" if row.interval is None else "[{0:.{2}f}, {1:.{2}f}]".format(*row.interval, digits)
    return f"{row.mean:.{digits}f}", f"{std} {span}".strip(), paper


def cell_text(row: Row | float | str | None) -> str:
    """Returns a cell on one line.

    >>> cell_text(None)
    ''
    """
    figure, spread, paper = cell_parts(row)
    return " ".join(part for part in (figure, spread, paper and f"({paper})") if part)


def markdown(plan: Plan, rows: Sequence[Row], protocols: Mapping[str, Sequence[str]]) -> str:
    """Returns all tables of a plan, each with its protocol, then the scores by language."""
    parts = [f"# {plan.title}", ""]
    for table in plan.tables:
        parts += [f"## {table.title}", ""]
        parts += [_markdown_grid(grid) for grid in table_grids(plan, table, rows)]
        parts += [*(f"- {line}" for line in protocols.get(table.name, ())), ""]
    grids = language_grids(plan, rows)
    if grids:
        parts += ["## By language", "", *map(_markdown_grid, grids)]
    return "\n".join(parts)


def table_csv(table: Table, rows: Sequence[Row]) -> str:
    """Returns the rows of a table, a column a field."""
    mine = [row_as_json(row) for row in rows if row.table == table.name]
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=[*Row.__dataclass_fields__], lineterminator="\n")
    writer.writeheader()
    for row in mine:
        writer.writerow({k: json.dumps(v) if isinstance(v, tuple) else v for k, v in row.items()})
    return file.getvalue()


def _markdown_grid(grid: Grid) -> str:
    lines = [
        f"**{grid.title}**\n",
        _markdown_line([grid.corner, *grid.columns]),
        _markdown_line(["---"] * (1 + len(grid.columns))),
        *(_markdown_line([line.label, *map(cell_text, line.cells)]) for line in grid.lines),
    ]
    return "\n".join(lines) + "\n"


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
