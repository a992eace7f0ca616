"""The elementwise operations as vector instructions: accuracy in units in the last place, limits, and NaN."""

from __future__ import annotations

import ctypes
import functools
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import llvmlite.binding as llvm
import llvmlite.ir as ir
import numpy as np
import pytest
import torch

from holdfast.engines.llvm import machine
from holdfast.engines.llvm.functions import Emitter
from holdfast.engines.reference.operations import TORCH
from holdfast.language.operations import COMPARISONS, OPERATIONS
from tests.engines.llvm.calls import VECTORS

Array = np.ndarray[Any, Any]
Emit = Callable[..., ir.Value]

I64, PTR, VOID = ir.IntType(64), ir.PointerType(), ir.VoidType()

every_target = pytest.mark.parametrize("vectors", VECTORS)
every_dtype = pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])


# Compiled loops.


def module(emit: Emit, arity: int, vectors: str, double: bool, lanes: int) -> llvm.ModuleRef:
    """for (i = 0; i < n; i += lanes) out[i..] = emit(in0[i..], in1[i..], …)"""
    target, scalar = machine.host(vectors), ir.DoubleType() if double else ir.FloatType()
    m = ir.Module("loop")
    m.triple = target.triple
    function = ir.Function(m, ir.FunctionType(VOID, [*[PTR] * (arity + 1), I64]), "loop")
    function.attributes.add("nounwind")
    before, body, after = (function.append_basic_block(name) for name in ("before", "body", "after"))
    b = ir.IRBuilder(before)
    b.branch(body)
    b.position_at_end(body)
    i = b.phi(I64)
    i.add_incoming(I64(0), before)
    e = Emitter(b, scalar, lanes)
    *places, out = (b.gep(p, [i], source_etype=scalar) for p in function.args[:-1])
    b.store(emit(e, *(b.load(p, typ=e.type, align=8 if double else 4) for p in places)), out, align=8 if double else 4)
    following = b.add(i, I64(lanes))
    i.add_incoming(following, body)
    b.cbranch(b.icmp_signed("<", following, function.args[-1]), body, after)
    b.position_at_end(after)
    b.ret_void()
    return machine.optimised(str(m).replace("nounwind", f"nounwind {target.attributes}".rstrip()), target.machine())


class Loop:
    """An emitted function, applied to arrays."""

    def __init__(self, emit: Emit, arity: int, vectors: str, double: bool, lanes: int = 0) -> None:
        self.lanes = lanes or machine.host(vectors).lanes(8 if double else 4)
        self.dtype = np.dtype(np.float64 if double else np.float32)
        compiled = module(emit, arity, vectors, double, self.lanes)
        self.engine = llvm.create_mcjit_compiler(compiled, machine.host(vectors).machine())
        self.engine.finalize_object()
        prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (arity + 1), ctypes.c_int64)
        self.function = prototype(self.engine.get_function_address("loop"))

    def __call__(self, *arrays: Array) -> Array:
        length = len(arrays[0])
        padded = [np.pad(a.astype(self.dtype), (0, -length % self.lanes)) for a in arrays]
        out = np.empty_like(padded[0])
        self.function(*(a.ctypes.data for a in (*padded, out)), len(out))
        return out[:length]


def arity(op: str) -> int:
    """How many arguments an operation has, as its written form shows."""
    return next(n for n in (1, 2, 3) if f"{{{n}}}" not in OPERATIONS[op].plain)


def emit(op: str) -> Emit:
    """An operation; what a comparison says is stored as a number, and the first argument of `where` counts as bits."""

    def emitted(e: Emitter, *args: ir.Value) -> ir.Value:
        value = e.call(op, *args)
        return e.call("where", value, e.splat(1.0), e.splat(0.0)) if op in COMPARISONS else value

    return emitted


@functools.cache
def loop(op: str, vectors: str, double: bool, lanes: int = 0) -> Loop:
    return Loop(emit(op), arity(op), vectors, double, lanes)


# Accuracy.

ORACLES: dict[str, tuple[float, Callable[[Array], Array]]] = {
    "sigmoid": (3, lambda x: 1 / (1 + np.exp(-x))),
    "tanh": (3, np.tanh),
    "exp": (2, np.exp),
    "log": (2.5, np.log),
    "softplus": (3, lambda x: np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))),
    "hard_sigmoid": (2, lambda x: np.clip(x + 3, 0, 6) / 6),
    "sqrt": (0.5, np.sqrt),
}
every_function = pytest.mark.parametrize("op", ORACLES)


def exact(op: str, x: Array) -> Array:
    """An operation with more digits: float64 for float32, and what x87 registers hold for float64."""
    wide = np.dtype(np.float64) if x.dtype == np.float32 else np.dtype(np.longdouble)
    if np.finfo(wide).nmant < np.finfo(x.dtype).nmant + 8:
        pytest.skip("this platform has no numbers with more digits than float64")
    with np.errstate(all="ignore"):
        return ORACLES[op][1](x.astype(wide))


def error(found: Array, wanted: Array) -> Array:
    """The distance in units in the last place of a result of that size, denormal ones included."""
    kind = np.finfo(found.dtype)
    with np.errstate(all="ignore"):
        exponent = np.maximum(np.frexp(wanted)[1] - 1, kind.minexp)
        distance = abs(found - wanted) / np.ldexp(wanted.dtype.type(1), exponent - kind.nmant)
        rounded = wanted.astype(found.dtype)
    distance[np.isinf(found) & (found == rounded)] = 0
    distance[np.isnan(found) & np.isnan(wanted)] = 0
    distance[np.isnan(distance)] = np.inf
    return distance


def assert_accurate(op: str, vectors: str, x: Array, wanted: Array) -> None:
    found = loop(op, vectors, x.dtype == np.float64)(x)
    errors = error(found, wanted)
    worst = errors.argmax()
    assert errors[worst] <= ORACLES[op][0], f"{op}({x[worst]!r}) = {found[worst]!r}, {errors[worst]} units off"


@functools.cache
def sample(double: bool, less: int = 10) -> Array:
    """Numbers of every size, most of them where functions are not trivial, with NaN and infinities among them.

    `less` is how many times fewer there are than are tried where there is time."""
    draw = np.random.default_rng(0)
    uniform = [draw.uniform(-a, a, 50_000 // less) for a in (0.01, 0.5, 1, 3, 10, 20, 110, 800)]
    if double:
        return np.concatenate([draw.integers(0, 2**64, 200_000 // less, np.uint64).view(np.float64), *uniform])
    patterns = np.arange(0, 2**32, 1999 * less).astype(np.uint32).view(np.float32)
    return np.concatenate([patterns, *(u.astype(np.float32) for u in uniform)])


@functools.cache
def exact_sample(op: str, double: bool, less: int = 10) -> Array:
    return exact(op, sample(double, less))


@every_target
@every_dtype
@every_function
def test_functions_are_accurate_everywhere(op: str, double: bool, vectors: str) -> None:
    assert_accurate(op, vectors, sample(double), exact_sample(op, double))


@pytest.mark.full
@every_target
@every_dtype
@every_function
def test_functions_are_accurate_at_many_numbers(op: str, double: bool, vectors: str) -> None:
    assert_accurate(op, vectors, sample(double, 1), exact_sample(op, double, 1))


def dense(low: int, high: int, step: int) -> Iterator[Array]:
    """The numbers with every so many-th pattern of bits, in pieces."""
    for start in range(low, high, step << 21):
        yield np.arange(start, min(high, start + (step << 21)), step).astype(np.uint32).view(np.float32)


@pytest.mark.full
@every_target
@every_function
def test_functions_are_accurate_at_nearly_every_number(op: str, vectors: str) -> None:
    small, large = (int(np.float32(x).view(np.uint32)) for x in (2.0**-12, 128.0))
    for sign in (0, 1 << 31):
        for x in itertools.chain(dense(sign, sign | 0x7FFFFFFF, 97), dense(sign | small, sign | large, 7)):
            assert_accurate(op, vectors, x, exact(op, x))


def specials(dtype: np.dtype[Any]) -> Array:
    kind = np.finfo(dtype)
    positive = [0.0, kind.smallest_subnormal, kind.tiny / 2, kind.tiny, 0.5, 1, 3, 20, 88, 104, 1e4, kind.max, np.inf]
    return np.array([np.nan, *positive, *(-x for x in positive)], dtype)


@every_target
@every_dtype
@every_function
def test_a_special_number_in_one_lane_is_right_and_leaves_the_others_alone(op: str, double: bool, vectors: str) -> None:
    function = loop(op, vectors, double)
    values = specials(function.dtype)
    lanes = function.lanes
    x = np.full((len(values), lanes, lanes), 0.25, function.dtype)
    x[:, range(lanes), range(lanes)] = values[:, None]
    found = function(x.ravel()).reshape(x.shape)
    assert error(found.ravel(), exact(op, x.ravel())).max() <= ORACLES[op][0]
    others = ~np.broadcast_to(np.eye(lanes, dtype=bool), x.shape)
    assert np.unique(found[others]).size == 1


# What error bounds do not say.


@every_target
@every_dtype
def test_gates_do_not_leave_their_range(double: bool, vectors: str) -> None:
    x = sample(double)
    x = x[~np.isnan(x)]
    sigmoid, tanh = (loop(op, vectors, double)(x) for op in ("sigmoid", "tanh"))
    assert sigmoid.min() == 0
    assert sigmoid.max() == 1
    assert tanh.min() == -1
    assert tanh.max() == 1
    assert np.all(sigmoid[x >= 38] == 1)
    assert np.all(tanh[x >= 20] == 1)
    hard = loop("hard_sigmoid", vectors, double)(x)
    assert np.all(hard[x <= -3] == 0)
    assert np.all(hard[x >= 3] == 1)


@every_target
@every_dtype
def test_tanh_is_odd_and_keeps_the_sign_of_zero(double: bool, vectors: str) -> None:
    x = sample(double)
    x = np.concatenate([x[~np.isnan(x)], specials(x.dtype)[1:2]])
    there, back = loop("tanh", vectors, double)(x), loop("tanh", vectors, double)(-x)
    assert np.array_equal(there, -back)
    assert np.array_equal(np.signbit(there), np.signbit(x))
    assert np.array_equal(np.signbit(back), np.signbit(-x))


# The simple operations.

SIMPLE = sorted(set(OPERATIONS) - set(ORACLES))


def tuples(count: int, dtype: np.dtype[Any]) -> list[Array]:
    """Every combination of special numbers, and some others."""
    values = specials(dtype)[:: 1 if count < 3 else 2]
    draw = np.random.default_rng(0).normal(size=(1000, count)).astype(dtype)
    return list(np.concatenate([np.array(list(itertools.product(values, repeat=count))), draw]).T.copy())


def as_pytorch(op: str, arrays: list[Array]) -> Array:
    tensors = [torch.from_numpy(a) for a in arrays]
    if op == "where":
        tensors[0] = tensors[0] != 0
    return TORCH[op](*tensors).to(torch.from_numpy(arrays[0]).dtype).numpy()


@every_target
@every_dtype
@pytest.mark.parametrize("op", SIMPLE)
def test_simple_operations_give_what_pytorch_gives(op: str, double: bool, vectors: str) -> None:
    function = loop(op, vectors, double)
    arrays = tuples(arity(op), function.dtype)
    np.testing.assert_array_equal(function(*arrays), as_pytorch(op, arrays))


@every_target
@every_dtype
@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, np.inf), (2.0, 1.0)])
def test_clip_between_constants_gives_what_pytorch_gives(bounds: Any, double: bool, vectors: str) -> None:
    function = Loop(lambda e, x: e.call("clip", x, *map(e.splat, bounds)), 1, vectors, double)
    (x,) = tuples(1, function.dtype)
    np.testing.assert_array_equal(function(x), torch.clamp(torch.from_numpy(x), *bounds).numpy())


@every_target
@every_dtype
@pytest.mark.parametrize("op", ["minimum", "maximum"])
@pytest.mark.parametrize("constant", [0.0, -1.5, np.nan])
def test_extremes_of_a_constant_give_what_pytorch_gives(constant: float, op: str, double: bool, vectors: str) -> None:
    right = Loop(lambda e, x: e.call(op, x, e.splat(constant)), 1, vectors, double)
    left = Loop(lambda e, x: e.call(op, e.splat(constant), x), 1, vectors, double)
    (x,) = tuples(1, right.dtype)
    wanted = TORCH[op](torch.from_numpy(x), constant).numpy()
    np.testing.assert_array_equal(right(x), wanted)
    np.testing.assert_array_equal(left(x), wanted)


@every_target
@every_dtype
def test_a_comparison_counts_as_a_number_and_a_number_as_a_condition(double: bool, vectors: str) -> None:
    def mixed(e: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        less, more = e.call("lt", a, b), e.call("gt", a, b)
        differ = e.call("add", less, more)
        return e.call(
            "where", differ, e.call("where", less, less, more), e.call("mul", e.call("eq", a, b), e.splat(3.0))
        )

    function = Loop(mixed, 2, vectors, double)
    a, b = tuples(2, function.dtype)
    np.testing.assert_array_equal(function(a, b), 3.0 * (a == b) + (a < b) + (a > b))


# The code.


@every_dtype
@pytest.mark.parametrize("op", OPERATIONS)
def test_no_operation_calls_the_mathematical_library_even_on_the_plainest_processor(op: str, double: bool) -> None:
    lanes = machine.host("portable").lanes(8 if double else 4)
    code = machine.host("portable").machine().emit_assembly(module(emit(op), arity(op), "portable", double, lanes))
    assert "loop" in code
    assert not re.findall(r"^\s+(?:call|bl|jalr?)q?\s.*", code, re.MULTILINE)


@pytest.mark.sweep
@every_target
@every_dtype
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 32])
def test_any_number_of_lanes_gives_the_same(lanes: int, double: bool, vectors: str) -> None:
    def together(e: Emitter, x: ir.Value) -> ir.Value:
        values = [e.call(op, x) for op in ORACLES]
        return functools.reduce(
            lambda a, b: e.call("add", a, b), [e.call("where", e.call("eq", v, v), v, x) for v in values]
        )

    x = np.concatenate([sample(double)[:: 1 if double else 10], specials(sample(double).dtype)])
    own, other = (Loop(together, 1, vectors, double, n) for n in (0, lanes))
    np.testing.assert_array_equal(other(x), own(x))


@pytest.mark.parametrize(
    ("number", "double", "text"), [(1e300, False, "inf"), (1e300, True, "1e+300"), (0.1, False, "0.1")]
)
def test_a_constant_is_rounded_as_pytorch_rounds_it(number: float, double: bool, text: str) -> None:
    function = Loop(lambda e, x: e.call("add", e.splat(number), x), 1, "portable", double)
    assert function(np.zeros(3)).tolist() == [float(function.dtype.type(text))] * 3
