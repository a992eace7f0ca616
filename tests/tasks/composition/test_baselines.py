"""Baselines of music, beside the same counted by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from holdfast.tasks.composition.baselines import of_events, of_frames

Array = np.ndarray[Any, Any]


class Part:
    """Some pieces."""

    def __init__(self, pieces: list[Array]) -> None:
        self.pieces = pieces

    def __len__(self) -> int:
        return len(self.pieces)

    def of(self, k: int) -> Array:
        return self.pieces[k]


def _roll(*frames: tuple[int, ...]) -> Array:
    roll = np.zeros((len(frames), 88), np.uint8)
    for t, keys in enumerate(frames):
        roll[t, list(keys)] = 1
    return roll


def test_frames_are_measured_key_by_key_from_the_second_one_on() -> None:
    train = Part([_roll((1,), (1,), (), (1,)), _roll((2,), (1,))])
    part = Part([_roll((1,), (1, 2), ()), _roll((1,), (1,)), _roll((), ())])
    found = of_frames(train, part, np.arange(2))  # type: ignore[arg-type]
    marginal = {1: 4.5 / 7, 2: 1.5 / 7}  # of 6 frames, with half a count for each outcome
    rare = 0.5 / 7
    expected = 0.0
    for keys in ((1, 2), (), (1,)):
        expected -= sum(math.log(p if key in keys else 1 - p) for key, p in marginal.items())
        expected -= 86 * math.log(1 - rare)
    (by_frequency, by_before) = (measures["nats"] for measures in found.values())
    assert by_frequency == pytest.approx(expected / 3)
    # Key 1 sounded before twice and went on once; it was silent before twice, and came both times.
    after = {1: {True: 1.5 / 3, False: 2.5 / 3}, 2: {True: 0.5 / 2, False: 0.5 / 4}}
    never = 0.5 / 5
    steps = [((1,), (1, 2)), ((1, 2), ()), ((1,), (1,))]
    expected = 0.0
    for before, now in steps:
        for key, chances in after.items():
            p = chances[key in before]
            expected -= math.log(p if key in now else 1 - p)
        expected -= 86 * math.log(1 - never)
    assert by_before == pytest.approx(expected / 3)


def test_events_are_measured_from_the_second_one_on() -> None:
    train = Part([np.array([3, 4, 3, 4, 3, 4] * 20, np.uint16)])
    found = of_events(train, Part([np.array([9, 3, 4, 3, 4], np.uint16)]), np.arange(1))  # type: ignore[arg-type]
    by_frequency, by_grams = (measures["nats"] for measures in found.values())
    assert by_frequency == pytest.approx(math.log(2), abs=0.1)
    assert by_grams < by_frequency
