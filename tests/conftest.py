"""Eight virtual CPU devices for every test, fast compilation, and quiet third-party start-up."""

import os
import sys
import tempfile
from pathlib import Path

# Tests compile for longer than they compute: LLVM's optimisations (XLA's own stay as they are) took
# a third of their time.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true",
)
# What one test or worker has compiled, the next one reads: a quarter less of a run's tests. The
# folder is of this session alone, unless the environment names one.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="presence_t5x_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name  # workers of xdist inherit it
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
for folder in ("", "reporting", "reproduction", "t5x_plugin"):  # helpers that tests share
    sys.path.insert(0, str(Path(__file__).parent / folder))
