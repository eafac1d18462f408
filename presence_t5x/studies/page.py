"""A study as HTML: a fragment for any page with the report's style, and a page of its own.

Data in, text out; every text is escaped. Which rows a chart shows is in `results`.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from presence_t5x.reporting.distributions import DotRow, dot_plot
from presence_t5x.reporting.page import Article, Section, render_articles
from presence_t5x.reporting.plots import Axis, Band, LineChart, Series, legend_line, line_chart
from presence_t5x.reporting.scales import data_bounds, nice_bounds
from presence_t5x.reporting.svg import escape
from presence_t5x.studies.results import (
    CSV_NAME,
    Grid,
    chosen_rows,
    grids,
    protocol_lines,
    value_text,
)

# Series are told apart by colour and dash together: 24 of them.
_COLORS = ("score", "loss", "clean", "noise", "presence", "baseline", "good", "bad")
_LOOKS = [(color, dash) for dash in ("solid", "dashed", "dotted") for color in _COLORS]
_MARKERS = {"solid": "circle", "dashed": "square", "dotted": ""}
_MOST_LINES = 30  # of a table before it is folded
_MOST_ROWS = 500  # of a table on the page; all are in study.csv


def study_section(study: Mapping[str, Any]) -> str:
    """Returns a study as `<section>`: title, findings, charts, tables, protocol.

    Args:
      study: as study.json holds it (`results.read_study`).
    """
    name, title = escape(study["study"]), escape(study["title"])
    return f'<section class="study" id="study-{name}"><h2>{title}</h2>{_body(study)}</section>'


def study_page(study: Mapping[str, Any]) -> str:
    """Returns a page that needs nothing else."""
    verdict, *notes = study.get("findings") or [""]
    article = Article(
        name="study",
        label="Study",
        title=study["title"],
        eyebrow=f"presence_t5x.study {study['study']}",
        verdict=verdict,
        notes=notes,
        sections=[Section("results", "Results", _body(study, with_findings=False))],
        footer="Written by presence_t5x.study. Hover a chart to read its values.",
    )
    return render_articles([article], {})


def _body(study: Mapping[str, Any], with_findings: bool = True) -> str:
    findings = "".join(f"<li>{escape(line)}</li>" for line in study.get("findings", ()))
    charts = "".join(_figure(study, chart) for chart in study["charts"])
    tables = "".join(map(_table, grids(study)))
    protocol = "".join(f"<li>{escape(line)}</li>" for line in protocol_lines(study))
    return (
        (f"<ul>{findings}</ul>" if findings and with_findings else "")
        + (f'<div class="figures wide">{charts}</div>' if charts else "")
        + tables
        + f'<details><summary>Protocol</summary><ul class="caveats">{protocol}</ul></details>'
    )


def _table(grid: Grid) -> str:
    """A table, folded if it is long, and cut if it is very long."""

    def line(texts: Sequence[str], label: str, number: str) -> str:
        cells = zip(texts, (label if is_label else number for is_label in grid.is_label))
        return f"<tr>{''.join(f'<{tag}>{escape(text)}</{tag[:2]}>' for text, tag in cells)}</tr>"

    left = "th style='text-align:left'"
    head = line(grid.header, left, "th")
    body = "".join(line(texts, left, "td") for texts in grid.lines[:_MOST_ROWS])
    text = f'<div class="scroll"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'
    if len(grid.lines) > _MOST_ROWS:
        text += f"<p class='how'>{_MOST_ROWS} of {len(grid.lines):,} rows; all: {CSV_NAME}</p>"
    title = escape(grid.title or "All rows")
    if len(grid.lines) > _MOST_LINES:
        return f"<details><summary>{title} ({len(grid.lines):,} rows)</summary>{text}</details>"
    return f"<h3>{title}</h3>{text}"


def _figure(study: Mapping[str, Any], chart: Mapping[str, Any]) -> str:
    """A chart with its caption; "" without a value to show."""
    rows = [row for row in chosen_rows(study, chart["where"]) if row.get(chart["y"]) is not None]
    rows = [row for row in rows if row.get(chart["x"]) is not None]
    if not rows:
        return ""
    columns = {column["name"]: column for column in study["columns"]}
    is_label = columns[chart["x"]]["kind"] == "label"
    drawn = (_dots if is_label else _lines)(rows, chart, columns)
    return f"<figure><figcaption>{escape(chart['title'])}</figcaption>{drawn}</figure>"


def _lines(rows, chart, columns) -> str:
    series, bands = [], []
    for (name, group), (color, dash) in zip(_groups(rows, chart), itertools.cycle(_LOOKS)):
        group = sorted(group, key=lambda row: row[chart["x"]])
        x, y = (_numbers(group, chart[axis]) for axis in ("x", "y"))
        mark = _MARKERS[dash]
        series.append(Series(name=name, x=x, y=y, color=color, dash=dash, marker=mark))
        if chart.get("low") and chart.get("high"):
            low, high = (_numbers(group, chart[side]) for side in ("low", "high"))
            bands.append(Band(name="", x=x, low=low, high=high, color=color))
    bounds = _bounds([chart["y"], chart.get("low"), chart.get("high")], rows)
    return line_chart(
        LineChart(
            title=chart["title"],
            description=f"{columns[chart['y']]['title']} over {columns[chart['x']]['title']}",
            series=series,
            bands=bands,
            x_axis=Axis(label=columns[chart["x"]]["title"], log=bool(chart.get("x_log"))),
            y_axis=Axis(label=columns[chart["y"]]["title"], bounds=bounds),
        )
    )


def _dots(rows, chart, columns) -> str:
    groups = [
        (name, {row[chart["x"]]: row[chart["y"]] for row in group})
        for name, group in _groups(rows, chart)
    ]
    colors = list(itertools.islice(itertools.cycle(_COLORS), len(groups)))
    lines = [
        DotRow(name=value_text(x), values=[values.get(x, math.nan) for _, values in groups])
        for x in dict.fromkeys(row[chart["x"]] for row in rows)
    ]
    kinds = [("circle", "square")[place // len(_COLORS) % 2] for place in range(len(groups))]
    names = [name for name, _ in groups]
    dots = dot_plot(
        lines,
        series=list(zip(names, colors, kinds)),
        title=chart["title"],
        description=f"{columns[chart['y']]['title']} of each {columns[chart['x']]['title']}",
        x_label=columns[chart["y"]]["title"],
        bounds=_bounds([chart["y"]], rows) or (0.0, 1.0),
        chance=0.5 if "auroc" in chart["y"] else None,
    )
    nothing = np.zeros(0)
    legend = legend_line(
        [
            Series(name=name, x=nothing, y=nothing, color=color, marker=kind)
            for name, color, kind in zip(names, colors, kinds)
        ],
        width=480.0,
    )
    return (legend if chart.get("series") else "") + dots


def _groups(rows, chart) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Rows by the chart's series, in order of appearance."""
    column = chart.get("series")
    if column is None:
        return [("", list(rows))]
    names = dict.fromkeys(row.get(column) for row in rows)
    return [(value_text(name), [row for row in rows if row.get(column) == name]) for name in names]


def _numbers(rows: Sequence[Mapping[str, Any]], column: str) -> np.ndarray:
    return np.array([math.nan if row.get(column) is None else row[column] for row in rows], float)


def _bounds(columns: Sequence[str | None], rows) -> tuple[float, float] | None:
    """Shares, AUROC and their like have the axis 0 to 1, whatever the values are."""
    values = np.concatenate([_numbers(rows, column) for column in columns if column])
    found = data_bounds([values])
    if found is None or (found[0] >= 0 and found[1] <= 1):
        return found and (0.0, 1.0)
    return nice_bounds(*found)
