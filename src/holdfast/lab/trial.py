"""One contestant, one task, one seed: train until it has learned the task, or has seen enough."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn

from .problem import Batch, Problem, Recipe, Score

JUDGED = 250  # sequences that tell whether it is worth the time to judge by as many as the criterion asks
TESTED = 2560  # fresh sequences for the figure at the end, as many as in 1997


@dataclass(frozen=True)
class Point:
    """A place on a curve.

    Attributes:
        sequences: how many sequences the model has been trained on.
        error: its mean error on fresh sequences.
    """

    sequences: int
    error: float


@dataclass
class Outcome:
    """What became of a trial.

    Attributes:
        solved: whether the criterion was met.
        sequences: how many were needed, or seen in vain.
        seconds: how long that took.
        test: the score on sequences apart from all others.
        curve: the error after so many sequences.
        out_of_time: whether the time ended it.
    """

    solved: bool
    sequences: int
    seconds: float
    test: Score
    curve: list[Point] = field(default_factory=list)
    out_of_time: bool = False


def judge(model: Callable[[Batch], Tensor], problem: Problem, generator: Generator, count: int) -> Score:
    """The score on fresh sequences."""
    total = Score(0, 0, 0.0)
    with torch.no_grad():
        while total.tested < count:
            batch = problem.fresh(min(JUDGED, count - total.tested), generator)
            answer = model(batch)
            right, errors = problem.correct(answer, batch), problem.errors(answer, batch)
            total += Score(int((~right).sum()), len(right), errors.double().mean().item())
    return total


def passes(model: Callable[[Batch], Tensor], problem: Problem, generator: Generator, first: Score) -> bool:
    """Whether the task counts as learned, from the score on some sequences and, if that is good enough, on the rest."""
    if not problem.passed(first):
        return False
    rest = max(0, problem.checked - first.tested)
    return problem.passed(first + judge(model, problem, generator, rest))


def learn(
    model: nn.Module,
    problem: Problem,
    recipe: Recipe,
    training: Generator,
    judging: Generator,
    deadline: float = math.inf,
    progress: Callable[[int, float], None] | None = None,
) -> Outcome:
    """Train until `problem.checked` fresh sequences pass, the weights frozen; looked at every `check_every`."""
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, fused=True)
    started, seen, curve, solved = time.perf_counter(), 0, [], False
    while True:
        first = judge(model, problem, judging, min(JUDGED, problem.checked))
        curve.append(Point(seen, first.error))
        if progress is not None:
            progress(seen, first.error)
        solved = passes(model, problem, judging, first)
        late = time.perf_counter() - started > deadline
        if solved or late or seen >= recipe.sequences:
            break
        until = min(seen + recipe.check_every, recipe.sequences)
        while seen < until:
            batch = problem.batch(recipe.batch_size, training)
            optimiser.zero_grad()
            problem.loss(model(batch), batch).backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimiser.step()
            seen += recipe.batch_size
    seconds = time.perf_counter() - started
    return Outcome(solved, seen, seconds, judge(model, problem, judging, TESTED), curve, late and not solved)
