"""Numbers from cells as people write them."""

from __future__ import annotations

import math
from typing import Any

MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none")  # how a number that is not known is written
TRUTH = {"true": 1.0, "false": 0.0}


def number(cell: Any) -> float:
    """The number that a cell holds, NaN where it holds none.

    >>> number("1.5"), number("n/a"), number(True)
    (1.5, nan, 1.0)

    Args:
        cell: a text, a number, or None.

    Raises:
        ValueError: it holds something else.
    """
    if isinstance(cell, str):
        return _written(cell)
    if cell is None:
        return math.nan
    if isinstance(cell, int | float):
        try:
            return float(cell)
        except OverflowError:  # a whole number of hundreds of digits
            return math.inf if cell > 0 else -math.inf
    raise ValueError(f"{type(cell).__name__} is no number")


def _written(cell: str) -> float:
    try:
        if "_" not in cell:  # in Python's numbers it may separate digits
            return float(cell)
    except ValueError:
        word = cell.strip().lower()
        if word in MISSING:
            return math.nan
        if word in TRUTH:
            return TRUTH[word]
    raise ValueError(f"{cell} is no number")
