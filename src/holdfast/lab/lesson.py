"""A training of a fixed length, as `holdfast demo` gives to both of its models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, nn

from .contestants import Reader
from .problem import Batch, Problem
from .trial import Point


@dataclass(frozen=True)
class Lesson:
    """How a model is trained: by Adam, at a constant rate for half of the steps, which then falls evenly to 0.

    Attributes:
        steps: the number of batches.
        batch_size: the number of sequences in each.
        learning_rate: Adam's, in the first half.
        clip_norm: a bound on the length of the gradient.
        evaluate_every: after how many steps the error is measured again.
    """

    steps: int = 1500
    batch_size: int = 32
    learning_rate: float = 0.01
    clip_norm: float = 1.0
    evaluate_every: int = 50


def train(
    model: Reader,
    problem: Problem,
    lesson: Lesson,
    generator: Generator,
    held_out: Batch,
    progress: Callable[[int, float], None] | None = None,
) -> list[Point]:
    """Train a model in place.

    >>> import torch, holdfast
    >>> from holdfast.lab import PROBLEMS, Reader, initialised
    >>> draw, problem = torch.Generator().manual_seed(0), PROBLEMS["adding"](lag=5)
    >>> model = initialised(lambda: Reader(problem, lambda inputs: holdfast.LSTM(inputs, 8)), draw)
    >>> lesson = Lesson(steps=20, evaluate_every=10)
    >>> curve = train(model, problem, lesson, draw, problem.batch(100, draw))
    >>> [point.sequences for point in curve], curve[-1].error < curve[0].error
    ([0, 320, 640], True)

    Args:
        model: the model.
        problem: what to train it on.
        lesson: how.
        generator: draws the training batches.
        held_out: sequences to measure the error on.
        progress: called after each step with the number of steps done and the error last measured.

    Returns:
        The error before, during and after training.
    """
    optimiser = torch.optim.Adam(model.parameters(), lr=lesson.learning_rate)
    curve = [Point(0, evaluate(model, problem, held_out))]
    for step in range(1, lesson.steps + 1):
        optimiser.param_groups[0]["lr"] = lesson.learning_rate * min(1.0, 2 * (1 - (step - 1) / lesson.steps))
        batch = problem.batch(lesson.batch_size, generator)
        optimiser.zero_grad()
        problem.loss(model(batch), batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), lesson.clip_norm)
        optimiser.step()
        if step % lesson.evaluate_every == 0 or step == lesson.steps:
            curve.append(Point(step * lesson.batch_size, evaluate(model, problem, held_out)))
        if progress is not None:
            progress(step, curve[-1].error)
    return curve


@torch.no_grad()
def evaluate(model: Reader, problem: Problem, held_out: Batch) -> float:
    """The mean error on sequences, in the units of the problem's measure."""
    return problem.errors(model(held_out), held_out).mean().item()
