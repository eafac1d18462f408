"""The examples of a seqio task as text: its source through the preprocessors before `tokenize`."""

# seqio and TensorFlow declare no usable types here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

from collections.abc import Callable, Iterator
from typing import Any

from presence_t5x.data.documents import Problem, Report
from presence_t5x.data.finetuning.examples import ExamplesSource
from presence_t5x.data.quiet_tensorflow import seqio, tf


def read_task_text(
    task: seqio.Task,
    split: str,
    report: Report,
    fetch: Callable[[tf.data.Dataset], Iterator[Any]],
    *,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[dict[str, Any]]:
    """Yields examples of a split in order, unshuffled.

    Args:
      task: has `tokenize` among its preprocessors.
      split: of the task.
      report: told of broken lines of files; of other sources whatever is wrong is an error.
      fetch: a dataset to its examples as numpy.
      shard: number of the shard, and how many there are.

    Raises:
      ValueError: no `tokenize`, an error of the report, or the data cannot be read.
    """
    errors = _Errors(report)
    try:
        yield from fetch(_dataset(task, split, errors, *shard))
    except tf.errors.OpError as error:
        if errors.error is not None:
            raise errors.error from error
        reason = " ".join(str(error.message).split())[:300]
        raise ValueError(f"task {task.name!r} cannot be read: {reason}") from error


class _Errors:
    """A report that remembers the error it raised: TensorFlow would wrap it in its own."""

    def __init__(self, report: Report):
        self._report = report
        self.error: ValueError | None = None

    def __call__(self, problem: Problem) -> None:
        try:
            self._report(problem)
        except ValueError as error:
            self.error = error
            raise


def _dataset(
    task: seqio.Task, split: str, report: Report, shard: int, num_shards: int
) -> tf.data.Dataset:
    steps = [getattr(step, "func", step) for step in task.preprocessors]
    if seqio.preprocessors.tokenize not in steps:
        raise ValueError(
            f"task {task.name!r} has no seqio.preprocessors.tokenize, so its text cannot be "
            "prepared; use reader='streaming'"
        )
    if isinstance(task.source, ExamplesSource):
        dataset = task.source.read_parts(task.source.parts(split)[shard::num_shards], report)
    else:
        shard_info = seqio.ShardInfo(shard, num_shards) if num_shards > 1 else None
        dataset = task.source.get_dataset(split, shuffle=False, shard_info=shard_info)
    for step in task.preprocessors[: steps.index(seqio.preprocessors.tokenize)]:
        dataset = seqio.utils.add_kwargs_to_transform(
            step, output_features=task.output_features, sequence_length=None
        )(dataset)
    return dataset
