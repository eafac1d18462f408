"""How well scores tell noise from clean text: `python -m presence_t5x.study noise`.

Beside the score, its parts and the loss stand two of its forms. Where tokens' gradients are
independent, the squared norm of their mean falls with the number of tokens, so text that breaks
into more pieces passes for less influential; `score_per_token` undoes that. And a gradient is large
already where the loss is; `score_over_squared_loss` (the self-influence of the loss's logarithm) is
what the score knows beyond the loss.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from presence_t5x._validate import check_float
from presence_t5x.scoring.scorer import PER_TOKEN
from presence_t5x.studies.results import Chart, Column, Study, Table
from presence_t5x.studies.sample import with_noise
from presence_t5x.studies.separation import ALL, MEAN, separations
from presence_t5x.studies.spoiling import parse_noise
from presence_t5x.studies.texts import (
    add_noise_options,
    add_text_options,
    claim_texts,
    protocol_of,
    score_texts,
)

HELP = "spoiled text against clean text"
SCORE, LOSS, OVER_LOSS = "score", "loss", "score_over_squared_loss"
_MEASURES = {
    SCORE: "score",
    "score_encoder": "score_encoder",
    "score_decoder": "score_decoder",
    PER_TOKEN: PER_TOKEN,
    OVER_LOSS: OVER_LOSS,
    LOSS: "loss",
    "length": "num_tokens",
}
_SHOWN = [SCORE, PER_TOKEN, LOSS]
# Mean score of permuted over clean text, read off the plot of Thakkar et al. 2023, Figure 1.
PAPER_PERMUTED_OVER_CLEAN = {"en": 2.21, "hi": 1.88, "bn": 1.90}
_PERMUTED = "permuted_words"
_COLUMNS = (
    Column("step", "step"),
    Column("language", "language", "label"),
    Column("noise", "noise", "label"),
    Column("kind", "kind of noise", "label"),
    Column("degree", "share that is spoiled"),
    Column("measure", "measure", "label"),
    Column("rate", "share of noise in the corpus"),
    Column("auroc", "AUROC"),
    Column("average_precision", "average precision"),
    Column("found_in_top_10%", "noise found in top 10 %"),
    Column("found_in_top_20%", "noise found in top 20 %"),
    Column("mean_clean", "mean of clean"),
    Column("mean_noise", "mean of noise"),
    Column("over_clean", "noise over clean"),
    Column("paper_over_clean", "the paper's (Figure 1)"),
    Column("num_noise", "noisy documents"),
    Column("num_clean", "clean documents"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the study's options."""
    add_text_options(parser)
    add_noise_options(parser)
    parser.add_argument(
        "--rates",
        default="0.05,0.1,0.3",
        metavar="X,...",
        help="shares of noise in the corpus (default: 0.05,0.1,0.3)",
    )
    parser.add_argument("--layers", metavar="PATTERN,...", help="as for presence_t5x.score")
    parser.add_argument("--by_layer", action="store_true", help="a measure for each pattern, too")


def run(options: argparse.Namespace) -> Study:
    """Draws, spoils, scores and compares.

    Raises:
      ValueError: a wrong setting, or a directory of another study.
    """
    rates = parse_rates(options.rates)
    texts = claim_texts(options)
    layers = [f"--layers={options.layers}"] if options.layers else []
    scored = score_texts(
        options, texts, texts.parent, *layers, *(["--by_layer"] if options.by_layer else [])
    )
    rows = []
    for one in scored:
        table = [_with_forms(row) for row in with_noise(one.rows)]
        measures = {title: key for title, key in _MEASURES.items() if key in table[0]}
        by_layer = {name: name for name in table[0] if name.startswith("score/")}
        found = separations(table, {**measures, **by_layer}, rates)
        rows += [{"step": one.step, **_described(row)} for row in found]
    return _study(rows, rates, protocol_of(options, scored))


def parse_rates(text: str) -> list[float]:
    """Returns shares of noise.

    Raises:
      ValueError: no number between 0 and 1.
    """
    try:
        rates = [float(rate) for rate in text.split(",")]
    except ValueError as error:
        raise ValueError(f"--rates={text}: {error}") from error
    for rate in rates:
        check_float("--rates", rate, minimum=0.0, exclusive_minimum=True, maximum=1.0)
    return rates


def _with_forms(row: Mapping[str, Any]) -> dict[str, Any]:
    """Adds what is computed from a document's score and loss."""
    known = row["score"] is not None and row["loss"]
    return {**row, OVER_LOSS: row["score"] / row["loss"] ** 2 if known else None}


def _described(row: Mapping[str, Any]) -> dict[str, Any]:
    """Adds kind and degree of a row's noise, and the paper's figure where there is one."""
    kind, degree = parse_noise(row["noise"])
    found = {**row, "kind": kind, "degree": degree}
    if (kind, degree, row["measure"]) == (_PERMUTED, 1.0, SCORE):
        found["paper_over_clean"] = PAPER_PERMUTED_OVER_CLEAN.get(row["language"])
    return found


def _study(rows: Sequence[Mapping[str, Any]], rates: Sequence[float], protocol) -> Study:
    last = {"step": rows[-1]["step"], "rate": rates[0]}
    overall = {**last, "language": MEAN}
    steps = list(dict.fromkeys(row["step"] for row in rows))
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    degrees = {kind: {row["degree"] for row in rows if row["kind"] == kind} for kind in kinds}
    charts = [
        Chart(
            title=f"Noise above clean text, mean of languages, step {last['step']}",
            x="noise",
            y="auroc",
            series="measure",
            where={**overall, "measure": _SHOWN},
        )
    ]
    for kind in kinds:
        of_kind = {"kind": kind, "language": MEAN, "measure": _SHOWN}
        named = next(row["noise"] for row in rows if row["kind"] == kind)
        if len(steps) > 1:
            where = {**of_kind, "rate": rates[0], "noise": named}
            charts.append(_chart(f"{named} over training", "step", "auroc", where))
        if len(degrees[kind]) > 1:
            charts.append(_chart(f"{kind} by degree", "degree", "auroc", {**of_kind, **last}))
        if len(rates) > 1:
            where = {**of_kind, "step": last["step"], "noise": named}
            charts.append(_chart(f"{named} by rate", "rate", "found_in_top_10%", where))
    return Study(
        study="noise",
        title="Noise against clean text",
        columns=_COLUMNS,
        rows=rows,
        protocol={**protocol, "rates": rates},
        charts=charts,
        tables=_tables(rows, rates, overall, last, steps),
        findings=_findings(rows, overall),
    )


def _chart(title: str, x: str, y: str, where: Mapping[str, Any]) -> Chart:
    return Chart(title=title, x=x, y=y, series="measure", where=where)


def _tables(rows, rates, overall, last, steps) -> list[Table]:
    """What is read of the last checkpoint, and AUROC over checkpoints if there are several."""
    tables = [
        Table(
            title=f"AUROC, mean of languages, step {last['step']}",
            where=overall,
            down="measure",
            across="noise",
            value="auroc",
        )
    ]
    shown = ("noise", "measure", "average_precision", "found_in_top_10%", "found_in_top_20%")
    tables += [
        Table(
            title=f"Mean of languages, step {last['step']}, {rate:.0%} of the corpus noise",
            where={**overall, "rate": rate, "measure": _SHOWN},
            columns=shown,
        )
        for rate in rates
    ]
    for measure in (SCORE, LOSS):
        where = {**last, "measure": measure}
        title = f"AUROC of the {measure} by language, step {last['step']}"
        tables.append(
            Table(title=title, where=where, down="language", across="noise", value="auroc")
        )
        if len(steps) > 1:
            where = {"language": MEAN, "rate": rates[0], "measure": measure}
            title = f"AUROC of the {measure} over training, mean of languages"
            tables.append(
                Table(title=title, where=where, down="step", across="noise", value="auroc")
            )
    tables.append(
        Table(
            title=f"Mean score of permuted words over clean text, step {last['step']}",
            where={**last, "measure": SCORE, "noise": _PERMUTED},
            columns=("language", "mean_clean", "mean_noise", "over_clean", "paper_over_clean"),
        )
    )
    return tables


def _findings(rows, overall) -> list[str]:
    """Where the score finds more than the loss, where less, and what else finds that."""
    auroc, pooled = _aurocs(rows, overall), _aurocs(rows, {**overall, "language": ALL})
    noises = list(dict.fromkeys(noise for noise, _ in auroc))

    def means(found) -> str:
        forms = (SCORE, LOSS, PER_TOKEN, OVER_LOSS)
        return ", ".join(f"{m} {np.mean([found[n, m] for n in noises]):.3f}" for m in forms)

    lines = [
        f"AUROC at step {overall['step']}, mean over languages and kinds of noise: {means(auroc)}; "
        "0.5 is chance.",
        f"With all languages in one ranking: {means(pooled)}.",
    ]
    worse = [noise for noise in noises if auroc[noise, SCORE] < auroc[noise, LOSS]]
    for more, less in ((SCORE, LOSS), (LOSS, SCORE)):
        found = [noise for noise in noises if (noise in worse) == (more == LOSS)]
        told = [f"{n} ({auroc[n, more]:.3f} against {auroc[n, less]:.3f})" for n in found]
        lines += [f"The {more} finds more than the {less}: {', '.join(told)}."] if told else []
    others = [m for _, m in auroc if m not in (SCORE, LOSS, "length", "random")]
    for noise in worse:
        best = max(others, key=lambda measure: auroc[noise, measure])
        if auroc[noise, best] >= auroc[noise, LOSS]:
            lines.append(f"{noise}: {best} finds as much as the loss ({auroc[noise, best]:.3f}).")
    if worse and not any("finds as much" in line for line in lines):
        lines.append("No other form of the score finds as much as the loss there.")
    return lines


def _aurocs(rows, where) -> dict[tuple[str, str], float]:
    """AUROC by noise and measure of the rows that are of this step, rate and language."""
    return {
        (row["noise"], row["measure"]): row["auroc"]
        for row in rows
        if all(row[name] == value for name, value in where.items())
    }
