"""Fields of a record (a JSON object): what is wrong is said, never repaired by guessing."""

import math
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

_OTHER_NAMES = {"contradictory": "contradiction"}  # so in a part of XTREME's XNLI


class BrokenRecordError(ValueError):
    """A record that is no example.

    Attributes:
      kind: one word for counting.
      message: what is wrong and what to do.
    """

    def __init__(self, kind: str, message: str):
        """Remembers both."""
        super().__init__(kind, message)
        self.kind, self.message = kind, message


def read_field(record: Mapping[str, Any], name: str) -> Any:
    """Returns a field that must be there."""
    if name not in record:
        raise BrokenRecordError(
            "no_field",
            f"no field {name!r} (found {sorted(record)[:20]}); add it or rename the field",
        )
    return record[name]


def read_text(record: Mapping[str, Any], name: str) -> str:
    """Returns a text that is not empty."""
    value = read_field(record, name)
    if not isinstance(value, str) or not value.strip():
        raise BrokenRecordError(
            "empty_text",
            f"{name}={reprlib.repr(value)} must be a non-empty string; repair or remove the line",
        )
    return value


def read_texts(record: Mapping[str, Any], name: str) -> list[str]:
    """Returns at least one text, none of them empty."""
    value = read_field(record, name)
    is_list = isinstance(value, list) and bool(value)
    if not is_list or not all(isinstance(text, str) and text.strip() for text in value):
        raise BrokenRecordError(
            "empty_text",
            f"{name}={reprlib.repr(value)} must be a list of non-empty strings; repair or remove "
            "the line",
        )
    return value


def read_count(record: Mapping[str, Any], name: str) -> int:
    """Returns a whole number from 0."""
    value = read_field(record, name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise BrokenRecordError(
            "number",
            f"{name}={reprlib.repr(value)} must be a whole number from 0; repair or remove the "
            "line",
        )
    return value


def read_real(record: Mapping[str, Any], name: str, minimum: float, maximum: float) -> float:
    """Returns a number within bounds, which may be given as text."""
    value = read_field(record, name)
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not minimum <= found <= maximum:
        raise BrokenRecordError(
            "number",
            f"{name}={reprlib.repr(value)} must be a number from {minimum:g} to {maximum:g}",
        )
    return found


def read_mapping(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Returns an object within a record."""
    value = read_field(record, name)
    if not isinstance(value, Mapping):
        raise BrokenRecordError(
            "json", f"{name}={reprlib.repr(value)} must be an object; repair or remove the line"
        )
    return value


def read_mappings(record: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Returns at least one object of a list within a record."""
    value = read_field(record, name)
    is_list = isinstance(value, list) and bool(value)
    if not is_list or not all(isinstance(one, Mapping) for one in value):
        raise BrokenRecordError(
            "json",
            f"{name}={reprlib.repr(value)} must be a list of objects; repair or remove the line",
        )
    return value


def read_label(record: Mapping[str, Any], names: Sequence[str]) -> int:
    """Returns the number of a label, given as it, as text of it, or by name.

    Labels named False and True may be JSON's own.
    """
    value = read_field(record, "label")
    known = {name.lower(): number for number, name in enumerate(names)}
    known |= {other: known[name] for other, name in _OTHER_NAMES.items() if name in known}
    if isinstance(value, bool):
        found = known.get(str(value).lower(), -1)
    elif isinstance(value, str):
        key = value.strip().lower()
        found = known.get(key, int(key) if key.isascii() and key.isdigit() else -1)
    else:
        found = value if isinstance(value, int) else -1
    if not 0 <= found < len(names):
        raise BrokenRecordError(
            "unknown_label",
            f"label={reprlib.repr(value)} must be one of {list(names)} or 0 to {len(names) - 1}",
        )
    return found
