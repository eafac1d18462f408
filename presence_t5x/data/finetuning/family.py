"""One kind of labelled examples: what a record must hold, its text, and how answers are judged."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Kinds of fields, as tensors: a string, a whole number, a number, and lists of the first two.
TEXT, NUMBER, REAL, TEXTS, NUMBERS = "text", "number", "real", "texts", "numbers"

MetricFns = tuple[Callable[..., dict[str, float]], ...]
Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of labelled examples.

    Attributes:
      name: in the names of tasks.
      fields: what `read` gives, by kind; nested as the examples are.
      read: a record to an example; raises BrokenRecordError.
      to_text: the preprocessor from examples to text.
      metric_fns: code of a language -> metrics of its task, the main one first.
      postprocess_fn: of the task.
      label_names: what targets may be, in the order of class numbers; () is free text.
      to_training_text: the preprocessor of what is trained on, if it is another.
      unfold: a record as it is published to those that `read` takes, if it holds several; raises
        BrokenRecordError.
      language: of examples that tell none; "" is unknown.
    """

    name: str
    fields: Mapping[str, Any]
    read: Callable[[Record], dict[str, Any]]
    to_text: Callable[..., Any]
    metric_fns: Callable[[str], MetricFns]
    postprocess_fn: Callable[..., Any] | None = None
    label_names: Sequence[str] = ()
    to_training_text: Callable[..., Any] | None = None
    unfold: Callable[[Record], list[Record]] | None = None
    language: str = ""


def always(*metric_fns: Callable[..., dict[str, float]]) -> Callable[[str], MetricFns]:
    """Returns the metrics of a family that are the same in every language."""
    return lambda language: metric_fns
