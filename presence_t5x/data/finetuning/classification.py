"""Which tasks label their inputs, and with what: what a classification head needs to know.

The class of an example is the place of its target among the label names, so that a class is
answered by its name and judged by the task's own metrics (`evaluation_sets`). What it means for
STS-B, COPA, MultiRC, WSC and ReCoRD is said in `benchmarks`.
"""

from presence_t5x.data.finetuning.families import FAMILIES
from presence_t5x.data.quiet_tensorflow import seqio


def label_names(task: seqio.Task) -> tuple[str, ...]:
    """Returns what the targets of a task of ours may be, in the order of class numbers.

    Args:
      task: registered by `presence_t5x.tasks`; of a mixture each member is asked.

    Raises:
      ValueError: its answers are free text, or it is not of a family of `FAMILIES`.
    """
    for family in FAMILIES.values():
        own = (family.to_text, family.to_training_text)
        if any(step in own for step in task.preprocessors):
            if not family.label_names:
                raise ValueError(
                    f"task {task.name!r} is answered in words and has no labels, so no "
                    "classification head can be trained on it; use a model that writes"
                )
            return tuple(family.label_names)
    raise ValueError(
        f"task {task.name!r} is none of this package's labelled tasks, so nothing tells its "
        "labels; name one of presence_t5x.tasks"
    )
