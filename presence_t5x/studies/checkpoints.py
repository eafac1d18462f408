"""From when on the ranking is stable: `python -m presence_t5x.study checkpoints`.

Documents of a corpus, drawn as they are, are scored under every checkpoint of a run. Each ranking
is compared with the last one's, and so is each sum up to a checkpoint (TracInCP: Pruthi et al.
2020). A document has the same masks under every checkpoint; another scoring under the last one,
with other masks, says how much of a ranking is theirs.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from presence_t5x.scoring.scorer import tracin
from presence_t5x.scoring.settings import Request, parse_learning_rates, resolve
from presence_t5x.studies.agreement import agreement
from presence_t5x.studies.results import Chart, Column, Study, Table
from presence_t5x.studies.separation import ALL
from presence_t5x.studies.texts import (
    Scored,
    add_text_options,
    claim_texts,
    find_checkpoints,
    protocol_of,
    score_texts,
)

HELP = "at which fraction of training the ranking is stable"
SCORE, LOSS, SUM = "score", "loss", "sum of scores so far (TracInCP)"
_EARLY = 0.2  # of training: where the paper's appendix C finds scores decently reliable
_COLUMNS = (
    Column("step", "step"),
    Column("fraction", "fraction of training"),
    Column("language", "language", "label"),
    Column("ranking", "ranking by", "label"),
    Column("against", "compared with the last checkpoint's", "label"),
    Column("spearman", "rank correlation"),
    Column("top_10%", "overlap of the top 10 %"),
    Column("top_20%", "overlap of the top 20 %"),
    Column("num_documents", "documents"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the study's options."""
    add_text_options(parser)
    parser.add_argument("--layers", metavar="PATTERN,...", help="as for presence_t5x.score")
    parser.add_argument(
        "--learning_rates", metavar="X,...", help="one for each checkpoint (default: its run's)"
    )


def run(options: argparse.Namespace) -> Study:
    """Scores under every checkpoint, and compares.

    Raises:
      ValueError: fewer than two checkpoints, a wrong setting, or a directory of another study.
    """
    paths = find_checkpoints(options.checkpoint)
    if len(paths) < 2:
        raise ValueError(
            f"--checkpoint={options.checkpoint} is one checkpoint; name several, e.g. "
            "'MODEL_DIR/checkpoints/*' of a run with KEEP_CHECKPOINTS = None"
        )
    text = options.learning_rates
    rates = None if text is None else parse_learning_rates(text)
    settings = resolve(Request(checkpoints=paths, learning_rates=rates), *options.gin)
    texts = claim_texts(options, clean=False)
    layers = [f"--layers={options.layers}"] if options.layers else []
    scored = score_texts(options, texts, texts.parent, *layers)
    again = argparse.Namespace(**{**vars(options), "seed": options.seed + 1})
    again.checkpoint = paths[-1]
    other = score_texts(again, texts, texts.parent / "other_masks", *layers)[0]
    rows = _rows(scored, other, settings.learning_rates)
    protocol = {
        **protocol_of(options, scored),
        "learning_rates": list(settings.learning_rates),
        "texts": "drawn from the corpus as it is, planted noise included",
        _with_other_masks(SCORE): f"of --seed={again.seed}",
    }
    return _study(rows, protocol)


def _rows(scored: Sequence[Scored], other: Scored, rates: Sequence[float]) -> list[dict[str, Any]]:
    """Every checkpoint's agreement with the last, by language."""
    known = [
        place
        for place, row in enumerate(scored[0].rows)
        if all(one.rows[place]["score"] is not None for one in (*scored, other))
    ]
    languages = np.array([scored[0].rows[place]["language"] for place in known], object)
    scores, losses = (
        [np.array([one.rows[place][name] for place in known]) for one in scored]
        for name in (SCORE, LOSS)
    )
    masked = {
        name: np.array([other.rows[place][name] for place in known]) for name in (SCORE, LOSS)
    }
    rows = []
    for number, one in enumerate(scored):
        so_far = tracin(scores[: number + 1], rates[: number + 1])
        rankings = {
            SCORE: (scores[number], scores[-1], SCORE),
            SUM: (so_far, scores[-1], SCORE),
            LOSS: (losses[number], losses[-1], LOSS),
            "loss, for the score": (losses[number], scores[-1], SCORE),
        }
        if number == len(scored) - 1:
            for name, values in ((SCORE, scores), (LOSS, losses)):
                rankings[_with_other_masks(name)] = (masked[name], values[-1], name)
        for language in [*sorted(set(languages)), ALL]:
            within = (languages == language) | (language == ALL)
            for name, (values, last, against) in rankings.items():
                rows.append(
                    {
                        "step": one.step,
                        "fraction": one.step / scored[-1].step if scored[-1].step else None,
                        "language": language,
                        "ranking": name,
                        "against": against,
                        **agreement(values[within], last[within]),
                        "num_documents": int(within.sum()),
                    }
                )
    return rows


def _with_other_masks(name: str) -> str:
    return f"{name}, other masks"


def _study(rows: Sequence[Mapping[str, Any]], protocol: Mapping[str, Any]) -> Study:
    over_training = [SCORE, SUM, LOSS]
    charts = [
        Chart(
            title=f"Agreement with the last checkpoint: {title}, all languages",
            x="fraction",
            y=name,
            series="ranking",
            where={"language": ALL, "ranking": over_training},
        )
        for name, title in (("spearman", "rank correlation"), ("top_10%", "top 10 %"))
    ]
    charts.append(
        Chart(
            title="Rank correlation of the score with the last checkpoint's, by language",
            x="fraction",
            y="spearman",
            series="language",
            where={"ranking": SCORE},
        )
    )
    shown = ("step", "fraction", "ranking", "against", "spearman", "top_10%", "top_20%")
    tables = [Table(title="All languages", where={"language": ALL}, columns=shown)]
    tables += [
        Table(
            title=f"Rank correlation of the {ranking} with the last checkpoint's, by language",
            where={"ranking": ranking},
            down="step",
            across="language",
            value="spearman",
        )
        for ranking in (SCORE, SUM)
    ]
    return Study(
        study="checkpoints",
        title="Checkpoints: when the ranking is stable",
        columns=_COLUMNS,
        rows=rows,
        protocol=protocol,
        charts=charts,
        tables=tables,
        findings=_findings(rows),
    )


def _findings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    overall = [row for row in rows if row["language"] == ALL]
    by_ranking = {
        name: [row for row in overall if row["ranking"] == name]
        for name in dict.fromkeys(row["ranking"] for row in overall)
    }
    found = [by_ranking[_with_other_masks(name)][0] for name in (SCORE, LOSS)]
    told = [f"{row['spearman']:.3f} (top 10 %: {row['top_10%']:.2f})" for row in found]
    lines = [
        f"Two scorings under the last checkpoint with other masks agree with {told[0]}, their "
        f"losses with {told[1]}; checkpoints are compared with the same masks."
    ]
    early = [row for row in by_ranking[SCORE] if (row["fraction"] or 0) >= _EARLY]
    if early and early[0]["fraction"] < 1:
        row = early[0]
        loss = next(other for other in by_ranking[LOSS] if other["step"] == row["step"])
        lines.append(
            f"At {row['fraction']:.0%} of training the ranking has {row['spearman']:.3f} with the "
            f"last (top 10 %: {row['top_10%']:.2f}), the loss's {loss['spearman']:.3f} with the "
            "last loss's; the paper calls scores after about 20 % decently reliable."
        )
    summed, last_loss = by_ranking[SUM][-1], by_ranking["loss, for the score"][-1]
    lines.append(
        f"The sum over all checkpoints has {summed['spearman']:.3f} with the last checkpoint's "
        f"score, the last checkpoint's loss {last_loss['spearman']:.3f}."
    )
    return lines
