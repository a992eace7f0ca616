"""The recurrent products of one group, with their layer norm and their way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.language import Program
from holdfast.language.program import MAIN_WEIGHT, Group
from holdfast.language.symbols import LAYER_NORM_EPSILON

from ..parameters import gain_name


class Products:
    """The recurrent products of one group: forward, back to the value, and back to the weights."""

    def __init__(self, program: Program, group: Group, weights: Mapping[str, Tensor], hidden: int, acc: torch.dtype):
        self.heads = program.heads
        self.acc = acc
        self.gates = len(group.gates)
        self.hidden = hidden
        order = next(w.gates for w in program.weights if w.name == group.weight)
        self.rows = rows_of(order, group.gates, hidden)
        self.weight = weights[group.weight][self.rows]  # (G'H, P/heads)
        biased = program.bias and group.weight == MAIN_WEIGHT
        self.bias = weights["bias_hh"][self.rows].to(acc) if biased else None  # (G'H,)
        self.gain = weights[gain_name(group.weight)][self.rows].to(acc) if program.layer_norm else None  # (G'H,)
        if self.heads > 1:
            self.blocks = self.weight.view(self.gates, self.heads, hidden // self.heads, -1)
        else:
            self.transposed = self.weight.t()

    def __call__(self, value: Tensor) -> Tensor:  # (…, P) -> (…, G'H)
        """U v, normalised if there is a layer norm, with the bias if there is one."""
        product = self.raw(value)
        if self.gain is not None:
            product = F.layer_norm(product, product.shape[-1:], self.gain, self.bias, LAYER_NORM_EPSILON)
        elif self.bias is not None:
            product = product + self.bias
        return product

    def added_to(self, total: Tensor, value: Tensor) -> Tensor:
        """total + U value, as one operation; only where there is neither a layer norm nor heads."""
        return torch.addmm(total, value.to(self.weight.dtype), self.transposed)

    def raw(self, value: Tensor) -> Tensor:  # (…, P) -> (…, G'H)
        """U v alone."""
        value = value.to(self.weight.dtype)
        if self.heads == 1:
            return torch.matmul(value, self.transposed).to(self.acc)
        split = value.unflatten(-1, (self.heads, -1))  # (…, heads, P/heads)
        return torch.einsum("...np,gnhp->...gnh", split, self.blocks).flatten(-3).to(self.acc)

    def back_to_raw(self, gradient: Tensor, value: Tensor) -> Tensor:
        """From the gradient of the result to that of U value: back through the layer norm, if there is one."""
        if self.gain is None:
            return gradient
        return layer_norm_backward(gradient, self.raw(value), self.gain)[0]

    def back_to_value(self, gradient: Tensor) -> Tensor:  # (…, G'H) -> (…, P)
        """From the gradient of U v to that of v."""
        gradient = gradient.to(self.weight.dtype)
        if self.heads == 1:
            return torch.matmul(gradient, self.weight).to(self.acc)
        split = gradient.unflatten(-1, (self.gates, self.heads, -1))
        return torch.einsum("...gnh,gnhp->...np", split, self.blocks).flatten(-2).to(self.acc)

    def back_to_weights(self, gradient: Tensor, value: Tensor) -> dict[str, Tensor]:
        """The gradients of weight, bias and gain, from those of the results at all steps, (N, G'H)."""
        found = {}
        if self.bias is not None:
            found["bias"] = gradient.sum(0)
        if self.gain is not None:
            gradient, found["gain"] = layer_norm_backward(gradient, self.raw(value), self.gain)
        gradient, value = gradient.to(self.weight.dtype), value.to(self.weight.dtype)
        if self.heads == 1:
            found["weight"] = gradient.t() @ value
        else:
            split = gradient.unflatten(-1, (self.gates, self.heads, -1))
            found["weight"] = torch.einsum("tgnh,tnp->gnhp", split, value.unflatten(-1, (self.heads, -1))).flatten(0, 2)
        return found


def rows_of(order: Sequence[str], gates: Sequence[str], hidden: int) -> Any:
    """The rows of some gates in a tensor that holds those of `order`: a slice where they follow each other."""
    places = [order.index(gate) for gate in gates]
    if places == list(range(places[0], places[0] + len(places))):
        return slice(places[0] * hidden, (places[-1] + 1) * hidden)
    return torch.cat([torch.arange(p * hidden, (p + 1) * hidden) for p in places])


def layer_norm_backward(gradient: Tensor, x: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of x and of the gain of a layer norm over the last axis."""
    shape = list(x.shape[-1:])
    _, mean, scale = torch.native_layer_norm(x, shape, gain, None, LAYER_NORM_EPSILON)
    to_x, to_gain, _ = torch.ops.aten.native_layer_norm_backward(
        gradient.contiguous(), x, shape, mean, scale, gain, None, [True, True, False]
    )
    return to_x, to_gain
