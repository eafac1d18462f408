"""A decoded string to what its metric compares, with the arguments that seqio passes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

# Words that say nothing of whom a noun phrase names (Raffel et al. 2020).
# fmt: off
_DETERMINERS = frozenset((
    "a", "an", "few", "her", "his", "each", "every", "many", "much", "my", "our", "some", "that",
    "the", "their", "these", "this", "those", "which", "whose", "your",
))
# fmt: on


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
    return [_plain(text) for text in example["answers"]]


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


def string_to_float(text: str, default: float = -1.0, **unused: Any) -> float:
    """Returns the number that a text is, or `default` for any other text.

    Python's rules: spaces around it and exponents are taken. "nan" and "inf" are no numbers here;
    T5 takes them, and its correlations become NaN.

    Args:
      text: decoded.
      default: of what is no number.
      **unused: what seqio passes besides.

    >>> string_to_float("3.4"), string_to_float("3.4 points"), string_to_float("nan")
    (3.4, -1.0, -1.0)
    """
    try:
        found = float(text)
    except ValueError:
        return default
    return found if math.isfinite(found) else default


def multirc(
    label: str, example: Mapping[str, Any] | None = None, is_target: bool = False
) -> dict[str, Any]:
    """Returns {"value": 0, 1 or -1}, and for a target the "group" of answers it belongs to.

    The group is (paragraph, question), T5's the question's number alone: the same where questions
    are counted through all paragraphs; files of your own may begin again in each.

    Args:
      label: decoded "False" or "True"; other text is -1.
      example: of the target; has `idx/paragraph` and `idx/question`.
      is_target: whether `label` is the target.

    >>> multirc("True", {"idx/paragraph": 1, "idx/question": 7}, is_target=True)
    {'value': 1, 'group': (1, 7)}
    """
    found: dict[str, Any] = {"value": string_label_to_class_id(label, ("False", "True"))}
    if is_target:
        assert example is not None
        found["group"] = (int(example["idx/paragraph"]), int(example["idx/question"]))
    return found


def record(
    answer: str, example: Mapping[str, Any] | None = None, is_target: bool = False
) -> dict[str, Any]:
    """Returns {"value": answer}, for a target all answers and the "group" (passage, query).

    Args:
      answer: decoded.
      example: of the target; has `answers`, `idx/passage` and `idx/query`.
      is_target: whether `answer` is the target.

    >>> record("Ana"), record("Ana", {"answers": [b"Ana"], "idx/passage": 3, "idx/query": 5}, True)
    ({'value': 'Ana'}, {'value': ['Ana'], 'group': (3, 5)})
    """
    found: dict[str, Any] = {"value": qa(answer, example, is_target)}
    if is_target:
        assert example is not None
        found["group"] = (int(example["idx/passage"]), int(example["idx/query"]))
    return found


def names_referent(
    answer: str, example: Mapping[str, Any] | None = None, is_target: bool = False
) -> int:
    """Returns whether an answer names the noun phrase of a WSC example; for a target its label.

    Compared are sets of words, in lower case and without determiners: one must hold the other
    ("fuzzy bunny" names "the bunny"). Where one of the two alone has an apostrophe they do not
    ("Bob" is not "Bob's hat"). An answer of determiners alone is -1, so that it is never right.

    Args:
      answer: decoded.
      example: has `span1_text`, the noun phrase, and `label`, whether the pronoun stands for it.
      is_target: whether `answer` is the target.

    >>> example = {"span1_text": "The fuzzy bunny", "label": 1}
    >>> [names_referent(answer, example) for answer in ("a bunny", "bunny hat", "the", "Bunny's")]
    [1, 0, -1, 0]
    """
    assert example is not None
    if is_target:
        return int(example["label"])
    found, phrase = map(_without_determiners, (answer, _plain(example["span1_text"])))
    if not found:
        return -1
    if ("'" in found) != ("'" in phrase):
        return 0
    words, words_of_phrase = ({*text.split(" ")} for text in (found, phrase))
    return int(words <= words_of_phrase or words_of_phrase <= words)


def _without_determiners(text: str) -> str:
    """The text in lower case, cut at single spaces as T5 cuts it: double ones leave empty words."""
    words = text.strip().lower().split(" ")
    return " ".join(word for word in words if word not in _DETERMINERS)


def _plain(text: Any) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
