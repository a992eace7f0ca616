"""Matrix products over all steps of a span: the gradients of weights and inputs.

Both factors are read where they lie. The rows of a span are few enough for the cache, and a register tile reads each of
them in pieces as long as a cache line or several; so nothing is packed first, which a library that is made for any
product would do, and which takes a sixth of the time for a weight of a few hundred units.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import llvmlite.ir as ir
import torch
from torch import Tensor

from . import machine, threads
from .code import I1, I64, PTR, Code, Numbers, uncollected
from .machine import Target
from .memory import empty
from .precision import Precision, of

FIELDS = (
    "result",  # (M, N), its rows so far apart:
    "result.row",
    "a",  # (M, K)
    "a.row",
    "a.column",
    "b",  # (K, N), each row in one piece
    "b.row",
    "rows",  # M
    "columns",  # N
    "inner",  # K
    "add",  # 1 if the product is added to what the result holds, 0 if it is written over it
)
VECTORS = 4  # of columns in a register tile
DEPTH = 256  # of the inner dimension at a time: so much of b, as wide as a tile, stays in the cache


class Matmul(Numbers):
    """The kernel for one target: result (+)= a b.

    Args:
        target: what it is compiled for.
        precision: which numbers they are.
    """

    def __init__(self, target: Target, precision: Precision) -> None:
        super().__init__(target, precision, FIELDS)
        self.rows = target.tile_rows(VECTORS)  # of a register tile

    def text(self) -> str:
        """The module as text."""
        self.tiles = {(v, tail): self.emit_tile(v, tail) for v in range(1, VECTORS + 1) for tail in (False, True)}
        self.emit_run(self.emit_kernel())
        return self.finished()

    def emit_tile(self, vectors: int, tail: bool) -> ir.Function:
        """A few rows of the result, `vectors` vectors wide, over a part of the inner dimension, in registers.

        Where fewer rows exist, the last one is computed several times. In a tail only the first `last` lanes of the
        last vector exist.
        """
        name = f"tile_{vectors}{'_tail' if tail else ''}"
        code = Code(self.module, name, [PTR, I64, PTR, I64, I64, PTR, I64, I64, I1, I64, I64])
        result, result_row, a, a_row, a_column, b_at, b_row, inner, add, exist, last = code.args
        b = code.b
        masks = [None] * (vectors - 1) + [self.first_lanes(code, last) if tail else None]

        def numbers() -> list[ir.Value]:
            end = b.sub(exist, code.number(1))
            return [b.select(b.icmp_signed("<", code.number(r), exist), code.number(r), end) for r in range(self.rows)]

        def places() -> list[tuple[ir.Value, ir.Value | None]]:
            return [
                (self.at(code, result, b.add(b.mul(result_row, number), code.number(v * self.lanes))), masks[v])
                for number in numbers()
                for v in range(vectors)
            ]

        rows = [self.at(code, a, b.mul(a_row, number)) for number in numbers()]
        entry, before, start = b.block, *(code.function.append_basic_block(n) for n in ("before", "start"))
        b.cbranch(add, before, start)
        b.position_at_end(before)
        held = [self.load(code, at, mask) for at, mask in places()]
        before = b.block
        b.branch(start)
        b.position_at_end(start)
        sums = []
        for value in held:
            phi = b.phi(self.vector)
            phi.add_incoming(self.zero, entry)
            phi.add_incoming(value, before)
            sums.append(phi)
        with code.carried(code.number(0), inner, sums) as (k, now, new):
            at = self.at(code, b_at, b.mul(k, b_row))
            offset = b.mul(k, a_column)

            def row(r: int) -> ir.Value:
                return self.spread(code, b.load(self.at(code, rows[r], offset), typ=self.scalar, align=self.size))

            def vector(v: int) -> ir.Value:
                return self.load(code, self.at(code, at, code.number(v * self.lanes)), masks[v])

            new[:] = self.multiplied(code, row, vector, (self.rows, vectors), now)
        # Where the sums go is computed anew: kept in registers it would not leave enough of them to the loop.
        for value, (at, mask) in zip(now, places()):
            self.save(code, value, at, mask)
        b.ret_void()
        code.function.attributes.add("noinline")
        return code.function

    def emit_kernel(self) -> Code:
        """kernel(arguments, thread, threads): one thread's rows of the result."""
        code = Code(self.module, "kernel", [PTR, I64, I64])
        _, thread, threads = code.args
        b = code.b
        zero, one, lanes = (code.number(n) for n in (0, 1, self.lanes))
        result, a, b_at = (self.field(code, name, PTR) for name in ("result", "a", "b"))
        result_row, a_row, a_column, b_row = (
            self.field(code, name) for name in ("result.row", "a.row", "a.column", "b.row")
        )
        rows, columns, inner, add = (self.field(code, name) for name in ("rows", "columns", "inner", "add"))
        groups = b.sdiv(b.add(rows, code.number(self.rows - 1)), code.number(self.rows))
        first, end = (b.mul(g, code.number(self.rows)) for g in self.share(code, groups, thread, threads))
        end = self.least(code, end, rows)
        wide = b.sdiv(b.add(columns, b.sub(lanes, one)), lanes)  # vectors of columns
        strips = b.sdiv(b.add(wide, code.number(VECTORS - 1)), code.number(VECTORS))
        with code.loop(zero, inner, DEPTH) as k:
            depth = self.least(code, b.sub(inner, k), code.number(DEPTH))
            more = b.or_(b.icmp_signed("!=", add, zero), b.icmp_signed(">", k, zero))
            with code.loop(zero, strips) as strip:
                from_vector, to_vector = self.share(code, wide, strip, strips)
                column = b.mul(from_vector, lanes)
                last = b.sub(b.sub(columns, b.mul(to_vector, lanes)), b.neg(lanes))  # lanes of the last vector
                of_b = self.at(code, b_at, b.add(b.mul(k, b_row), column))
                with code.loop(first, end, self.rows) as row:
                    to = self.at(code, result, b.add(b.mul(row, result_row), column))
                    of_a = self.at(code, a, b.add(b.mul(row, a_row), b.mul(k, a_column)))
                    given = [to, result_row, of_a, a_row, a_column, of_b, b_row, depth, more, b.sub(end, row), last]
                    tail = b.select(b.icmp_signed("<", last, lanes), one, zero)
                    which = b.add(b.mul(b.sub(to_vector, from_vector), code.number(2)), tail)
                    after = code.function.append_basic_block("after")
                    switch = b.switch(which, after)
                    for (vectors, of_tail), tile in self.tiles.items():
                        case = code.function.append_basic_block("case")
                        switch.add_case(code.number(vectors * 2 + of_tail), case)
                        b.position_at_end(case)
                        b.call(tile, given)
                        b.branch(after)
                    b.position_at_end(after)
        b.ret_void()
        return code


@functools.lru_cache(maxsize=8)
def _kernel(precision: Precision, target: Target) -> Callable[[int, int], None]:
    with uncollected():
        text = Matmul(target, precision).text()
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(machine.compiled(text, target))


def product(a: Tensor, b: Tensor, target: Target) -> Tensor:
    """a b in a tensor of its own.

    >>> product(torch.ones(3, 5), torch.ones(5, 20), machine.current())[2, 19].item()
    5.0
    """
    if target.library:
        return torch.mm(a, b)
    result = empty(a.dtype, (a.shape[0], b.shape[1]))
    matmul(result, a, b, False, target)
    return result


def matmul(result: Tensor, a: Tensor, b: Tensor, add: bool, target: Target) -> None:
    """Write a b to a result, or add it to what the result holds.

    >>> a, b, result = torch.ones(3, 5), torch.ones(5, 20), torch.empty(3, 20)
    >>> matmul(result, a, b, False, machine.current())
    >>> result[2, 19].item()
    5.0

    Args:
        result: (M, N).
        a: (M, K).
        b: (K, N).
        add: whether to add.
        target: what the kernel is compiled for.
    """
    (rows, inner), columns = a.shape, b.shape[1]
    precision = of(result.dtype)
    in_rows = b.stride(1) == 1 and result.stride(1) == 1
    # PyTorch's product where it is faster, or where this one cannot be.
    if target.library or precision.half or columns < target.lanes(precision.size) or inner == 0 or not in_rows:
        torch.addmm(result, a, b, beta=int(add), out=result)
        return
    at = (result.data_ptr(), result.stride(0), a.data_ptr(), *a.stride(), b.data_ptr(), b.stride(0))
    arguments = (ctypes.c_int64 * len(FIELDS))(*at, rows, columns, inner, add)
    team = threads.team(rows * columns * inner, threads.SMALL)
    _kernel(precision, target)(ctypes.addressof(arguments), team)
