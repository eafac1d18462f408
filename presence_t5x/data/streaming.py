"""The other way in: a seqio task or mixture read through tf.data, as T5X reads it.

seqio's converters make the features (`converters`); `pack` packs whole examples with segment ids (a
packed row has no labels: seqio drops them). A task of text is registered with span corruption, in
place of which another objective of the run is put. A process reads its own shard of the source, so
unlike with prepared data another host count gives another order; the examples themselves, masks
included, are those of every host count and of prepared data with one document a row (masks depend
on seed, row id and epoch alone).

Position: where every source is TFDS or files the tf.data iterator itself is checkpointed (its
shuffle buffers included). A source that is a Python function cannot be: there the state is the
number of batches read, and resuming reads them again without using them, which is exact because the
pipeline is seeded and deterministic, and costs time in proportion to the position.
"""

# seqio, TensorFlow and protobuf declare no usable types here.
# pyright: reportAttributeAccessIssue=false

import base64
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from presence_t5x._validate import check_process
from presence_t5x.config_types import DataConfig
from presence_t5x.data.converters import convert_rows, task_lengths
from presence_t5x.data.preprocessors import LABELS, data_seed
from presence_t5x.data.providers import tasks_of
from presence_t5x.data.quiet_tensorflow import seqio, tf
from presence_t5x.data.row_features import Batch, check_kinds
from presence_t5x.data.text_plans import TEXT_OBJECTIVES
from presence_t5x.data.text_tasks import gives_pairs, with_objective


class StreamingBatches:
    """Batches of a seqio task or mixture, in order; the state resumes it identically."""

    def __init__(
        self,
        data_config: DataConfig,
        split: str = "train",
        *,
        process_index: int = 0,
        process_count: int = 1,
        num_rows: int | None = None,
    ):
        """Builds the pipeline; reads nothing yet.

        Args:
          data_config: names a registered task or mixture; batch size over all processes.
          split: of the task.
          process_index: which shard of the source this process reads.
          process_count: how many there are; must divide the batch size.
          num_rows: at most so many, of one pass through the source; the last batch is filled up
            with rows of padding. None is endless.

        Raises:
          ValueError: unknown task or split, rows that are none of the objective's, or
            `process_count` does not divide the batch size.
        """
        check_process(process_index, process_count, data_config.batch_size)
        self._config, self._num_rows = data_config, num_rows
        self._local_size = data_config.batch_size // process_count
        self._provider = _with_objective(data_config)
        if split not in self._provider.splits:
            raise ValueError(
                f"{data_config.mixture_or_task_name!r} has no split {split!r}; it has "
                f"{sorted(self._provider.splits)}"
            )
        self._split = split
        self._shards = seqio.ShardInfo(index=process_index, num_shards=process_count)
        self._iterator, self._num_batches = self._start(), 0

    def _start(self):
        """An iterator from the first batch on, over a new dataset: one that is iterated twice
        shuffles differently the second time."""
        shard_info = self._shards if self._shards.num_shards > 1 else None
        dataset = self._rows(shard_info)
        if self._num_rows is not None:
            dataset = dataset.take(self._num_rows)
        dataset = dataset.batch(self._local_size, drop_remainder=self._num_rows is None)
        options = tf.data.Options()
        options.deterministic = True
        # The only stateful op is our own pure numpy_function; tf.data would refuse to save it.
        options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
        return iter(dataset.with_options(options))

    def _rows(self, shard_info):
        """The dataset of single rows with model features (and labels unless packed)."""
        config = self._config
        keywords: dict[str, Any] = {"passthrough_features": LABELS}
        if not isinstance(self._provider, seqio.Mixture):
            keywords = {}
        with data_seed(config.seed):
            dataset = self._provider.get_dataset(
                task_lengths(config),
                split=self._split,
                use_cached=False,
                shuffle=True,
                seed=config.seed,
                shard_info=shard_info,
                num_epochs=None if self._num_rows is None else 1,
                **keywords,
            )
        vocabulary = self._provider.output_features["targets"].vocabulary
        return convert_rows(dataset, config, vocabulary)

    @property
    def checkpoints_iterator(self) -> bool:
        """True where the tf.data iterator is saved, False where resuming counts and skips."""
        sources = [task.source for task in tasks_of(self._provider)]
        return not any(isinstance(source, seqio.FunctionDataSource) for source in sources)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        found = next(self._iterator).items()
        values = {name: _fill_up(np.asarray(value), self._local_size) for name, value in found}
        self._num_batches += 1
        labels = []
        for name in LABELS:
            column = values.pop(name, np.full(self._local_size, b"", object))
            labels.append([label.decode("utf-8", "replace") for label in column.tolist()])
        for name in values:
            if name.endswith("_weights"):
                values[name] = values[name].astype(np.float32)
        return Batch(values, *labels)

    def iterate(self, start_step: int | None = None) -> Iterator[Batch]:
        """Yields the next batches; a `start_step` may only be the position it is at.

        Raises:
          ValueError: another step; `set_state` is the way there.
        """
        if start_step not in (None, self._num_batches):
            raise ValueError(
                f"start_step={start_step} but {self._num_batches} batches are read; a stream has "
                "no random access, restore its position with set_state"
            )
        return self

    def get_state(self) -> bytes:
        """Returns the position of this process, to be stored with the checkpoint."""
        state: dict[str, Any] = {
            "num_batches": self._num_batches,
            "process_count": self._shards.num_shards,
        }
        if self.checkpoints_iterator:
            with tempfile.TemporaryDirectory() as directory:
                tf.train.Checkpoint(iterator=self._iterator).write(os.path.join(directory, "state"))
                state["files"] = {
                    path.name: base64.b64encode(path.read_bytes()).decode()
                    for path in sorted(Path(directory).iterdir())
                }
        return json.dumps(state).encode()

    def set_state(self, state: bytes) -> None:
        """Continues exactly where `get_state` was called, in this process or another one.

        Raises:
          ValueError: the state is damaged, belongs to the other kind of source or to another
            number of processes.
        """
        try:
            content = json.loads(state)
            num_batches, files = int(content["num_batches"]), content.get("files")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"damaged data position: {error!r}; resume from another checkpoint"
            ) from (error)
        processes = content.get("process_count", self._shards.num_shards)
        if processes != self._shards.num_shards:
            raise ValueError(
                f"the data position is that of {processes} hosts, here are "
                f"{self._shards.num_shards}: with READER='streaming' each host reads its own part "
                "of the source; resume on as many hosts, or use READER='prepared' from the start"
            )
        if (files is not None) != self.checkpoints_iterator:
            raise ValueError(
                f"the data position was saved by another kind of source than that of "
                f"{self._config.mixture_or_task_name!r}; resume with the task it was saved with"
            )
        self._iterator = self._start()
        if files is None:
            for _ in range(num_batches):
                next(self._iterator)
        else:
            with tempfile.TemporaryDirectory() as directory:
                for name, content in files.items():
                    Path(directory, os.path.basename(name)).write_bytes(base64.b64decode(content))
                checkpoint = tf.train.Checkpoint(iterator=self._iterator)
                checkpoint.read(os.path.join(directory, "state")).assert_consumed()
        self._num_batches = num_batches


def _fill_up(values: np.ndarray, num_rows: int) -> np.ndarray:
    """Adds rows of padding: without labels, of no class (-1), or of zeros."""
    if len(values) == num_rows:
        return values
    empty = b"" if values.dtype == object else -1 if values.ndim == 1 else 0
    padding = np.full((num_rows - len(values), *values.shape[1:]), empty, values.dtype)
    return np.concatenate([values, padding])


def _with_objective(data_config: DataConfig) -> seqio.Task | seqio.Mixture:
    """The task or mixture of a run with its objective."""
    provider = seqio.get_mixture_or_task(data_config.mixture_or_task_name)
    if data_config.objective == "span_corruption":
        return provider
    are_pairs = [gives_pairs(task) for task in tasks_of(provider)]
    check_kinds(data_config, has_text=not all(are_pairs), has_pairs=any(are_pairs))
    if data_config.objective in TEXT_OBJECTIVES:
        return with_objective(provider, data_config.objective)
    return provider
