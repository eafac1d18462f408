"""Held-out losses and scores by language and noise label, on rows that never change.

An evaluation is the mean token loss of each (language, noise) group; a probe scores every row of a
labelled sample and asks how well score and loss rank each kind of noise above clean text.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from presence_t5x.accumulation import join_rows, num_rows, split_rows
from presence_t5x.config_types import PresenceConfig
from presence_t5x.gradients import example_scores
from presence_t5x.layouts import jit_over_rows
from presence_t5x.ranking import auroc

CLEAN = "clean"
# Rows whose scored-layer gradients are held at a time; they cost rows x scored parameters.
_ROWS_AT_A_TIME = 8


class LabelledRows(NamedTuple):
    """Per-row results beside the rows' labels; padding rows are left out, unscored rows NaN."""

    example_ids: list[str]
    languages: list[str]
    noise: list[str]
    losses: np.ndarray
    num_tokens: np.ndarray
    scores: np.ndarray


def loss_rows(
    loss_fun: Callable[..., Any], config: PresenceConfig, mesh: Mesh | None = None
) -> Callable[..., Any]:
    """Returns a compiled (params, features) -> (loss sums, token counts), one a row.

    A device runs as many rows at a time as in a training step.

    Args:
      loss_fun: of rows.
      config: of the training: in how many microbatches a device's rows are cut.
      mesh: whose devices share the rows, which they and the microbatches divide; None is one.
    """

    def run(params, features):
        found = jax.lax.map(
            lambda rows: loss_fun(params, rows, None)[:2], split_rows(features, config)
        )
        return tuple(join_rows(values, config) for values in found)

    return jit_over_rows(run, mesh)


def score_rows(
    loss_fun: Callable[..., Any], config: PresenceConfig, mesh: Mesh | None = None
) -> Callable[..., Any]:
    """Returns a compiled (params, features) -> (loss sums, token counts, scores), one a row.

    Args: as `loss_rows`; of `config` the layers and the score, too.
    """

    def run(params, features):
        chunked = PresenceConfig(
            num_microbatches=max(num_chunks(num_rows(features)), config.num_microbatches),
            layers=config.layers,
            score=config.score,
            score_loss=config.score_loss,
        )
        scores, losses, num_tokens = example_scores(
            loss_fun, params, features, config=chunked, has_aux=True
        )
        return losses, num_tokens, scores

    return jit_over_rows(run, mesh)


def num_chunks(rows: int) -> int:
    """Returns into how many equal chunks rows are cut to be scored.

    >>> num_chunks(64), num_chunks(12), num_chunks(3)
    (8, 1, 1)
    """
    least = min(_ROWS_AT_A_TIME, rows)
    return max(n for n in range(1, rows + 1) if rows % n == 0 and rows // n >= least)


def run_rows(row_fun: Callable[..., Any], params: PyTree, batches: Sequence[Any]) -> LabelledRows:
    """Returns the results of every real row of the batches."""
    parts, ids, languages, noise = [], [], [], []
    for batch in batches:
        results = [np.asarray(value, np.float64) for value in row_fun(params, batch.features)]
        real = np.flatnonzero(results[1] > 0)
        parts.append([value[real] for value in results])
        ids += [batch.example_ids[row] for row in real]
        languages += [batch.languages[row] for row in real]
        noise += [batch.noise[row] for row in real]
    columns = [np.concatenate(column) for column in zip(*parts)]
    scores = columns[2] if len(columns) > 2 else np.full(len(ids), np.nan)
    return LabelledRows(ids, languages, noise, columns[0], columns[1], scores)


def mean_losses(rows: LabelledRows) -> list[dict[str, Any]]:
    """Returns the mean token loss of every (language, noise) group, in order of label."""
    groups = _groups(rows)
    return [
        {
            "language": language,
            "noise": noise,
            "num_rows": len(members),
            "num_tokens": float(rows.num_tokens[members].sum()),
            "loss": float(rows.losses[members].sum() / rows.num_tokens[members].sum()),
        }
        for (language, noise), members in sorted(groups.items())
    ]


def separations(rows: LabelledRows) -> list[dict[str, Any]]:
    """Returns how well score and mean loss rank each noise kind above clean text, per language.

    AUROC 1 means that every noisy row ranks above every clean one, 0.5 chance, below 0.5 that noise
    passes for cleaner than clean.
    """
    groups = _groups(rows)
    mean_loss = rows.losses / rows.num_tokens
    return [
        {
            "language": language,
            "noise": noise,
            "num_rows": len(members),
            "auroc_score": auroc(rows.scores[members], rows.scores[groups[language, CLEAN]]),
            "auroc_loss": auroc(mean_loss[members], mean_loss[groups[language, CLEAN]]),
        }
        for (language, noise), members in sorted(groups.items())
        if noise != CLEAN and (language, CLEAN) in groups
    ]


def score_table(rows: LabelledRows, step: int) -> list[dict[str, Any]]:
    """Returns one record a row: labels, score, mean token loss and token count."""
    return [
        {
            "step": step,
            "example_id": rows.example_ids[i],
            "language": rows.languages[i],
            "noise": rows.noise[i],
            "score": rows.scores[i],
            "loss": rows.losses[i] / rows.num_tokens[i],
            "num_tokens": rows.num_tokens[i],
        }
        for i in range(len(rows.example_ids))
    ]


def _groups(rows: LabelledRows) -> dict[tuple[str, str], np.ndarray]:
    """Returns the row numbers of every (language, noise) pair."""
    pairs = list(zip(rows.languages, rows.noise))
    return {
        pair: np.array([i for i, other in enumerate(pairs) if other == pair]) for pair in set(pairs)
    }
