"""What the weighting did to every language while a model trained, from its audit log."""

import numpy as np

from presence_t5x.reporting.influence_log_file import LanguageInfluence
from presence_t5x.reporting.page import Section, anchor_of, figure_grid, how
from presence_t5x.reporting.plots import (
    Axis,
    Band,
    LineChart,
    Reference,
    Series,
    legend_line,
    line_chart,
)
from presence_t5x.reporting.scales import data_bounds, nice_bounds
from presence_t5x.reporting.sortable import Cell, Share, sortable_table

_MOST_DRAWN = 24  # languages in charts
_COLUMNS = ("rows", "target tokens", "of all rows", "of all weight", "weight over rows",
                "score over mean")  # fmt: skip


def log_section(number: int, log: LanguageInfluence) -> Section:
    """What the weighting did to every language, in all and over training."""
    run = log.path.parent
    anchor = anchor_of("influence-training", *([number + 1] if number else []))
    rows: list[list[Cell]] = []
    for place, language in enumerate(log.languages):
        share = log.row_share[place].sum() / log.row_share.sum()
        weight = log.weight[place].sum() / log.weight.sum()
        rows.append(
            [
                language or "(none)",
                int(log.rows[place].sum()),
                round(float(log.tokens[place].sum())),
                Share(float(share)),
                Share(float(weight)),
                float(weight / share),
                float(log.score[place].sum() / max(1.0, log.live_rows[place].sum())),
            ]
        )
    words = how(
        f"Every unit of every step of {run.name}, up to step {log.steps[-1]:,.0f}. A unit’s "
        "weight, score and tokens are given to its languages by their rows, and its score is over "
        "the mean of its step’s; 1 is what it would be without any difference between languages. "
        "The log holds no sources."
    )
    charts = [
        (name or "(none)", _over_training(log, place))
        for place, name in enumerate(log.languages[:_MOST_DRAWN])
    ]
    drawn = _legend() + figure_grid(charts, "small")
    table = sortable_table(f"{anchor}-table", ("language", *_COLUMNS), rows)
    return Section(anchor, f"Over training: {run.name}", words + table + drawn)


_LINES = (("weight over rows", "presence", "solid"), ("score over mean", "score", "dashed"))


def _over_training(log: LanguageInfluence, place: int) -> str:
    """Weight and score of a language over training, against none of any difference."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = [part[place] / whole[place] for part, whole in _ratios(log)]
        everything = [part / whole for part, whole in _ratios(log)]
    low, high = data_bounds([np.array([1.0]), *everything]) or (0.0, 2.0)
    series = [
        Series(name=name, x=log.steps, y=values, color=color, dash=dash)
        for (name, color, dash), values in zip(_LINES, ratios)
    ]
    return line_chart(
        LineChart(
            title=f"{log.languages[place]} over training",
            description="Share of weight over share of rows, and score over the step’s mean score.",
            series=series,
            x_axis=Axis(label="step"),
            y_axis=Axis(label="ratio", bounds=nice_bounds(low, high, most=5)),
            references=[Reference(value=1.0, label="")],
            legend=False,
            width=270.0,
            height=180.0,
        )
    )


def _ratios(log: LanguageInfluence) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(log.weight, log.row_share), (log.score, log.live_rows)]


def _legend() -> str:
    nothing = np.zeros(0)
    lines: list[Series | Band] = [
        Series(name=name, x=nothing, y=nothing, color=color, dash=dash)
        for name, color, dash in _LINES
    ]
    return legend_line(lines)


def log_verdict(log: LanguageInfluence) -> str:
    """Says which languages the weighting counted most and least."""
    ratio = log.weight.sum(axis=1) / log.row_share.sum(axis=1)
    high, low = int(ratio.argmax()), int(ratio.argmin())
    return (
        f"Weighting counted {log.languages[high]} the most ({ratio[high]:.3f} times its share of "
        f"the rows) and {log.languages[low]} the least ({ratio[low]:.3f} times)."
    )
