"""The three formats, and a checkpoint of any of them opened."""

import re
from pathlib import Path
from typing import Literal

from presence_t5x.convert.content import Content
from presence_t5x.convert.huggingface_files import is_huggingface, read_huggingface
from presence_t5x.convert.presence_files import read_presence
from presence_t5x.convert.t5x_files import find_t5x, read_t5x

Format = Literal["t5x", "hf", "presence"]
FORMATS = ("t5x", "hf", "presence")


def guess_format(source: Path) -> Format:
    """Returns the format of a checkpoint.

    Raises:
      ValueError: it is none of them, or is not there.
    """
    if not source.exists():
        raise ValueError(_absent(source))
    if is_huggingface(source):
        return "hf"
    return "t5x" if find_t5x(source) else "presence"


def open_checkpoint(
    source: Path, source_format: Format | None = None, *, parameters_only: bool = False
) -> Content:
    """Returns what a checkpoint holds, its arrays unread.

    Args:
      source: a checkpoint, or a MODEL_DIR whose newest is taken.
      source_format: None looks.
      parameters_only: leave the optimizer's state alone.

    Raises:
      ValueError: absent, damaged, or not of that format; names file and parameter.
    """
    if not source.exists():
        raise ValueError(_absent(source))
    source_format = source_format or guess_format(source)
    if source_format == "hf":
        return read_huggingface(source)
    if source_format == "presence":
        return read_presence(source, parameters_only=parameters_only)
    directory = find_t5x(source)
    if directory is None:
        raise ValueError(
            f"{source} holds no checkpoint of T5X: neither checkpoint_STEP/checkpoint nor "
            "checkpoint_STEP/state/_METADATA is there"
        )
    return read_t5x(directory, parameters_only=parameters_only)


def _absent(source: Path) -> str:
    bucket = re.fullmatch(r"(gs|s3):/+(.+)", str(source))  # a Path has one slash of two
    if bucket is None:
        return f"{source} does not exist"
    url = f"{bucket[1]}://{bucket[2]}"
    return f"{url} is not a local path; copy it first, e.g. gcloud storage cp -r {url} ."
