"""Charts as SVG text: data in, a string out, nothing else.

Colours are CSS variables of the page (`var(--baseline)` ...), so one chart serves light and dark;
every series also differs by dash or marker. Texts are escaped here. Hovering a column of a line
chart shows its values by <title> alone: there is no script.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Real

from presence_t5x.reporting.scales import Scale, data_bounds, format_number, nice_bounds
from presence_t5x.reporting.svg import escape, frame, marker, pixel, svg, text_at

Values = Real[np.ndarray, " points"]
Kept = Real[np.ndarray, " kept"]

_MOST_POINTS = 400  # a series longer than this is thinned; a chart is about 400 pixels wide
_MOST_TOOLTIPS = 80
_CHARACTER = 6.8  # generous mean width of a 12 px letter, to lay out legends
_DASHES = {"solid": "", "dashed": "6 4", "dotted": "1.5 4"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis: its label, whether it is logarithmic, and its bounds (None: from the data)."""

    label: str = ""
    log: bool = False
    bounds: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """One line; `color` names a CSS variable, `name` is empty for a line without legend.

    Attributes:
      dash: "solid", "dashed" or "dotted".
      marker: "circle", "square" or "" (none); a lone point is always marked.
      stepped: each value holds from the point before it up to its own, as for a schedule: what is
        logged at step s was true of the update that ended there.
      thin: a faint line, for raw values behind a smoothed series.
    """

    name: str
    x: Values
    y: Values
    color: str
    dash: str = "solid"
    marker: str = ""
    stepped: bool = False
    thin: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Band:
    """A filled region between two lines over the same x."""

    name: str
    x: Values
    low: Values
    high: Values
    color: str
    opacity: float = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """A thin dotted line with a label: at a value of y, or of x when `vertical`."""

    value: float
    label: str
    vertical: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineChart:
    """What `line_chart` draws. `title` and `description` are read to those who cannot see it."""

    title: str
    description: str
    series: Sequence[Series]
    x_axis: Axis
    y_axis: Axis
    bands: Sequence[Band] = ()
    references: Sequence[Reference] = ()
    legend: bool = True
    width: float = 480.0
    height: float = 270.0


def line_chart(chart: LineChart) -> str:
    """Returns an SVG of lines and bands over common axes, with gaps where a value is missing.

    Values that an axis cannot show (NaN, infinities, <= 0 on a log axis) are gaps. A chart without
    any value says so.
    """
    named = [*chart.series, *chart.bands] if chart.legend else []
    legend, top = _legend([item for item in named if item.name], chart.width, first_line=32.0)
    x, y = _scales(chart, top + 20)
    if x is None or y is None:
        nothing = text_at(chart.width / 2, chart.height / 2, "no finite values", anchor="middle")
        return svg(chart.width, chart.height, chart.title, chart.description, nothing)
    parts = [
        text_at(0.0, 13.0, chart.y_axis.label, "label"),
        legend,
        frame(x, y, chart.x_axis.label, chart.height),
        *(_band(band, x, y) for band in chart.bands),
        *(_reference(reference, x, y) for reference in chart.references),
        *(_line(series, x, y) for series in chart.series),
        _tooltips(chart, x, y),
    ]
    return svg(chart.width, chart.height, chart.title, chart.description, "".join(parts))


def legend_line(series: Sequence[Series | Band], width: float = 340.0) -> str:
    """Returns a legend as an SVG of its own, for small multiples that share it."""
    drawn, bottom = _legend(series, width, first_line=14.0)
    names = ", ".join(item.name for item in series)
    return svg(width, bottom + 8, "Legend", names, drawn, css_class="legend")


def smooth(values: Values, window: int) -> Values:
    """Returns the centred running mean, over the finite values of each window.

    Windows are cut at the ends; a missing value stays missing.

    >>> import numpy as np
    >>> smooth(np.array([1.0, 2.0, 6.0]), 3).tolist()
    [1.5, 3.0, 4.0]
    """
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    first = np.maximum(np.arange(values.size) - window // 2, 0)
    last = np.minimum(np.arange(values.size) + window // 2 + 1, values.size)
    mean = (sums[last] - sums[first]) / np.maximum(counts[last] - counts[first], 1)
    return np.where(finite, mean, np.nan)


def _scales(chart: LineChart, top: float) -> tuple[Scale | None, Scale | None]:
    """Returns the scales of both axes, None for an axis without a value to show."""
    columns_x = [item.x for item in (*chart.series, *chart.bands)]
    columns_y = [item.y for item in chart.series]
    columns_y += [column for band in chart.bands for column in (band.low, band.high)]
    x_bounds = chart.x_axis.bounds or data_bounds(columns_x, log=chart.x_axis.log)
    data = data_bounds(columns_y, log=chart.y_axis.log)
    if x_bounds is None or data is None:
        return None, None
    bounds = chart.y_axis.bounds
    if bounds is None:
        bounds = data if chart.y_axis.log else nice_bounds(*data, most=5)
    x = Scale(*x_bounds, 48.0, chart.width - 14.0, chart.x_axis.log)
    return x, Scale(*bounds, chart.height - 38.0, top, chart.y_axis.log)


def _line(series: Series, x: Scale, y: Scale) -> str:
    """Returns the polylines of a series, one per run of points without a gap, and its markers."""
    points_x, points_y = thin_out(series.x, series.y)
    places = [(x(float(a)), y(float(b))) for a, b in zip(points_x, points_y)]
    parts, lone = [], []
    for run in _runs_without_gap(places):
        if len(run) == 1:
            lone.extend(run)
        corners = _stepped(run) if series.stepped else run
        if len(corners) > 1:
            text = " ".join(f"{pixel(a)},{pixel(b)}" for a, b in corners)
            parts.append(f'<polyline points="{text}"/>')
    marked = (
        [place for run in _runs_without_gap(places) for place in run] if series.marker else lone
    )
    parts += [marker(series.marker or "circle", *place) for place in marked]
    dash = f";stroke-dasharray:{_DASHES[series.dash]}" if _DASHES[series.dash] else ""
    css_class = "line thin" if series.thin else "line"
    return f'<g class="{css_class}" style="--c:var(--{series.color}){dash}">{"".join(parts)}</g>'


def thin_out(x: Values, y: Values) -> tuple[Kept, Kept]:
    """Returns at most 400 points; each bucket keeps its lowest and highest, so spikes stay."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.size <= _MOST_POINTS:
        return x, y
    kept = set()
    for bucket in np.array_split(np.arange(x.size), _MOST_POINTS // 2):
        values = y[bucket]
        if np.isfinite(values).any():
            low = np.where(np.isfinite(values), values, np.inf).argmin()
            high = np.where(np.isfinite(values), values, -np.inf).argmax()
            kept |= {int(bucket[low]), int(bucket[high])}
        else:
            kept.add(int(bucket[0]))
    order = sorted(kept)
    return x[order], y[order]


def _runs_without_gap(places: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Returns the stretches of places between missing ones."""
    runs: list[list[tuple[float, float]]] = [[]]
    for place in places:
        if math.isfinite(place[0]) and math.isfinite(place[1]):
            runs[-1].append(place)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _stepped(run: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns corners that lead each height back to the place before."""
    corners = [run[0]]
    for (before, _), (place, height) in itertools.pairwise(run):
        corners += [(before, height), (place, height)]
    return corners


def _band(band: Band, x: Scale, y: Scale) -> str:
    """Returns the filled polygons of a band."""
    parts = []
    edges = list(zip(band.x, band.low, band.high))
    stride = max(1, math.ceil(len(edges) / _MOST_POINTS))
    places = [(x(float(a)), y(float(b)), y(float(c))) for a, b, c in edges[::stride]]
    for run in _runs_without_gap([(a, b + c) for a, b, c in places]):
        inside = [p for p in places if run[0][0] <= p[0] <= run[-1][0]]
        outline = [(a, c) for a, _, c in inside] + [(a, b) for a, b, _ in reversed(inside)]
        text = " ".join(f"{pixel(a)},{pixel(b)}" for a, b in outline)
        parts.append(f'<polygon points="{text}"/>')
    style = f"fill:var(--{band.color});opacity:{band.opacity:g}"
    return f'<g style="{style}">{"".join(parts)}</g>'


def _reference(reference: Reference, x: Scale, y: Scale) -> str:
    """Returns a reference line, if it lies within the axes."""
    scale = x if reference.vertical else y
    if not scale.low <= reference.value <= scale.high:
        return ""
    at = scale(reference.value)
    if reference.vertical:
        path = f"M{pixel(at)} {pixel(y.start)}V{pixel(y.end)}"
        # Above the axes, where no line runs; moved inwards near the sides.
        half = _CHARACTER * len(reference.label) / 2
        middle = min(max(at, x.start + half), x.end - half)
        label = text_at(middle, y.end - 4, reference.label, "note", "middle")
    else:
        path = f"M{pixel(x.start)} {pixel(at)}H{pixel(x.end)}"
        label = text_at(x.end, at - 4, reference.label, "note", "end")
    return f'<path class="reference" d="{path}"/>{label}'


def _legend(items: Sequence[Series | Band], width: float, first_line: float) -> tuple[str, float]:
    """Returns the drawn legend and its lowest line; names wrap to further lines."""
    parts, at, line = [], 0.0, first_line
    for item in items:
        needed = 38 + _CHARACTER * len(item.name)
        if at > 0 and at + needed > width:
            at, line = 0.0, line + 18
        parts.append(_swatch(item, at, line - 4) + text_at(at + 28, line, item.name, "legend-name"))
        at += needed + 8
    return "".join(parts), line if items else first_line - 16


def _swatch(item: Series | Band, x: float, y: float) -> str:
    """Returns the sample that stands before a name in the legend."""
    if isinstance(item, Band):
        style = f"fill:var(--{item.color});opacity:{item.opacity:g}"
        return f'<rect x="{pixel(x)}" y="{pixel(y - 5)}" width="22" height="10" style="{style}"/>'
    dash = f";stroke-dasharray:{_DASHES[item.dash]}" if _DASHES[item.dash] else ""
    mark = marker(item.marker, x + 11, y) if item.marker else ""
    line = f'<path d="M{pixel(x)} {pixel(y)}h22"/>'
    css_class = "line thin" if item.thin else "line"
    return f'<g class="{css_class}" style="--c:var(--{item.color}){dash}">{line}{mark}</g>'


def _tooltips(chart: LineChart, x: Scale, y: Scale) -> str:
    """Returns invisible columns that tell the named series' values at their x when hovered."""
    named = [series for series in chart.series if series.name]
    stops = sorted({float(v) for series in named for v in series.x if math.isfinite(x(float(v)))})
    stops = stops[:: max(1, math.ceil(len(stops) / _MOST_TOOLTIPS))]
    edges = [x.start, *((x(a) + x(b)) / 2 for a, b in itertools.pairwise(stops)), x.end]
    parts = []
    for stop, left, right in zip(stops, edges, edges[1:]):
        lines = [f"{chart.x_axis.label} {format_number(stop)}"]
        for series in named:
            known = [b for a, b in zip(series.x, series.y) if a == stop]
            lines += [f"{series.name}: {format_number(float(value), 4)}" for value in known[-1:]]
        box = f'x="{pixel(left)}" y="{pixel(y.end)}" width="{pixel(right - left)}"'
        box += f' height="{pixel(y.start - y.end)}"'
        parts.append(f"<rect {box}><title>{escape(chr(10).join(lines))}</title></rect>")
    return f'<g class="hover">{"".join(parts)}</g>'
