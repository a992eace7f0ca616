"""Back over a sequence, by the derivative of the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.language import Program, derive

from ..gradients import Gradients
from ..inputs import Inputs
from ..parameters import gain_name
from .forward_run import Forward
from .operations import TORCH
from .products import layer_norm_backward


def kept_nodes(program: Program, trace: bool) -> list[int]:
    """The nodes whose values the backward pass needs: those the derivative reads, and what products multiply."""
    given = ("parameter", "mask", "const")  # these the derivative takes from the inputs
    reads = {i for i in derive(program, trace).reads if program.nodes[i].op not in given}
    projected = {node.args[0] for node in program.nodes if node.op == "project"}
    return sorted(reads | {group.operand for group in program.groups} | projected)


class Backward:
    """One run back over a sequence."""

    def __init__(self, program: Program, inputs: Inputs, saved: Sequence[Tensor], trace: bool) -> None:
        self.program = program
        self.inputs = inputs
        self.forward = Forward(program, inputs)
        self.derivative = derive(program, trace)
        self.saved = dict(zip(kept_nodes(program, trace), saved))
        self.acc = self.forward.acc
        self.like_state = [torch.zeros_like(s, dtype=self.acc) for s in inputs.state]
        self.like_units = self.forward.like_units  # (B, H)
        self.shared = self.group_of_inputs()

    def group_of_inputs(self) -> int | None:
        """The group whose gradients are those of the input parts too, as they are where only the sums are used."""
        d = self.derivative
        for k, group in enumerate(self.program.groups):
            if group.gates == self.program.gates and all(
                gate in d.inputs and n in d.products and d.inputs[gate] == d.products[n]
                for gate, n in zip(group.gates, group.nodes)
            ):
                return k
        return None

    def run(
        self,
        output: Tensor | None,
        final: Sequence[Tensor | None],
        traced: Sequence[Tensor | None],
        need_x: bool,
    ) -> Gradients:
        """Back over all steps; the arguments as in `holdfast.engines.reference.backward`."""
        program, inputs, steps = self.program, self.inputs, self.inputs.x.shape[0]
        arriving = self.arriving(output, traced)
        gradient = [zero if g is None else g.to(self.acc) for g, zero in zip(final, self.like_state)]
        home = [torch.zeros_like(h, dtype=self.acc) for h in inputs.home]
        rows: list[dict[str, Tensor]] = []
        for t in range(steps) if inputs.reverse else reversed(range(steps)):
            outside = {name: series[t] for name, series in arriving.items()}
            here = [g + outside[s] if s in outside else g for s, g in zip(program.states, gradient)]
            alive = None if self.forward.alive is None else self.forward.alive[t].unsqueeze(-1)  # (B, 1)
            if alive is not None:
                here = [torch.where(alive, g, 0) for g in here]
            back, row = self.step(t, {**outside, **dict(zip(program.states, here))})
            if program.grad_clip:
                back = [g.clamp(-program.grad_clip, program.grad_clip) for g in back]
            if self.forward.boundaries is not None:
                boundary = self.forward.boundaries[t].unsqueeze(-1)  # (B, 1)
                home = [h + torch.where(boundary, g, 0).sum(0) for h, g in zip(home, back)]
                back = [torch.where(boundary, 0, g) for g in back]
            gradient = back if alive is None else [torch.where(alive, b, g) for b, g in zip(back, gradient)]
            rows.append(row)
        if not inputs.reverse:
            rows.reverse()
        series = {name: torch.stack([row[name] for row in rows]).flatten(0, 1) for name in rows[0]}  # (TB, ·)
        to_x, weights = self.through_input(series, need_x)
        weights.update(self.to_weights(series))
        return Gradients(
            to_x,
            [g.to(s.dtype) for g, s in zip(gradient, inputs.state)],
            [g.to(h.dtype) for g, h in zip(home, inputs.home)],
            [
                weights[name].to(w.dtype).view_as(w) if name in weights else torch.zeros_like(w)
                for name, w in self.forward.weights.items()
            ],
        )

    def arriving(self, output: Tensor | None, traced: Sequence[Tensor | None]) -> dict[str, Tensor]:
        """The gradients that arrive at each step from outside, by the label of the adjoint; none in padding."""
        names = [*self.program.states[1:], *(f"shown {name}" for name, _ in self.program.shown)]
        found = {name: g.to(self.acc) for name, g in zip(names, traced) if g is not None}
        if output is not None:
            found[self.program.states[0]] = output.to(self.acc)
        if self.forward.alive is not None:
            found = {name: torch.where(self.forward.alive.unsqueeze(-1), g, 0) for name, g in found.items()}
        return found

    def step(self, t: int, adjoints: Mapping[str, Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Back through one step: the gradients of the old states, and what the weights' gradients are made of."""
        d, forward = self.derivative, self.forward
        values: list[Any] = []
        row: dict[str, Tensor] = {}
        for node in d.nodes:
            if node.op == "const":
                values.append(float(node.label))
            elif node.op == "value":
                values.append(self.value(int(node.label), t))
            elif node.op == "adjoint":
                values.append(adjoints.get(node.label, self.like_units))
            elif node.op == "transposed":
                k = int(node.label)
                joined = torch.cat([forward.spread(values[a], self.like_units) for a in node.args], -1)  # (B, G'H)
                row[f"group {k}"] = joined
                products, group = forward.products[k], self.program.groups[k]
                raw = joined if products.gain is None else products.back_to_raw(joined, self.saved[group.operand][t])
                values.append(products.back_to_value(raw))
            elif node.op == "unproject":
                weight = forward.weights["weight_hr"]
                gradient = forward.spread(values[node.args[0]], forward.like_output)  # (B, P)
                row["projected"] = gradient
                values.append((gradient.to(weight.dtype) @ weight).to(self.acc))
            else:
                values.append(TORCH[node.op](*(values[a] for a in node.args)))
        if self.shared is None:
            row.update({f"input {gate}": forward.spread(values[n], self.like_units) for gate, n in d.inputs.items()})
        row.update({label: forward.spread(values[n], self.like_units) for label, n in d.parameters.items()})
        back = [z if n is None else forward.spread(values[n], z) for n, z in zip(d.states, self.like_state)]
        return back, row

    def value(self, index: int, t: int) -> Tensor:
        """A value of the forward step."""
        node = self.program.nodes[index]
        if node.op == "parameter":
            return self.forward.rows[node.label]
        if node.op == "mask":
            mask = self.forward.masks[node.label]
            return mask[t] if node.label in self.forward.per_step else mask
        return self.saved[index][t]

    def to_weights(self, series: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The gradients of everything but the input projection, from the gradients at all steps, each (TB, ·)."""
        program, forward = self.program, self.forward
        found = {
            name: torch.zeros_like(w, dtype=self.acc)
            for name, w in forward.weights.items()
            if name in {w.name for w in program.weights}
            or name in {"bias_hh", *(gain_name(w.name) for w in program.weights)}
        }
        for k, group in enumerate(program.groups):
            if f"group {k}" in series:
                products = forward.products[k]
                operand = self.saved[group.operand].flatten(0, 1)
                for kind, gradient in products.back_to_weights(series[f"group {k}"], operand).items():
                    name = {"weight": group.weight, "bias": "bias_hh", "gain": gain_name(group.weight)}[kind]
                    found[name][products.rows] += gradient
        if "projected" in series:
            shown = next(node.args[0] for node in program.nodes if node.op == "project")
            found["weight_hr"] = series["projected"].t() @ self.saved[shown].flatten(0, 1)
        for p in program.parameters:
            rows = [series[x].sum(0) if x in series else self.like_units.new_zeros(forward.hidden) for x in p.labels]
            found[p.name] = torch.stack(rows) if p.rows else rows[0]
        return found

    def through_input(self, series: Mapping[str, Tensor], need_x: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Back through the input projection: the gradient of x, if it is wanted, and those of its weights."""
        forward, x = self.forward, self.inputs.x
        if forward.alive is not None:
            x = torch.where(forward.alive.unsqueeze(-1), x, 0)
        flat = x.flatten(0, 1)  # (TB, I)
        weight = forward.weights["weight_ih"]
        if self.shared is not None:
            gradient = series[f"group {self.shared}"]
        else:
            nothing = self.like_units.new_zeros(len(flat), forward.hidden)
            gradient = torch.cat([series.get(f"input {gate}", nothing) for gate in self.program.gates], -1)  # (TB, GH)
        found = {}
        if self.program.bias:
            found["bias_ih"] = gradient.sum(0)
        if self.program.layer_norm:
            gain = forward.weights["weight_ln_x"].to(self.acc)
            gradient, found["weight_ln_x"] = layer_norm_backward(gradient, F.linear(flat, weight).to(self.acc), gain)
        gradient = gradient.to(weight.dtype)
        found["weight_ih"] = gradient.t() @ flat
        return (gradient @ weight).view_as(x) if need_x else None, found
