"""A cell of one's own: the minimal gated unit (Zhou 2016), written down once.

Run it: it trains, shows its gates, compiles to one graph and exports with dynamic length, like a built-in cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import holdfast
from holdfast.language import Value, sigmoid, tanh
from holdfast.language.cell import Gates, States


class MinimalGatedUnit(holdfast.Cell):
    """One gate that both forgets and resets."""

    gates = ("f", "n")
    states = ("h",)

    def step(self, gate: Gates, state: States) -> Value:
        """The equations."""
        f = sigmoid(gate.f)  # how much of the past to replace
        n = tanh(gate.n.input + f * gate.n.recurrent)  # what to replace it with
        h = (1 - f) * state.h + f * n
        return h


def train(layer: holdfast.Recurrent, steps: int = 60) -> list[float]:
    """Learn to repeat the first input of a sequence at its end; returns the loss at each step."""
    read_out = torch.nn.Linear(layer.hidden_size, 1)
    optimiser = torch.optim.Adam([*layer.parameters(), *read_out.parameters()], lr=0.02)
    losses = []
    for _ in range(steps):
        x = torch.randn(10, 32, 1)  # (T, B, I)
        output, _ = layer(x)
        loss = (read_out(output[-1]) - x[0]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    """Train, look inside, compile, export."""
    torch.manual_seed(0)
    layer = holdfast.Recurrent(MinimalGatedUnit(), 1, 16)
    print(holdfast.explain(layer))

    losses = train(layer)
    print(f"\nloss      {losses[0]:.3f} -> {losses[-1]:.3f}")

    x = torch.randn(10, 4, 1)
    gate = layer.trace(x).layers[0].gates["f"]  # (T, B, H)
    print(f"gate f    between {gate.min():.3f} and {gate.max():.3f}")

    compiled: Callable[..., Any] = torch.compile(layer, fullgraph=True)
    print(f"compiled  differs by {_difference(compiled(x)[0], layer(x)[0]):.1e}")

    steps, batch = torch.export.Dim("steps"), torch.export.Dim("batch")
    exported = torch.export.export(layer, (x,), dynamic_shapes={"input": {0: steps, 1: batch}}).module()
    longer = torch.randn(23, 3, 1)
    print(f"exported  differs by {_difference(exported(longer)[0], layer(longer)[0]):.1e} on another length")


def _difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


if __name__ == "__main__":
    main()
