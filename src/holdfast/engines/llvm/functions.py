"""The language's elementwise operations as LLVM IR, on vectors of any width.

Nothing here becomes a call of the system's mathematical library on any processor, and no operation branches. The
products that `llvm.fmuladd` adds to may be rounded or not: the constants are chosen so that both are accurate.

How the transcendental functions come about: with n the whole number nearest to x / ln 2, e^x is 2^n e^r where
|r| <= ln 2 / 2. There r coth(r / 2) =: c is even and very smooth, so that two coefficients make float32 of it, and

    e^r = (c + r) / (c - r)        tanh(r) = r + r^3 t(r^2)        log(1 + f) = s + s^3 l(s^2), s = f / (1 + f / 2).

The coefficients were computed by the Remez exchange in 60 digits, for the least relative error of the function that
they serve. They were rounded one by one from the lowest on, and the others fitted again each time.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import llvmlite.ir as ir

from holdfast.language.operations import OPERATIONS

LN2 = math.log(2)
LOG2E = 1 / LN2


@dataclass(frozen=True)
class _Format:
    """What depends on the kind of number.

    Attributes:
        bits: how many it has.
        mantissa: how many of them come after the point.
        ln2: ln 2 as a sum; the first part ends in so many zeros that its product with any exponent is exact.
        least: e^x is 0 below.
        greatest: e^x is infinite above.
        one: the sigmoid and tanh are 1 above.
        lift: the sigmoid's fraction is expanded by 2^-lift, so that its denominator stays finite.
        coth: r coth(r / 2) = 2 + r^2 coth(r^2) for |r| <= ln 2 / 2.
        tanh: tanh(r) = r + r^3 tanh(r^2) for |r| <= ln 2 / 4.
        log: 2 atanh(s / 2) = s + s^3 log(s^2) for |s| <= 2 / 3.
    """

    bits: int
    mantissa: int
    ln2: tuple[float, ...]
    least: float
    greatest: float
    one: float
    lift: int
    coth: tuple[float, ...]
    tanh: tuple[float, ...]
    log: tuple[float, ...]

    @property
    def bias(self) -> int:
        """What is added to an exponent before it is stored."""
        return (1 << (self.bits - self.mantissa - 2)) - 1


def _hex(text: str) -> tuple[float, ...]:
    return tuple(map(float.fromhex, text.split()))


SINGLE = _Format(
    bits=32,
    mantissa=23,
    ln2=_hex("0x1.62e4p-1 0x1.7f7d1cp-20"),
    least=-105.0,
    greatest=89.0,
    one=20.0,
    lift=32,
    coth=_hex("0x1.55551p-3 -0x1.6a81c8p-9"),
    tanh=_hex("-0x1.554fe6p-2 0x1.0c7dc2p-3"),
    log=_hex("0x1.5555p-4 0x1.99d29ep-7 0x1.1eb3a2p-9 0x1.1f0578p-11"),
)
DOUBLE = _Format(
    bits=64,
    mantissa=52,
    ln2=_hex("0x1.62e42fefa38p-1 0x1.ef35793c7673p-45"),
    least=-746.0,
    greatest=710.0,
    one=40.0,
    lift=64,
    coth=_hex(
        "0x1.5555555555529p-3 -0x1.6c16c16bd5aa2p-9 0x1.1566aab450ec7p-14 -0x1.bbd38e86ec211p-20 0x1.633d79cb9e64dp-25"
    ),
    tanh=_hex(
        "-0x1.55555555554bap-2 0x1.11111110e0021p-3 -0x1.ba1ba1150eae6p-5 "
        "0x1.664ec8cc4df42p-6 -0x1.223c2bd0dcc1bp-7 0x1.c375921f19abp-9"
    ),
    log=_hex(
        "0x1.5555555555535p-4 0x1.99999999a0787p-7 0x1.249249208a005p-9 0x1.c71c741db2d1fp-12 0x1.745cb3d406a09p-14 "
        "0x1.3b1ddef42ff69p-16 0x1.10679a4ae4726p-18 0x1.efdab37fb6d0cp-21 0x1.55a7ab7a2b342p-23 0x1.5c8087886b6a1p-24"
    ),
)


class _Vector(ir.VectorType):
    """A vector type that writes the same number in all lanes only once, so that the text to be parsed stays short."""

    def format_constant(self, value: Sequence[ir.Constant]) -> str:
        if all(v is value[0] for v in value):
            return f"splat ({self.element} {value[0].get_reference()})"
        return str(super().format_constant(value))


class Emitter:
    """Elementwise operations on vectors of one dtype and width, at a builder's position."""

    def __init__(self, builder: ir.IRBuilder, scalar: ir.Type, lanes: int) -> None:
        self.builder = builder
        self.lanes = lanes
        self.format = DOUBLE if scalar == ir.DoubleType() else SINGLE
        self.type = _Vector(scalar, lanes)
        self.integers = _Vector(ir.IntType(self.format.bits), lanes)

    def splat(self, number: float) -> ir.Constant:
        """A number in all lanes; in float32 one that is too large becomes infinite, as in PyTorch."""
        return ir.Constant(self.type, float(number))

    def call(self, op: str, *args: ir.Value) -> ir.Value:
        """An operation of the language.

        A comparison's outcome is a vector of bits. Where numbers are wanted they count as 0 and 1, and where bits are
        wanted a number counts as whether it is not 0.
        """
        return EMIT[op](self, *(args if op == "where" else map(self._number, args)))

    # What the operations are made of.

    def _number(self, value: ir.Value) -> ir.Value:
        return self.builder.uitofp(value, self.type) if value.type.element == ir.IntType(1) else value

    def _intrinsic(self, name: str, *args: ir.Value) -> ir.Value:
        module = self.builder.module
        name = f"llvm.{name}.v{self.lanes}f{self.format.bits}"
        known = module.globals.get(name)
        return self.builder.call(
            known or ir.Function(module, ir.FunctionType(self.type, [self.type] * len(args)), name), args
        )

    def _multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self._intrinsic("fmuladd", a, b, c)

    def _polynomial(self, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
        *others, value = map(self.splat, coefficients)
        for c in reversed(others):
            value = self._multiply_add(value, x, c)
        return value

    def _at_least(self, bound: float, x: ir.Value) -> ir.Value:
        """The larger one of the two. NaN goes through, because it compares as false; on x86 this is one instruction."""
        c = self.splat(bound)
        return self.builder.select(self.builder.fcmp_ordered(">", c, x), c, x)

    def _at_most(self, bound: float, x: ir.Value) -> ir.Value:
        c = self.splat(bound)
        return self.builder.select(self.builder.fcmp_ordered("<", c, x), c, x)

    def _as_integers(self, x: ir.Value) -> ir.Value:
        return self.builder.bitcast(x, self.integers)

    def _integer(self, value: int) -> ir.Constant:
        return ir.Constant(self.integers, value)

    def _bits(self, number: float) -> int:
        """The bits of a number, read as an integer."""
        number_code, integer_code = ("d", "q") if self.format is DOUBLE else ("f", "i")
        (bits,) = struct.unpack(integer_code, struct.pack(number_code, number))
        return int(bits)

    def _power(self, biased: ir.Value) -> ir.Value:
        """2 to the power that stands, biased, in the low bits; whatever stands above the exponent is shifted out."""
        return self.builder.bitcast(self.builder.shl(biased, self._integer(self.format.mantissa)), self.type)

    def _whole(self, x: ir.Value, factor: float, shift: int) -> tuple[ir.Value, ir.Value]:
        """The whole number n nearest to x factor: integers whose low bits are n + shift, and n.

        Next to 1.5 2^mantissa only whole numbers can be represented, so adding that rounds.
        """
        magic = self.splat(1.5 * 2**self.format.mantissa + shift)
        sum_ = self._multiply_add(x, self.splat(factor), magic)
        return self._as_integers(sum_), self.builder.fsub(sum_, magic)

    def _add_multiple(self, x: ir.Value, n: ir.Value, sign: int) -> ir.Value:
        """x + n ln 2, or x - n ln 2, where that is small."""
        for part in self.format.ln2:
            x = self._multiply_add(n, self.splat(sign * part), x)
        return x

    def _coth(self, r: ir.Value) -> ir.Value:
        """c = r coth(r / 2), with which e^r = (c + r) / (c - r)."""
        return self._polynomial(self.builder.fmul(r, r), (2.0, *self.format.coth))

    def _log1p(self, f: ir.Value) -> tuple[ir.Value, ir.Value]:
        """log(1 + f) as s and what is to be added to it."""
        b = self.builder
        s = b.fdiv(f, self._multiply_add(f, self.splat(0.5), self.splat(1.0)))  # in this form it does not underflow
        u = b.fmul(s, s)
        return s, b.fmul(b.fmul(s, u), self._polynomial(u, self.format.log))

    # The operations.

    def _where(self, condition: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
        if condition.type.element != ir.IntType(1):
            condition = self.builder.fcmp_unordered("!=", condition, self.splat(0.0))
        return self.builder.select(condition, self._number(a), self._number(b))

    def _sigmoid(self, x: ir.Value) -> ir.Value:
        """1 / (1 + e^-x), where -x = n ln 2 - r: a / (a + 2^n b) with a = c + r and b = c - r.

        2^n may be too large for a number (the result is then denormal): above and below are multiplied by 2^-lift.
        """
        b, lift = self.builder, self.format.lift
        x = self._at_most(self.format.one, self._at_least(self.format.least, x))
        low, n = self._whole(x, -LOG2E, self.format.bias - lift)
        r = self._add_multiple(x, n, 1)
        c = self._coth(r)
        a = b.fmul(b.fadd(c, r), self.splat(2.0**-lift))
        return b.fdiv(a, self._multiply_add(self._power(low), b.fsub(c, r), a))

    def _tanh(self, x: ir.Value) -> ir.Value:
        """(1 - e^-2|x|) / (1 + e^-2|x|), where -2|x| = n ln 2 - 2r: ((1 - s) + t (1 + s)) / ((1 + s) + t (1 - s)).

        s = 2^n and t = tanh(r). Near 0 s is 1, and only t is left above. An error of n ln 2 is multiplied by s, so
        that one part of ln 2 is enough.
        """
        b, one = self.builder, self.splat(1.0)
        size = self._at_most(self.format.one, self._intrinsic("fabs", x))
        low, n = self._whole(size, -2 * LOG2E, self.format.bias)
        r = self._multiply_add(n, self.splat(LN2 / 2), size)
        u = b.fmul(r, r)
        t = self._multiply_add(b.fmul(r, u), self._polynomial(u, self.format.tanh), r)
        s = self._power(low)
        plus, minus = b.fadd(one, s), b.fsub(one, s)
        above, below = self._multiply_add(t, plus, minus), self._multiply_add(t, minus, plus)
        return self._intrinsic("copysign", b.fdiv(above, below), x)

    def _exp(self, x: ir.Value) -> ir.Value:
        """2^n (1 + 2r / (c - r)), where x = n ln 2 + r.

        2^n comes in two factors, because it may be denormal or too large where the result is not.
        """
        b = self.builder
        x = self._at_most(self.format.greatest, self._at_least(self.format.least, x))
        low, n = self._whole(x, LOG2E, 2 * self.format.bias)
        r = self._add_multiple(x, n, -1)
        value = b.fadd(self.splat(1.0), b.fdiv(b.fadd(r, r), b.fsub(self._coth(r), r)))
        half = b.lshr(low, self._integer(1))
        return b.fmul(b.fmul(value, self._power(half)), self._power(b.sub(low, half)))

    def _log(self, x: ir.Value) -> ir.Value:
        """k ln 2 + log(m), where x = 2^k m and m lies between sqrt(1/2) and sqrt(2)."""
        b, form = self.builder, self.format
        denormal = b.fcmp_ordered("<", x, self.splat(2.0 ** (1 - form.bias)))
        normal = b.select(denormal, b.fmul(x, self.splat(2.0**form.mantissa)), x)
        root = self._bits(math.sqrt(0.5))
        bits = b.add(self._as_integers(normal), self._integer(self._bits(1.0) - root))
        fraction = b.and_(bits, self._integer((1 << form.mantissa) - 1))
        f = b.fsub(b.bitcast(b.add(fraction, self._integer(root)), self.type), self.splat(1.0))
        # The biased k becomes a number as the last bits of 2^mantissa + k.
        biased = b.or_(b.lshr(bits, self._integer(form.mantissa)), self._integer(self._bits(2.0**form.mantissa)))
        origin = 2.0**form.mantissa + form.bias
        k = b.fsub(
            b.bitcast(biased, self.type),
            b.select(denormal, self.splat(origin + form.mantissa), self.splat(origin)),
        )
        s, rest = self._log1p(f)
        high, low = map(self.splat, form.ln2)
        value = self._multiply_add(k, high, b.fadd(s, self._multiply_add(k, low, rest)))
        value = b.select(b.fcmp_ordered("==", x, self.splat(math.inf)), x, value)
        value = b.select(b.fcmp_ordered(">", x, self.splat(0.0)), value, self.splat(math.nan))
        return b.select(b.fcmp_ordered("==", x, self.splat(0.0)), self.splat(-math.inf), value)

    def _softplus(self, x: ir.Value) -> ir.Value:
        """max(x, 0) + log(1 + e^-|x|)"""
        s, rest = self._log1p(self._exp(self.builder.fneg(self._intrinsic("fabs", x))))
        return self.builder.fadd(self._relu(x), self.builder.fadd(s, rest))

    def _relu(self, x: ir.Value) -> ir.Value:
        return self._at_least(0.0, x)

    def _minimum(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self._chosen("<", a, b)

    def _maximum(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self._chosen(">", a, b)

    def _chosen(self, order: str, a: ir.Value, b: ir.Value) -> ir.Value:
        """The one of two that comes first in an order, or NaN if one is NaN."""
        if isinstance(b, ir.Constant):
            a, b = b, a  # of a constant the compiler knows whether it is NaN
        chosen = self.builder.select(self.builder.fcmp_ordered(order, a, b), a, b)
        return self.builder.select(self.builder.fcmp_unordered("uno", a, a), a, chosen)

    def _clip(self, x: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
        return self._minimum(self._maximum(x, low), high)

    def _hard_sigmoid(self, x: ir.Value) -> ir.Value:
        """As PyTorch's, but a product where that divides by 6, which takes longer; 6 becomes 1 all the same."""
        b = self.builder
        return b.fmul(self._at_most(6.0, self._at_least(0.0, b.fadd(x, self.splat(3.0)))), self.splat(1 / 6))


EMIT: dict[str, Callable[..., ir.Value]] = {
    "add": lambda e, a, b: e.builder.fadd(a, b),
    "sub": lambda e, a, b: e.builder.fsub(a, b),
    "mul": lambda e, a, b: e.builder.fmul(a, b),
    "div": lambda e, a, b: e.builder.fdiv(a, b),
    "neg": lambda e, a: e.builder.fneg(a),
    "lt": lambda e, a, b: e.builder.fcmp_ordered("<", a, b),
    "le": lambda e, a, b: e.builder.fcmp_ordered("<=", a, b),
    "gt": lambda e, a, b: e.builder.fcmp_ordered(">", a, b),
    "ge": lambda e, a, b: e.builder.fcmp_ordered(">=", a, b),
    "eq": lambda e, a, b: e.builder.fcmp_ordered("==", a, b),
    "ne": lambda e, a, b: e.builder.fcmp_unordered("!=", a, b),
    "where": Emitter._where,
    "sigmoid": Emitter._sigmoid,
    "tanh": Emitter._tanh,
    "relu": Emitter._relu,
    "exp": Emitter._exp,
    "log": Emitter._log,
    "sqrt": lambda e, a: e._intrinsic("sqrt", a),
    "abs": lambda e, a: e._intrinsic("fabs", a),
    "minimum": Emitter._minimum,
    "maximum": Emitter._maximum,
    "clip": Emitter._clip,
    "hard_sigmoid": Emitter._hard_sigmoid,
    "softplus": Emitter._softplus,
}
assert set(EMIT) == set(OPERATIONS)
