"""Which curves of two runs the report shows: records in, charts (SVG text) out.

What the charts mean is said in `report_text`; how a line is drawn, in `plots`.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from presence_t5x.plot_distributions import (
    DensityChart,
    DensityRow,
    DotRow,
    density_rows,
    dot_plot,
)
from presence_t5x.plot_scales import data_bounds, format_number, nice_bounds
from presence_t5x.plots import (
    Axis,
    Band,
    LineChart,
    Reference,
    Series,
    legend_line,
    line_chart,
    smooth,
)
from presence_t5x.ranking import auroc
from presence_t5x.run_files import Record, Run, number, setting
from presence_t5x.summary import CLEAN, mean_loss, relative_change

Column = Float[np.ndarray, " points"]
Figure = tuple[str, str]  # caption, SVG

_STEP = Axis(label="step")
_RUN_STYLES = {
    "baseline": {"color": "baseline", "dash": "dashed", "marker": "square"},
    "presence": {"color": "presence", "dash": "solid", "marker": "circle"},
}
_RANKERS = {
    "score": {"name": "self-influence", "color": "score", "marker": "circle"},
    "loss": {"name": "loss", "color": "loss", "dash": "dashed", "marker": "square"},
}
_CHANCE = Reference(value=0.5, label="")
_SMOOTHING = 20  # a running mean over one part in so many of the logged steps
_MARGIN = 1.6  # room for the tails of a density beyond its outermost score
_MOST_MARKED = 25  # points of a curve that still get a marker each


def plain_words(kind: str) -> str:
    """Returns a noise kind as a person writes it.

    >>> plain_words("permuted_words")
    'permuted words'
    """
    return str(kind).replace("_", " ")


def loss_figures(baseline: Run, presence: Run) -> list[Figure]:
    """Returns training loss, held-out loss on clean text and on noise, and the difference."""
    runs = {"baseline": baseline, "presence": presence}
    raw, smoothed = [], []
    for name, run in runs.items():
        x, y = columns(run.metrics, "train/loss")
        style = _RUN_STYLES[name] | {"marker": ""}
        raw.append(Series(name="", x=x, y=y, thin=True, color=name))
        mean = smooth(y, 1 + len(y) // _SMOOTHING)
        smoothed.append(Series(name=name, x=x, y=mean, **style))
    figures = [("Training loss", _loss_chart("Training loss", [*raw, *smoothed]))]
    for caption, clean in (
        ("Held-out loss on clean text", True),
        ("Held-out loss on noise", False),
    ):
        series = []
        for name, run in runs.items():
            x = np.array([record["step"] for record in run.evaluation], np.float64)
            y = [mean_loss(record["rows"], clean=clean) for record in run.evaluation]
            series.append(_marked(name, x, np.array(y), _RUN_STYLES[name]))
        figures.append((caption, _loss_chart(caption, series)))
    return [*figures, _difference_figure(baseline, presence)]


def distribution_figures(run: Run) -> list[Figure]:
    """Returns, per noise kind, the densities of clean and noisy scores, one language a row."""
    groups: dict[tuple[str, str], list[float]] = {}
    for record in run.probe_scores:
        key = (str(record["noise"]), str(record["language"]))
        groups.setdefault(key, []).append(number(record["score"]))
    samples = {key: np.array(values) for key, values in groups.items()}
    bounds = data_bounds(samples.values(), log=True)
    bounds = bounds and (bounds[0] / _MARGIN, bounds[1] * _MARGIN)
    languages = list(dict.fromkeys(language for _, language in samples))
    figures = []
    for kind in dict.fromkeys(kind for kind, _ in samples if kind != CLEAN):
        rows = []
        for language in languages:
            clean = samples.get((CLEAN, language), np.zeros(0))
            noisy = samples.get((kind, language), np.zeros(0))
            rows.append(
                DensityRow(
                    name=language,
                    above=clean,
                    below=noisy,
                    note=_two_decimals(auroc(noisy, clean)),
                )
            )
        chart = DensityChart(
            title=f"Scores of {plain_words(kind)} and clean text",
            description="Per language: clean above the line, noise below; log axis of the score.",
            rows=rows,
            names=(CLEAN, plain_words(kind)),
            colors=("clean", "noise"),
            x_label="self-influence of a row",
            note_label="AUROC",
            bounds=bounds,
        )
        figures.append((plain_words(kind).capitalize(), density_rows(chart)))
    return figures


def ranking_figures(run: Run) -> tuple[list[Figure], list[Figure]]:
    """Returns AUROC over steps: per noise kind (mean of languages), and of permuted words."""
    curves: dict[tuple[str, str], dict[int, Record]] = {}
    for record in run.probe:
        for row in record["rows"]:
            if row["noise"] != CLEAN:
                key = (row["noise"], row["language"])
                curves.setdefault(key, {})[record["step"]] = row
    steps = [record["step"] for record in run.probe]
    by_kind = []
    for kind in dict.fromkeys(kind for kind, _ in curves):
        of_kind = [rows for (other, _), rows in curves.items() if other == kind]
        caption = plain_words(kind).capitalize()
        by_kind.append(
            (caption, _auroc_chart(f"{caption}: mean of languages", steps, of_kind, 340))
        )
    by_language = [
        (language, _auroc_chart(f"Permuted words, {language}", steps, [rows], 270))
        for (kind, language), rows in curves.items()
        if kind == "permuted_words"
    ]
    return by_kind, by_language


def ranker_legend() -> str:
    """Returns the legend that all charts of rankings share."""
    nothing = np.zeros(0)
    return legend_line([Series(x=nothing, y=nothing, **style) for style in _RANKERS.values()])


def distribution_legend() -> str:
    """Returns the legend that all charts of distributions share."""
    nothing = np.zeros(0)
    sides = (("clean (above)", "clean", 0.45), ("noise (below)", "noise", 0.25))
    bands = [
        Band(name=name, x=nothing, low=nothing, high=nothing, color=color, opacity=opacity)
        for name, color, opacity in sides
    ]
    return legend_line(bands)


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
        Series(name="smoothed", x=x, y=smooth(size, 1 + size.size // _SMOOTHING), color="presence"),
        Series(name="live units", x=x_units, y=units, color="baseline", dash="dotted"),
    ]
    caption = "Effective sample size"
    chart = _step_chart(caption, "units", sizes, switch, lowest=0.0)
    return [*figures, (caption, chart), _weights_figure(run, switch), _scores_figure(run, switch)]


def blind_spot_figure(means: Mapping[str, Mapping[str, float]]) -> str:
    """Returns the dots of score and loss AUROC per noise kind."""
    rows = [
        DotRow(name=plain_words(kind), values=(pair["score"], pair["loss"]))
        for kind, pair in means.items()
    ]
    return dot_plot(
        rows,
        series=[(style["name"], style["color"], style["marker"]) for style in _RANKERS.values()],
        title="AUROC of self-influence and of loss per noise kind",
        description="Mean over languages at the last probe; 0.5 is chance.",
        x_label="AUROC, noise above clean",
    )


def columns(records: Iterable[Record], key: str) -> tuple[Column, Column]:
    """Returns the steps and values of a metric, over the records that have it."""
    pairs = [(record["step"], number(record[key])) for record in records if key in record]
    table = np.array(pairs, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _two_decimals(value: float) -> str:
    """Returns an AUROC as text."""
    return "–" if np.isnan(value) else f"{value:.2f}"


def _marked(name: str, x: Column, y: Column, style: Mapping[str, str]) -> Series:
    """Returns a series whose points are marked unless they are many."""
    marker = style.get("marker", "") if x.size <= _MOST_MARKED else ""
    return Series(name=name, x=x, y=y, **(dict(style) | {"marker": marker}))


def _loss_chart(title: str, series: Sequence[Series]) -> str:
    """Returns a chart of loss over steps."""
    chart = LineChart(
        title=title,
        description="Mean loss per target token over training steps, baseline and presence.",
        series=series,
        x_axis=_STEP,
        y_axis=Axis(label="loss per target token (nats)"),
    )
    return line_chart(chart)


def _difference_figure(baseline: Run, presence: Run) -> Figure:
    """Returns the relative change of held-out loss at the evaluations that both runs have."""
    rows = [
        {record["step"]: record["rows"] for record in run.evaluation}
        for run in (baseline, presence)
    ]
    steps = sorted(rows[0].keys() & rows[1].keys())
    series = []
    for name, dash, marker in ((CLEAN, "solid", "circle"), ("noise", "dashed", "square")):
        losses = [[mean_loss(side[step], clean=name == CLEAN) for step in steps] for side in rows]
        y = np.array([100 * relative_change(*pair) for pair in zip(*losses)], np.float64)
        style = {"color": name, "dash": dash, "marker": marker}
        series.append(_marked(name, np.array(steps, np.float64), y, style))
    chart = LineChart(
        title="Change of held-out loss, presence against baseline",
        description="Relative change in percent over steps; below zero the weighting helped.",
        series=series,
        x_axis=_STEP,
        y_axis=Axis(label="change of loss, %", bounds=_bounds_with_zero(series)),
        references=[Reference(value=0.0, label="no difference")],
    )
    return "Presence against baseline", line_chart(chart)


def _bounds_with_zero(series: Sequence[Series]) -> tuple[float, float] | None:
    """Returns round bounds of a y axis that shows zero, None without a value."""
    data = data_bounds([item.y for item in series])
    return data and nice_bounds(min(data[0], 0.0), max(data[1], 0.0), most=5)


def _auroc_chart(
    title: str, steps: Sequence[int], curves: Sequence[Mapping[int, Record]], width: int
) -> str:
    """Returns a small chart of score and loss AUROC, the mean over the given curves."""
    x = np.array(steps, np.float64)
    series = []
    for ranker, style in _RANKERS.items():
        y = [_mean_known(rows[s][f"auroc_{ranker}"] for rows in curves if s in rows) for s in steps]
        named = dict(style)
        series.append(_marked(named.pop("name"), x, np.array(y), named))
    chart = LineChart(
        title=title,
        description="AUROC of noise against clean over steps, by self-influence and by loss.",
        series=series,
        x_axis=_STEP,
        y_axis=Axis(label="AUROC", bounds=(0.0, 1.0)),
        references=[_CHANCE],
        legend=False,
        width=width,
        height=190,
    )
    return line_chart(chart)


def _mean_known(values: Iterable[object]) -> float:
    """Returns the mean of the finite values, NaN without any."""
    finite = [value for value in map(number, values) if np.isfinite(value)]
    return sum(finite) / len(finite) if finite else float("nan")


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
        x_axis=_STEP,
        y_axis=Axis(label=label, log=log, bounds=bounds),
        legend=len([item for item in (*series, *bands) if item.name]) > 1,
    )
    return line_chart(chart)


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


def _between(name: str, x: Column, low: Column, high: Column, opacity: float) -> Band:
    """Returns a band in the colour of the weighted run."""
    return Band(name=name, x=x, low=low, high=high, color="presence", opacity=opacity)


def _quantiles(rows: Sequence[Sequence[object]]) -> list[Column]:
    """Returns minimum, quartiles and maximum of each row's finite values, NaN without any."""
    finite = [[v for v in map(number, row) if np.isfinite(v)] or [np.nan] for row in rows]
    table = np.array([np.quantile(row, [0, 0.25, 0.5, 0.75, 1]) for row in finite])
    return list(table.T)
