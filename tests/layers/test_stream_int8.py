"""Streams with int8 weights: what a layer of rounded weights computes, and how far that is from the exact one."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import holdfast
from holdfast.engines.llvm import int8, machine
from holdfast.engines.llvm.int8 import finest, quantised
from tests.engines.llvm.calls import VECTORS, make
from tests.support import error

# What is multiplied is rounded to 16 bits, off by at most a 65,534th of the largest entry: in a sum of as many entries
# as here, and through as many steps, that stays under a few times as much of the largest output.
NEAR = 2e-4
STEPS = 12
LAYERS: dict[str, dict[str, Any]] = {
    "LSTM": {},
    "LSTM of two layers with a projection": {"num_layers": 2, "proj_size": 12},
    "LSTM with heads": {"heads": 4},
    "LSTM with heads and a projection": {"heads": 2, "proj_size": 6},
    "LSTM with peepholes, without bias": {"peephole": True, "bias": False},
    "GRU": {},
    "GRU of 2014": {"reset_after": False},
    "RNN": {},
    "SLSTM": {},
}


def layer_of(name: str, hidden: int, features: int = 5) -> holdfast.Recurrent:
    """A layer with weights of the size that training gives."""
    return make(name.split()[0], hidden=hidden, features=features, **LAYERS[name]).layer.eval()


def rounded(layer: holdfast.Recurrent) -> holdfast.Recurrent:
    """A copy whose factors of matrix products are rounded row by row, in NumPy."""
    own = copy.deepcopy(layer)
    with torch.no_grad():
        for name, p in own.named_parameters():
            if name.startswith(("weight_ih", "weight_hh", "weight_hr")):
                w = p.numpy().astype(np.float64)
                step = np.abs(w).max(1, keepdims=True) / 127
                p.copy_(torch.from_numpy(np.rint(w / np.where(step > 0, step, 1)) * step))
    return own


def streamed(layer: holdfast.Recurrent, x: Tensor, **options: Any) -> Tensor:
    """The outputs of a stream, (T, B, P)."""
    stream = layer.stream(x.shape[1], **options)
    return torch.stack([stream.step(row) for row in x])


@pytest.mark.sweep
@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("name", LAYERS)
def test_it_computes_what_a_layer_of_rounded_weights_does(
    name: str, vectors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(machine.VARIABLE, vectors)
    for hidden, batch in ((20, 1), (36, 3), (100, 6)):
        layer, x = layer_of(name, hidden), torch.randn(STEPS, batch, 5)
        with torch.no_grad():
            expected = rounded(layer)(x)[0]
        assert error(streamed(layer, x, int8=True), expected) < NEAR
        assert error(streamed(layer, x, int8=True), layer(x)[0].detach()) > NEAR  # the weights are rounded


@pytest.mark.parametrize("vectors", VECTORS)
def test_the_largest_sums_stay_within_32_bits(vectors: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(machine.VARIABLE, vectors)
    for features in (300, 2000):
        layer = holdfast.RNN(features, 3, bias=False, nonlinearity="relu").eval()
        with torch.no_grad():
            layer.weight_ih_l0.fill_(1.0)
            layer.weight_ih_l0[1].fill_(-1.0)
            layer.weight_hh_l0.zero_()
        got = streamed(layer, torch.ones(1, 1, features), int8=True)
        torch.testing.assert_close(got, torch.tensor([[[features, 0, features]]], dtype=torch.float32))


def test_an_odd_number_of_entries_is_no_trouble() -> None:
    for features in (1, 7, 15, 16, 17, 31, 33):
        layer, x = layer_of("LSTM", 9, features), torch.randn(STEPS, 2, features)
        with torch.no_grad():
            expected = rounded(layer)(x)[0]
        assert error(streamed(layer, x, int8=True), expected) < NEAR


def test_a_change_to_the_weights_holds_from_the_next_step_on() -> None:
    layer, x = layer_of("LSTM", 20), torch.randn(3, 1, 5)
    stream = layer.stream(int8=True)
    before = stream.step(x[0])
    optimiser = torch.optim.SGD(layer.parameters(), 1.0)
    for p in layer.parameters():
        p.grad = torch.full_like(p, 0.1)
    optimiser.step()  # in place
    state = stream.state
    with torch.no_grad():
        expected, _ = rounded(layer)(x[1:2], state)
    assert error(stream.step(x[1]), expected[0]) < NEAR
    layer.load_state_dict(layer_of("LSTM", 20).state_dict())
    layer.weight_ih_l0 = torch.nn.Parameter(layer.weight_ih_l0 * 0.5)  # another tensor
    stream.reset()
    with torch.no_grad():
        expected, _ = rounded(layer)(x[:1])
    assert error(stream.step(x[0]), expected[0]) < NEAR
    assert error(before, expected[0]) > NEAR


def test_nan_and_infinity_stay_with_their_sequence() -> None:
    layer, x = layer_of("LSTM", 20), torch.randn(STEPS, 3, 5)
    clean = streamed(layer, x, int8=True)
    for wrong in (math.nan, math.inf, -math.inf):
        x[2, 1, 3] = wrong
        got = streamed(layer, x, int8=True)
        assert got[2:, 1].isnan().all()
        torch.testing.assert_close(got[:, [0, 2]], clean[:, [0, 2]], rtol=0, atol=0)


def test_rows_and_inputs_of_zeros_give_zeros() -> None:
    layer = layer_of("RNN", 20)
    with torch.no_grad():
        for p in layer.parameters():
            p.zero_()
    assert (streamed(layer, torch.randn(2, 1, 5), int8=True) == 0).all()
    layer = layer_of("RNN", 20)
    with torch.no_grad():
        expected = layer(torch.zeros(1, 1, 5))[0]
    assert error(streamed(layer, torch.zeros(1, 1, 5), int8=True), expected) < NEAR


def test_the_rounding_is_to_the_nearest_of_each_rows_own_steps() -> None:
    weight = torch.randn(50, 40) * torch.logspace(-3, 2, 50).unsqueeze(1)
    numbers, scales = quantised(weight)
    assert numbers.dtype == torch.int8
    assert (numbers.abs().amax(1) == 127).all()
    assert ((numbers * scales.unsqueeze(1) - weight).abs() <= 0.5001 * scales.unsqueeze(1)).all()


def test_no_sum_can_be_too_large() -> None:
    for entries in (1, 16, 512, 513, 1024, 100_000):
        assert int8.whole(entries) * 127 * finest(entries) < 2**31


def test_a_copy_and_a_pickle_are_int8_too() -> None:
    layer, x = layer_of("LSTM", 20), torch.randn(2, 1, 5)
    stream = layer.stream(int8=True)
    stream.step(x[0])
    for other in (copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))):
        assert other.int8
        torch.testing.assert_close(other.step(x[1]), copy.deepcopy(stream).step(x[1]), rtol=0, atol=0)
    assert repr(stream).endswith("batch_size=1, int8=True)")
    assert "int8" not in repr(layer.stream())


def test_only_float32_weights_can_be_kept_in_int8() -> None:
    with pytest.raises(ValueError, match=r"int8 weights stand for float32 ones; the layer is in torch\.float64"):
        layer_of("LSTM", 8).double().stream(int8=True)


def test_explain_says_how_far_the_outputs_are_off() -> None:
    layer, x = layer_of("LSTM", 36), torch.randn(50, 2, 5)
    stream = layer.stream(int8=True)
    given, noise = holdfast.explain(stream, x), holdfast.explain(stream)
    with torch.no_grad():
        expected = error(rounded(layer)(x)[0], layer(x)[0])
    assert given.deviation == pytest.approx(expected, rel=0.1)
    assert f"over what was given its outputs are off by up to {given.deviation:.2%} of the largest" in given.reason
    assert "over 200 steps of noise" in noise.reason
    assert 0 < (noise.deviation or 0) < 0.1
    exact = holdfast.explain(layer.stream())
    assert exact.deviation is None
    assert exact.equations == given.equations == holdfast.explain(layer).equations
    assert exact.engine == "llvm"
    assert "one step at a time" in exact.reason
    with pytest.raises(ValueError, match=r"x must be a tensor \(T, B, I\)"):
        holdfast.explain(stream, x[0])
