"""Eight virtual CPU devices for every test, and quiet third-party start-up."""

import os
import sys
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
for folder in ("", "reporting", "reproduction", "t5x_plugin"):  # helpers that tests share
    sys.path.insert(0, str(Path(__file__).parent / folder))
