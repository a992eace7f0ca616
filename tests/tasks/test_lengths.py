"""Sequences of like length stand side by side."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.tasks.lengths import drawn, in_order

LENGTHS = np.random.default_rng(0).integers(1, 30, 50)


@pytest.mark.parametrize("steps", [1, 60, 100_000])
def test_in_order_is_each_once_and_no_more_steps_at_a_time(steps: int) -> None:
    groups = in_order(LENGTHS, steps)
    assert sorted(np.concatenate(groups).tolist()) == [*range(50)]
    for group in groups:
        assert len(group) == 1 or len(group) * LENGTHS[group].max() <= steps
    assert (len(groups) == 1) == (steps == 100_000)


def test_drawn_is_each_once_at_most_in_an_order_of_the_seed() -> None:
    first, again, other = (drawn(LENGTHS, 8, seed).tolist() for seed in (1, 1, 2))
    assert first == again != other
    assert len({k for batch in first for k in batch}) == 48


def test_drawn_of_too_few_takes_some_twice() -> None:
    (batch,) = drawn(np.array([3, 1]), 5, seed=0).tolist()
    assert sorted(set(batch)) == [0, 1]
    assert len(batch) == 5
