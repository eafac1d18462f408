"""Charts of tables as SVG: figures with their intervals, and scores over temperature."""

from collections.abc import Sequence

import numpy as np

from presence_t5x.reporting.plots import Axis, Band, LineChart, Series, line_chart
from presence_t5x.reporting.scales import Scale, data_bounds, format_number, nice_bounds, nice_ticks
from presence_t5x.reporting.svg import escape, marker, pixel, svg, text_at
from presence_t5x.reproduction.grids import Line
from presence_t5x.reproduction.rows import BASELINE, Row
from presence_t5x.reproduction.text_files import cell_text

_PLOT, _LINE, _TOP, _BOTTOM = 294.0, 24.0, 8.0, 40.0
_LEAST_LABEL, _MARGIN, _CHARACTER = 170.0, 16.0, 6.4


def interval_chart(title: str, lines: Sequence[tuple[str, Row]], guess: float | None) -> str:
    """Returns one line a model: a dot with its interval, a square for the paper's figure.

    Args:
      title: read to those who cannot see the chart.
      lines: label and row; a row that was not run is said.
      guess: a dotted line: what the most frequent answer alone scores; None is not known.
    """
    known = [value for _, row in lines for value in _values_of(row)]
    known += [] if guess is None else [guess]
    height = _TOP + _LINE * len(lines) + _BOTTOM
    left = max([_LEAST_LABEL, *(_CHARACTER * len(label) for label, _ in lines)])
    width = left + _PLOT + _MARGIN
    bounds = data_bounds([np.array(known)])
    if bounds is None:
        return svg(width, height, title, "", text_at(width / 2, height / 2, "not run"))
    low, high = nice_bounds(*bounds, most=5)
    x = Scale(low, high, left, left + _PLOT)
    bottom = _TOP + _LINE * len(lines)
    parts = [_axis(x, bottom)]
    if guess is not None:
        at = pixel(x(guess))
        parts.append(f'<path class="reference" d="M{at} {pixel(_TOP)}V{pixel(bottom)}"/>')
    for place, (label, row) in enumerate(lines):
        parts.append(_interval_line(label, row, x, _TOP + _LINE * (place + 0.5)))
    description = "; ".join(f"{label}: {cell_text(row)}" for label, row in lines)
    return svg(width, height, title, description, "".join(parts))


def temperature_chart(title: str, line: Line) -> str:
    """Returns a task's score over temperature, ours with its interval and the paper's."""
    rows = [row for row in line.cells if isinstance(row, Row)]
    temperatures = np.array([row.temperature or 0.0 for row in rows])
    nothing = (np.nan, np.nan)
    columns = {
        "ours": [row.mean for row in rows],
        "the paper": [row.paper for row in rows],
        "low": [(row.interval or nothing)[0] for row in rows],
        "high": [(row.interval or nothing)[1] for row in rows],
    }
    y = {name: np.array(values, np.float64) for name, values in columns.items()}
    series = [Series(name="ours", x=temperatures, y=y["ours"], color="presence", marker="circle")]
    if np.isfinite(y["the paper"]).any():
        series.append(
            Series(
                name="the paper",
                x=temperatures,
                y=y["the paper"],
                color="baseline",
                dash="dashed",
                marker="square",
            )
        )
    band = Band(name="", x=temperatures, low=y["low"], high=y["high"], color="presence")
    return line_chart(
        LineChart(
            title=title,
            description=f"{line.label} over temperature; the band is its interval.",
            series=series,
            bands=[band],
            x_axis=Axis(label="temperature"),
            y_axis=Axis(label=line.label),
        )
    )


def _interval_line(label: str, row: Row, x: Scale, y: float) -> str:
    parts = [text_at(0.0, y + 4, label, "legend-name")]
    if row.mean is None:
        parts.append(text_at(x.start + 4, y + 4, row.missing, "note"))
    else:
        low, high = map(x, row.interval or (row.mean, row.mean))
        path = f'<path d="M{pixel(low)} {pixel(y)}H{pixel(high)}"/>'
        parts.append(_colored(row.variant, path + marker("circle", x(row.mean), y)))
    if row.paper is not None:
        parts.append(_colored("paper", marker("square", x(row.paper), y)))
    tip = f"<title>{escape(f'{label}: {cell_text(row)}')}</title>"
    size = f'width="{pixel(x.end + _MARGIN)}" height="{pixel(_LINE)}"'
    area = f'<g class="hover"><rect x="0" y="{pixel(y - _LINE / 2)}" {size}>{tip}</rect></g>'
    return "".join(parts) + area


def _colored(variant: str, drawn: str) -> str:
    """The baseline is grey, other variants have the accent, the paper a colour of its own."""
    color = {BASELINE: "baseline", "paper": "noise"}.get(variant, "presence")
    return f'<g class="line dots" style="--c:var(--{color})">{drawn}</g>'


def _axis(x: Scale, bottom: float) -> str:
    parts = [f'<path class="axis" d="M{pixel(x.start)} {pixel(bottom)}H{pixel(x.end)}"/>']
    for tick in nice_ticks(x.low, x.high, most=6):
        parts.append(f'<path class="grid" d="M{pixel(x(tick))} {pixel(_TOP)}V{pixel(bottom)}"/>')
        parts.append(text_at(x(tick), bottom + 16, format_number(tick), "tick", "middle"))
    return "".join(parts)


def _values_of(row: Row) -> list[float]:
    """Everything a line shows."""
    paper = [] if row.paper is None else [row.paper]
    return paper if row.mean is None else [*paper, row.mean, *(row.interval or ())]
