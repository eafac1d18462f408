"""Updates that are skipped one after the other: the numbers have gone bad, and the run stops.

A step with no live unit or a gradient that is not finite changes nothing but the step count
(`train_step`); a few are survived, many in a row never end by themselves.
"""

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:  # it imports TensorFlow
    from presence_t5x.data.row_features import Batch

_SO_FAR = "train/num_skipped_updates"
_STEPS_BEHIND = 2  # so that the host does not wait for the device while all is well


class Skipped(NamedTuple):
    """The last of a row of skipped updates. `step`: updates done, it included."""

    step: int
    num_in_a_row: int
    batch: "Batch"


class SkipWatch:
    """Tells when `limit` updates in a row were skipped; None never tells."""

    def __init__(self, limit: int | None, num_skipped_so_far: int):
        self._limit, self._so_far, self._in_a_row = limit, num_skipped_so_far, 0
        self._waiting: deque[tuple[int, Batch, Any]] = deque()

    def add(self, step: int, batch: "Batch", metrics: dict[str, Any]) -> Skipped | None:
        """Takes a step; returns what is wrong once it is the last of `limit` skipped ones.

        While updates are skipped every step is waited for: at the limit nothing has run beyond it.
        """
        if self._limit is None:
            return None
        self._waiting.append((step, batch, metrics[_SO_FAR]))
        behind = min(_STEPS_BEHIND, self._limit - 1)
        while self._waiting and (len(self._waiting) > behind or self._in_a_row):
            step, batch, value = self._waiting.popleft()
            so_far = int(np.asarray(value))
            self._in_a_row = self._in_a_row + 1 if so_far > self._so_far else 0
            self._so_far = so_far
            if self._in_a_row >= self._limit:
                return Skipped(step, self._in_a_row, batch)
        return None
