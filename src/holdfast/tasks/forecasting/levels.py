"""The levels of quantile forecasts, and the central intervals between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]

_SAME = 1e-9  # 1 - 0.9 is not quite 0.1


def checked_levels(levels: Sequence[float] | Floats) -> Floats:
    """The levels as an array, (Q,).

    Raises:
        ValueError: they do not rise, or do not lie between 0 and 1.
    """
    found = np.asarray(levels, np.float64)
    if found.ndim != 1 or not len(found) or (np.diff(found) <= 0).any() or found[0] <= 0 or found[-1] >= 1:
        raise ValueError(f"levels must be numbers between 0 and 1 that rise; got {found.tolist()}")
    return found


def interval_places(levels: Floats, intervals: Sequence[float] | Floats) -> list[tuple[int, int]]:
    """Where the ends of central intervals stand among the levels.

    The central interval of 0.8 lies between the levels 0.1 and 0.9.

    >>> interval_places(np.array([0.1, 0.5, 0.9]), [0.8])
    [(0, 2)]

    Raises:
        ValueError: an interval is not between 0 and 1, or one of its ends is not among the levels.
    """
    places = []
    for interval in np.asarray(intervals, np.float64).tolist():
        if not 0 < interval < 1:
            raise ValueError(f"intervals must be numbers between 0 and 1; got {interval!r}")
        ends = ((1 - interval) / 2, (1 + interval) / 2)
        low, high = (int(np.abs(levels - end).argmin()) for end in ends)
        if max(abs(levels[low] - ends[0]), abs(levels[high] - ends[1])) > _SAME:
            raise ValueError(
                f"the interval {interval:g} lies between the levels {ends[0]:g} and {ends[1]:g}, which are not both "
                f"among {', '.join(f'{level:g}' for level in levels)}"
            )
        places.append((low, high))
    return places
