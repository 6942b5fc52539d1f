"""From numbers to places: nice ticks, linear and logarithmic."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_LARGEST = 1e100  # a larger span would overflow on its way to a pixel
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Axis:
    """An interval of numbers laid onto an interval of pixels.

    Examples
    --------
    >>> axis = Axis(0.0, 2.0, start=0.0, stop=100.0)
    >>> axis.place(0.5), axis.ticks(4)
    (25.0, [(0.0, '0'), (0.5, '0.5'), (1.0, '1.0'), (1.5, '1.5'), (2.0, '2.0')])
    >>> Axis(1e-3, 10.0, 0.0, 100.0, log=True).ticks(5)
    [(0.001, '10⁻³'), (0.01, '10⁻²'), (0.1, '10⁻¹'), (1.0, '1'), (10.0, '10¹')]
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def place(self, value: float) -> float:
        """The pixel of a number."""
        low, high, value = self.low, self.high, min(max(value, -_LARGEST), _LARGEST)
        if self.log:
            value = max(value, 1 / _LARGEST)
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self, count: int) -> list[tuple[float, str]]:
        """About `count` round numbers on the axis, with their labels."""
        if not self.log:
            return linear_ticks(self.low, self.high, count)
        if math.log10(self.high / self.low) < 1.2:
            return [
                (value, label)
                for value, label in linear_ticks(self.low, self.high, count)
                if value > 0
            ]
        return _decades(self.low, self.high, count)


def span(
    values: np.ndarray, *, log: bool = False, zero: bool = False, air: float = 0.04
) -> tuple[float, float]:
    """The smallest and largest of the numbers, with a little air; with `zero`, 0 among them."""
    values = np.clip(values[np.isfinite(values)], -_LARGEST, _LARGEST)
    if log:
        return _log_span(np.maximum(values[values > 0], 1 / _LARGEST), air)
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if zero and low == high:
        return 0.0, 1.0
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        air = 0.1 * abs(high) or 1.0
    else:
        air *= high - low
    return (low if zero and low == 0 else low - air), (high if zero and high == 0 else high + air)


def _log_span(values: np.ndarray, air: float) -> tuple[float, float]:
    if not len(values):
        return 1.0, 10.0
    low, high = float(values.min()), float(values.max())
    factor = (high / low) ** air if high > low * (1 + 1e-9) else 2.0
    return low / factor, high * factor


def linear_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """Multiples of 1, 2 or 5 times a power of ten inside the interval."""
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in (1, 2, 5, 10) if nice * power >= 0.75 * rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    largest = max(abs(low), abs(high))
    values = [n * step for n in range(first, last + 1)]
    return [(value, _label(value, step, largest)) for value in values]


def _label(value: float, step: float, largest: float) -> str:
    """As many decimals as the step needs; powers of ten where that would be long."""
    if largest >= 1e6 or step < 1e-4:
        return _scientific(value, step)
    decimals = max(0, -math.floor(math.log10(step * 1.001)))
    label = f"{value + 0.0:,.{decimals}f}"
    return "0" if float(label.replace(",", "")) == 0 else label


def _scientific(value: float, step: float) -> str:
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value) * 1.0000001))
    digits = max(0, exponent - math.floor(math.log10(step * 1.0000001)))
    factor = f"{value / 10.0**exponent:.{min(digits, 6)}f}"
    if digits == 0 and factor in ("1", "-1"):
        return f"{factor[:-1]}10{str(exponent).translate(_SUPERSCRIPTS)}"
    return f"{factor}×10{str(exponent).translate(_SUPERSCRIPTS)}"


def _decades(low: float, high: float, count: int) -> list[tuple[float, str]]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    factors = (1, 3) if last - first < 2 else (1,)
    stride = max(1, math.ceil((last - first) / max(count, 1)))
    plain = first >= -2 and last <= 3
    ticks = []
    for exponent in range(first - 1, last + 1, stride):
        for factor in factors:
            value = factor * 10.0**exponent
            if low <= value <= high:
                ticks.append((value, _decade_label(factor, exponent, plain)))
    return ticks


def _decade_label(factor: int, exponent: int, plain: bool) -> str:
    if plain or exponent == 0:
        return f"{factor * 10.0**exponent:,g}"
    power = f"10{str(exponent).translate(_SUPERSCRIPTS)}"
    return power if factor == 1 else f"{factor}×{power}"
