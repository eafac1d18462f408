"""seqio tasks and mixtures as a source of documents for a store.

seqio tasks are the single definition of data: what is prepared is the source and the text
preprocessors of the registered task (everything before `tokenize`), unshuffled.
"""

# seqio and TensorFlow declare no usable types here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

import dataclasses
import importlib
from collections.abc import Iterator
from typing import Any

from presence_t5x.config_types import DataConfig
from presence_t5x.data.documents import Document, LocatedDocument, Part, Report
from presence_t5x.data.quiet_tensorflow import seqio, tf

_DOCUMENT_FEATURES = ("targets", "id", "language", "source", "noise")
_EXAMPLES_PER_BLOCK = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskPart(Part):
    """One shard of one split of a task."""

    shard: int
    num_shards: int


@dataclasses.dataclass(frozen=True)
class TaskSource:
    """The documents of a task, or of every task of a mixture; a part is a shard of a split.

    Attributes:
      data_config: names the task or mixture, and what its registration needs.
      splits: of the tasks, in the order of the store; a task may lack some.
      modules: imported first, because they register tasks.
    """

    data_config: DataConfig
    splits: tuple[str, ...]
    modules: tuple[str, ...] = ()

    def tasks(self) -> list[seqio.Task]:
        """Returns the tasks that have one of the splits.

        Raises:
          ValueError: none has.
        """
        tasks = [task for task in tasks_of(self._provider()) if {*task.splits} & {*self.splits}]
        if not tasks:
            provider = self._provider()
            raise ValueError(
                f"{provider.name!r} has none of the splits {list(self.splits)}; it has "
                f"{sorted(provider.splits)}"
            )
        return tasks

    def _provider(self):
        from presence_t5x.data.sources import find_provider

        for module in self.modules:
            importlib.import_module(module)
        return find_provider(self.data_config)

    def parts(self) -> list[Part]:
        """Returns the shards of all tasks and splits, in order."""
        return [
            part
            for task in self.tasks()
            for split in self.splits
            if split in task.splits
            for part in _parts_of(task, split)
        ]

    def read(self, part: Part, report: Report) -> Iterator[LocatedDocument]:
        """Yields a shard's documents; whatever is wrong with a task is an error, not a problem."""
        del report
        assert isinstance(part, TaskPart) and part.split is not None
        task = next(task for task in self.tasks() if task.name == part.task)
        examples = _examples(_text_dataset(task, part.split, part.shard, part.num_shards))
        for number, example in enumerate(examples):
            labels = {
                name: example[name].decode("utf-8", "replace")
                for name in ("language", "source", "noise")
                if name in example
            }
            identity = example.get("id", b"").decode("utf-8", "replace")
            text = example["targets"].decode("utf-8", "replace")
            document = Document(text, identity or f"{part.name}:{number}", **labels)
            yield LocatedDocument(document, number)

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


def tasks_of(provider: seqio.Task | seqio.Mixture) -> list[seqio.Task]:
    """Returns the tasks of a mixture, or the task itself."""
    return list(provider.tasks) if isinstance(provider, seqio.Mixture) else [provider]


def _content(task: seqio.Task) -> Any:
    """What a task's documents depend on besides its name."""
    if isinstance(task.source, seqio.TfdsDataSource):
        return str(task.source.tfds_dataset.get_split_params("train")[0])
    return getattr(task.source, "content", None)


def _parts_of(task: seqio.Task, split: str) -> list[TaskPart]:
    """The shards of a split; a source that is no set of files is one."""
    shards = task.source.list_shards(split)
    return [
        TaskPart(
            name=f"{task.name}-{split}" + (f"[{number}]" if len(shards) > 1 else ""),
            task=task.name,
            split=split,
            num_bytes=tf.io.gfile.stat(shard).length if tf.io.gfile.exists(shard) else 0,
            shard=number,
            num_shards=len(shards),
        )
        for number, shard in enumerate(shards)
    ]


def _text_dataset(task: seqio.Task, split: str, shard: int, num_shards: int) -> Any:
    """A shard of a task's source through its preprocessors up to `tokenize`."""
    functions = [getattr(step, "func", step) for step in task.preprocessors]
    if seqio.preprocessors.tokenize not in functions:
        raise ValueError(
            f"task {task.name!r} has no seqio.preprocessors.tokenize, so its text cannot be "
            "prepared; use reader='streaming'"
        )
    shard_info = seqio.ShardInfo(shard, num_shards) if num_shards > 1 else None
    dataset = task.source.get_dataset(split=split, shuffle=False, shard_info=shard_info)
    for step in task.preprocessors[: functions.index(seqio.preprocessors.tokenize)]:
        dataset = seqio.utils.add_kwargs_to_transform(
            step, output_features=task.output_features, sequence_length=None
        )(dataset)
    return dataset


def _examples(dataset: Any) -> Iterator[dict[str, Any]]:
    """Yields a dataset's string examples, fetched in blocks (one at a time costs a millisecond)."""
    names = [name for name in _DOCUMENT_FEATURES if name in dataset.element_spec]
    kept = dataset.map(lambda example: {name: example[name] for name in names})
    for block in kept.batch(_EXAMPLES_PER_BLOCK).as_numpy_iterator():
        for values in zip(*(block[name] for name in names)):
            yield dict(zip(names, values))
