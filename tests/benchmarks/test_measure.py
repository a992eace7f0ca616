from __future__ import annotations

import doctest
import gc
import importlib
import pkgutil
import time

import benchmarks
import pytest
from benchmarks.measure import Surroundings, Timings, in_turns

MODULES = [
    module.name for module in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.") if "__main__" not in module.name
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_documentation_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_call_is_timed_equally_often_and_no_call_always_follows_the_same_other() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    timings = in_turns(calls, budget=0.0, least=6, warm_up=1, burst=0.0)
    assert timings.rounds == 6
    assert all(len(seconds) == 6 for seconds in timings.seconds.values())
    rounds = ["".join(order[k : k + 3]) for k in range(3, len(order), 3)]  # the first is the warm-up
    assert all(sorted(turn) == ["a", "b", "c"] for turn in rounds)
    assert len(set(rounds)) == 6


@pytest.mark.parametrize(("budget", "rounds"), [(2.0, 8), (0.1, 3), (100.0, 12)])
def test_the_number_of_rounds_follows_from_the_budget_and_has_bounds(
    budget: float, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    def call() -> None:
        clock[0] += 0.25

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    timings = in_turns({"it": call}, budget, least=3, most=12)
    assert timings.seconds == {"it": [0.25] * rounds}


def test_a_short_call_is_made_several_times_in_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = [0.0], []

    def call(name: str, seconds: float) -> None:
        clock[0] += seconds
        order.append(name)

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    calls = {"short": lambda: call("short", 0.25), "long": lambda: call("long", 2.0)}
    timings = in_turns(calls, budget=0.0, least=2, warm_up=1, burst=1.0)
    assert timings.seconds == {"short": [0.25] * 2, "long": [2.0] * 2}
    assert order == ["short", "long", *["short"] * 4, "long", "long", *["short"] * 4]


def test_the_garbage_collector_rests_while_calls_are_timed() -> None:
    seen = []
    in_turns({"it": lambda: seen.append(gc.isenabled())}, budget=0.0)
    assert not any(seen)
    assert gc.isenabled()


def test_a_ratio_is_that_of_the_medians_and_its_spread_that_of_the_rounds() -> None:
    timings = Timings({"slow": [2.0, 4.0, 30.0], "fast": [1.0, 2.0, 3.0]})
    ratio = timings.ratio("slow", "fast")
    assert ratio.value == 2.0
    assert ratio.spread > 1  # the last round stands out


def test_other_processes_are_noticed_or_nothing_is_said() -> None:
    surroundings = Surroundings()
    time.sleep(0.05)
    busy = surroundings.busy()
    assert busy is None or busy >= 0
