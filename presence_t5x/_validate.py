"""Small checks with one voice: every message names the field, its value, the bound and the remedy.

Only argument checks live here; what a combination of settings means is decided in `config`.
"""

import difflib
import math
import numbers
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

LARGEST_INT32, LARGEST_INT64 = 2**31 - 1, 2**63 - 1


def check_int(name: str, value: Any, *, minimum: int, maximum: int = LARGEST_INT32) -> None:
    """Raises ValueError unless `value` is an int (not a bool or a float) within the bounds."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(
            f"{name}={value!r} must be an integer >= {minimum}, not {type(value).__name__}"
        )
    if value < minimum:
        raise ValueError(f"{name}={value} must be >= {minimum}")
    if int(value) > maximum:
        raise ValueError(f"{name}={value} must be <= {maximum}")


def check_float(
    name: str,
    value: Any,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    exclusive_minimum: bool = False,
) -> None:
    """Raises ValueError unless `value` is a finite real number within the bounds."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(f"{name}={value!r} must be a number, not {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"{name}={value} must be finite")
    number = float(value)
    below = number <= minimum if exclusive_minimum else number < minimum
    if below or number > maximum:
        lower = "(" if exclusive_minimum else "["
        raise ValueError(f"{name}={value} must lie in {lower}{minimum}, {maximum}]")


def check_num_microbatches(value: int, num_rows: int, rows: str) -> None:
    """Raises ValueError unless `value` divides `num_rows`, told as `rows`; lists what would."""
    if num_rows % value:
        divisors = [n for n in range(1, min(num_rows, 64) + 1) if num_rows % n == 0]
        raise ValueError(f"num_microbatches={value} must divide {rows}; use one of {divisors}")


def check_process(process_index: int, process_count: int, batch_size: int) -> None:
    """Raises ValueError unless a process of so many can read its own, equal part of a batch."""
    check_int("process_count", process_count, minimum=1)
    check_int("process_index", process_index, minimum=0)
    if process_index >= process_count:
        raise ValueError(
            f"process_index={process_index} must be less than process_count={process_count}; "
            "processes are counted from 0"
        )
    if batch_size % process_count:
        raise ValueError(
            f"process_count={process_count} must divide batch_size={batch_size}; use a batch_size "
            f"that is a multiple of {process_count}"
        )


def check_bool(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}={value!r} must be True or False, not {type(value).__name__}")


def check_sequence(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is a list or a tuple."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"{name}={value!r} must be a list or tuple, not {type(value).__name__}")


def check_mapping(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is a dict."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}={value!r} must be a dict, not {type(value).__name__}")


def check_instance(name: str, value: Any, *wanted: type) -> None:
    """Raises ValueError unless `value` is an instance of one of the classes of settings."""
    if not isinstance(value, wanted):
        names = [one.__name__ for one in wanted]
        raise ValueError(
            f"{name} must be a {' or '.join(names)}, not {type(value).__name__}; in gin files "
            f"{' or '.join(f'@{one}()' for one in names)}"
        )


def check_text(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is a non-empty string."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}={value!r} must be a non-empty string")


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Raises ValueError unless `value` is one of `choices`; names the nearest one."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name}={value!r} must be one of {sorted(choices)}{did_you_mean(value, choices)}"
        )


def did_you_mean(value: Any, choices: Iterable[str], *, most: int = 3) -> str:
    """Returns '; did you mean ...?' with the nearest of `choices`, or an empty string.

    >>> did_you_mean("microbach", ["microbatch", "example"])
    "; did you mean 'microbatch'?"
    """
    near = difflib.get_close_matches(str(value), list(choices), n=most, cutoff=0.5)
    return f"; did you mean {', '.join(map(repr, near))}?" if near else ""
