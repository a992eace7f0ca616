"""From minutes to a size and a number of steps."""

from __future__ import annotations

import math

import pytest

from holdfast.training.budget import ENOUGH_STEPS, MEASURED_SHARE, TIMED_STEPS, Plan, Speed, largest, measure


class _Model:
    """Steps and evaluations that take as long as they are told to."""

    def __init__(self, steps: list[float], evaluation: float = 0.5) -> None:
        self.steps, self.evaluation = steps, evaluation
        self.time, self.made, self.evaluated = 100.0, 0, 0

    def step(self) -> None:
        """One of them; the last again and again."""
        self.time += self.steps[min(self.made, len(self.steps) - 1)]
        self.made += 1

    def evaluate(self) -> None:
        """One."""
        self.time += self.evaluation
        self.evaluated += 1

    def speed(self, limit: float, most: float = math.inf, needed: int = 0) -> Speed:
        """What is measured of it."""
        return measure(self.step, self.evaluate, limit, most, lambda: self.time, needed)


def test_what_is_compiled_in_the_first_steps_is_not_timed() -> None:
    model = _Model([3.0, 0.5, 0.01])
    speed = model.speed(limit=600)
    assert speed.step == pytest.approx(0.01)
    assert speed.evaluation == 0.5
    assert speed.spent == pytest.approx(model.time - 100)
    assert model.made >= TIMED_STEPS


def test_a_step_that_was_disturbed_does_not_count() -> None:
    usual = [0.1] * 14
    assert _Model([*usual, 5.0, 0.1]).speed(limit=100).step == pytest.approx(0.1)


def test_a_slow_model_is_measured_for_a_small_share_of_the_time() -> None:
    model = _Model([1.0])
    speed = model.speed(limit=60)
    assert model.made <= 2 + MEASURED_SHARE * 60
    assert speed.step == 1.0
    plan = Plan.of(speed, 60, 20)
    assert plan.steps == pytest.approx(60 - speed.spent - plan.evaluations * 0.5, abs=3)


def test_a_model_that_is_clearly_too_slow_is_left_after_two_steps() -> None:
    model = _Model([1.0])
    assert not model.speed(limit=20, needed=ENOUGH_STEPS).gives(20)
    assert (model.made, model.evaluated) == (2, 0)


def test_what_few_passes_give_is_enough() -> None:
    assert _Model([0.1]).speed(limit=60, most=100, needed=ENOUGH_STEPS).gives(60)
    assert not _Model([0.1]).speed(limit=60, needed=ENOUGH_STEPS).gives(60)
    assert Plan.of(Speed(0.1, 0.5, 1.0, most=100), 60, 20).steps == 100


@pytest.mark.parametrize(
    ("limit", "size", "measured"), [(1, 10, [10]), (40, 10, [10, 20]), (70, 20, [10, 20, 40]), (200, 40, [10, 20, 40])]
)
def test_sizes_are_measured_from_the_smallest_until_one_is_too_slow(limit: int, size: int, measured: list[int]) -> None:
    asked = []

    def speed(units: int, needed: int) -> Speed:
        asked.append(units)
        assert needed == (0 if units == 10 else ENOUGH_STEPS)
        return Speed(units / 1000, 0.0, 1.0)

    chosen, found, others = largest([10, 20, 40], speed, limit)
    assert (chosen, found.step) == (size, size / 1000)
    assert asked == measured
    assert others == len(measured) - 1
