"""From minutes to steps: how long a step takes is measured before a training, on a copy of its model.

So the training itself knows its number of steps from the first one on, and is the same as one that was given it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

clock = time.perf_counter

ENOUGH_STEPS = 2500  # what a training should have: of several sizes of a model the largest is taken that gets them
WARMUP_STEPS = 5  # not timed: kernels are compiled and caches filled in them
TIMED_STEPS, TIMED_SHARE, TIMED_SECONDS = 20, 0.02, 10.0  # what is timed at least, of the minutes and of any
MEASURED_SHARE = 0.05  # the share of the minutes after which measuring one model ends, however few steps were timed
TRIMMED = 0.1  # of the timed steps at either end: another program's work now and then is no property of the model
CLEARLY = 2.0  # times too slow, which the first timed step tells already
RESERVE = 0.97  # the share of the minutes that is planned with
EVALUATED_SHARE = 0.2  # the largest share of the minutes that evaluations may take


@dataclass(frozen=True)
class Speed:
    """How fast a model learns.

    Attributes:
        step: seconds of a step.
        evaluation: seconds of an evaluation; 0 where it was not measured.
        spent: seconds that measuring took.
        most: steps there can be, by the passes over the data that are allowed.
    """

    step: float
    evaluation: float
    spent: float
    most: float = math.inf

    def gives(self, limit: float, steps: int = ENOUGH_STEPS) -> bool:
        """Whether so many steps, or all that there can be, fit into a time."""
        return min(steps, self.most) * self.step <= RESERVE * limit - self.spent - self.evaluation


@dataclass(frozen=True)
class Plan:
    """What a number of minutes comes to.

    Attributes:
        steps: of the optimiser.
        evaluations: on validation data.
    """

    steps: int
    evaluations: int

    @classmethod
    def of(cls, speed: Speed, limit: float, evaluations: int, spent: float = 0.0) -> Plan:
        """As many steps as fit into the time that measuring has left.

        >>> Plan.of(Speed(step=0.1, evaluation=1.0, spent=2.0), limit=60, evaluations=20)
        Plan(steps=441, evaluations=12)

        Args:
            speed: of the model.
            limit: seconds.
            evaluations: at most; fewer where they would take a fifth of the time.
            spent: seconds that had gone before this model was measured.
        """
        count = evaluations
        if speed.evaluation:
            count = max(1, min(evaluations, int(EVALUATED_SHARE * limit / speed.evaluation)))
        left = RESERVE * limit - spent - speed.spent - count * speed.evaluation
        return cls(int(max(1, min(left / max(speed.step, 1e-9), speed.most))), count)


def measure(
    step: Callable[[], object],
    evaluate: Callable[[], object],
    limit: float,
    most: float,
    now: Callable[[], float],
    needed: int = 0,
) -> Speed:
    """Time steps and an evaluation.

    Args:
        step: makes one.
        evaluate: makes one.
        limit: seconds of the training.
        most: steps there can be.
        now: a clock in seconds, which all processes that train together read alike.
        needed: steps that must fit in; a model whose first steps are clearly too slow is measured no further.
    """
    begun = before = now()
    times: list[float] = []
    made = 0
    while not _is_timed(times, before - begun, limit, most):
        step()
        made += 1
        after = now()
        is_warm = made > WARMUP_STEPS or (made > 1 and before - begun > TIMED_SHARE * limit)
        if is_warm or after - begun > limit / 2:  # not even a second step would fit
            times.append(after - before)
        before = after
        if times and trimmed_mean(times) * min(needed, most) > CLEARLY * limit:
            return Speed(trimmed_mean(times), 0.0, before - begun, most)
    if before - begun < limit / 2:
        evaluate()
    return Speed(trimmed_mean(times), now() - before, now() - begun, most)


def _is_timed(times: Sequence[float], spent: float, limit: float, most: float) -> bool:
    """Whether enough steps were timed."""
    if not times or spent > MEASURED_SHARE * limit:
        return bool(times)
    fits = most * trimmed_mean(times) < limit / 2  # however exactly a step was timed
    return len(times) >= TIMED_STEPS and (fits or sum(times) >= min(TIMED_SHARE * limit, TIMED_SECONDS))


def trimmed_mean(times: Sequence[float]) -> float:
    """The mean without the shortest and the longest ones.

    >>> trimmed_mean([1.0, 1.0, 1.0, 1.0, 31.0])
    1.0
    """
    left = math.ceil(TRIMMED * len(times)) if len(times) > 2 else 0
    middle = sorted(times)[left : len(times) - left]
    return sum(middle) / len(middle)


def largest(sizes: Sequence[int], measured: Callable[[int, int], Speed], limit: float) -> tuple[int, Speed, float]:
    """The largest of some sizes of a model that gets `ENOUGH_STEPS` in a time, or else the smallest.

    The smallest is measured first: where the time is short even for that, none of it is lost on the others.

    >>> largest([64, 128, 256], lambda units, needed: Speed(units / 4000, 0.0, 1.0), limit=60)
    (64, Speed(step=0.016, evaluation=0.0, spent=1.0, most=inf), 1.0)

    Args:
        sizes: the smallest first.
        measured: how fast one is, which must give so many steps; 0 where any number will do.
        limit: seconds.

    Returns:
        The size, its speed, and the seconds that measuring the others took.
    """
    chosen, best = sizes[0], measured(sizes[0], 0)
    spent, fits = best.spent, best.gives(limit)
    for size in sizes[1:]:
        if not fits:
            break
        speed = measured(size, ENOUGH_STEPS)
        fits = speed.gives(limit - spent)
        spent += speed.spent
        if fits:
            chosen, best = size, speed
    return chosen, best, spent - best.spent
