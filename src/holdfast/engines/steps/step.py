"""One step as an engine computes it, forward or backward: where values come from, where they go, in which passes.

A step is a graph like the language's, with these leaves and operations beside the elementwise ones:

| op      | label        | what it is                                                                                |
|---------|--------------|-------------------------------------------------------------------------------------------|
| const   | `0.5`        | a number                                                                                  |
| load    | `gates 2`    | an entry of an array of the arguments: its slot 2; the slot of a carried state is `in`    |
| product | `0 2`        | result 2 of the matrix product 0, whose operands are the node's arguments                 |
| mean    |              | the mean over the units                                                                   |

A matrix product needs all units of its operand, and a mean all units of what it is the mean of: they divide the step
into stages, and a stage into passes, one a width. A pass computes its products for a block of units and some rows, and
then everything elementwise that follows from them, in registers; what a later pass needs is spilled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from holdfast.language.graph import Node


@dataclass(frozen=True)
class Array:
    """A piece of memory that the kernel is given.

    Attributes:
        name: what the loads and stores call it.
        order: which row belongs to a sequence at a step: "packed" (the running steps of all sequences one after the
            other, as in a PackedSequence), "outer" (T, B as the caller has it), "sequence" (one row a sequence, as the
            caller has it), "local" (one row a sequence, longest first), "unit" (a single row), "sum" (a single row for
            each thread, to which the kernel adds).
        width: how many entries a slot has: "units", "output", or "row" for one number.
        volatile: whether a load must come before a store to the same slot.
        exact: whether its numbers are those that are computed with, even where series are kept in bfloat16.
    """

    name: str
    order: str
    width: str = "units"
    volatile: bool = False
    exact: bool = False

    @property
    def series(self) -> bool:
        """Whether it is a series, or what a caller has for each sequence, which may be kept in bfloat16."""
        return self.order in ("packed", "outer", "sequence") and self.width != "row" and not self.exact


@dataclass(frozen=True)
class Product:
    """A matrix product with a packed weight.

    Attributes:
        weight: the name of the packed weight.
        operands: the nodes whose rows, one after the other, are multiplied.
        results: how many vectors of the result's width come out.
        width: the width of each.
        inner: the width of an operand.
        headed: whether the weight falls into blocks, one a head.
    """

    weight: str
    operands: tuple[int, ...]
    results: int
    width: str
    inner: str
    headed: bool


@dataclass(frozen=True)
class Store:
    """A node's value that goes to an array: stored, or added where the array is a sum."""

    node: int
    array: str
    slot: int


@dataclass(frozen=True)
class Carry:
    """A node's value that the next step starts from."""

    node: int
    state: str
    width: str


@dataclass(frozen=True)
class Step:
    """A step, ready to be scheduled.

    Attributes:
        nodes: the graph.
        widths: the width of each node's value; None where it is the same for all units.
        arrays: what it loads from and stores to.
        products: its matrix products.
        stores: what it stores.
        before: what is stored for all steps before the first one runs; it depends on no state.
        carries: what it hands to the next step.
        backward: whether it runs against the direction of the recurrence.
        resets: whether sequences may return home between steps.
        clip: the bound on what is carried; 0 for none.
    """

    nodes: tuple[Node, ...]
    widths: tuple[str | None, ...]
    arrays: tuple[Array, ...]
    products: tuple[Product, ...]
    stores: tuple[Store, ...]
    before: tuple[Store, ...]
    carries: tuple[Carry, ...]
    backward: bool
    resets: bool
    clip: float

    def array(self, name: str) -> Array:
        """The array of a name."""
        return next(a for a in self.arrays if a.name == name)


Place = tuple[str, int | str]  # an array and a slot in it


@dataclass(frozen=True)
class Pass:
    """What is computed together, block by block: see the module.

    Attributes:
        stage: its stage; between stages the threads wait for each other if they share the units.
        width: "units" or "output".
        products: the products it computes.
        means: the means it reads.
        sums: the nodes that it adds up over the units, with the number of the mean.
        spills: the nodes it leaves for later passes, with their slots in the scratch of its width.
        stores: what it stores.
        carries: what it hands to the next step.
    """

    stage: int
    width: str
    products: tuple[int, ...]
    means: tuple[int, ...]
    sums: tuple[tuple[int, int], ...]
    spills: tuple[tuple[int, int], ...]
    stores: tuple[Store, ...]
    carries: tuple[Carry, ...]


@dataclass(frozen=True)
class Schedule:
    """A step in passes.

    Attributes:
        passes: in the order in which they run.
        before: what runs once for all steps, or None.
        places: where the operands of each product lie.
        scratch: how many slots are spilled, by width.
        means: how many means there are.
        number: the number of each mean, by node.
        home: the pass of each node that is computed once only, and spilled for others.
        slots: the scratch slot of each spilled node.
        factors: the spilled nodes that matrix products read.
    """

    passes: tuple[Pass, ...]
    before: Pass | None
    places: tuple[tuple[Place, ...], ...]
    scratch: Mapping[str, int]
    means: int
    number: Mapping[int, int]
    home: Mapping[int, tuple[int, str]]
    slots: Mapping[int, int]
    factors: frozenset[int]


def stages(step: Step) -> list[int | None]:
    """The earliest stage of each node; None for what can be had at any."""
    found: list[int | None] = []
    volatile = {a.name for a in step.arrays if a.volatile}
    users: dict[int, list[int]] = {}
    for index, node in enumerate(step.nodes):
        for a in node.args:
            users.setdefault(a, []).append(index)
        if node.op == "load":
            found.append(0 if node.label.split()[0] in volatile else None)
        elif node.op == "mean":
            found.append((found[node.args[0]] or 0) + 1)
        elif node.op == "product":
            found.append(max(0 if _direct(step, a) else (found[a] or 0) + 1 for a in node.args))
        else:
            known = [s for s in (found[a] for a in node.args) if s is not None]
            found.append(max(known) if known else None)
    for index, node in enumerate(step.nodes):  # what will be overwritten is read where it is first used
        if node.op == "load" and found[index] is not None:
            found[index] = min((found[u] or 0 for u in users.get(index, ())), default=0)
    return found


def _direct(step: Step, index: int) -> bool:
    """Whether a product can read its operand where it lies before the step."""
    node = step.nodes[index]
    if node.op != "load":
        return False
    array = step.array(node.label.split()[0])
    return array.order in ("local", "packed") and array.width != "row" and not array.volatile


def operand_states(step: Step) -> list[str]:
    """The states that a matrix product reads where they lie before the step."""
    found = {step.nodes[o].label.split()[0] for product in step.products for o in product.operands if _direct(step, o)}
    return [name.removeprefix("state:") for name in sorted(found) if name.startswith("state:")]


def uniform(step: Step) -> list[bool]:
    """Which nodes have one value for all units of a sequence, and are had from means."""
    found: list[bool] = []
    for node in step.nodes:
        row = node.op == "load" and step.array(node.label.split()[0]).width == "row"
        others = [a for a in node.args if step.nodes[a].op != "const"]
        elementwise = node.op not in ("load", "mean", "product", "const")
        found.append(node.op == "mean" or row or (elementwise and bool(others) and all(found[a] for a in others)))
    return found


def schedule(step: Step) -> Schedule:
    """Divide a step into passes."""
    return _Scheduler(step).schedule()


class _Scheduler:
    def __init__(self, step: Step) -> None:
        self.step = step
        self.stage = stages(step)
        self.uniform = uniform(step)
        self.number: dict[int, int] = {}
        for index, node in enumerate(step.nodes):
            if node.op == "mean":
                self.number[index] = len(self.number)
        self.stored = {
            s.node: (s.array, s.slot)
            for s in step.stores
            if step.array(s.array).order in ("packed", "local") and step.array(s.array).width != "row"
        }

    def once(self, index: int) -> bool:
        """Whether a node is computed in one pass only, and spilled for others."""
        return self.stage[index] is not None and not self.uniform[index]

    def at(self, index: int, width: str | None = None) -> tuple[int, str]:
        """The pass in which a node is computed, or first can be."""
        own = self.step.widths[index] or width or "units"
        return (self.stage[index] or 0, own)

    def schedule(self) -> Schedule:
        step = self.step
        roots: dict[tuple[int, str], list[int]] = {}  # what each pass must have
        wanted: list[tuple[int, tuple[int, str]]] = []

        def want(index: int, key: tuple[int, str]) -> tuple[int, str]:
            wanted.append((index, key))
            roots.setdefault(key, []).append(index)
            return key

        materialised: list[int] = []
        for product in step.products:
            for operand in product.operands:
                if not _direct(step, operand) and operand not in self.stored and operand not in materialised:
                    materialised.append(operand)
        at_store = [want(s.node, self.at(s.node, self._width(s.array))) for s in step.stores]
        at_carry = [want(c.node, self.at(c.node, c.width)) for c in step.carries]
        at_mean = {m: want(step.nodes[m].args[0], self.at(step.nodes[m].args[0])) for m in self.number}
        at_spill = {n: want(n, self.at(n)) for n in materialised}

        reads: dict[tuple[int, str], set[int]] = {}
        means: dict[tuple[int, str], set[int]] = {}
        products: dict[tuple[int, str], set[int]] = {}
        waiting = wanted
        done: set[tuple[int, tuple[int, str]]] = set()
        while waiting:
            index, key = waiting.pop()
            if (index, key) in done:
                continue
            done.add((index, key))
            node = step.nodes[index]
            if node.op == "mean":
                means.setdefault(key, set()).add(self.number[index])
                continue
            if self.once(index) and self.at(index) != key:
                reads.setdefault(key, set()).add(index)
                at_spill.setdefault(index, self.at(index))
                waiting.append((index, self.at(index)))
                continue
            if node.op == "product":
                products.setdefault(key, set()).add(int(node.label.split()[0]))
                continue
            waiting.extend((a, key) for a in node.args)

        scratch = {"units": 0, "output": 0}
        slots: dict[int, int] = {}
        for n in sorted(at_spill):
            slots[n] = scratch[at_spill[n][1]]
            scratch[at_spill[n][1]] += 1
        places = [tuple(self._place(o, at_spill, slots) for o in product.operands) for product in step.products]
        keys = sorted({key for _, key in done})
        passes = tuple(
            Pass(
                *key,
                products=tuple(sorted(products.get(key, ()))),
                means=tuple(sorted(means.get(key, ()))),
                sums=tuple((step.nodes[m].args[0], self.number[m]) for m, k in at_mean.items() if k == key),
                spills=tuple((n, slots[n]) for n, k in sorted(at_spill.items()) if k == key),
                stores=tuple(s for s, k in zip(step.stores, at_store) if k == key),
                carries=tuple(c for c, k in zip(step.carries, at_carry) if k == key),
            )
            for key in keys
        )
        home = {n: self.at(n) for n in range(len(step.nodes)) if self.once(n)}
        before = None
        if step.before:
            ahead = {k for s in step.before for k in self.products_of(s.node)}
            before = Pass(0, "units", tuple(sorted(ahead)), (), (), (), step.before, ())
        return Schedule(
            passes,
            before,
            tuple(places),
            scratch,
            len(self.number),
            dict(self.number),
            home,
            slots,
            frozenset(materialised),
        )

    def products_of(self, index: int) -> set[int]:
        """The products that a node depends on."""
        node = self.step.nodes[index]
        if node.op == "product":
            return {int(node.label.split()[0])}
        return {k for a in node.args for k in self.products_of(a)}

    def _width(self, array: str) -> str | None:
        width = self.step.array(array).width
        return None if width == "row" else width

    def _place(self, operand: int, at_spill: Mapping[int, tuple[int, str]], slots: Mapping[int, int]) -> Place:
        if _direct(self.step, operand):
            array, slot = self.step.nodes[operand].label.split()
            return array, (slot if slot == "in" else int(slot))
        if operand in self.stored:
            return self.stored[operand]
        return f"scratch_{at_spill[operand][1]}", slots[operand]


def widths_of(nodes: Sequence[Node], leaves: Mapping[int, str | None]) -> tuple[str | None, ...]:
    """The width of each node, from those of the leaves and of the products."""
    found: list[str | None] = []
    for index, node in enumerate(nodes):
        if index in leaves:
            found.append(leaves[index])
        else:
            known: Iterable[str] = {w for w in (found[a] for a in node.args) if w is not None}
            found.append(next(iter(known), None))
    return tuple(found)
