"""Intervals, against how often they hold what they should."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.tasks.classification.intervals import of_difference, of_share, of_statistic

TRIALS = 2000


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert of_share(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert of_share(0.0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert of_share(1.0, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_interval_of_a_share_holds_it_in_95_of_100_cases(share: float) -> None:
    draw = np.random.default_rng(0)
    held = 0
    for hits in draw.binomial(60, share, TRIALS):
        low, high = of_share(hits / 60, 60)
        held += low <= share <= high
    assert held / TRIALS == pytest.approx(0.95, abs=0.02)


def test_the_interval_of_a_difference_holds_it_in_95_of_100_cases() -> None:
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(TRIALS):
        kinds = draw.choice(4, 120, p=[0.7, 0.12, 0.06, 0.12])  # both, the first alone, the other alone, neither
        low, high = of_difference(kinds <= 1, (kinds == 0) | (kinds == 2))
        held += low <= 0.06 <= high
    assert held / TRIALS == pytest.approx(0.95, abs=0.02)


def test_what_one_alone_gets_right_moves_the_interval_to_its_side() -> None:
    one, other = np.arange(100) < 90, np.arange(100) < 70
    low, high = of_difference(one, other)
    assert 0.05 < low < 0.2 < high < 0.35
    assert of_difference(other, one) == pytest.approx((-high, -low))


def test_the_bootstrap_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).normal(3, 2, 900)
    low, high = of_statistic(lambda drawn: drawn.mean(), values)
    half = 1.96 * values.std() / 30
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_the_bootstrap_draws_the_same_examples_of_all_columns() -> None:
    values = np.random.default_rng(1).normal(3, 2, 50)
    low, high = of_statistic(lambda one, two: one.mean() - two.mean(), values + 1, values)
    assert (low, high) == pytest.approx((1, 1))
