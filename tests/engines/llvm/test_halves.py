"""bfloat16 on the compiled engine: every size on every path, ways to share the work, and the numbers themselves."""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import holdfast
from holdfast.engines.llvm import kernels, machine, precision, run, threads
from holdfast.engines.llvm.code import I64, PTR, Code, Numbers
from holdfast.engines.steps import around
from tests.engines.llvm.calls import HALF_PATHS, TILES, Call, exact, make, outcome, take
from tests.support import assert_all_close

HALF = torch.bfloat16
PATHS = [param.values[0] for param in HALF_PATHS]
each_path = pytest.mark.parametrize("path", HALF_PATHS)

# Sizes: sequences, units, features. 70 sequences are two tiles of rows and an odd rest.
SIZES = ((3, 1, 5), (1, 7, 5), (17, 33, 33), (40, 31, 1), (70, 100, 5))
ALL_SIZES = tuple(itertools.product((2, 3, 16, 17, 31, 33, 70), (1, 7, 31, 33, 100), (1, 5, 33)))

OPTIONS: dict[str, dict[str, Any]] = {
    "LSTM": {},
    "GRU": {"kind": "GRU", "bias": False},
    "original GRU": {"kind": "GRU", "reset_after": False},
    "RNN": {"kind": "RNN"},
    "sLSTM": {"kind": "SLSTM"},
    "layer norm": {"layer_norm": True},
    "layer norm of the original GRU": {"kind": "GRU", "layer_norm": True, "reset_after": False},
    "projection": {"proj_size": True},
    "heads": {"heads": True},
    "heads and projection": {"heads": True, "proj_size": True},
    "peephole": {"peephole": True, "coupled": True},
    "zoneout": {"zoneout": (0.2, 0.3), "recompute": True},
    "recurrent dropout": {"recurrent_dropout": 0.3},
    "two directions": {"bidirectional": True, "num_layers": 2},
    "recompute": {"recompute": True, "bidirectional": True},
    "everything": {"layer_norm": True, "heads": True, "proj_size": True, "peephole": True, "recompute": True},
}


def _call(option: str, size: tuple[int, int, int], ragged: bool, steps: int = 5) -> Call:
    batch, hidden, features = size
    options = dict(OPTIONS[option])
    if options.get("layer_norm"):  # of few units, or of one feature's products, it leaves little but rounding
        hidden, features = max(hidden, 15), max(features, 5)
    heads = 1
    if options.get("heads"):
        heads = next((n for n in range(2, hidden) if hidden % n == 0), 1)
    options["heads"] = heads
    if options.get("proj_size"):
        options["proj_size"] = heads * max(1, hidden // heads // 2) if hidden > 1 else 0
    sizes = {"steps": steps, "batch": batch, "features": features, "hidden": hidden}
    return make(**sizes, dtype=HALF, ragged=ragged, resets=ragged, **options)


@functools.cache
def _known(option: str, size: tuple[int, int, int], ragged: bool) -> tuple[Call, dict[str, Tensor]]:
    """A call, and what it is to give."""
    call = _call(option, size, ragged)
    return call, exact(call)


def _check(option: str, size: tuple[int, int, int], gradients: bool = True) -> None:
    for ragged in (False, True):
        call, expected = _known(option, size, ragged)
        got = outcome(call, "llvm")
        # The sLSTM's stabiliser is the larger of two numbers: gradients jump where both are near.
        if option == "sLSTM" or not gradients:
            got, expected = ({n: t for n, t in all_of.items() if "gradient" not in n} for all_of in (got, expected))
        assert_all_close(got, expected, HALF)


@pytest.fixture(autouse=True)
def _short_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is run again for the way back."""
    monkeypatch.setattr(around, "STEPS_AGAIN", 2)
    monkeypatch.setattr(around, "ROWS_AGAIN", 1)


QUICK = ("LSTM", "original GRU", "zoneout", "everything")


def _options_on_paths() -> list[Any]:
    """Some options on one of the paths each; on all others, and the others on all, where there is time."""
    found = []
    for option in OPTIONS:
        for number, param in enumerate(HALF_PATHS):
            now = option in QUICK and number == QUICK.index(option) % len(PATHS)
            marks = [*param.marks, *([] if now else [pytest.mark.full])]
            found.append(pytest.param(option, param.values[0], marks=marks, id=f"{option}-{param.values[0]}"))
    return found


@pytest.mark.parametrize(("option", "path"), _options_on_paths())
def test_every_option_agrees_with_double_precision(option: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take(path, monkeypatch)
    for size in SIZES:
        _check(option, size)


@pytest.mark.full
@pytest.mark.parametrize("option", [name for name, given in OPTIONS.items() if not given.get("layer_norm")])
@each_path
def test_every_size_agrees_with_double_precision(option: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take(path, monkeypatch)
    for size in ALL_SIZES:  # the gradients of one unit or one feature are single sums, which may cancel to any degree
        _check(option, size, gradients=1 not in size[1:])


# Threads.


@pytest.mark.sweep
@pytest.mark.parametrize("cache", [None, 1], ids=["small weights", "large weights"])
@pytest.mark.parametrize("option", ["LSTM", "original GRU", pytest.param("everything", marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "path",
    [
        p if p.values[0] in (TILES, "portable") else pytest.param(*p.values, marks=[*p.marks, pytest.mark.full])
        for p in HALF_PATHS
    ],
)
def test_threads_share_the_units_or_the_sequences(
    option: str, path: str, cache: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(path, monkeypatch)
    torch.set_num_threads(2)
    monkeypatch.setattr(threads, "SMALL", 0)
    monkeypatch.setattr(threads, "SMALL_STEP", 0)
    if cache is not None:
        monkeypatch.setattr(machine, "own_cache", lambda: cache)
    shared, original = [], run.Call.run

    def spy(call: run.Call, *given: Any) -> None:
        assert call.sizes.threads == 2
        shared.append((call.sizes.batch, bool(call.arguments[call.kernel.place["shared"]])))
        original(call, *given)

    monkeypatch.setattr(run.Call, "run", spy)
    for size in ((1, 33, 5), (3, 100, 33), (70, 33, 5), (40, 100, 33)):
        _check(option, size)
    assert set(shared) == {(batch, batch < 4 or cache is not None) for batch in (1, 3, 70, 40)}


# What a layer promises.


@pytest.mark.sweep
@each_path
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_same_call_gives_the_same_bits(kind: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take(path, monkeypatch)
    torch.set_num_threads(2)
    monkeypatch.setattr(threads, "SMALL", 0)
    call = make(kind, steps=9, batch=40, hidden=33, features=33, dtype=HALF, ragged=True)
    first, again = outcome(call, "llvm"), outcome(call, "llvm")
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.sweep
@each_path
@pytest.mark.parametrize("value", [math.nan, math.inf], ids=str)
def test_what_is_in_one_sequence_never_reaches_another(
    value: float, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(path, monkeypatch)
    for batch, others in ((5, (0, 2, 4)), (40, (3, 31, 32, 39))):
        expected = outcome(make(steps=4, batch=batch, hidden=33, dtype=HALF), "llvm")
        for b in others:
            call = make(steps=4, batch=batch, hidden=33, dtype=HALF)
            call.x[1, b] = value
            call.hx[0][:, b] = value
            got = outcome(call, "llvm")
            rest = [k for k in range(batch) if k != b]
            for name in ("output", "gradient of x", "final 0", "final 1", "gradient of hx0"):
                assert torch.equal(got[name][:, rest], expected[name][:, rest]), f"{name}, sequence {b}"
            if math.isnan(value):
                assert got["output"][:, b].isnan().all()


@each_path
def test_padding_is_never_read(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take(path, monkeypatch)
    call = make(steps=6, batch=37, hidden=33, features=33, dtype=HALF, ragged=True)
    assert call.x.isnan().any()
    expected = outcome(call, "llvm")
    assert all(t.isfinite().all() for t in expected.values())
    other = Call(call.layer, call.x.nan_to_num(math.inf), call.hx, call.lengths)
    got = outcome(other, "llvm")
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_all_paths_of_products_agree() -> None:
    """They differ in the order of their sums alone, which a float32 hardly shows."""
    found = []
    call = make(steps=3, batch=33, hidden=100, features=33, dtype=HALF)
    for param in HALF_PATHS:
        if not param.marks:
            with pytest.MonkeyPatch.context() as patch:
                take(param.values[0], patch)
                found.append(outcome(call, "llvm"))
    for other in found[1:]:
        assert_all_close(other, found[0], HALF)
        assert torch.allclose(other["output"].float(), found[0]["output"].float(), atol=2**-7)


def test_sums_and_states_are_of_more_than_bfloat16() -> None:
    steps = 600
    call = make(steps=steps, batch=1, hidden=1, features=1, dtype=HALF)
    with torch.no_grad():
        for weight in call.layer.parameters():
            weight.zero_()
        call.layer.bias_ih_l0.copy_(torch.tensor([-4.0, 20.0, 20.0, 20.0]))  # c grows by 0.018 a step, forgets nothing
    call.layer.engine = "llvm"
    _, (_, c) = call.layer(torch.zeros(steps, 1, 1, dtype=HALF))
    assert c.item() == pytest.approx(steps * 0.018, rel=2**-6)  # sums in bfloat16 would stall at 4


@each_path
def test_gradients_are_summed_over_many_steps_in_float32(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take(path, monkeypatch)
    call = make(steps=400, batch=5, hidden=33, features=33, scale=0.3, dtype=HALF)
    assert_all_close(outcome(call, "llvm"), exact(call), HALF)


def test_a_stream_of_bfloat16_is_refused() -> None:
    with pytest.raises(ValueError, match="float32 and float64, the layer is in bfloat16"):
        holdfast.LSTM(3, 5, dtype=HALF).stream()


@pytest.mark.sweep(every=2)
@pytest.mark.parametrize("recompute", [False, True])
def test_it_compiles_and_exports_as_one_graph(recompute: bool) -> None:
    torch._dynamo.reset()
    layer = holdfast.LSTM(3, 5, dtype=HALF, recompute=recompute, engine="llvm")
    x = torch.randn(7, 2, 3, dtype=HALF)
    compiled: Any = torch.compile(layer, fullgraph=True, backend="aot_eager")
    exported = torch.export.export(layer, (x,)).module()
    found = []
    for run_layer in (layer, compiled, exported):
        given = x.clone().requires_grad_()
        output, _ = run_layer(given)
        output.float().square().sum().backward()
        found.append((output, given.grad))
    for output, gradient in found[1:]:
        assert torch.equal(output, found[0][0])
        assert torch.equal(gradient, found[0][1])


# Autocast.


@pytest.mark.parametrize("recompute", [False, True])
def test_under_autocast_the_engine_runs_at_once_and_as_a_layer_in_bfloat16(
    recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.engines import llvm, operator

    def never(*_: Any) -> Any:
        raise AssertionError("the call went through PyTorch's dispatcher")

    dtypes, forward = [], run.forward

    def spy(signature: Any, inputs: Any, *rest: Any) -> Any:
        dtypes.append(inputs.x.dtype)
        assert not torch.is_autocast_enabled("cpu")
        return forward(signature, inputs, *rest)

    call = make(dtype=HALF, steps=6, hidden=33, batch=3, recompute=recompute)
    layer = call.layer
    expected = outcome(call, "llvm")
    full = holdfast.LSTM(3, 33, recompute=recompute, engine="llvm")
    full.load_state_dict(layer.state_dict())
    monkeypatch.setattr(llvm, "forward", spy)
    monkeypatch.setattr(operator, "recurrence", never)
    found = []
    for inside in (False, True):
        x = call.x.float().requires_grad_()
        state = tuple(s.float() for s in call.hx)
        with torch.autocast("cpu", dtype=HALF):
            output, _ = full(x, state)
            with torch.no_grad():
                assert torch.equal(full(x, state)[0], output)
        assert output.dtype == HALF
        assert torch.equal(output, expected["output"])
        arriving = torch.ones_like(output)
        if inside:
            with torch.autocast("cpu", dtype=HALF):
                found.append(torch.autograd.grad(output, [x, *full.parameters()], arriving))
        else:
            found.append(torch.autograd.grad(output, [x, *full.parameters()], arriving))
    assert set(dtypes) == {HALF}
    for one, other in zip(*found):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)


# The numbers themselves.


def _converted(values: Tensor, back: bool = False) -> Tensor:
    """float32 numbers as bfloat16, or back, by the instructions of a path; a whole number of vectors."""
    target = machine.host(kernels.vectors_wanted())
    numbers = Numbers(target, precision.HALF, ())
    code = Code(numbers.module, "run", [PTR, PTR, I64])
    source, to, count = code.args
    b = code.b
    with code.loop(code.number(0), count, numbers.lanes) as k:
        mask = numbers.first_lanes(code, b.sub(count, k))
        if back:
            value = numbers.load_half(code, numbers.at(code, source, k, half=True), mask)
            numbers.save(code, value, numbers.at(code, to, k), mask)
        else:
            value = numbers.load(code, numbers.at(code, source, k), mask)
            numbers.save_half(code, value, numbers.at(code, to, k, half=True), mask)
    b.ret_void()
    address = machine.compiled(numbers.finished(), target)
    result = torch.full(values.shape, 7.0, dtype=torch.float32 if back else HALF)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(address)
    function(values.data_ptr(), result.data_ptr(), len(values) - 1)  # the last one is not converted
    assert result[-1] == 7
    return result[:-1]


def _bits(values: Tensor) -> Tensor:
    return values.view(torch.int16 if values.dtype == HALF else torch.int32)


@each_path
def test_numbers_are_rounded_to_the_nearest_and_ties_to_even(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take(path, monkeypatch)
    upper = torch.arange(0x3F00, 0x4100, dtype=torch.int32).unsqueeze(1) << 16
    lower = torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], dtype=torch.int32)
    ties = (upper | lower).flatten().view(torch.float32)
    values = torch.cat([ties, -ties, torch.randn(1000) * 1e3, torch.tensor([0.0, -0.0, 3.4e38, -3.4e38, 1e-30, 0.0])])
    assert torch.equal(_bits(_converted(values)), _bits(values[:-1].to(HALF)))


@each_path
def test_nan_and_infinities_stay_what_they_are(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take(path, monkeypatch)
    nans = torch.tensor([0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0x7F80FFFF, -1, -0x7FFFFF], dtype=torch.int32)
    values = torch.cat([nans.view(torch.float32), torch.tensor([math.inf, -math.inf, 0.0])])
    found = _converted(values)
    assert found[:6].isnan().all()
    assert found[6:].tolist() == [math.inf, -math.inf]


@each_path
def test_every_bfloat16_number_widens_to_itself(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take(path, monkeypatch)
    every = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int16)
    found = _converted(torch.cat([every, every[:1]]).view(HALF), back=True)
    assert torch.equal(_bits(found), every.to(torch.int32) << 16)


# Precisions.


def test_a_precision_says_what_is_computed_with_and_what_is_kept() -> None:
    for dtype, computed in ((torch.float32, torch.float32), (torch.float64, torch.float64), (HALF, torch.float32)):
        found = precision.of(dtype)
        assert (found.dtype, found.stored) == (computed, dtype)
        assert found.size == computed.itemsize
    assert precision.of(HALF) == precision.HALF
    with pytest.raises(KeyError):
        precision.of(torch.float16)


@pytest.mark.parametrize(("width", "heads"), [(1, 1), (31, 1), (32, 1), (33, 1), (64, 2), (66, 2), (33, 3), (96, 3)])
def test_factors_in_bfloat16_have_room_for_whole_pieces(width: int, heads: int) -> None:
    pitch = precision.HALF.pitch(width, heads)
    assert pitch % precision.DEPTH == 0
    part = width // heads
    for head in range(heads):  # each reads whole pieces from its first number on
        assert head * part + -(-part // precision.DEPTH) * precision.DEPTH <= pitch
    assert precision.SINGLE.pitch(width, heads) == precision.DOUBLE.pitch(width, heads) == width
