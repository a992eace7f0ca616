"""How far a measure on some examples may be from that on all there could be: intervals of 95%."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_Z = 1.959964  # deviations from the middle of a normal distribution, between which 95% lie
_DRAWS = 1000  # of a bootstrap


def of_share(share: float, count: int) -> tuple[float, float]:
    """The interval of a share of independent examples (Wilson 1927).

    >>> low, high = of_share(0.8, 100)
    >>> round(low, 3), round(high, 3)
    (0.711, 0.867)
    """
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * np.sqrt(share * (1 - share) / count + (_Z / (2 * count)) ** 2)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def of_difference(one: Array, other: Array) -> tuple[float, float]:
    """The interval of the difference of two shares of the same examples (Agresti and Min 2005).

    >>> right = np.array([True] * 80 + [False] * 20)
    >>> of_difference(right, right)[0] < 0 < of_difference(right, right)[1]
    True

    Args:
        one, other: of each example whether it counts, (N,).
    """
    # Half an example more of each kind, so that a few examples that agree do not look certain.
    count = len(one) + 2
    first, second = (one & ~other).sum() + 0.5, (other & ~one).sum() + 0.5
    middle = (first - second) / count
    half = _Z * np.sqrt(first + second - (first - second) ** 2 / count) / count
    return float(middle - half), float(middle + half)


def of_statistic(statistic: Callable[..., Array], *columns: Array) -> tuple[float, float]:
    """The interval of any number that is made of examples, by drawing them anew (bootstrap).

    >>> values = np.random.default_rng(0).normal(5, 1, 400)
    >>> low, high = of_statistic(lambda drawn: drawn.mean(), values)
    >>> 4.8 < low < values.mean() < high < 5.2
    True

    Args:
        statistic: from the columns to a number.
        columns: of the same examples, (N,) each.
    """
    draw = np.random.default_rng(0)
    count = len(columns[0])
    found = []
    for _ in range(_DRAWS):
        which = draw.integers(0, count, count)
        found.append(float(statistic(*(column[which] for column in columns))))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)
