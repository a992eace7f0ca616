"""The contest of `holdfast demo`: an LSTM against a plain RNN of as many units on the adding problem."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Generator, Tensor

from holdfast.layers import LSTM, RNN, Recurrent
from holdfast.microscope import memory_horizon

from .arithmetic import Adding
from .contestants import Reader, initialised
from .lesson import Lesson, train
from .problem import Batch
from .trial import Point

SOLVED = 0.01  # an error below this counts as having learned the task
NEAR = (0.75, 1.25)  # between these shares of the baseline an error counts as that of guessing the mean
HELD_OUT = 2000  # sequences that measure the error
PROBES = 64  # of them, those that measure how far gradients reach

Progress = Callable[[str, int, float], None]


@dataclass(frozen=True)
class Settings:
    """What the contest is about.

    Attributes:
        seed: of everything random.
        lag: of the adding problem.
        hidden_size: the number of units of each model.
        lesson: how both are trained.
    """

    seed: int = 0
    lag: int = 100
    hidden_size: int = 32
    lesson: Lesson = field(default_factory=Lesson)


@dataclass(frozen=True)
class Contestant:
    """Who takes part.

    Attributes:
        name: "LSTM" or "RNN".
        build: makes its layer.
        start: in words, what its weights start from.
    """

    name: str
    build: Callable[[], Recurrent]
    start: str


@dataclass(frozen=True)
class Result:
    """What became of one contestant.

    Attributes:
        contestant: who.
        model: the trained model.
        curve: its error on held-out sequences, before, during and after training.
        seconds: how long that took.
        reach_before: (T,), how long the gradient of the answer with respect to the state after each step is (the median
            of some sequences), before training.
        reach_after: the same after training.
    """

    contestant: Contestant
    model: Reader
    curve: list[Point]
    seconds: float
    reach_before: Tensor
    reach_after: Tensor

    @property
    def name(self) -> str:
        """The contestant's."""
        return self.contestant.name

    @property
    def error(self) -> float:
        """The error at the end."""
        return self.curve[-1].error

    @property
    def parameters(self) -> int:
        """How many numbers the model learned."""
        return sum(p.numel() for p in self.model.parameters())


@dataclass(frozen=True)
class Contest:
    """The contest when it is over.

    Attributes:
        settings: what it was about.
        problem: the task.
        lstm, rnn: what became of the models.
        example: one fresh sequence, (T, 1, 2), that neither has seen.
    """

    settings: Settings
    problem: Adding
    lstm: Result
    rnn: Result
    example: Tensor

    @property
    def results(self) -> tuple[Result, Result]:
        """Both results."""
        return self.lstm, self.rnn


def run(settings: Settings, progress: Progress | None = None) -> Contest:
    """Train both models, on the same sequences, by the same recipe.

    >>> contest = run(Settings(lag=4, hidden_size=3, lesson=Lesson(steps=2, batch_size=5)))
    >>> [(result.name, len(result.curve)) for result in contest.results]
    [('LSTM', 2), ('RNN', 2)]

    Args:
        settings: what the contest is about.
        progress: called after each step with the model's name, the number of steps done and the error last measured.
    """
    problem = Adding(settings.lag)
    of_weights, of_training, of_held_out, of_example = _seeds(settings.seed, 4)
    held_out = problem.batch(HELD_OUT, _generator(of_held_out))

    def result(contestant: Contestant) -> Result:
        model = initialised(lambda: Reader(problem, lambda inputs: contestant.build()), _generator(of_weights))
        before = _reach(model, held_out.x)
        report = None if progress is None else partial(progress, contestant.name)
        start = time.perf_counter()
        curve = train(model, problem, settings.lesson, _generator(of_training), held_out, report)
        return Result(contestant, model, curve, time.perf_counter() - start, before, _reach(model, held_out.x))

    with _one_thread():
        lstm, rnn = (result(contestant) for contestant in contestants(settings))
    example = problem.batch(1, _generator(of_example)).x
    return Contest(settings, problem, lstm, rnn, example)


def contestants(settings: Settings) -> tuple[Contestant, Contestant]:
    """The LSTM and the RNN."""
    units, longest = settings.hidden_size, max(3, settings.lag)  # 3: the least that the chrono initialisation takes
    return (
        Contestant(
            "LSTM",
            lambda: LSTM(2, units, init="chrono", max_lag=longest),
            f"PyTorch's; biases of f and i: chrono, lags up to {longest}",
        ),
        Contestant("RNN", lambda: RNN(2, units), "PyTorch's"),
    )


def verdict(contest: Contest) -> str:
    """What was seen, in words, from the measured errors."""
    outcomes = [f"the {r.name}'s error is {_outcome(r.error, contest.problem.guessing)}" for r in contest.results]
    return f"After {contest.lstm.curve[-1].sequences:,} sequences {'; '.join(outcomes)}."


def _outcome(error: float, baseline: float) -> str:
    guessing = f"the {baseline:.3f} of guessing the mean"
    if error < SOLVED:
        return f"{error:.4f}, under {SOLVED}: it learned the task"
    if error < NEAR[0] * baseline:
        return f"{error:.3f}, below {guessing} but not under {SOLVED}: it learned a part of the task"
    if error < NEAR[1] * baseline:
        return f"{error:.3f}, near {guessing}: it did not learn the task"
    if math.isfinite(error):
        return f"{error:.3f}, above {guessing}: it did not learn the task"
    return f"{error}: its training broke down"


def _seeds(seed: int, count: int) -> list[int]:
    return torch.randint(2**62, (count,), generator=_generator(seed)).tolist()


def _generator(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def _reach(model: Reader, x: Tensor) -> Tensor:
    some = x[:, :PROBES]
    asked = Batch(some, some[0, :, 0], torch.full((some.shape[1],), len(some)))  # the targets are not read
    return memory_horizon(model, asked, read=torch.sum).states["layer"].median(1).values.flip(0)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run PyTorch on one thread: the same bits whatever the number of cores, and for models this small faster too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
