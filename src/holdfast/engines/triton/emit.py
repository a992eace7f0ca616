"""From a scheduled step to Triton source: a function for each pass, and a kernel that runs them over time.

A pass is computed block by block: a block of sequences and of units multiplies over the depth in pieces, and computes
everything elementwise that follows in registers. What a later pass needs of other units goes through memory.

One kernel runs all steps. A block of sequences belongs to a team of programs, which share its units and meet after each
pass: each member counts itself in, and waits until the others have. A team of one waits for its own threads only. Heads
have teams of their own where nothing leads from one to another. Where a member has a single block, and its weights find
room on the chip, it reads them once, before the first step (HELD).

Sequences that have ended stay in the batch: their states stand still, and what is stored of them is zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from holdfast.language import Program
from holdfast.language.operations import COMPARISONS, OPERATIONS

from ..steps.around import rows_of
from ..steps.step import Pass, Schedule, Step, schedule
from .functions import EXPRESSIONS, helpers

SIZES = ("batch", "units", "output")
BLOCKS = ("ROWS", "UNITS", "DEPTH", "PARTS", "HELD")
TEAM = ("TEAMS", "TOGETHER")  # how many teams share a block of sequences; whether they have several members
MOMENT = ("first", "steps", "direction", "turn", "members")
INDENT = "    "


@dataclass(frozen=True)
class Entries:
    """How the entries of a product's weight lie in memory, as source.

    Attributes:
        weight: the name of the learned tensor.
        segments: where the rows for each operand begin.
        results: where the entries for each result begin.
        along: the distance from one entry of an operand to the next.
        across: that from one unit of the result to the next.
        head: that from one head to the next, beside what `across` says.
    """

    weight: str
    segments: tuple[str, ...]
    results: tuple[str, ...]
    along: str
    across: str
    head: str = "0"


def entries(low: Program) -> dict[str, Entries]:
    """Of all products of a lowered program, forward and backward, by name."""
    found = {
        "projection": Entries("weight_hr", ("0",), ("0",), "1", "units"),
        "unproject": Entries("weight_hr", ("0",), ("0",), "units", "1"),
    }
    for k, group in enumerate(low.groups):
        rows = tuple(f"{row} * units * narrow" for row in rows_of(low, group))
        found[f"group {k}"] = Entries(group.weight, ("0",), rows, "1", "narrow")
        beyond = f"(units // {low.heads} - 1) * narrow"
        found[f"back {k}"] = Entries(group.weight, rows, ("0",), "narrow", "1", beyond)
    return found


@dataclass(frozen=True)
class Form:
    """In which form a step is written.

    Attributes:
        element: what weights and series are kept in, as Triton calls it.
        number: what is computed with.
        ragged: whether sequences end before the last step.
        dot: whether matrix products use `tl.dot`, and not sums of products.
        precision: of `tl.dot` with float32 factors: "ieee" or "tf32".
    """

    element: str
    number: str
    ragged: bool
    dot: bool
    precision: str

    @property
    def half(self) -> bool:
        """Whether series are kept in fewer bits than are computed with."""
        return self.element != self.number

    @property
    def tensor_cores(self) -> bool:
        """Whether products run on the units that hold a factor in the memory of the chip."""
        return self.dot and (self.bytes == 2 or self.precision == "tf32")

    @property
    def bytes(self) -> int:
        """Of a weight."""
        return {"tl.float64": 8, "tl.float32": 4}.get(self.element, 2)


@dataclass(frozen=True)
class Source:
    """A step's kernel.

    Attributes:
        text: the module.
        plan: the passes.
        pointers: what the kernel is given, in order; the names of the step's arrays and of what is beside them.
        teams: how many teams share the units of a block of sequences.
        tiles: how many weights there are for a unit of a block, each as deep as there are units of a head.
        results: the most that an operand is multiplied with at a time.
    """

    text: str
    plan: Schedule
    pointers: tuple[str, ...]
    teams: int
    tiles: int
    results: int


def emit(step: Step, low: Program, slots: Mapping[str, int], form: Form) -> Source:
    """The kernel of a step.

    Args:
        step: the step.
        low: the lowered program that it comes from.
        slots: how many slots arrays have that have more than one.
        form: how it is written.
    """
    return _Module(step, low, slots, form).source()


def identifier(name: str) -> str:
    """An array's name as a name in the source."""
    return "at_" + name.replace(":", "_").replace(".", "_").replace(" ", "_")


class _Module:
    def __init__(self, step: Step, low: Program, slots: Mapping[str, int], form: Form) -> None:
        self.step, self.low, self.slots, self.form = step, low, slots, form
        self.plan = schedule(step)
        self.entries = entries(low)
        self.pointers = tuple(self._pointers())
        apart = not self.plan.means and all(product.headed for product in step.products)
        self.teams = low.heads if apart else 1

    def _pointers(self) -> Iterable[str]:
        yield from (array.name for array in self.step.arrays)
        if self.step.resets:
            yield from (f"home:{carry.state}" for carry in self.step.carries)
            yield "resets"
        if self.form.ragged:
            yield "lengths"
        yield from (f"scratch_{width}" for width, count in self.plan.scratch.items() if count)
        if self.plan.means:
            yield "partial"
        yield from dict.fromkeys(self.entries[product.weight].weight for product in self.step.products)

    def source(self) -> Source:
        passes = self.plan.passes
        parts = ["import triton\nimport triton.language as tl\n", helpers(self.form.number == "tl.float64")]
        parts += [_Pass(self, number, part).text() for number, part in enumerate(passes)]
        parts.append(self.whole())
        tiles = sum(len(p.operands) * p.results for p in self.step.products)
        results = max((p.results for p in self.step.products), default=0)
        return Source("\n".join(parts), self.plan, self.pointers, self.teams, tiles, results)

    def signature(self, name: str, *others: str, constants: Sequence[str] = BLOCKS) -> str:
        """The head of a function, as source."""
        written = [f"{constant}: tl.constexpr" for constant in constants]
        return f"def {name}({', '.join((*map(identifier, self.pointers), *others, *SIZES, *written))}):"

    def call(self, number: int, *moment: str) -> str:
        """The call of a pass."""
        return f"pass_{number}({', '.join((*map(identifier, self.pointers), *moment, *SIZES, *BLOCKS))})"

    def whole(self) -> str:
        """The kernel of all steps."""
        lines = [
            f"@triton.jit(do_not_specialize={[*MOMENT, 'batch']})",
            self.signature("whole", "meetings", *MOMENT, constants=(*BLOCKS, *TEAM)),
            "    row_block = tl.program_id(0)",
            "    team = tl.program_id(1)",
            "    member = tl.program_id(2)",
            "    counter = meetings + row_block * TEAMS + team",
            "    expected = tl.full((), 0, tl.int64)",
        ]
        passes = self.plan.passes
        for number, part in enumerate(passes):
            heads = self.low.heads
            lines.append(f"    blocks_{number} = {heads} // TEAMS * tl.cdiv({part.width} // {heads}, UNITS)")
            given = (*map(identifier, self.pointers), f"team * blocks_{number} + own", *SIZES, *BLOCKS)
            lines += [f"    held_{number} = ()", "    if HELD:"]
            lines.append(f"        own = tl.minimum(member, blocks_{number} - 1)")
            lines.append(f"        held_{number} = weights_{number}({', '.join(given)})")
        lines += ["    for s in range(steps):", "        t = first + s * direction", "        now = (turn + s) % 2"]
        for number in range(len(passes)):
            moment = ("t", "now", "row_block", f"team * blocks_{number} + block", f"held_{number}")
            lines += [
                f"        for block in tl.range(member, blocks_{number}, members, num_stages=1):",
                "            " + self.call(number, *moment),
            ]
            if number == len(passes) - 1 and self.stay_apart():
                lines.append("        tl.debug_barrier()")
            else:
                lines += ["        expected += members", "        meet(counter, expected, TOGETHER)"]
        return "\n".join(lines) + "\n"

    def stay_apart(self) -> bool:
        """Whether members need not meet between a step and the next.

        So it is where the first pass reads only what its own member has computed, and nothing that it stores is still
        read by others in the last one.
        """
        first, last = self.plan.passes[0], self.plan.passes[-1]
        read = [array for k in last.products for array, _ in self.plan.places[k]]
        kept = all(not array.startswith("scratch_") and self.step.array(array).series for array in read)
        alone = not first.products and not first.means and not last.means
        return alone and kept and first.width == last.width


class _Pass:
    """The source of one pass."""

    def __init__(self, module: _Module, number: int, part: Pass) -> None:
        self.module, self.place, self.part = module, number, part
        self.step, self.plan, self.form = module.step, module.plan, module.form
        self.lines: list[str] = []
        self.values: dict[int, str] = {}
        self.read: dict[tuple[str, int | str], str] = {}

    def text(self) -> str:
        return self.weights() + self.computed()

    def function(self, *head: str) -> str:
        """A function of the lines that were written last."""
        written, self.lines = self.lines, []
        return "\n".join(("@triton.jit", self.module.signature(*head), *(INDENT + line for line in written), "", ""))

    def weights(self) -> str:
        """The function that reads the weights of a block."""
        self.units()
        self.line("depth = tl.arange(0, DEPTH)")
        self.line("tiles = ()")
        for k in self.part.products:
            self.inner(k)
            for segment, result in self.tiles(k):
                self.line(f"tiles += ({self.tile(k, segment, result)},)")
        self.line("return tiles")
        return self.function(f"weights_{self.place}", "unit_block")

    def computed(self) -> str:
        """The function that computes a block of a step."""
        self.begin()
        for m in self.part.means:
            self.mean(m)
        for k in self.part.products:
            self.product(k)
        nodes = {n for n, _ in (*self.part.spills, *self.part.sums)}
        nodes |= {s.node for s in self.part.stores} | {c.node for c in self.part.carries}
        for n in sorted(nodes):  # everything is read before anything is stored
            self.value(n)
        if {array for array, _ in self.read} & {store.array for store in self.part.stores}:
            self.line("tl.debug_barrier()")  # also by threads that read what others of the program store
        for n, slot in self.part.spills:
            self.put(self.full(n), f"scratch_{self.part.width}", slot)
        for n, m in self.part.sums:
            self.sum(n, m)
        for store in self.part.stores:
            self.store(store.node, store.array, store.slot)
        for carry in self.part.carries:
            self.carry(carry.node, carry.state)
        return self.function(f"pass_{self.place}", "t", "turn", "row_block", "unit_block", "held")

    def line(self, text: str) -> None:
        self.lines.append(text)

    def units(self) -> None:
        """Which units this program has."""
        heads, width = self.module.low.heads, self.part.width
        self.line(f"narrow = output // {heads}")
        self.line(f"of_head = {width} // {heads}")
        self.line("blocks_of_head = tl.cdiv(of_head, UNITS)")
        self.line("head = unit_block // blocks_of_head")
        self.line("local = unit_block % blocks_of_head * UNITS + tl.arange(0, UNITS)")
        self.line("unit = head * of_head + local")
        self.line("there = local < of_head")

    def begin(self) -> None:
        """Which units and sequences this program has."""
        self.units()
        self.line("row = row_block * ROWS + tl.arange(0, ROWS)")
        self.line("here = row < batch")
        self.line("both = here[:, None] & there[None, :]")
        self.line("row = row.to(tl.int64)")
        self.line("outer = t.to(tl.int64) * batch + row")
        if self.form.ragged:
            self.line(f"alive = here & (t < tl.load({identifier('lengths')} + row, mask=here, other=0))")
        else:
            self.line("alive = here")
        if self.part.means or self.part.sums:
            heads = self.module.low.heads
            self.line(f"parts = {heads} * tl.cdiv(units // {heads}, UNITS)")

    # What is computed of many units.

    def product(self, k: int) -> None:
        """One matrix product: with the weights that are held, or piece by piece over the depth."""
        product, form = self.step.products[k], self.form
        for result in range(product.results):
            self.line(f"product_{k}_{result} = tl.zeros((ROWS, UNITS), {form.number})")
        self.inner(k)
        order = [(other, *tile) for other in self.part.products for tile in self.tiles(other)]
        for segment, (array, slot) in enumerate(self.plan.places[k]):
            factor = self.address(array, slot, product.inner, "entry")
            factor = f"tl.load({factor}, mask=here[:, None] & (depth < inner)[None, :], other=0.0).to({form.element})"
            names = [f"product_{k}_{result}" for result in range(product.results)]
            tiles = [(k, segment, result) for result in range(product.results)]
            self.line("if HELD:")
            self.piece(k, INDENT, "0", factor, [(n, f"held[{order.index(tile)}]") for n, tile in zip(names, tiles)])
            self.line("else:")
            self.line("    for begin in range(0, inner, DEPTH):")
            self.piece(k, 2 * INDENT, "begin", factor, [(n, self.tile(*tile)) for n, tile in zip(names, tiles)])

    def piece(self, k: int, indent: str, begin: str, factor: str, totals: Iterable[tuple[str, str]]) -> None:
        """Add some depths of a product to its totals, each of which has a weight of its own."""
        lines = [f"depth = {begin} + tl.arange(0, DEPTH)"]
        lines.append("entry = depth + head * inner" if self.heads(k) > 1 else "entry = depth")
        lines.append(f"factor = {factor}")
        for name, weight in totals:
            lines += [f"weight = {weight}", f"{name} = {self.multiplied(name)}"]
        for line in lines:
            self.line(indent + line)

    def heads(self, k: int) -> int:
        """The blocks of a product's weight."""
        return self.module.low.heads if self.step.products[k].headed else 1

    def inner(self, k: int) -> None:
        """How many entries of an operand one of a product's results comes from."""
        self.line(f"inner = {self.step.products[k].inner} // {self.heads(k)}")

    def tiles(self, k: int) -> Iterable[tuple[int, int]]:
        """The parts of a product's weight: which operand they multiply, and for which result."""
        return itertools.product(range(len(self.plan.places[k])), range(self.step.products[k].results))

    def tile(self, k: int, segment: int, result: int) -> str:
        """A part of a product's weight, at some depths for this program's units, as source."""
        where = self.module.entries[self.step.products[k].weight]
        at = f"{identifier(where.weight)} + {where.segments[segment]} + {where.results[result]}"
        at += f" + head * ({where.head})" if self.heads(k) > 1 else ""
        at += f" + depth[:, None] * {where.along} + unit[None, :] * {where.across}"
        return f"tl.load({at}, mask=(depth < inner)[:, None] & there[None, :], other=0.0)"

    def multiplied(self, total: str) -> str:
        """A total to which the product of `factor` and `weight` is added."""
        if self.form.dot:
            return f'tl.dot(factor, weight, {total}, input_precision="{self.form.precision}")'
        number = self.form.number
        return f"{total} + tl.sum(factor.to({number})[:, :, None] * weight.to({number})[None, :, :], axis=1)"

    def mean(self, m: int) -> None:
        """A mean over the units, from the sums over the blocks."""
        self.line("part = tl.arange(0, PARTS)")
        at = f"{identifier('partial')} + ({m} * batch + row)[:, None] * parts + part[None, :]"
        self.line(f"some = tl.load({at}, mask=here[:, None] & (part < parts)[None, :], other=0.0)")
        self.line(f"mean_{m} = tl.sum(some, axis=1)[:, None] / units")

    def sum(self, index: int, m: int) -> None:
        """The sum of a value over this program's units."""
        self.line(f"some = tl.sum(tl.where(there[None, :], {self.full(index)}, 0.0), axis=1)")
        at = f"{identifier('partial')} + ({m} * batch + row) * parts + unit_block"
        self.line(f"tl.store({at}, some, mask=here)")

    # Values.

    def value(self, index: int) -> str:
        """A node's value; of a comparison, bits."""
        if index not in self.values:
            found = self.expression(index)
            if not found.isidentifier():
                self.line(f"v{index} = {found}")
                found = f"v{index}"
            self.values[index] = found
        return self.values[index]

    def number(self, index: int) -> str:
        """A value as numbers, also where it is the outcome of a comparison."""
        value = self.value(index)
        return f"{value}.to({self.form.number})" if self.bits(index) else value

    def bits(self, index: int) -> bool:
        """Whether a value is there as bits; one that is read from memory is not."""
        return self.step.nodes[index].op in COMPARISONS and not self.elsewhere(index)

    def elsewhere(self, index: int) -> bool:
        """Whether another pass computes a node and leaves it."""
        home = self.plan.home.get(index)
        return home is not None and home != (self.part.stage, self.part.width)

    def full(self, index: int) -> str:
        """A value at its full shape: parameters, means and constants have less."""
        return f"tl.broadcast_to({self.number(index)}, (ROWS, UNITS))"

    def expression(self, index: int) -> str:
        node = self.step.nodes[index]
        if node.op == "const":
            return f"tl.full((1, 1), {_written(float(node.label), self.form.number)}, {self.form.number})"
        if self.elsewhere(index):
            return self.get(f"scratch_{self.plan.home[index][1]}", self.plan.slots[index])
        if node.op == "load":
            array, slot = node.label.split()
            return self.get(array, slot if slot == "in" else int(slot))
        if node.op == "mean":
            return f"mean_{self.plan.number[index]}"
        if node.op == "product":
            k, result = node.label.split()
            return f"product_{k}_{result}"
        arguments = [self.number(a) for a in node.args]
        if node.op == "where":
            condition = self.value(node.args[0])
            arguments[0] = condition if self.bits(node.args[0]) else f"{condition} != 0.0"
        assert node.op in OPERATIONS
        return EXPRESSIONS[node.op].format(*arguments)

    # Memory.

    def width(self, array: str) -> str:
        """How many entries a slot of an array has, as source."""
        if array.startswith("scratch_"):
            return array.removeprefix("scratch_")
        if array.startswith("home:"):
            return next(c.width for c in self.step.carries if f"home:{c.state}" == array)
        return self.step.array(array).width

    def order(self, array: str) -> str:
        if array.startswith("scratch_"):
            return "local"
        if array.startswith("home:"):
            return "sum" if self.step.backward else "unit"
        return self.step.array(array).order

    def address(self, array: str, slot: int | str, width: str, unit: str) -> str:
        """The addresses of some units of a slot, for this program's sequences."""
        at, order = identifier(array), self.order(array)
        if order == "unit":
            return f"{at} + {slot} * {width} + {unit}[None, :]"
        if slot in ("in", "out"):
            turn = "turn" if slot == "in" else "(1 - turn)"
            return f"{at} + ({turn} * batch + row)[:, None] * {width} + {unit}[None, :]"
        row = "outer" if order in ("packed", "outer") else "row"
        count = self.plan.scratch[width] if array.startswith("scratch_") else self.module.slots.get(array, 1)
        if width == "row":
            return f"{at} + {row}[:, None] * {count} + {slot}"
        return f"{at} + {row}[:, None] * ({count} * {width}) + {slot} * {width} + {unit}[None, :]"

    def get(self, array: str, slot: int | str) -> str:
        """What a slot of an array holds, read once."""
        if (array, slot) not in self.read:
            width = self.width(array)
            mask = "here[:, None]" if width == "row" else "there[None, :]" if self.order(array) == "unit" else "both"
            name = f"read_{len(self.read)}"
            at = self.address(array, slot, width, "unit")
            self.line(f"{name} = tl.load({at}, mask={mask}, other=0.0).to({self.form.number})")
            self.read[array, slot] = name
        return self.read[array, slot]

    def put(self, value: str, array: str, slot: int | str) -> None:
        """Store a value at its full shape."""
        self.line(f"tl.store({self.address(array, slot, self.width(array), 'unit')}, {value}, mask=both)")

    def store(self, index: int, array: str, slot: int) -> None:
        known = self.step.array(array)
        if known.width == "row":  # the same for all units: each block of them writes it
            value = f"tl.broadcast_to({self.number(index)}, (ROWS, 1))"
            value = f"tl.where(alive[:, None], {value}, 0.0)"
            at = self.address(array, slot, "row", "unit")
            self.line(f"tl.store({at}, {value}, mask=here[:, None])")
        elif known.order == "sum":
            self.put(f"{self.get(array, slot)} + tl.where(alive[:, None], {self.full(index)}, 0.0)", array, slot)
        elif self.form.ragged:
            self.put(f"tl.where(alive[:, None], {self.full(index)}, 0.0)", array, slot)
        else:
            self.put(self.full(index), array, slot)

    def carry(self, index: int, state: str) -> None:
        """Hand a value to the next step; at a boundary, home in its place; past a length, what there was."""
        step, array = self.step, f"state:{state}"
        name = identifier(f"next:{state}")
        self.line(f"{name} = {self.full(index)}")
        if step.clip:
            self.line(f"{name} = minimum(maximum({name}, {-step.clip!r}), {step.clip!r})")
        if step.resets:
            boundary = f"boundary_{identifier(state)}"
            self.line(f"{boundary} = tl.load({identifier('resets')} + outer, mask=here, other=0)[:, None] != 0")
            home = f"home:{state}"
            if step.backward:
                self.put(f"{self.get(home, 0)} + tl.where({boundary}, {name}, 0.0)", home, 0)
                self.line(f"{name} = tl.where({boundary}, 0.0, {name})")
            else:
                self.line(f"{name} = tl.where({boundary}, {self.get(home, 0)}, {name})")
        if self.form.ragged:
            self.line(f"{name} = tl.where(alive[:, None], {name}, {self.get(array, 'in')})")
        self.put(name, array, "out")


def _written(number: float, dtype: str) -> str:
    """A number as source; in float32 one that is too large is infinite, as in PyTorch."""
    if dtype == "tl.float32" and abs(number) > 3.4028235677973366e38:
        number = float("inf") if number > 0 else float("-inf")
    return repr(number) if number == number and abs(number) != float("inf") else f'float("{number}")'
