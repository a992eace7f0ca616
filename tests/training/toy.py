"""A small problem for the loop: a recurrent net with dropout that reads numbers and predicts the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import holdfast
from holdfast.training import Devices, Keeper, Loss, Position, Quiet, Run, Training, TrainingOptions, Watcher

BATCHES = 7  # of an epoch


class Model(nn.Module):
    """An LSTM and a read-out."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.layer = holdfast.LSTM(1, 5)
        self.dropout = nn.Dropout(dropout)
        self.read = nn.Linear(5, 1)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        output, state = self.layer(x, state)
        return self.read(self.dropout(output)), state


class Problem:
    """Next-number prediction on batches that are drawn once for each epoch; `spoil` makes some of them NaN."""

    objective = "mse"

    def __init__(self, spoil: Sequence[int] = (), batch: int = 4, rank: int = 0, size: int = 1) -> None:
        self.spoil, self.batch, self.rank, self.size = spoil, batch, rank, size
        self.asked = 0

    def epoch(self, number: int) -> Sequence[Any]:
        """Its batches."""
        draw = torch.Generator().manual_seed(number)
        found = [torch.rand(6, self.batch * self.size, 1, generator=draw).cumsum(0) for _ in range(BATCHES)]
        own = slice(self.rank * self.batch, (self.rank + 1) * self.batch)
        for k in self.spoil:
            if number == 0:
                found[k][2] = float("nan")
        return [(x[:-1, own], x[1:, own]) for x in found]

    def carry(self) -> Sequence[Tensor]:
        """Nothing."""
        return ()

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor], carry: Sequence[Tensor]) -> Loss:
        """The mean square of the error."""
        x, target = batch
        found, state = model(x, tuple(carry) or None)
        error = (found - target).square().mean()
        return Loss(error, error, state)

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """On a batch of its own."""
        self.asked += 1
        (x, target), *_ = Problem().epoch(10_000)
        return {"mse": (model(x)[0] - target).square().mean().item()}


class Memory:
    """A keeper that keeps in memory."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.saved: dict[int, tuple[dict[str, Tensor], dict[str, Any]]] = {}
        self.bests: list[int] = []
        self.plans: list[tuple[int, int]] = []

    def log(self, line: Mapping[str, Any]) -> None:
        """Append."""
        self.lines.append(dict(line))

    def fixed(self, steps: int, evaluations: int) -> None:
        """Append."""
        self.plans.append((steps, evaluations))

    def best(self, model: nn.Module, step: int, measures: Mapping[str, float]) -> None:
        """Append."""
        self.bests.append(step)

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Copy."""
        self.saved[step] = {n: t.clone() for n, t in tensors.items()}, dict(facts)


class Silent(Quiet):
    """A watcher that counts what was skipped."""

    def __init__(self) -> None:
        self.skips: list[tuple[int, str]] = []

    def skipped(self, position: Position, what: str) -> None:
        """Count."""
        self.skips.append((position.step, what))


def training(
    keeper: Keeper | Run,
    problem: Problem | None = None,
    watcher: Watcher | None = None,
    place: Devices | None = None,
    **options: Any,
) -> Training:
    """A training of the toy from its beginning."""
    chosen = TrainingOptions(**{"warm_up": 3, "evaluations": 4, "seed": 1, **options})
    torch.manual_seed(chosen.seed)
    model = Model()
    where = place or Devices(torch.device("cpu"))
    return Training(problem or Problem(), model, chosen, where, keeper, watcher or Silent())


def resumed(folder: Path, **options: Any) -> Training:
    """A training that goes on from the latest checkpoint of a run."""
    run = Run.open(folder)
    found = training(run, **options)
    latest = run.latest()
    if latest is not None:
        found.restore(*latest)
    run.rewind(found.position.step)
    return found
