"""Scores of examples that belong together: answers to one question (MultiRC), copies (ReCoRD).

Targets are {"value": gold, "group": what they belong to}, predictions {"value": found}, as
`postprocessing` makes them.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from presence_t5x.task_metrics.checks import check_lengths
from presence_t5x.task_metrics.labels import f1_with_invalid
from presence_t5x.task_metrics.question_answering import squad

Valued = Mapping[str, Any]


def multirc_f1(targets: Sequence[Valued], predictions: Sequence[Valued]) -> dict[str, float]:
    """Returns {"f1": percent} over all answers of all questions together (SuperGLUE's F1a).

    As `f1_with_invalid`: text that is no label counts as the wrong one.

    Args:
      targets: 0 or 1 as `value`, the question as `group`.
      predictions: classes as `value`.

    Raises:
      ValueError: no example, or not as many predictions as targets.

    >>> multirc_f1([{"value": 1, "group": (0, 0)}, {"value": 1, "group": (0, 1)}],
    ...     [{"value": 1}, {"value": 1}])
    {'f1': 100.0}
    """
    return f1_with_invalid(_values(targets), _values(predictions))


def multirc_exact_match(
    targets: Sequence[Valued], predictions: Sequence[Valued]
) -> dict[str, float]:
    """Returns {"exact_match": percent} of questions whose answers are all labelled right.

    Of a part of a set a question may lack answers: it is judged by those that are there.

    Args:
      targets: 0 or 1 as `value`, the question as `group`.
      predictions: classes as `value`.

    Raises:
      ValueError: no example, or not as many predictions as targets.

    >>> multirc_exact_match([{"value": 1, "group": (0, 0)}, {"value": 0, "group": (0, 1)}],
    ...     [{"value": 1}, {"value": 1}])
    {'exact_match': 50.0}
    """
    check_lengths(targets, predictions)
    are_right: dict[Hashable, bool] = {}
    for target, prediction in zip(targets, predictions):
        is_right = target["value"] == prediction["value"]
        are_right[target["group"]] = are_right.get(target["group"], True) and is_right
    return {"exact_match": 100 * sum(are_right.values()) / len(are_right)}


def record_squad(targets: Sequence[Valued], predictions: Sequence[Valued]) -> dict[str, float]:
    """Returns {"em", "f1"} of `squad` over the first example of every group.

    A query with several answers is an example for each, with the same inputs: one counts.

    Args:
      targets: all answers as `value`, (passage, query) as `group`.
      predictions: text as `value`.

    Raises:
      ValueError: as `squad`.

    >>> record_squad([{"value": ["Ana", "Ben"], "group": (0, 0)}] * 2,
    ...     [{"value": "Ben"}, {"value": "?"}])
    {'em': 100.0, 'f1': 100.0}
    """
    check_lengths(targets, predictions)
    first: dict[Hashable, tuple[Any, Any]] = {}
    for target, prediction in zip(targets, predictions):
        first.setdefault(target["group"], (target["value"], prediction["value"]))
    gold, found = zip(*first.values())
    return squad(gold, found)


def _values(some: Sequence[Valued]) -> list[Any]:
    return [one["value"] for one in some]
