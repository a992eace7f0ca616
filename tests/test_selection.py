"""Which tests are quick, and the shares of the full set."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from tests.selection import mark_sweeps, parse_share, share


class Case:
    """What the selection asks of a test: its name, its marks and its parameters."""

    def __init__(self, name: str, *marks: Any, **params: Any) -> None:
        self.nodeid = f"{name}[{'-'.join(map(str, params.values()))}]" if params else name
        self.marks = [pytest.mark.full if mark == "full" else mark for mark in marks]
        self.callspec = SimpleNamespace(params=params)

    def get_closest_marker(self, name: str) -> Any:
        return next((mark.mark for mark in self.marks if mark.name == name), None)

    def add_marker(self, name: str) -> None:
        self.marks.append(getattr(pytest.mark, name))


def quick(cases: list[Any]) -> list[str]:
    mark_sweeps(cases)
    return [case.nodeid for case in cases if not case.get_closest_marker("full")]


def test_a_sweep_keeps_every_value_of_every_parameter_in_as_few_cases_as_can_be() -> None:
    few: list[Any] = [[1], [2]]  # values that cannot be hashed
    cases = [Case("t", pytest.mark.sweep, a=a, b=b) for b in few for a in ("x", "y", "z")]
    pairs = [(id(c.callspec.params["a"]), id(c.callspec.params["b"])) for c in cases]
    kept = quick(cases)
    assert len(kept) == 3
    chosen = [pair for case, pair in zip(cases, pairs) if case.nodeid in kept]
    assert {a for a, _ in chosen} == {a for a, _ in pairs}
    assert {b for _, b in chosen} == {b for _, b in pairs}


def test_a_sweep_may_keep_every_so_many_th_case() -> None:
    cases = [Case("t", pytest.mark.sweep(every=4), k=k) for k in range(10)]
    assert quick(cases) == ["t[0]", "t[4]", "t[8]"]


def test_what_is_skipped_or_full_already_is_not_what_a_sweep_keeps() -> None:
    skip = pytest.mark.skip(reason="not here")
    cases = [Case("t", pytest.mark.sweep, *([skip] if k < 2 else ["full"] if k < 4 else []), k=k % 2) for k in range(6)]
    assert quick(cases) == ["t[0]", "t[1]", "t[0]", "t[1]"]  # the skipped ones, which nobody marks, and the last two
    assert all(case.get_closest_marker("full") is None for case in cases[4:])


def test_what_is_no_sweep_is_left_alone() -> None:
    cases = [Case("t", k=k) for k in range(5)]
    assert len(quick(cases)) == 5


def full_set() -> list[Any]:
    return [
        *(Case(f"test_{n}", "full", k=k) for n in range(7) for k in range(3 * n + 1)),
        Case("quick"),
    ]


def test_all_shares_together_are_the_full_set_and_none_has_what_another_has() -> None:
    items = full_set()
    taken = Counter(item.nodeid for k in range(1, 7) for item in share(items, k, 6))
    assert taken == Counter(item.nodeid for item in items if item.get_closest_marker("full"))


def test_the_cases_of_a_test_are_shared_out_evenly() -> None:
    items = full_set()
    shares = [[item.nodeid for item in share(items, k, 6)] for k in range(1, 7)]
    sizes = [sum(name.startswith("test_6[") for name in names) for names in shares]
    assert max(sizes) - min(sizes) <= 1


def test_another_test_moves_nothing_to_another_share() -> None:
    items = full_set()
    more = [Case("another", "full", k=k) for k in range(4)] + items
    for k in range(1, 7):
        before = {item.nodeid for item in share(items, k, 6)}
        assert {item.nodeid for item in share(more, k, 6) if not item.nodeid.startswith("another")} == before


@pytest.mark.parametrize("text", ["0/6", "7/6", "1", "a/6", "1/", "", "-1/6"])
def test_a_share_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(pytest.UsageError, match="--share must be K/N"):
        parse_share(text)
    assert parse_share("6/6") == (6, 6)
