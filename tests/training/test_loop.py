"""The loop: what a step does, what is skipped, when it stops, and that it goes on bit for bit."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Mapping
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from holdfast.training import Diverged, Interrupted, Loss, OptionError, Pace
from tests.training.toy import BATCHES, Memory, Problem, Silent, training

VARIANTS: dict[str, dict[str, Any]] = {
    "AdamW": {},
    "SGD with momentum": {"optimiser": "sgd", "momentum": 0.9, "learning_rate": 0.01},
    "accumulated": {"accumulate": 3},
    "averaged": {"average": 0.1},
    "plateau": {"schedule": "plateau", "learning_rate": 0.3},
    "constant": {"schedule": "constant"},
}


def _weights(keeper: Memory, step: int) -> dict[str, torch.Tensor]:
    return {n: t for n, t in keeper.saved[step][0].items() if not n.startswith("random")}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_that_is_resumed_ends_bit_for_bit_as_one_that_was_not_stopped(variant: str) -> None:
    whole, parts = Memory(), Memory()
    options = {"steps": 23, "checkpoint_every": 1, **VARIANTS[variant]}
    training(whole, **options).run()
    for stop in (9, 16):  # in the second epoch, and at the beginning of a third
        again = training(parts, **options)
        again.restore(*whole.saved[stop])
        again.run()
        assert parts.lines[-23 + stop :] == whole.lines[stop:]
        for name, tensor in whole.saved[23][0].items():
            assert torch.equal(parts.saved[23][0][name], tensor), name
        assert {k: v for k, v in parts.saved[23][1]["position"].items() if k != "seconds"} == {
            k: v for k, v in whole.saved[23][1]["position"].items() if k != "seconds"
        }


class _Paced(Problem):
    """The toy problem, whose layer joins after half of the steps."""

    def paces(self, model: torch.nn.Module) -> list[Pace]:
        return [Pace(model.read.parameters()), Pace(model.layer.parameters(), begins=0.5)]


def test_weights_learn_from_their_own_step_on() -> None:
    keeper = Memory()
    training(keeper, _Paced(), steps=10, checkpoint_every=1, learning_rate=0.01, schedule="constant", warm_up=0).run()

    def moved(name: str, step: int) -> float:
        before, after = (keeper.saved[k][0][f"model.{name}"] for k in (step - 1, step))
        return float((after - before).abs().max())

    for step in range(2, 11):
        assert moved("read.weight", step) > 0
        assert (moved("layer.weight_hh_l0", step) > 0) == (step > 5)


def test_epochs_bound_the_steps_that_fit_into_the_minutes() -> None:
    keeper = Memory()
    found = training(keeper, minutes=0.2, epochs=6, evaluations=1).run()
    assert found.step == found.total == 6 * BATCHES
    assert keeper.plans == [(6 * BATCHES, 1)]
    assert training(Memory(), minutes=0.2, epochs=1, evaluations=1).run().step == BATCHES
    assert training(Memory(), minutes=0.2, epochs=12, accumulate=2, evaluations=1).run().step == 6 * BATCHES


class _Wide(Problem):
    """The toy problem, of each of whose numbers there are three."""

    def epoch(self, number: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(x.expand(-1, -1, 3), target) for x, target in super().epoch(number)]

    def loss(self, model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor], carry: object) -> Loss:
        return super().loss(model, (batch[0][..., :1], batch[1]), carry)  # type: ignore[arg-type]


def test_units_are_steps_of_sequences_however_wide() -> None:
    counts = []
    for problem in (Problem(), _Wide()):
        watcher = Silent()
        watcher.step = lambda position, loss, units, seconds: counts.append(units)  # type: ignore[method-assign]
        training(Memory(), problem, watcher, steps=2).run()
    assert counts == [5 * 4] * 4


def test_training_lowers_the_loss() -> None:
    keeper = Memory()
    training(keeper, steps=150, learning_rate=0.02).run()
    assert keeper.lines[-1]["valid_mse"] < 0.3 * keeper.lines[0]["loss"]
    assert [line["step"] for line in keeper.lines] == list(range(1, 151))


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_is_not_finite_leaves_weights_and_optimiser_alone(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, watcher = Memory(), Silent()
    problem = Problem(spoil=[3] if what == "loss" else [])
    found = training(keeper, problem, watcher, steps=6, checkpoint_every=1, average=0.5)
    if what == "gradient":
        weight = found.model.read.weight

        def spoil(gradient: torch.Tensor) -> torch.Tensor:
            return gradient * math.inf if found.position.step == 4 else gradient

        weight.register_hook(spoil)
    found.run()
    before, after = _weights(keeper, 3), _weights(keeper, 4)
    kept = [n for n in before if n.startswith(("model.", "average.", "optimiser."))]
    assert all(torch.equal(before[n], after[n]) for n in kept)
    assert not all(torch.equal(before[n], _weights(keeper, 5)[n]) for n in kept)
    assert watcher.skips == [(4, what)]
    assert found.position.skipped == 1
    assert all(t.isfinite().all() for t in _weights(keeper, 6).values())


def test_ten_steps_in_a_row_that_are_not_finite_end_the_training_with_advice() -> None:
    problem = Problem(spoil=range(BATCHES))
    problem.epoch = lambda number: Problem.epoch(problem, 0)  # type: ignore[method-assign]
    keeper = Memory()
    found = training(keeper, problem, steps=50)
    with pytest.raises(Diverged, match=r"was not finite in 10 steps in a row, the last of them 10;.*learning"):
        found.run()
    assert len(keeper.lines) == 10


def test_what_was_given_up_goes_on_with_other_options() -> None:
    problem, keeper = Problem(spoil=range(BATCHES)), Memory()
    problem.epoch = lambda number: Problem.epoch(problem, 0)  # type: ignore[method-assign]
    with pytest.raises(Diverged):
        training(keeper, problem, steps=50).run()
    again = training(keeper, steps=12)
    again.restore(*keeper.saved[10])
    again.run()
    assert [line["step"] for line in keeper.lines[-2:]] == [11, 12]
    assert again.position.in_a_row == 0


def test_nine_in_a_row_do_not() -> None:
    problem = Problem(spoil=range(BATCHES))
    original = problem.epoch
    problem.epoch = lambda number: (original(0) + original(0))[:9] if number == 0 else original(1)  # type: ignore[operator, method-assign, index]
    found = training(Memory(), problem, steps=12)
    found.run()
    assert (found.position.skipped, found.position.in_a_row) == (9, 0)


def test_the_gradient_is_clipped_and_its_norm_logged() -> None:
    keeper = Memory()
    training(keeper, steps=1, clip=1e-6, optimiser="sgd", learning_rate=1.0, warm_up=0, schedule="constant").run()
    start = training(Memory(), steps=1)
    moved = math.sqrt(
        sum((keeper.saved[1][0][f"model.{n}"] - t).square().sum().item() for n, t in start.model.state_dict().items())
    )
    assert moved == pytest.approx(1e-6, rel=0.05)
    assert keeper.lines[0]["norm"] > 1e-3


def test_patience_ends_a_training_without_progress() -> None:
    keeper = Memory()
    found = training(keeper, steps=400, evaluations=40, patience=2, learning_rate=1e-12)
    found.problem.evaluate = lambda model: {"mse": 1.0}  # type: ignore[method-assign]
    assert found.run().step == 30  # the first evaluation is the best, the next two are not better
    assert keeper.bests == [10]


def test_a_training_that_patience_has_ended_stays_as_it_is_when_resumed() -> None:
    keeper = Memory()
    options: dict[str, Any] = {"steps": 400, "evaluations": 40, "patience": 2}
    found = training(keeper, **options)
    found.problem.evaluate = lambda model: {"mse": 1.0}  # type: ignore[method-assign]
    found.run()
    again = training(keeper, **options)
    again.restore(*keeper.saved[30])
    assert again.run().step == 30
    assert len(keeper.lines) == 30


@pytest.mark.parametrize(("steps", "evaluations", "expected"), [(39, 20, 20), (40, 20, 20), (7, 20, 7), (100, 3, 3)])
def test_there_are_as_many_evaluations_as_asked_for(steps: int, evaluations: int, expected: int) -> None:
    keeper = Memory()
    training(keeper, steps=steps, evaluations=evaluations).run()
    evaluated = [line["step"] for line in keeper.lines if "valid_mse" in line]
    assert len(evaluated) == expected
    assert evaluated[-1] == steps


def test_more_steps_than_at_first_are_made_when_the_options_say_so() -> None:
    keeper = Memory()
    training(keeper, steps=6).run()
    again = training(keeper, steps=9)
    again.restore(*keeper.saved[6])
    assert again.run().step == 9
    assert [line["step"] for line in keeper.lines] == list(range(1, 10))


def _even_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """As fast whatever else the machine does: each look at the clock is a millisecond after the one before."""
    ticks = count()
    monkeypatch.setattr("holdfast.training.loop.clock", lambda: 0.001 * next(ticks))


def test_minutes_become_a_number_of_steps_before_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    _even_clock(monkeypatch)
    keeper = Memory()
    position = training(keeper, steps=0, minutes=0.03).run()
    assert keeper.plans == [(position.total, position.evaluations)]
    assert position.step == position.total
    assert 1600 < position.total < 1800  # 1.8 seconds of a millisecond each, less what measuring took


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_of_some_minutes_is_that_of_the_steps_they_come_to(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _even_clock(monkeypatch)
    timed, counted = Memory(), Memory()
    options = {"minutes": 0.002, "warm_up": 50, **VARIANTS[variant]}
    total = training(timed, **options).run().total
    steps, evaluations = timed.plans[0]
    assert steps == total > 30
    training(counted, **{**options, "steps": steps, "evaluations": evaluations}).run()
    assert counted.lines == timed.lines
    assert all(torch.equal(t, _weights(counted, total)[n]) for n, t in _weights(timed, total).items())


def test_the_loop_owns_training_mode_and_evaluation_mode() -> None:
    modes = []

    class Careless(Problem):
        def evaluate(self, model: torch.nn.Module) -> Mapping[str, float]:
            modes.append((model.training, torch.is_grad_enabled()))
            return super().evaluate(model)

        def loss(self, model: torch.nn.Module, batch: Any, carry: Any) -> Loss:
            assert model.training
            return super().loss(model, batch, carry)

    for options in ({}, {"average": 0.1}, {"steps": 0, "minutes": 0.001}):
        training(Memory(), Careless(), **{"steps": 9, "evaluations": 3, **options}).run()
    assert len(modes) >= 7
    assert set(modes) == {(False, False)}


def test_the_warm_up_is_a_tenth_of_the_steps_at_most() -> None:
    keeper = Memory()
    training(keeper, steps=40, warm_up=50, learning_rate=1.0, clip=1e-9, schedule="constant").run()
    assert [round(line["rate"], 3) for line in keeper.lines[:5]] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_a_watcher_is_told_how_long_the_step_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("holdfast.training.loop.time", SimpleNamespace(perf_counter=lambda: now[0]))

    class Timed(Problem):
        def loss(self, model: torch.nn.Module, batch: Any, carry: Any) -> Loss:
            now[0] += 2.5
            return super().loss(model, batch, carry)

    told: list[float] = []
    watcher = Silent()
    watcher.step = lambda position, loss, units, seconds: told.append(seconds)  # type: ignore[method-assign]
    training(Memory(), Timed(), watcher, steps=3).run()
    assert told == [2.5] * 3


def test_a_training_of_fewer_minutes_than_a_step_takes_still_ends() -> None:
    position = training(Memory(), steps=0, minutes=1e-9).run()
    assert position.step == position.total == 1


def test_a_run_of_two_processes_does_not_go_on_with_one() -> None:
    keeper = Memory()
    training(keeper, steps=2).run()
    tensors, facts = keeper.saved[2]
    with pytest.raises(OptionError, match="the run was trained by 2 processes and goes on by as many only"):
        training(Memory(), steps=4).restore(tensors, {**facts, "processes": 2})


def test_a_signal_saves_and_stops() -> None:
    keeper, watcher = Memory(), Silent()
    watcher.step = lambda position, *_: signal.raise_signal(signal.SIGINT) if position.step == 5 else None  # type: ignore[method-assign]
    found = training(keeper, watcher=watcher, steps=50)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        found.run()
    assert list(keeper.saved) == [5]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.full
def test_evaluations_take_a_fifth_of_the_minutes_at_most() -> None:
    class Slow(Problem):
        def evaluate(self, model: torch.nn.Module) -> Mapping[str, float]:
            time.sleep(0.1)
            return super().evaluate(model)

    keeper = Memory()
    position = training(keeper, Slow(), steps=0, minutes=0.02, evaluations=20).run()
    evaluated = [line["step"] for line in keeper.lines if "valid_mse" in line]
    assert position.evaluations in (1, 2)  # of 3 seconds a fifth is 0.6
    assert keeper.plans == [(position.total, position.evaluations)]
    assert len(evaluated) == position.evaluations
    assert evaluated[-1] == position.total > 25
