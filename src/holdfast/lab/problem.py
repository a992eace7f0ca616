"""What a long-lag task is: sequences that are generated, what is asked about them, and when it counts as learned."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

Start = Literal["keep", "chrono", "forget", "pytorch"]


class Batch(NamedTuple):
    """Sequences and what is asked about them.

    Attributes:
        x: symbols, (T, B), or numbers, (T, B, I).
        target: what is asked for at the end, (B,), or at every step, (T, B); symbols or numbers.
        lengths: of the sequences, (B,); what x holds past them is not read.
    """

    x: Tensor
    target: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Score:
    """What became of some sequences.

    Attributes:
        wrong: how many were not answered correctly.
        tested: of how many.
        error: the mean of `Problem.errors`.
    """

    wrong: int
    tested: int
    error: float

    def __add__(self, other: Score) -> Score:
        """Both together."""
        tested = self.tested + other.tested
        total = self.error * self.tested + other.error * other.tested
        return Score(self.wrong + other.wrong, tested, total / max(1, tested))


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: by Adam at a constant rate, the gradient clipped by its norm.

    Attributes:
        sequences: after how many it has failed.
        units: of the layer.
        batch_size: sequences a step.
        learning_rate: Adam's.
        clip: a bound on the norm of the gradient.
        norm: whether the gates and the memory are normalised (layer norm): else, where every step adds to a memory that
            nothing empties, it leaves the range in which it can be read.
        start: what the forget gate of an LSTM starts from. "keep": so far open that nine tenths of a memory outlive the
            lag; "chrono": open for a time up to the lag, which is another for each unit (Tallec 2018); "forget": a bias
            of 1; "pytorch": what PyTorch draws.
        check_every: sequences between two looks at whether the task has been learned.
    """

    sequences: int = 50_000
    units: int = 32
    batch_size: int = 16
    learning_rate: float = 0.005
    clip: float = 1.0
    norm: bool = True
    start: Start = "keep"
    check_every: int = 1000


class Problem(ABC):
    """A task at one lag.

    Attributes:
        name: as on the command line.
        summary: what is asked, in one line.
        source: who posed it.
        default_lag: the lag where none is given.
        least_lag: the shortest that makes sense.
        symbols: how many symbols the input has; 0 if it is numbers.
        features: I, how many numbers a step has; 0 if it is symbols.
        outputs: how many symbols an answer chooses among, or 1 for a number.
        at_end: whether the answer is wanted at the end only, else at every step.
        measure: what `errors` are.
        checked: how many fresh sequences must be answered correctly for the task to count as learned.
        criterion: in words, when a sequence is answered correctly.
        recipe: how it is learned where nothing else is asked for.
        states: how many a hidden Markov model gets: more than suffice if it finds the right ones, where 256 suffice.
        lag: how long something must be remembered; each task says what it counts.
        usual_length: how long sequences are, where no lag says so.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    default_lag: ClassVar[int] = 100
    least_lag: ClassVar[int] = 2
    symbols: int = 0
    features: int = 0
    outputs: int = 1
    at_end: bool = True
    measure: ClassVar[str]
    checked: ClassVar[int] = 2000
    criterion: ClassVar[str]
    recipe: ClassVar[Recipe] = Recipe()
    states: int = 0
    usual_length: ClassVar[int] = 20

    def __init__(self, lag: int | None = None) -> None:
        self.lag = self.default_lag if lag is None else lag
        if self.lag < self.least_lag:
            raise ValueError(f"lag must be at least {self.least_lag} for the task {self.name}; got {self.lag}")

    def prepare(self, generator: Generator) -> None:  # noqa: B027
        """Draw what all batches share, such as a training set; most tasks have nothing of the kind."""

    @abstractmethod
    def batch(self, size: int, generator: Generator) -> Batch:
        """Sequences to learn from."""

    def fresh(self, size: int, generator: Generator) -> Batch:
        """Sequences to be judged by."""
        return self.batch(size, generator)

    @property
    def alphabet(self) -> int:
        """How many symbols there are when the answers are written with the questions; the answers come last."""
        return self.symbols + self.outputs if self.at_end else self.symbols

    def spelled(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sequences with the last answer behind them, (T + 1, B), and their lengths; for models of whole sequences."""
        last = self.alphabet - self.outputs + self.last_answers(batch)
        text = torch.cat([batch.x, torch.zeros_like(batch.x[:1])])
        return text.scatter_(0, batch.lengths[None], last[None]), batch.lengths + 1

    def last_answers(self, batch: Batch) -> Tensor:
        """The symbol that is asked for last in each sequence, (B,)."""
        if self.at_end:
            return batch.target
        return batch.target.gather(0, batch.lengths[None] - 1)[0]

    @abstractmethod
    def loss(self, answer: Tensor, batch: Batch) -> Tensor:
        """What is minimised.

        Args:
            answer: scores of symbols or one number; at the end, (B, O), or at every step, (T, B, O).
            batch: what it answers.
        """

    @abstractmethod
    def errors(self, answer: Tensor, batch: Batch) -> Tensor:
        """How far off each sequence is, (B,), in the units of `measure`."""

    @abstractmethod
    def correct(self, answer: Tensor, batch: Batch) -> Tensor:
        """Which sequences are answered correctly, (B,)."""

    @property
    @abstractmethod
    def guessing(self) -> float:
        """The mean error of who knows the task and remembers nothing."""

    def passed(self, score: Score) -> bool:
        """Whether the task counts as learned."""
        return score.wrong == 0


class SymbolProblem(Problem):
    """A task whose answers are symbols: the loss is the cross-entropy, and a probability is to be within a bound."""

    measure: ClassVar[str] = "nats"
    within: ClassVar[float]

    @property
    def guessing(self) -> float:
        """Of answering at random."""
        return math.log(self.outputs)

    def judged(self, batch: Batch) -> Tensor:
        """Which answers count, (B,) or (T, B)."""
        if self.at_end:
            return torch.ones_like(batch.target, dtype=torch.bool)
        return inside(batch)

    def loss(self, answer: Tensor, batch: Batch) -> Tensor:
        """The cross-entropy."""
        counts = self.judged(batch)
        return F.cross_entropy(answer[counts], batch.target[counts], reduction="sum") / len(batch.lengths)

    def errors(self, answer: Tensor, batch: Batch) -> Tensor:
        """The cross-entropy of each sequence, over the answers that count."""
        counts = self.judged(batch)
        each = F.cross_entropy(answer.flatten(0, -2), batch.target.flatten(), reduction="none").view(counts.shape)
        each = each.masked_fill(~counts, 0.0)
        return each if self.at_end else each.sum(0) / counts.sum(0).clamp(min=1)

    def correct(self, answer: Tensor, batch: Batch) -> Tensor:
        """Whether all probabilities that count are within the bound of what is right, 0 or 1."""
        wanted = F.one_hot(batch.target, self.outputs)
        off = (answer.softmax(-1) - wanted).abs().amax(-1)
        good = (off < self.within) | ~self.judged(batch)
        return good if self.at_end else good.all(0)


class NumberProblem(Problem):
    """A task whose answer is a number at the end: the loss is the squared error, and it is to be within a bound."""

    measure: ClassVar[str] = "mean squared error"
    within: ClassVar[float]

    def loss(self, answer: Tensor, batch: Batch) -> Tensor:
        """The mean squared error."""
        return F.mse_loss(answer.squeeze(-1), batch.target)

    def errors(self, answer: Tensor, batch: Batch) -> Tensor:
        """The squared error of each sequence."""
        return (answer.squeeze(-1) - batch.target).square()

    def correct(self, answer: Tensor, batch: Batch) -> Tensor:
        """Whether the answer is within the bound."""
        return (answer.squeeze(-1) - batch.target).abs() < self.within


def inside(batch: Batch) -> Tensor:
    """Which steps are before the end of their sequence, (T, B)."""
    steps = torch.arange(len(batch.x), device=batch.x.device)
    return steps[:, None] < batch.lengths


def whole_numbers(low: Tensor | int, high: Tensor | int, size: int, generator: Generator) -> Tensor:
    """Whole numbers from low to high, both included, (B,); the bounds may differ between sequences."""
    span = torch.as_tensor(high) - low + 1
    return (torch.rand(size, generator=generator, dtype=torch.float64) * span).long() + low
