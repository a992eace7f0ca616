"""One contestant, one task, one seed: train until it has learned the task, or has seen enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

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


@dataclass(frozen=True)
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
    curve: list[Point]
    out_of_time: bool


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


class Pupil(Protocol):
    """Who can learn: a network, or a hidden Markov model."""

    batch_size: int

    def learn(self, batch: Batch) -> None:
        """One step on some sequences, `batch_size` of them."""

    def __call__(self, batch: Batch) -> Tensor:
        """The answers, as `Problem.loss` takes them."""


class Network:
    """A network that learns by a recipe.

    Args:
        model: it, which is trained in place.
        problem: what it is to learn.
        recipe: how.
    """

    def __init__(self, model: nn.Module, problem: Problem, recipe: Recipe) -> None:
        self.model, self.problem, self.recipe = model, problem, recipe
        self.batch_size = recipe.batch_size
        self.optimiser = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, fused=True)

    def learn(self, batch: Batch) -> None:
        """One step of the optimiser."""
        self.optimiser.zero_grad()
        self.problem.loss(self(batch), batch).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimiser.step()

    def __call__(self, batch: Batch) -> Tensor:
        """The model's answers."""
        answer: Tensor = self.model(batch)
        return answer


def attempt(
    pupil: Pupil, problem: Problem, recipe: Recipe, training: Generator, judging: Generator, seconds: float
) -> Outcome:
    """Learn until `problem.checked` fresh sequences pass, or until it has seen enough or the time is over.

    Args:
        pupil: who learns.
        problem: the task.
        recipe: says how many sequences are enough, and how often is looked whether the task has been learned.
        training: draws the sequences to learn from.
        judging: draws those to be judged by.
        seconds: the time.
    """
    started, seen, curve = time.perf_counter(), 0, []
    while True:
        first = judge(pupil, problem, judging, min(JUDGED, problem.checked))
        curve.append(Point(seen, first.error))
        solved = passes(pupil, problem, judging, first)
        late = time.perf_counter() - started > seconds
        if solved or late or seen >= recipe.sequences:
            break
        until = min(seen + recipe.check_every, recipe.sequences)
        while seen < until:
            pupil.learn(problem.batch(pupil.batch_size, training))
            seen += pupil.batch_size
    taken = time.perf_counter() - started
    return Outcome(solved, seen, taken, judge(pupil, problem, judging, TESTED), curve, late and not solved)
