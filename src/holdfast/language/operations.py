"""The elementwise operations of the language, one row each.

What every engine must be able to do is exactly this table, plus the recurrent product, the projection and `mean`.
The derivatives stand in `derivative.py`, because they are written in the language itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """One elementwise operation.

    Attributes:
        fold: its value on numbers; used where every argument is a constant.
        plain: how it is written in an equation as text, with `{0}`, `{1}` for the arguments.
        latex: the same in LaTeX.
        binding: how tightly the written form binds: 1 comparison, 2 sum, 3 product, 4 sign, 9 closed by itself.
    """

    fold: Callable[..., float]
    plain: str
    latex: str
    binding: int = 9


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def _call(name: str, latex: str | None = None) -> tuple[str, str]:
    return f"{name}({{0}})", f"{latex or chr(92) + name}({{0}})"


OPERATIONS: dict[str, Operation] = {
    "add": Operation(lambda a, b: a + b, "{0} + {1}", "{0} + {1}", 2),
    "sub": Operation(lambda a, b: a - b, "{0} - {1}", "{0} - {1}", 2),
    "mul": Operation(lambda a, b: a * b, "{0} ⊙ {1}", r"{0} \odot {1}", 3),
    "div": Operation(lambda a, b: a / b, "{0} / {1}", r"\frac{{{0}}}{{{1}}}", 3),
    "neg": Operation(lambda a: -a, "-{0}", "-{0}", 4),
    "lt": Operation(lambda a, b: float(a < b), "{0} < {1}", "{0} < {1}", 1),
    "le": Operation(lambda a, b: float(a <= b), "{0} ≤ {1}", r"{0} \le {1}", 1),
    "gt": Operation(lambda a, b: float(a > b), "{0} > {1}", "{0} > {1}", 1),
    "ge": Operation(lambda a, b: float(a >= b), "{0} ≥ {1}", r"{0} \ge {1}", 1),
    "eq": Operation(lambda a, b: float(a == b), "{0} = {1}", "{0} = {1}", 1),
    "ne": Operation(lambda a, b: float(a != b), "{0} ≠ {1}", r"{0} \ne {1}", 1),
    "where": Operation(
        lambda c, a, b: a if c else b,
        "({1} if {0} else {2})",
        r"\begin{{cases}} {1} & {0} \\ {2} & \text{{otherwise}} \end{{cases}}",
    ),
    "sigmoid": Operation(_sigmoid, "σ({0})", r"\sigma({0})"),
    "tanh": Operation(math.tanh, *_call("tanh")),
    "relu": Operation(lambda x: max(x, 0.0), *_call("relu", r"\operatorname{{relu}}")),
    "exp": Operation(math.exp, *_call("exp")),
    "log": Operation(math.log, *_call("log")),
    "sqrt": Operation(math.sqrt, "sqrt({0})", r"\sqrt{{{0}}}"),
    "abs": Operation(abs, "|{0}|", "|{0}|"),
    "minimum": Operation(min, "min({0}, {1})", r"\min({0}, {1})"),
    "maximum": Operation(max, "max({0}, {1})", r"\max({0}, {1})"),
    "clip": Operation(_clip, "clip({0}, {1}, {2})", r"\operatorname{{clip}}({0}, {1}, {2})"),
    "hard_sigmoid": Operation(
        lambda x: _clip(x / 6 + 0.5, 0.0, 1.0), "hard_sigmoid({0})", r"\operatorname{{hard}}\sigma({0})"
    ),
    "softplus": Operation(_softplus, *_call("softplus", r"\operatorname{{softplus}}")),
}

COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
COMMUTATIVE = frozenset({"add", "mul", "minimum", "maximum", "eq", "ne"})
