"""Scores of sets as rows, and their means over languages."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from presence_t5x.evaluation.predictor import Answers

if TYPE_CHECKING:  # it imports TensorFlow
    from presence_t5x.data.finetuning.evaluation_sets import EvaluationSet, Judgement

Row = Mapping[str, Any]


class SetResult(NamedTuple):
    """One set with a model's answers and their scores.

    Attributes:
      num_cut: examples whose inputs were cut to fit.
    """

    found: "EvaluationSet"
    answers: Answers
    judgement: "Judgement"
    num_cut: int


def family_of(task: str) -> str:
    """Returns what tasks that differ by language have in common.

    >>> family_of("mt5_xnli_dev_test.sw")
    'mt5_xnli_dev_test'
    """
    return task.split(".")[0]


def score_rows(result: SetResult) -> list[dict[str, Any]]:
    """Returns one row a metric of a set, the task's own metric first."""
    found = result.found
    return [
        {
            "task": found.task,
            "language": found.language,
            "split": found.split,
            "metric": metric,
            "value": value,
            "num_examples": len(found.examples),
        }
        for metric, value in result.judgement.scores.items()
    ]


def averages(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Returns each metric's mean over the languages of a family of tasks, each counting once.

    As XTREME averages (Hu et al. 2020). A metric that some languages have not is averaged over
    those that have it: `languages` tells which.

    Args:
      rows: of `score_rows`.

    >>> rows = [{"task": f"nli.{code}", "language": code, "metric": "accuracy", "value": value}
    ...     for code, value in (("en", 80.0), ("sw", 60.0))]
    >>> averages(rows)
    [{'task': 'nli', 'metric': 'accuracy', 'value': 70.0, 'languages': ['en', 'sw']}]
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((family_of(row["task"]), row["metric"]), []).append(row)
    return [
        {
            "task": family,
            "metric": metric,
            "value": sum(row["value"] for row in members) / len(members),
            "languages": [row["language"] for row in members],
        }
        for (family, metric), members in groups.items()
    ]


def own_metrics(results: Sequence[SetResult]) -> dict[str, tuple[str, ...]]:
    """Returns the names of each family's own metrics, without those that are reported beside."""
    return {family_of(result.found.task): result.judgement.own for result in results}
