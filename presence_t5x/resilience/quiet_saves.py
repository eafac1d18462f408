"""Keeps to one line what libraries tell of a failed save: the error that they raise."""

import logging
import sys
from typing import Any


def quieten() -> None:
    """Silences what Orbax, asyncio and TensorStore print beside the error that is raised.

    Orbax logs an error with its traceback before it raises it, and asyncio those of its tasks
    after. TensorStore's other writes then find their event loop closed, and print a traceback each
    through `sys.unraisablehook`, which sees everything else as before.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook
