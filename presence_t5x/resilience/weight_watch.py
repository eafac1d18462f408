"""Signs that the weighting works against the run (Thakkar et al. 2023, section 4), as warnings.

Looks at the metrics of logged steps; changes nothing. Each sign is told once it has held for most
of the last steps, and again only long after.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

_WINDOW = 20  # logged steps
_SHARE = 0.8  # of them that must show a sign
_QUIET = 200  # logged steps before a sign is told again
_FEW_UNITS = 1.5  # effective sample size of weights that sit on one unit
_NO_SPREAD = 0.999  # of the live units
_EARLY_STEPS = 1000

_NUMBERS = {
    "size": "effective_sample_size",
    "live": "num_live_units",
    "temperature": "temperature",
    "correlation": "score_loss_correlation",
}
_ADVICE = {
    "collapse": (
        "the weights sit on one unit (effective sample size {size:.2f} of {live:.0f}, temperature "
        "{temperature:+.2g}): |temperature| is too large and updates are unstable; lower TAU_1 or "
        "TAU_2, clip scores (MAX_ABS_Z), or set TARGET_EFFECTIVE_SAMPLE_SIZE"
    ),
    "no spread": (
        "all weights are equal (effective sample size {size:.2f} of {live:.0f}, temperature "
        "{temperature:+.2g}): the weighting is off; raise |TAU|, or see that units differ (more "
        "microbatches, other SCORE_LAYERS)"
    ),
    "inverse first": (
        "the temperature is negative ({temperature:+.2g}) from the start: the paper found inverse "
        "weighting alone slow to begin; start with TAU_1 > 0, or 0, and switch later (SWITCH_STEP)"
    ),
    "blind spot": (
        "inverse weighting favours units of high loss (correlation of score and loss "
        "{correlation:+.2f}): their scores are low while their loss stays high, as random tokens' "
        "become once a model has learned to expect them; look at them in influence.parquet "
        "(INFLUENCE_LOG=True), or weigh by loss (SCORE='loss')"
    ),
}


class WeightWatch:
    """Watches the weights of a run's logged steps."""

    def __init__(self):
        self._shown = {sign: deque(maxlen=_WINDOW) for sign in _ADVICE}
        self._quiet = dict.fromkeys(_ADVICE, 0)

    def resume(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Takes up what a run has logged so far, so that it warns as if it had not been stopped."""
        for row in rows:
            self.look(row["step"], row)

    def look(self, step: int, metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Returns (sign, warning) of what is to be told at a step.

        Args:
          step: updates done.
          metrics: of `train_step`, on the host; unweighted steps have nothing to watch.
        """
        if "presence/temperature" not in metrics:
            return []
        numbers = {
            short: np.nan if (value := metrics.get(f"presence/{name}")) is None else float(value)
            for short, name in _NUMBERS.items()
        }
        found = []
        for sign, holds in _signs(step, numbers).items():
            self._shown[sign].append(holds)
            self._quiet[sign] -= 1
            often = len(self._shown[sign]) == _WINDOW and np.mean(self._shown[sign]) >= _SHARE
            if holds and often and self._quiet[sign] <= 0:
                self._quiet[sign] = _QUIET
                found.append((sign, _ADVICE[sign].format(**numbers)))
        return found


def _signs(step: int, numbers: Mapping[str, float]) -> dict[str, bool]:
    """Tells which signs a step shows."""
    several, weighs = numbers["live"] >= 3, numbers["temperature"] != 0
    return {
        "collapse": several and weighs and numbers["size"] < _FEW_UNITS,
        "no spread": several and weighs and numbers["size"] > _NO_SPREAD * numbers["live"],
        "inverse first": step <= _EARLY_STEPS and numbers["temperature"] < 0,
        "blind spot": several and numbers["temperature"] < 0 and numbers["correlation"] < -0.5,
    }
