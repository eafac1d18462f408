"""Charts are read back: axes from their drawn ticks, then data from the drawn coordinates."""

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from svg_reader import axis_reader, points_of

from presence_t5x.reporting import plots
from presence_t5x.reporting.distributions import (
    DensityChart,
    DensityRow,
    DotRow,
    density_rows,
    dot_plot,
    log_density,
)
from presence_t5x.reporting.plots import Axis, Band, LineChart, Reference, Series, line_chart
from presence_t5x.reporting.scales import data_bounds, nice_bounds, nice_ticks

PIXEL = 0.02  # coordinates are rounded to two decimals
HOSTILE = "<script>alert(1)</script>&\"'\x00\ud800"


def chart_of(series, *, bands=(), references=(), x_log=False, y_log=False, **options):
    chart = LineChart(
        title="t", description="d", series=series, bands=bands, references=references,
        x_axis=Axis(label="step", log=x_log), y_axis=Axis(label="y", log=y_log), **options,
    )  # fmt: skip
    return ElementTree.fromstring(line_chart(chart))


@pytest.mark.parametrize("log", [False, True])
def test_polyline_maps_to_the_data(log):
    x = np.array([3.0, 40.0, 55.0, 200.0, 777.0])
    y = np.array([0.02, 3.0, 0.5, 17.0, 1.1])
    svg = chart_of([Series(name="a", x=x, y=y, color="score")], y_log=log)
    (line,) = svg.iter("polyline")
    to_x, to_y = (
        axis_reader(svg, horizontal=True, log=False),
        axis_reader(svg, horizontal=False, log=log),
    )
    places = points_of(line)
    np.testing.assert_allclose([to_x(a) for a, _ in places], x, atol=0.5)
    tolerance = {"rtol": 2e-3} if log else {"atol": 2e-3 * 20}
    np.testing.assert_allclose([to_y(b) for _, b in places], y, **tolerance)


def test_a_missing_value_is_a_gap_and_a_lone_one_a_dot():
    y = np.array([1.0, 2.0, np.nan, 3.0, np.inf, 4.0, 5.0])
    svg = chart_of([Series(name="a", x=np.arange(7.0), y=y, color="score")], legend=False)
    assert [len(points_of(line)) for line in svg.iter("polyline")] == [2, 2]
    assert len(list(svg.iter("circle"))) == 1


def test_a_log_axis_leaves_out_what_it_cannot_show():
    y = np.array([1.0, 0.0, -1.0, 10.0, 100.0])
    svg = chart_of([Series(name="a", x=np.arange(5.0), y=y, color="score")], y_log=True)
    (line,) = svg.iter("polyline")
    assert len(points_of(line)) == 2


@pytest.mark.parametrize("y", [[], [np.nan, np.nan]])
def test_a_chart_without_values_says_so(y):
    x = np.arange(float(len(y)))
    svg = chart_of([Series(name="a", x=x, y=np.array(y), color="score")])
    assert any(text.text == "no finite values" for text in svg.iter("text"))


def test_a_stepped_line_reaches_back_to_the_point_before():
    temperature = Series(
        name="t", x=np.array([10.0, 20.0, 30.0]), y=np.array([1.0, 1.0, -1.0]),
        color="presence", stepped=True,
    )  # fmt: skip
    svg = chart_of([temperature])
    (line,) = svg.iter("polyline")
    to_x, to_y = (axis_reader(svg, horizontal=side, log=False) for side in (True, False))
    corners = [(round(to_x(a)), round(to_y(b))) for a, b in points_of(line)]
    assert corners == [(10, 1), (10, 1), (20, 1), (20, -1), (30, -1)]


def test_band_and_reference_lie_where_the_data_are():
    x, low, high = np.array([0.0, 10.0]), np.array([1.0, 2.0]), np.array([3.0, 6.0])
    band = Band(name="b", x=x, low=low, high=high, color="score")
    switch = Reference(value=5.0, label="switch", vertical=True)
    outside = Reference(value=99.0, label="outside")
    svg = chart_of([], bands=[band], references=[switch, outside])
    to_x, to_y = (axis_reader(svg, horizontal=side, log=False) for side in (True, False))
    (polygon,) = svg.iter("polygon")
    corners = [(round(to_x(a), 1), round(to_y(b), 1)) for a, b in points_of(polygon)]
    assert corners == [(0, 3), (10, 6), (10, 2), (0, 1)]
    (line,) = [path for path in svg.iter("path") if path.get("class") == "reference"]
    assert to_x(float(line.get("d")[1:].split(" ")[0])) == pytest.approx(5.0, abs=0.02)


def test_tooltips_tell_the_values():
    series = [
        Series(name="one", x=np.array([1.0, 2.0]), y=np.array([0.5, 0.25]), color="score"),
        Series(name="two", x=np.array([2.0]), y=np.array([7.0]), color="loss"),
    ]
    told = [title.text for title in chart_of(series).iter("title")]
    assert "step 1\none: 0.5" in told and "step 2\none: 0.25\ntwo: 7" in told


def test_series_differ_without_colour():
    x = np.arange(3.0)
    series = [
        Series(name="a", x=x, y=x, color="score", marker="circle"),
        Series(name="b", x=x, y=x, color="loss", marker="square", dash="dashed"),
    ]
    first, second = [
        group for group in chart_of(series, legend=False).iter("g") if group.get("class") == "line"
    ]
    assert len(list(first.iter("circle"))) == 3 and len(list(second.iter("rect"))) == 3
    assert "dasharray" in second.get("style") and "dasharray" not in first.get("style")


def test_legend_wraps_within_the_chart():
    x = np.arange(3.0)
    series = [Series(name=f"a rather long name {i}", x=x, y=x, color="score") for i in range(6)]
    names = [t for t in chart_of(series).iter("text") if t.get("class") == "legend-name"]
    assert len(names) == 6 and len({t.get("y") for t in names}) > 1
    assert all(float(t.get("x")) + 6 * len(t.text) < 480 for t in names)


def test_hostile_text_stays_text():
    x = np.arange(3.0)
    drawn = line_chart(
        LineChart(
            title=HOSTILE, description=HOSTILE, x_axis=Axis(label=HOSTILE),
            y_axis=Axis(label=HOSTILE), references=[Reference(value=1.0, label=HOSTILE)],
            series=[Series(name=HOSTILE, x=x, y=x, color="score")],
        )
    )  # fmt: skip
    svg = ElementTree.fromstring(drawn)
    assert not list(svg.iter("script")) and "<script" not in drawn
    drawn.encode("utf-8")
    assert svg.find("title").text == "<script>alert(1)</script>&\"'\ufffd\ufffd"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-5, 5) | st.just(math.nan), max_size=20), st.integers(1, 9))
def test_smooth_is_the_mean_of_each_window(values, window):
    values = np.array(values, np.float64)
    for i, got in enumerate(plots.smooth(values, window)):
        near = values[max(0, i - window // 2) : i + window // 2 + 1]
        near = near[np.isfinite(near)]
        expected = near.mean() if np.isfinite(values[i]) else math.nan
        assert got == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_thinning_keeps_spikes_order_and_gaps():
    y = np.zeros(10_000)
    y[4321], y[77], y[5000:5100] = 9.0, -9.0, np.nan
    thin_x, thin_y = plots.thin_out(np.arange(10_000.0), y)
    assert len(thin_x) <= 400 and (np.diff(thin_x) > 0).all()
    assert 4321 in thin_x and 77 in thin_x and np.isnan(thin_y).any()


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-4, 1e7), st.integers(3, 9))
def test_linear_ticks_are_round_even_and_inside(low, span, most):
    low, high = data_bounds([np.array([low, low + span])])
    ticks = nice_ticks(low, high, most=most)
    slack = 1e-6 * (high - low)
    assert 1 <= len(ticks) <= most
    assert ticks[0] >= low - slack and ticks[-1] <= high + slack
    if len(ticks) > 2:
        np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-6, atol=1e-9)
        mantissa = f"{ticks[1] - ticks[0]:.3e}"[0]
        assert mantissa in "125"
    bounds = nice_bounds(low, high, most=most)
    assert bounds[0] <= low + slack and bounds[1] >= high - slack


@settings(max_examples=100, deadline=None)
@given(st.floats(-12, 8), st.floats(0.01, 14))
def test_log_ticks_are_inside_and_increase(exponent, decades):
    low, high = 10.0**exponent, 10.0 ** (exponent + decades)
    ticks = nice_ticks(low, high, most=6, log=True)
    assert 1 <= len(ticks) <= 6 and (np.diff(ticks) > 0).all()
    assert ticks[0] >= low * 0.999 and ticks[-1] <= high * 1.001


@pytest.mark.parametrize(
    ("values", "log", "expected"),
    [([2.0, 2.0], False, (1.8, 2.2)), ([0.0], False, (-1.0, 1.0)), ([4.0], True, (2.0, 8.0)),
     ([0.0, -1.0, np.nan], True, None), ([np.inf], False, None), ([], False, None)],
)  # fmt: skip
def test_bounds_of_degenerate_data(values, log, expected):
    bounds = data_bounds([np.array(values)], log=log)
    assert bounds == (expected and pytest.approx(expected))


@pytest.mark.parametrize("values", [np.geomspace(0.01, 1, 50), np.full(20, 0.1)])
def test_density_integrates_to_one(values):
    places = np.geomspace(1e-5, 1e3, 2000)
    area = np.trapezoid(log_density(values, places), np.log10(places))
    assert area == pytest.approx(1.0, abs=1e-3)


def density_svg(rows):
    chart = DensityChart(
        title="t", description="d", rows=rows, names=("clean", "noise"), colors=("clean", "noise"),
        x_label="score", bounds=(0.001, 10.0),
    )  # fmt: skip
    return ElementTree.fromstring(density_rows(chart))


def test_density_peaks_and_medians_lie_at_the_data():
    random = np.random.default_rng(0)
    above = 10 ** random.normal(-2, 0.1, 400)
    below = np.concatenate([10 ** random.normal(0, 0.1, 401), [0.0, -1.0, np.nan]])
    svg = density_svg([DensityRow(name="en", above=above, below=below, note="0.99")])
    ticks = {
        t.text: float(t.get("x")) for t in svg.iter("text") if t.get("text-anchor") == "middle"
    }
    middle = float(next(t for t in svg.iter("text") if t.text == "en").get("y")) - 4
    for name, place, side in (("above", ticks["0.01"], -1), ("below", ticks["1"], 1)):
        (group,) = [g for g in svg.iter("g") if g.get("class") == name]
        peak = max(points_of(group.find("polygon")), key=lambda point: side * point[1])
        assert peak[0] == pytest.approx(place, abs=8) and side * (peak[1] - middle) > 10
        assert float(group.find("path").get("d")[1:].split(" ")[0]) == pytest.approx(place, abs=4)
    assert any("noise: 401 rows" in (title.text or "") for title in svg.iter("title"))


def test_density_of_empty_and_equal_samples():
    rows = [DensityRow(name="a", above=np.full(5, 0.1), below=np.zeros(0)),
            DensityRow(name="b", above=np.array([np.nan, -1.0]), below=np.zeros(3))]  # fmt: skip
    svg = density_svg(rows)
    assert len(list(svg.iter("polygon"))) == 1


def test_dots_lie_at_their_values():
    series = [("score", "score", "circle"), ("loss", "loss", "square")]
    rows = [DotRow(name="a", values=(0.2, 0.9)), DotRow(name="b", values=(math.nan, 0.5))]
    svg = ElementTree.fromstring(
        dot_plot(rows, series=series, title="t", description="d", x_label="x")
    )
    ticks = {
        t.text: float(t.get("x")) for t in svg.iter("text") if t.get("text-anchor") == "middle"
    }
    (circle,) = svg.iter("circle")
    assert float(circle.get("cx")) == pytest.approx(ticks["0.2"], abs=PIXEL)
    squares = [float(rect.get("x")) + float(rect.get("width")) / 2 for rect in svg.iter("rect")]
    zero, one = ticks["0"], ticks["1"]
    expected = [zero + 0.9 * (one - zero), zero + 0.5 * (one - zero)]
    assert squares == pytest.approx(expected, abs=PIXEL)
