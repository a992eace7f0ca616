"""From a scheduled step to LLVM IR: the loop over time, the passes, the register tiles of the matrix products.

All sizes are arguments. The kernel is called by each thread of a team as `kernel(arguments, thread, threads)`; the
arguments are an array of 64-bit integers, pointers among them, in the order of `fields`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import llvmlite.ir as ir

from ..steps.step import Pass, Product, Schedule, Step, operand_states, schedule
from .code import I1, I8, I16, I32, I64, PTR, VOID, Code, uncollected
from .functions import Emitter
from .halves import PAIRS, STATE, TILE_ROWS
from .int8 import PIECE, Int8
from .layout import Layout, layout
from .machine import Target
from .precision import DEPTH, Precision

ROWS_AT_ONCE = 96  # that are multiplied with a part of a weight
WEIGHTS_AT_ONCE = 32 << 10  # bytes of such a part: it stays in the first cache


class Kernel(Int8):
    """The kernel of one step for one target.

    Args:
        step: the step.
        target: what it is compiled for.
        precision: which numbers it computes with and keeps.
        raw: whether the weights are read where they lie, for a single step, and not packed for many.
    """

    def __init__(self, step: Step, target: Target, precision: Precision, raw: bool = False) -> None:
        self.step = step
        self.raw = raw
        self.plan = schedule(step)
        self.layout = layout(step, self.plan, raw, precision)
        super().__init__(target, precision, self.layout.fields)
        self.half = precision.half
        self.tiled = self.half and target.tiles

    def text(self) -> str:
        """The module as text."""
        self.wait = self.emit_wait()
        if not self.raw:
            self.pack = self.emit_half_pack() if self.half else self.emit_pack()
        if self.precision.int8:
            self.rounding = self.emit_rounding()
            self.int8_products = {r: self.emit_int8_product(r) for r in {p.results for p in self.step.products}}
        if self.tiled:
            self.prepare, self.configure = self.emit_prepare(), self.emit_configure()
        parts = (*([self.plan.before] if self.plan.before else ()), *self.plan.passes)
        self.bodies = {part: (self.emit_body(part, tail=False), self.emit_body(part, tail=True)) for part in parts}
        self.emit_kernel()
        self.emit_run(self.kernel)
        return self.finished()

    # Threads.

    def emit_wait(self) -> ir.Function:
        """Wait until all threads of the team have come here."""
        code = Code(self.module, "wait", [PTR, I64])
        _, threads = code.args
        b = code.b
        with code.when(b.icmp_signed(">", threads, code.number(1))):
            counter = self.field(code, "barrier", PTR)
            turn = b.gep(counter, [code.number(8)], source_etype=I64)
            now = b.load_atomic(turn, "acquire", 8, typ=I64)
            before = b.atomic_rmw("add", counter, code.number(1), "acq_rel")
            last = b.icmp_signed("==", before, b.sub(threads, code.number(1)))
            with b.if_else(last) as (then, other):
                with then:
                    b.atomic_rmw("xchg", counter, code.number(0), "monotonic")
                    b.atomic_rmw("xchg", turn, b.add(now, code.number(1)), "release")
                with other:
                    before_spin = b.block
                    spin, rest, out = (code.function.append_basic_block(n) for n in ("spin", "rest", "out"))
                    b.branch(spin)
                    b.position_at_end(spin)
                    count = b.phi(I64)
                    count.add_incoming(code.number(0), before_spin)
                    same = b.icmp_signed("==", b.load_atomic(turn, "acquire", 8, typ=I64), now)
                    b.cbranch(same, rest, out)
                    b.position_at_end(rest)
                    if self.target.x86:
                        name = "llvm.x86.sse2.pause"
                        b.call(ir.Function(self.module, ir.FunctionType(VOID, []), name), [])
                    # Where there are more threads than processors, the one waited for may need this one.
                    with code.when(b.icmp_signed(">", count, code.number(1 << 9))):
                        b.call(ir.Function(self.module, ir.FunctionType(I32, []), self.target.give_way), [])
                    more = b.add(count, code.number(1))
                    count.add_incoming(more, b.block)
                    b.branch(spin)
                    b.position_at_end(out)
        b.ret_void()
        code.function.attributes.add("noinline")
        return code.function

    # Products.

    def results(self, k: int) -> int:
        """How many vectors one row of a register tile has."""
        return self.step.products[k].results * self.layout.tables[self.layout.of_product[k]].vectors

    def halved(self, array: str) -> bool:
        """Whether an array of the step is kept in bfloat16."""
        if not self.half or array.startswith(("scratch", "home:")):
            return False
        return array.startswith("factor") or self.step.array(array).series

    # One pass for one vector of units of one row.

    def emit_body(self, part: Pass, tail: bool) -> ir.Function:
        """The elementwise part of a pass as a function: for a whole vector, or for the last one."""
        when = "before" if part is self.plan.before else f"pass_{part.stage}"
        name = f"{when}_{part.width}{'_tail' if tail else ''}"
        code = Code(self.module, name, [PTR, *[I64] * len(_Body.GIVEN), *[PTR] * len(part.products)])
        _Body(self, part, code, tail).emit()
        code.b.ret_void()
        code.function.attributes.add("alwaysinline")
        return code.function

    # The loop over time.

    def emit_kernel(self) -> None:
        """kernel(arguments, thread, threads): one thread's part of a run."""
        code = self.kernel = Code(self.module, "kernel", [PTR, I64, I64])
        arguments, thread, threads = code.args
        b = code.b
        one, zero = code.number(1), code.number(0)
        if not self.raw:
            with code.when(b.icmp_signed("!=", self.field(code, "pack"), zero)):
                self.emit_packing(code, thread, threads)
        with code.when(b.icmp_signed("!=", self.field(code, "begin"), zero)):
            self.emit_states(code, thread, threads, final=False)
            b.call(self.wait, [arguments, threads])  # for the weights too: they are packed only where a run begins
        shared = b.icmp_signed("!=", self.field(code, "shared"), zero)
        team = _Team(thread, threads, shared, b.select(shared, zero, thread), b.select(shared, one, threads))
        back = b.icmp_signed("!=", self.field(code, "back"), zero)
        sums = {}
        for part in self.bodies:
            for k in part.products:
                sums[k] = b.alloca(self.scalar, ROWS_AT_ONCE * self.results(k) * self.lanes)
                sums[k].align = 64
        if self.tiled:
            self.tile_state = b.alloca(I8, STATE)
            self.tile_state.align = 64
            b.call(self.prepare, [self.tile_state])
        start = self.field(code, "start", PTR)
        if self.plan.before:
            self.emit_before(code, thread, threads, start, back, sums)
        with code.loop(zero, self.field(code, "steps")) as s:
            t = b.select(back, b.sub(self.field(code, "first"), s), b.add(self.field(code, "first"), s))
            packed_row = self.integer(code, start, t)
            active = b.sub(self.integer(code, start, b.add(t, one)), packed_row)
            rows = b.sdiv(b.sub(b.add(active, b.sub(team.row_step, one)), team.first_row), team.row_step)
            odd = b.and_(t, one)
            even = b.sub(one, odd)
            where = _Moment(
                packed_row,
                b.mul(t, self.field(code, "batch")),
                b.select(back, even, odd),
                b.select(back, odd, even),
                rows,
            )
            for number, part in enumerate(self.plan.passes):
                self.emit_means(code, part, team, where)
                self.emit_pass(code, part, team, where, sums)
                last = number + 1 == len(self.plan.passes)
                if last or self.plan.passes[number + 1].stage != part.stage:
                    b.call(self.wait, [arguments, b.select(shared, threads, one)])
        with code.when(b.icmp_signed("!=", self.field(code, "end"), zero)):
            self.emit_states(code, thread, threads, final=True)
        if self.tiled:
            self.amx(code, "tilerelease")
        b.ret_void()

    def tile_rows(self, results: int) -> int:
        """How many rows a register tile has."""
        return self.target.tile_rows(results, masked=self.half and self.product_of_pairs()[1] is None)

    def rows_of_tile(self, k: int) -> int:
        """How many rows are multiplied at a time."""
        return 2 * TILE_ROWS if self.tiled else self.tile_rows(self.results(k))

    def emit_before(
        self,
        code: Code,
        thread: ir.Value,
        threads: ir.Value,
        start: ir.Value,
        back: ir.Value,
        sums: Mapping[int, ir.Value],
    ) -> None:
        """What is computed for all steps of a call at once; the threads share their rows."""
        b, one, zero = code.b, code.number(1), code.number(0)
        first, beyond = self.field(code, "first"), b.sub(self.field(code, "steps"), one)
        lowest = b.select(back, b.sub(first, beyond), first)
        begin = self.integer(code, start, lowest)
        end = self.integer(code, start, b.add(lowest, self.field(code, "steps")))
        low, high = self.share(code, b.sub(end, begin), thread, threads)
        team = _Team(thread, threads, I1(0), low, one)
        assert self.plan.before is not None
        self.emit_pass(code, self.plan.before, team, _Moment(begin, zero, zero, zero, b.sub(high, low)), sums)
        b.call(self.wait, [code.args[0], threads])

    def emit_states(self, code: Code, thread: ir.Value, threads: ir.Value, final: bool) -> None:
        """Copy the first state of each sequence to both slots, or its final state from the slot where it stands."""
        b, one, zero = code.b, code.number(1), code.number(0)
        batch, back = self.field(code, "batch"), self.field(code, "back")
        rows = b.sdiv(b.sub(b.add(batch, b.sub(threads, one)), thread), threads)
        with code.loop(zero, rows) as i:
            row = b.add(thread, b.mul(i, threads))
            number = self.integer(code, self.field(code, "order", PTR), row)
            length = self.integer(code, self.field(code, "lengths", PTR), row)
            # Against time the last step is step 0, which ends in slot 0; with time it depends on the length.
            last = b.and_(length, b.sub(one, back))
            last = b.and_(last, one)
            for carry in self.step.carries:
                name, kind = f"state:{carry.state}", "final" if final else "first"
                width = self.field(code, carry.width)
                ring = b.mul(row, self.field(code, f"{name}.row"))
                slot = self.field(code, f"{name}.slot")
                there = b.mul(number, self.field(code, f"{kind}:{carry.state}.row"))
                here, outside = self.field(code, f"{name}.at", PTR), self.field(code, f"{kind}:{carry.state}.at", PTR)
                with code.loop(zero, width) as u:
                    other = self.at(code, outside, b.add(there, u))
                    places = [b.mul(slot, last)] if final else [zero, slot]
                    for place in places:
                        own = self.at(code, here, b.add(b.add(ring, place), u))
                        source, target = (own, other) if final else (other, own)
                        value = b.load(source, typ=self.scalar, align=self.size)
                        b.store(value, target, align=self.size)
                if self.half and not final and carry.state in operand_states(self.step):
                    self.emit_first_factor(code, carry.state, row)

    def emit_first_factor(self, code: Code, state: str, row: ir.Value) -> None:
        """Keep a sequence's first state in bfloat16 too, in both slots."""
        b, zero = code.b, code.number(0)
        width = self.field(code, next(c.width for c in self.step.carries if c.state == state))
        places = {
            name: [self.field(code, f"{name}.at", PTR), b.mul(row, self.field(code, f"{name}.row"))]
            for name in (f"state:{state}", f"factor:{state}")
        }
        with code.loop(zero, width, self.lanes) as u:
            mask = self.first_lanes(code, b.sub(width, u))
            at, offset = places[f"state:{state}"]
            value = self.load(code, self.at(code, at, b.add(offset, u)), mask)
            at, offset = places[f"factor:{state}"]
            for slot in (zero, self.field(code, f"factor:{state}.slot")):
                there = self.at(code, at, b.add(b.add(offset, slot), u), half=True)
                self.save_half(code, value, there, mask)

    def emit_packing(self, code: Code, thread: ir.Value, threads: ir.Value) -> None:
        """Pack all weights, each thread a part of the blocks."""
        b = code.b
        for k, product in enumerate(self.step.products):
            table = self.layout.of_product[k]
            begin, end = self.share(code, self.field(code, f"table {table}.blocks"), thread, threads)
            offsets = self.field(code, f"product {k}.offsets", PTR)
            segments = len(product.operands)
            b.call(
                self.pack,
                [
                    self.field(code, f"product {k}.source", PTR),
                    self.field(code, f"product {k}.packed", PTR),
                    self.field(code, f"table {table}.at", PTR),
                    begin,
                    end,
                    self.field(code, f"product {k}.rows"),
                    code.number(segments),
                    offsets,
                    code.number(product.results),
                    code.number(self.layout.tables[table].vectors),
                    b.gep(offsets, [code.number(segments)], source_etype=I64),
                    *(self.field(code, f"product {k}.{what}") for what in ("along", "across", "head")),
                ],
            )

    def emit_pass(
        self,
        code: Code,
        part: Pass,
        team: _Team,
        where: _Moment,
        sums: Mapping[int, ir.Value],
    ) -> None:
        """A pass over this thread's blocks of units and sequences."""
        b, zero = code.b, code.number(0)
        table = self.layout.of_pass[part]
        blocks = self.field(code, f"table {table}.blocks")
        begin, end = self.share(code, blocks, team.thread, team.threads)
        begin, end = b.select(team.shared, begin, zero), b.select(team.shared, end, blocks)
        table_at = self.field(code, f"table {table}.at", PTR)
        if self.precision.int8:
            for k in part.products:
                self.emit_rounded(code, k, team, where)
        with code.loop(begin, end) as block:
            unit, count, head = self.block(code, table_at, block)
            if part.products:
                self.emit_tiles(code, part, team, where, (block, unit, count, head), sums)
            else:
                self.emit_rows(code, part, team, where, (zero, where.rows), (unit, count), {})

    def emit_tiles(
        self,
        code: Code,
        part: Pass,
        team: _Team,
        where: _Moment,
        block: tuple[ir.Value, ir.Value, ir.Value, ir.Value],
        sums: Mapping[int, ir.Value],
    ) -> None:
        """The rows of this thread, some at a time: their products, and what follows from them."""
        b = code.b
        number, unit, count, head = block
        with code.loop(code.number(0), where.rows, ROWS_AT_ONCE) as low:
            high = self.least(code, b.add(low, code.number(ROWS_AT_ONCE)), where.rows)
            row, rows = b.add(team.first_row, b.mul(low, team.row_step)), b.sub(high, low)
            for k in part.products:
                if self.precision.int8:
                    self.emit_int8(code, k, (number, head), row, team.row_step, rows, sums[k])
                elif self.raw:
                    self.emit_dots(code, k, (unit, count, head), where, row, team.row_step, rows, sums[k])
                else:
                    self.emit_product(code, k, (number, head), where, row, team.row_step, rows, sums[k])
            self.emit_rows(code, part, team, where, (low, high), (unit, count), sums)

    def emit_rows(
        self,
        code: Code,
        part: Pass,
        team: _Team,
        where: _Moment,
        rows: tuple[ir.Value, ir.Value],
        units: tuple[ir.Value, ir.Value],
        sums: Mapping[int, ir.Value],
    ) -> None:
        """The elementwise part for some rows and one block of units."""
        b, zero, lanes = code.b, code.number(0), code.number(self.lanes)
        unit, count = units
        full_vectors, rest = b.sdiv(count, lanes), b.srem(count, lanes)
        with code.loop(*rows) as i:
            row = b.add(team.first_row, b.mul(i, team.row_step))

            def call(function: ir.Function, v: ir.Value) -> None:
                at = []
                for k in part.products:
                    per_row = code.number(self.results(k) * self.lanes)
                    per_vector = code.number(self.step.products[k].results * self.lanes)
                    place = b.add(b.mul(b.sub(i, rows[0]), per_row), b.mul(v, per_vector))
                    at.append(self.at(code, sums[k], place))
                here = [where.packed_row, where.outer_row, where.slot_in, where.slot_out, row]
                b.call(function, [code.args[0], team.thread, *here, b.add(unit, b.mul(v, lanes)), rest, *at])

            with code.loop(zero, full_vectors) as v:
                call(self.bodies[part][0], v)
            with code.when(b.icmp_signed(">", rest, zero)):
                call(self.bodies[part][1], full_vectors)

    def emit_product(
        self,
        code: Code,
        k: int,
        block: tuple[ir.Value, ir.Value],
        where: _Moment,
        row: ir.Value,
        row_step: ir.Value,
        rows: ir.Value,
        sums: ir.Value,
    ) -> None:
        """One product of one block of units, for some rows.

        A part of the weight stays in the first cache while all rows are multiplied with it, tile by tile.
        """
        b = code.b
        number, head = block
        product, results = self.step.products[k], self.results(k)
        inner = self.field(code, f"product {k}.rows")
        # What is summed over counts numbers, or pieces of bfloat16 numbers with all their pairs.
        steps, per_step = inner, results * self.lanes
        if self.half:
            steps = b.sdiv(b.add(inner, code.number(DEPTH - 1)), code.number(DEPTH))
            per_step *= PAIRS
        per_block = b.mul(b.mul(code.number(len(product.operands)), steps), code.number(per_step))
        weight = self.at(code, self.field(code, f"product {k}.packed", PTR), b.mul(number, per_block))
        part = max(1, WEIGHTS_AT_ONCE // (per_step * self.size))  # of the sum
        most = code.number(self.rows_of_tile(k))
        tiles = b.sdiv(b.add(rows, b.sub(most, code.number(1))), most)
        for order, (array, slot, length) in enumerate(self.runs(k)):
            operand, stride = self.operand(code, product, array, slot, where, row, head, inner)
            stride = b.mul(stride, row_step)
            depth = b.mul(steps, code.number(length))
            with code.loop(code.number(0), depth, part) as begin, code.loop(code.number(0), tiles) as j:
                if self.tiled:  # all but the last as large as can be: their size is set only where it changes
                    low = b.mul(most, j)
                    high = self.least(code, b.add(low, most), rows)
                else:  # as few as will do, as equal as can be
                    low = b.sdiv(b.mul(rows, j), tiles)
                    high = b.sdiv(b.mul(rows, b.add(j, code.number(1))), tiles)
                entry = b.mul(begin, code.number(DEPTH if self.half else 1))
                self.emit_tile(
                    code,
                    results,
                    b.sub(high, low),
                    (self.at(code, operand, b.add(b.mul(low, stride), entry), self.half), stride),
                    self.at(code, weight, b.mul(begin, code.number(per_step))),
                    self.least(code, b.sub(depth, begin), code.number(part)),
                    self.at(code, sums, b.mul(low, code.number(results * self.lanes))),
                    b.or_(I1(order > 0), b.icmp_signed(">", begin, code.number(0))),
                )
            weight = self.at(code, weight, b.mul(depth, code.number(per_step)))

    def emit_tile(
        self,
        code: Code,
        results: int,
        rows: ir.Value,
        operand: tuple[ir.Value, ir.Value],
        weight: ir.Value,
        depth: ir.Value,
        sums: ir.Value,
        add: ir.Value,
    ) -> None:
        """A part of a product for the rows of one tile."""
        b = code.b
        at, stride = operand
        if self.tiled:
            b.call(self.configure, [self.tile_state, rows])
            in_bytes = (at, b.mul(stride, code.number(2)))
            self.emit_tile_products(code, in_bytes, weight, depth, results, sums, rows, add)
            return
        tile = self.half_tile if self.half else self.tile
        out = code.function.append_basic_block("tiled")
        switch = b.switch(rows, out)
        for n in range(1, self.tile_rows(results) + 1):
            case = code.function.append_basic_block(f"rows_{n}")
            switch.add_case(code.number(n), case)
            b.position_at_end(case)
            b.call(tile(results, n), [at, stride, weight, depth, sums, add])
            b.branch(out)
        b.position_at_end(out)

    def operand(
        self,
        code: Code,
        product: Product,
        array: str,
        slot: int | str,
        where: _Moment,
        row: ir.Value,
        head: ir.Value,
        inner: ir.Value,
    ) -> tuple[ir.Value, ir.Value]:
        """Where an operand of a product lies for a row, and how far it is to the next row."""
        b = code.b
        packed = not array.startswith("scratch") and self.step.array(array).order == "packed"
        if self.half and not packed:
            array = array.replace("state:", "factor:").replace("scratch", "factor")
        stride = self.field(code, f"{array}.row")
        first = b.add(where.packed_row, row) if packed else row
        place = where.slot_in if slot == "in" else code.number(int(slot))
        offset = b.add(b.mul(first, stride), b.mul(place, self.field(code, f"{array}.slot")))
        if product.headed:
            offset = b.add(offset, b.mul(head, inner))
        return self.at(code, self.field(code, f"{array}.at", PTR), offset, self.half), stride

    def emit_dots(
        self,
        code: Code,
        k: int,
        block: tuple[ir.Value, ir.Value, ir.Value],
        where: _Moment,
        row: ir.Value,
        row_step: ir.Value,
        rows: ir.Value,
        sums: ir.Value,
    ) -> None:
        """One product of one vector of units, for some rows, by the rows of the weight where it lies."""
        b = code.b
        unit, count, head = block
        product = self.step.products[k]
        inner, across = self.field(code, f"product {k}.rows"), self.field(code, f"product {k}.across")
        source, offsets = self.field(code, f"product {k}.source", PTR), self.field(code, f"product {k}.offsets", PTR)
        [(array, slot)] = self.plan.places[k]
        operand, stride = self.operand(code, product, array, slot, where, row, head, inner)
        with code.loop(code.number(0), rows) as i:
            x = self.at(code, operand, b.mul(i, b.mul(stride, row_step)))
            to = self.at(code, sums, b.mul(i, code.number(product.results * self.lanes)))
            with code.loop(code.number(0), code.number(product.results)) as g:
                first = b.add(self.integer(code, offsets, b.add(g, code.number(1))), b.mul(unit, across))
                at = self.at(code, to, b.mul(g, code.number(self.lanes)))
                given = [x, self.at(code, source, first), across, inner, count, at]
                with b.if_else(b.icmp_signed("<", count, code.number(self.lanes))) as (few, all_of_them):
                    with few:
                        b.call(self.dots(tail=True), given)
                    with all_of_them:
                        b.call(self.dots(tail=False), given)

    def emit_rounded(self, code: Code, k: int, team: _Team, where: _Moment) -> None:
        """Bring a product's operand to 16 bits, for all rows of this thread."""
        b = code.b
        product = self.step.products[k]
        inner, whole = self.field(code, f"product {k}.rows"), self.field(code, f"product {k}.whole", PTR)
        width = self.field(code, product.inner) if product.headed else inner  # of all heads
        [(array, slot)] = self.plan.places[k]
        with code.loop(code.number(0), where.rows) as i:
            row = b.add(team.first_row, b.mul(i, team.row_step))
            x, _ = self.operand(code, product, array, slot, where, row, code.number(0), inner)
            to = b.gep(whole, [b.mul(row, self.field(code, f"product {k}.whole.row"))], source_etype=I16)
            step = self.at(code, self.field(code, f"product {k}.steps", PTR), row)
            b.call(self.rounding, [x, width, to, self.field(code, f"product {k}.finest", self.scalar), step])

    def emit_int8(
        self,
        code: Code,
        k: int,
        block: tuple[ir.Value, ir.Value],
        row: ir.Value,
        row_step: ir.Value,
        rows: ir.Value,
        sums: ir.Value,
    ) -> None:
        """One product of one vector of units, for some rows, with the weight in int8."""
        b = code.b
        number, head = block
        product = self.step.products[k]
        inner, per_pair = self.field(code, f"product {k}.rows"), 2 * product.results * self.lanes
        pairs = b.mul(b.sdiv(b.add(inner, code.number(PIECE - 1)), code.number(PIECE)), code.number(PIECE // 2))
        of_block = b.mul(number, b.mul(pairs, code.number(per_pair)))
        weight = b.gep(self.field(code, f"product {k}.packed", PTR), [of_block], source_etype=I8)
        first_scale = b.mul(number, code.number(product.results * self.lanes))
        scales = self.at(code, self.field(code, f"product {k}.scales", PTR), first_scale)
        whole = self.field(code, f"product {k}.whole", PTR)
        with code.loop(code.number(0), rows) as i:
            own = b.add(row, b.mul(i, row_step))
            place = b.mul(own, self.field(code, f"product {k}.whole.row"))
            place = b.add(place, b.mul(head, inner)) if product.headed else place
            x = b.gep(whole, [place], source_etype=I16)
            step = self.at(code, self.field(code, f"product {k}.steps", PTR), own)
            to = self.at(code, sums, b.mul(i, code.number(product.results * self.lanes)))
            b.call(self.int8_products[product.results], [x, pairs, weight, scales, step, to])

    def runs(self, k: int) -> list[tuple[str, int | str, int]]:
        """The operands of a product as runs of slots that follow each other: array, first slot, number of slots."""
        found: list[tuple[str, int | str, int]] = []
        for array, slot in self.plan.places[k]:
            if found and isinstance(slot, int) and not self.step.products[k].headed:
                last, first, length = found[-1]
                if last == array and isinstance(first, int) and first + length == slot:
                    found[-1] = (array, first, length + 1)
                    continue
            found.append((array, slot, 1))
        return found

    # Means over the units.

    def emit_means(self, code: Code, part: Pass, team: _Team, where: _Moment) -> None:
        """Clear the sums that a pass adds to, and finish those that it reads."""
        if not part.sums and not part.means:
            return
        b = code.b
        with code.loop(code.number(0), where.rows) as i:
            row = b.add(team.first_row, b.mul(i, team.row_step))
            for _, m in part.sums:
                self.save(code, self.zero, self.partial(code, team.thread, m, row), None)
            for m in part.means:
                begin = b.select(team.shared, code.number(0), team.thread)
                end = b.select(team.shared, team.threads, b.add(team.thread, code.number(1)))
                with code.carried(begin, end, [self.zero]) as (other, now, new):
                    new[0] = b.fadd(now[0], self.load(code, self.partial(code, other, m, row), None))
                lanes = [b.extract_element(now[0], I32(lane)) for lane in range(self.lanes)]
                while len(lanes) > 1:
                    lanes = [b.fadd(x, y) for x, y in zip(lanes[::2], lanes[1::2])]
                at = b.gep(code.args[0], [code.number(self.place["reciprocal"])], source_etype=I64)
                reciprocal = b.load(at, typ=self.scalar, align=8)
                b.store(b.fmul(lanes[0], reciprocal), self.mean(code, team.thread, m, row), align=self.size)

    def row_of_mean(self, code: Code, thread: ir.Value, m: int, row: ir.Value) -> ir.Value:
        """Where in a thread's means a row stands."""
        b = code.b
        at = b.add(b.mul(thread, code.number(self.plan.means)), code.number(m))
        return b.add(b.mul(at, self.field(code, "batch")), row)

    def partial(self, code: Code, thread: ir.Value, m: int, row: ir.Value) -> ir.Value:
        """Where a thread's sum over its units stands, a vector."""
        at = code.b.mul(self.row_of_mean(code, thread, m, row), code.number(self.lanes))
        return self.at(code, self.field(code, "partial", PTR), at)

    def mean(self, code: Code, thread: ir.Value, m: int, row: ir.Value) -> ir.Value:
        """Where a mean stands; each thread has its own copy."""
        return self.at(code, self.field(code, "mean", PTR), self.row_of_mean(code, thread, m, row))


@dataclass(frozen=True)
class _Team:
    """Who computes what."""

    thread: ir.Value
    threads: ir.Value
    shared: ir.Value  # whether the threads share the units, and not the sequences
    first_row: ir.Value  # this thread's first sequence
    row_step: ir.Value  # from one of its sequences to the next


@dataclass(frozen=True)
class _Moment:
    """Where the arrays stand at a step."""

    packed_row: ir.Value
    outer_row: ir.Value
    slot_in: ir.Value
    slot_out: ir.Value
    rows: ir.Value  # how many sequences of this thread are still running


class _Body:
    """The elementwise part of a pass, for one vector of units of one row."""

    GIVEN = ("thread", "packed_row", "outer_row", "slot_in", "slot_out", "row", "unit", "rest")

    def __init__(self, kernel: Kernel, part: Pass, code: Code, tail: bool) -> None:
        self.kernel = kernel
        self.part = part
        self.code = code
        self.given = dict(zip(self.GIVEN, code.args[1:]))
        self.products = dict(zip(part.products, code.args[1 + len(self.GIVEN) :]))
        self.emitter = Emitter(code.b, kernel.scalar, kernel.lanes)
        self.values: dict[int, ir.Value] = {}
        self.mask = kernel.first_lanes(code, self.given["rest"]) if tail else None  # the lanes of units that exist
        self.caller_row: ir.Value | None = None

    def emit(self) -> None:
        part = self.part
        nodes = {n for n, _ in (*part.spills, *part.sums)}
        nodes |= {s.node for s in part.stores} | {c.node for c in part.carries}
        for n in sorted(nodes):  # everything is read before anything is stored
            self.value(n)
        for n, slot in part.spills:
            self.put(self.numbers(n), f"scratch_{part.width}", slot)
            if self.kernel.half and n in self.kernel.plan.factors:
                self.put(self.numbers(n), f"factor_{part.width}", slot)
        for n, m in part.sums:
            self.add_up(n, m)
        for store in part.stores:
            self.store(store.node, store.array, store.slot)
        for carry in part.carries:
            self.carry(carry.node, carry.state)

    # Values.

    def value(self, index: int) -> ir.Value:
        """A node's value."""
        if index not in self.values:
            self.values[index] = self._value(index)
        return self.values[index]

    def numbers(self, index: int) -> ir.Value:
        """A value as numbers, also where it is the outcome of a comparison."""
        value = self.value(index)
        return self.code.b.uitofp(value, self.kernel.vector) if value.type.element == I1 else value

    def _value(self, index: int) -> ir.Value:
        kernel, code = self.kernel, self.code
        node = kernel.step.nodes[index]
        if node.op == "const":
            return self.emitter.splat(float(node.label))
        home = kernel.plan.home.get(index)
        if home is not None and home != (self.part.stage, self.part.width):
            return self.get(f"scratch_{home[1]}", kernel.plan.slots[index])
        if node.op == "load":
            array, slot = node.label.split()
            if kernel.step.array(array).width == "row":
                return self.one_for_all(self.place(array, int(slot)))
            return self.get(array, slot if slot == "in" else int(slot))
        if node.op == "mean":
            return self.one_for_all(
                kernel.mean(code, self.given["thread"], kernel.plan.number[index], self.given["row"])
            )
        if node.op == "product":
            k, result = map(int, node.label.split())
            return kernel.load(code, kernel.at(code, self.products[k], code.number(result * kernel.lanes)), None)
        return self.emitter.call(node.op, *(self.value(a) for a in node.args))

    def one_for_all(self, at: ir.Value) -> ir.Value:
        """A number from memory, in all lanes."""
        kernel = self.kernel
        return kernel.spread(self.code, self.code.b.load(at, typ=kernel.scalar, align=kernel.size))

    # Places.

    def number_of_caller(self) -> ir.Value:
        """The caller's number of the row's sequence."""
        if self.caller_row is None:
            order = self.kernel.field(self.code, "order", PTR)
            self.caller_row = self.kernel.integer(self.code, order, self.given["row"])
        return self.caller_row

    def place(self, array: str, slot: int | str) -> ir.Value:
        """Where a slot of an array lies for this row, from this unit on."""
        kernel, b = self.kernel, self.code.b
        if array.startswith(("scratch", "factor")):
            order, width = "local", "units"
        elif array.startswith("home:"):
            order, width = ("sum" if kernel.step.backward else "unit"), "units"
        else:
            order, width = kernel.step.array(array).order, kernel.step.array(array).width
        parts = [] if width == "row" else [self.given["unit"]]
        if order != "unit":
            parts.append(b.mul(self.row(order), kernel.field(self.code, f"{array}.row")))
        if slot != 0:
            number = self.given[f"slot_{slot}"] if slot in ("in", "out") else self.code.number(int(slot))
            parts.append(b.mul(number, kernel.field(self.code, f"{array}.slot")))
        offset = parts[0]
        for part in parts[1:]:
            offset = b.add(offset, part)
        return kernel.at(self.code, kernel.field(self.code, f"{array}.at", PTR), offset, kernel.halved(array))

    def row(self, order: str) -> ir.Value:
        """The row of an array that belongs to this sequence at this step."""
        if order == "packed":
            return self.code.b.add(self.given["packed_row"], self.given["row"])
        if order == "outer":
            return self.code.b.add(self.given["outer_row"], self.number_of_caller())
        if order == "sequence":
            return self.number_of_caller()
        return self.given["thread" if order == "sum" else "row"]

    # Where values go.

    def get(self, array: str, slot: int | str) -> ir.Value:
        """What a slot of an array holds, of the units that exist."""
        load = self.kernel.load_half if self.kernel.halved(array) else self.kernel.load
        return load(self.code, self.place(array, slot), self.mask)

    def put(self, value: ir.Value, array: str, slot: int | str) -> None:
        """Store a value in a slot of an array, of the units that exist."""
        save = self.kernel.save_half if self.kernel.halved(array) else self.kernel.save
        save(self.code, value, self.place(array, slot), self.mask)

    def add_up(self, index: int, m: int) -> None:
        """Add a value to a sum over the units."""
        kernel, b = self.kernel, self.code.b
        value = self.numbers(index)
        if self.mask is not None:
            value = b.select(self.mask, value, self.emitter.splat(0.0))
        at = kernel.partial(self.code, self.given["thread"], m, self.given["row"])
        kernel.save(self.code, b.fadd(kernel.load(self.code, at, None), value), at, None)

    def store(self, index: int, array: str, slot: int) -> None:
        kernel, b = self.kernel, self.code.b
        known, value = kernel.step.array(array), self.numbers(index)
        if known.order == "sum":
            self.put(b.fadd(self.get(array, slot), value), array, slot)
        elif known.width == "row":  # the same for all units: each writes it
            b.store(b.extract_element(value, I32(0)), self.place(array, slot), align=kernel.size)
        else:
            self.put(value, array, slot)

    def carry(self, index: int, state: str) -> None:
        """Hand a value to the next step; at a boundary, home in its place."""
        kernel, code, b = self.kernel, self.code, self.code.b
        step = kernel.step
        value = self.numbers(index)
        if step.clip:
            value = self.emitter.call("clip", value, self.emitter.splat(-step.clip), self.emitter.splat(step.clip))
        if step.resets:
            resets = kernel.field(code, "resets", PTR)
            at = b.gep(resets, [b.add(self.given["outer_row"], self.number_of_caller())], source_etype=I8)
            boundary = b.icmp_unsigned("!=", b.load(at, typ=I8, align=1), I8(0))
            home = f"home:{state}"
            if step.backward:
                zero = self.emitter.splat(0.0)
                self.put(b.fadd(self.get(home, 0), b.select(boundary, value, zero)), home, 0)
                value = b.select(boundary, zero, value)
            else:
                value = b.select(boundary, self.get(home, 0), value)
        self.put(value, f"state:{state}", "out")
        if kernel.half and state in operand_states(step):
            self.put(value, f"factor:{state}", "out")


def emit(step: Step, target: Target, precision: Precision, raw: bool = False) -> tuple[str, Layout, Schedule]:
    """The IR of a step's kernel, and what its arguments are; the arguments as those of `Kernel`."""
    with uncollected():
        kernel = Kernel(step, target, precision, raw)
        return kernel.text(), kernel.layout, kernel.plan
