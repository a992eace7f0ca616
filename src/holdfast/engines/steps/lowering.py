"""From a program to the steps that an engine compiles: forward, and backward by the language's derivative."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from holdfast.language import Program, derive
from holdfast.language.graph import Graph, Node
from holdfast.language.operations import OPERATIONS
from holdfast.language.program import MAIN_WEIGHT, Parameter
from holdfast.language.symbols import LAYER_NORM_EPSILON, Value, leaf, sqrt

from ..parameters import gain_name
from .step import Array, Carry, Product, Step, Store, stages, uniform, widths_of


@dataclass(frozen=True)
class Kept:
    """A value of the forward step that the backward one needs, and where it is kept: an array and a slot."""

    node: int
    array: str
    slot: int


@dataclass(frozen=True)
class Forward:
    """The forward step of a program.

    Attributes:
        program: the program with layer norm and separate biases as nodes of the graph.
        step: what is compiled.
        kept: what is kept for the way back.
        slots: how many slots each array has that the kernel fills: `kept`, `kept_output`, `kept_rows`.
        joined: the gates whose b_hh is added to the input part.
    """

    program: Program
    step: Step
    kept: tuple[Kept, ...]
    slots: Mapping[str, int]
    joined: frozenset[str]


@dataclass(frozen=True)
class Backward:
    """The backward step of a program.

    Attributes:
        step: what is compiled.
        slots: how many slots the array `d` has: the gates' in their order, then those of products that differ.
        products: for each product node of the program, its slot.
        sums: the slot of each per-unit parameter's label in the array `sums`.
    """

    step: Step
    slots: int
    products: Mapping[int, int]
    sums: Mapping[str, int]


@functools.lru_cache(maxsize=512)
def lowered(program: Program) -> tuple[Program, frozenset[str]]:
    """The program with layer norm and separate biases written into its graph, and the gates whose biases are joined."""
    return _Lowering(program).run()


class _Lowering:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.graph = Graph()
        self.place: dict[int, int] = {}

    def run(self) -> tuple[Program, frozenset[str]]:
        program, graph, place = self.program, self.graph, self.place
        joined = self.joined()
        member = {n: group for group in program.groups for n in group.nodes}
        for index, node in enumerate(program.nodes):
            if index not in member:
                place[index] = graph.add(node.op, [place[a] for a in node.args], node.label)
            elif index not in place:
                group = member[index]
                operand = place[group.operand]
                raw = [Value(graph, graph.add("product", [operand], f"{group.weight} {gate}")) for gate in group.gates]
                if program.layer_norm:
                    name = gain_name(group.weight)
                    raw = normalised(raw, [leaf(graph, "parameter", f"{name}.{gate}") for gate in group.gates])
                for gate, n, value in zip(group.gates, group.nodes, raw):
                    biased = program.bias and group.weight == MAIN_WEIGHT and gate not in joined
                    place[n] = (value + leaf(graph, "parameter", f"bias_hh.{gate}") if biased else value).index
        parameters = list(program.parameters)
        if program.layer_norm:
            parameters += [Parameter(gain_name(w.name), w.gates) for w in program.weights]
        if program.bias and set(program.gates) != joined:
            parameters.append(Parameter("bias_hh", program.gates))
        new = replace(
            program,
            nodes=tuple(graph.nodes),
            results=tuple(place[r] for r in program.results),
            shown=tuple((name, place[i]) for name, i in program.shown),
            names=tuple((name, place[i]) for name, i in program.names),
            parameters=tuple(parameters),
            layer_norm=False,
        )
        return new, frozenset(joined)

    def joined(self) -> set[str]:
        """The gates whose input and recurrent part are used only as their sum, so that one bias will do."""
        program = self.program
        if program.layer_norm or not program.bias:
            return set()
        users: dict[int, list[int]] = {}
        for index, node in enumerate(program.nodes):
            for a in node.args:
                users.setdefault(a, []).append(index)
        for root in (*program.results, *(i for _, i in program.shown)):
            users.setdefault(root, []).append(-1)
        inputs = {node.label: index for index, node in enumerate(program.nodes) if node.op == "input"}
        found = set()
        for gate in program.gates:
            products = [
                i for i, n in enumerate(program.nodes) if n.op == "product" and n.label == f"{MAIN_WEIGHT} {gate}"
            ]
            if len(products) == 1 and gate in inputs and users[products[0]] == users[inputs[gate]]:
                user = users[products[0]]
                if len(user) == 1 and user[0] >= 0 and program.nodes[user[0]].op == "add":
                    found.add(gate)
        return found


def normalised(raw: Sequence[Value], gains: Sequence[Value]) -> list[Value]:
    """A layer norm over the vector of all gates, for each gate."""
    graph = raw[0].graph

    def mean(values: Sequence[Value]) -> Value:
        total = functools.reduce(lambda a, b: a + b, values)
        return Value(graph, graph.add("mean", [(total * (1 / len(raw))).index]))

    middle = mean(raw)
    centred = [r - middle for r in raw]
    scale = 1.0 / sqrt(mean([c * c for c in centred]) + LAYER_NORM_EPSILON)
    return [gain * (c * scale) for gain, c in zip(gains, centred)]


class _Builder:
    """A step's graph under construction."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.arrays: dict[str, Array] = {}
        self.products: list[Product] = []
        self.stores: list[Store] = []
        self.before: list[Store] = []
        self.carries: list[Carry] = []
        self.leaves: dict[int, str | None] = {}

    def load(
        self, array: str, slot: int | str, order: str, width: str = "units", volatile: bool = False, exact: bool = False
    ) -> int:
        self.arrays.setdefault(array, Array(array, order, width, volatile, exact))
        index = self.graph.add("load", label=f"{array} {slot}")
        self.leaves[index] = None if width == "row" else width
        return index

    def store(self, node: int, array: str, slot: int, order: str, width: str = "units") -> None:
        self.arrays.setdefault(array, Array(array, order, width))
        self.stores.append(Store(node, array, slot))

    def product(
        self, weight: str, operands: Sequence[int], results: int, width: str, inner: str, headed: bool
    ) -> list[int]:
        number = len(self.products)
        self.products.append(Product(weight, tuple(operands), results, width, inner, headed))
        nodes = [self.graph.add("product", operands, f"{number} {k}") for k in range(results)]
        self.leaves.update(dict.fromkeys(nodes, width))
        return nodes

    def step(self, backward: bool, resets: bool, clip: float) -> Step:
        nodes = tuple(self.graph.nodes)
        return Step(
            nodes=nodes,
            widths=widths_of(nodes, self.leaves),
            arrays=tuple(self.arrays.values()),
            products=tuple(self.products),
            stores=tuple(self.stores),
            before=tuple(self.before),
            carries=tuple(self.carries),
            backward=backward,
            resets=resets,
            clip=clip,
        )


def _width(program: Program, state: str) -> str:
    return "output" if program.projection and state == program.states[0] else "units"


def _leaf(builder: _Builder, program: Program, node: Node) -> int:
    """The load of a per-unit parameter or a mask."""
    if node.op == "parameter":
        name, _, row = node.label.partition(".")
        rows = next(p.rows for p in program.parameters if p.name == name)
        return builder.load(f"parameter:{name}", rows.index(row) if row else 0, "unit")
    mask = next(m for m in program.masks if m.name == node.label)
    order = "outer" if mask.per == "step" else "sequence"
    wide = "output" if program.projection and mask.wide == "output" else "units"
    return builder.load(f"mask:{mask.name}", 0, order, wide)


@functools.lru_cache(maxsize=512)
def forward(program: Program, trace: bool, save: bool, resets: bool, projection: str, half: bool = False) -> Forward:
    """The forward step.

    Args:
        program: as traced.
        trace: whether the states and the shown values of every step are stored.
        save: whether what the way back needs is kept.
        resets: whether there are boundaries.
        projection: where W x is computed: "within" the step, "ahead" of all steps, or "outside" the kernel; "stream"
            is within, with every learned tensor read where it lies.
        half: whether series are kept in bfloat16: what is computed ahead of the steps then is not.
    """
    low, joined = lowered(program)
    builder = _Builder()
    inputs = (
        []
        if projection == "outside"
        else _inputs(builder, low, program.layer_norm, joined if projection == "stream" else frozenset())
    )
    place: dict[int, int] = {}
    member = {n: group for group in low.groups for n in group.nodes}
    for index, node in enumerate(low.nodes):
        if index in place:
            continue
        if node.op == "const":
            place[index] = builder.graph.constant(float(node.label))
        elif node.op == "input":
            gate = low.gates.index(node.label)
            if projection in ("within", "stream"):
                place[index] = inputs[gate]
            else:
                place[index] = builder.load(*_ahead(gate, save, half))
        elif node.op == "state":
            place[index] = builder.load(f"state:{node.label}", "in", "local", _width(low, node.label))
        elif node.op in ("parameter", "mask"):
            place[index] = _leaf(builder, low, node)
        elif node.op == "product":
            group = member[index]
            number = low.groups.index(group)
            wide = "output" if low.projection else "units"
            nodes = builder.product(
                f"group {number}", [place[group.operand]], len(group.nodes), "units", wide, low.heads > 1
            )
            place.update(zip(group.nodes, nodes))
        elif node.op == "project":
            [place[index]] = builder.product("projection", [place[node.args[0]]], 1, "output", "units", False)
        else:
            place[index] = builder.graph.add(node.op, [place[a] for a in node.args])
    for state, result in zip(low.states, low.results):
        builder.carries.append(Carry(place[result], state, _width(low, state)))
        builder.arrays.setdefault(f"state:{state}", Array(f"state:{state}", "local", _width(low, state)))
    builder.store(place[low.results[0]], "y", 0, "outer", _width(low, low.states[0]))
    if trace:
        for k, result in enumerate(low.results[1:]):
            builder.store(place[result], f"trace:{k}", 0, "outer")
        for k, (_, node_index) in enumerate(low.shown):
            builder.store(place[node_index], f"shown:{k}", 0, "outer")
    kept: list[Kept] = []
    slots = {"kept": 0, "kept_output": 0, "kept_rows": 0}
    if projection == "ahead":
        for gate, product in enumerate(inputs):
            name, slot, order, width, volatile, exact = _ahead(gate, save, half)
            builder.arrays.setdefault(name, Array(name, order, width, volatile, exact))
            builder.before.append(Store(product, name, slot))
    if save and (projection == "within" or half):  # kept as the other forms keep it, so that the way back is the same
        other = forward(program, trace, save, resets, "outside")
        kept, slots = list(other.kept), dict(other.slots)
        for own in kept:
            width = {"kept_output": "output", "kept_rows": "row"}.get(own.array, "units")
            builder.store(place[own.node], own.array, own.slot, "packed", width)
    elif save:
        kept = _keep(builder, low, place, trace, resets, slots)
    return Forward(low, builder.step(False, resets, 0.0), tuple(kept), slots, joined)


def _ahead(gate: int, save: bool, half: bool) -> tuple[str, int, str, str, bool, bool]:
    """Where the part of a gate that is computed ahead of the steps lies: array, slot, and what else `load` takes.

    It is where the gates are kept afterwards, unless that would round it.
    """
    return ("ahead", gate, "packed", "units", False, True) if half else ("gates", gate, "packed", "units", save, False)


def _inputs(builder: _Builder, low: Program, normed: bool, joined: frozenset[str]) -> list[int]:
    """W x + b, or LN(W x) + b, for each gate, as nodes; with b_hh as well for those gates that are named."""
    x = builder.load("x", 0, "packed", "input")
    graph, gates = builder.graph, low.gates
    found = builder.product("input", [x], len(gates), "units", "input", False)
    if normed:
        gains = [Value(graph, builder.load("gain", k, "unit")) for k in range(len(gates))]
        found = [value.index for value in normalised([Value(graph, n) for n in found], gains)]
    if low.bias:
        found = [graph.add("add", [n, builder.load("bias", k, "unit")]) for k, n in enumerate(found)]
        found = [
            graph.add("add", [n, builder.load("bias_hh", k, "unit")]) if gate in joined else n
            for k, (gate, n) in enumerate(zip(gates, found))
        ]
    return found


def _keep(
    builder: _Builder, low: Program, place: Mapping[int, int], trace: bool, resets: bool, slots: dict[str, int]
) -> list[Kept]:
    """Find a place for everything that the way back needs: the gates' own, or a new one."""
    step = builder.step(False, resets, 0.0)
    at, alike = stages(step), uniform(step)
    free: dict[int, int] = {}  # slot of the gates -> the stage from which it may be overwritten
    for index, node in enumerate(step.nodes):
        if node.op == "load" and node.label.startswith("gates "):
            free[int(node.label.split()[1])] = at[index] or 0
    for gate in range(len(low.gates)):
        free.setdefault(gate, 0)
    kept = []
    for n in needed_back(low, trace):
        width = step.widths[place[n]] or "units"
        if alike[place[n]]:
            array = "kept_rows"
        elif width == "output":
            array = "kept_output"
        else:
            stage = at[place[n]] or 0
            slot = next((s for s, since in free.items() if since <= stage), None)
            if slot is not None:
                del free[slot]
                builder.store(place[n], "gates", slot, "packed")
                kept.append(Kept(n, "gates", slot))
                continue
            array = "kept"
        builder.store(place[n], array, slots[array], "packed", "row" if array == "kept_rows" else width)
        kept.append(Kept(n, array, slots[array]))
        slots[array] += 1
    return kept


_GIVEN = ("const", "parameter", "mask")  # leaves that the way back can read again


@functools.lru_cache(maxsize=512)
def needed_back(low: Program, trace: bool) -> tuple[int, ...]:
    """The nodes whose values are kept: enough to compute again whatever the derivative reads.

    What a matrix product of all steps reads is kept itself.
    """
    nodes = low.nodes
    projected = {node.args[0] for node in nodes if node.op == "project"}
    whole = {group.operand for group in low.groups} | projected
    kept = {i for i in derive(low, trace).reads if nodes[i].op not in _GIVEN} | whole

    def derivable(index: int) -> bool:
        node = nodes[index]
        return index in kept or node.op in _GIVEN or (node.op in OPERATIONS and all(derivable(a) for a in node.args))

    for index in sorted(kept - whole, reverse=True):
        if nodes[index].op in OPERATIONS and all(derivable(a) for a in nodes[index].args):
            kept.remove(index)
    return tuple(sorted(kept))


@functools.lru_cache(maxsize=512)
def backward(
    program: Program, trace: bool, resets: bool, output: bool, traced: tuple[bool, ...]
) -> tuple[Forward, Backward]:
    """The forward step as it was saved, and the backward one.

    Args:
        program: as traced.
        trace: whether values were traced.
        resets: whether there are boundaries.
        output: whether a gradient arrives at the output.
        traced: for each traced value, whether a gradient arrives there.
    """
    ahead = forward(program, trace, True, resets, "outside")
    return ahead, _Back(ahead, trace, resets, output, traced).run()


class _Back:
    def __init__(self, ahead: Forward, trace: bool, resets: bool, output: bool, traced: tuple[bool, ...]) -> None:
        self.ahead = ahead
        self.low = ahead.program
        self.derivative = derive(self.low, trace)
        self.resets = resets
        self.output = output
        self.traced = traced
        self.builder = _Builder()
        self.kept = {k.node: k for k in ahead.kept}
        self.again: dict[int, int] = {}
        self.slot_of: dict[int, int] = {}  # node of the derivative -> slot of `d`

    def value(self, index: int) -> int:
        """A value of the forward step: kept, or computed again."""
        if index not in self.again:
            node = self.low.nodes[index]
            if node.op == "const":
                found = self.builder.graph.constant(float(node.label))
            elif node.op in ("parameter", "mask"):
                found = _leaf(self.builder, self.low, node)
            elif index in self.kept:
                kept = self.kept[index]
                width = {"kept_rows": "row", "kept_output": "output"}.get(kept.array, "units")
                found = self.builder.load(kept.array, kept.slot, "packed", width)
            else:
                found = self.builder.graph.add(node.op, [self.value(a) for a in node.args])
            self.again[index] = found
        return self.again[index]

    def adjoint(self, label: str) -> int:
        """The gradient that arrives at a new state, from the future and from outside, or at a shown value."""
        low, builder = self.low, self.builder
        names = [*low.states[1:], *(f"shown {name}" for name, _ in low.shown)]
        arrives = dict(zip(names, self.traced))
        total = None
        if label in low.states:
            total = builder.load(f"state:{label}", "in", "local", _width(low, label))
        if label == low.states[0] and self.output:
            outside = builder.load("dy", 0, "outer", _width(low, label))
            total = outside if total is None else builder.graph.add("add", [total, outside])
        elif arrives.get(label):
            outside = builder.load(f"dtraced:{names.index(label)}", 0, "outer")
            total = outside if total is None else builder.graph.add("add", [total, outside])
        return builder.graph.constant(0) if total is None else total

    def run(self) -> Backward:
        low, d, builder = self.low, self.derivative, self.builder
        place: list[int] = []
        gates = {gate: k for k, gate in enumerate(low.gates)}
        slots = len(gates)
        products: dict[int, int] = {}
        for n, index in d.products.items():
            gate = low.nodes[n].label.split()[1]
            if d.inputs.get(gate) == index and gates[gate] not in products.values():
                products[n] = gates[gate]
            else:
                products[n], slots = slots, slots + 1
        for node in d.nodes:
            if node.op == "const":
                place.append(builder.graph.constant(float(node.label)))
            elif node.op == "value":
                place.append(self.value(int(node.label)))
            elif node.op == "adjoint":
                place.append(self.adjoint(node.label))
            elif node.op == "transposed":
                wide = "output" if low.projection else "units"
                place += builder.product(
                    f"back {node.label}", [place[a] for a in node.args], 1, wide, "units", low.heads > 1
                )
            elif node.op == "unproject":
                place += builder.product("unproject", [place[node.args[0]]], 1, "units", "output", False)
            else:
                place.append(builder.graph.add(node.op, [place[a] for a in node.args]))
        zero = builder.graph.constant(0)
        for gate, k in gates.items():
            builder.store(place[d.inputs[gate]] if gate in d.inputs else zero, "d", k, "packed")
        for n, k in products.items():
            if k >= len(gates):
                builder.store(place[d.products[n]], "d", k, "packed")
        if d.projected is not None:
            builder.store(place[d.projected], "dprojected", 0, "packed", "output")
        sums = {}
        for k, (label, index) in enumerate(d.parameters.items()):
            builder.store(place[index], "sums", k, "sum")
            sums[label] = k
        for state, found in zip(low.states, d.states):
            width = _width(low, state)
            builder.carries.append(Carry(zero if found is None else place[found], state, width))
            builder.arrays.setdefault(f"state:{state}", Array(f"state:{state}", "local", width))
        return Backward(builder.step(True, self.resets, low.grad_clip), slots, products, sums)
