"""How speed is measured: in one process, in turns, medians with their spread, as ratios."""

from __future__ import annotations

import functools
import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Ratio:
    """How many times as long one call takes as another.

    Attributes:
        value: the ratio of the medians.
        spread: the distance between the quartiles of the ratios of single rounds, as a share of their median.
        low, high: the bounds of a 95 % interval of the median of those ratios, of whatever distribution they are.
    """

    value: float
    spread: float
    low: float
    high: float


@dataclass(frozen=True)
class Timings:
    """What several calls took, round by round.

    Attributes:
        seconds: of each call, by name.
        others: how many cores other processes kept busy meanwhile; None where the system does not tell.
    """

    seconds: Mapping[str, Sequence[float]]
    others: float | None = None

    def median(self, name: str) -> float:
        """Of one call."""
        return statistics.median(self.seconds[name])

    @property
    def rounds(self) -> int:
        """How often each call was timed."""
        return len(next(iter(self.seconds.values())))

    def ratio(self, over: str, under: str) -> Ratio:
        """How many times as long `over` takes as `under`.

        >>> Timings({"a": [2.0, 4.0, 6.0], "b": [1.0, 2.0, 3.0]}).ratio("a", "b")
        Ratio(value=2.0, spread=0.0, low=2.0, high=2.0)
        """
        rounds = sorted(a / b for a, b in zip(self.seconds[over], self.seconds[under]))
        first, middle, third = statistics.quantiles(rounds, n=4)
        value = self.median(over) / self.median(under)
        return Ratio(value, (third - first) / middle, *_interval_of_median(rounds))


def _interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """Between which of some sorted values their distribution's median lies, in 95 of 100 cases: by the binomial's."""
    beyond = max(0, int(len(values) / 2 - 1.96 * len(values) ** 0.5 / 2))
    return values[beyond], values[-1 - beyond]


def in_turns(
    calls: Mapping[str, Callable[[], object]],
    budget: float,
    least: int = 5,
    most: int = 200,
    warm_up: int = 2,
    burst: float = 0.01,
) -> Timings:
    """Time several calls in turns, so that whatever else the machine does falls on all of them alike.

    A turn of a short call is a burst of several, as a program makes them: after another call, and with a pool of
    threads gone to sleep, the first one takes longer.

    The order changes from round to round, so that no call always finds the caches as the same other one left them; and
    nothing is timed while the garbage collector runs.

    >>> sorted(in_turns({"a": lambda: None, "b": lambda: None}, budget=0.0).seconds)
    ['a', 'b']

    Args:
        calls: what is timed, by name.
        budget: about how many seconds it may take.
        least, most: bounds on the number of rounds, whatever the budget says.
        warm_up: rounds that do not count; at least 1.
        burst: about how many seconds a turn takes of a call that is shorter; it counts by its mean.
    """
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(warm_up):
            taken = {name: _seconds(call, 1) or 1e-9 for name, call in calls.items()}
        counts = {name: max(1, int(burst / taken[name])) for name in names}
        rounds = max(least, min(most, int(budget / sum(counts[name] * taken[name] for name in names))))
        surroundings = Surroundings()
        for turn in range(rounds):
            first = turn // 2 % len(names)
            order = names[first:] + names[:first]
            for name in order if turn % 2 == 0 else reversed(order):
                seconds[name].append(_seconds(calls[name], counts[name]))
        others = surroundings.busy()
    finally:
        if collecting:
            gc.enable()
    return Timings(seconds, others)


def _seconds(call: Callable[[], object], count: int) -> float:
    """What one of several calls in a row takes."""
    begin = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - begin) / count


class Surroundings:
    """How busy other processes keep the machine, from the moment this is made."""

    def __init__(self) -> None:
        self._start = self._now()

    def busy(self) -> float | None:
        """How many cores they kept busy, on average; None where the system does not tell."""
        now = self._now()
        if self._start is None or now is None:
            return None
        wall, everybody, own = (after - before for after, before in zip(now, self._start))
        return max(0.0, everybody - own) / wall

    def _now(self) -> tuple[float, float, float] | None:
        """Seconds by the clock, of all processes (and of other guests of the host), and of this one with children."""
        try:
            user, nice, system, _, _, *rest = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        except OSError:
            return None
        everybody = sum(map(int, (user, nice, system, *rest))) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), everybody, sum(os.times()[:4])


def matrix_product_peak(
    sizes: Sequence[int] = (512, 1024, 2048), budget: float = 1.5, dtype: torch.dtype = torch.float32
) -> float:
    """Floating-point operations a second of large matrix products, on this machine, now: the best size's."""
    found = []
    for size in sizes:
        a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
        product = functools.partial(torch.mm, a, b, out=torch.empty(size, size, dtype=dtype))
        found.append(2 * size**3 / in_turns({"product": product}, budget / len(sizes)).median("product"))
    return max(found)
