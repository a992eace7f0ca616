"""What the processor multiplies and adds at most, at the width of the vectors that kernels use now.

A loop of independent multiply-adds in registers, which no memory holds back: the bound of every matrix product. A
library that exceeds it uses wider vectors than our kernels do.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import torch

from holdfast.engines.llvm import machine
from holdfast.engines.llvm.code import I64, PTR, Code, Numbers, uncollected
from holdfast.engines.llvm.machine import Target
from holdfast.engines.llvm.precision import SINGLE

FIELDS = ("steps", "factors", "totals")  # two vectors; a vector for each thread
SUMS = 12  # more than a multiply-add takes cycles, on two ports


class _MultiplyAdds(Numbers):
    def __init__(self, target: Target) -> None:
        super().__init__(target, SINGLE, FIELDS)

    def text(self) -> str:
        """The module as text."""
        code = Code(self.module, "kernel", [PTR, I64, I64])
        _, thread, _ = code.args
        b = code.b
        factors = self.field(code, "factors", PTR)
        x, y = (self.load(code, self.at(code, factors, code.number(k * self.lanes)), None) for k in range(2))
        fma = self.intrinsic("llvm.fmuladd", self.vector, [self.vector] * 3)
        with code.carried(code.number(0), self.field(code, "steps"), [self.zero] * SUMS) as (_, now, new):
            new[:] = [b.call(fma, [x, y, total]) for total in now]
        total = functools.reduce(b.fadd, now)
        at = self.at(code, self.field(code, "totals", PTR), b.mul(thread, code.number(self.lanes)))
        self.save(code, total, at, None)
        b.ret_void()
        self.emit_run(code)
        return self.finished()


@functools.lru_cache(maxsize=8)
def _kernel(target: Target) -> Callable[[int, int], None]:
    with uncollected():
        text = _MultiplyAdds(target).text()
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(machine.compiled(text, target))


class MultiplyAdds:
    """A call of so many steps, on so many threads.

    >>> call = MultiplyAdds(threads=1, steps=10)
    >>> call()
    >>> call.operations == 2 * 10 * SUMS * machine.current().lanes(4)
    True

    Attributes:
        operations: multiplications and additions of a call.
    """

    def __init__(self, threads: int, steps: int = 1_000_000) -> None:
        target = machine.current()
        lanes = target.lanes(4)
        self.threads = threads if target.openmp else 1
        self.operations = 2 * steps * SUMS * lanes * self.threads
        self._factors, self._totals = torch.rand(2, lanes), torch.empty(self.threads, lanes)
        places = (steps, self._factors.data_ptr(), self._totals.data_ptr())
        self._arguments = (ctypes.c_int64 * len(FIELDS))(*places)
        self._run = _kernel(target)

    def __call__(self) -> None:
        """Multiply and add."""
        self._run(ctypes.addressof(self._arguments), self.threads)
