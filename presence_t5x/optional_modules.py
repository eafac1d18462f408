"""Libraries that are used where they are installed, and never needed."""

import importlib
import warnings
from collections.abc import Sequence


def install_extra(extra: str) -> str:
    """Returns the command that installs what an extra of setup.py names, in a checkout.

    >>> install_extra("tpu")
    'pip install --constraint constraints.txt -e ".[tpu]"'
    """
    return f'pip install --constraint constraints.txt -e ".[{extra}]"'


def reason_of_absence(modules: Sequence[str]) -> str | None:
    """Returns on one line why one of the modules cannot be imported; None if all can.

    >>> reason_of_absence(["math"]) is None
    True
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs, about what they import
            for module in modules:
                importlib.import_module(module)
    except Exception as error:  # a library of the wrong release fails in any way
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None
