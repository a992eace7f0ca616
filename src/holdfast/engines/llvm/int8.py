"""Matrix products of a single step with weights in int8: a quarter of the bytes that a step has to read.

Each row of a weight is whole numbers of -127 to 127 times the row's own scale. What it is multiplied with is brought to
16 bits in each step, as fine as the sum in 32 bits allows, so that the weights' rounding is the only one that counts.
The weights lie in pairs of entries along the sum, [block][pair][result][lane][2]: processors multiply a vector of such
pairs and add each up at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import llvmlite.ir as ir
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .code import I8, I16, I32, I64, PTR, Code
from .halves import Halves

LARGEST = 127  # whole number of a weight
PIECE = 16  # entries: what is multiplied is a whole number of these, with zeros at the end
SUM = 2**31 - 1  # the largest that 32 bits hold


def finest(entries: int) -> int:
    """The largest whole number that each of so many entries may be without a sum beyond 32 bits.

    >>> finest(256), finest(2048)
    (32767, 8256)
    """
    return min(32767, SUM // (LARGEST * max(1, whole(entries))))


def whole(entries: int) -> int:
    """So many entries and the zeros after them."""
    return -(-entries // PIECE) * PIECE


def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight's rows as whole numbers of -127 to 127, and the scale of each row.

    >>> numbers, scales = quantised(torch.tensor([[0.5, -1.27], [0.0, 0.0]]))
    >>> numbers.tolist(), [round(s, 4) for s in scales.tolist()]
    ([[50, -127], [0, 0]], [0.01, 0.0])
    """
    scales = weight.abs().amax(1) / LARGEST  # (R,)
    divisors = torch.where(scales > 0, scales, 1.0)
    return (weight / divisors.unsqueeze(1)).round().to(torch.int8), scales


def packed(weight: Tensor, results: Sequence[int], blocks: np.ndarray[Any, Any], lanes: int) -> tuple[Tensor, Tensor]:
    """A weight's whole numbers and scales in the order in which a kernel reads them.

    Args:
        weight: (R, K).
        results: the row with which each result begins.
        blocks: first unit, number of units and head of each block.
        lanes: of a vector.

    Returns:
        [block][pair][result][lane][2] and [block][result][lane]; zero in lanes beyond the last unit.
    """
    numbers, scales = quantised(weight)
    first, count, _ = torch.from_numpy(blocks).unbind(1)
    lane = torch.arange(lanes)
    unit = first.view(-1, 1, 1) + lane  # (blocks, 1, lanes)
    exists = lane < count.view(-1, 1, 1)
    rows = torch.where(exists, unit + torch.tensor(list(results)).view(1, -1, 1), 0)  # (blocks, results, lanes)
    numbers = F.pad(numbers, (0, whole(weight.shape[1]) - weight.shape[1]))
    chosen = numbers[rows] * exists.unsqueeze(-1)  # (blocks, results, lanes, K)
    pairs = chosen.unflatten(-1, (-1, 2)).permute(0, 3, 1, 2, 4)
    return pairs.contiguous(), (scales[rows] * exists).contiguous()


class Int8(Halves):
    """The functions that bring a vector to 16 bits, and multiply it with weights in int8."""

    def emit_rounding(self) -> ir.Function:
        """to[k] = x[k] in units of a step, which is returned; NaN or an infinity among them makes the step NaN.

        Whole pieces are written.
        """
        # x, how many entries; to; the largest whole number; where the step goes
        code = Code(self.module, "rounded", [PTR, I64, PTR, self.scalar, PTR])
        x, count, to, most, step = code.args
        b, n = code.b, self.lanes
        zero = code.number(0)
        end = b.mul(b.sdiv(b.add(count, code.number(PIECE - 1)), code.number(PIECE)), code.number(PIECE))
        fabs, rint = (self.intrinsic(f"llvm.{name}", self.vector, [self.vector]) for name in ("fabs", "rint"))

        def entries(k: ir.Value) -> ir.Value:
            return self.load(code, self.at(code, x, k), self.first_lanes(code, b.sub(count, k)))

        with code.carried(zero, end, [self.zero, self.zero], n) as (k, now, new):
            value = entries(k)
            size = b.call(fabs, [value])
            new[0] = b.select(b.fcmp_ordered(">", size, now[0]), size, now[0])
            new[1] = b.fadd(now[1], b.fmul(value, self.zero))  # NaN if one of them is not finite
        largest = self.scalar(0.0)
        wrong = self.scalar(0.0)
        for lane in range(n):
            one = b.extract_element(now[0], I32(lane))
            largest = b.select(b.fcmp_ordered(">", one, largest), one, largest)
            wrong = b.fadd(wrong, b.extract_element(now[1], I32(lane)))
        b.store(b.fadd(b.fdiv(largest, most), wrong), step, align=self.size)
        some = b.fcmp_ordered(">", largest, self.scalar(0.0))
        factor = self.spread(code, b.select(some, b.fdiv(most, largest), self.scalar(0.0)))
        with code.loop(zero, end, n) as k:
            number = b.call(rint, [b.fmul(entries(k), factor)])
            narrow = b.trunc(b.fptosi(number, ir.VectorType(I32, n)), ir.VectorType(I16, n))
            b.store(narrow, b.gep(to, [k], source_etype=I16), align=2)
        b.ret_void()
        code.function.attributes.add("noinline")
        return code.function

    def emit_int8_product(self, results: int) -> ir.Function:
        """sums[result][lane] = the products of a vector of 16-bit numbers with a block of rows, times their scales."""
        # x, how many pairs; the block's weights and scales; the step of x; sums
        code = Code(self.module, f"int8_product_{results}", [PTR, I64, PTR, PTR, PTR, PTR])
        x, pairs, weight, scales, step, sums = code.args
        b, n = code.b, self.lanes
        ints, bytes_, words = ir.VectorType(I32, n), ir.VectorType(I8, 2 * n), ir.VectorType(I16, 2 * n)
        zero = ir.Constant(ints, [0] * n)
        parallel = max(1, 8 // results)  # a sum waits for the one before it: several are kept side by side
        parallel = 1 << (parallel.bit_length() - 1)  # which divides a piece's pairs
        with code.carried(code.number(0), pairs, [zero] * (results * parallel), parallel) as (k, now, new):
            for j in range(parallel):
                pair = b.add(k, code.number(j))
                both = b.load(b.gep(x, [pair], source_etype=I32), typ=I32, align=2)
                one = b.insert_element(ir.Constant(ints, ir.Undefined), both, I32(0))
                spread = b.bitcast(b.shuffle_vector(one, one, ir.Constant(ints, [0] * n)), words)
                for g in range(results):
                    place = b.mul(b.add(b.mul(pair, code.number(results)), code.number(g)), code.number(2 * n))
                    w = b.load(b.gep(weight, [place], source_etype=I8), typ=bytes_, align=1)
                    slot = j * results + g
                    new[slot] = b.add(now[slot], self.pairs_added(code, b.sext(w, words), spread))
        wide = self.spread(code, b.load(step, typ=self.scalar, align=self.size))
        for g in range(results):
            total = now[g]
            for j in range(1, parallel):
                total = b.add(total, now[j * results + g])
            scale = self.load(code, self.at(code, scales, code.number(g * n)), None)
            value = b.fmul(b.fmul(b.sitofp(total, self.vector), scale), wide)
            self.save(code, value, self.at(code, sums, code.number(g * n)), None)
        b.ret_void()
        code.function.attributes.add("noinline")
        return code.function

    def pairs_added(self, code: Code, a: ir.Value, c: ir.Value) -> ir.Value:
        """The products of 16-bit numbers, each pair's two added up in 32 bits."""
        b, n = code.b, self.lanes
        ints, words = ir.VectorType(I32, n), ir.VectorType(I16, 2 * n)
        names = {16: "avx512.pmaddw.d.512", 8: "avx2.pmadd.wd", 4: "sse2.pmadd.wd"}
        if self.target.x86:
            return b.call(self.declared(f"llvm.x86.{names[n]}", ints, [words, words]), [a, c])
        products = b.mul(*(b.sext(v, ir.VectorType(I32, 2 * n)) for v in (a, c)))
        halves = (ir.Constant(ints, [2 * k + odd for k in range(n)]) for odd in (0, 1))
        return b.add(*(b.shuffle_vector(products, products, half) for half in halves))
