"""What evaluations found: each example's contribution to a metric, by task and language."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from presence_t5x.reproduction.bootstrap import Values, metric_of
from presence_t5x.reproduction.plan_parts import Task

SCORES = "scores.json"
_SPAN_F1 = "span_f1"
_COUNTS = ("true_positives", "predicted", "gold")
# Predictions and scores are written by the same call: they agree up to rounding.
_TOLERANCE = 1e-6


class LanguageResult(NamedTuple):
    """One model's answers to one task in one language.

    Attributes:
      values: of one seed: (value, 1) of a mean, (right, predicted, gold) of F1; see `bootstrap`.
      ids: of the examples.
      gold: of each example, its right answers as text.
    """

    values: Values
    ids: tuple[str, ...]
    gold: tuple[tuple[str, ...], ...]


class Evaluated(NamedTuple):
    """What one `python -m presence_t5x.evaluate` left.

    Attributes:
      scores: the content of scores.json.
      directory: where it is.
    """

    scores: Mapping[str, Any]
    directory: Path


def read_evaluation(directory: Path) -> Evaluated | None:
    """Returns an evaluation; None if it is not done.

    Raises:
      ValueError: its file is damaged.
    """
    path = directory / SCORES
    try:
        return Evaluated(json.loads(path.read_text(encoding="utf-8")), directory)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); remove its directory and run the plan again"
        ) from error


def language_results(found: Evaluated, task: Task) -> dict[str, LanguageResult]:
    """Returns the answers to a task by language.

    Raises:
      ValueError: the evaluation has no such task or metric, or its answers do not give its scores.
    """
    rows = [row for row in found.scores["scores"] if row["task"].split(".")[0] == task.family]
    mine = [row for row in rows if row["metric"] == task.metric]
    if not mine:
        known = sorted({f"{row['task'].split('.')[0]}: {row['metric']}" for row in rows}) or sorted(
            {row["task"].split(".")[0] for row in found.scores["scores"]}
        )
        raise ValueError(
            f"{found.directory / SCORES} has no {task.metric!r} of {task.family!r}; it has {known}"
        )
    return {row["language"]: _language_result(found, row) for row in mine}


def _language_result(found: Evaluated, row: Mapping[str, Any]) -> LanguageResult:
    files = found.scores["predictions"]
    name, language = row["task"], row["language"]
    path = found.directory / (files.get(name) or files[f"{name}.{language}"])
    # Not splitlines: answers may hold what it takes for the end of a line.
    lines = path.read_text(encoding="utf-8").split("\n")
    examples = [json.loads(line) for line in lines if line]
    result = LanguageResult(
        values=_values(path, examples, row["metric"]),
        ids=tuple(example["id"] for example in examples),
        gold=tuple(_gold(example) for example in examples),
    )
    scale = 100 if row["metric"] == _SPAN_F1 else 1
    expected, value = scale * row["value"], float(metric_of(result.values)[0])
    if not np.isclose(value, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise ValueError(
            f"{path}: its answers give {row['metric']} {value:.4f}, but {SCORES} says "
            f"{expected:.4f}; remove the evaluation's directory and run the plan again"
        )
    return result


def _values(path: Path, examples: Sequence[Mapping[str, Any]], metric: str) -> Values:
    """What each example contributes to a metric.

    Raises:
      ValueError: the file does not hold it.
    """
    try:
        if metric == _SPAN_F1:
            rows = [[example["values"][name] for name in _COUNTS] for example in examples]
        else:
            rows = [[example["values"][metric], 1.0] for example in examples]
    except KeyError as error:
        raise ValueError(
            f"{path} does not hold {error} of every example, of which {metric!r} is made; remove "
            "the evaluation's directory and run the plan again"
        ) from error
    return np.array(rows, np.float64)[None]


def _gold(example: Mapping[str, Any]) -> tuple[str, ...]:
    answers = example.get("answers")
    return tuple(answers) if isinstance(answers, list) else (example["targets"],)
