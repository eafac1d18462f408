"""A run's clocks: how long its steps take, and when to save by time."""

import time

import jax

from presence_t5x.config_types import RunConfig
from presence_t5x.resilience import hosts


class StepTimer:
    """Seconds per step since the last lap; the device has finished when a lap is taken."""

    def __init__(self, step: int):
        self._step, self._start = step, time.perf_counter()

    def lap(self, step: int, num_tokens: float) -> dict[str, float]:
        """Returns the time a step took since the last lap, and target tokens per second."""
        now = time.perf_counter()
        seconds = (now - self._start) / max(step - self._step, 1)
        self._step, self._start = step, now
        return {"seconds_per_step": seconds, "tokens_per_second": num_tokens / seconds}


class SaveClock:
    """Tells when `checkpoint_seconds` have passed since the last checkpoint."""

    def __init__(self, config: RunConfig):
        self._seconds = config.checkpoint_seconds
        self.start()

    def start(self) -> None:
        """Begins to count anew."""
        self._start = time.perf_counter()

    def is_due(self, logs: bool) -> bool:
        """Tells whether to save, by the first host's clock; of several hosts only where one logs,
        for they have to wait for each other."""
        if self._seconds is None or (jax.process_count() > 1 and not logs):
            return False
        return hosts.first_host_decides(time.perf_counter() - self._start >= self._seconds)
