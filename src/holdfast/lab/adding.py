"""The adding problem: remember two numbers among many, and give their sum at the end.

Hochreiter and Schmidhuber (1997) posed it; this is the form in use since Le (2015). A sequence has two features: a
number between 0 and 1, and a marker that is 1 at one step of the first half and at one of the second, else 0. What is
asked for at the end is the sum of the two marked numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from holdfast.layers import Recurrent


@dataclass(frozen=True)
class AddingProblem:
    """The task at one length.

    >>> import torch
    >>> x, target = AddingProblem(lag=10).batch(3, torch.Generator().manual_seed(0))
    >>> x.shape, target.shape
    (torch.Size([10, 3, 2]), torch.Size([3]))

    Attributes:
        lag: T, the number of steps of a sequence: over so many the first number may have to be kept.
    """

    lag: int = 100

    def __post_init__(self) -> None:
        if self.lag < 2:
            raise ValueError(f"lag must be at least 2, one step for each marked number; got {self.lag!r}")

    @property
    def baseline(self) -> float:
        """The mean squared error of always guessing the mean: the variance of the sum of two uniform numbers."""
        return 1 / 6

    def batch(self, size: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Fresh sequences, (T, B, 2), value before marker, and the sums to find, (B,)."""
        values = torch.rand(self.lag, size, generator=generator)
        half = self.lag // 2
        first = torch.randint(0, half, (1, size), generator=generator)
        second = torch.randint(half, self.lag, (1, size), generator=generator)
        markers = torch.zeros(self.lag, size).scatter_(0, torch.cat([first, second]), 1.0)
        return torch.stack([values, markers], -1), (values * markers).sum(0)


class SumReader(nn.Module):
    """A recurrent layer, and a linear read-out of its last output to one number.

    >>> import torch, holdfast
    >>> model = SumReader(holdfast.GRU(2, 8))
    >>> model(torch.rand(10, 3, 2)).shape
    torch.Size([3])

    Args:
        layer: the layer, which takes (T, B, 2).
    """

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        self.layer = layer
        self.read_out = nn.Linear(layer.proj_size or layer.hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The sums, (B,), for sequences (T, B, 2)."""
        output, _ = self.layer(x)
        return self.read(output[-1])

    def read(self, last: Tensor) -> Tensor:
        """The sums, (B,), for the last outputs, (B, H)."""
        return self.read_out(last).squeeze(-1)


def initialised(build: Callable[[], SumReader], generator: Generator) -> SumReader:
    """What `build` makes, its weights drawn by `generator` and not by PyTorch's global one, which stays as it is.

    >>> import torch, holdfast
    >>> a, b = (initialised(lambda: SumReader(holdfast.RNN(2, 4)), torch.Generator().manual_seed(1)) for _ in range(2))
    >>> torch.equal(a.read_out.weight, b.read_out.weight)
    True
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return build()


@dataclass(frozen=True)
class Recipe:
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


@dataclass(frozen=True)
class Point:
    """A place on a curve.

    Attributes:
        sequences: how many sequences the model has been trained on.
        error: its mean squared error on held-out sequences.
    """

    sequences: int
    error: float


def train(
    model: SumReader,
    problem: AddingProblem,
    recipe: Recipe,
    generator: Generator,
    held_out: tuple[Tensor, Tensor],
    progress: Callable[[int, float], None] | None = None,
) -> list[Point]:
    """Train a model in place.

    >>> import torch, holdfast
    >>> draw, problem = torch.Generator().manual_seed(0), AddingProblem(lag=5)
    >>> model = initialised(lambda: SumReader(holdfast.LSTM(2, 8)), draw)
    >>> curve = train(model, problem, Recipe(steps=20, evaluate_every=10), draw, problem.batch(100, draw))
    >>> [point.sequences for point in curve], curve[-1].error < curve[0].error
    ([0, 320, 640], True)

    Args:
        model: the model.
        problem: what to train it on.
        recipe: how.
        generator: draws the training batches.
        held_out: sequences and sums to measure the error on, as `problem.batch` gives them.
        progress: called after each step with the number of steps done and the error last measured.

    Returns:
        The error before, during and after training.
    """
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    curve = [Point(0, evaluate(model, held_out))]
    for step in range(1, recipe.steps + 1):
        optimiser.param_groups[0]["lr"] = recipe.learning_rate * min(1.0, 2 * (1 - (step - 1) / recipe.steps))
        x, target = problem.batch(recipe.batch_size, generator)
        optimiser.zero_grad()
        nn.functional.mse_loss(model(x), target).backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimiser.step()
        if step % recipe.evaluate_every == 0 or step == recipe.steps:
            curve.append(Point(step * recipe.batch_size, evaluate(model, held_out)))
        if progress is not None:
            progress(step, curve[-1].error)
    return curve


@torch.no_grad()
def evaluate(model: SumReader, held_out: tuple[Tensor, Tensor]) -> float:
    """The mean squared error on sequences and their sums."""
    x, target = held_out
    return nn.functional.mse_loss(model(x), target).item()
