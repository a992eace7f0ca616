"""Forward over a sequence, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.language import Program
from holdfast.language.symbols import LAYER_NORM_EPSILON

from ..inputs import Inputs
from .operations import Operand
from .products import Products, rows_of
from .schedule import schedule


@dataclass(frozen=True)
class Run:
    """What came out of a run.

    Attributes:
        output: the first state at every step, (T, B, P); 0 past a length.
        final: the state after the last step, one tensor a state.
        kept: the values of the asked nodes at every step, each (T, B, ·).
    """

    output: Tensor
    final: list[Tensor]
    kept: list[Tensor]


class _ClipGradient(torch.autograd.Function):
    """The identity, whose gradient is clipped on its way back."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, bound: float) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.bound = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.clamp(-ctx.bound, ctx.bound), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return tangent.view_as(tangent)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of states and of everything between products: float32 for half precision."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def _parameter_rows(program: Program, weights: Mapping[str, Tensor], acc: torch.dtype) -> dict[str, Tensor]:
    """The per-unit parameters by label, each (H,)."""
    rows: dict[str, Tensor] = {}
    for p in program.parameters:
        tensor = weights[p.name].to(acc)
        rows.update(zip(p.labels, tensor.unbind(0) if p.rows else [tensor]))
    return rows


class Forward:
    """One run over a sequence: what does not change from step to step, and the step."""

    def __init__(self, program: Program, inputs: Inputs) -> None:
        self.program = program
        self.inputs = inputs
        self.schedule = schedule(program)
        self.weights = inputs.named_weights(program)
        self.acc = accumulation_dtype(inputs.x.dtype)
        self.hidden = self.weights["weight_ih"].shape[0] // len(program.gates)
        batch = inputs.x.shape[1]
        self.like_units = inputs.x.new_zeros(batch, self.hidden, dtype=self.acc)  # (B, H)
        self.like_output = inputs.x.new_zeros(batch, inputs.state[0].shape[-1], dtype=self.acc)  # (B, P)
        self.products = [Products(program, g, self.weights, self.hidden, self.acc) for g in program.groups]
        self.alive = inputs.alive()
        self.boundaries = inputs.boundaries()
        self.masks = dict(zip((m.name for m in program.masks), inputs.masks))
        self.per_step = {m.name for m in program.masks if m.per == "step"}
        self.rows = _parameter_rows(program, self.weights, self.acc)
        self.place = {state: k for k, state in enumerate(program.states)}

    def input_parts(self) -> dict[str, Sequence[Tensor]]:
        """W x + b_ih for all steps and each gate, (T, B, H); for a joined group, W x + b_ih + b_hh, (T, B, G'H)."""
        x = self.inputs.x
        if self.alive is not None:
            x = torch.where(self.alive.unsqueeze(-1), x, 0)  # padding may hold anything, also NaN
        bias = self.weights.get("bias_ih")
        if self.program.layer_norm:
            product = F.linear(x, self.weights["weight_ih"]).to(self.acc)
            gain = self.weights["weight_ln_x"].to(self.acc)
            bias = None if bias is None else bias.to(self.acc)
            parts = F.layer_norm(product, product.shape[-1:], gain, bias, LAYER_NORM_EPSILON)
        else:
            parts = F.linear(x, self.weights["weight_ih"], self.joined_bias(bias)).to(self.acc)
        found = dict(zip(self.program.gates, parts.split(self.hidden, -1)))
        for k, group in enumerate(self.program.groups):
            if self.schedule.summed[k]:
                found[f"group {k}"] = parts[..., rows_of(self.program.gates, group.gates, self.hidden)]
        return {name: part.unbind(0) for name, part in found.items()}

    def joined_bias(self, bias: Tensor | None) -> Tensor | None:
        """b_ih, with b_hh already added for the gates of which only the sum is used."""
        if bias is None:
            return None
        recurrent = self.weights["bias_hh"].split(self.hidden)
        joined = {g for group, summed in zip(self.program.groups, self.schedule.summed) if summed for g in group.gates}
        pairs = zip(self.program.gates, bias.split(self.hidden), recurrent)
        return torch.cat([own + other if gate in joined else own for gate, own, other in pairs])

    def run(self, keep: Sequence[int]) -> Run:
        """Run over all steps; `keep` names nodes whose values are wanted at every step.

        In padding these are finite and mean nothing.
        """
        steps = self.inputs.x.shape[0]
        parts = self.input_parts()
        state = [s.to(self.acc) for s in self.inputs.state]
        rows: list[tuple[Tensor, list[Tensor]]] = []
        for t in reversed(range(steps)) if self.inputs.reverse else range(steps):
            before = self.before(t, state)
            values = self.step(t, {gate: series[t] for gate, series in parts.items()}, before)
            new = [self.spread(values[r], self.like(r)) for r in self.program.results]
            output = new[0]
            if self.alive is not None:
                alive = self.alive[t].unsqueeze(-1)  # (B, 1)
                output = torch.where(alive, output, 0)
                new = [torch.where(alive, n, s) for n, s in zip(new, state)]  # past its length a state stays
            state = new
            rows.append((output, [self.spread(values[k], self.like(k)) for k in keep]))
        if self.inputs.reverse:
            rows.reverse()
        dtype = self.inputs.x.dtype
        return Run(
            torch.stack([output for output, _ in rows]).to(dtype),
            [s.to(dtype) for s in state],
            [torch.stack(series) for series in zip(*(kept for _, kept in rows))],
        )

    def before(self, t: int, state: list[Tensor]) -> list[Tensor]:
        """The state that step t starts from."""
        if self.boundaries is not None:
            boundary = self.boundaries[t].unsqueeze(-1)  # (B, 1)
            home = self.inputs.home or [torch.zeros_like(s[0]) for s in state]
            state = [torch.where(boundary, h.to(s), s) for h, s in zip(home, state)]
        if self.program.grad_clip:
            state = [_ClipGradient.apply(s, self.program.grad_clip) for s in state]
        return state

    def step(self, t: int, parts: Mapping[str, Tensor], state: list[Tensor]) -> list[Any]:
        """The values of all nodes at one step."""
        values: list[Any] = [None] * len(self.program.nodes)
        for index, number in self.schedule.constants.items():
            values[index] = number
        for kind, what, index, args in self.schedule.instructions:
            if kind == "call":
                operands = [values[a] for a in args]
                values[index] = what(*operands) if what else self.project(operands[0])
            elif kind == "group":
                for target, value in zip(args, self.group(what, parts, values)):
                    values[target] = value
            elif kind == "state":
                values[index] = state[self.place[what]]
            elif kind == "input":
                values[index] = parts[what]
            elif kind == "mask":
                values[index] = self.masks[what][t] if what in self.per_step else self.masks[what]
            else:
                values[index] = self.rows[what]
        return values

    def group(self, k: int, parts: Mapping[str, Tensor], values: list[Any]) -> Sequence[Tensor]:
        """The products of one group, or their sums with the input parts."""
        group, products = self.program.groups[k], self.products[k]
        operand = self.spread(values[group.operand], self.like(group.operand))
        if self.schedule.summed[k]:
            total = products.added_to(parts[f"group {k}"].to(products.weight.dtype), operand).to(self.acc)
        else:
            total = products(operand)
        return total.split(self.hidden, -1)

    def project(self, value: Tensor) -> Tensor:  # (B, H) -> (B, P)
        """W_hr v."""
        weight = self.weights["weight_hr"]
        return F.linear(self.spread(value, self.like_units).to(weight.dtype), weight).to(self.acc)

    def like(self, index: int) -> Tensor:
        """A tensor of the shape that a node's value has, (B, H) or (B, P); a state may be a constant of no width."""
        output = self.program.widths[index] == "output" or (
            index == self.program.results[0] and self.program.projection
        )
        return self.like_output if output else self.like_units

    def spread(self, value: Operand, like: Tensor) -> Tensor:
        """A value at its full shape, (B, ·): constants and parameters have less."""
        if not isinstance(value, Tensor):
            return torch.full_like(like, value)
        return value if value.shape == like.shape else value.expand_as(like)
