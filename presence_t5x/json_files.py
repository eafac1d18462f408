"""JSON from files that someone may have edited, cut or exchanged: a value, or ValueError."""

import json
from pathlib import Path
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Returns the value of a JSON text.

    Raises:
      ValueError: it is none, is not UTF-8, holds a number of thousands of digits, or brackets
        within each other without end.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("too many brackets within each other") from error


def read_json_object(path: Path, remedy: str) -> dict[str, Any]:
    """Returns the object that a file holds.

    Args:
      path: of the file.
      remedy: what to do about another content, for the message.

    Raises:
      ValueError: it cannot be read, or holds something else.
    """
    try:
        value = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: damaged (no readable JSON: {error}); {remedy}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: damaged (no JSON object but {type(value).__name__}); {remedy}")
    return value
