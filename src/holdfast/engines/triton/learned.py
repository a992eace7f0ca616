"""The gradients of what is learned, from those of the gates at all steps: PyTorch's matrix products."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.language import Program
from holdfast.language.program import MAIN_WEIGHT, Group
from holdfast.language.symbols import LAYER_NORM_EPSILON

from ..steps import lowering


class Learned:
    """The gradients of all weights, gathered part by part of the sequence.

    Args:
        program: as traced.
        ahead: its forward step.
        back: its backward step.
        weights: the learned tensors by name.
        hidden: H.
        output: the entries of the output.
        dtype: what sums are made in.
    """

    def __init__(
        self,
        program: Program,
        ahead: lowering.Forward,
        back: lowering.Backward,
        weights: Mapping[str, Tensor],
        hidden: int,
        output: int,
        dtype: torch.dtype,
    ) -> None:
        self.program, self.ahead, self.back, self.weights = program, ahead, back, weights
        self.low, self.hidden, self.output, self.dtype = ahead.program, hidden, output, dtype
        self.place = {k.node: k for k in ahead.kept}
        self.found = {name: torch.zeros_like(w, dtype=dtype) for name, w in weights.items()}
        self.projected = next((n.args[0] for n in self.low.nodes if n.op == "project"), None)
        self.totals = self.found["weight_ih"].new_zeros(back.slots, hidden)  # of the gates' gradients, over all steps

    def add(self, d: Tensor, projected: Tensor | None, x: Tensor, kept: Mapping[str, Tensor]) -> Tensor:
        """Add some steps, and go back through the input projection.

        Args:
            d: the gradients of the gates' parts, (N, slots, H).
            projected: that of the projected output, (N, P), if there is a projection.
            x: the input, (N, I).
            kept: what was kept of these steps, by name, (N, ·).

        Returns:
            The gradient of the gates' input parts, (N, GH), which leads on to x.
        """
        for group in self.low.groups:
            self.through_group(group, d, self.series(group.operand, kept))
        if self.projected is not None and projected is not None:
            self.found["weight_hr"] += projected.t() @ self.series(self.projected, kept)
        self.totals += d.sum(0, dtype=self.dtype)
        gradient = d[:, : len(self.low.gates)].flatten(1)
        if self.program.layer_norm:
            product, gain = F.linear(x, self.weights["weight_ih"]).to(self.dtype), self.weights["weight_ln_x"]
            shape, gain = list(product.shape[-1:]), gain.to(self.dtype)
            _, mean, scale = torch.native_layer_norm(product, shape, gain, None, LAYER_NORM_EPSILON)
            gradient, to_gain, _ = torch.ops.aten.native_layer_norm_backward(
                gradient.to(self.dtype).contiguous(),
                *(product, shape, mean, scale, gain, None, [True, True, False]),
            )
            self.found["weight_ln_x"] += to_gain
            gradient = gradient.to(x.dtype)
        self.found["weight_ih"] += gradient.t() @ x
        return gradient

    def through_group(self, group: Group, d: Tensor, operand: Tensor) -> None:
        """Add the gradient of a recurrent weight by one group of its products."""
        order = next(w.gates for w in self.low.weights if w.name == group.weight)
        pairs = [
            (order.index(g), self.back.products[n]) for g, n in zip(group.gates, group.nodes) if n in self.back.products
        ]
        if not pairs:
            return
        rows, slots = (list(column) for column in zip(*pairs))
        gates = d[:, _run(slots)]  # (N, gates, H)
        total = self.found[group.weight].unflatten(0, (-1, self.hidden))  # (gates, H, P / heads)
        if self.low.heads == 1:
            product = (gates.flatten(1).t() @ operand).unflatten(0, (-1, self.hidden))
        else:
            heads = self.low.heads
            split = gates.unflatten(-1, (heads, -1))
            product = torch.einsum("tgnh,tnp->gnhp", split, operand.unflatten(-1, (heads, -1))).flatten(1, 2)
        total[_run(rows)] += product

    def series(self, node: int, kept: Mapping[str, Tensor]) -> Tensor:
        """A kept value, (N, ·)."""
        place = self.place[node]
        width = self.output if place.array == "kept_output" else self.hidden
        return kept[place.array][:, place.slot * width : (place.slot + 1) * width]

    def finished(self, sums: Tensor) -> list[Tensor]:
        """All gradients, in the order of the weights.

        Args:
            sums: those of the numbers for each unit, (slots, H).
        """
        gates = self.low.gates
        for p in self.low.parameters:
            target = self.found[p.name].view(-1, self.hidden)
            for k, label in enumerate(p.labels):
                if label in self.back.sums:
                    target[k] = sums[self.back.sums[label]]
        if self.program.bias:
            self.found["bias_ih"] = self.totals[: len(gates)].flatten()
            recurrent = self.found["bias_hh"].view(-1, self.hidden)
            for n, slot in self.back.products.items():
                weight, gate = self.low.nodes[n].label.split()
                if weight == MAIN_WEIGHT and gate in self.ahead.joined:
                    recurrent[gates.index(gate)] = self.totals[slot]
        return [self.found[name].to(w.dtype) for name, w in self.weights.items()]


def _run(numbers: list[int]) -> slice | list[int]:
    """Numbers as a slice where they follow each other: with it nothing is copied."""
    whole = range(numbers[0], numbers[0] + len(numbers))
    return slice(whole.start, whole.stop) if numbers == list(whole) else numbers
