"""A decoded string to what its metric compares, with the arguments that seqio passes."""

from collections.abc import Mapping, Sequence
from typing import Any


def qa(
    answer: str, example: Mapping[str, Any] | None = None, is_target: bool = False
) -> str | list[str]:
    """Returns a predicted answer as it is, and for a target all gold answers of its example.

    Args:
      answer: decoded.
      example: of the target; its `answers` are str or UTF-8.
      is_target: whether `answer` is the target.

    >>> qa("Rome", {"answers": [b"Rome", b"Roma"]}, is_target=True), qa("Paris")
    (['Rome', 'Roma'], 'Paris')
    """
    if not is_target:
        return answer
    assert example is not None
    return [
        text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        for text in example["answers"]
    ]


def string_label_to_class_id(
    label: str, label_classes: Sequence[str], default: int = -1, **unused: Any
) -> int:
    """Returns the number of a label, or `default` for any other text.

    Args:
      label: decoded.
      label_classes: in the order of their numbers.
      default: of what is no label.
      **unused: what seqio passes besides.

    >>> string_label_to_class_id("paraphrase", ["different_meaning", "paraphrase"])
    1
    """
    return label_classes.index(label) if label in label_classes else default
