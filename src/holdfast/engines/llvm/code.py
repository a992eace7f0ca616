"""Functions of LLVM's under construction, and numbers in memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import llvmlite.ir as ir

from .machine import Target
from .precision import Precision

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
PTR, VOID = ir.PointerType(), ir.VoidType()


class _BFloat(ir.Type):
    """LLVM's type of bfloat16, which llvmlite does not name; only what its intrinsics take and give is of it."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


BFLOAT = _BFloat()


@contextmanager
def uncollected() -> Iterator[None]:
    """Hold the garbage collector off while a module is written.

    Its many small objects are no garbage until the end; counting them, the collector would go through all that the
    process holds, which takes longer than the writing.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


class Code:
    """A function under construction."""

    def __init__(self, module: ir.Module, name: str, arguments: Sequence[ir.Type], returns: ir.Type = VOID) -> None:
        self.function = ir.Function(module, ir.FunctionType(returns, arguments), name)
        self.function.linkage = "internal"
        self.function.attributes.add("nounwind")
        self.args = self.function.args
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))

    def number(self, value: int) -> ir.Constant:
        """A whole number as a constant."""
        return ir.Constant(I64, value)

    @contextmanager
    def loop(self, low: ir.Value, high: ir.Value, step: int = 1) -> Iterator[ir.Value]:
        """for (i = low; i < high; i += step)"""
        with self.carried(low, high, (), step) as (i, _, _):
            yield i

    @contextmanager
    def carried(
        self, low: ir.Value, high: ir.Value, values: Sequence[ir.Value], step: int = 1
    ) -> Iterator[tuple[ir.Value, list[ir.Value], list[ir.Value]]]:
        """The same with values that go from turn to turn: the body replaces them in the second list.

        After the loop the first list holds what they ended as.
        """
        b = self.b
        before = b.block
        head = self.function.append_basic_block("head")
        body = self.function.append_basic_block("body")
        after = self.function.append_basic_block("after")
        b.branch(head)
        b.position_at_end(head)
        i = b.phi(I64)
        i.add_incoming(low, before)
        phis = []
        for value in values:
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            phis.append(phi)
        b.cbranch(b.icmp_signed("<", i, high), body, after)
        b.position_at_end(body)
        new = list(phis)
        yield i, phis, new
        end = b.block
        i.add_incoming(b.add(i, self.number(step)), end)
        for phi, value in zip(phis, new):
            phi.add_incoming(value, end)
        b.branch(head)
        b.position_at_end(after)

    @contextmanager
    def when(self, condition: ir.Value) -> Iterator[None]:
        """if (condition)"""
        with self.b.if_then(condition):
            yield


class Numbers:
    """Vectors of one dtype and width in memory; the functions of a module are made with it.

    Args:
        target: what they are compiled for.
        precision: which numbers they are.
        fields: the names of the arguments that the module is called with, an array of 64-bit integers, in their order.
    """

    def __init__(self, target: Target, precision: Precision, fields: Sequence[str]) -> None:
        self.target = target
        self.place = {name: k for k, name in enumerate(fields)}
        self.precision = precision
        self.scalar = ir.DoubleType() if precision.size == 8 else ir.FloatType()
        self.size = precision.size
        self.lanes = target.lanes(self.size)
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.zero = ir.Constant(self.vector, [ir.Constant(self.scalar, 0.0)] * self.lanes)
        self.module = ir.Module("holdfast")
        self.module.triple = target.triple

    def at(self, code: Code, pointer: ir.Value, offset: ir.Value, half: bool = False) -> ir.Value:
        """The address so many numbers on; numbers of 16 bits if they are kept in half."""
        return code.b.gep(pointer, [offset], source_etype=I16 if half else self.scalar)

    def multiplied(
        self,
        code: Code,
        row: Callable[[int], ir.Value],
        vector: Callable[[int], ir.Value],
        counts: tuple[int, int],
        sums: Sequence[ir.Value],
        product: ir.Function | None = None,
    ) -> list[ir.Value]:
        """The sums of a register tile, sums[row][vector] + row · vector, for the next entries of its factors.

        The fewer of the factors are read first and stay in registers; each of the others is read when its turn comes,
        for all sums that it is a part of. `Target.tile_rows` counts the registers.

        Args:
            row: reads an entry of a row, in all lanes.
            vector: reads a vector of the weight.
            counts: how many rows and vectors there are.
            sums: so far, row by row.
            product: takes a sum, an entry in all lanes and a vector; by default a multiply-add.
        """
        multiply_add = self.intrinsic("llvm.fmuladd", self.vector, [self.vector] * 3)
        rows, vectors = counts
        new = list(sums)

        def add(r: int, v: int, x: ir.Value, w: ir.Value) -> None:
            at = r * vectors + v
            new[at] = code.b.call(product, [new[at], x, w]) if product else code.b.call(multiply_add, [x, w, new[at]])

        if rows <= vectors:
            xs = [row(r) for r in range(rows)]
            for v in range(vectors):
                w = vector(v)
                for r in range(rows):
                    add(r, v, xs[r], w)
        else:
            ws = [vector(v) for v in range(vectors)]
            for r in range(rows):
                x = row(r)
                for v in range(vectors):
                    add(r, v, x, ws[v])
        return new

    def load_half(self, code: Code, at: ir.Value, mask: ir.Value | None) -> ir.Value:
        """A vector of bfloat16 numbers from memory, as float32."""
        return self.widened(code, self.load_bits(code, at, mask))

    def load_bits(self, code: Code, at: ir.Value, mask: ir.Value | None) -> ir.Value:
        """The bits of a vector of bfloat16 numbers from memory."""
        narrow = ir.VectorType(I16, self.lanes)
        if mask is None:
            return code.b.load(at, typ=narrow, align=2)
        name = f"llvm.masked.load.v{self.lanes}i16.p0"
        function = self.declared(name, narrow, [PTR, I32, mask.type, narrow])
        return code.b.call(function, [at, I32(2), mask, ir.Constant(narrow, [0] * self.lanes)])

    def widened(self, code: Code, bits: ir.Value) -> ir.Value:
        """The float32 number, or vector of them, of as many bfloat16's bits."""
        several = isinstance(bits.type, ir.VectorType)
        wide: ir.Type = ir.VectorType(I32, self.lanes) if several else I32
        sixteen = ir.Constant(wide, [16] * self.lanes if several else 16)
        return code.b.bitcast(code.b.shl(code.b.zext(bits, wide), sixteen), self.vector if several else self.scalar)

    def save_half(self, code: Code, value: ir.Value, at: ir.Value, mask: ir.Value | None) -> None:
        """A vector of float32 numbers to memory, as bfloat16."""
        bits = self.narrowed(code, value)
        if mask is None:
            code.b.store(bits, at, align=2)
        else:
            name = f"llvm.masked.store.v{self.lanes}i16.p0"
            function = self.declared(name, VOID, [bits.type, PTR, I32, mask.type])
            code.b.call(function, [bits, at, I32(2), mask])

    def narrowed(self, code: Code, value: ir.Value) -> ir.Value:
        """The bits of the nearest bfloat16 numbers, ties to even; NaN stays NaN."""
        b, n = code.b, self.lanes
        if self.target.dots and n == 16:
            typ = ir.VectorType(BFLOAT, n)
            function = self.declared("llvm.x86.avx512bf16.cvtneps2bf16.512", typ, [self.vector])
            return b.bitcast(b.call(function, [value]), ir.VectorType(I16, n))
        wide, narrow = ir.VectorType(I32, n), ir.VectorType(I16, n)

        def number(k: int) -> ir.Constant:
            return ir.Constant(wide, [k] * n)

        bits = b.bitcast(value, wide)
        even = b.and_(b.lshr(bits, number(16)), number(1))
        rounded = b.lshr(b.add(b.add(bits, even), number(0x7FFF)), number(16))
        quiet = b.or_(b.lshr(bits, number(16)), number(0x40))
        return b.trunc(b.select(b.fcmp_unordered("uno", value, value), quiet, rounded), narrow)

    def declared(self, name: str, returns: ir.Type, arguments: Sequence[ir.Type]) -> ir.Function:
        """A function of LLVM's own by its full name."""
        known = self.module.globals.get(name)
        return known or ir.Function(self.module, ir.FunctionType(returns, arguments), name)

    def load(self, code: Code, at: ir.Value, mask: ir.Value | None) -> ir.Value:
        """A vector from memory; only the lanes of a mask are read, the others are 0."""
        if mask is None:
            return code.b.load(at, typ=self.vector, align=self.size)
        function = self.intrinsic("llvm.masked.load", self.vector, [PTR, I32, mask.type, self.vector], ".p0")
        return code.b.call(function, [at, I32(self.size), mask, self.zero])

    def save(self, code: Code, value: ir.Value, at: ir.Value, mask: ir.Value | None) -> None:
        """A vector to memory; only the lanes of a mask are written."""
        if mask is None:
            code.b.store(value, at, align=self.size)
        else:
            function = self.intrinsic("llvm.masked.store", VOID, [self.vector, PTR, I32, mask.type], ".p0")
            code.b.call(function, [value, at, I32(self.size), mask])

    def intrinsic(self, name: str, returns: ir.Type, arguments: Sequence[ir.Type], suffix: str = "") -> ir.Function:
        """An intrinsic of LLVM's for vectors of this kernel."""
        kind = "f64" if self.size == 8 else "f32"
        full = f"{name}.v{self.lanes}{kind}{suffix}"
        return self.declared(full, returns, arguments)

    def spread(self, code: Code, value: ir.Value) -> ir.Value:
        """One number in all lanes."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = code.b.insert_element(undefined, value, I32(0))
        return code.b.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes))

    def integer(self, code: Code, table: ir.Value, index: ir.Value) -> ir.Value:
        """An entry of a table."""
        return code.b.load(code.b.gep(table, [index], source_etype=I64), typ=I64, align=8)

    def first_lanes(self, code: Code, count: ir.Value) -> ir.Value:
        """True for so many lanes."""
        b = code.b
        typ = ir.VectorType(I32, self.lanes)
        rest = b.insert_element(ir.Constant(typ, ir.Undefined), b.trunc(count, I32), I32(0))
        rest = b.shuffle_vector(rest, rest, ir.Constant(typ, [0] * self.lanes))
        return b.icmp_signed("<", ir.Constant(typ, list(range(self.lanes))), rest)

    def field(self, code: Code, name: str, typ: ir.Type = I64) -> ir.Value:
        """One of the arguments, which do not change while the kernel runs."""
        b = code.b
        at = b.gep(code.args[0], [code.number(self.place[name])], source_etype=I64, inbounds=True)
        value = b.load(at, typ=typ, align=8)
        value.set_metadata("invariant.load", self.module.add_metadata([]))
        return value

    def share(self, code: Code, count: ir.Value, thread: ir.Value, threads: ir.Value) -> tuple[ir.Value, ir.Value]:
        """A thread's part of some blocks: from, to."""
        b = code.b
        end = b.sdiv(b.mul(count, b.add(thread, code.number(1))), threads)
        return b.sdiv(b.mul(count, thread), threads), end

    def least(self, code: Code, one: ir.Value, other: ir.Value) -> ir.Value:
        """The smaller of two whole numbers."""
        return code.b.select(code.b.icmp_signed("<", one, other), one, other)

    def emit_run(self, kernel: Code) -> None:
        """run(arguments, threads): kernel(arguments, thread, threads) in a team of threads, or by the caller alone."""
        code = Code(self.module, "run", [PTR, I64])
        code.function.linkage = ""
        arguments, threads = code.args
        b = code.b
        if self.target.openmp:
            number, members, parallel = (
                ir.Function(self.module, typ, name)
                for name, typ in (
                    ("omp_get_thread_num", ir.FunctionType(I32, [])),
                    ("omp_get_num_threads", ir.FunctionType(I32, [])),
                    ("GOMP_parallel", ir.FunctionType(VOID, [PTR, PTR, I32, I32])),
                )
            )
            member = Code(self.module, "member", [PTR])
            who, team = (member.b.sext(member.b.call(f, []), I64) for f in (number, members))
            member.b.call(kernel.function, [member.args[0], who, team])
            member.b.ret_void()
            with b.if_else(b.icmp_signed(">", threads, code.number(1))) as (several, alone):
                with several:
                    b.call(parallel, [member.function, arguments, b.trunc(threads, I32), I32(0)])
                with alone:
                    b.call(kernel.function, [arguments, code.number(0), code.number(1)])
        else:
            b.call(kernel.function, [arguments, code.number(0), code.number(1)])
        b.ret_void()

    def finished(self) -> str:
        """The module as text."""
        return str(self.module).replace("nounwind", f"nounwind {self.target.attributes}".rstrip())
