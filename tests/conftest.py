"""Eight virtual CPU devices for every test, fast compilation, and quiet third-party start-up."""

import os
import sys
from pathlib import Path

import pytest

# Tests compile for longer than they compute: LLVM's optimisations (XLA's own stay as they are) took
# a third of their time.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true",
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import jax

for folder in ("", "reporting", "reproduction", "t5x_plugin"):  # helpers that tests share
    sys.path.insert(0, str(Path(__file__).parent / folder))

MOST_MAPPINGS = 30_000  # of memory; Linux grants a process 65,530, a program takes up to 2,000


@pytest.fixture(autouse=True)
def few_compiled_programs():
    """Lets earlier tests' programs go before mappings run out, which is a segmentation fault."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > MOST_MAPPINGS:
        jax.clear_caches()
