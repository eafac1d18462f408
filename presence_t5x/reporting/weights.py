"""The charts of what the weighting did: temperature, effective sample size, weights, scores.

Records in, charts (SVG text) out, as in `figures`.
"""

from collections.abc import Sequence

import numpy as np

from presence_t5x.reporting.figures import SMOOTHING, STEP, Column, Figure, columns
from presence_t5x.reporting.plots import (
    Axis,
    Band,
    LineChart,
    Reference,
    Series,
    line_chart,
    smooth,
)
from presence_t5x.reporting.run_files import Run, number, setting
from presence_t5x.reporting.scales import data_bounds, format_number


def weight_figures(run: Run) -> list[Figure]:
    """Returns temperature, effective sample size, weights and scores over the logged steps."""
    switch = _switch(run)
    x, temperature = columns(run.metrics, "presence/temperature")
    line = Series(name="temperature", x=x, y=temperature, color="presence", stepped=True)
    zero = Reference(value=0.0, label="0: unweighted")
    figures = [("Temperature", _step_chart("Temperature", "temperature", [line], [zero, *switch]))]
    x, size = columns(run.metrics, "presence/effective_sample_size")
    x_units, units = columns(run.metrics, "presence/num_live_units")
    sizes = [
        Series(name="raw", x=x, y=size, color="presence", thin=True),
        Series(name="smoothed", x=x, y=smooth(size, 1 + size.size // SMOOTHING), color="presence"),
        Series(name="live units", x=x_units, y=units, color="baseline", dash="dotted"),
    ]
    caption = "Effective sample size"
    chart = _step_chart(caption, "units", sizes, switch, lowest=0.0)
    return [*figures, (caption, chart), _weights_figure(run, switch), _scores_figure(run, switch)]


def _weights_figure(run: Run, switch: Sequence[Reference]) -> Figure:
    """Returns the spread of the weights; only the largest one where a step has too many units."""
    logged = [record for record in run.metrics if record.get("presence/weights")]
    x, largest = columns(run.metrics, "presence/weight_max")
    bands = []
    lines = [Series(name="largest", x=x, y=largest, color="presence")]
    if logged:
        steps = np.array([record["step"] for record in logged], np.float64)
        spread = _quantiles([record["presence/weights"] for record in logged])
        bands = [_between("all units", steps, spread[0], spread[4], 0.16)]
        bands += [_between("middle half", steps, spread[1], spread[3], 0.3)]
        lines = [Series(name="median", x=steps, y=spread[2], color="presence")]
    x_units, units = columns(run.metrics, "presence/num_live_units")
    with np.errstate(divide="ignore"):
        equal = Series(
            name="equal weights", x=x_units, y=1 / units, color="baseline", dash="dotted"
        )
    caption = "Weights of the units"
    chart = _step_chart(caption, "weight", [*lines, equal], switch, bands=bands, lowest=0.0)
    return caption, chart


def _scores_figure(run: Run, switch: Sequence[Reference]) -> Figure:
    """Returns mean, smallest and largest unit score of each step on a log axis."""
    x, mean = columns(run.metrics, "presence/score_mean")
    low_x, low = columns(run.metrics, "presence/score_min")
    high_x, high = columns(run.metrics, "presence/score_max")
    bands = []
    if np.array_equal(low_x, high_x):
        bands = [Band(name="smallest to largest", x=low_x, low=low, high=high, color="score")]
    line = Series(name="mean", x=x, y=mean, color="score")
    caption = "Scores of the units"
    return caption, _step_chart(caption, "score", [line], switch, bands=bands, log=True)


def _switch(run: Run) -> list[Reference]:
    """Returns the mark of the step at which a two-stage temperature switches."""
    switch = setting(run.config, "temperature.switch_step")
    if setting(run.config, "temperature.schedule", "two_stage") != "two_stage" or switch is None:
        return []
    label = f"switch at {format_number(number(switch))}"
    return [Reference(value=number(switch), label=label, vertical=True)]


def _step_chart(
    title: str,
    label: str,
    series: Sequence[Series],
    references: Sequence[Reference],
    *,
    bands: Sequence[Band] = (),
    log: bool = False,
    lowest: float | None = None,
) -> str:
    """Returns a chart of something the weighting logs; `lowest` starts its y axis there."""
    values = [item.y for item in series] + [band.high for band in bands]
    data = data_bounds(values) if lowest is not None else None
    bounds = (lowest, data[1] * 1.05) if lowest is not None and data else None
    chart = LineChart(
        title=title,
        description=f"{title} of the weighted run over training steps.",
        series=series,
        bands=bands,
        references=references,
        x_axis=STEP,
        y_axis=Axis(label=label, log=log, bounds=bounds),
        legend=len([item for item in (*series, *bands) if item.name]) > 1,
    )
    return line_chart(chart)


def _between(name: str, x: Column, low: Column, high: Column, opacity: float) -> Band:
    """Returns a band in the colour of the weighted run."""
    return Band(name=name, x=x, low=low, high=high, color="presence", opacity=opacity)


def _quantiles(rows: Sequence[Sequence[object]]) -> list[Column]:
    """Returns minimum, quartiles and maximum of each row's finite values, NaN without any."""
    finite = [[v for v in map(number, row) if np.isfinite(v)] or [np.nan] for row in rows]
    table = np.array([np.quantile(row, [0, 0.25, 0.5, 0.75, 1]) for row in finite])
    return list(table.T)
