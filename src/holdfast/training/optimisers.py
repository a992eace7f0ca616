"""Optimisers, learning rates and averages of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from .options import TrainingOptions

_Tensors = tuple[Tensor, ...] | list[Tensor]

_SOON = 10  # the average of the n-th step is over n + 10 of them, or the share that is asked for
WARMUP_PART = 10  # of the steps a tenth at most
PLATEAU = 0.5  # what the learning rate is multiplied by after an evaluation without progress


@dataclass(frozen=True)
class Pace:
    """When some weights learn.

    Attributes:
        parameters: the weights.
        begins: the share of the steps after which they begin to learn.
    """

    parameters: Iterable[nn.Parameter]
    begins: float = 0.0


@runtime_checkable
class Paced(Protocol):
    """A problem not all of whose weights learn alike, because some were trained before for something else."""

    def paces(self, model: nn.Module) -> Sequence[Pace]:
        """All weights of a model, each once."""


def optimiser(paces: Sequence[Pace], options: TrainingOptions) -> torch.optim.Optimizer:
    """AdamW or SGD, with weight decay on what has rows and columns.

    >>> kind = optimiser([Pace(nn.Linear(2, 3).parameters())], TrainingOptions(optimiser="sgd"))
    >>> type(kind).__name__, [len(g["params"]) for g in kind.param_groups]
    ('SGD', [1, 1])
    """
    groups = []
    for pace in paces:
        learned = [p for p in pace.parameters if p.requires_grad]
        for decay, some in (
            (options.weight_decay, [p for p in learned if p.dim() > 1]),
            (0.0, [p for p in learned if p.dim() <= 1]),
        ):
            if some:
                groups.append({"params": some, "weight_decay": decay, "begins": pace.begins})
    if options.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=options.learning_rate, momentum=options.momentum)
    return torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)


def learning_rate(options: TrainingOptions, step: int, total: int, factor: float) -> float:
    """The learning rate of a step. It rises for a tenth of the steps at most, however long the warm-up is to be.

    >>> options = TrainingOptions(learning_rate=1.0, warm_up=10, floor=0.1)
    >>> [round(learning_rate(options, step, 110, 1.0), 3) for step in (1, 10, 60, 110)]
    [0.1, 1.0, 0.55, 0.1]

    Args:
        options: the highest rate and how it falls.
        step: the number of the step, from 1 on.
        total: how many steps there will be.
        factor: what plateaus have made of it.
    """
    warmup = min(options.warm_up, total // WARMUP_PART)
    if step <= warmup:
        return options.learning_rate * step / warmup
    if options.schedule == "plateau":
        return options.learning_rate * max(factor, options.floor)
    if options.schedule == "constant":
        return options.learning_rate
    done = min(1.0, (step - warmup) / (total - warmup))
    share = options.floor + (1 - options.floor) * (1 + math.cos(math.pi * done)) / 2
    return options.learning_rate * share


def averaged(model: nn.Module, options: TrainingOptions) -> AveragedModel | None:
    """A running average of a model's weights, if one is wanted."""
    if not options.average:
        return None

    def join(averages: _Tensors, weights: _Tensors, count: Tensor | int) -> None:
        # At first a larger share: else the average of a short training would be mostly what it started from.
        share = max(options.average, 1 / (int(count) + _SOON))
        torch._foreach_lerp_(averages, weights, share)

    return AveragedModel(model, multi_avg_fn=join)
