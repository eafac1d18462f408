"""Eight virtual CPU devices for every test, fast compilation, and quiet third-party start-up."""

import os
import sys
from pathlib import Path

import pytest

# Tests compile for longer than they compute: LLVM's optimisations (XLA's own stay as they are) took
# a third of their time. Eight devices on a busy machine may wait for each other for longer than the
# 40 seconds after which XLA ends the process.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_collective_call_terminate_timeout_seconds=600",
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
for folder in ("", "reporting", "reproduction", "t5x_plugin"):  # helpers that tests share
    sys.path.insert(0, str(Path(__file__).parent / folder))

_crashed: set[str] = set()


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem, report, sched):
    """Runs a test whose process died once more; jaxlib dies once in some 10,000 tests.

    pytest-xdist's hook. The summary counts it as "rerun"; a second crash is a failure.
    """
    if crashitem not in _crashed:
        _crashed.add(crashitem)
        sched.mark_test_pending(crashitem)
        report.outcome = "rerun"
