"""seqio tasks and mixtures as a source of documents for a store.

seqio tasks are the single definition of data: what is prepared is the source and the text
preprocessors of the registered task (everything before `tokenize`), unshuffled. A task that gives
inputs and targets as they are becomes pairs; their ids begin with the task's name, because the
languages of a parallel set share theirs.
"""

# seqio and TensorFlow declare no usable types here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

import dataclasses
import functools
import importlib
import os
import re
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from presence_t5x.config_types import DataConfig
from presence_t5x.data.documents import Document, LocatedDocument, Part, Report
from presence_t5x.data.finetuning.examples import ExamplesSource
from presence_t5x.data.finetuning.families import local_family
from presence_t5x.data.finetuning.formats import LINE
from presence_t5x.data.preprocessors import add_labels, text_to_targets
from presence_t5x.data.providers import find_provider, is_provider, tasks_of
from presence_t5x.data.quiet_tensorflow import seqio, tf
from presence_t5x.data.task_text import read_task_text
from presence_t5x.data.text_tasks import add_text_task, gives_pairs
from presence_t5x.data.tfds_directories import check_tfds_directory
from presence_t5x.data.vocabularies import BYTES, load_vocabulary

TFDS = "tfds:"
_DOCUMENT_FEATURES = ("targets", "inputs", "id", "language", "source", "noise", LINE)
_EXAMPLES_PER_BLOCK = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskPart(Part):
    """One shard of one split of a task."""

    task_split: str
    shard: int
    num_shards: int


@dataclasses.dataclass(frozen=True)
class TaskSource:
    """The documents of a task, or of every task of a mixture; a part is a shard of a split.

    Attributes:
      data_config: names the task or mixture ("tfds:NAME" for a TFDS data set that no task reads),
        and what its registration needs.
      splits: of the tasks, in the order of the store; a task may lack some.
      modules: imported where documents are read, because they register tasks.
      text_field: of a "tfds:" input.
    """

    data_config: DataConfig
    splits: tuple[str, ...]
    modules: tuple[str, ...] = ()
    text_field: str = "text"

    def tasks(self) -> list[seqio.Task]:
        """Returns the tasks that have one of the splits.

        Raises:
          ValueError: none has, or TFDS data are not there.
        """
        provider = self._provider()
        tasks = [task for task in tasks_of(provider) if {*task.splits} & {*self.splits}]
        if not tasks:
            raise ValueError(
                f"{provider.name!r} has none of the splits {list(self.splits)}; it has "
                f"{sorted(provider.splits)}"
            )
        for task in tasks:
            check_tfds_directory(task)
        return tasks

    def vocabulary(self) -> seqio.Vocabulary | None:
        """Returns the task's own vocabulary; a TFDS data set has none."""
        if self._is_tfds:
            return None
        return self._provider().output_features["targets"].vocabulary

    @property
    def _is_tfds(self) -> bool:
        return self.data_config.mixture_or_task_name.startswith(TFDS)

    def _provider(self) -> seqio.Task | seqio.Mixture:
        for module in self.modules:
            importlib.import_module(module)
        if self._is_tfds:
            return _register_tfds(self.data_config.mixture_or_task_name, self.text_field)
        return find_provider(self.data_config)

    def parts(self) -> list[Part]:
        """Returns the shards of all tasks and splits, in order."""
        return [
            part
            for task in self.tasks()
            for split in self.splits
            if split in task.splits
            for part in _parts_of(task, split, by_hash=self._is_tfds)
        ]

    def read(self, part: Part, report: Report) -> Iterator[LocatedDocument]:
        """Yields a shard's documents.

        Whatever is wrong with a task is an error; only of examples in files broken lines are
        reported.
        """
        assert isinstance(part, TaskPart)
        task = next(task for task in tasks_of(self._provider()) if task.name == part.task)
        are_pairs = gives_pairs(task)
        shard = (part.shard, part.num_shards)
        examples = read_task_text(task, part.task_split, report, _examples, shard=shard)
        for number, example in enumerate(examples):
            line = int(example.pop(LINE, number))
            texts = {name: value.decode("utf-8", "replace") for name, value in example.items()}
            identity = texts.pop("id", "") or f"{part.name}:{number}"
            text, inputs = texts.pop("targets"), texts.pop("inputs", "")
            if are_pairs and not inputs:
                raise ValueError(
                    f"task {task.name!r}: example {identity!r} has no inputs, so it is no pair; "
                    "give it some, or use reader='streaming'"
                )
            document = Document(text, identity, **texts)
            if are_pairs:
                document = document._replace(inputs=inputs, id=f"{task.name}/{identity}")
            yield LocatedDocument(document, line)

    def task_rates(self) -> dict[str, float]:
        """Returns the rates of the mixture; 1 for a single task."""
        provider = self._provider()
        is_mixture = isinstance(provider, seqio.Mixture)
        return {task.name: provider.get_rate(task) if is_mixture else 1.0 for task in self.tasks()}

    def parameters(self) -> dict[str, Any]:
        """Returns the tasks, their splits, and what they say of their content."""
        tasks = self.tasks()
        parameters: dict[str, Any] = {
            "mixture_or_task_name": self.data_config.mixture_or_task_name,
            "tasks": [task.name for task in tasks],
            "splits": list(self.splits),
        }
        contents = [_content(task) for task in tasks]
        return parameters | ({"contents": contents} if any(contents) else {})


def is_task(name: str) -> bool:
    """Returns whether an input is a task or a mixture or a "tfds:" data set, and no file."""
    if name.startswith(TFDS) or local_family(name) is not None:
        return True
    if "/" in name or "*" in name or os.path.exists(name):
        return False
    return is_provider(name)


def _register_tfds(name: str, text_field: str) -> seqio.Task:
    """Registers a task over a TFDS data set, in place of an earlier one."""
    try:
        builder = tfds.builder(name.removeprefix(TFDS))
    except Exception as error:  # TFDS has a dozen of them, and one for "did you mean"
        raise ValueError(
            f"{name!r}: TensorFlow Datasets cannot find it ({' '.join(str(error).split())}); is "
            "TFDS_DATA_DIR where it was prepared?"
        ) from error
    config = f"/{builder.builder_config.name}" if builder.builder_config else ""
    version = f"{builder.name}{config}:{builder.version}"
    if not builder.info.splits:
        raise ValueError(
            f"{name!r} is not prepared in {builder.data_path.parent}; run tfds build "
            f"{version}, or set TFDS_DATA_DIR to where it is"
        )
    features: Any = builder.info.features
    if text_field not in features:
        raise ValueError(
            f"{name!r} has no feature {text_field!r}; it has {sorted(features)}: set --text_field"
        )
    return add_text_task(
        re.sub(r"[^\w.:]", ".", name),
        seqio.TfdsDataSource(version, splits=list(builder.info.splits)),
        load_vocabulary(BYTES),  # only text is read
        to_text=[
            functools.partial(_rename_text, text_field=text_field),
            text_to_targets,
            functools.partial(add_labels, source=builder.name),
        ],
        concatenate=False,
    )


def _rename_text(dataset: tf.data.Dataset, text_field: str) -> tf.data.Dataset:
    def rename(example):
        labels = {name: example[name] for name in ("id", "language") if _is_text(example, name)}
        return {"text": example[text_field], **labels}

    return dataset.map(rename, num_parallel_calls=tf.data.AUTOTUNE)


def _is_text(example, name: str) -> bool:
    return name in example and example[name].dtype == tf.string and not example[name].shape.rank


def _content(task: seqio.Task) -> Any:
    """What a task's documents depend on besides its name."""
    if isinstance(task.source, seqio.TfdsDataSource):
        return str(task.source.tfds_dataset.get_split_params("train")[0])
    return getattr(task.source, "content", None)


def _parts_of(task: seqio.Task, split: str, by_hash: bool) -> list[TaskPart]:
    """The shards of a split; a source that is no set of files is one.

    `by_hash` holds documents out of "train" where the task has nothing else to hold out.
    """
    source = task.source
    shards = source.list_shards(split)
    parts = source.parts(split) if isinstance(source, ExamplesSource) else [None] * len(shards)
    return [
        TaskPart(
            name=f"{task.name}-{split}" + (f"[{number}]" if len(shards) > 1 else ""),
            task=task.name,
            file=own.file if own else "",
            split=None if by_hash and "validation" not in task.splits else split,
            task_split=split,
            num_bytes=own.num_bytes if own else _file_size(shard),
            shard=number,
            num_shards=len(shards),
        )
        for number, (shard, own) in enumerate(zip(shards, parts))
    ]


def _file_size(path: str) -> int:
    return tf.io.gfile.stat(path).length if tf.io.gfile.exists(path) else 0


def _examples(dataset: Any) -> Iterator[dict[str, Any]]:
    """Yields a dataset's text and labels, fetched in blocks (one at a time costs a millisecond)."""
    names = [name for name in _DOCUMENT_FEATURES if name in dataset.element_spec]
    kept = dataset.map(lambda example: {name: example[name] for name in names})
    for block in kept.batch(_EXAMPLES_PER_BLOCK).as_numpy_iterator():
        for values in zip(*(block[name] for name in names)):
            yield dict(zip(names, values))
