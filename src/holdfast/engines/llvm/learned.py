"""The gradients of what is learned: matrix products over all steps, gathered span by span."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.language.program import MAIN_WEIGHT, Group
from holdfast.language.symbols import LAYER_NORM_EPSILON

from ..steps import lowering
from .call import Call, Plan
from .halves import TILE_ROWS
from .kernels import names_of
from .machine import Target
from .matmul import matmul, product
from .memory import empty
from .tile_matmul import UNITS, tile_matmul


def _columns(matrix: Tensor, begin: int, end: int) -> Tensor:
    """Some columns of a matrix, or all of them."""
    return matrix if end - begin == matrix.shape[1] else matrix[:, begin:end]


def projected(weight: Tensor, x: Tensor, target: Target) -> Tensor:
    """W x for all gates and all rows of x."""
    return product(x, weight.t().contiguous(), target)  # turning W takes less than reading it the wrong way


class Parts:
    """Where the gradients of what is learned come from, which is the same in all calls of one kind.

    Attributes:
        products: of each matrix product the name of the weight, the rows of it, the columns of the gradients, and the
            kept value that is multiplied.
        of_projection: the kept value that the projection multiplies, if a gradient goes back through it.
        place: where each node that is kept lies.
    """

    def __init__(self, plan: Plan, step: lowering.Forward, back: lowering.Backward) -> None:
        self.step, self.back, self.low = step, back, plan.low
        self.hidden, self.pitch = plan.hidden, plan.pitch(plan.hidden)  # the pitch: of a slot of the gradients
        self.place = {k.node: k for k in step.kept}
        self.products = [part for group in self.low.groups for part in self.divided(group)]
        shown = next((n.args[0] for n in self.low.nodes if n.op == "project"), None)
        through = any(s.array == "dprojected" for s in back.step.stores)
        self.of_projection = shown if through else None

    def divided(self, group: Group) -> list[tuple[str, slice, slice, int]]:
        """A group's gates in runs: of each the rows of its weight, the columns of the gradients and the operand."""
        order = next(w.gates for w in self.low.weights if w.name == group.weight)
        runs: list[list[int]] = []  # first gate in the weight, first slot, how many
        for gate, n in zip(group.gates, group.nodes):
            row, slot = order.index(gate), self.back.products.get(n)
            if slot is None:
                continue
            if runs and (row, slot) == (runs[-1][0] + runs[-1][2], runs[-1][1] + runs[-1][2]):
                runs[-1][2] += 1
            else:
                runs.append([row, slot, 1])
        h, p = self.hidden, self.pitch
        name, operand = group.weight, group.operand
        return [(name, slice(r * h, (r + n) * h), slice(s * p, (s + n) * p), operand) for r, s, n in runs]


class Learned:
    """The gradients of what is learned, gathered span by span."""

    def __init__(self, parts: Parts, call: Call) -> None:
        plan = call.plan
        self.program, self.low, self.parts, self.call = plan.program, plan.low, parts, call
        self.step, self.back = parts.step, parts.back
        self.hidden, self.output, self.pitch, self.dtype = plan.hidden, plan.output, parts.pitch, plan.dtype
        self.target, self.half = plan.kernel.target, plan.kernel.precision.half
        self.found: dict[str, Tensor] = {}
        self.sums: dict[tuple[str, int], Tensor] = {}  # products in tiles: of which weight, from which row on
        self.totals: Tensor | None = None  # the gradients summed over all steps, (slots·H,)
        self.begun: set[tuple[str, int]] = set()  # the weights, by their first row, that something was added to

    def gradient(self, name: str) -> Tensor:
        """The gradient of a weight so far."""
        if name not in self.found:
            self.found[name] = torch.zeros_like(self.call.weights[name], dtype=self.dtype)
        return self.found[name]

    def add_product(self, name: str, rows: slice, a: Tensor, b: Tensor) -> None:
        """Add a product to some rows of a weight's gradient; the first one is written over whatever is there."""
        again = (name, rows.start) in self.begun
        self.begun.add((name, rows.start))
        if self.half:
            self.add_half_product(name, rows, a, b, again)
        elif not again and rows.stop - rows.start == len(self.call.weights[name]):
            self.found[name] = product(a, b, self.target)
        else:
            matmul(self.room(name)[rows], a, b, again, self.target)

    def add_half_product(self, name: str, rows: slice, a: Tensor, b: Tensor, again: bool) -> None:
        """As `add_product`, of bfloat16 numbers; the rows of the product may have gaps, as the slots of `a` have."""
        target = self.target
        if target.tiles and b.shape[1] >= UNITS:
            if not again:
                whole = -(-b.shape[1] // TILE_ROWS) * TILE_ROWS
                self.sums[name, rows.start] = empty(torch.float32, (a.shape[0], whole))
            tile_matmul(self.sums[name, rows.start], a.t(), b, again, target)
        else:
            self.put(name, rows, torch.mm(a, b), again)

    def put(self, name: str, rows: slice, part: Tensor, again: bool) -> None:
        """Write a product to some rows of a weight's gradient, or add it, without what lies between its slots."""
        weight = self.call.weights[name]
        part = part[:, : weight.shape[1]]
        if part.shape[0] > rows.stop - rows.start:
            width = self.output if name == "weight_hr" else self.hidden
            part = part.unflatten(0, (-1, self.call.plan.pitch(width)))[:, :width]
        part = part.to(weight.dtype).reshape(-1, weight.shape[1])
        if name not in self.found and part.shape == weight.shape:
            self.found[name] = part
        else:
            room = self.room(name)[rows]
            room.add_(part) if again else room.copy_(part)

    def room(self, name: str) -> Tensor:
        """The gradient of a weight so far, as sums; where nothing is yet, it need not be blank if all will be."""
        if name not in self.found:
            weight = self.call.weights[name]
            written = sum(w.stop - w.start for of, w, *_ in self.parts.products if of == name)
            whole = name in ("weight_ih", "weight_hr") or written >= weight.shape[0]
            fresh = torch.empty_like if whole else torch.zeros_like
            self.found[name] = fresh(weight, dtype=self.dtype)
        elif self.found[name].dtype != self.dtype:  # one product, in bfloat16
            self.found[name] = self.found[name].to(self.dtype)
        return self.found[name]

    def add(
        self, d: Tensor, dprojected: Tensor | None, x: Tensor, kept: Mapping[str, Tensor], to_x: Tensor | None
    ) -> None:
        """Add a span.

        Args:
            d: the gradients of the gates' parts, (N, slots·H).
            dprojected: those of the projected output, (N, P), if a gradient goes back through the projection.
            x: the input, (N, I).
            kept: what was kept of the span, by name, (N, ·).
            to_x: where the gradient of x goes.
        """
        for name, of_weight, of_d, node in self.parts.products:
            operand = self.series(node, kept)
            if self.low.heads == 1:
                self.add_product(name, of_weight, _columns(d, of_d.start, of_d.stop).t(), operand)
            else:
                self.gradient(name)[of_weight] += self.of_heads(self.unpadded(d[:, of_d]), operand)
        if self.parts.of_projection is not None and dprojected is not None:
            factor = self.series(self.parts.of_projection, kept)
            self.add_product("weight_hr", slice(0, self.output), dprojected.t(), factor)
        if self.program.bias:
            total = d.sum(0)
            if self.half:  # PyTorch sums bfloat16 numbers in float32, slowly if asked to say so
                total = total.to(self.dtype)
            self.totals = total if self.totals is None else self.totals.add_(total)
        self.through_input(_columns(d, 0, len(self.low.gates) * self.pitch), x, to_x)

    def unpadded(self, gradient: Tensor) -> Tensor:
        """Some slots of the gradients without what lies between them."""
        if self.pitch == self.hidden:
            return gradient
        return gradient.unflatten(-1, (-1, self.pitch))[..., : self.hidden].flatten(-2)

    def padded(self, gates: Tensor, dimension: int) -> Tensor:
        """What a dimension holds for all gates, with zeros between them as between slots."""
        if self.pitch == self.hidden:
            return gates
        room = gates.unflatten(dimension, (-1, self.hidden))  # (…, G, H, …)
        after = (0, 0) * (gates.dim() - 1 - dimension)  # nothing is added to what follows
        return F.pad(room, (*after, 0, self.pitch - self.hidden)).flatten(dimension, dimension + 1)

    def series(self, node: int, kept: Mapping[str, Tensor]) -> Tensor:
        """A kept value, (N, ·)."""
        place = self.parts.place[node]
        width = self.output if place.array == "kept_output" else self.hidden
        begin = place.slot * self.call.plan.pitch(width)
        return _columns(kept[place.array], begin, begin + width)

    def of_heads(self, gradient: Tensor, operand: Tensor) -> Tensor:
        """The gradient of some rows of a recurrent weight that falls into blocks."""
        heads = self.low.heads
        split = gradient.unflatten(-1, (-1, heads, self.hidden // heads))
        return torch.einsum("tgnh,tnp->gnhp", split, operand.unflatten(-1, (heads, -1))).flatten(0, 2)

    def through_input(self, gradient: Tensor, x: Tensor, to_x: Tensor | None) -> None:
        """Back through the input projection."""
        weight = self.call.weights["weight_ih"]
        if self.program.layer_norm:
            wx = projected(weight, x, self.target).to(self.dtype)
            shape, gain = list(wx.shape[-1:]), self.call.weights["weight_ln_x"]
            _, mean, scale = torch.native_layer_norm(wx, shape, gain, None, LAYER_NORM_EPSILON)
            gradient, to_gain, _ = torch.ops.aten.native_layer_norm_backward(
                self.unpadded(gradient).to(self.dtype).contiguous(),
                *(wx, shape, mean, scale, gain, None, [True, True, False]),
            )
            self.gradient("weight_ln_x").add_(to_gain)
            gradient = self.padded(gradient, 1).to(x.dtype)
        self.add_product("weight_ih", slice(0, weight.shape[0]), gradient.t(), x)
        if to_x is not None:
            matmul(to_x, gradient, self.padded(weight, 0), False, self.target)

    def finished(self, sums: Tensor | None) -> list[Tensor]:
        """All gradients, in the order of the weights.

        Args:
            sums: of the parameters' labels, as each thread has them, (threads, labels, H); None if there are none.
        """
        hidden, gates = self.hidden, self.low.gates
        if sums is not None:
            total = sums.sum(0)
            for p in self.low.parameters:
                target = self.gradient(p.name).view(-1, hidden)
                for k, label in enumerate(p.labels):
                    if label in self.back.sums:
                        target[k] = total[self.back.sums[label]]
        if self.program.bias and self.totals is not None:
            of_input = len(gates) * self.pitch
            own = self.totals if len(self.totals) == of_input else self.totals[:of_input].clone()
            self.found["bias_ih"] = self.unpadded(own)
            if len(self.step.joined) == len(gates):
                self.found["bias_hh"] = self.found["bias_ih"].clone()
            else:
                totals = self.totals.view(-1, self.pitch)[:, :hidden]
                recurrent = self.gradient("bias_hh").view(-1, hidden)
                for n, slot in self.back.products.items():
                    weight, gate = self.low.nodes[n].label.split()
                    if weight == MAIN_WEIGHT and gate in self.step.joined:
                        recurrent[gates.index(gate)] = totals[slot]
        for (name, start), part in self.sums.items():
            height = self.output if name == "weight_hr" else part.shape[0] // self.pitch * self.hidden
            self.put(name, slice(start, start + height), part, again=False)
        gradients = [self.gradient(name) for name in names_of(self.program)]
        return gradients if self.call.plan.exact else [g.to(self.call.kernel.precision.stored) for g in gradients]
