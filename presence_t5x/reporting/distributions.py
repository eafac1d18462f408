"""Charts of distributions and of rankings: pairs of densities in rows, and dots on one axis.

As in `plots`: data in, SVG text out, colours as CSS variables.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Real

from presence_t5x.reporting.scales import Scale, data_bounds, format_number, nice_ticks
from presence_t5x.reporting.svg import escape, marker, pixel, svg, text_at

_GRID = 120  # places at which a density is evaluated
_FLOOR = 0.004  # part of the highest density below which its outline is not drawn
_ROW = 40.0
_MOST_VALUES = 4000  # of a sample; of a larger one as many evenly spaced quantiles stand for all
_NUMBERS = 46.0  # width of the notes at the right
_CHARACTER = 6.6  # mean width of a 12 px letter


@dataclasses.dataclass(frozen=True, kw_only=True)
class DensityRow:
    """Two samples to compare: `above` is drawn filled upwards, `below` outlined downwards."""

    name: str
    above: Real[np.ndarray, " above"]
    below: Real[np.ndarray, " below"]
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DensityChart:
    """What `density_rows` draws.

    Attributes:
      names: of the samples above and below, for tooltips.
      colors: CSS variables of the samples above and below.
      counted: what the values are of.
      bounds: of the log axis; common bounds make several charts comparable.
      label_width: room for the names of the rows.
    """

    title: str
    description: str
    rows: Sequence[DensityRow]
    names: tuple[str, str]
    colors: tuple[str, str]
    x_label: str
    note_label: str = ""
    counted: str = "rows"
    bounds: tuple[float, float] | None = None
    label_width: float = 44.0  # of language names
    width: float = 350.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class DotRow:
    """A name and its values by series; NaN leaves a dot out."""

    name: str
    values: Sequence[float]


def density_rows(chart: DensityChart) -> str:
    """Returns an SVG of one density pair a row over a common log axis, medians as ticks.

    Values <= 0 and values that are not finite have no place on the axis and are left out; every
    row is scaled to its own highest density. A sample without a value draws nothing.
    """
    top, bottom = 22.0, 22.0 + _ROW * len(chart.rows)
    bounds = chart.bounds or data_bounds(
        [column for row in chart.rows for column in (row.above, row.below)], log=True
    )
    if bounds is None:
        nothing = text_at(chart.width / 2, 20.0, "no positive finite scores", anchor="middle")
        return svg(chart.width, 40.0, chart.title, chart.description, nothing)
    x = Scale(*bounds, chart.label_width, chart.width - _NUMBERS, log=True)
    parts = [text_at(chart.width - 2, 12.0, chart.note_label, "label", "end")]
    for tick in nice_ticks(x.low, x.high, most=5, log=True):
        line = f"M{pixel(x(tick))} {pixel(top)}V{pixel(bottom)}"
        parts.append(f'<path class="grid" d="{line}"/>')
        parts.append(text_at(x(tick), bottom + 15, format_number(tick), "tick", "middle"))
    for position, row in enumerate(chart.rows):
        parts.append(_density_row(chart, row, x, top + _ROW * (position + 0.5)))
    parts.append(text_at((x.start + x.end) / 2, bottom + 32, chart.x_label, "label", "middle"))
    return svg(chart.width, bottom + 40, chart.title, chart.description, "".join(parts))


def log_density(
    values: Real[np.ndarray, " values"], places: Float[np.ndarray, " places"]
) -> Float[np.ndarray, " places"]:
    """Returns the Gaussian kernel density of log10(values) at log10(places).

    The bandwidth is Silverman's, at least 1 % of the places' log range, so that equal values give a
    narrow peak. Integrates to one over log10 on a wide enough grid; all zero without values.
    """
    logs, grid = np.log10(values), np.log10(places)
    if not logs.size:
        return np.zeros(grid.shape)
    low, high = np.quantile(logs, [0.25, 0.75])
    spread = min(logs.std(), (high - low) / 1.34) or logs.std()
    bandwidth = max(0.9 * spread * logs.size**-0.2, 0.01 * (grid.max() - grid.min()))
    z = (grid[:, None] - logs) / bandwidth
    return np.exp(-(z**2) / 2).mean(axis=1) / (bandwidth * math.sqrt(2 * math.pi))


def dot_plot(
    rows: Sequence[DotRow],
    *,
    series: Sequence[tuple[str, str, str]],
    title: str,
    description: str,
    x_label: str,
    bounds: tuple[float, float] = (0.0, 1.0),
    chance: float | None = 0.5,
    width: float = 480.0,
) -> str:
    """Returns an SVG of dots on a linear axis, joined within a row.

    Args:
      rows: one a line, in the order of `series`.
      series: (name, CSS variable, marker) of each value of a row.
      bounds: of the axis.
      chance: a value that is marked as such; None marks none.
    """
    top, step = 14.0, 30.0
    names = max([122.0, *(16 + _CHARACTER * len(row.name) for row in rows)])
    bottom = top + step * len(rows)
    x = Scale(*bounds, names, width - 16.0)
    parts = []
    for tick in nice_ticks(*bounds, most=6):
        line = f"M{pixel(x(tick))} {pixel(top)}V{pixel(bottom)}"
        parts.append(f'<path class="grid" d="{line}"/>')
        parts.append(text_at(x(tick), bottom + 16, format_number(tick), "tick", "middle"))
    if chance is not None:
        line = f"M{pixel(x(chance))} {pixel(top)}V{pixel(bottom)}"
        parts.append(f'<path class="reference" d="{line}"/>')
        parts.append(text_at(x(chance), top - 3, "chance", "note", "middle"))
    for position, row in enumerate(rows):
        parts.append(_dot_row(row, series, x, top + step * (position + 0.5)))
    parts.append(text_at((x.start + x.end) / 2, bottom + 34, x_label, "label", "middle"))
    return svg(width, bottom + 42, title, description, "".join(parts))


def _density_row(chart: DensityChart, row: DensityRow, x: Scale, middle: float) -> str:
    """Returns the name, the two densities and the note of one row."""
    places = np.geomspace(x.low, x.high, _GRID)
    samples = [_showable(row.above), _showable(row.below)]
    densities = [log_density(_fewer(sample), places) for sample in samples]
    highest = max(density.max() for density in densities) or 1.0
    parts = [
        text_at(x.start - 8, middle + 4, row.name, "tick", "end"),
        f'<path class="axis" d="M{pixel(x.start)} {pixel(middle)}H{pixel(x.end)}"/>',
    ]
    for side, (sample, density) in enumerate(zip(samples, densities)):
        if not sample.size:
            continue
        direction = -1 if side == 0 else 1
        heights = middle + direction * density / highest * (_ROW / 2 - 2)
        edge = [(x.start, middle), *((x(a), b) for a, b in zip(places, heights)), (x.end, middle)]
        outline = " ".join(f"{pixel(a)},{pixel(b)}" for a, b in edge)
        median = float(np.median(sample))
        curve = _edge(
            [place for place, part in zip(edge[1:-1], density) if part > _FLOOR * highest]
        )
        tick = f"M{pixel(x(median))} {pixel(middle)}v{pixel(direction * 8.0)}"
        told = f"{row.name}, {chart.names[side]}: {sample.size:,} {chart.counted}, median "
        parts.append(
            f'<g class="{("above", "below")[side]}" style="--c:var(--{chart.colors[side]})">'
            f'<polygon points="{outline}"/>{curve}<path d="{tick}"/>'
            f"<title>{escape(told + format_number(median))}</title></g>"
        )
    parts.append(text_at(chart.width - 2, middle + 4, row.note, "tick", "end"))
    return "".join(parts)


def _edge(places: Sequence[tuple[float, float]]) -> str:
    """Returns the outline of a density."""
    return f'<polyline points="{" ".join(f"{pixel(a)},{pixel(b)}" for a, b in places)}"/>'


def _fewer(values: Float[np.ndarray, " shown"]) -> Float[np.ndarray, " kept"]:
    """Returns values whose density is about the same, at most so many."""
    if values.size <= _MOST_VALUES:
        return values
    return np.quantile(values, (np.arange(_MOST_VALUES) + 0.5) / _MOST_VALUES)


def _showable(values: Real[np.ndarray, " values"]) -> Float[np.ndarray, " shown"]:
    """Returns the values that a log axis can show."""
    values = np.asarray(values, np.float64)
    return values[np.isfinite(values) & (values > 0)]


def _dot_row(row: DotRow, series: Sequence[tuple[str, str, str]], x: Scale, y: float) -> str:
    """Returns the name, the joining line and the dots of one row."""
    parts = [text_at(x.start - 10, y + 4, row.name, "tick", "end")]
    finite = [x(value) for value in row.values if math.isfinite(value)]
    if len(finite) > 1:
        line = f"M{pixel(min(finite))} {pixel(y)}H{pixel(max(finite))}"
        parts.append(f'<path class="join" d="{line}"/>')
    for value, (name, color, kind) in zip(row.values, series):
        if math.isfinite(value):
            told = escape(f"{row.name}, {name}: {format_number(value)}")
            style = f'class="line dots" style="--c:var(--{color})"'
            parts.append(f"<g {style}>{marker(kind, x(value), y)}<title>{told}</title></g>")
    return "".join(parts)
