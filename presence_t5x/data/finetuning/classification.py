"""Which tasks label their inputs, and with what: what a classification head needs to know.

The class of an example is the place of its target among the label names, so that a class is
answered by its name and judged by the task's own metrics (`evaluation_sets`). What it means for
STS-B, COPA, MultiRC, WSC and ReCoRD is said in `benchmarks`.
"""

from presence_t5x.data.finetuning.families import FAMILIES
from presence_t5x.data.quiet_tensorflow import seqio


def label_names_of(task: seqio.Task) -> tuple[str, ...] | None:
    """Returns what the targets of a task may be, in the order of class numbers.

    None if they are free text, or if the task is of no family of `FAMILIES`.
    """
    for family in FAMILIES.values():
        own = (family.to_text, family.to_training_text)
        if any(step in own for step in task.preprocessors):
            return tuple(family.label_names) or None
    return None
