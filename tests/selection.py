"""Which tests are quick, which take part in the full set only, and into which shares the full set is divided."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import pytest


def mark_sweeps(items: Iterable[pytest.Item]) -> None:
    """Of each test marked `sweep`, leave a few cases to the quick set, and mark the others `full`.

    `sweep` keeps as few cases as hold every value of every parameter, `sweep(every=n)` the first and then each n-th.
    What is skipped here proves nothing, and what is marked `full` already stays so: neither is kept.
    """
    sweeps: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("sweep") and not any(map(item.get_closest_marker, ("full", "skip"))):
            sweeps[function_of(item)].append(item)
    for cases in sweeps.values():
        marker = cases[0].get_closest_marker("sweep")
        assert marker is not None
        every = marker.kwargs.get("every")
        quick = set(cases[::every]) if every else set(_each_value_once(cases))
        for item in cases:
            if item not in quick:
                item.add_marker("full")


def _values(item: pytest.Item) -> set[tuple[str, int]]:
    """The values of a case's parameters. They need not be hashable: cases that share one share the object."""
    return {(name, id(value)) for name, value in item.callspec.params.items()}  # type: ignore[attr-defined]


def _each_value_once(cases: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Cases in which every value occurs, the one with most new ones first; of several, one unlike those before."""
    missing = set().union(*map(_values, cases))
    seen: Counter[tuple[str, int]] = Counter()
    chosen: list[pytest.Item] = []
    while missing:
        best = max(cases, key=lambda item: (len(_values(item) & missing), -sum(seen[v] for v in _values(item))))
        missing -= _values(best)
        seen.update(_values(best))
        chosen.append(best)
    return chosen


def function_of(item: pytest.Item) -> str:
    """A test without its parameters."""
    return item.nodeid.split("[")[0]


def parse_share(text: str) -> tuple[int, int]:
    """The share's number and the number of shares, from "2/6"."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise pytest.UsageError(f"--share must be K/N with K from 1 to N, for example 2/6; got {text!r}")
    return int(number), int(count)


def share(items: Sequence[pytest.Item], number: int, count: int) -> list[pytest.Item]:
    """A share of the full set; together all shares are the whole of it.

    The cases of one test go to the shares by turns, so that each takes about as long, and where they begin follows from
    the test's name, so that another test, or a change of one, moves none of them.
    """
    turns: Counter[str] = Counter()
    found = []
    for item in items:
        if not item.get_closest_marker("full"):
            continue
        name = function_of(item)
        if (zlib.crc32(name.encode()) + turns[name]) % count == number - 1:
            found.append(item)
        turns[name] += 1
    return found
