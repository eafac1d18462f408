"""Families of labelled examples: what a record must hold, its text, and how answers are judged.

A record is a JSON object as data sets are published (field names and label names of MultiNLI/XNLI,
SQuAD, WikiAnn, PAWS-X); what `read` makes of it has the shape that TFDS gives the same data, so one
preprocessor (`formats`) serves both. What is wrong with a record is said, never repaired by
guessing.
"""

import dataclasses
import functools
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from presence_t5x import task_metrics
from presence_t5x.data.finetuning import formats
from presence_t5x.data.finetuning.entity_tags import spans_of_tags

# Kinds of fields, as tensors: a string, a number, and lists of them.
TEXT, NUMBER, TEXTS, NUMBERS = "text", "number", "texts", "numbers"
NLI_LABELS = ("entailment", "neutral", "contradiction")
PAWS_LABELS = ("different_meaning", "paraphrase")
_OTHER_NAMES = {"contradictory": "contradiction"}  # so in a part of XTREME's XNLI

MetricFns = tuple[Callable[..., dict[str, float]], ...]


class BrokenRecordError(ValueError):
    """A record that is no example.

    Attributes:
      kind: one word for counting.
      message: what is wrong and what to do.
    """

    def __init__(self, kind: str, message: str):
        """Remembers both."""
        super().__init__(kind, message)
        self.kind, self.message = kind, message


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
    """

    name: str
    fields: Mapping[str, Any]
    read: Callable[[Mapping[str, Any]], dict[str, Any]]
    to_text: Callable[..., Any]
    metric_fns: Callable[[str], MetricFns]
    postprocess_fn: Callable[..., Any] | None = None


def question_answering_metrics(language: str) -> MetricFns:
    """Returns SQuAD's metric, as mT5 uses it, and every normaliser beside it."""
    beside = functools.partial(task_metrics.answers_by_normalizer, lang=language)
    return task_metrics.squad, beside


def mlqa_metrics(language: str) -> MetricFns:
    """Returns MLQA's metric of a language, and every normaliser beside it."""
    return functools.partial(task_metrics.mlqa, lang=language), question_answering_metrics(
        language
    )[1]


def accuracy_metrics(language: str) -> MetricFns:
    """Returns accuracy."""
    return (task_metrics.accuracy,)


def span_metrics(language: str) -> MetricFns:
    """Returns F1 of entities."""
    return (task_metrics.span_f1,)


def paws_class(label: str, **keywords: Any) -> int:
    """Returns the class of a label's text; other text is -1."""
    return task_metrics.string_label_to_class_id(label, PAWS_LABELS, **keywords)


def _read_nli(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "premise": _text(record, "premise"),
        "hypothesis": _text(record, "hypothesis"),
        "label": _label(record, NLI_LABELS),
    }


def _read_paws(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sentence1": _text(record, "sentence1"),
        "sentence2": _text(record, "sentence2"),
        "label": _label(record, PAWS_LABELS),
    }


def _read_qa(record: Mapping[str, Any]) -> dict[str, Any]:
    context = _text(record, "context")
    answers, starts = _answers(record)
    for answer, start in zip(answers, starts):
        if isinstance(start, bool) or not isinstance(start, int):
            raise BrokenRecordError(
                "answer_offset", f"answer_start {start!r} is no whole number; correct or remove it"
            )
        if start < 0 or start + len(answer) > len(context):
            raise BrokenRecordError(
                "answer_offset",
                f"answer_start={start} with {len(answer)} characters lies outside the context of "
                f"{len(context)}; offsets count characters: correct or remove it",
            )
    return {
        "question": _text(record, "question"),
        "context": context,
        "answers": {"text": answers, "answer_start": starts},
    }


def _read_ner(record: Mapping[str, Any]) -> dict[str, Any]:
    tokens, tags = _texts(record, "tokens"), _texts(record, "tags")
    if len(tokens) != len(tags):
        raise BrokenRecordError(
            "tag_count", f"{len(tokens)} tokens but {len(tags)} tags; give one tag a token"
        )
    try:
        spans = spans_of_tags(tokens, tags)
    except ValueError as error:
        raise BrokenRecordError("unknown_label", str(error)) from error
    return {"tokens": tokens, "tags": tags, "spans": spans or [formats.NO_ENTITY]}


def _field(record: Mapping[str, Any], name: str) -> Any:
    if name not in record:
        raise BrokenRecordError(
            "no_field",
            f"no field {name!r} (found {sorted(record)[:20]}); add it or rename the field",
        )
    return record[name]


def _text(record: Mapping[str, Any], name: str) -> str:
    value = _field(record, name)
    if not isinstance(value, str) or not value.strip():
        raise BrokenRecordError(
            "empty_text",
            f"{name}={reprlib.repr(value)} must be a non-empty string; repair or remove the line",
        )
    return value


def _texts(record: Mapping[str, Any], name: str) -> list[str]:
    value = _field(record, name)
    is_list = isinstance(value, list) and bool(value)
    if not is_list or not all(isinstance(text, str) and text.strip() for text in value):
        raise BrokenRecordError(
            "empty_text",
            f"{name}={reprlib.repr(value)} must be a list of non-empty strings; repair or remove "
            "the line",
        )
    return value


def _label(record: Mapping[str, Any], names: Sequence[str]) -> int:
    """The number of a label, given as it, as text of it, or by name."""
    value = _field(record, "label")
    known = {name: number for number, name in enumerate(names)}
    known |= {other: known[name] for other, name in _OTHER_NAMES.items() if name in known}
    if isinstance(value, str):
        key = value.strip().lower()
        found = known.get(key, int(key) if key.isascii() and key.isdigit() else -1)
    else:
        found = value if isinstance(value, int) and not isinstance(value, bool) else -1
    if not 0 <= found < len(names):
        raise BrokenRecordError(
            "unknown_label",
            f"label={reprlib.repr(value)} must be one of {list(names)} or 0 to {len(names) - 1}",
        )
    return found


def _answers(record: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
    """Texts, and their offsets if any are given."""
    value = _field(record, "answers")
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
    elif isinstance(value, list) and all(isinstance(answer, Mapping) for answer in value):
        texts = [answer.get("text") for answer in value]
        starts = [answer["answer_start"] for answer in value if "answer_start" in answer] or None
    else:
        texts, starts = value, None
    if not isinstance(texts, list) or not texts:
        raise BrokenRecordError(
            "no_answer",
            f"answers={reprlib.repr(value)} must hold at least one text; repair or remove the line",
        )
    texts = _texts({"answers": texts}, "answers")
    if starts is None:
        return texts, []
    if not isinstance(starts, list) or len(starts) != len(texts):
        raise BrokenRecordError(
            "answer_offset",
            f"{len(texts)} answers but answer_start={reprlib.repr(starts)}; give one offset an "
            "answer, or none at all",
        )
    return texts, starts


FAMILIES = {
    family.name: family
    for family in (
        Family(
            name="nli",
            fields={"premise": TEXT, "hypothesis": TEXT, "label": NUMBER},
            read=_read_nli,
            to_text=formats.natural_language_inference,
            metric_fns=accuracy_metrics,
        ),
        Family(
            name="qa",
            fields={
                "question": TEXT,
                "context": TEXT,
                "answers": {"text": TEXTS, "answer_start": NUMBERS},
            },
            read=_read_qa,
            to_text=formats.question_answering,
            metric_fns=question_answering_metrics,
            postprocess_fn=task_metrics.qa,
        ),
        Family(
            name="ner",
            fields={"tokens": TEXTS, "tags": TEXTS, "spans": TEXTS},
            read=_read_ner,
            to_text=formats.entity_tagging,
            metric_fns=span_metrics,
        ),
        Family(
            name="paws",
            fields={"sentence1": TEXT, "sentence2": TEXT, "label": NUMBER},
            read=_read_paws,
            to_text=functools.partial(
                formats.labelled_fields,
                name="paws",
                label_names=PAWS_LABELS,
                feature_names=("sentence1", "sentence2"),
            ),
            metric_fns=accuracy_metrics,
            postprocess_fn=paws_class,
        ),
    )
}
LOCAL = "local"


def local_family(task_name: str) -> str | None:
    """Returns the family of a task or mixture over files of one's own, None for other names.

    >>> local_family("local_ner_eval.sw"), local_family("local_text")
    ('ner', None)
    """
    prefix, _, rest = task_name.partition("_")
    family = rest.partition("_")[0]
    return family if prefix == LOCAL and family in FAMILIES else None
