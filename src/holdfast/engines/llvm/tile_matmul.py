"""Matrix products over all steps in AMX's tiles: the gradients of weights, from bfloat16 series, summed in float32.

Both factors are series, a row for each step of each sequence, and the sum goes over their rows: result = aᵀ b. A part
of b is brought into pairs of rows that stays in the cache; a few units of a at a time are turned, so that each lies in
one piece; and the tiles go over all columns.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import llvmlite.ir as ir
import torch
from torch import Tensor

from . import machine, threads
from .code import I8, I32, I64, PTR, VOID, Code, uncollected
from .halves import PAIRS, STATE, TILE, TILE_ROWS, Halves
from .machine import Target
from .memory import empty
from .precision import DEPTH, HALF

FIELDS = (
    "result",  # (M, N) float32, its rows so far apart:
    "result.row",
    "a",  # (K, M), each row in one piece
    "a.row",
    "b",  # (K, N), likewise
    "b.row",
    "rows",  # M, whole tiles
    "columns",  # N
    "inner",  # K
    "add",  # 1 if the product is added to what the result holds
    "work",  # room for what is packed, so many bytes for each thread:
    "work.size",
)
UNITS = 2 * TILE_ROWS  # rows of the result at a time
DEEP, WIDE = 512, 512  # the part of b that is packed at a time: rows and columns
TURNED = 2 * DEEP + 64  # bytes from one turned unit to the next: a cache line more, so that they do not collide
WORK = UNITS * TURNED + 2 * DEEP * WIDE


class TileMatmul(Halves):
    """The kernel for one target: result (+)= aᵀ b."""

    def __init__(self, target: Target) -> None:
        super().__init__(target, HALF, FIELDS)

    def text(self) -> str:
        """The module as text."""
        self.prepare, self.configure = self.emit_prepare(), self.emit_configure()
        self.turn = self.emit_turn()
        self.pair_up = self.emit_pair_up()
        self.emit_run(self.emit_kernel())
        return self.finished()

    def emit_turn(self) -> ir.Function:
        """turned[unit][row] = a[row][unit] for `UNITS` units and whole pieces of rows; past the last row, that one."""
        code = Code(self.module, "turn", [PTR, I64, I64, I64, PTR])
        a, row, rows, pieces, to = code.args
        b, n = code.b, self.lanes
        end = b.sub(rows, code.number(1))
        prefetch = self.declared("llvm.prefetch.p0", VOID, [PTR, I32, I32, I32])
        with code.loop(code.number(0), pieces) as piece:
            first = b.mul(piece, code.number(DEPTH))
            for units in range(0, UNITS, n):
                vectors = []
                for pair in range(PAIRS):
                    both = []
                    for k in range(2):  # of the pair
                        number = b.add(first, code.number(2 * pair + k))
                        number = b.select(b.icmp_signed("<", number, end), number, end)
                        at = self.at(code, a, b.add(b.mul(number, row), code.number(units)), half=True)
                        both.append(self.load_bits(code, at, None))
                        if units == 0:  # the next units' part of the row, which no processor guesses
                            ahead = self.at(code, at, code.number(UNITS), half=True)
                            b.call(prefetch, [ahead, I32(0), I32(2), I32(1)])
                    vectors.append(b.bitcast(self.paired(code, *both), self.vector))
                place = b.add(b.mul(piece, code.number(2 * DEPTH)), code.number(units * TURNED))
                there = b.gep(to, [place], source_etype=I8)
                self.transpose(code, vectors, there, code.number(TURNED // self.size))
        b.ret_void()
        code.function.attributes.add("noinline")
        return code.function

    def emit_pair_up(self) -> ir.Function:
        """A part of b as pairs of rows, [two vectors of columns][piece][vector][pair][lane]; zero beyond its edges."""
        code = Code(self.module, "pair_up", [PTR, I64, I64, I64, PTR])
        source, row, rows, columns, to = code.args
        b = code.b
        one, depth, both = (code.number(k) for k in (1, DEPTH, 2 * self.lanes))
        pieces = b.sdiv(b.add(rows, b.sub(depth, one)), depth)
        pairs_of_vectors = b.sdiv(b.add(columns, b.sub(both, one)), both)
        with code.loop(code.number(0), pairs_of_vectors) as strip, code.loop(code.number(0), pieces) as piece:
            rest = b.sub(rows, b.mul(piece, depth))
            of_piece = b.mul(b.add(b.mul(strip, pieces), piece), code.number(2 * TILE))
            for v in range(2):
                column = b.add(b.mul(strip, both), code.number(v * self.lanes))
                left = b.sub(columns, column)
                target = b.gep(to, [b.add(of_piece, code.number(v * TILE))], source_etype=I8)
                at = self.at(code, source, b.add(b.mul(b.mul(piece, depth), row), column), half=True)
                whole = b.and_(b.icmp_signed(">=", rest, depth), b.icmp_signed(">=", left, code.number(self.lanes)))
                with b.if_else(whole) as (inside, edge):
                    with inside:
                        self.pack_columns(code, at, row, target)
                    with edge:
                        self.pack_columns(code, at, row, target, (rest, left))
        b.ret_void()
        code.function.attributes.add("noinline")
        return code.function

    def emit_kernel(self) -> Code:
        """kernel(arguments, thread, threads): one thread's rows of the result."""
        code = Code(self.module, "kernel", [PTR, I64, I64])
        _, thread, threads = code.args
        b = code.b
        zero, units = code.number(0), code.number(UNITS)
        result, a, b_at = (self.field(code, name, PTR) for name in ("result", "a", "b"))
        result_row, a_row, b_row = (self.field(code, f"{name}.row") for name in ("result", "a", "b"))
        rows, columns, inner, add = (self.field(code, name) for name in ("rows", "columns", "inner", "add"))
        work = b.gep(self.field(code, "work", PTR), [b.mul(thread, self.field(code, "work.size"))], source_etype=I8)
        packed = b.gep(work, [code.number(UNITS * TURNED)], source_etype=I8)
        groups = b.sdiv(b.add(rows, code.number(UNITS - 1)), units)
        begin, end = self.share(code, groups, thread, threads)
        state = b.alloca(I8, STATE)
        state.align = 64
        b.call(self.prepare, [state])
        with code.loop(zero, columns, WIDE) as column, code.loop(zero, inner, DEEP) as k:
            wide = self.least(code, b.sub(columns, column), code.number(WIDE))
            deep = self.least(code, b.sub(inner, k), code.number(DEEP))
            pieces = b.sdiv(b.add(deep, code.number(DEPTH - 1)), code.number(DEPTH))
            of_b = self.at(code, b_at, b.add(b.mul(k, b_row), column), half=True)
            b.call(self.pair_up, [of_b, b_row, deep, wide, packed])
            more = b.or_(b.icmp_signed("!=", add, zero), b.icmp_signed(">", k, zero))
            with code.loop(begin, end) as group:
                unit = b.mul(group, units)
                exist = self.least(code, b.sub(rows, unit), units)
                b.call(self.configure, [state, exist])
                of_a = self.at(code, a, b.add(b.mul(k, a_row), unit), half=True)
                b.call(self.turn, [of_a, a_row, deep, pieces, work])
                with code.loop(zero, wide, 2 * self.lanes) as strip:
                    of_strip = b.mul(b.mul(strip, pieces), code.number(2 * TILE // (2 * self.lanes)))
                    weight = b.gep(packed, [of_strip], source_etype=I8)
                    to = self.at(code, result, b.add(b.mul(unit, result_row), b.add(column, strip)))
                    several = b.icmp_signed(">", b.sub(wide, strip), code.number(self.lanes))
                    given = [
                        *(work, code.number(TURNED), weight, pieces, code.number(2 * TILE), to),
                        *(b.mul(result_row, code.number(self.size)), more),
                    ]
                    with b.if_else(several) as (both, single):
                        with both:
                            b.call(self.tile_product(2, two=True), given)
                        with single:
                            b.call(self.tile_product(1, two=True), given)
        self.amx(code, "tilerelease")
        b.ret_void()
        return code


@functools.lru_cache(maxsize=8)
def _kernel(target: Target) -> Callable[[int, int], None]:
    with uncollected():
        text = TileMatmul(target).text()
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(machine.compiled(text, target))


def tile_matmul(result: Tensor, a: Tensor, b: Tensor, add: bool, target: Target) -> None:
    """Write aᵀ b to a result, or add it to what the result holds.

    Args:
        result: (M, N) float32; its rows have room for whole tiles of 16 columns, which are written.
        a: (K, M) bfloat16; M is of whole tiles, each row in one piece.
        b: (K, N) bfloat16, each row in one piece.
        add: whether to add.
        target: what the kernel is compiled for; it must have tiles.
    """
    (inner, rows), columns = a.shape, b.shape[1]
    team = threads.team(rows * columns * inner, threads.SMALL)
    work = empty(torch.uint8, (team * WORK + TURNED,))
    at = (result.data_ptr(), result.stride(0), a.data_ptr(), a.stride(0), b.data_ptr(), b.stride(0))
    room = -(-work.data_ptr() // 64) * 64
    arguments = (ctypes.c_int64 * len(FIELDS))(*at, rows, columns, inner, add, room, WORK)
    _kernel(target)(ctypes.addressof(arguments), team)
