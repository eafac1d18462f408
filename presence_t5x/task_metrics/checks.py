"""What every metric asks of its arguments."""

from collections.abc import Sequence
from typing import Any


def check_lengths(targets: Sequence[Any], predictions: Sequence[Any]) -> None:
    """Raises ValueError unless there are as many predictions as targets, and some."""
    if len(targets) != len(predictions):
        raise ValueError(
            f"{len(targets)} targets but {len(predictions)} predictions; give one prediction for "
            "every target, in the same order"
        )
    if not len(targets):
        raise ValueError("no examples: a mean over nothing is no score; give at least one")
