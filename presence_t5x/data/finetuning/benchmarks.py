"""GLUE's and SuperGLUE's families (Wang et al. 2019a, 2019b), with the text and metrics of T5.

As a classification (`classification`) a task is its inputs and the number of its target among the
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

from presence_t5x import task_metrics
from presence_t5x.data.finetuning import benchmark_formats, formats
from presence_t5x.data.finetuning.benchmark_formats import (
    BOOLEAN_LABELS,
    ENTAILMENT_LABELS,
    SIMILARITIES,
)
from presence_t5x.data.finetuning.benchmark_records import (
    read_answer,
    read_candidates,
    read_cloze,
    read_labelled,
    read_similarity,
    read_spans,
    unfold_answers,
    unfold_cloze,
    unfold_spans,
)
from presence_t5x.data.finetuning.family import NUMBER, REAL, TEXT, TEXTS, Family, always

NLI_LABELS = ("entailment", "neutral", "contradiction")
_F1_AND_ACCURACY = (task_metrics.f1_with_invalid, task_metrics.accuracy)


def _labelled(
    name: str,
    text_name: str,
    feature_names: str,
    label_names: Sequence[str],
    *metric_fns: Callable[..., dict[str, float]],
) -> Family:
    """A family of texts and a label, written as `formats.labelled_fields` has it."""
    features = feature_names.split()
    to_text = functools.partial(
        formats.labelled_fields,
        name=text_name,
        label_names=label_names,
        feature_names=features,
    )
    return _labelling(
        name,
        to_text,
        dict.fromkeys(features, TEXT),
        functools.partial(read_labelled, feature_names=features, label_names=label_names),
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
        read=read_similarity,
        to_text=benchmark_formats.similarity,
        metric_fns=always(task_metrics.pearson_correlation, task_metrics.spearman_correlation),
        postprocess_fn=task_metrics.string_to_float,
        label_names=SIMILARITIES,
        language="en",
    ),
    _labelled("glue_mnli", "mnli", "hypothesis premise", NLI_LABELS, _accuracy),
    _labelled("glue_ax", "mnli", "hypothesis premise", NLI_LABELS),
    _labelled("glue_qnli", "qnli", "question sentence", ENTAILMENT_LABELS, _accuracy),
    _labelled("glue_rte", "rte", "sentence1 sentence2", ENTAILMENT_LABELS, _accuracy),
    _labelled("glue_wnli", "wnli", "sentence1 sentence2", ENTAILMENT_LABELS[::-1], _accuracy),
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
        read_answer,
        BOOLEAN_LABELS,
        task_metrics.multirc_f1,
        task_metrics.multirc_exact_match,
        postprocess_fn=task_metrics.multirc,
        unfold=unfold_answers,
    ),
    Family(
        name="super_glue_record",
        fields={
            **dict.fromkeys(("passage", "query"), TEXT),
            **dict.fromkeys(("entities", "answers"), TEXTS),
            "idx": {"passage": NUMBER, "query": NUMBER},
        },
        read=read_cloze,
        to_text=benchmark_formats.cloze_queries,
        metric_fns=always(task_metrics.record_squad),
        postprocess_fn=task_metrics.record,
        unfold=unfold_cloze,
        language="en",
    ),
    _labelled("super_glue_rte", "rte", "hypothesis premise", ENTAILMENT_LABELS, _accuracy),
    _labelled("super_glue_wic", "wic", "sentence1 sentence2 word", BOOLEAN_LABELS, _accuracy),
    _labelling(
        "super_glue_wsc",
        benchmark_formats.marked_spans,
        _WSC_FIELDS,
        read_spans,
        BOOLEAN_LABELS,
        _accuracy,
        unfold=unfold_spans,
    ),
    Family(
        name="super_glue_wsc_simple",
        fields={**_WSC_FIELDS, "label": NUMBER},
        read=read_spans,
        to_text=benchmark_formats.referents,
        to_training_text=benchmark_formats.right_referents,
        metric_fns=always(_accuracy),
        postprocess_fn=task_metrics.names_referent,
        unfold=unfold_spans,
        language="en",
    ),
    _labelling(
        "super_glue_axb",
        benchmark_formats.entailed_sentences,
        {"sentence1": TEXT, "sentence2": TEXT},
        functools.partial(
            read_labelled,
            feature_names=("sentence1", "sentence2"),
            label_names=ENTAILMENT_LABELS,
        ),
        ENTAILMENT_LABELS,
    ),
    _labelled("super_glue_axg", "rte", "hypothesis premise", ENTAILMENT_LABELS),
    Family(
        name="dpr",
        fields={"sentence": TEXT, "pronoun": TEXT, "candidates": TEXTS, "label": NUMBER},
        read=read_candidates,
        to_text=benchmark_formats.pronouns,
        metric_fns=always(_accuracy),
        language="en",
    ),
)
