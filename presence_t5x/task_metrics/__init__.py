"""How answers of a fine-tuned model are judged: (targets, predictions) -> {name: value}, purely.

They are the metrics of the tasks of T5 and mT5 (Raffel et al. 2020, Xue et al. 2021), quirks
included and stated, and what the field uses beside them. `metrics.py` is what a training step
reports. In flow order: `postprocessing` (a decoded string to what is compared), `normalization`,
`question_answering`, `entity_spans`, `labels`, `correlations`, `grouped` (answers that belong
together), `by_example` (what single examples contribute).
"""

from presence_t5x.task_metrics.by_example import example_values
from presence_t5x.task_metrics.correlations import pearson_correlation, spearman_correlation
from presence_t5x.task_metrics.entity_spans import span_counts, span_f1
from presence_t5x.task_metrics.grouped import multirc_exact_match, multirc_f1, record_squad
from presence_t5x.task_metrics.labels import (
    accuracy,
    f1_with_invalid,
    matthews_correlation,
    mean_multiclass_f1,
)
from presence_t5x.task_metrics.normalization import (
    NORMALIZERS,
    normalize_by_script,
    normalize_mlqa,
    normalize_squad,
)
from presence_t5x.task_metrics.postprocessing import (
    multirc,
    names_referent,
    qa,
    record,
    string_label_to_class_id,
    string_to_float,
)
from presence_t5x.task_metrics.question_answering import (
    answer_scores,
    answers_by_normalizer,
    mlqa,
    squad,
)

__all__ = [
    "NORMALIZERS",
    "accuracy",
    "answer_scores",
    "answers_by_normalizer",
    "example_values",
    "f1_with_invalid",
    "matthews_correlation",
    "mean_multiclass_f1",
    "mlqa",
    "multirc",
    "multirc_exact_match",
    "multirc_f1",
    "names_referent",
    "normalize_by_script",
    "normalize_mlqa",
    "normalize_squad",
    "pearson_correlation",
    "qa",
    "record",
    "record_squad",
    "span_counts",
    "span_f1",
    "spearman_correlation",
    "squad",
    "string_label_to_class_id",
    "string_to_float",
]
