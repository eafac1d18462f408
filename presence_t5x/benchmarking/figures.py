"""Plots of a comparison and of a sweep, as SVG files that stand alone.

The looks (colours for light and dark, text sizes) are the report's style sheet.
"""

import itertools
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

from presence_t5x.benchmarking.comparison import Comparison, Measurement
from presence_t5x.benchmarking.contenders import SCORING, TRAINING
from presence_t5x.benchmarking.sweep import Cell, Sweep
from presence_t5x.benchmarking.tables import describe_run, describe_sweep
from presence_t5x.benchmarking.variants import UNWEIGHTED, VARIANTS
from presence_t5x.reporting.scales import Scale, format_number, nice_ticks
from presence_t5x.reporting.svg import escape, pixel, svg, text_at

_WIDTH = 720.0
_NAMES = 200.0  # width of the names at the left
_NOTES = 190.0  # width of the notes at the right
_ROW = 24.0
_CELL_WIDTH, _CELL_HEIGHT = 56.0, 26.0
_MARGIN = 20.0


class Chart(NamedTuple):
    """One drawn chart, its size, and what it is, told in words."""

    width: float
    height: float
    drawing: str
    told: str


def comparison_figure(comparison: Comparison) -> str:
    """Returns bars of tokens per second, with quartiles and ratios, as an SVG file."""
    title = describe_run(comparison.config)
    kinds = {TRAINING: "training steps", SCORING: "scores of all rows, no update"}
    charts = [
        _bars([row for row in comparison.measurements if row.kind == kind], heading)
        for kind, heading in kinds.items()
        if any(row.kind == kind for row in comparison.measurements)
    ]
    return _standalone(title, charts)


def sweep_figure(sweep: Sweep) -> str:
    """Returns heat maps of time and memory ratios, one pair for each variant, as an SVG file."""
    charts = [_heat_maps(sweep, name) for name in sweep.variants]
    return _standalone(describe_sweep(sweep.config), charts)


def _bars(rows: Sequence[Measurement], heading: str) -> Chart:
    """Returns a horizontal bar for each contender; a thin line spans its quartiles."""
    top = 34.0
    bottom = top + _ROW * len(rows)
    fastest = max(row.tokens_per_second * _spread(row)[1] for row in rows)
    x = Scale(0.0, fastest, _NAMES, _WIDTH - _NOTES)
    parts = [text_at(0.0, 14.0, f"tokens per second, {heading}", "label")]
    for tick in nice_ticks(x.low, x.high, most=6):
        line = f"M{pixel(x(tick))} {pixel(top)}V{pixel(bottom)}"
        parts.append(f'<path class="grid" d="{line}"/>')
        parts.append(text_at(x(tick), bottom + 15, format_number(tick), "tick", "middle"))
    for position, row in enumerate(rows):
        parts.append(_bar(row, x, top + _ROW * position))
    return Chart(_WIDTH, bottom + 26, "".join(parts), f"bars of median speed, {heading}")


def _bar(row: Measurement, x: Scale, top: float) -> str:
    """Returns a contender's name, bar, quartiles and ratio."""
    color = "noise" if row.is_peer else "baseline" if _is_baseline(row) else "presence"
    end, middle = x(row.tokens_per_second), top + _ROW / 2
    low, high = (x(row.tokens_per_second * part) for part in _spread(row))
    box = f'x="{pixel(x.start)}" y="{pixel(top + 4)}" width="{pixel(end - x.start)}" height="16"'
    of_baseline = VARIANTS[row.baseline].title
    note = f"{row.tokens_per_second:,.0f}"
    if not _is_baseline(row):
        note += f" · {row.over_baseline:.2f} × the time"
    told = f"{row.title}: {row.description}; time over {of_baseline!r}: {row.over_baseline:.3f}"
    return (
        f"<g><title>{escape(told)}</title>"
        + text_at(x.start - 8, middle + 4, row.title, "tick", "end")
        + f'<rect {box} style="fill:var(--{color});opacity:.75"/>'
        + f'<path d="M{pixel(low)} {pixel(middle)}H{pixel(high)}" style="stroke:var(--ink)"/>'
        + text_at(max(end, high) + 6, middle + 4, note, "tick")
        + "</g>"
    )


def _spread(row: Measurement) -> tuple[float, float]:
    """Returns the quartiles of speed, relative to the median's."""
    fast, slow = row.seconds_quartiles
    return row.seconds_per_step / slow, row.seconds_per_step / fast


def _is_baseline(row: Measurement) -> bool:
    return row.name == row.baseline


def _heat_maps(sweep: Sweep, variant: str) -> Chart:
    """Returns the two grids of one variant side by side."""
    columns = sorted({cell.num_microbatches for cell in sweep.cells})
    rows = sorted({cell.batch_size for cell in sweep.cells})
    width = _CELL_WIDTH * len(columns) + 90
    height = _CELL_HEIGHT * len(rows) + 78
    title = VARIANTS[variant].title
    parts = [text_at(0.0, 14.0, f"{title} over {VARIANTS[UNWEIGHTED].title}", "label")]
    times = {_place(cell): cell.time_ratio[variant] for cell in sweep.cells}
    memory = {_place(cell): cell.memory_ratio[variant] for cell in sweep.cells}
    for left, name, values in ((0.0, "time", times), (width, "temporary memory", memory)):
        parts.append(_heat_map(values, rows, columns, left=left, name=name))
    told = f"ratios of {title} by batch size (down) and number of microbatches (across)"
    return Chart(2 * width, height, "".join(parts), told)


def _heat_map(values, rows: Sequence[int], columns: Sequence[int], *, left: float, name: str):
    """Returns a grid of ratios, darker the further above 1 (purple) or below it (green)."""
    x, top = left + 60.0, 44.0
    parts = [text_at(x, 34.0, name, "label")]
    for (line, row), (place, column) in itertools.product(enumerate(rows), enumerate(columns)):
        value = values.get((row, column))
        at_x, at_y = x + place * _CELL_WIDTH, top + line * _CELL_HEIGHT
        if value is None:
            continue
        color = "presence" if value >= 1 else "good"
        opacity = min(0.6, abs(value - 1))
        box = f'x="{pixel(at_x + 1)}" y="{pixel(at_y + 1)}"'
        size = f'width="{pixel(_CELL_WIDTH - 2)}" height="{pixel(_CELL_HEIGHT - 2)}"'
        fill = f"fill:var(--{color});fill-opacity:{opacity:.2f};stroke:var(--rule)"
        parts.append(f'<rect {box} {size} style="{fill}"/>')
        middle = at_x + _CELL_WIDTH / 2
        parts.append(text_at(middle, at_y + 17, f"{value:.2f}", "", "middle"))
    for line, row in enumerate(rows):
        parts.append(text_at(x - 6, top + line * _CELL_HEIGHT + 17, f"{row} rows", "tick", "end"))
    bottom = top + _CELL_HEIGHT * len(rows)
    for place, column in enumerate(columns):
        middle = x + (place + 0.5) * _CELL_WIDTH
        parts.append(text_at(middle, bottom + 14, str(column), "tick", "middle"))
    parts.append(text_at(x, bottom + 30, "microbatches", "label"))
    return "".join(parts)


def _place(cell: Cell) -> tuple[int, int]:
    return cell.batch_size, cell.num_microbatches


def _standalone(title: str, charts: Sequence[Chart]) -> str:
    """Returns charts below one another as one SVG file with the report's style sheet."""
    page = resources.files("presence_t5x.reporting").joinpath("template.html")
    style = page.read_text(encoding="utf-8").split("<style>")[1].split("</style>")[0]
    top = 40.0
    parts = [
        f"<style><![CDATA[{style}]]></style>",
        '<rect width="100%" height="100%" style="fill:var(--card)"/>',
        text_at(_MARGIN, 24.0, title, "label"),
    ]
    for chart in charts:
        place = f'transform="translate({pixel(_MARGIN)} {pixel(top)})"'
        parts.append(f'<g role="img" {place}>{chart.drawing}</g>')
        top += chart.height + 12
    width = max(chart.width for chart in charts) + 2 * _MARGIN
    drawn = svg(width, top, title, "; ".join(chart.told for chart in charts), "".join(parts))
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"
