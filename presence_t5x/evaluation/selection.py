"""Which step of a run is best: a named metric on a named split, averaged over languages.

The rule is in the run's settings (`TaskEvaluationConfig`), every evaluation in `tasks.jsonl`; the
choice follows from both, so that a resumed run chooses as an uninterrupted one. It is recorded in
`best.json`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from presence_t5x.config_types import TaskEvaluationConfig
from presence_t5x.evaluation.scores import Row, averages
from presence_t5x.files import write_text_atomically

BEST = "best.json"
# What a choice depends on, besides the run.
RULE = ("task", "split", "metrics", "languages", "max_examples")
# Metrics from 0 to 1; the others are percentages.
_FRACTIONS = ("span_f1",)
# The mean over families of tasks of the mean of each one's metrics, as GLUE and SuperGLUE average
# (Wang et al. 2019). What is reported beside a task's metrics ("script/f1") plays no part.
TASK_AVERAGE = "task_average"


class Best(NamedTuple):
    """The evaluation of a run that counts most.

    Attributes:
      step: after how many updates; of equal values the first.
      value: by the rule, in percent.
    """

    step: int
    value: float


def value_of(rows: Sequence[Row], rule: TaskEvaluationConfig) -> float:
    """Returns what a rule makes of the scores of one evaluation, in percent; more is better.

    Languages are averaged, then families of tasks that share a metric, then the rule's metrics. The
    metric "task_average" is the mean over families of the mean of each one's metrics.

    Args:
      rows: of `score_rows`, all sets.
      rule: its `metrics` must have a value each.

    Raises:
      ValueError: no set has one of the metrics.

    >>> rows = [{"task": f"ner.{code}", "language": code, "metric": "span_f1", "value": value}
    ...     for code, value in (("en", 0.5), ("sw", 0.25))]
    >>> value_of(rows, TaskEvaluationConfig(task="ner", metrics="span_f1"))
    37.5
    """
    means = [{**row, "value": _percent(row)} for row in averages(rows)]
    values = []
    for metric in rule.metrics:
        found = [row["value"] for row in means if row["metric"] == metric]
        if metric == TASK_AVERAGE:
            found = _means_of_tasks(means)
        if not found:
            raise ValueError(
                f"EVAL_METRIC: {rule.task!r} has no metric {metric!r}; it has "
                f"{sorted({row['metric'] for row in means})}, and {TASK_AVERAGE!r} over all tasks"
            )
        values.append(_mean(found))
    return _mean(values)


def _means_of_tasks(means: Sequence[Row]) -> list[float]:
    """The mean of each family's metrics."""
    by_task: dict[str, list[float]] = {}
    for row in means:
        if "/" not in row["metric"]:
            by_task.setdefault(row["task"], []).append(row["value"])
    return [_mean(values) for values in by_task.values()]


def _percent(row: Row) -> float:
    return row["value"] * (100 if row["metric"] in _FRACTIONS else 1)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def best_of(evaluations: Sequence[tuple[int, Sequence[Row]]], rule: TaskEvaluationConfig) -> Best:
    """Returns the best of (step, rows), the first of equals.

    Raises:
      ValueError: as `value_of`, or there is none.
    """
    found = [Best(step, value_of(rows, rule)) for step, rows in evaluations]
    return max(found, key=lambda best: (best.value, -best.step))


def write_best(model_dir: Path, best: Best, rule: TaskEvaluationConfig) -> None:
    """Records the choice and its rule."""
    record = {
        "step": best.step,
        "value": best.value,
        "rule": {name: getattr(rule, name) for name in RULE},
    }
    write_text_atomically(json.dumps(record, indent=2) + "\n", model_dir / BEST)


def read_best(model_dir: Path) -> Best:
    """Returns the choice of a run.

    Raises:
      ValueError: there is none, or its file is damaged.
    """
    path = model_dir / BEST
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Best(int(record["step"]), float(record["value"]))
    except FileNotFoundError as error:
        raise ValueError(
            f"{path} does not exist: the run chose no best checkpoint; train with "
            "SELECTION='best', or use --select=newest"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); use --select=newest") from error
