"""Arguments of a plan's commands."""

from collections.abc import Mapping
from typing import Any


def gin_argument(name: str, value: Any) -> str:
    """Returns the binding of a macro.

    >>> gin_argument("MODEL_DIR", "runs/a"), gin_argument("TRAIN_STEPS", 5)
    ("--gin.MODEL_DIR='runs/a'", '--gin.TRAIN_STEPS=5')
    """
    return f"--gin.{name}={value!r}"


def data_arguments(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what an evaluation is told that its checkpoint's run does not tell.

    Args:
      data: settings of the run that reads the task: lengths and files.
    """
    lengths, files = data["task_feature_lengths"], data["local_task_files"]
    named = files.items() if isinstance(files, Mapping) else ()
    return (
        f"--input_length={lengths['inputs']}",
        *([f"--max_decode_length={lengths['targets']}"] if "targets" in lengths else ()),
        *(f"--task_files={split}={pattern}" for split, pattern in named),
        *([f"--task_files={files}"] if isinstance(files, str) else ()),
    )
