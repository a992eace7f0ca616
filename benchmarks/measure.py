"""How speed is measured: in one process, in turns, medians with their spread, as ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds a call takes.

    Attributes:
        median: of the repeats.
        spread: the distance between the quartiles, as a share of the median.
    """

    median: float
    spread: float


def in_turns(calls: Mapping[str, Callable[[], object]], repeats: int = 30, warm_up: int = 3) -> dict[str, Timing]:
    """Time several calls in turns, so that whatever else the machine does falls on all of them alike.

    >>> sorted(in_turns({"a": lambda: None, "b": lambda: None}, repeats=2))
    ['a', 'b']
    """
    for _ in range(warm_up):
        for call in calls.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: _timing(taken) for name, taken in seconds.items()}


def _timing(seconds: list[float]) -> Timing:
    median = statistics.median(seconds)
    low, _, high = statistics.quantiles(seconds, n=4)
    return Timing(median, (high - low) / median)


def matrix_product_peak(size: int = 1024, repeats: int = 10) -> float:
    """Floating-point operations a second of a large float32 matrix product, on this machine, now."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / in_turns({"product": lambda: a @ b}, repeats)["product"].median
