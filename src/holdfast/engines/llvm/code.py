"""Functions of LLVM's under construction, and numbers in memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import llvmlite.ir as ir

from .machine import Target

I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
PTR, VOID = ir.PointerType(), ir.VoidType()


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
        double: whether numbers are of 64 bits, and not 32.
        fields: the names of the arguments that the module is called with, an array of 64-bit integers, in their order.
    """

    def __init__(self, target: Target, double: bool, fields: Sequence[str]) -> None:
        self.target = target
        self.place = {name: k for k, name in enumerate(fields)}
        self.scalar = ir.DoubleType() if double else ir.FloatType()
        self.size = 8 if double else 4
        self.lanes = target.lanes(double)
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.zero = ir.Constant(self.vector, [ir.Constant(self.scalar, 0.0)] * self.lanes)
        self.module = ir.Module("holdfast")
        self.module.triple = target.triple

    def at(self, code: Code, pointer: ir.Value, offset: ir.Value) -> ir.Value:
        """The address so many numbers on."""
        return code.b.gep(pointer, [offset], source_etype=self.scalar)

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
        if full in self.module.globals:
            return self.module.globals[full]
        return ir.Function(self.module, ir.FunctionType(returns, arguments), full)

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
