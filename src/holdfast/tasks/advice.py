"""What a training that has ended would have needed: more time, or something else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .figures import shown
from .verdict import Standing

_LATE = 0.75  # of the steps; what comes after is the end of a curve
_FELL = 0.03  # of a measure, by which it still falls there: the last of a long training's cosine brings less
_FEWEST = 4  # evaluations that make a curve; of fewer, the losses of the steps are looked at
_MORE = 4  # times as long


def advice(name: str, lines: Sequence[Mapping[str, Any]], standings: Sequence[Standing], seconds: float) -> str:
    """What to say of a training that ended too early or behind a baseline; empty if it did neither.

    >>> lines = [{"step": k, "loss": 3 - k / 10, "valid_nats": 3 - k / 10} for k in range(1, 11)]
    >>> behind = Standing("loss in nats", 2.0, 1.5, "unigram", won=False)
    >>> advice("nats", lines, [behind], seconds=60)
    'nats still fell when the training ended, and unigram is ahead with 1.5000 against 2.0000: try --minutes 4'
    >>> advice("nats", [{**line, "valid_nats": 1.4} for line in lines], [], seconds=60)
    ''

    Args:
        name: the measure that is to become small.
        lines: the metrics of the run, a line for each step.
        standings: the model beside simple methods.
        seconds: how long the training took.
    """
    curve = [(line["step"], line[f"valid_{name}"]) for line in lines if line.get(f"valid_{name}") is not None]
    if not curve:
        return ""
    best_step, _ = min(curve, key=lambda point: point[1])
    ahead = next((one for one in standings if not one.won and one.ours != one.theirs), None)
    falls = _falls(curve if len(curve) >= _FEWEST else [(line["step"], line["loss"]) for line in lines])
    if not falls and ahead is None:
        return ""
    behind = f"{ahead.who} is ahead with {shown(ahead.theirs)} against {shown(ahead.ours)}" if ahead else ""
    if not falls and best_step < _LATE * lines[-1]["step"]:
        return (
            f"{behind}, and {name} has not fallen since step {best_step:,}: more time will hardly help, more data may"
        )
    minutes = max(1, math.ceil(_MORE * seconds / 60 - 0.5))
    fell = f"{name} still fell when the training ended" if falls else ""
    return f"{', and '.join(filter(None, (fell, behind)))}: try --minutes {minutes}"


def _falls(curve: Sequence[tuple[int, float | None]]) -> bool:
    """Whether a curve of steps and values is clearly lower in its last tenth than when its last quarter began."""
    known = [(step, value) for step, value in curve if value is not None]
    last = known[-1][0] if known else 0
    around = [value for step, value in known if (2 * _LATE - 1) * last < step <= _LATE * last]
    end = [value for step, value in known if step > 0.9 * last]
    if not around or not end:
        return False
    before = sum(around[-max(1, len(end)) :]) / min(len(around), max(1, len(end)))
    return before - sum(end) / len(end) > _FELL * abs(before)
