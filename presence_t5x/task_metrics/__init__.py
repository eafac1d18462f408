"""How answers of a fine-tuned model are judged: (targets, predictions) -> {name: value}, purely.

They are the metrics of mT5's tasks (Xue et al. 2021), quirks included and stated, and what the
field uses beside them. `metrics.py` is what a training step reports. In flow order:
`postprocessing` (a decoded string to what is compared), `normalization`, `question_answering`,
`entity_spans`, `labels`, `by_example` (what single examples contribute).
"""

from presence_t5x.task_metrics.by_example import example_values
from presence_t5x.task_metrics.entity_spans import span_counts, span_f1
from presence_t5x.task_metrics.labels import accuracy
from presence_t5x.task_metrics.normalization import (
    NORMALIZERS,
    normalize_by_script,
    normalize_mlqa,
    normalize_squad,
)
from presence_t5x.task_metrics.postprocessing import qa, string_label_to_class_id
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
    "mlqa",
    "normalize_by_script",
    "normalize_mlqa",
    "normalize_squad",
    "qa",
    "span_counts",
    "span_f1",
    "squad",
    "string_label_to_class_id",
]
