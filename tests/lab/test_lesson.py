from collections.abc import Callable

import pytest
import torch
from torch import Generator

import holdfast
from holdfast.lab import PROBLEMS, Reader, initialised
from holdfast.lab.lesson import Lesson, evaluate, train


def generator(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def lstm() -> Reader:
    return Reader(PROBLEMS["adding"](10), lambda inputs: holdfast.LSTM(inputs, 12, init="chrono", max_lag=10))


def trained(
    lesson: Lesson, seed: int = 0, progress: Callable[[int, float], None] | None = None
) -> tuple[Reader, list[tuple[int, float]]]:
    problem = PROBLEMS["adding"](10)
    model = initialised(lstm, generator(seed))
    held_out = problem.batch(300, generator(100))
    curve = train(model, problem, lesson, generator(seed), held_out, progress)
    assert curve[-1].error == evaluate(model, problem, held_out)
    return model, [(point.sequences, point.error) for point in curve]


def test_a_small_model_learns_a_short_lag() -> None:
    _, curve = trained(Lesson(steps=400, evaluate_every=100))
    assert curve[0][1] > 0.1
    assert curve[-1][1] < 0.02


def test_training_is_the_same_for_the_same_seed_and_leaves_the_global_generator_alone() -> None:
    lesson = Lesson(steps=6, batch_size=5)
    before = torch.get_rng_state()
    assert trained(lesson)[1] == trained(lesson)[1]
    assert trained(lesson)[1] != trained(lesson, seed=1)[1]
    assert torch.equal(torch.get_rng_state(), before)


def test_the_curve_starts_before_training_and_ends_with_it() -> None:
    _, curve = trained(Lesson(steps=7, batch_size=5, evaluate_every=3))
    assert [sequences for sequences, _ in curve] == [0, 15, 30, 35]


def test_progress_is_told_every_step_with_the_error_last_measured() -> None:
    told: list[tuple[int, float]] = []
    _, curve = trained(Lesson(steps=5, batch_size=4, evaluate_every=2), progress=lambda *step: told.append(step))
    errors = [error for _, error in curve]
    assert told == list(zip([1, 2, 3, 4, 5], [errors[k] for k in (0, 1, 1, 2, 3)]))


def test_the_learning_rate_halves_three_quarters_through_and_ends_near_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    step = torch.optim.Adam.step

    def noted(self: torch.optim.Adam) -> None:
        rates.append(self.param_groups[0]["lr"])
        step(self)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    trained(Lesson(steps=8, batch_size=2, learning_rate=0.1))
    assert rates == pytest.approx([0.1] * 5 + [0.075, 0.05, 0.025])
