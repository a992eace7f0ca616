"""Creating and initialising the learned tensors of a layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from holdfast.engines.parameters import Spec
from holdfast.language import Cell


def register(module: nn.Module, specs: Iterable[Spec], suffix: str, device: Any, dtype: Any) -> dict[str, float | None]:
    """Add the learned tensors to a module, not yet initialised.

    Returns:
        For each tensor's name in the module, the constant it starts from, or None if it is to be drawn.
    """
    initial = {}
    for spec in specs:
        if hasattr(module, f"{spec.name}{suffix}"):
            raise ValueError(f"a parameter cannot be called {spec.name!r}: the layer has an attribute of that name")
        tensor = torch.empty(spec.shape, device=device, dtype=dtype)
        module.register_parameter(f"{spec.name}{suffix}", nn.Parameter(tensor))
        initial[f"{spec.name}{suffix}"] = spec.initial
    return initial


@torch.no_grad()
def initialise(module: nn.Module, initial: Mapping[str, float | None], hidden_size: int) -> None:
    """Draw the learned tensors as PyTorch does, uniformly in ±1/√H; some start from a constant of their own.

    Args:
        module: the layer.
        initial: for each tensor's name in the module, its constant, or None to draw it.
        hidden_size: H.
    """
    bound = 1 / math.sqrt(hidden_size)
    for name, constant in initial.items():
        tensor = getattr(module, name)
        if constant is None:
            nn.init.uniform_(tensor, -bound, bound)
        else:
            nn.init.constant_(tensor, constant)


@dataclass(frozen=True)
class ForgetBias:
    """How the forget gates start.

    Attributes:
        value: the sum of the two biases of the forget gate, for a constant start.
        max_lag: the longest lag to expect, for the chrono initialisation: b_f = log U(1, max_lag - 1), b_i = -b_f.
    """

    value: float | None = None
    max_lag: int | None = None

    @classmethod
    def of_options(
        cls, cell: Cell, bias: bool, forget_bias: float | None, init: str | None, max_lag: int | None
    ) -> ForgetBias | None:
        """What a layer's options ask for; None if nothing. Contradictions are refused."""
        for name, number in (("forget_bias", forget_bias), ("max_lag", max_lag)):
            if number is not None and not (isinstance(number, int | float) and math.isfinite(number)):
                raise TypeError(f"{name} must be a finite number or None; got {number!r}")
        if init not in (None, "chrono"):
            raise ValueError(f"init must be None (PyTorch's) or 'chrono'; got {init!r}")
        if (max_lag is not None) != (init == "chrono"):
            raise ValueError(
                f"max_lag and init='chrono' go together: the longest lag to expect; got {max_lag=} and {init=}"
            )
        if forget_bias is None and init is None:
            return None
        if forget_bias is not None and init is not None:
            raise ValueError("forget_bias and init='chrono' contradict each other: both set the forget gate's bias")
        asked = "forget_bias" if forget_bias is not None else "init='chrono'"
        if not bias:
            raise ValueError(f"{asked} contradicts bias=False: there is no bias to set")
        if forget_bias is not None and "f" not in cell.gates:
            raise ValueError("forget_bias contradicts coupled=True: a coupled cell has no forget gate of its own")
        if init is not None and getattr(cell, "forget_gate", "sigmoid") != "sigmoid":
            raise ValueError(
                "init='chrono' contradicts forget_gate='exp': it is made for a forget gate between 0 and 1"
            )
        if max_lag is not None and not max_lag > 2:
            raise ValueError(f"max_lag must be greater than 2; got {max_lag!r}")
        return cls(forget_bias, max_lag)

    @torch.no_grad()
    def apply(self, module: nn.Module, gates: Sequence[str], suffix: str, hidden_size: int) -> None:
        """Set the biases of one layer in one direction."""
        own, other = (getattr(module, f"bias_{part}{suffix}").view(len(gates), hidden_size) for part in ("ih", "hh"))
        starts = {}
        if self.value is not None:
            starts["f"] = torch.full_like(own[0], self.value)
        if self.max_lag is not None:
            lag = torch.log(torch.empty_like(own[0]).uniform_(1, self.max_lag - 1))
            starts = {"f": lag, "i": -lag}
        for gate, start in starts.items():
            if gate in gates:
                own[gates.index(gate)] = start
                other[gates.index(gate)] = 0
