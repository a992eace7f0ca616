"""The language's elementwise operations as LLVM instructions, on vectors of float or double.

Nothing here calls the mathematical library, and nothing depends on fused multiplication: `llvm.fmuladd` is fused where
the machine can. NaN goes through; infinities saturate; results too small for a normal number are right as well.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import llvmlite.ir as ir

from holdfast.language.operations import COMPARISONS, OPERATIONS


@dataclass(frozen=True)
class _Format:
    """What the functions must know of a dtype.

    Attributes:
        name: LLVM's, in the names of its intrinsics.
        bits: of a number.
        digits: of the mantissa, without the leading one.
        ln2: the logarithm of 2 in two parts; the first has so few digits that its multiples are exact.
        lowest, highest: beyond these the exponential is zero, or infinite.
        saturated: from here on the hyperbolic tangent is one.
        exponential: the coefficients of (exp(r) - 1 - r) / r² for a reduced r, the lowest first.
        logarithm, wide_logarithm: how many terms of a series suffice for full precision.
    """

    name: str
    bits: int
    digits: int
    ln2: tuple[float, float]
    lowest: float
    highest: float
    saturated: float
    exponential: tuple[float, ...]
    logarithm: int
    wide_logarithm: int

    @property
    def integer(self) -> ir.IntType:
        return ir.IntType(self.bits)

    @property
    def bias(self) -> int:
        """What is added to an exponent where it is stored."""
        return (1 << (self.bits - self.digits - 2)) - 1

    @property
    def rounder(self) -> float:
        """Added to a number and taken away again, it leaves a whole number; its last bits then hold that number."""
        return 1.5 * 2.0**self.digits


# The best polynomial of its degree, by repeated weighted least squares on the Chebyshev nodes of ±ln 2 / 2, with a
# relative error of 3e-9. For double the Taylor series is as short as it can be.
_FITTED = (0.4999999403953552, 0.1666651964187622, 0.04166839271783829, 0.008368780836462975, 0.0013814467238262296)
_TAYLOR = tuple(1 / math.factorial(k + 2) for k in range(12))
_SINGLE = _Format("f32", 32, 23, (0.693359375, -2.12194440e-4), -104.0, 89.0, 9.1, _FITTED, 5, 8)
_DOUBLE = _Format(
    "f64", 64, 52, (6.93147180369123816490e-01, 1.90821492927058770002e-10), -746.0, 710.0, 19.1, _TAYLOR, 11, 17
)


class Emitter:
    """Elementwise operations on vectors of one dtype and width, at a builder's position."""

    def __init__(self, builder: ir.IRBuilder, scalar: ir.Type, lanes: int) -> None:
        self.b = builder
        self.scalar = scalar
        self.lanes = lanes
        self.type = ir.VectorType(scalar, lanes)
        self.format = _DOUBLE if isinstance(scalar, ir.DoubleType) else _SINGLE
        self.integers = ir.VectorType(self.format.integer, lanes)

    def splat(self, number: float) -> ir.Constant:
        """A number in all lanes."""
        return ir.Constant(self.type, [ir.Constant(self.scalar, number)] * self.lanes)

    def call(self, op: str, *args: ir.Value) -> ir.Value:
        """The result of an operation; a comparison gives bits, and bits count as 0 and 1 where numbers are needed."""
        if op == "where":
            condition, *values = args
            if not _are_bits(condition):
                condition = self.b.fcmp_unordered("!=", condition, self.splat(0.0))
            return self.b.select(condition, *(self._number(v) for v in values))
        numbers = [self._number(a) for a in args]
        if op in COMPARISONS:
            sign = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}[op]
            compare = self.b.fcmp_unordered if op == "ne" else self.b.fcmp_ordered
            return compare(sign, *numbers)
        return _FUNCTIONS[op](self, *numbers)

    def _number(self, value: ir.Value) -> ir.Value:
        return self.b.uitofp(value, self.type) if _are_bits(value) else value

    # Pieces.

    def _integer(self, number: int) -> ir.Constant:
        return ir.Constant(self.integers, [ir.Constant(self.format.integer, number)] * self.lanes)

    def _intrinsic(self, name: str, *args: ir.Value) -> ir.Value:
        full = f"llvm.{name}.v{self.lanes}{self.format.name}"
        known = self.b.module.globals
        if full not in known:
            ir.Function(self.b.module, ir.FunctionType(self.type, [self.type] * len(args)), full)
        return self.b.call(known[full], args)

    def _fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self._intrinsic("fmuladd", a, b, c)

    def _series(self, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
        """A polynomial, its lowest coefficient first."""
        total: ir.Value = self.splat(coefficients[-1])
        for c in reversed(coefficients[:-1]):
            total = self._fma(total, x, self.splat(c))
        return total

    def _least(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The smaller one; NaN if the first is NaN."""
        return self.b.select(self.b.fcmp_ordered(">", a, b), b, a)

    def _reduced(self, x: ir.Value, scale: float = 1.0) -> tuple[ir.Value, ir.Value]:
        """n and r with scale·x = n·ln 2 + scale·r, |scale·r| ≤ ln 2 / 2; n as the last bits of an integer."""
        f, rounder = self.format, self.splat(self.format.rounder)
        shifted = self._fma(x, self.splat(scale / math.log(2)), rounder)
        n = self.b.fsub(shifted, rounder)
        r = self._fma(n, self.splat(-f.ln2[0] / scale), x)
        r = self._fma(n, self.splat(-f.ln2[1] / scale), r)
        return self.b.bitcast(shifted, self.integers), r

    def _power(self, n: ir.Value, more: int = 0) -> ir.Value:
        """2 to the power of n + more, where that is a normal number; only the last bits of n count."""
        f = self.format
        return self.b.bitcast(
            self.b.shl(self.b.add(n, self._integer(f.bias + more)), self._integer(f.digits)), self.type
        )

    def _exp_reduced(self, r: ir.Value) -> ir.Value:
        return self._series(r, [1.0, 1.0, *self.format.exponential])

    def _decay(self, x: ir.Value) -> ir.Value:
        """exp(-x), for an x that is not negative."""
        n, r = self._reduced(self.b.fneg(self._least(x, self.splat(-self.format.lowest))))
        half = -round(self.format.lowest / math.log(2) / 2)  # in two steps: the power itself may not be a normal number
        value = self.b.fmul(self._exp_reduced(r), self._power(n, half))
        return self.b.fmul(value, self.splat(2.0**-half))

    def _wide_logarithm(self, e: ir.Value) -> ir.Value:
        """log(1 + e) for an e between 0 and 1: twice the area tangent of e / (2 + e)."""
        s = self.b.fdiv(e, self.b.fadd(e, self.splat(2.0)))
        z = self.b.fmul(s, s)
        terms = self._series(z, [2 / (2 * k + 3) for k in range(self.format.wide_logarithm)])
        return self._fma(self.b.fmul(z, s), terms, self.b.fadd(s, s))


def _are_bits(value: ir.Value) -> bool:
    return isinstance(value.type.element, ir.IntType)


def _sigmoid(e: Emitter, x: ir.Value) -> ir.Value:
    b = e.b
    small = e._decay(e._intrinsic("fabs", x))  # never overflows
    top = b.select(b.fcmp_ordered(">=", x, e.splat(0.0)), e.splat(1.0), small)
    return b.fdiv(top, b.fadd(small, e.splat(1.0)))


def _tanh(e: Emitter, x: ir.Value) -> ir.Value:
    """By exp(2|x|) - 1, which loses nothing near zero."""
    b = e.b
    n, r = e._reduced(e._least(e._intrinsic("fabs", x), e.splat(e.format.saturated)), 2.0)
    over = [c * 2.0 ** (k + 1) for k, c in enumerate((1.0, *e.format.exponential))]
    over_one = b.fmul(r, e._series(r, over))  # exp(2r) - 1
    power = e._power(n)
    grown = e._fma(power, over_one, b.fsub(power, e.splat(1.0)))
    return e._intrinsic("copysign", b.fdiv(grown, b.fadd(grown, e.splat(2.0))), x)


def _exp(e: Emitter, x: ir.Value) -> ir.Value:
    b, low = e.b, e.splat(e.format.lowest)
    bounded = e._least(b.select(b.fcmp_ordered("<", x, low), low, x), e.splat(e.format.highest))
    n, r = e._reduced(bounded)
    n = b.sub(n, b.bitcast(e.splat(e.format.rounder), e.integers))
    half = b.ashr(n, e._integer(1))  # in two steps: the power itself may not be a normal number
    return b.fmul(b.fmul(e._exp_reduced(r), e._power(half)), e._power(b.sub(n, half)))


def _log(e: Emitter, x: ir.Value) -> ir.Value:
    b, f = e.b, e.format
    smallest = e.splat(2.0 ** (1 - f.bias))
    tiny = b.fcmp_ordered("<", x, smallest)
    bits = b.bitcast(b.select(tiny, b.fmul(x, e.splat(2.0**f.digits)), x), e.integers)
    # The exponent of the number over the square root of 1/2, so that the mantissa lies around 1.
    root = int.from_bytes(_bytes_of(e, math.sqrt(0.5)), "little")
    n = b.ashr(b.sub(bits, e._integer(root)), e._integer(f.digits))
    mantissa = b.bitcast(b.sub(bits, b.shl(n, e._integer(f.digits))), e.type)
    exponent = b.fadd(b.sitofp(n, e.type), b.select(tiny, e.splat(-float(f.digits)), e.splat(0.0)))
    over = b.fsub(mantissa, e.splat(1.0))
    s = b.fdiv(over, b.fadd(over, e.splat(2.0)))
    z = b.fmul(s, s)
    rest = b.fmul(z, e._series(z, [2 / (2 * k + 3) for k in range(f.logarithm)]))
    half = b.fmul(b.fmul(over, over), e.splat(0.5))
    low = e._fma(s, b.fadd(half, rest), b.fmul(exponent, e.splat(f.ln2[1])))
    value = b.fadd(b.fsub(over, b.fsub(half, low)), b.fmul(exponent, e.splat(f.ln2[0])))
    value = b.select(b.fcmp_ordered("==", x, e.splat(math.inf)), x, value)
    value = b.select(b.fcmp_ordered("==", x, e.splat(0.0)), e.splat(-math.inf), value)
    return b.select(b.fcmp_unordered("<", x, e.splat(0.0)), e.splat(math.nan), value)


def _bytes_of(e: Emitter, number: float) -> bytes:
    return struct.pack("<d" if e.format is _DOUBLE else "<f", number)


def _softplus(e: Emitter, x: ir.Value) -> ir.Value:
    b = e.b
    return b.fadd(_relu(e, x), e._wide_logarithm(e._decay(e._intrinsic("fabs", x))))


def _relu(e: Emitter, x: ir.Value) -> ir.Value:
    return e.b.select(e.b.fcmp_ordered("<", x, e.splat(0.0)), e.splat(0.0), x)


def _minimum(e: Emitter, a: ir.Value, c: ir.Value) -> ir.Value:
    """The smaller one; NaN if either is."""
    chosen = e.b.select(e.b.fcmp_ordered("<", c, a), c, a)
    return e.b.select(e.b.fcmp_unordered("uno", c, c), c, chosen)


def _maximum(e: Emitter, a: ir.Value, c: ir.Value) -> ir.Value:
    """The larger one; NaN if either is."""
    chosen = e.b.select(e.b.fcmp_ordered(">", c, a), c, a)
    return e.b.select(e.b.fcmp_unordered("uno", c, c), c, chosen)


def _clip(e: Emitter, x: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
    return e._least(e.b.select(e.b.fcmp_ordered("<", x, low), low, x), high)


def _hard_sigmoid(e: Emitter, x: ir.Value) -> ir.Value:
    return _clip(e, e._fma(x, e.splat(1 / 6), e.splat(0.5)), e.splat(0.0), e.splat(1.0))


_FUNCTIONS: dict[str, Callable[..., ir.Value]] = {
    "add": lambda e, a, c: e.b.fadd(a, c),
    "sub": lambda e, a, c: e.b.fsub(a, c),
    "mul": lambda e, a, c: e.b.fmul(a, c),
    "div": lambda e, a, c: e.b.fdiv(a, c),
    "neg": lambda e, a: e.b.fneg(a),
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "relu": _relu,
    "exp": _exp,
    "log": _log,
    "sqrt": lambda e, x: e._intrinsic("sqrt", x),
    "abs": lambda e, x: e._intrinsic("fabs", x),
    "minimum": _minimum,
    "maximum": _maximum,
    "clip": _clip,
    "hard_sigmoid": _hard_sigmoid,
    "softplus": _softplus,
}
assert {*_FUNCTIONS, *COMPARISONS, "where"} == set(OPERATIONS)
