"""All tables of a plan as an article of the report, or as a page of its own."""

from collections.abc import Iterable, Mapping, Sequence

from presence_t5x.reporting.page import (
    Article,
    Section,
    anchor_of,
    figure_grid,
    missing,
    render_articles,
)
from presence_t5x.reporting.svg import escape
from presence_t5x.reproduction.charts import interval_chart, temperature_chart
from presence_t5x.reproduction.grids import (
    Grid,
    language_grids,
    table_grids,
)
from presence_t5x.reproduction.plan_parts import HELD_OUT, Table
from presence_t5x.reproduction.plans import Plan
from presence_t5x.reproduction.rows import Row
from presence_t5x.reproduction.summary import findings, transfer_lines
from presence_t5x.reproduction.text_files import cell_parts

_LEGEND = (
    "Dots are our means over seeds, lines the bootstrap intervals, squares the paper’s figures; "
    "dotted is what the most frequent answer alone would score."
)
_LOSS_LEGEND = "Dots are means over seeds, lines Student’s intervals over seeds; lower is better."


def render_page(plan: Plan, rows: Sequence[Row], protocols: Mapping[str, Sequence[str]]) -> str:
    """Returns the page as HTML text."""
    return render_articles([plan_article(plan, rows, protocols)])


def plan_article(
    plan: Plan,
    rows: Sequence[Row],
    protocols: Mapping[str, Sequence[str]],
    *,
    name: str = "ablations",
    label: str = "Ablations",
    prefix: str = "",
) -> Article:
    """Returns the tables of a plan as an article.

    Args:
      name: its anchor.
      label: of its tab.
      prefix: of the anchors of its tables, where several plans share a page.
    """
    sections = [
        Section(
            anchor_of(prefix + table.name),
            table.title,
            _table_section(plan, table, rows, protocols.get(table.name, ())),
        )
        for table in plan.tables
    ]
    sections.append(
        Section(anchor_of(prefix + "languages"), "By language", _language_section(plan, rows))
    )
    verdict, *caveats = findings(plan, rows)
    return Article(
        name=name,
        label=label,
        title=plan.title,
        eyebrow=f"plan: {plan.name}",
        verdict=verdict,
        notes=caveats,
        sections=sections,
        footer="Written by presence_t5x.reproduce. Hover a chart to read its values.",
    )


def _table_section(plan: Plan, table: Table, rows: Sequence[Row], protocol: Sequence[str]) -> str:
    """One table with its charts and its protocol."""
    grids = table_grids(plan, table, rows)
    tables = "".join(map(_html_table, grids))
    charts = _temperature_charts(grids) if table.layout == "temperatures" else _charts(grids)
    items = "".join(f"<li>{escape(line)}</li>" for line in protocol)
    legend = _LOSS_LEGEND if HELD_OUT in table.settings else _LEGEND
    details = f"<details open><summary>Protocol</summary><ul class='caveats'>{items}</ul></details>"
    return f"{tables}<p class='how'>{escape(legend)}</p>{charts}{details}"


def _charts(grids: Iterable[Grid]) -> str:
    """A chart for every column of every grid that was run."""
    drawn = []
    for grid in grids:
        for place, column in enumerate(grid.columns):
            cells = [(line.label, line.cells[place]) for line in grid.lines]
            lines = [(label, row) for label, row in cells if isinstance(row, Row)]
            guess = next((cell for _, cell in cells if isinstance(cell, float)), None)
            if any(row.mean is not None or row.paper is not None for _, row in lines):
                title = f"{grid.title}, {column}"
                drawn.append((title, interval_chart(title, lines, guess)))
    return figure_grid(drawn)


def _temperature_charts(grids: Iterable[Grid]) -> str:
    drawn = []
    for grid in grids:
        for line in grid.lines:
            if not any(isinstance(cell, Row) for cell in line.cells):
                continue
            title = f"{grid.title}, {line.label}"
            drawn.append((title, temperature_chart(title, line)))
    return figure_grid(drawn)


def _language_section(plan: Plan, rows: Sequence[Row]) -> str:
    grids = language_grids(plan, rows)
    if not grids:
        return missing("Nothing was run yet.")
    lines = "".join(f"<li>{escape(line)}</li>" for line in transfer_lines(plan, rows))
    return f"<ul class='caveats'>{lines}</ul>" + "".join(map(_html_table, grids))


def _html_table(grid: Grid) -> str:
    """A grid; beneath each figure stand its spread and the paper's."""
    head = "".join(f"<th>{escape(column)}</th>" for column in (grid.corner, *grid.columns))
    body = "".join(
        f"<tr><th>{escape(line.label)}</th>{''.join(map(_html_cell, line.cells))}</tr>"
        for line in grid.lines
    )
    return (
        f"<h3>{escape(grid.title)}</h3><div class='scroll'><table class='sortable'>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _html_cell(row: Row | float | str | None) -> str:
    figure, spread, paper = cell_parts(row)
    small = "".join(f"<br><span class='note-text'>{escape(t)}</span>" for t in (spread, paper) if t)
    return f"<td>{escape(figure)}{small}</td>"
