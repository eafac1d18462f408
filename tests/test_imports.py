"""The core can be imported without seqio, TensorFlow, T5X or gin; the check itself can fail."""

import subprocess
import sys

import pytest

HEAVY = ("seqio", "tensorflow", "t5x", "gin", "orbax", "flax", "rich", "clu")
CORE_MODULES = (
    "accumulation",
    "config_types",
    "cross_entropy",
    "example_units",
    "ghost_norms",
    "gradients",
    "influence",
    "layouts",
    "losses",
    "metrics",
    "partitioning",
    "reduction",
    "scored_layers",
    "train_step",
    "units",
    "weighting",
)
CORE = "\n".join(["import presence_t5x", *(f"import presence_t5x.{name}" for name in CORE_MODULES)])


def imported_heavy_modules(code):
    program = f"{code}\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def test_the_core_is_light():
    assert imported_heavy_modules(CORE) == "[]"


@pytest.mark.parametrize("module", ["gin", "rich"])
def test_the_check_would_notice(module):
    assert imported_heavy_modules(f"{CORE}\nimport {module}") == f"['{module}']"
