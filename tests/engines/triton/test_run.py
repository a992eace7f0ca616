"""What Triton's kernels give beside what the layer suite checks: a cell of one's own, half precision, odd numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import holdfast
from holdfast.engines import triton
from holdfast.engines.triton import kernels, run
from holdfast.engines.triton.emit import Source, emit
from holdfast.language import (
    Cell,
    abs,
    clip,
    exp,
    hard_sigmoid,
    layer_norm,
    log,
    maximum,
    minimum,
    parameter,
    recur,
    relu,
    sigmoid,
    softplus,
    sqrt,
    tanh,
    where,
)
from tests.support import DEVICE, TOLERANCE, assert_all_close, assert_close

from .teams import work_in_teams

pytest.importorskip("triton", reason="Triton cannot be imported here")


class Everything(Cell):
    """A cell that nobody would use: all operations of the language, a second product, a mean, numbers for each unit."""

    gates = ("a", "b", "d")
    states = ("h", "c")

    def step(self, gate: Any, state: Any) -> Any:
        scale = parameter("scale", rows=("u", "v"), initial=0.5)
        b = sigmoid(gate.b)
        a = tanh(gate.a.input + recur(gate.a, b * state.h))
        c = clip(b * state.c + (1 - b) * a, -0.8, 0.8) - 0.1 * layer_norm(a)
        bounded = minimum(maximum(c, -scale.u), softplus(gate.d))
        level = sqrt(1 + abs(gate.d)) / (1 + exp(-relu(a))) + log(1 + b)
        h = where(bounded > 0.1 * a, bounded * level, hard_sigmoid(gate.d) * scale.v - bounded)
        return h, c


def randn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype).to(DEVICE)


def results(layer: Any, x: Tensor, **kwargs: Any) -> dict[str, Tensor]:
    """The output, the final state and all gradients."""
    x = x.clone().requires_grad_()
    layer.zero_grad()
    output, final = layer(x, **kwargs)
    finals = [final] if isinstance(final, Tensor) else list(final)
    given = [output, *finals]
    torch.manual_seed(1)
    torch.autograd.backward(given, [torch.randn_like(t) for t in given])
    gradients = {name: p.grad for name, p in layer.named_parameters()}
    return {"output": output, "x": x.grad, **{f"final {k}": s for k, s in enumerate(finals)}, **gradients}


def pair(make: Any) -> tuple[Any, Any]:
    """The same layer on Triton's kernels and by the reference."""
    one, other = make(engine="triton"), make(engine="reference")
    other.load_state_dict(one.state_dict())
    return one, other


def compared(make: Any, x: Tensor, **kwargs: Any) -> None:
    one, other = pair(make)
    found, expected = results(one, x, **kwargs), results(other, x, **kwargs)
    assert_all_close({n: t.detach() for n, t in found.items()}, {n: t.detach() for n, t in expected.items()}, x.dtype)


@pytest.mark.sweep
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("options", [{}, {"layer_norm": True, "grad_clip": 0.1}], ids=["plain", "with options"])
def test_a_cell_of_ones_own_with_all_operations_agrees_with_the_reference(
    dtype: torch.dtype, options: dict[str, Any]
) -> None:
    def make(engine: str) -> Any:
        return holdfast.Recurrent(Everything(), 3, 7, dtype=dtype, engine=engine, device=DEVICE, **options).eval()

    compared(make, 2 * randn(4, 3, 3, dtype=dtype), lengths=torch.tensor([4, 0, 2], device=DEVICE))


TEAMS = {"alone": 1, "two": 2, "three": 3, "holding": None}  # how many programs share the units


@pytest.mark.parametrize("batch", [1, 5])
def test_float16_is_served(batch: int) -> None:
    def make(engine: str) -> Any:
        return holdfast.LSTM(3, 9, peephole=True, dtype=torch.float16, engine=engine, device=DEVICE)

    compared(make, randn(4, batch, 3, dtype=torch.float16))


@pytest.mark.parametrize(
    "members",
    [pytest.param(n, id=name, marks=[] if n == 3 else [pytest.mark.full]) for name, n in TEAMS.items()],
)
def test_several_blocks_of_units_and_of_sequences_agree_with_the_reference(
    members: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_blocks(members, monkeypatch)
    compared(of_blocks, randn(2, 3, 3))


def in_blocks(members: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    work_in_teams(monkeypatch, members)
    monkeypatch.setattr(kernels, "ROWS", 2)
    monkeypatch.setattr(kernels, "RUN", 64)


def of_blocks(engine: str) -> Any:
    """A layer whose units and outputs are of several blocks."""
    return holdfast.LSTM(3, 37, layer_norm=True, proj_size=18, engine=engine, device=DEVICE)


@pytest.mark.skipif(DEVICE.type != "cpu", reason="on a GPU it may go well by chance")
@pytest.mark.parametrize(
    ("right", "wrong"),
    [("if TOGETHER", "if not TOGETHER"), ("< expected", "< 1"), ("+= members", "+= members - 1")],
    ids=["nobody waits", "all wait once", "they wait for all but one"],
)
def test_a_team_that_does_not_wait_for_all_its_members_is_found_out(
    right: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any) -> Source:
        source = emit(*given)
        if right not in source.text:  # no AssertionError, which would be taken for what the mistake does
            raise LookupError(right)
        return dataclasses.replace(source, text=source.text.replace(right, wrong))

    monkeypatch.setattr(run, "emit", broken)
    for cached in (run._forward_kernel, run._backward_kernel):
        monkeypatch.setattr(run, cached.__name__, cached.__wrapped__)
    in_blocks(3, monkeypatch)
    one, other = pair(of_blocks)
    x = randn(2, 2, 3)
    with torch.no_grad(), pytest.raises(AssertionError):
        assert_close(one(x)[0], other(x)[0])


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")], ids=str)
def test_odd_numbers_go_where_they_go_in_the_reference_and_to_no_other_sequence(odd: float) -> None:
    one, other = pair(lambda engine: holdfast.GRU(3, 5, engine=engine, device=DEVICE))
    x = randn(4, 3, 3)
    x[1, 1, 0] = odd
    found, expected = one(x)[0], other(x)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE[torch.float32], equal_nan=True)
    assert found[:, [0, 2]].isfinite().all()


def test_nan_in_the_padding_reaches_no_gradient() -> None:
    layer = holdfast.LSTM(3, 5, engine="triton", device=DEVICE, layer_norm=True)
    x = randn(4, 2, 3)
    x[2:, 1] = float("nan")
    lengths = torch.tensor([4, 2], device=DEVICE)
    output, _ = layer(x, lengths=lengths)
    padding = torch.arange(4, device=DEVICE).view(4, 1, 1) >= lengths.view(1, 2, 1)
    output.backward(torch.ones_like(output).masked_fill(padding, float("nan")))
    assert all(p.grad.isfinite().all() for p in layer.parameters())


class NoWaits(TorchDispatchMode):
    """Refuses what makes the host wait for a GPU."""

    WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::unique_consecutive")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.name() not in self.WAITS, f"{func.name()} waits"
        return func(*args, **(kwargs or {}))


def test_what_waits_for_a_gpu_is_found_out() -> None:
    with NoWaits(), pytest.raises(AssertionError, match="waits"):
        torch.ones(2).max().item()


def test_ragged_lengths_and_resets_make_nothing_wait_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def watched(function: Any) -> Any:
        def call(*given: Any) -> Any:
            called.append(function.__name__)
            with NoWaits():
                return function(*given)

        return call

    for name in ("forward", "backward"):
        monkeypatch.setattr(triton, name, watched(getattr(triton, name)))
    layer, x = holdfast.LSTM(3, 5, engine="triton", device=DEVICE, layer_norm=True), randn(4, 2, 3)
    lengths, reset = torch.tensor([4, 2], device=DEVICE), torch.rand(4, 2).to(DEVICE) < 0.5
    if DEVICE.type == "cuda":
        results(layer, x, lengths=lengths, reset=reset)  # what is compiled first may wait
        torch.cuda.set_sync_debug_mode("error")
    try:
        assert results(layer, x, lengths=lengths, reset=reset)["x"].isfinite().all()
    finally:
        if DEVICE.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert called[-2:] == ["forward", "backward"]


@pytest.mark.parametrize("ragged", [pytest.param(False, marks=pytest.mark.full), True], ids=["whole", "ragged"])
def test_what_is_laid_out_batch_first_agrees_with_the_reference(ragged: bool) -> None:
    def make(engine: str) -> Any:
        return holdfast.LSTM(4, 6, batch_first=True, bidirectional=True, engine=engine, device=DEVICE)

    given = {"lengths": torch.tensor([5, 2, 4], device=DEVICE)} if ragged else {}
    compared(make, randn(3, 5, 4), reset=torch.rand(3, 5).to(DEVICE) < 0.4, **given)


def test_a_sequence_of_no_steps_and_a_batch_of_none_are_served() -> None:
    layer = holdfast.LSTM(3, 5, engine="triton", device=DEVICE)
    h, c = randn(1, 2, 5), randn(1, 2, 5)
    output, (last, _) = layer(randn(4, 2, 3), (h, c), lengths=torch.tensor([0, 0], device=DEVICE))
    assert torch.equal(last, h)
    assert not output.any()
    assert layer(randn(4, 0, 3))[0].shape == (4, 0, 5)


def test_the_same_call_gives_the_same_bits() -> None:
    layer, x = holdfast.LSTM(3, 5, engine="triton", device=DEVICE, peephole=True), randn(3, 3, 3)
    first = {name: t.clone() for name, t in results(layer, x).items()}
    again = results(layer, x)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_it_compiles_with_torch_compile() -> None:
    torch._dynamo.reset()
    layer, x = holdfast.LSTM(3, 5, engine="triton", device=DEVICE, layer_norm=True), randn(3, 2, 3)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x)[0], layer(x)[0])
    compiled(x)[0].sum().backward()
    assert layer.weight_hh_l0.grad.isfinite().all()


def test_explain_says_what_runs() -> None:
    text = str(holdfast.explain(holdfast.LSTM(3, 5, engine="triton", device=DEVICE)))
    assert "engine      triton: asked for by name (Triton " in text
