"""Families of labelled examples: what a record must hold, its text, and how answers are judged.

A record is a JSON object as data sets are published (field names and label names of MultiNLI/XNLI,
SQuAD, WikiAnn, PAWS-X; GLUE's and SuperGLUE's are in `benchmarks`); what `read` makes of it has the
shape that TFDS gives the same data, so one preprocessor (`formats`) serves both.
"""

import functools
import reprlib
from collections.abc import Mapping
from typing import Any

from presence_t5x import task_metrics
from presence_t5x.data.finetuning import formats
from presence_t5x.data.finetuning.benchmark_records import read_labelled
from presence_t5x.data.finetuning.benchmarks import BENCHMARK_FAMILIES, NLI_LABELS
from presence_t5x.data.finetuning.entity_tags import spans_of_tags
from presence_t5x.data.finetuning.family import (
    NUMBER,
    NUMBERS,
    TEXT,
    TEXTS,
    Family,
    MetricFns,
    always,
)
from presence_t5x.data.finetuning.records import (
    BrokenRecordError,
    read_field,
    read_text,
    read_texts,
)

PAWS_LABELS = ("different_meaning", "paraphrase")


def question_answering_metrics(language: str) -> MetricFns:
    """Returns SQuAD's metric, as mT5 uses it, and every normaliser beside it."""
    beside = functools.partial(task_metrics.answers_by_normalizer, lang=language)
    return task_metrics.squad, beside


def mlqa_metrics(language: str) -> MetricFns:
    """Returns MLQA's metric of a language, and every normaliser beside it."""
    return functools.partial(task_metrics.mlqa, lang=language), question_answering_metrics(
        language
    )[1]


def _read_qa(record: Mapping[str, Any]) -> dict[str, Any]:
    context = read_text(record, "context")
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
        "question": read_text(record, "question"),
        "context": context,
        "answers": {"text": answers, "answer_start": starts},
    }


def _read_ner(record: Mapping[str, Any]) -> dict[str, Any]:
    tokens, tags = read_texts(record, "tokens"), read_texts(record, "tags")
    if len(tokens) != len(tags):
        raise BrokenRecordError(
            "tag_count", f"{len(tokens)} tokens but {len(tags)} tags; give one tag a token"
        )
    try:
        spans = spans_of_tags(tokens, tags)
    except ValueError as error:
        raise BrokenRecordError("unknown_label", str(error)) from error
    return {"tokens": tokens, "tags": tags, "spans": spans or [formats.NO_ENTITY]}


def _answers(record: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
    """Texts, and their offsets if any are given."""
    value = read_field(record, "answers")
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
    texts = read_texts({"answers": texts}, "answers")
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
            read=functools.partial(
                read_labelled, feature_names=("premise", "hypothesis"), label_names=NLI_LABELS
            ),
            to_text=formats.natural_language_inference,
            metric_fns=always(task_metrics.accuracy),
            label_names=tuple(map(str, range(len(NLI_LABELS)))),  # so mT5 writes them
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
            metric_fns=always(task_metrics.span_f1),
        ),
        Family(
            name="paws",
            fields={"sentence1": TEXT, "sentence2": TEXT, "label": NUMBER},
            read=functools.partial(
                read_labelled, feature_names=("sentence1", "sentence2"), label_names=PAWS_LABELS
            ),
            to_text=functools.partial(
                formats.labelled_fields,
                name="paws",
                label_names=PAWS_LABELS,
                feature_names=("sentence1", "sentence2"),
            ),
            metric_fns=always(task_metrics.accuracy),
            postprocess_fn=functools.partial(
                task_metrics.string_label_to_class_id, label_classes=PAWS_LABELS
            ),
            label_names=PAWS_LABELS,
        ),
        *BENCHMARK_FAMILIES,
    )
}
LOCAL = "local"


def local_family(task_name: str) -> str | None:
    """Returns the family of a task or mixture over files of one's own, None for other names.

    >>> local_family("local_ner_eval.sw"), local_family("local_text")
    ('ner', None)
    >>> local_family("local_super_glue_wsc_simple_train.en")
    'super_glue_wsc_simple'
    """
    found = [name for name in FAMILIES if task_name.startswith(f"{LOCAL}_{name}_")]
    return max(found, key=len, default=None)
