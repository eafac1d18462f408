"""Which curves of two runs the report shows: records in, charts (SVG text) out.

Those of the weighting itself are in `weights`. What the charts mean is said in
`text`; how a line is drawn, in `plots`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from presence_t5x.ranking import auroc
from presence_t5x.reporting.distributions import (
    DensityChart,
    DensityRow,
    DotRow,
    density_rows,
    dot_plot,
)
from presence_t5x.reporting.plots import (
    Axis,
    Band,
    LineChart,
    Reference,
    Series,
    legend_line,
    line_chart,
    smooth,
)
from presence_t5x.reporting.run_files import Record, Run, number
from presence_t5x.reporting.scales import data_bounds, nice_bounds
from presence_t5x.reporting.summary import CLEAN, mean_loss, relative_change
from presence_t5x.reporting.text import plain_words

Column = Float[np.ndarray, " points"]
Figure = tuple[str, str]  # caption, SVG

STEP = Axis(label="step")


class _Style(NamedTuple):
    """How one kind of series looks everywhere: told apart by colour, dash and marker alike."""

    color: str
    dash: str
    marker: str


_RUN_STYLES = {
    "baseline": _Style("baseline", "dashed", "square"),
    "presence": _Style("presence", "solid", "circle"),
}
_RANKER_STYLES = {
    "score": _Style("score", "solid", "circle"),
    "loss": _Style("loss", "dashed", "square"),
}
_RANKER_NAMES = {"score": "self-influence", "loss": "loss"}
_CHANCE = Reference(value=0.5, label="")
SMOOTHING = 20  # a running mean over one part in so many of the logged steps
_MARGIN = 1.6  # room for the tails of a density beyond its outermost score
_MOST_MARKED = 25  # points of a curve that still get a marker each


def loss_figures(baseline: Run, presence: Run) -> list[Figure]:
    """Returns training loss, held-out loss on clean text and on noise, and the difference."""
    runs = {"baseline": baseline, "presence": presence}
    raw, smoothed = [], []
    for name, run in runs.items():
        x, y = columns(run.metrics, "train/loss")
        raw.append(Series(name="", x=x, y=y, thin=True, color=name))
        mean = smooth(y, 1 + len(y) // SMOOTHING)
        dash = _RUN_STYLES[name].dash
        smoothed.append(Series(name=name, x=x, y=mean, color=name, dash=dash))
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
            (caption, _auroc_chart(f"{caption}: mean of languages", steps, of_kind, 340.0))
        )
    by_language = [
        (language, _auroc_chart(f"Permuted words, {language}", steps, [rows], 270.0))
        for (kind, language), rows in curves.items()
        if kind == "permuted_words"
    ]
    return by_kind, by_language


def ranker_legend() -> str:
    """Returns the legend that all charts of rankings share."""
    nothing = np.zeros(0)
    return legend_line(
        [
            Series(name=_RANKER_NAMES[ranker], x=nothing, y=nothing, **style._asdict())
            for ranker, style in _RANKER_STYLES.items()
        ]
    )


def distribution_legend() -> str:
    """Returns the legend that all charts of distributions share."""
    nothing = np.zeros(0)
    sides = (("clean (above)", "clean", 0.45), ("noise (below)", "noise", 0.25))
    bands = [
        Band(name=name, x=nothing, low=nothing, high=nothing, color=color, opacity=opacity)
        for name, color, opacity in sides
    ]
    return legend_line(bands)


def blind_spot_figure(means: Mapping[str, Mapping[str, float]]) -> str:
    """Returns the dots of score and loss AUROC per noise kind."""
    rows = [
        DotRow(name=plain_words(kind), values=(pair["score"], pair["loss"]))
        for kind, pair in means.items()
    ]
    return dot_plot(
        rows,
        series=[
            (_RANKER_NAMES[ranker], style.color, style.marker)
            for ranker, style in _RANKER_STYLES.items()
        ],
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


def _marked(name: str, x: Column, y: Column, style: _Style) -> Series:
    """Returns a series whose points are marked unless they are many."""
    marker = style.marker if x.size <= _MOST_MARKED else ""
    return Series(name=name, x=x, y=y, color=style.color, dash=style.dash, marker=marker)


def _loss_chart(title: str, series: Sequence[Series]) -> str:
    """Returns a chart of loss over steps."""
    chart = LineChart(
        title=title,
        description="Mean loss per target token over training steps, baseline and presence.",
        series=series,
        x_axis=STEP,
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
        x = np.array(steps, np.float64)
        series.append(_marked(name, x, y, _Style(name, dash, marker)))
    chart = LineChart(
        title="Change of held-out loss, presence against baseline",
        description="Relative change in percent over steps; below zero the weighting helped.",
        series=series,
        x_axis=STEP,
        y_axis=Axis(label="change of loss, %", bounds=_bounds_with_zero(series)),
        references=[Reference(value=0.0, label="no difference")],
    )
    return "Presence against baseline", line_chart(chart)


def _bounds_with_zero(series: Sequence[Series]) -> tuple[float, float] | None:
    """Returns round bounds of a y axis that shows zero, None without a value."""
    data = data_bounds([item.y for item in series])
    return data and nice_bounds(min(data[0], 0.0), max(data[1], 0.0), most=5)


def _auroc_chart(
    title: str, steps: Sequence[int], curves: Sequence[Mapping[int, Record]], width: float
) -> str:
    """Returns a small chart of score and loss AUROC, the mean over the given curves."""
    x = np.array(steps, np.float64)
    series = []
    for ranker, style in _RANKER_STYLES.items():
        y = [_mean_known(rows[s][f"auroc_{ranker}"] for rows in curves if s in rows) for s in steps]
        series.append(_marked(_RANKER_NAMES[ranker], x, np.array(y), style))
    chart = LineChart(
        title=title,
        description="AUROC of noise against clean over steps, by self-influence and by loss.",
        series=series,
        x_axis=STEP,
        y_axis=Axis(label="AUROC", bounds=(0.0, 1.0)),
        references=[_CHANCE],
        legend=False,
        width=width,
        height=190.0,
    )
    return line_chart(chart)


def _mean_known(values: Iterable[object]) -> float:
    """Returns the mean of the finite values, NaN without any."""
    finite = [value for value in map(number, values) if np.isfinite(value)]
    return sum(finite) / len(finite) if finite else float("nan")
