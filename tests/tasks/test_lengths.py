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


def test_pairs_that_are_drawn_are_alike_on_both_sides() -> None:
    pairs = np.random.default_rng(0).integers(1, 30, (3000, 2))
    rows = drawn(pairs, 20, seed=0)
    assert len(np.unique(rows)) == 3000
    padded = pairs[rows].max(1).sum(0) * 20  # steps of each side with the padding
    assert (padded < 1.2 * pairs.sum(0)).all()
    assert not (np.diff(pairs[rows].max(1)[:, 1]) >= 0).all(), "batches are in no order"
