"""How the tasks on TFDS are registered: a family's text and metrics over a data set."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from presence_t5x.data.finetuning.families import FAMILIES
from presence_t5x.data.finetuning.family import MetricFns
from presence_t5x.data.preprocessors import add_labels
from presence_t5x.data.quiet_tensorflow import seqio
from presence_t5x.data.text_tasks import add_pair_task
from presence_t5x.data.vocabularies import specification_of


class TaskAdder(NamedTuple):
    """Registers tasks with one vocabulary."""

    vocabulary: seqio.Vocabulary

    def task(
        self,
        name: str,
        family: str,
        source: seqio.DataSource,
        *before: Callable[..., Any],
        language: str = "",
        metric_fns: MetricFns | None = None,
        is_training: bool = False,
    ) -> str:
        """Registers a task and returns its name; steps `before` come before the text's format.

        Args:
          name: of the task.
          family: one of `FAMILIES`.
          source: of raw examples.
          *before: preprocessors.
          language: of examples that are not labelled with one.
          metric_fns: other than the family's.
          is_training: the family's text for training, where that is another.
        """
        found = FAMILIES[family]
        to_text = found.to_training_text if is_training else None
        label = functools.partial(add_labels, language=language, source=name.split(".")[0])
        add_pair_task(
            name,
            source,
            self.vocabulary,
            to_text=[*before, to_text or found.to_text, label],
            metric_fns=found.metric_fns(language) if metric_fns is None else metric_fns,
            postprocess_fn=found.postprocess_fn,
        )
        return name

    def is_in_use(self, name: str) -> bool:
        """Returns whether a task is registered with this vocabulary."""
        if name not in seqio.TaskRegistry.names():
            return False
        known = seqio.TaskRegistry.get(name).output_features["targets"].vocabulary
        return specification_of(known) == specification_of(self.vocabulary)


def tfds_source(name: str, splits: Any) -> seqio.TfdsDataSource:
    """Returns a prepared TFDS data set; seqio would look for it in a bucket, and build it."""
    return seqio.TfdsDataSource(name, splits=splits, read_only=True)
