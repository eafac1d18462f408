"""What single examples contribute to a metric: enough to score another draw of them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from presence_t5x.task_metrics.entity_spans import span_counts, span_f1
from presence_t5x.task_metrics.labels import accuracy
from presence_t5x.task_metrics.question_answering import (
    answer_scores,
    answers_by_normalizer,
    mlqa,
    squad,
)

# Metrics of a set that are the means of the same metrics of its examples.
_MEANS = (accuracy, answer_scores, answers_by_normalizer, mlqa, squad)


def example_values(
    metric_fn: Callable[..., dict[str, float]], targets: Sequence[Any], predictions: Sequence[Any]
) -> list[dict[str, float]]:
    """Returns what each example contributes to a metric of this package; {} for other metrics.

    Of a mean (accuracy, exact match, F1 of answers) that is the example's own value, whose mean is
    the set's; of `span_f1` the counts `true_positives`, `predicted` and `gold`, from whose sums the
    set's F1 follows.

    Args:
      metric_fn: (targets, predictions) -> values by name.
      targets: of all examples.
      predictions: of all examples.

    >>> example_values(accuracy, ["0", "1"], ["0", "2"])
    [{'accuracy': 100.0}, {'accuracy': 0.0}]
    """
    fun = metric_fn.func if isinstance(metric_fn, functools.partial) else metric_fn
    pairs = zip(targets, predictions, strict=True)
    if fun is span_f1:
        return [{**span_counts(*pair)} for pair in pairs]
    if fun in _MEANS:
        return [metric_fn([target], [prediction]) for target, prediction in pairs]
    return [{} for _ in pairs]
