"""Reads a run's influence.parquet into sums by language and stretch of training."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from presence_t5x.influence_log import DIRECTORY, SCHEMA

Table = Float[np.ndarray, "languages stretches"]
_MOST_STRETCHES = 40
_READ = ("step", "unit", "languages", "num_tokens", "score", "weight", "live")


@dataclass(frozen=True, kw_only=True)
class LanguageInfluence:
    """Sums over units, by language and stretch of training.

    A unit's tokens, weight and score are given to its languages by their rows. Scores are over the
    mean score of the live units of their step, because scores fall as training goes on.

    Attributes:
      path: of the log.
      languages: those with the most rows first.
      steps: the last step of each stretch.
      rows, tokens: how many.
      weight: the part of the weight; every step has 1.
      row_share: the part of the rows, likewise.
      score: rows of live units times their relative score.
      live_rows: rows of live units.
    """

    path: Path
    languages: list[str]
    steps: Float[np.ndarray, " stretches"]
    rows: Table
    tokens: Table
    weight: Table
    row_share: Table
    score: Table
    live_rows: Table


def read_influence_log(run_dir: Path) -> LanguageInfluence | None:
    """Returns the sums of a run's log; None where it has none, or nothing in it.

    Raises:
      ValueError: the log is damaged, or something else.
    """
    directory = run_dir / DIRECTORY
    if not any(directory.glob("*.parquet")):
        return None
    try:
        table = pq.read_table(directory, columns=list(_READ)).combine_chunks()
        table = table.select(_READ).cast(pa.schema([SCHEMA.field(name) for name in _READ]))
    except (pa.ArrowException, KeyError) as error:
        raise ValueError(f"{directory} is damaged, or no influence log ({error})") from error
    return _summed(directory, table) if table.num_rows else None


def _summed(path: Path, table: pa.Table) -> LanguageInfluence:
    """Adds up what is in a table with a row for each unit (and host)."""
    column = {name: table[name].to_numpy() for name in ("step", "unit", "num_tokens", "weight")}
    maps = table["languages"].combine_chunks()
    owner = np.repeat(np.arange(len(maps)), np.diff(maps.offsets.to_numpy()))
    names = maps.keys.dictionary_encode()
    count = maps.items.to_numpy().astype(np.float64)

    steps, step = np.unique(column["step"], return_inverse=True)
    pair = step * (int(column["unit"].max()) + 1) + column["unit"]  # of all hosts
    _, first, unit = np.unique(pair, return_index=True, return_inverse=True)
    rows_of_unit = np.bincount(unit[owner], count, len(first))
    live = table["live"].to_numpy()[first] & (rows_of_unit > 0)
    relative = _relative_scores(table["score"].to_numpy()[first], step[first], live)

    stretch_of_step = np.arange(len(steps)) * min(_MOST_STRETCHES, len(steps)) // len(steps)
    num_stretches = int(stretch_of_step[-1]) + 1
    num_languages = len(names.dictionary)
    cell = names.indices.to_numpy() * num_stretches + stretch_of_step[step[owner]]

    def table_of(values: np.ndarray) -> np.ndarray:
        flat = np.bincount(cell, values, num_languages * num_stretches)
        return flat.reshape(num_languages, num_stretches)

    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(rows_of_unit[unit[owner]] > 0, count / rows_of_unit[unit[owner]], 0.0)
    own_rows = np.bincount(owner, count, len(maps))[owner]
    rows_of_step = np.bincount(step[owner], count, len(steps))
    rows = table_of(count)
    order = np.argsort(-rows.sum(axis=1), kind="stable")
    return LanguageInfluence(
        path=path,
        languages=[names.dictionary[int(i)].as_py() for i in order],
        steps=steps[np.searchsorted(stretch_of_step, np.arange(num_stretches), "right") - 1] * 1.0,
        rows=rows[order],
        tokens=table_of(column["num_tokens"][owner] * count / own_rows)[order],
        weight=table_of(column["weight"][owner] * share)[order],
        row_share=table_of(count / rows_of_step[step[owner]])[order],
        score=table_of(count * np.where(live, relative, 0.0)[unit[owner]])[order],
        live_rows=table_of(count * live[unit[owner]])[order],
    )


def _relative_scores(scores: np.ndarray, steps: np.ndarray, live: np.ndarray) -> np.ndarray:
    """Scores over the mean of the live units of their step."""
    known = np.where(live, scores, 0.0).astype(np.float64)
    number = np.bincount(steps, live)
    with np.errstate(divide="ignore", invalid="ignore"):
        return known / (np.bincount(steps, known) / number)[steps]
