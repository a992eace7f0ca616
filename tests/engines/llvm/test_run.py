"""How a call is run is remembered by what its tensors are like; what they hold is read anew each time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest
import torch
from torch import Tensor

import holdfast
from holdfast.engines.llvm import run, threads
from tests.support import assert_all_close


@pytest.fixture
def layer() -> holdfast.LSTM:
    torch.manual_seed(0)
    return holdfast.LSTM(5, 9, engine="llvm")


def _step(layer: holdfast.LSTM, x: Tensor) -> dict[str, Tensor]:
    """What a training step gives."""
    layer.zero_grad()
    y, _ = layer(x)
    y.square().sum().backward()
    return {
        "output": y.detach(),
        **{name: p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None},
    }


def _expected(layer: holdfast.LSTM, x: Tensor) -> dict[str, Tensor]:
    """The same by PyTorch's layer."""
    peer = torch.nn.LSTM(layer.input_size, layer.hidden_size)
    peer.load_state_dict(layer.state_dict())
    y, _ = peer(x)
    y.square().sum().backward()
    return {"output": y.detach(), **{name: p.grad for name, p in peer.named_parameters() if p.grad is not None}}


def _in_place(layer: holdfast.LSTM) -> None:
    with torch.no_grad():
        for weight in layer.parameters():
            weight.mul_(-0.5)


def _by_an_optimizer(layer: holdfast.LSTM) -> None:
    torch.optim.SGD(layer.parameters(), lr=0.3).step()


def _assigned(layer: holdfast.LSTM) -> None:
    layer.load_state_dict({name: torch.randn_like(w) for name, w in layer.state_dict().items()}, assign=True)


def _one_that_is_not_contiguous(layer: holdfast.LSTM) -> None:
    layer.weight_hh_l0 = torch.nn.Parameter(torch.randn(9, 36).t())


@pytest.mark.parametrize("change", [_in_place, _by_an_optimizer, _assigned, _one_that_is_not_contiguous])
def test_weights_that_were_changed_since_the_last_call_are_used(
    layer: holdfast.LSTM, change: Callable[[holdfast.LSTM], None]
) -> None:
    x = torch.randn(4, 3, 5)
    before = _step(layer, x)
    with torch.no_grad():
        layer(x)
    change(layer)
    expected = _expected(layer, x)
    assert not torch.allclose(before["output"], expected["output"])
    with torch.no_grad():
        assert_all_close({"output": layer(x)[0]}, {"output": expected["output"]}, torch.float32)
    assert_all_close(_step(layer, x), expected, torch.float32)


def test_calls_of_many_kinds_in_turns_each_get_their_own_numbers(
    layer: holdfast.LSTM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "SMALL", 0)
    for _ in range(2):
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            for shape in ((1, 1), (6, 1), (2, 7), (1, 7), (4, 2)):
                x = torch.randn(*shape, 5)
                assert_all_close(_step(layer, x), _expected(layer, x), torch.float32)


def test_the_room_of_a_call_is_its_own_while_another_call_of_its_kind_waits_for_its_way_back(
    layer: holdfast.LSTM,
) -> None:
    first, second = torch.randn(4, 3, 5), torch.randn(4, 3, 5)
    expected = _expected(layer, first)
    y, _ = layer(first)
    layer(second)[0].sum().backward()
    layer.zero_grad()
    y.square().sum().backward()
    found = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
    assert_all_close({"output": y.detach(), **found}, expected, torch.float32)


def test_a_plan_is_made_once_for_all_calls_of_a_kind(layer: holdfast.LSTM) -> None:
    run.forget_plans()
    for _ in range(3):
        _step(layer, torch.randn(4, 3, 5))
    assert run._forward_plan.cache_info().misses == run._backward_plan.cache_info().misses == 1


def _python_calls(call: Callable[[], object]) -> int:
    """How many functions of Python a call enters, as it is made for the third time."""
    call(), call()
    entered = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal entered
        entered += event == "call"

    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(None)
    return entered


def test_a_call_of_one_step_enters_few_functions_of_python(layer: holdfast.LSTM) -> None:
    x = torch.randn(1, 1, 5)

    def inference() -> None:
        with torch.no_grad():
            layer(x)

    assert _python_calls(inference) <= 90, "before there were plans: 158"
    assert _python_calls(lambda: _step(layer, x)) <= 310, "before there were plans: 450"
