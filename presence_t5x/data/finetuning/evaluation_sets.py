"""What a fine-tuned model is judged on: examples of one language each, with their metric.

Of a mixture every member that has the split gives one set for each of its languages, so that
scores come by language; a member that only repeats others (`.all_langs`) is left out.
"""

# seqio declares no usable types here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from presence_t5x._validate import check_int, did_you_mean
from presence_t5x.config_types import DataConfig
from presence_t5x.data.documents import Problem
from presence_t5x.data.finetuning.classification import label_names_of
from presence_t5x.data.finetuning.file_names import language_of_name
from presence_t5x.data.finetuning.formats import LINE, UNKNOWN
from presence_t5x.data.labels import check_writes_labels
from presence_t5x.data.preprocessors import LABELS
from presence_t5x.data.providers import find_provider, tasks_of
from presence_t5x.data.quiet_tensorflow import seqio, tf
from presence_t5x.data.task_text import read_task_text
from presence_t5x.data.text_tasks import gives_pairs
from presence_t5x.data.tfds_directories import check_tfds_directory
from presence_t5x.task_metrics import example_values

_EXAMPLES_PER_BLOCK = 256
_NO_FIELDS = {*LABELS, "position", LINE, "inputs", "targets"}


class EvaluationExample(NamedTuple):
    """One example as text.

    Attributes:
      id: its own; the number of the example in its split where it has none.
      language: code; "" is unknown.
      inputs: what the model reads.
      targets: what it shall answer.
      gold: what the metric compares with: the targets as decoded from their tokens, postprocessed
        (of a question all its answers).
      fields: whatever else it has, e.g. `question`, `context`, `answers`.
    """

    id: str
    language: str
    inputs: str
    targets: str
    gold: Any
    fields: dict[str, Any]


class Judgement(NamedTuple):
    """How predictions for a set are scored.

    Attributes:
      scores: all metrics by name, the task's own first.
      own: the names of the task's own metric, without those that are reported beside it.
      examples: what each example contributes (`task_metrics.example_values`).
    """

    scores: dict[str, float]
    own: tuple[str, ...]
    examples: list[dict[str, float]]


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """The examples of one task, split and language, and how predictions for them are scored.

    Attributes:
      task: its name.
      split: of the task.
      language: of all examples; "" is unknown.
      examples: in the order of the source.
      postprocess: (decoded prediction, its example's `fields`) -> what the metrics compare.
      metric_fns: (targets, predictions) -> values by name; the main one first.
      problems: broken lines of the task's files, which no example stands for, in any language.
    """

    task: str
    split: str
    language: str
    examples: Sequence[EvaluationExample]
    postprocess: Callable[[str, dict[str, Any]], Any]
    metric_fns: Sequence[Callable[..., Any]]
    problems: Sequence[Problem] = ()

    @property
    def key(self) -> str:
        """The name of its results: the task's, with the language unless that ends in it.

        >>> EvaluationSet("ner.sw", "test", "sw", [], str, []).key
        'ner.sw'
        >>> EvaluationSet("squad", "test", "en", [], str, []).key
        'squad.en'
        """
        is_named = not self.language or self.task.endswith(f".{self.language}")
        return self.task if is_named else f"{self.task}.{self.language}"

    def score(self, predictions: Sequence[str]) -> dict[str, float]:
        """Returns all metrics of decoded predictions, one for every example in order.

        Raises:
          ValueError: another number of predictions.
        """
        return self.judge(predictions, by_example=False).scores

    def judge(self, predictions: Sequence[str], *, by_example: bool = True) -> Judgement:
        """Returns all metrics of decoded predictions, and what each example contributes.

        Args:
          predictions: one for every example, in order.
          by_example: False leaves `examples` empty.

        Raises:
          ValueError: another number of predictions.
        """
        if len(predictions) != len(self.examples):
            raise ValueError(
                f"{len(predictions)} predictions for the {len(self.examples)} examples of "
                f"{self.task!r}; give one for each, in order"
            )
        found = [
            self.postprocess(text, example.fields)
            for text, example in zip(predictions, self.examples)
        ]
        gold = [example.gold for example in self.examples]
        scores: dict[str, float] = {}
        own: tuple[str, ...] = ()
        examples: list[dict[str, float]] = [{} for _ in self.examples] if by_example else []
        for metric_fn in self.metric_fns:
            scores |= metric_fn(gold, found)
            own = own or tuple(scores)
            if by_example:
                parts = example_values(metric_fn, gold, found)
                examples = [{**one, **more} for one, more in zip(examples, parts)]
        return Judgement(scores, own, examples)


def evaluation_sets(
    data_config: DataConfig,
    split: str,
    *,
    max_examples: int | None = None,
    languages: Sequence[str] | None = None,
) -> list[EvaluationSet]:
    """Returns the sets of a task, or of the members of a mixture, that have a split.

    A task named after a language ("xnli.sw") is taken to have no other: it is not read for others,
    nor beyond `max_examples`. Members of a mixture that cannot be judged by their answers are left
    out.

    Args:
      data_config: names the task or mixture, and the vocabulary through which targets go.
      split: e.g. "validation" or "test".
      max_examples: of each set, the first ones; None is all.
      languages: whose sets; None is all.

    Raises:
      ValueError: no such task, split or language, no task that has metrics and whose rows are
        pairs, a split without labels (GLUE's test), labels that the vocabulary cannot write, or
        data that are not there.
    """
    if max_examples is not None:
        check_int("max_examples", max_examples, minimum=1)
    provider = find_provider(data_config)
    tasks = [task for task in _distinct(tasks_of(provider)) if split in task.splits]
    if not tasks:
        raise ValueError(
            f"{provider.name!r} has no split {split!r}; it has {sorted(provider.splits)}"
        )
    judged = [task for task in tasks if task.predict_metric_fns and gives_pairs(task)]
    if not judged:
        raise ValueError(
            f"task {tasks[0].name!r} has no metric or gives no pairs of inputs and targets, so it "
            "cannot be judged by its answers; name a fine-tuning task"
        )
    chosen = [t for t in judged if languages is None or _language_of(t) in (None, *languages)]
    for task in chosen:
        check_tfds_directory(task)
    sets = [found for task in chosen for found in _sets_of(task, split, max_examples)]
    if languages is None:
        return sets
    known = {found.language for found in sets}
    for language in languages:
        if language not in known:
            every = sorted({*known, *filter(None, map(_language_of, judged))})
            raise ValueError(
                f"{provider.name!r} has nothing in the language {language!r} in its split "
                f"{split!r}; it has {every}{did_you_mean(language, every)}"
            )
    return [found for found in sets if found.language in languages]


def _language_of(task: seqio.Task) -> str | None:
    """The language that a task is named after, None if it is not."""
    _, point, suffix = task.name.rpartition(".")
    language = suffix.replace("_", "-")
    return language if point and language_of_name(suffix) == language else None


def _distinct(tasks: list[seqio.Task]) -> list[seqio.Task]:
    """The tasks without those that repeat others of the same list."""
    from presence_t5x.tasks import UNIONS

    return tasks if len(tasks) == 1 else [task for task in tasks if task.name not in UNIONS]


def _sets_of(task: seqio.Task, split: str, max_examples: int | None) -> list[EvaluationSet]:
    if names := label_names_of(task):
        check_writes_labels(names, task.output_features["targets"].vocabulary)
    problems: list[Problem] = []
    by_language: dict[str, list[EvaluationExample]] = {}
    raw = read_task_text(task, split, problems.append, _fetch)
    for number, example in enumerate(raw):
        if example.get("label") == -1 or example["targets"] == UNKNOWN:
            raise ValueError(
                f"task {task.name!r}, split {split!r}: example {number} has no label, as published "
                "test splits have none; its answers cannot be scored: use 'validation'"
            )
        found = by_language.setdefault(example.get("language", ""), [])
        if max_examples is None or len(found) < max_examples:
            found.append(_example(task, f"{split}:{number}", example))
        elif _language_of(task) is not None:
            break

    def postprocess(text: str, fields: dict[str, Any]) -> Any:
        return task.postprocess_fn(text, example=fields, is_target=False)

    return [
        EvaluationSet(
            task.name, split, language, found, postprocess, task.predict_metric_fns, problems
        )
        for language, found in by_language.items()
    ]


def _example(task: seqio.Task, default_id: str, raw: dict[str, Any]) -> EvaluationExample:
    vocabulary = task.output_features["targets"].vocabulary
    fields = {name: value for name, value in raw.items() if name not in _NO_FIELDS}
    # As seqio's evaluation has it: what the vocabulary cannot write is not asked of a model.
    decoded = vocabulary.decode(vocabulary.encode(raw["targets"]))
    return EvaluationExample(
        id=raw.get("id") or default_id,
        language=raw.get("language", ""),
        inputs=raw["inputs"],
        targets=raw["targets"],
        gold=task.postprocess_fn(decoded, example=fields, is_target=True),
        fields=fields,
    )


def _fetch(dataset: tf.data.Dataset) -> Iterator[dict[str, Any]]:
    """Yields examples as text, numbers and lists, fetched in blocks (see `task_source`)."""
    for block in dataset.ragged_batch(_EXAMPLES_PER_BLOCK):
        yield from _rows(block)


def _rows(columns: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    found = []
    for column in columns.values():
        if isinstance(column, Mapping):
            found.append(_rows(column))
        else:
            is_ragged = isinstance(column, tf.RaggedTensor)
            found.append(map(_text, column.to_list() if is_ragged else column.numpy().tolist()))
    return (dict(zip(columns, row)) for row in zip(*found))


def _text(value: Any) -> Any:
    """Text instead of UTF-8, in lists, too."""
    if isinstance(value, list):
        return [_text(item) for item in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
