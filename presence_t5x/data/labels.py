"""The labels of a classification task, as the tokens of what its targets may be.

A task writes labels as text, which encoder-decoders generate. What that text may be follows from
the task's family (`finetuning.classification`), or is set for stores, which hold no tasks.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from presence_t5x.config_types import DataConfig


def label_names(data_config: DataConfig) -> tuple[str, ...]:
    """Returns the names of the labels in the order of their numbers: what a label is as an answer.

    Args:
      data_config: `label_names`, or the task or mixture whose own they are.

    Raises:
      ValueError: nothing tells the names, or the tasks of a mixture have different ones.
    """
    return tuple(data_config.label_names or _names_of_tasks(data_config))


def with_label_names(data_config: DataConfig, names: Sequence[str] | None) -> DataConfig:
    """Returns the data, with these names of labels if it is of tasks that do not tell their own."""
    if not names or data_config.objective != "classification":
        return data_config
    if None not in _names_by_task(data_config).values():
        return data_config
    return dataclasses.replace(data_config, label_names=tuple(names))


def check_num_classes(task: str, names: Sequence[str], num_classes: int | None) -> None:
    """Refuses a classification task whose labels are not as many as a model's classes.

    Raises:
      ValueError: another number.
    """
    if num_classes != len(names):
        raise ValueError(
            f"{task!r} has the {len(names)} labels {list(names)}, but "
            f"the model has num_classes={num_classes}; set EncoderOnlyConfig.num_classes="
            f"{len(names)}, or take a model with as many"
        )


def label_numbers(data_config: DataConfig, vocabulary: Any) -> Mapping[tuple[int, ...], int]:
    """Returns the number of every label by the tokens of its name, without EOS.

    Args:
      data_config: as `label_names` takes it.
      vocabulary: seqio's, of the targets.

    Raises:
      ValueError: as `label_names`, or the vocabulary cannot write one of them.
    """
    names = label_names(data_config)
    check_writes_labels(names, vocabulary)
    return {tuple(map(int, vocabulary.encode(name))): i for i, name in enumerate(names)}


def check_writes_labels(names: Sequence[str], vocabulary: Any) -> None:
    """Refuses a vocabulary that gives back another text than a label, as one that folds case.

    Raises:
      ValueError: names the label.
    """
    for name in names:
        if (found := vocabulary.decode(vocabulary.encode(name))) != name:
            raise ValueError(
                f"the vocabulary of {vocabulary.vocab_size} ids gives back {found!r} for the label "
                f"{name!r}, so that no answer could be right; use another vocabulary"
            )


def _names_by_task(data_config: DataConfig) -> dict[str, tuple[str, ...] | None]:
    """Returns the labels that tasks tell themselves, None of those that tell none."""
    # These import TensorFlow.
    from presence_t5x.data.finetuning.classification import label_names_of
    from presence_t5x.data.finetuning.families import FAMILIES, local_family
    from presence_t5x.data.providers import PREPARED, find_provider, tasks_of

    name = data_config.mixture_or_task_name
    if name == PREPARED:
        raise ValueError(
            "objective='classification' needs label_names for mixture_or_task_name='prepared': a "
            "store does not hold them; give them in the order of their numbers"
        )
    if (family := local_family(name)) is not None:  # its files may be on another machine
        return {name: tuple(FAMILIES[family].label_names) or None}
    return {task.name: label_names_of(task) for task in tasks_of(find_provider(data_config))}


def _names_of_tasks(data_config: DataConfig) -> tuple[str, ...]:
    found = _names_by_task(data_config)
    without = [task for task, names in found.items() if names is None]
    if without:
        raise ValueError(
            f"objective='classification': task {without[0]!r} does not tell its labels; set "
            "label_names, or choose a task with labels"
        )
    kinds = {names: task for task, names in found.items() if names is not None}
    if len(kinds) > 1:
        (one, first), (two, second) = list(kinds.items())[:2]
        raise ValueError(
            f"objective='classification': {data_config.mixture_or_task_name!r} has tasks with "
            f"different labels, {first!r} {list(one)} and {second!r} {list(two)}; train one of them"
        )
    return next(iter(kinds))
