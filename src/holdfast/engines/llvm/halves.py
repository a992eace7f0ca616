"""Matrix products of bfloat16 numbers, summed in float32: in tiles (AMX), in vectors of pairs, or widened.

Weights are packed in pairs of entries that follow each other along the sum, [block][piece][vector][pair][lane], where a
piece is of `DEPTH` entries. The 16 pairs of a vector are what AMX takes as one tile, and what AVX-512-BF16 takes as 16
vectors; a processor that has neither takes a pair apart. What lies beyond the last entry is zero.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import llvmlite.ir as ir

from .code import BFLOAT, I1, I8, I16, I32, I64, PTR, VOID, Code
from .machine import Target
from .precision import DEPTH, Precision
from .products import PACK, Products

PAIRS = DEPTH // 2  # of a piece
TILE = 1024  # bytes of a tile: 16 rows of 64
TILE_ROWS = 16
STATE = 128  # bytes: what AMX is set to, and the rows that are known to be set


class Halves(Products):
    """The functions that multiply bfloat16 numbers, and the one that packs weights for them."""

    def __init__(self, target: Target, precision: Precision, fields: Sequence[str]) -> None:
        super().__init__(target, precision, fields)
        self.half_tiles: dict[tuple[int, int], ir.Function] = {}
        self.tile_products: dict[tuple[int, bool], ir.Function] = {}

    # Packing.

    def emit_half_pack(self) -> ir.Function:
        """As `emit_pack`, for bfloat16 numbers: either the entries of a row or those of a column lie side by side."""
        code = Code(self.module, "pack", PACK)
        b = code.b
        source, packed, table, begin, end, rows, segments, segment_at, results, wide, result_at, along, across, head = (
            code.args
        )
        lanes, depth, zero = code.number(self.lanes), code.number(DEPTH), code.number(0)
        pieces = b.sdiv(b.add(rows, code.number(DEPTH - 1)), depth)
        per_vector = code.number(PAIRS * self.lanes)
        per_piece = b.mul(b.mul(results, wide), per_vector)
        per_block = b.mul(b.mul(segments, pieces), per_piece)
        with code.loop(begin, end) as block:
            unit, count, number = self.block(code, table, block)
            origin = b.add(b.mul(unit, across), b.mul(number, head))
            target = self.at(code, packed, b.mul(block, per_block))
            with code.loop(zero, segments) as s, code.loop(zero, wide) as v, code.loop(zero, results) as g:
                base = b.add(origin, self.integer(code, segment_at, s))
                left = b.sub(count, b.mul(v, lanes))  # units from this vector on
                first = b.add(b.add(base, self.integer(code, result_at, g)), b.mul(b.mul(v, lanes), across))
                vector = b.mul(b.add(b.mul(v, results), g), per_vector)
                with code.loop(zero, pieces) as piece:
                    place = b.add(b.mul(b.add(b.mul(s, pieces), piece), per_piece), vector)
                    to = self.at(code, target, place)
                    low = b.mul(piece, depth)
                    at = self.at(code, source, b.add(first, b.mul(low, along)), half=True)
                    rest = b.sub(rows, low)
                    whole = b.and_(b.icmp_signed(">=", left, lanes), b.icmp_signed(">=", rest, depth))
                    in_line = b.and_(whole, b.icmp_signed("==", along, code.number(1)))
                    abreast = b.icmp_signed("==", across, code.number(1))
                    with b.if_else(in_line) as (one, others):
                        with one:
                            self.pack_rows(code, at, across, to)
                        with others, b.if_else(abreast) as (two, rare):
                            with two:
                                self.pack_columns(code, at, along, to, (rest, left))
                            with rare:
                                self.pack_singly(code, (at, source), (along, across), (rest, left), to)
        b.ret_void()
        code.function.attributes.add("noinline")
        return code.function

    def pack_rows(self, code: Code, at: ir.Value, across: ir.Value, to: ir.Value) -> None:
        """A piece of a weight whose entries along the sum lie side by side: pairs as they stand, turned."""
        b, n = code.b, self.lanes
        for first in range(0, PAIRS, n):
            vectors = []
            for r in range(n):
                row = self.at(code, at, b.add(b.mul(code.number(r), across), code.number(2 * first)), half=True)
                vectors.append(b.load(row, typ=self.vector, align=2))
            self.transpose(code, vectors, self.at(code, to, code.number(first * n)), code.number(n))

    def pack_columns(
        self,
        code: Code,
        at: ir.Value,
        along: ir.Value,
        to: ir.Value,
        exist: tuple[ir.Value, ir.Value] | None = None,
    ) -> None:
        """A piece of a weight whose units lie side by side: two rows become one of pairs.

        At an edge only so many rows and units exist.
        """
        b = code.b

        def bits(row: ir.Constant) -> ir.Value:
            mask = None
            if exist is not None:
                units = b.select(b.icmp_signed("<", row, exist[0]), exist[1], code.number(0))
                mask = self.first_lanes(code, units)
            return self.load_bits(code, self.at(code, at, b.mul(row, along), half=True), mask)

        for pair in range(PAIRS):
            pairs = self.paired(code, bits(code.number(2 * pair)), bits(code.number(2 * pair + 1)))
            b.store(pairs, self.at(code, to, code.number(pair * self.lanes)), align=4)

    def paired(self, code: Code, first: ir.Value, second: ir.Value) -> ir.Value:
        """A vector of pairs of bfloat16 numbers, from the bits of the first ones and of the second ones."""
        b, wide = code.b, ir.VectorType(I32, self.lanes)
        return b.or_(b.zext(first, wide), b.shl(b.zext(second, wide), ir.Constant(wide, [16] * self.lanes)))

    def pack_singly(
        self,
        code: Code,
        places: tuple[ir.Value, ir.Value],
        strides: tuple[ir.Value, ir.Value],
        exist: tuple[ir.Value, ir.Value],
        to: ir.Value,
    ) -> None:
        """A piece at the edge of a weight, entry by entry; it may begin past the last unit."""
        b = code.b
        at, whole = places
        along, across = strides
        rows, units = exist
        with (
            code.loop(code.number(0), code.number(PAIRS)) as pair,
            code.loop(code.number(0), code.number(self.lanes)) as lane,
        ):
            for k in range(2):
                row = b.add(b.mul(pair, code.number(2)), code.number(k))
                inside = b.and_(b.icmp_signed("<", row, rows), b.icmp_signed("<", lane, units))
                # Outside, the weight's first entry, which exists for certain, is read in place of one that may not.
                own = self.at(code, at, b.add(b.mul(row, along), b.mul(lane, across)), half=True)
                value = b.load(b.select(inside, own, whole), typ=I16, align=2)
                place = b.add(b.mul(pair, code.number(2 * self.lanes)), b.mul(lane, code.number(2)))
                there = self.at(code, to, b.add(place, code.number(k)), half=True)
                b.store(b.select(inside, value, I16(0)), there, align=2)

    # Vectors.

    def half_tile(self, results: int, rows: int) -> ir.Function:
        """As `tile`, for packed pairs: sums[row][vector] (+)= the product of some rows, in registers.

        The depth counts pieces.
        """
        if (results, rows) in self.half_tiles:
            return self.half_tiles[results, rows]
        code = Code(self.module, f"half_tile_{results}_{rows}", [PTR, I64, PTR, I64, PTR, I1])
        operand, stride, weight, depth, sums, add = code.args
        b = code.b
        row_at = [self.at(code, operand, b.mul(stride, code.number(r)), half=True) for r in range(rows)]
        places = [self.at(code, sums, code.number(j * self.lanes)) for j in range(rows * results)]
        start = [b.select(add, self.load(code, place, None), self.zero) for place in places]
        pairs = ir.VectorType(I32, self.lanes)
        sixteen, upper = (ir.Constant(pairs, [k] * self.lanes) for k in (16, 0xFFFF0000))
        both, product = self.product_of_pairs()

        def row(entry: ir.Value, part: int, r: int) -> ir.Value:
            pair = b.load(self.at(code, row_at[r], entry, half=True), typ=I32, align=2)
            spread = self.pair_in_all_lanes(code, pair)
            if product is None:
                spread = b.and_(spread, upper) if part else b.shl(spread, sixteen)
            return b.bitcast(spread, both)

        def vector(at: ir.Value, part: int, v: int) -> ir.Value:
            at = self.at(code, at, code.number(v * PAIRS * self.lanes))
            if product is not None:
                return b.bitcast(b.load(at, typ=pairs, align=4), both)
            # The second ones are read from two bytes on: a mask would take one register more than there are.
            at = self.at(code, at, code.number(part), half=True)
            return b.bitcast(b.shl(b.load(at, typ=pairs, align=2), sixteen), both)

        with code.carried(code.number(0), depth, start) as (piece, now, outer):
            of_piece = self.at(code, weight, b.mul(piece, code.number(results * PAIRS * self.lanes)))
            values = now
            for part in range(1 if product else 2):  # of the pairs, each in a loop of its own: fewer registers
                with code.carried(code.number(0), code.number(PAIRS), values) as (pair, values, new):
                    at = self.at(code, of_piece, b.mul(pair, code.number(self.lanes)))
                    entry = b.add(b.mul(piece, code.number(DEPTH)), b.mul(pair, code.number(2)))
                    read_row, read_vector = functools.partial(row, entry, part), functools.partial(vector, at, part)
                    new[:] = self.multiplied(code, read_row, read_vector, (rows, results), values, product)
            outer[:] = values
        for value, place in zip(now, places):
            self.save(code, value, place, None)
        b.ret_void()
        code.function.attributes.add("noinline")
        self.half_tiles[results, rows] = code.function
        return code.function

    def pair_in_all_lanes(self, code: Code, pair: ir.Value) -> ir.Value:
        """A vector that holds a pair in every lane."""
        typ = ir.VectorType(I32, self.lanes)
        one = code.b.insert_element(ir.Constant(typ, ir.Undefined), pair, I32(0))
        return code.b.shuffle_vector(one, one, ir.Constant(typ, [0] * self.lanes))

    def product_of_pairs(self) -> tuple[ir.Type, ir.Function | None]:
        """What vectors of pairs are multiplied as, and by what; without an instruction for pairs, as float32."""
        if not (self.target.dots and self.lanes == 16):
            return self.vector, None
        typ = ir.VectorType(BFLOAT, 2 * self.lanes)
        return typ, self.declared("llvm.x86.avx512bf16.dpbf16ps.512", self.vector, [self.vector, typ, typ])

    # Tiles.

    def amx(self, code: Code, name: str, *arguments: int | ir.Value) -> None:
        """One of AMX's instructions; the numbers of tiles are constants."""
        given = [ir.Constant(I8, a) if isinstance(a, int) else a for a in arguments]
        b = code.b
        b.call(self.declared(f"llvm.x86.{name}", VOID, [a.type for a in given]), given)

    def tile_product(self, columns: int, two: bool) -> ir.Function:
        """sums[row][vector] (+)= the product of up to 16 rows, or of more than 16 and up to 32, by AMX.

        Up to 16 rows are one tile, whose products with up to four vectors are kept in tiles 0 to 3; more rows are two
        tiles, with up to two vectors. `configure` says how many rows the tiles have.
        """
        key = (columns, two)
        if key in self.tile_products:
            return self.tile_products[key]
        name = f"tiles_{columns}_{'two' if two else 'one'}"
        # operand, bytes from row to row; weight, pieces, bytes of a piece; sums, bytes of a row; whether to add
        code = Code(self.module, name, [PTR, I64, PTR, I64, I64, PTR, I64, I1])
        operand, stride, weight, pieces, per_piece, sums, row, add = code.args
        b = code.b

        def bytes_on(at: ir.Value, count: ir.Value) -> ir.Value:
            return b.gep(at, [count], source_etype=I8)

        halves = 2 if two else 1
        below = bytes_on(sums, b.mul(row, code.number(TILE_ROWS)))
        places = [
            (half * 2 + j, bytes_on(below if half else sums, code.number(64 * j)))
            for half in range(halves)
            for j in range(columns)
        ]
        with b.if_else(add) as (more, fresh):
            with more:
                for number, at in places:
                    self.amx(code, "tileloadd64", number, at, row)
            with fresh:
                for number, _ in places:
                    self.amx(code, "tilezero", number)
        lower = bytes_on(operand, b.mul(stride, code.number(TILE_ROWS)))
        with code.loop(code.number(0), pieces) as piece:
            along = b.mul(piece, code.number(2 * DEPTH))
            at = bytes_on(weight, b.mul(piece, per_piece))
            self.amx(code, "tileloadd64", 4, bytes_on(operand, along), stride)
            if two:
                self.amx(code, "tileloadd64", 5, bytes_on(lower, along), stride)
            for j in range(columns):
                of_weight = 6 + j if two else 5 + j % 3
                self.amx(code, "tileloadd64", of_weight, bytes_on(at, code.number(TILE * j)), code.number(64))
                for half in range(halves):
                    self.amx(code, "tdpbf16ps", half * 2 + j, 4 + half, of_weight)
        for number, at in places:
            self.amx(code, "tilestored64", number, at, row)
        b.ret_void()
        code.function.attributes.add("noinline")
        self.tile_products[key] = code.function
        return code.function

    def emit_tile_products(
        self,
        code: Code,
        operand: tuple[ir.Value, ir.Value],
        weight: ir.Value,
        pieces: ir.Value,
        results: int,
        sums: ir.Value,
        rows: ir.Value,
        add: ir.Value,
    ) -> None:
        """All vectors of a block for up to 32 rows; the operand's stride counts bytes."""
        b = code.b
        at, stride = operand
        per_piece, row = code.number(results * TILE), code.number(results * 64)
        with b.if_else(b.icmp_signed(">", rows, code.number(TILE_ROWS))) as (many, few):
            for branch, two in ((many, True), (few, False)):
                with branch:
                    most = 2 if two else 4
                    for first in range(0, results, most):
                        columns = min(most, results - first)
                        of_weight = b.gep(weight, [code.number(first * TILE)], source_etype=I8)
                        to = b.gep(sums, [code.number(first * 64)], source_etype=I8)
                        given = [at, stride, of_weight, pieces, per_piece, to, row, add]
                        b.call(self.tile_product(columns, two), given)

    def emit_configure(self) -> ir.Function:
        """Bring the tiles to the rows that a product has; `state` holds what they are set to."""
        code = Code(self.module, "configure", [PTR, I64])
        state, rows = code.args
        b = code.b
        known = b.gep(state, [code.number(64)], source_etype=I8)
        with code.when(b.icmp_signed("!=", b.load(known, typ=I64, align=8), rows)):
            b.store(rows, known, align=8)
            two = b.icmp_signed(">", rows, code.number(TILE_ROWS))
            upper = b.trunc(b.select(two, code.number(TILE_ROWS), rows), I8)
            lower = b.trunc(b.select(two, b.sub(rows, code.number(TILE_ROWS)), rows), I8)
            full = I8(TILE_ROWS)
            # Of two tiles of rows, 0 and 1 are sums of the upper one, 2 and 3 of the lower; 4 and 5 are the operand.
            of_tile = [upper, upper, lower, lower, upper, b.select(two, lower, full), full, full]
            for k, count in enumerate(of_tile):
                b.store(count, b.gep(state, [code.number(48 + k)], source_etype=I8), align=1)
            self.amx(code, "ldtilecfg", state)
        b.ret_void()
        code.function.attributes.add("noinline")
        return code.function

    def emit_prepare(self) -> ir.Function:
        """Fill a `state` for `configure` with what is the same for all products."""
        code = Code(self.module, "prepare", [PTR])
        b, [state] = code.b, code.args
        for k in range(0, STATE, 8):
            b.store(I64(0), b.gep(state, [code.number(k)], source_etype=I8), align=8)
        b.store(I8(1), state, align=1)  # the palette
        for k in range(8):
            b.store(I16(64), b.gep(state, [code.number(16 + 2 * k)], source_etype=I8), align=2)
        b.ret_void()
        return code.function
