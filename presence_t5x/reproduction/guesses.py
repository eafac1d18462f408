"""What a model would score that gives every example the same answer.

The answer is the most frequent one among the right answers of the test set itself, so that of
classes the score is that of the majority class, and no model that ignores its inputs does better
by accuracy or exact match.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from presence_t5x import task_metrics

_NO_ENTITY = "None"


def constant_answer(gold: Sequence[Sequence[str]]) -> str:
    """Returns the most frequent right answer, the first of equals; "None" only if all are that.

    Args:
      gold: right answers of every example.

    >>> constant_answer([["0"], ["2"], ["2"]])
    '2'
    """
    counts = Counter(answers[0] for answers in gold)
    if len(counts) > 1:
        counts.pop(_NO_ENTITY, None)  # no entity found is F1 0
    return counts.most_common(1)[0][0]


def constant_score(gold: Sequence[Sequence[str]], metric: str) -> float:
    """Returns the score of the constant answer in percent.

    Args:
      gold: right answers of every example.
      metric: "accuracy", "f1", "em" (of answers, by SQuAD's normalisation) or "span_f1".

    Raises:
      ValueError: another metric.

    >>> constant_score([["0"], ["2"], ["2"], ["1"]], "accuracy")
    50.0
    """
    predictions = [constant_answer(gold)] * len(gold)
    first = [answers[0] for answers in gold]
    scorers: dict[str, Callable[[], float]] = {
        "accuracy": lambda: task_metrics.accuracy(first, predictions)["accuracy"],
        "span_f1": lambda: 100 * task_metrics.span_f1(first, predictions)["span_f1"],
    }
    for name in ("f1", "em"):
        scorers[name] = lambda name=name: task_metrics.squad(gold, predictions)[name]
    if metric not in scorers:
        raise ValueError(f"metric={metric!r} must be one of {sorted(scorers)}")
    return scorers[metric]()
