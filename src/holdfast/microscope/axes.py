"""Axes of figures: from numbers to places, and which numbers to write at an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MOST_TICKS = 6


@dataclass(frozen=True)
class Axis:
    """An axis over [low, high], linear or logarithmic.

    >>> axis = Axis.around([0.0013, 0.9], log=True)
    >>> axis.ticks()
    [(0.001, '0.001'), (0.01, '0.01'), (0.1, '0.1'), (1.0, '1')]
    >>> round(axis.place(0.01), 3)
    0.333

    Attributes:
        low: the number at the start.
        high: the number at the end.
        log: whether equal distances are equal ratios.
    """

    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, values: Sequence[float], log: bool = False) -> Axis:
        """The axis that holds all values that can be drawn: finite ones, on a logarithmic axis positive ones."""
        shown = [value for value in values if drawable(value, log)]
        low, high = (min(shown), max(shown)) if shown else (1.0, 1.0)
        if log:
            low, high = _round(low, up=False), _round(high, up=True)
            return cls(low, max(high, 10 * low), log=True)
        if low == high:
            low, high = low - 0.5, high + 0.5
        return cls(low, high)

    def place(self, value: float) -> float:
        """Where a number lies: 0 at the start of the axis, 1 at its end."""
        if self.log:
            return (_decade(value) - _decade(self.low)) / (_decade(self.high) - _decade(self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """The numbers to write at the axis, at most six or so, each with its text."""
        return self._log_ticks() if self.log else self._linear_ticks()

    def _log_ticks(self) -> list[tuple[float, str]]:
        first, last = math.ceil(_decade(self.low) - 1e-9), math.floor(_decade(self.high) + 1e-9)
        plain = first >= -4 and last <= 4

        def tick(nice: int, exponent: int) -> tuple[float, str]:
            value = nice * 10.0**exponent
            power = f"10{str(exponent).translate(_SUPERSCRIPTS)}"
            return value, f"{value:.10g}" if plain else power if nice == 1 else f"{nice}·{power}"

        if last - first < 2:  # powers of ten alone would be too few
            ticks = [tick(nice, e) for e in range(first - 1, last + 1) for nice in (1, 2, 5)]
            return [(v, name) for v, name in ticks if self.low * (1 - 1e-9) <= v <= self.high * (1 + 1e-9)]
        apart = math.ceil((last - first + 1) / _MOST_TICKS)
        return [tick(1, e) for e in range(first, last + 1) if e % apart == 0]

    def _linear_ticks(self) -> list[tuple[float, str]]:
        rough = (self.high - self.low) / (_MOST_TICKS - 1)
        scale = 10.0 ** math.floor(_decade(rough))
        apart = next(nice * scale for nice in (1, 2, 5, 10) if nice * scale >= rough * 0.999)
        digits = max(0, -math.floor(_decade(apart)))
        multiples = range(math.ceil(self.low / apart - 1e-9), math.floor(self.high / apart + 1e-9) + 1)
        return [(k * apart, f"{k * apart:,.{digits}f}".replace("-", "−")) for k in multiples]


def drawable(value: float, log: bool = False) -> bool:
    """Whether a number has a place on an axis."""
    return math.isfinite(value) and (value > 0 or not log)


def _round(value: float, up: bool) -> float:
    """The nearest number above or below that is 1, 2 or 5 times a power of ten."""
    scale = 10.0 ** math.floor(_decade(value) + 1e-9)
    leading = value / scale
    if up:
        return next(nice for nice in (1, 2, 5, 10) if nice >= leading * (1 - 1e-9)) * scale
    return next(nice for nice in (5, 2, 1) if nice <= leading * (1 + 1e-9)) * scale


def _decade(value: float) -> float:
    return math.log10(value)
