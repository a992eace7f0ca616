"""What kernels call, as Triton source: the language's elementwise operations on blocks of numbers, and the meeting.

Triton's own exponential is accurate enough where its result is used as it is. tanh and softplus subtract nearly equal
numbers near zero; there they are polynomials, with the coefficients that the CPU engine uses.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.language.operations import OPERATIONS

from ..llvm.functions import DOUBLE, LN2, SINGLE

EXPRESSIONS = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "lt": "{0} < {1}",
    "le": "{0} <= {1}",
    "gt": "{0} > {1}",
    "ge": "{0} >= {1}",
    "eq": "{0} == {1}",
    "ne": "{0} != {1}",
    "where": "tl.where({0}, {1}, {2})",
    "sigmoid": "1.0 / (1.0 + tl.exp(-{0}))",
    "tanh": "tanh({0})",
    "relu": "tl.where({0} < 0.0, 0.0, {0})",
    "exp": "tl.exp({0})",
    "log": "tl.log({0})",
    "sqrt": "tl.sqrt({0})",
    "abs": "tl.abs({0})",
    "minimum": "minimum({0}, {1})",
    "maximum": "maximum({0}, {1})",
    "clip": "minimum(maximum({0}, {1}), {2})",
    "hard_sigmoid": "tl.where({0} < -3.0, 0.0, tl.where({0} > 3.0, 6.0, {0} + 3.0)) / 6.0",
    "softplus": "softplus({0})",
}
assert set(EXPRESSIONS) == set(OPERATIONS)

_HELPERS = """
@triton.jit
def meet(counter, expected, TOGETHER: tl.constexpr):  # what each member has stored before, all may read after
    tl.debug_barrier()
    if TOGETHER:
        tl.atomic_add(counter, 1, sem="release")
        while tl.atomic_add(counter, 0, sem="acquire") < expected:
            pass
        tl.debug_barrier()


@triton.jit
def minimum(a, b):  # NaN if one is NaN
    return tl.where(a != a, a, tl.where(b != b, b, tl.where(a < b, a, b)))


@triton.jit
def maximum(a, b):
    return tl.where(a != a, a, tl.where(b != b, b, tl.where(a > b, a, b)))


@triton.jit
def tanh(x):
    size = tl.abs(x)
    e = tl.exp(-2.0 * size)
    large = (1.0 - e) / (1.0 + e)
    u = x * x
    small = x + x * u * ({tanh})
    return tl.where(size < {small}, small, tl.where(x < 0.0, -large, large))


@triton.jit
def softplus(x):  # max(x, 0) + log(1 + e), where log(1 + e) = s + s^3 l(s^2) with s = e / (1 + e / 2)
    e = tl.exp(-tl.abs(x))
    s = e / (1.0 + 0.5 * e)
    u = s * s
    return tl.where(x < 0.0, 0.0, x) + (s + s * u * ({log}))
"""


def _polynomial(coefficients: Sequence[float]) -> str:
    """A polynomial of u, as source."""
    *others, found = map(repr, coefficients)
    for c in reversed(others):
        found = f"({found}) * u + {c}"
    return found


def helpers(double: bool) -> str:
    """The functions that the expressions call, as source, accurate for float64 or float32."""
    numbers = DOUBLE if double else SINGLE
    return _HELPERS.format(tanh=_polynomial(numbers.tanh), log=_polynomial(numbers.log), small=repr(LN2 / 4))
