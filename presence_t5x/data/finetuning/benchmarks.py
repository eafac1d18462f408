"""GLUE's and SuperGLUE's families (Wang et al. 2019a, 2019b), with T5's text and metrics.

Records are as SuperGLUE publishes them in JSON lines, which TFDS reads, too, or flat as TFDS has
them; GLUE's, published as tables, have the column names of TFDS. English unless they tell.

As a classification (`label_names`) a task is its inputs and the number of its target among the
label names, so an answer is the name of a class, judged like an answer in words. What that means
where a benchmark is no plain classification:

- STS-B: 26 classes, the scores that T5 writes; judged by the numbers they stand for.
- COPA: both choices in one row, two classes. The field scores each choice in a row of its own
  by one output and compares (as for multiple choice); that takes another head than one that labels
  a row.
- MultiRC: a row for every answer, two classes, as the field does.
- WSC: `super_glue_wsc`, two classes, phrase and pronoun marked; the field marks or pools the two
  spans. T5 has the model write the phrase instead: `super_glue_wsc_simple`.
- ReCoRD, DPR and `super_glue_wsc_simple` are answered in words: they have no classes. The field
  ranks a row for every entity of a ReCoRD passage, which takes scores across rows.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from presence_t5x import task_metrics
from presence_t5x.data.finetuning import benchmark_formats, formats
from presence_t5x.data.finetuning.benchmark_formats import BOOLEAN_LABELS, SIMILARITIES
from presence_t5x.data.finetuning.family import (
    NUMBER,
    REAL,
    TEXT,
    TEXTS,
    Family,
    Record,
    always,
)
from presence_t5x.data.finetuning.records import (
    BrokenRecordError,
    read_count,
    read_label,
    read_mapping,
    read_mappings,
    read_real,
    read_text,
    read_texts,
)

_ENTAILMENT = ("entailment", "not_entailment")
_NLI = ("entailment", "neutral", "contradiction")
_F1_AND_ACCURACY = (task_metrics.f1_with_invalid, task_metrics.accuracy)


def _labelled(
    name: str,
    text_name: str,
    feature_names: str,
    label_names: Sequence[str],
    *metric_fns: Callable[..., dict[str, float]],
    before_text: Callable[..., Any] | None = None,
    text_features: str | None = None,
) -> Family:
    """A family of texts and a label, written as `formats.labelled_fields` has it."""
    features = feature_names.split()
    to_text = functools.partial(
        formats.labelled_fields,
        name=text_name,
        label_names=label_names,
        feature_names=(text_features or feature_names).split(),
    )
    if before_text is not None:
        to_text = functools.partial(_in_order, steps=(before_text, to_text))
    return _labelling(
        name,
        to_text,
        dict.fromkeys(features, TEXT),
        functools.partial(_read_labelled, feature_names=features, label_names=label_names),
        label_names,
        *metric_fns,
    )


def _labelling(name, to_text, fields, read, label_names, *metric_fns, **settings) -> Family:
    """A family whose targets are names of labels."""
    postprocess = functools.partial(
        task_metrics.string_label_to_class_id, label_classes=tuple(label_names)
    )
    return Family(
        name=name,
        fields={**fields, "label": NUMBER},
        read=read,
        to_text=to_text,
        metric_fns=always(*metric_fns),
        label_names=label_names,
        language="en",
        **{"postprocess_fn": postprocess, **settings},
    )


def _in_order(dataset: Any, steps: Sequence[Callable[..., Any]]) -> Any:
    for step in steps:
        dataset = step(dataset)
    return dataset


def _read_labelled(
    record: Record, feature_names: Sequence[str], label_names: Sequence[str]
) -> dict[str, Any]:
    texts = {name: read_text(record, name) for name in feature_names}
    return {**texts, "label": read_label(record, label_names)}


def _read_similarity(record: Record) -> dict[str, Any]:
    texts = {name: read_text(record, name) for name in ("sentence1", "sentence2")}
    return {**texts, "label": read_real(record, "label", 0, 5)}


def _read_multirc(record: Record) -> dict[str, Any]:
    found = _read_labelled(record, ("paragraph", "question", "answer"), BOOLEAN_LABELS)
    return {**found, "idx": _numbers(record, "paragraph", "question", "answer")}


def _unfold_multirc(record: Record) -> list[Record]:
    """A published passage to its answers; a flat record is one."""
    if "passage" not in record:
        return [record]
    passage = read_mapping(record, "passage")
    return [
        {
            "paragraph": passage.get("text"),
            "question": question.get("question"),
            "answer": answer.get("text"),
            **({"label": answer["label"]} if "label" in answer else {}),
            "idx": {
                "paragraph": record.get("idx"),
                "question": question.get("idx"),
                "answer": answer.get("idx"),
            },
        }
        for question in read_mappings(passage, "questions")
        for answer in read_mappings(question, "answers")
    ]


def _read_record(record: Record) -> dict[str, Any]:
    return {
        "passage": read_text(record, "passage"),
        "query": read_text(record, "query"),
        "entities": read_texts(record, "entities"),
        "answers": read_texts(record, "answers"),
        "idx": _numbers(record, "passage", "query"),
    }


def _unfold_record(record: Record) -> list[Record]:
    """A published passage to its queries, entities and answers sorted and unlike, as in TFDS."""
    if "qas" not in record:
        return [record]
    passage = read_mapping(record, "passage")
    text = read_text(passage, "text")
    spans = [
        (read_count(entity, "start"), read_count(entity, "end"))
        for entity in read_mappings(passage, "entities")
    ]
    if not all(start <= end < len(text) for start, end in spans):
        raise BrokenRecordError(
            "entity_offset",
            f"an entity lies outside the passage of {len(text)} characters; `end` is its last one: "
            "correct or remove it",
        )
    return [
        {
            "passage": text,
            "query": query.get("query"),
            "entities": sorted({text[start : end + 1] for start, end in spans}),
            "answers": sorted({read_text(one, "text") for one in read_mappings(query, "answers")}),
            "idx": {"passage": record.get("idx"), "query": query.get("idx")},
        }
        for query in read_mappings(record, "qas")
    ]


def _numbers(record: Record, *names: str) -> dict[str, int]:
    numbers = read_mapping(record, "idx")
    return {name: read_count(numbers, name) for name in names}


def _unfold_wsc(record: Record) -> list[Record]:
    """The spans of a published record beside its text."""
    return [{**record, **read_mapping(record, "target")}] if "target" in record else [record]


def _read_wsc(record: Record) -> dict[str, Any]:
    names = ("text", "span1_text", "span2_text")
    found = _read_labelled(record, names, BOOLEAN_LABELS)
    found |= {name: read_count(record, name) for name in ("span1_index", "span2_index")}
    words, number = found["text"].split(" "), found["span2_index"]
    # As `benchmark_formats.referents` finds it.
    near = words[number : number + 2]
    if number == 0 or not any(word.startswith(found["span2_text"]) for word in near):
        raise BrokenRecordError(
            "span",
            f"span2_text={found['span2_text']!r} is not word span2_index={number} of the text "
            "(counted from 0, and not the first); correct or remove the line",
        )
    return found


def _read_dpr(record: Record) -> dict[str, Any]:
    candidates = read_texts(record, "candidates")
    texts = {name: read_text(record, name) for name in ("sentence", "pronoun")}
    return {**texts, "candidates": candidates, "label": read_label(record, candidates)}


_WSC_FIELDS = {
    **dict.fromkeys(("text", "span1_text", "span2_text"), TEXT),
    **dict.fromkeys(("span1_index", "span2_index"), NUMBER),
}
_accuracy = task_metrics.accuracy

BENCHMARK_FAMILIES = (
    _labelled(
        "glue_cola",
        "cola",
        "sentence",
        ("unacceptable", "acceptable"),
        task_metrics.matthews_correlation,
    ),
    _labelled("glue_sst2", "sst2", "sentence", ("negative", "positive"), _accuracy),
    _labelled(
        "glue_mrpc",
        "mrpc",
        "sentence1 sentence2",
        ("not_equivalent", "equivalent"),
        *_F1_AND_ACCURACY,
    ),
    _labelled(
        "glue_qqp",
        "qqp",
        "question1 question2",
        ("not_duplicate", "duplicate"),
        *_F1_AND_ACCURACY,
    ),
    Family(
        name="glue_stsb",
        fields={"sentence1": TEXT, "sentence2": TEXT, "label": REAL},
        read=_read_similarity,
        to_text=benchmark_formats.similarity,
        metric_fns=always(task_metrics.pearson_correlation, task_metrics.spearman_correlation),
        postprocess_fn=task_metrics.string_to_float,
        label_names=SIMILARITIES,
        language="en",
    ),
    _labelled("glue_mnli", "mnli", "hypothesis premise", _NLI, _accuracy),
    _labelled("glue_ax", "mnli", "hypothesis premise", _NLI),
    _labelled("glue_qnli", "qnli", "question sentence", _ENTAILMENT, _accuracy),
    _labelled("glue_rte", "rte", "sentence1 sentence2", _ENTAILMENT, _accuracy),
    _labelled("glue_wnli", "wnli", "sentence1 sentence2", _ENTAILMENT[::-1], _accuracy),
    _labelled("super_glue_boolq", "boolq", "passage question", BOOLEAN_LABELS, _accuracy),
    _labelled(
        "super_glue_cb",
        "cb",
        "hypothesis premise",
        ("entailment", "contradiction", "neutral"),
        functools.partial(task_metrics.mean_multiclass_f1, num_classes=3),
        _accuracy,
    ),
    _labelled(
        "super_glue_copa",
        "copa",
        "choice1 choice2 premise question",
        ("choice1", "choice2"),
        _accuracy,
    ),
    _labelling(
        "super_glue_multirc",
        benchmark_formats.answers_to_questions,
        {
            **dict.fromkeys(("paragraph", "question", "answer"), TEXT),
            "idx": dict.fromkeys(("paragraph", "question", "answer"), NUMBER),
        },
        _read_multirc,
        BOOLEAN_LABELS,
        task_metrics.multirc_f1,
        task_metrics.multirc_exact_match,
        postprocess_fn=task_metrics.multirc,
        unfold=_unfold_multirc,
    ),
    Family(
        name="super_glue_record",
        fields={
            **dict.fromkeys(("passage", "query"), TEXT),
            **dict.fromkeys(("entities", "answers"), TEXTS),
            "idx": {"passage": NUMBER, "query": NUMBER},
        },
        read=_read_record,
        to_text=benchmark_formats.cloze_queries,
        metric_fns=always(task_metrics.record_squad),
        postprocess_fn=task_metrics.record,
        unfold=_unfold_record,
        language="en",
    ),
    _labelled("super_glue_rte", "rte", "hypothesis premise", _ENTAILMENT, _accuracy),
    _labelled("super_glue_wic", "wic", "sentence1 sentence2 word", BOOLEAN_LABELS, _accuracy),
    _labelling(
        "super_glue_wsc",
        benchmark_formats.marked_spans,
        _WSC_FIELDS,
        _read_wsc,
        BOOLEAN_LABELS,
        _accuracy,
        unfold=_unfold_wsc,
    ),
    Family(
        name="super_glue_wsc_simple",
        fields={**_WSC_FIELDS, "label": NUMBER},
        read=_read_wsc,
        to_text=benchmark_formats.referents,
        to_training_text=benchmark_formats.right_referents,
        metric_fns=always(_accuracy),
        postprocess_fn=task_metrics.names_referent,
        unfold=_unfold_wsc,
        language="en",
    ),
    _labelled(
        "super_glue_axb",
        "rte",
        "sentence1 sentence2",
        _ENTAILMENT,
        before_text=benchmark_formats.sentences_to_premises,
        text_features="hypothesis premise",
    ),
    _labelled("super_glue_axg", "rte", "hypothesis premise", _ENTAILMENT),
    Family(
        name="dpr",
        fields={"sentence": TEXT, "pronoun": TEXT, "candidates": TEXTS, "label": NUMBER},
        read=_read_dpr,
        to_text=benchmark_formats.pronouns,
        metric_fns=always(_accuracy),
        language="en",
    ),
)
