"""What a filter dropped: every document of it, and sums by language."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool
from rich import table
from rich.console import Console
from rich.text import Text

from presence_t5x.files import replacing, write_text_atomically

_ALL = "all"


def write_dropped(path: Path, scores: pa.Table, dropped: Bool[np.ndarray, " documents"]) -> None:
    """Writes the rows of the documents that were dropped."""
    with replacing(path) as partial:
        pq.write_table(scores.filter(pa.array(dropped)), partial)


def summarize(
    scores: pa.Table,
    kept: Bool[np.ndarray, " documents"],
    judged: Bool[np.ndarray, " documents"],
    columns: Sequence[str] = ("score",),
) -> list[dict[str, Any]]:
    """Returns what was kept and dropped of the documents that were judged, by language and of all.

    Args:
      scores: with language, num_tokens and `columns`.
      kept: of all documents.
      judged: those of the splits that were filtered.
      columns: that are averaged.
    """
    languages = np.array(scores["language"].fill_null("").to_pylist(), object)
    num_tokens = scores["num_tokens"].to_numpy()
    values = {name: scores[name].to_numpy() for name in columns}
    rows = []
    for language in [*sorted(set(languages[judged])), _ALL]:
        within = judged & ((languages == language) | (language == _ALL))
        row: dict[str, Any] = {"language": language}
        for name, chosen in (("kept", within & kept), ("dropped", within & ~kept)):
            row |= {
                f"documents_{name}": int(chosen.sum()),
                f"tokens_{name}": int(num_tokens[chosen].sum()),
                **{f"mean_{column}_{name}": _mean(values[column][chosen]) for column in columns},
            }
        rows.append(row)
    return rows


def _mean(values: np.ndarray) -> float | None:
    """The mean of what is known; None where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def write_report(path: Path, rule: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rule and sums as JSON."""
    text = json.dumps({"rule": rule, "languages": rows}, indent=2, ensure_ascii=False)
    write_text_atomically(text + "\n", path)


def print_report(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints the sums."""
    grid = table.Table(title="kept and dropped")
    grid.add_column("language")
    for name in (
        "documents kept",
        "dropped",
        "tokens kept",
        "dropped",
        "mean score kept",
        "dropped",
    ):
        grid.add_column(name, justify="right")
    for row in rows:
        counts = (
            f"{row[f'{what}_{name}']:,}"
            for what in ("documents", "tokens")
            for name in ("kept", "dropped")
        )
        means = (row["mean_score_kept"], row["mean_score_dropped"])
        shown = ("-" if mean is None else f"{mean:.4g}" for mean in means)
        grid.add_row(Text(row["language"] or "?"), *counts, *shown)
    console.print(grid)
