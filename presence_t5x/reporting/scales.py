"""From data to picture coordinates: linear and log scales, nice ticks, number texts.

No drawing here; `plots` draws.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Real

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclasses.dataclass(frozen=True)
class Scale:
    """Maps the data interval [low, high] to the picture interval [start, end].

    On a log scale both bounds are > 0 and equal ratios take equal room. Values that the scale
    cannot show (NaN, infinities, and on a log scale <= 0) map to NaN.

    >>> Scale(0.0, 10.0, 100.0, 200.0)(2.5)
    125.0
    >>> Scale(1.0, 100.0, 0.0, 50.0, log=True)(10.0)
    25.0
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if not math.isfinite(value) or (self.log and value <= 0):
            return float("nan")
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def data_bounds(
    columns: Iterable[Real[np.ndarray, "..."]], *, log: bool = False
) -> tuple[float, float] | None:
    """Returns the smallest and largest value a scale can show, widened when they are equal.

    Returns None when there is no such value. A single value v becomes v * [0.9, 1.1], on a log
    scale [v / 2, 2 v], and zero becomes [-1, 1].
    """
    values = np.concatenate([np.zeros(0), *(np.asarray(c, np.float64).ravel() for c in columns)])
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    if log:
        return low / 2, high * 2
    margin = abs(low) * 0.1 or 1.0
    return low - margin, high + margin


def nice_ticks(low: float, high: float, *, most: int = 6, log: bool = False) -> list[float]:
    """Returns at most `most` round numbers within [low, high], evenly spaced on the scale.

    Linear steps are 1, 2 or 5 times a power of ten. Log ticks are powers of ten, or 1, 2, 5 times
    them where fewer than three powers fit.

    >>> nice_ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> nice_ticks(0.02, 30.0, log=True)
    [0.1, 1.0, 10.0]
    """
    if log:
        return _log_ticks(low, high, most)
    exponent = math.floor(math.log10(high - low)) - 1
    for step in (m * 10.0**e for e in range(exponent, exponent + 4) for m in (1, 2, 5)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            digits = max(0, 2 - math.floor(math.log10(step)))
            return [round(i * step, digits) + 0.0 for i in range(first, last + 1)]
    return []


def nice_bounds(low: float, high: float, *, most: int = 6) -> tuple[float, float]:
    """Returns linear bounds widened to whole tick steps, so that the axis ends on a tick.

    >>> nice_bounds(1.63, 8.9)
    (0.0, 10.0)
    """
    ticks = nice_ticks(low, high, most=most)
    if len(ticks) < 2:
        return low, high
    step = ticks[1] - ticks[0]
    digits = max(0, 2 - math.floor(math.log10(step)))
    low = math.floor(low / step + 1e-9) * step
    high = math.ceil(high / step - 1e-9) * step
    return round(low, digits), round(high, digits)


def format_number(value: float, digits: int = 3) -> str:
    """Returns a short text with `digits` significant digits; an en dash when it is not finite.

    >>> [format_number(v) for v in (1234.5, 12000000.0, 0.25, -0.00002, 0.0, float("nan"))]
    ['1,234', '1.2×10⁷', '0.25', '−2×10⁻⁵', '0', '–']
    """
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    sign, size = ("−" if value < 0 else ""), abs(value)
    if size >= 1e6 or size < 1e-3:
        mantissa, exponent = f"{size:.{digits - 1}e}".split("e")
        mantissa = f"{float(mantissa):g}"
        power = "10" + str(int(exponent)).translate(_SUPERSCRIPTS)
        return sign + (power if mantissa == "1" else f"{mantissa}×{power}")
    if size >= 1000:
        return f"{sign}{size:,.0f}"
    return f"{sign}{size:.{digits}g}"


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """Returns ticks of a log axis; linear ones where no two of 1, 2, 5 x 10^k fit."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    powers = [10.0**k for k in range(first, last + 1)]
    if len(powers) >= 3:
        return powers[:: math.ceil(len(powers) / most)]
    finer = [m * 10.0**k for k in range(first - 1, last + 1) for m in (1, 2, 5)]
    finer = [
        float(f"{tick:.1g}") for tick in finer if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)
    ]
    if len(finer) >= 2:
        return _thin(finer, most)
    return [tick for tick in nice_ticks(low, high, most=most) if tick > 0]


def _thin(ticks: Sequence[float], most: int) -> list[float]:
    """Returns every k-th tick, so that at most `most` are left."""
    return list(ticks[:: math.ceil(len(ticks) / most)])
