"""Numbers that are none, infinite, huge or tiny, in every lane; and sequences of very many steps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from holdfast.engines.llvm import machine, run
from tests.engines.llvm.calls import VECTORS, Call, make, outcome
from tests.support import TOLERANCE, assert_all_close

HIDDEN = 33  # two full vectors of the widest path and one lane of a third
KINDS = ("LSTM", "GRU", "RNN", "SLSTM")
VALUES = {
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "1e4": 1e4,
    "-1e4": -1e4,
    "tiny": 1e-41,
    "-tiny": -1e-41,
}
STATES = {"LSTM": 2, "GRU": 1, "RNN": 1, "SLSTM": 4}

each_path = pytest.mark.parametrize("vectors", VECTORS)
each_kind = pytest.mark.parametrize("kind", KINDS)
QUICK = ("nan", "-inf", "1e4", "tiny")
each_value = pytest.mark.parametrize(
    "value",
    [pytest.param(v, id=name, marks=[] if name in QUICK else [pytest.mark.full]) for name, v in VALUES.items()],
)


@pytest.fixture
def path(vectors: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(machine.VARIABLE, vectors)


def _assert_alike(
    got: dict[str, Tensor], expected: dict[str, Tensor], only: Callable[[str], bool], factor: float = 1.0
) -> None:
    """NaN and infinities at the same places, all else within the tolerance of what is finite, so many times."""
    for name in filter(only, expected):
        one, other = got[name], expected[name]
        for what in (torch.isnan, torch.isposinf, torch.isneginf):
            different = (what(one) != what(other)).nonzero().tolist()
            assert not different, f"{name}: {what.__name__} differs at {different[:5]} of {len(different)}"
        finite = other.isfinite()
        difference = (one - other)[finite].abs().max().item() if finite.any() else 0.0
        scale = other[finite].abs().max().item() if finite.any() else 1.0
        limit = factor * TOLERANCE[one.dtype] * max(scale, 1e-9)
        assert difference <= limit, f"{name}: {difference:.2e} of {scale:.2e}"


def _alike(call: Call, gradients: bool = True, factor: float = 1.0) -> None:
    got, expected = outcome(call, "llvm"), outcome(call, "reference")
    _assert_alike(got, expected, lambda name: gradients or not name.startswith("gradient"), factor)


def _reaches_gradients(value: float) -> bool:
    """Behind an infinity a gradient is infinity times nearly nothing, for which one rounding is as good as another."""
    return not math.isinf(value)


@pytest.mark.sweep
@pytest.mark.usefixtures("path")
@each_path
@each_kind
@each_value
def test_a_value_in_any_unit_of_a_first_state_does_what_it_does_in_the_reference(
    kind: str, value: float, vectors: str
) -> None:
    for k in range(STATES[kind]):
        call = make(kind, steps=3, batch=HIDDEN, hidden=HIDDEN)
        call.hx[k][0].diagonal().fill_(value)  # in each sequence another unit
        _alike(call, _reaches_gradients(value))


@pytest.mark.sweep
@pytest.mark.usefixtures("path")
@each_path
@each_kind
@each_value
def test_a_value_in_any_feature_of_an_input_does_what_it_does_in_the_reference(
    kind: str, value: float, vectors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for projection in (0, 1 << 60):  # within the step, and ahead of it
        monkeypatch.setattr(run, "WITHIN_FEATURES", 0)
        for name in ("WITHIN_BATCH", "WITHIN_BATCH_SMALL"):
            monkeypatch.setattr(run, name, projection)
        call = make(kind, steps=3, batch=17, features=17, hidden=HIDDEN)
        call.x[1].diagonal().fill_(value)
        _alike(call, _reaches_gradients(value))


UNITS = (0, 3, 4, 7, 8, 15, 16, 31, 32)


def _rows(call: Call) -> dict[str, Tensor]:
    return {n: w.detach() for n, w in call.layer.named_parameters() if n.startswith(("weight_", "bias_"))}


def _check_weight_rows(kind: str, value: float, units: tuple[int, ...]) -> None:
    for unit in units:
        names = list(_rows(make(kind, hidden=HIDDEN)))
        for name in names:
            call = make(kind, steps=3, batch=3, hidden=HIDDEN)
            weight = _rows(call)[name]
            gate = unit % (len(weight) // HIDDEN)
            weight[gate * HIDDEN + unit] = value
            # Such a weight multiplies a rounding on its way back through it as much as it does a gradient.
            _alike(call, _reaches_gradients(value), factor=5.0 if abs(value) == 1e4 else 1.0)


@pytest.mark.sweep
@pytest.mark.usefixtures("path")
@each_path
@each_kind
@each_value
def test_a_value_in_a_row_of_a_weight_does_what_it_does_in_the_reference(kind: str, value: float, vectors: str) -> None:
    _check_weight_rows(kind, value, (0, 15, 32) if math.isnan(value) else (7,))


@pytest.mark.full
@pytest.mark.usefixtures("path")
@each_path
@each_kind
@each_value
def test_a_value_in_any_row_of_a_weight_does_what_it_does_in_the_reference(
    kind: str, value: float, vectors: str
) -> None:
    _check_weight_rows(kind, value, tuple(range(HIDDEN)))


@pytest.mark.sweep
@pytest.mark.usefixtures("path")
@each_path
@each_kind
@pytest.mark.parametrize("value", [math.nan, math.inf], ids=str)
def test_what_is_in_one_sequence_never_reaches_another(kind: str, value: float, vectors: str) -> None:
    batch = 9
    clean = make(kind, steps=4, batch=batch, hidden=HIDDEN)
    expected = outcome(clean, "llvm")
    for b in range(batch):
        call = make(kind, steps=4, batch=batch, hidden=HIDDEN)
        call.x[1, b] = value
        call.hx[0][:, b] = value
        got = outcome(call, "llvm")
        others = [k for k in range(batch) if k != b]
        for name in ("output", "gradient of x", *(f"final {k}" for k in range(STATES[kind]))):
            assert torch.equal(got[name][:, others], expected[name][:, others]), f"{name}, sequence {b}"
        if math.isnan(value):
            assert got["output"][:, b].isnan().all()


@pytest.mark.sweep
@pytest.mark.usefixtures("path")
@each_path
@each_kind
def test_padding_is_never_read(kind: str, vectors: str) -> None:
    call = make(kind, steps=6, batch=7, hidden=HIDDEN, ragged=True, resets=True)
    lengths, reset = call.lengths, call.reset
    assert lengths is not None
    assert reset is not None
    padding = torch.arange(6).unsqueeze(1) >= lengths
    assert padding.any()
    assert call.x[padding].isnan().all()
    expected = outcome(call, "llvm")
    assert all(t.isfinite().all() for t in expected.values())
    for filling in (math.inf, 0.0, 3.0):
        x = call.x.masked_fill(padding.unsqueeze(-1), filling)
        other = dataclasses.replace(call, x=x, reset=reset | padding)
        got = outcome(other, "llvm")
        assert all(torch.equal(got[name], t) for name, t in expected.items())


@pytest.mark.usefixtures("path")
@each_path
def test_a_gradient_that_arrives_in_the_padding_is_never_read(vectors: str) -> None:
    call = make("LSTM", steps=6, batch=7, hidden=HIDDEN, ragged=True)
    assert call.lengths is not None
    call.layer.engine = "llvm"
    padding = torch.arange(6).unsqueeze(1) >= call.lengths
    found = []
    for filling in (0.0, math.nan):
        x = call.x.clone().requires_grad_()
        y, _ = call.layer(x, tuple(call.hx), lengths=call.lengths)
        arriving = torch.ones_like(y).masked_fill(padding.unsqueeze(-1), filling)
        found.append(torch.autograd.grad(y, [x, *call.layer.parameters()], arriving))
    for with_zero, with_nan in zip(*found):
        assert torch.equal(with_zero, with_nan)
        assert with_nan.isfinite().all()


# Long sequences.

LONG = 100_000
each_layer = pytest.mark.parametrize(
    ("kind", "options"),
    [("LSTM", {}), ("GRU", {}), ("LSTM", {"layer_norm": True})],
    ids=["LSTM", "GRU", "LSTM with layer norm"],
)


def _long(kind: str, steps: int, batch: int, **options: Any) -> Call:
    return make(kind, steps=steps, batch=batch, hidden=8, scale=0.3, **options)


@pytest.mark.sweep
@each_layer
@pytest.mark.parametrize("batch", [1, 3])
def test_a_hundred_thousand_steps_are_as_exact_as_a_few(kind: str, options: dict[str, Any], batch: int) -> None:
    call = _long(kind, LONG, batch, **options)
    got = outcome(call, "llvm")
    assert all(t.isfinite().all() for t in got.values())
    assert_all_close(got, outcome(call.double(), "llvm"), torch.float32)


@pytest.mark.sweep
@each_layer
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("steps", [2000, pytest.param(LONG, marks=pytest.mark.full)])
def test_a_long_sequence_agrees_with_the_reference_in_double_precision(
    kind: str, options: dict[str, Any], batch: int, steps: int
) -> None:
    call = _long(kind, steps, batch, **options)
    expected = outcome(call.double(), "reference")
    assert_all_close(outcome(call, "llvm"), expected, torch.float32)
    assert_all_close(outcome(call.double(), "llvm"), expected, torch.float64)
