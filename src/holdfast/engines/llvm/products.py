"""Matrix products: packed weights in register tiles, or weights read where they lie."""

from __future__ import annotations

from collections.abc import Sequence

import llvmlite.ir as ir

from .code import I1, I32, I64, PTR, Code, Numbers
from .machine import Target
from .precision import Precision

# source, packed, table, from, to; rows, segments, offsets; results, vectors, offsets; three strides
PACK = (PTR, PTR, PTR, I64, I64, I64, I64, PTR, I64, I64, PTR, I64, I64, I64)


class Products(Numbers):
    """The functions that multiply, and the one that packs weights for them."""

    def __init__(self, target: Target, precision: Precision, fields: Sequence[str]) -> None:
        super().__init__(target, precision, fields)
        self.tiles: dict[tuple[int, int], ir.Function] = {}
        self.dotted: dict[bool, ir.Function] = {}

    def emit_pack(self) -> ir.Function:
        """Bring a weight into the order in which the register tiles read it: [block][row][vector][lane].

        The entry of a row (segment s, row k in it), vector v and lane is at segment[s] + k·along + result[v] +
        lane·across in the source, counted from a block's origin, unit·across + head·(head's stride).
        """
        code = Code(self.module, "pack", PACK)
        b = code.b
        source, packed, table, begin, end, rows, segments, segment_at, results, wide, result_at, along, across, head = (
            code.args
        )
        lanes = code.number(self.lanes)
        zero = ir.Constant(self.scalar, 0.0)
        per_row = b.mul(b.mul(results, wide), lanes)
        per_block = b.mul(b.mul(segments, rows), per_row)
        adjacent = b.icmp_signed("==", across, code.number(1))
        with code.loop(begin, end) as block:
            unit, count, number = self.block(code, table, block)
            origin = b.add(b.mul(unit, across), b.mul(number, head))
            target = self.at(code, packed, b.mul(block, per_block))
            with code.loop(code.number(0), segments) as s:
                base = b.add(origin, self.integer(code, segment_at, s))
                with code.loop(code.number(0), wide) as v, code.loop(code.number(0), results) as g:
                    left = b.sub(count, b.mul(v, lanes))
                    full = b.icmp_signed(">=", left, lanes)
                    first = b.add(b.add(base, self.integer(code, result_at, g)), b.mul(b.mul(v, lanes), across))
                    vector = b.mul(b.add(b.mul(v, results), g), lanes)
                    to = self.at(code, target, b.add(b.mul(b.mul(s, rows), per_row), vector))
                    with b.if_else(b.and_(full, adjacent)) as (quick, other):
                        with quick, code.loop(code.number(0), rows) as k:
                            at = self.at(code, source, b.add(first, b.mul(k, along)))
                            self.save(code, self.load(code, at, None), self.at(code, to, b.mul(k, per_row)), None)
                        with other:
                            in_line = b.and_(full, b.icmp_signed("==", along, code.number(1)))
                            whole = b.select(in_line, b.sub(rows, b.srem(rows, lanes)), code.number(0))
                            with code.loop(code.number(0), whole, self.lanes) as k:
                                corner = self.at(code, source, b.add(first, k))
                                square = [
                                    self.load(code, self.at(code, corner, b.mul(code.number(r), across)), None)
                                    for r in range(self.lanes)
                                ]
                                self.transpose(code, square, self.at(code, to, b.mul(k, per_row)), per_row)
                            with code.loop(whole, rows) as k:
                                row = self.at(code, to, b.mul(k, per_row))
                                start = b.add(first, b.mul(k, along))
                                for lane in range(self.lanes):
                                    inside = b.icmp_signed("<", code.number(lane), left)
                                    # Outside, an entry that exists for certain is read in place of one that may not.
                                    at = b.select(inside, b.add(start, b.mul(code.number(lane), across)), base)
                                    value = b.load(self.at(code, source, at), typ=self.scalar, align=self.size)
                                    value = b.select(inside, value, zero)
                                    b.store(value, self.at(code, row, code.number(lane)), align=self.size)
        b.ret_void()
        code.function.attributes.add("noinline")
        return code.function

    def transpose(self, code: Code, vectors: list[ir.Value], target: ir.Value, step: ir.Value) -> None:
        """A square of as many rows as a vector has lanes: its columns become the rows."""
        b, n = code.b, self.lanes
        typ = ir.VectorType(I32, n)
        low = ir.Constant(typ, [k // 2 + (n if k % 2 else 0) for k in range(n)])
        high = ir.Constant(typ, [k // 2 + n // 2 + (n if k % 2 else 0) for k in range(n)])
        for _ in range(n.bit_length() - 1):  # a perfect shuffle of the rows, as often as it takes to turn the square
            half = n // 2
            pairs = list(zip(vectors[:half], vectors[half:]))
            vectors = [b.shuffle_vector(x, y, mask) for x, y in pairs for mask in (low, high)]
        for r, vector in enumerate(vectors):
            self.save(code, vector, self.at(code, target, b.mul(code.number(r), step)), None)

    def block(self, code: Code, table: ir.Value, block: ir.Value) -> list[ir.Value]:
        """First unit, number of units, and head of a block."""
        first = code.b.mul(block, code.number(3))
        return [self.integer(code, table, code.b.add(first, code.number(k))) for k in range(3)]

    def tile(self, results: int, rows: int) -> ir.Function:
        """sums[row][vector] (+)= sum over k of operand[row][k] · weight[k][vector], for some rows, in registers."""
        if (results, rows) in self.tiles:
            return self.tiles[results, rows]
        code = Code(self.module, f"tile_{results}_{rows}", [PTR, I64, PTR, I64, PTR, I1])
        operand, stride, weight, inner, sums, add = code.args
        b = code.b
        n = rows * results
        zero = self.zero
        row_at = [self.at(code, operand, b.mul(stride, code.number(r))) for r in range(rows)]
        places = [self.at(code, sums, code.number(j * self.lanes)) for j in range(n)]
        start = [b.select(add, self.load(code, place, None), zero) for place in places]
        # A sum waits for the one before it: where there are few, they are taken over several k side by side.
        parallel = max(1, min(4, 8 // n))

        def turn(k: ir.Value, values: Sequence[ir.Value]) -> list[ir.Value]:
            at = self.at(code, weight, b.mul(k, code.number(results * self.lanes)))

            def row(r: int) -> ir.Value:
                return self.spread(code, b.load(self.at(code, row_at[r], k), typ=self.scalar, align=self.size))

            def vector(v: int) -> ir.Value:
                return self.load(code, self.at(code, at, code.number(v * self.lanes)), None)

            return self.multiplied(code, row, vector, (rows, results), values)

        whole = b.sub(inner, b.srem(inner, code.number(parallel))) if parallel > 1 else inner
        with code.carried(code.number(0), whole, start + [zero] * (n * (parallel - 1)), parallel) as (k, now, new):
            for j in range(parallel):
                new[j * n : (j + 1) * n] = turn(b.add(k, code.number(j)), now[j * n : (j + 1) * n])
        totals = now[:n]
        if parallel > 1:
            for j in range(1, parallel):
                totals = [b.fadd(a, c) for a, c in zip(totals, now[j * n : (j + 1) * n])]
            with code.carried(whole, inner, totals) as (k, now, new):
                new[:] = turn(k, now)
            totals = now
        for value, place in zip(totals, places):
            self.save(code, value, place, None)
        b.ret_void()
        code.function.attributes.add("noinline")
        self.tiles[results, rows] = code.function
        return code.function

    def dots(self, tail: bool) -> ir.Function:
        """sums[lane] = the product of a vector with one row of a weight for each lane; there may be fewer rows."""
        if tail in self.dotted:
            return self.dotted[tail]
        code = Code(self.module, f"dots{'_tail' if tail else ''}", [PTR, PTR, I64, I64, I64, PTR])
        x, weight, across, inner, count, sums = code.args
        b, n = code.b, self.lanes
        fma = self.intrinsic("llvm.fmuladd", self.vector, [self.vector] * 3)
        whole = b.sub(inner, b.srem(inner, code.number(n)))
        rows = []
        for lane in range(n):
            number = code.number(lane)
            if tail:  # a row that does not exist is replaced by one that does
                number = b.select(b.icmp_signed("<", number, count), number, b.sub(count, code.number(1)))
            rows.append(self.at(code, weight, b.mul(number, across)))
        found = []
        for first in range(0, n, 8):  # so many rows as there are registers for their addresses
            some = rows[first : first + 8]
            with code.carried(code.number(0), whole, [self.zero] * len(some), n) as (k, now, new):
                value = self.load(code, self.at(code, x, k), None)
                new[:] = [
                    b.call(fma, [value, self.load(code, self.at(code, row, k), None), total])
                    for row, total in zip(some, now)
                ]
            with code.carried(whole, inner, now, n) as (k, now, new):  # once, if there is a rest
                mask = self.first_lanes(code, b.sub(inner, whole))
                value = self.load(code, self.at(code, x, k), mask)
                new[:] = [
                    b.call(fma, [value, self.load(code, self.at(code, row, k), mask), total])
                    for row, total in zip(some, now)
                ]
            found += now
        self.save(code, self.totals(code, found), sums, None)
        b.ret_void()
        code.function.attributes.add("noinline")
        self.dotted[tail] = code.function
        return code.function

    def totals(self, code: Code, vectors: list[ir.Value]) -> ir.Value:
        """One vector with the sum over each of as many vectors as there are lanes."""
        b, n = code.b, self.lanes
        typ = ir.VectorType(I32, n)
        low = [k // 2 + (n if k % 2 else 0) for k in range(n)]
        high = [k // 2 + n // 2 + (n if k % 2 else 0) for k in range(n)]
        owners = [[v] * n for v in range(n)]  # whose sum each lane is a part of
        while len(vectors) > 1:
            half = len(vectors) // 2
            new, whose = [], []
            for j in range(half):
                x, y = vectors[j], vectors[j + half]
                parts = [b.shuffle_vector(x, y, ir.Constant(typ, mask)) for mask in (low, high)]
                new.append(b.fadd(*parts))
                both = owners[j] + owners[j + half]
                whose.append([both[k] for k in low])
            vectors, owners = new, whose
        order = [owners[0].index(lane) for lane in range(n)]
        return b.shuffle_vector(vectors[0], vectors[0], ir.Constant(typ, order))
