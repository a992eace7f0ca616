"""Calls of layers by one engine or another, with everything that comes out of them."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import holdfast
from holdfast.engines.llvm import machine


def _has(name: str) -> bool:
    try:
        machine.host(name)
    except ValueError:
        return False
    return True


def lacking(name: str) -> list[Any]:
    """The mark that leaves a vector path out where the processor has none of its instructions."""
    return [] if _has(name) else [pytest.mark.skip(reason=f"this processor cannot execute {name} instructions")]


VECTORS = [pytest.param(name, marks=lacking(name)) for name in ("avx512", "avx2", "portable")]


@dataclass(frozen=True)
class Call:
    """A layer and what it is called with, time first."""

    layer: holdfast.Recurrent
    x: Tensor
    hx: list[Tensor]
    lengths: Tensor | None = None
    reset: Tensor | None = None

    def double(self) -> Call:
        """The same numbers in double precision."""
        layer = copy.deepcopy(self.layer).double()
        return Call(layer, self.x.double(), [s.double() for s in self.hx], self.lengths, self.reset)


def make(
    kind: str = "LSTM",
    steps: int = 5,
    batch: int = 2,
    features: int = 3,
    hidden: int = 8,
    dtype: torch.dtype = torch.float32,
    ragged: bool = False,
    resets: bool = False,
    scale: float = 0.7,
    seed: int = 0,
    **options: Any,
) -> Call:
    """A layer with weights of the size that training gives, and a call of it."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    layer = getattr(holdfast, kind)(features, hidden, dtype=dtype, **options)
    with torch.no_grad():
        for name, weight in layer.named_parameters():
            if name == "n_0":  # a normaliser is positive
                weight.copy_(0.5 + torch.rand(weight.shape, generator=generator))
            elif weight.dim() == 2 and not name.endswith("_0"):
                weight.copy_(normal(*weight.shape) * scale / math.sqrt(weight.shape[1]))
            else:
                weight.copy_(normal(*weight.shape) * 0.3 + (0.5 if name.startswith("weight_ln") else 0.0))
    widths = [options.get("proj_size") or hidden, *[hidden] * (len(layer.cell.states) - 1)]
    slices = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    hx = [normal(slices, batch, width) for width in widths]
    if kind == "SLSTM":
        hx[2] = 0.5 + hx[2].abs()
    x = normal(steps, batch, features)
    lengths = reset = None
    if ragged:
        lengths = torch.randint(0, steps + 1, (batch,), generator=generator)
        x[torch.arange(steps).unsqueeze(1) >= lengths] = float("nan")
    if resets:
        reset = torch.rand(steps, batch, generator=generator) < 0.3
    return Call(layer, x, hx, lengths, reset)


def outcome(call: Call, engine: str, seed: int = 1, training: bool = True) -> dict[str, Tensor]:
    """Everything that a call gives, and the gradients of everything that it read."""
    torch.manual_seed(seed)
    layer = call.layer.train(training)
    layer.engine = engine
    x = call.x.detach().clone().requires_grad_()
    hx = [s.detach().clone().requires_grad_() for s in call.hx]
    y, final = layer(x, hx[0] if len(hx) == 1 else tuple(hx), lengths=call.lengths, reset=call.reset)
    finals = [final] if isinstance(final, Tensor) else list(final)
    results = {"output": y, **{f"final {k}": s for k, s in enumerate(finals)}}
    generator = torch.Generator().manual_seed(seed)
    double = torch.float64  # the same numbers for every dtype
    arriving = [torch.randn(r.shape, generator=generator, dtype=double).to(r.dtype) for r in results.values()]
    leaves = {"x": x, **{f"hx{k}": s for k, s in enumerate(hx)}, **dict(layer.named_parameters())}
    found = torch.autograd.grad(
        list(results.values()), list(leaves.values()), arriving, allow_unused=True, materialize_grads=True
    )
    return {name: r.detach() for name, r in results.items()} | {f"gradient of {n}": g for n, g in zip(leaves, found)}
