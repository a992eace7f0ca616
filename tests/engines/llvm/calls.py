"""Calls of layers by one engine or another, with everything that comes out of them."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import holdfast
from holdfast.engines.llvm import machine, run


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

# The paths in bfloat16: on the widest vectors there are three ways to multiply.
TILES, WIDENED = "amx", "avx512 without products of bfloat16"


def _lacking_for(path: str) -> list[Any]:
    """The mark that leaves a path of bfloat16 out where the processor cannot take it."""
    has = {TILES: machine.host().tiles, "avx512": _has("avx512") and machine.host("avx512").dots}.get(path, True)
    if path in (TILES, "avx512") and not has:
        return [pytest.mark.skip(reason=f"this processor multiplies no bfloat16 numbers by {path} instructions")]
    return lacking("avx512" if path in (TILES, WIDENED) else path)


HALF_PATHS = [pytest.param(path, marks=_lacking_for(path)) for path in (TILES, "avx512", WIDENED, "avx2", "portable")]


def take(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let kernels be compiled for a path: one of `VECTORS`, or of those in bfloat16."""
    host = machine.host

    def with_less(wanted: str = "") -> machine.Target:
        return dataclasses.replace(host("avx512"), dots=False) if wanted == WIDENED else host(wanted)

    monkeypatch.setattr(machine, "host", with_less)  # kernels are remembered by the variable's value
    monkeypatch.setenv(machine.VARIABLE, "" if path == TILES else path)


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


def outcome(
    call: Call, engine: str, seed: int = 1, training: bool = True, arriving: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Everything that a call gives, and the gradients of everything that it read.

    The gradients that arrive are numbers of one dtype, by default that of what they are gradients of."""
    run.forget_plans()  # a test may have changed what they are made by
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
    drawn = [torch.randn(r.shape, generator=generator, dtype=double) for r in results.values()]
    gradients = [g.to(arriving or r.dtype).to(r.dtype) for g, r in zip(drawn, results.values())]
    leaves = {"x": x, **{f"hx{k}": s for k, s in enumerate(hx)}, **dict(layer.named_parameters())}
    found = torch.autograd.grad(
        list(results.values()), list(leaves.values()), gradients, allow_unused=True, materialize_grads=True
    )
    return {name: r.detach() for name, r in results.items()} | {f"gradient of {n}": g for n, g in zip(leaves, found)}


def exact(call: Call) -> dict[str, Tensor]:
    """What a call is to give, from the same numbers in double precision."""
    return outcome(call.double(), "reference", arriving=call.x.dtype)


def inference(call: Call) -> Tensor:
    """A call without a way back."""
    run.forget_plans()  # a test may have changed what they are made by
    call.layer.eval().engine = "llvm"
    with torch.no_grad():
        hx = call.hx[0] if len(call.hx) == 1 else tuple(call.hx)
        y: Tensor = call.layer(call.x, hx, lengths=call.lengths, reset=call.reset)[0]
    return y
