"""The reference engine: a program run step by step in PyTorch operations, on any device.

`run` is differentiable to any order and under every transform of torch.func. `forward` and `backward` do the same for
the registered operator: without recording, and back through the derivative that the language gives. Half-precision
inputs are multiplied in half precision; states and everything between products are float32.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.language import Program, derive
from holdfast.language.operations import OPERATIONS
from holdfast.language.program import MAIN_WEIGHT, Group
from holdfast.language.symbols import LAYER_NORM_EPSILON

from .inputs import Inputs
from .parameters import gain_name

_Value = Any  # a tensor, or a Python number for a constant


def _where(condition: Tensor, a: _Value, b: _Value) -> Tensor:
    return torch.where(condition, a, b)


def _as_tensors(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of two tensors that also takes a number for one of them."""

    def wrapped(a: _Value, b: _Value) -> Tensor:
        like = a if isinstance(a, Tensor) else b
        return function(*(v if isinstance(v, Tensor) else like.new_tensor(v) for v in (a, b)))

    return wrapped


_TORCH: dict[str, Callable[..., Tensor]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "neg": torch.neg,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
    "where": _where,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "minimum": _as_tensors(torch.minimum),
    "maximum": _as_tensors(torch.maximum),
    "clip": torch.clamp,
    "hard_sigmoid": F.hardsigmoid,
    "softplus": lambda x: -F.logsigmoid(-x),  # F.softplus is an approximation above its threshold
    "mean": lambda x: x.mean(-1, keepdim=True).expand_as(x),
}
assert set(_TORCH) == {*OPERATIONS, "mean"}


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


def run(program: Program, inputs: Inputs, keep: Sequence[int] = ()) -> Run:
    """Run a program over a sequence, differentiably.

    Args:
        program: the traced cell.
        inputs: what it runs on.
        keep: nodes whose values are wanted at every step. In padding they are finite and mean nothing.
    """
    return _Forward(program, inputs).run(keep)


class _ClipGradient(torch.autograd.Function):
    """The identity, whose gradient is clipped on its way back."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, bound: float) -> Tensor:  # type: ignore[override]
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.bound = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient.clamp(-ctx.bound, ctx.bound), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:  # type: ignore[override]
        return tangent.view_as(tangent)


class _Products:
    """The recurrent products of one group: forward, back to the value, and back to the weights."""

    def __init__(self, program: Program, group: Group, weights: Mapping[str, Tensor], hidden: int, acc: torch.dtype):
        self.heads = program.heads
        self.acc = acc
        self.gates = len(group.gates)
        self.hidden = hidden
        order = next(w.gates for w in program.weights if w.name == group.weight)
        self.rows = _rows(order, group.gates, hidden)
        self.weight = weights[group.weight][self.rows]  # (G'H, P/heads)
        biased = program.bias and group.weight == MAIN_WEIGHT
        self.bias = weights["bias_hh"][self.rows].to(acc) if biased else None  # (G'H,)
        self.gain = weights[gain_name(group.weight)][self.rows].to(acc) if program.layer_norm else None  # (G'H,)
        if self.heads > 1:
            self.blocks = self.weight.view(self.gates, self.heads, hidden // self.heads, -1)
        else:
            self.transposed = self.weight.t()

    def __call__(self, value: Tensor) -> Tensor:  # (…, P) -> (…, G'H)
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
        value = value.to(self.weight.dtype)
        if self.heads == 1:
            return torch.matmul(value, self.transposed).to(self.acc)
        split = value.unflatten(-1, (self.heads, -1))  # (…, heads, P/heads)
        return torch.einsum("...np,gnhp->...gnh", split, self.blocks).flatten(-3).to(self.acc)

    def back_to_raw(self, gradient: Tensor, value: Tensor) -> Tensor:
        """From the gradient of the result to that of U value: back through the layer norm, if there is one."""
        if self.gain is None:
            return gradient
        return _layer_norm_backward(gradient, self.raw(value), self.gain)[0]

    def back_to_value(self, gradient: Tensor) -> Tensor:  # (…, G'H) -> (…, P)
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
            gradient, found["gain"] = _layer_norm_backward(gradient, self.raw(value), self.gain)
        gradient, value = gradient.to(self.weight.dtype), value.to(self.weight.dtype)
        if self.heads == 1:
            found["weight"] = gradient.t() @ value
        else:
            split = gradient.unflatten(-1, (self.gates, self.heads, -1))
            found["weight"] = torch.einsum("tgnh,tnp->gnhp", split, value.unflatten(-1, (self.heads, -1))).flatten(0, 2)
        return found


def _rows(order: Sequence[str], gates: Sequence[str], hidden: int) -> Any:
    """The rows of some gates in a tensor that holds those of `order`: a slice where they follow each other."""
    places = [order.index(gate) for gate in gates]
    if places == list(range(places[0], places[0] + len(places))):
        return slice(places[0] * hidden, (places[-1] + 1) * hidden)
    return torch.cat([torch.arange(p * hidden, (p + 1) * hidden) for p in places])


def _layer_norm_backward(gradient: Tensor, x: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of x and of the gain of a layer norm over the last axis."""
    shape = list(x.shape[-1:])
    _, mean, scale = torch.native_layer_norm(x, shape, gain, None, LAYER_NORM_EPSILON)
    to_x, to_gain, _ = torch.ops.aten.native_layer_norm_backward(
        gradient.contiguous(), x, shape, mean, scale, gain, None, [True, True, False]
    )
    return to_x, to_gain


@dataclass(frozen=True)
class _Schedule:
    """How one step is computed: gate sums that are one operation, and everything else in order."""

    summed: tuple[bool, ...]  # for each group: whether only the sums with the input parts are used
    instructions: tuple[tuple[str, Any, int, tuple[int, ...]], ...]  # kind, what, node, arguments
    constants: Mapping[int, float]


@functools.lru_cache(maxsize=512)
def _schedule(program: Program) -> _Schedule:
    nodes = program.nodes
    users: dict[int, list[int]] = {}
    for index, node in enumerate(nodes):
        for argument in node.args:
            users.setdefault(argument, []).append(index)
    for root in (*program.results, *(i for _, i in program.shown)):
        users.setdefault(root, []).append(-1)
    inputs = {node.label: index for index, node in enumerate(nodes) if node.op == "input"}

    def sums_of(group: Group) -> list[int] | None:
        """The nodes `input + product` of a group, if its products and those inputs are used for nothing else."""
        sums = []
        for gate, product in zip(group.gates, group.nodes):
            user = users[product][0]
            alone = gate in inputs and users[product] == [user] == users[inputs[gate]]
            if not alone or user < 0 or nodes[user].op != "add":
                return None
            sums.append(user)
        return sums

    def joined(group: Group) -> list[int] | None:
        plain = group.weight == MAIN_WEIGHT and not program.layer_norm and program.heads == 1
        return sums_of(group) if plain else None

    found = [joined(group) for group in program.groups]
    done: set[int] = set()
    instructions: list[tuple[str, Any, int, tuple[int, ...]]] = []
    member = {n: (k, j) for k, group in enumerate(program.groups) for j, n in enumerate(group.nodes)}
    skipped = {inputs[g] for group, sums in zip(program.groups, found) if sums for g in group.gates}
    in_sum = {s: k for k, sums in enumerate(found) if sums for s in sums}
    for index, node in enumerate(nodes):
        if index in skipped or (index in member and found[member[index][0]]):
            continue
        if index in in_sum or index in member:
            k = in_sum[index] if index in in_sum else member[index][0]
            if k not in done:
                targets = found[k] or program.groups[k].nodes
                instructions.append(("group", k, -1, tuple(targets)))
                done.add(k)
        elif node.op in _TORCH or node.op == "project":
            instructions.append(("call", _TORCH.get(node.op), index, node.args))
        elif node.op != "const":
            instructions.append((node.op, node.label, index, ()))
    constants = {index: float(node.label) for index, node in enumerate(nodes) if node.op == "const"}
    return _Schedule(tuple(sums is not None for sums in found), tuple(instructions), constants)


def _accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def _parameter_rows(program: Program, weights: Mapping[str, Tensor], acc: torch.dtype) -> dict[str, Tensor]:
    """The per-unit parameters by label, each (H,)."""
    rows = {}
    for p in program.parameters:
        tensor = weights[p.name].to(acc)
        rows.update(zip(p.labels, tensor.unbind(0) if p.rows else [tensor]))
    return rows


class _Forward:
    """One run over a sequence: what does not change from step to step, and the step."""

    def __init__(self, program: Program, inputs: Inputs) -> None:
        self.program = program
        self.inputs = inputs
        self.schedule = _schedule(program)
        self.weights = inputs.named_weights(program)
        self.acc = _accumulation_dtype(inputs.x.dtype)
        self.hidden = self.weights["weight_ih"].shape[0] // len(program.gates)
        self.products = [_Products(program, g, self.weights, self.hidden, self.acc) for g in program.groups]
        self.alive = inputs.alive()
        self.boundaries = inputs.boundaries()
        self.masks = dict(zip((m.name for m in program.masks), inputs.masks))
        self.per_step = {m.name for m in program.masks if m.per == "step"}
        self.rows = _parameter_rows(program, self.weights, self.acc)
        self.place = {state: k for k, state in enumerate(program.states)}
        self.gates = self.input_parts()

    def input_parts(self) -> dict[str, Tensor]:
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
        found = {gate: part for gate, part in zip(self.program.gates, parts.split(self.hidden, -1))}
        for k, group in enumerate(self.program.groups):
            if self.schedule.summed[k]:
                found[f"group {k}"] = parts[..., _rows(self.program.gates, group.gates, self.hidden)]
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
        steps = self.inputs.x.shape[0]
        state = [s.to(self.acc) for s in self.inputs.state]
        rows: list[tuple[Tensor, list[Tensor]]] = []
        for t in reversed(range(steps)) if self.inputs.reverse else range(steps):
            before = self.before(t, state)
            values = self.step(t, before)
            new = [self.spread(values[r], s) for r, s in zip(self.program.results, before)]
            output = new[0]
            if self.alive is not None:
                alive = self.alive[t].unsqueeze(-1)  # (B, 1)
                output = torch.where(alive, output, 0)
                new = [torch.where(alive, n, s) for n, s in zip(new, state)]  # past its length a state stays
            state = new
            rows.append((output, [self.spread(values[k], self.like(k, before)) for k in keep]))
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
            home = self.inputs.home or [0] * len(state)
            state = [torch.where(boundary, h.to(s) if isinstance(h, Tensor) else h, s) for h, s in zip(home, state)]
        if self.program.grad_clip:
            state = [_ClipGradient.apply(s, self.program.grad_clip) for s in state]
        return state

    def step(self, t: int, state: list[Tensor]) -> list[Any]:
        """The values of all nodes at one step."""
        values: list[Any] = [None] * len(self.program.nodes)
        for index, number in self.schedule.constants.items():
            values[index] = number
        for kind, what, index, args in self.schedule.instructions:
            if kind == "call":
                operands = [values[a] for a in args]
                values[index] = what(*operands) if what else self.project(operands[0])
            elif kind == "group":
                for target, value in zip(args, self.group(what, t, values, state)):
                    values[target] = value
            elif kind == "state":
                values[index] = state[self.place[what]]
            elif kind == "input":
                values[index] = self.gates[what][t]
            elif kind == "mask":
                values[index] = self.masks[what][t] if what in self.per_step else self.masks[what]
            else:
                values[index] = self.rows[what]
        return values

    def group(self, k: int, t: int, values: list[Any], state: list[Tensor]) -> Sequence[Tensor]:
        """The products of one group, or their sums with the input parts."""
        group, products = self.program.groups[k], self.products[k]
        operand = self.spread(values[group.operand], self.like(group.operand, state))
        if self.schedule.summed[k]:
            total = products.added_to(self.gates[f"group {k}"][t].to(products.weight.dtype), operand).to(self.acc)
        else:
            total = products(operand)
        return total.split(self.hidden, -1)

    def project(self, value: Tensor) -> Tensor:  # (B, H) -> (B, P)
        weight = self.weights["weight_hr"]
        return F.linear(value.to(weight.dtype), weight).to(self.acc)

    def like(self, index: int, state: list[Tensor]) -> Tensor:
        """A tensor of the shape that a node's value has."""
        if self.program.widths[index] == "output":
            return state[0]
        return state[1] if len(state) > 1 else state[0]

    def spread(self, value: _Value, like: Tensor) -> Tensor:
        """A value at its full shape, (B, ·): constants and parameters have less."""
        if not isinstance(value, Tensor):
            return torch.full_like(like, value)
        return value if value.shape == like.shape else value.expand_as(like)


# The operator's two halves.


def kept_nodes(program: Program, trace: bool) -> list[int]:
    """The nodes whose values the backward pass needs, other than those that are inputs anyway."""
    wanted = {*derive(program, trace).reads, *(group.operand for group in program.groups)}
    wanted |= {node.args[0] for node in program.nodes if node.op == "project"}
    return sorted(i for i in wanted if program.nodes[i].op not in ("parameter", "mask", "const"))


def saved_shapes(program: Program, inputs: Inputs, trace: bool) -> list[tuple[tuple[Any, ...], torch.dtype]]:
    """Shape and dtype of each tensor that `forward` saves for `backward`."""
    steps, batch = inputs.x.shape[:2]
    hidden = inputs.weights[0].shape[0] // len(program.gates)
    dtype = _accumulation_dtype(inputs.x.dtype)
    output = inputs.state[0].shape[-1]
    widths = (output if program.widths[i] == "output" else hidden for i in kept_nodes(program, trace))
    return [((steps, batch, width), dtype) for width in widths]


def forward(program: Program, inputs: Inputs, trace: bool, save: bool) -> tuple[Run, list[Tensor], list[Tensor]]:
    """Run without recording; see `operator` for what is returned: the run, the traced values, the saved values."""
    traced = [*program.results[1:], *(index for _, index in program.shown)] if trace else []
    saved = kept_nodes(program, trace) if save else []
    done = _Forward(program, inputs).run([*traced, *saved])
    seen = [series.to(inputs.x.dtype) for series in done.kept[: len(traced)]]
    alive = inputs.alive()
    if alive is not None:
        seen = [torch.where(alive.unsqueeze(-1), series, 0) for series in seen]
    return done, seen, done.kept[len(traced) :]


@dataclass(frozen=True)
class Gradients:
    """The gradients of everything a run reads that can have one.

    Attributes:
        x: (T, B, I), or None if it was not wanted.
        state: one a state.
        home: one a state, or empty.
        weights: one a learned tensor.
    """

    x: Tensor | None
    state: list[Tensor]
    home: list[Tensor]
    weights: list[Tensor]


def backward(
    program: Program,
    inputs: Inputs,
    saved: Sequence[Tensor],
    output: Tensor | None,
    final: Sequence[Tensor | None],
    traced: Sequence[Tensor | None],
    trace: bool,
    need_x: bool,
) -> Gradients:
    """Back through a run, by the derivative of its step.

    Args:
        program: the traced cell.
        inputs: what the run was given.
        saved: what `forward` saved.
        output: the gradient that arrives at the output, (T, B, P); None for zero, as everywhere here.
        final: the gradients that arrive at the final state.
        traced: the gradients that arrive at the traced values.
        trace: whether values were traced.
        need_x: whether the gradient of x is wanted.
    """
    return _Backward(program, inputs, saved, trace).run(output, final, traced, need_x)


class _Backward:
    """One run back over a sequence."""

    def __init__(self, program: Program, inputs: Inputs, saved: Sequence[Tensor], trace: bool) -> None:
        self.program = program
        self.inputs = inputs
        self.forward = _Forward(program, inputs)
        self.derivative = derive(program, trace)
        self.saved = dict(zip(kept_nodes(program, trace), saved))
        self.acc = self.forward.acc
        self.like_state = [torch.zeros_like(s, dtype=self.acc) for s in inputs.state]
        self.like_units = inputs.x.new_zeros(inputs.x.shape[1], self.forward.hidden, dtype=self.acc)  # (B, H)
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
                values.append(adjoints[node.label] if node.label in adjoints else self.like_units)
            elif node.op == "transposed":
                k = int(node.label)
                joined = torch.cat([forward.spread(values[a], self.like_units) for a in node.args], -1)  # (B, G'H)
                row[f"group {k}"] = joined
                products, group = forward.products[k], self.program.groups[k]
                raw = joined if products.gain is None else products.back_to_raw(joined, self.saved[group.operand][t])
                values.append(products.back_to_value(raw))
            elif node.op == "unproject":
                weight = forward.weights["weight_hr"]
                row["projected"] = values[node.args[0]]
                values.append((values[node.args[0]].to(weight.dtype) @ weight).to(self.acc))
            else:
                values.append(_TORCH[node.op](*(values[a] for a in node.args)))
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
            gradient, found["weight_ln_x"] = _layer_norm_backward(gradient, F.linear(flat, weight).to(self.acc), gain)
        gradient = gradient.to(weight.dtype)
        found["weight_ih"] = gradient.t() @ flat
        return (gradient @ weight).view_as(x) if need_x else None, found
