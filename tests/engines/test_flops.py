"""What `torch.utils.flop_counter` counts for a layer: the matrix products of the same computation in PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import holdfast


def explicit(layer: holdfast.Recurrent, x: Tensor, h: Tensor, backward: bool) -> int:
    """The operations of a loop with a layer's matrices, whatever the elementwise rest."""
    with FlopCounterMode(display=False) as counter:
        outputs = []
        projected = x @ layer.weight_ih_l0.T
        for gates in projected:
            gates = gates + h @ layer.weight_hh_l0.T
            h = gates.unflatten(-1, (-1, layer.hidden_size)).sum(1)
            if layer.proj_size:
                h = h @ layer.weight_hr_l0.T
            outputs.append(h)
        if backward:
            torch.stack(outputs).sum().backward()
    return counter.get_total_flops()


def counted(layer: holdfast.Recurrent, x: Tensor, h: Tensor, backward: bool) -> int:
    """The operations that a layer is counted for."""
    state = (h, torch.zeros(1, x.shape[1], layer.hidden_size)) if len(layer._states) == 2 else h
    with FlopCounterMode(display=False) as counter:
        output, _ = layer(x, state)
        if backward:
            output.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("need_x", [False, True])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: holdfast.LSTM(3, 4),
        lambda: holdfast.LSTM(3, 4, peephole=True, layer_norm=True),  # which multiply elementwise
        lambda: holdfast.LSTM(3, 4, proj_size=2),
        lambda: holdfast.GRU(3, 4),
        lambda: holdfast.GRU(3, 4, reset_after=False, bias=False),
        lambda: holdfast.RNN(3, 4),
    ],
    ids=["LSTM", "LSTM with options", "projected", "GRU", "original GRU", "RNN"],
)
def test_a_layer_counts_for_the_products_of_a_loop_of_pytorchs(
    make: Callable[[], holdfast.Recurrent], backward: bool, need_x: bool
) -> None:
    layer = make()
    x = torch.randn(5, 2, 3, requires_grad=need_x)
    h = torch.zeros(1, 2, layer.proj_size or 4, requires_grad=True)
    expected = explicit(layer, x, h[0], backward)
    assert expected > 0
    assert counted(layer, x, h, backward) == expected


def test_gates_that_are_computed_again_count_again() -> None:
    x, h = torch.randn(5, 2, 3), torch.zeros(1, 2, 4, requires_grad=True)
    once, again = (counted(holdfast.LSTM(3, 4, recompute=r), x, h, True) for r in (False, True))
    assert again - once == counted(holdfast.LSTM(3, 4), x, h, False)


def test_two_directions_of_two_layers_count_each() -> None:
    x = torch.randn(5, 2, 3)
    with FlopCounterMode(display=False) as counter:
        holdfast.LSTM(3, 4, 2, bidirectional=True)(x)
    assert counter.get_total_flops() == 2 * 10 * 2 * 16 * ((3 + 4) + (8 + 4))


def test_a_profiler_shows_a_call_by_the_layers_name() -> None:
    layer, cell, x = holdfast.LSTM(3, 4), holdfast.GRUCell(3, 4), torch.randn(5, 2, 3)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        layer(x)
        cell(x[0])
    names = [event.name for event in profile.events()]
    assert [n for n in names if n.startswith("holdfast.")] == ["holdfast.LSTM", "holdfast.GRUCell"]
