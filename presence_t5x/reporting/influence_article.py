"""Influence by language and source as an article: of scored documents, and of units in training."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from presence_t5x.reporting.distributions import DensityChart, DensityRow, density_rows
from presence_t5x.reporting.influence_log_file import LanguageInfluence
from presence_t5x.reporting.influence_over_training import log_section, log_verdict
from presence_t5x.reporting.page import Article, Section, anchor_of, figure_grid, how
from presence_t5x.reporting.scales import data_bounds, format_number
from presence_t5x.reporting.scored_documents import SCORE, Label, ScoredDocuments
from presence_t5x.reporting.sortable import Cell, Share, sortable_table

_MOST_DRAWN = 24  # groups in a chart
_MOST_TOLD = 200  # rows of a table
_MOST_CROSSED = 12  # columns of a table of languages by sources
_QUANTILES = (0.1, 0.5, 0.9)
_COLUMNS = ("documents", "without score", "tokens", "of all tokens", "mean loss", "mean score",
            "over all’s mean", "10th percentile", "median", "90th percentile")  # fmt: skip


class _Group(NamedTuple):
    """The documents with one value of a label; all of them without a code."""

    name: str
    codes: np.ndarray
    code: int | None = None

    @property
    def chosen(self) -> np.ndarray:
        """Which documents; made when asked for, because labels may have very many values."""
        return np.full(len(self.codes), True) if self.code is None else self.codes == self.code


def influence_article(
    files: Sequence[ScoredDocuments], logs: Sequence[LanguageInfluence]
) -> Article:
    """Returns the article; at least one file or log is needed."""
    sections = [
        section for number, scores in enumerate(files) for section in _of_scores(number, scores)
    ]
    sections += [log_section(number, log) for number, log in enumerate(logs)]
    sources = [str(scores.path) for scores in files] + [str(log.path) for log in logs]
    return Article(
        name="influence",
        label="Influence",
        title="Where does influence come from?",
        eyebrow=" · ".join(sources),
        verdict=_verdict(files[0]) if files else log_verdict(logs[0]),
        notes=_notes(files, logs),
        sections=sections,
        footer="Written by presence_t5x.report. Hover a chart to read its values.",
    )


def _of_scores(number: int, scores: ScoredDocuments) -> list[Section]:
    """A section for every label by which documents differ, and one of languages by sources."""
    of = "" if number == 0 else f" ({scores.path.name})"
    sections = []
    for name, label in scores.labels.items():
        groups = _groups(label)
        anchor = anchor_of("influence", name, *([number + 1] if number else []))
        rows = [_row(scores, group) for group in groups]
        total = _row(scores, _Group("all", label.codes)) if len(rows) > 1 else None
        table = sortable_table(f"{anchor}-table", (name, *_COLUMNS), rows, total)
        drawn = figure_grid([("Distribution of scores", _densities(scores, name, groups))], "wide")
        more = _of_many(name, len(label.values), len(groups))
        body = ("" if sections else _READING) + more + table + (drawn if len(groups) > 1 else "")
        sections.append(Section(anchor, f"By {name}{of}", body))
    language, source = scores.labels["language"], scores.labels["source"]
    if len(language.values) > 1 and len(source.values) > 1:
        anchor = anchor_of("influence-crossed", *([number + 1] if number else []))
        body = _crossed(scores, f"{anchor}-table")
        sections.append(Section(anchor, f"Mean score by language and source{of}", body))
    return sections


_READING = how(
    "A score is the squared gradient norm of the scored layers, a mean over the document’s tokens. "
    "Means and percentiles are over documents that have one. Click a heading to sort."
)


def _groups(label: Label) -> list[_Group]:
    """The documents of every value, the most frequent first; of very many the first ones."""
    counts = np.bincount(label.codes, minlength=len(label.values))
    order = np.argsort(-counts, kind="stable")
    known = [int(code) for code in order if counts[code]][:_MOST_TOLD]
    return [_Group(label.values[code] or "(none)", label.codes, code) for code in known]


def _row(scores: ScoredDocuments, group: _Group) -> list[Cell]:
    """What is told of the documents of a group."""
    tokens, values = scores.numbers["num_tokens"], scores.numbers[SCORE]
    own = values[group.chosen]
    known = own[np.isfinite(own)]
    own_tokens, all_tokens = np.nansum(tokens[group.chosen]), np.nansum(tokens)
    return [
        group.name,
        int(group.chosen.sum()),
        int(own.size - known.size),
        int(own_tokens),
        Share(float(own_tokens / max(1.0, all_tokens))),
        _mean(scores.numbers["loss"][group.chosen]),
        _mean(known),
        _mean(known) / (_mean(values) or np.nan),
        *(map(float, np.quantile(known, _QUANTILES)) if known.size else (None,) * 3),
    ]


def _densities(scores: ScoredDocuments, name: str, groups: Sequence[_Group]) -> str:
    """Each group's scores above a line, all others' below it."""
    values = scores.numbers[SCORE]
    bounds = data_bounds([np.quantile(_positive(values), [0.001, 0.999])], log=True)
    rows = [
        DensityRow(
            name=_short(group.name),
            above=values[group.chosen],
            below=values[~group.chosen],
            note=format_number(float(np.median(_positive(values[group.chosen])))),
        )
        for group in groups[:_MOST_DRAWN]
        if _positive(values[group.chosen]).size
    ]
    left_out = f", the {_MOST_DRAWN} with the most documents" if len(groups) > _MOST_DRAWN else ""
    return density_rows(
        DensityChart(
            title=f"Scores by {name}",
            description=f"One row for each {name}{left_out}: its documents above the line, all "
            "others below; log axis of the score, ticks are medians.",
            rows=rows,
            names=("its documents", "all others"),
            colors=("clean", "baseline"),
            x_label="self-influence of a document (above the line; below it all others)",
            note_label="median",
            counted="documents",
            bounds=bounds,
            label_width=16 + 6.6 * max((len(row.name) for row in rows), default=4),
            width=480.0,
        )
    )


def _crossed(scores: ScoredDocuments, anchor: str) -> str:
    """Mean scores, a row a language and a column a source."""
    values = scores.numbers[SCORE]
    languages, sources = _groups(scores.labels["language"]), _groups(scores.labels["source"])
    shown = sources[:_MOST_CROSSED]
    rows = [
        [row.name, *(_mean(values[row.chosen & column.chosen]) for column in shown)]
        for row in languages
    ]
    more = _of_many("source", len(scores.labels["source"].values), len(shown))
    return more + sortable_table(anchor, ("language", *(c.name for c in shown)), rows)


def _of_many(name: str, number: int, shown: int) -> str:
    """Says that not all are shown, where that is so."""
    if number <= shown:
        return ""
    return how(f"Of {number:,} values of {name} the {shown} with the most documents.")


def _verdict(scores: ScoredDocuments) -> str:
    """Which languages lie furthest apart."""
    values = scores.numbers[SCORE]
    means = {g.name: _mean(values[g.chosen]) for g in _groups(scores.labels["language"])}
    known = {name: mean for name, mean in means.items() if mean is not None and np.isfinite(mean)}
    text = f"{len(scores):,} documents have a mean score of {format_number(_mean(values))}"
    if len(known) < 2:
        return f"{text}."
    high, low = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    return (
        f"{text}: {high} has the highest ({format_number(known[high])}), {low} the lowest "
        f"({format_number(known[low])})."
    )


def _notes(files: Sequence[ScoredDocuments], logs: Sequence[LanguageInfluence]) -> list[str]:
    notes = []
    for scores in files:
        told = scores.manifest
        if told:
            found = told.get("checkpoints", [])
            steps = ", ".join(str(one.get("step")) for one in found)
            layers = ", ".join(map(str, told.get("layers", [])))
            notes.append(
                f"{scores.path.name}: {told.get('input')}, scored by {len(found)} "
                f"checkpoint{'s' if len(found) > 1 else ''} (step {steps}), layers {layers}."
            )
    if files:
        notes.append(
            "Means of different languages are not alike in what they count: a token is a longer "
            "piece of text in some than in others, and a shorter document has a noisier score."
        )
    if files and logs:
        notes.append("Scores of documents are of a trained model, those of units of training.")
    return notes


def _mean(values: np.ndarray) -> float:
    """The mean of what is known, NaN of nothing."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _positive(values: np.ndarray) -> np.ndarray:
    known = values[np.isfinite(values) & (values > 0)]
    return known if known.size else np.ones(1)


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
