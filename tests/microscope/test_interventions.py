"""Clamps, against loops written by hand in which the value is overwritten."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import holdfast
from holdfast.language import parse
from holdfast.layers.showing import series_of, show_steps
from holdfast.microscope import MicroscopeError, clamp, record
from holdfast.microscope.recording import replaced

D = torch.float64


def lstm_by_hand(layer: Any, x: Tensor, held: dict[str, dict[int, float]]) -> Tensor:
    """The outputs of an LSTM of one layer, some units' values overwritten as soon as they are there."""

    def put(name: str, value: Tensor) -> Tensor:
        value = value.clone()
        for unit, number in held.get(name, {}).items():
            value[:, unit] = number
        return value

    h = c = torch.zeros(x.shape[1], layer.hidden_size, dtype=x.dtype)
    outputs = []
    for step in x:
        pre = step @ layer.weight_ih_l0.T + layer.bias_ih_l0 + h @ layer.weight_hh_l0.T + layer.bias_hh_l0
        i, f, g, o = pre.chunk(4, -1)
        i, f, g, o = put("i", i.sigmoid()), put("f", f.sigmoid()), put("g", g.tanh()), put("o", o.sigmoid())
        c = put("c", f * c + i * g)
        h = put("h", o * c.tanh())
        outputs.append(h)
    return torch.stack(outputs)


@pytest.mark.parametrize(
    "held",
    [
        {"f": {0: 1.0, 3: 0.25}},
        {"i": {2: 0.0}},
        {"c": {1: 0.0}},
        {"h": {1: 0.5, 2: -0.5}},
        {"g": {0: 1.0}, "o": {0: 1.0}, "c": {4: 2.0}},
    ],
    ids=str,
)
@pytest.mark.parametrize("engine", ["llvm", "reference"])
def test_a_clamped_lstm_is_the_loop_in_which_the_value_is_overwritten(
    held: dict[str, dict[int, float]], engine: str
) -> None:
    layer, x = holdfast.LSTM(3, 5, dtype=D, engine=engine), torch.randn(7, 2, 3, dtype=D)
    clamped: nn.Module = layer
    for name, units in held.items():
        for unit, value in units.items():
            clamped = clamp(clamped, "l0", name, value, units=[unit])
    with torch.no_grad():
        assert torch.allclose(clamped(x)[0], lstm_by_hand(layer, x, held))
        assert not torch.allclose(clamped(x)[0], layer(x)[0])
        seen = record(clamped, x)["l0"]
    for name, units in held.items():
        for unit, value in units.items():
            assert (({**seen.gates, **seen.states})[name][..., unit] == value).all()


@pytest.mark.parametrize(
    "layer",
    [
        nn.GRU(3, 4),
        holdfast.SLSTM(3, 4),
        holdfast.LSTM(3, 4, peephole=True, layer_norm=True),
        holdfast.Recurrent(holdfast.cells.FGR(), 3, 4),
        holdfast.LSTM(3, 4, zoneout=(0.2, 0.1), bias=False),
    ],
    ids=["nn.GRU", "SLSTM", "LSTM with options", "FGR", "zoneout"],
)
def test_every_gate_and_state_of_every_cell_can_be_held_and_let_be(layer: Any) -> None:
    x = torch.randn(6, 2, 3)
    free = record(layer, x)["l0"]
    for name in (*free.gates, *free.states):
        seen = record(clamp(layer, "l0", name, 0.25, units=[1, 2]), x)["l0"]
        both = {**seen.gates, **seen.states}[name]
        assert (both[..., 1:3] == 0.25).all(), name
        # At the first step nothing that was held has come back yet, and the others are as they were.
        before = {**free.gates, **free.states}[name]
        assert torch.equal(both[0, :, [0, 3]], before[0, :, [0, 3]]), name


def test_only_the_layer_and_direction_that_is_named_is_held() -> None:
    layer, x = nn.LSTM(3, 4, 2, bidirectional=True), torch.randn(6, 2, 3)
    free = record(layer, x)
    seen = record(clamp(layer, "l1_reverse", "f", 1.0), x)
    for place in ("l0", "l0_reverse", "l1"):
        assert torch.equal(seen[place].states["h"], free[place].states["h"])
    assert (seen["l1_reverse"].gates["f"] == 1).all()
    assert not torch.equal(seen["l1_reverse"].states["h"], free["l1_reverse"].states["h"])


def test_the_model_itself_is_left_alone_and_gradients_go_around_what_is_held() -> None:
    layer, x = holdfast.LSTM(3, 4), torch.randn(6, 2, 3)
    before = layer(x)[0]
    clamped = clamp(layer, "l0", "i", 0.0, units=[0])
    assert torch.equal(layer(x)[0], before)
    assert not [name for name, _ in layer.named_parameters() if "hold" in name]
    clamped(x)[0].sum().backward()
    gradient = clamped.get_parameter("weight_ih_l0").grad
    assert gradient is not None
    assert (gradient[0] == 0).all()  # the input gate of unit 0
    assert (gradient[1] != 0).any()


def test_a_clamped_layer_streams_too() -> None:
    clamped, x = clamp(holdfast.LSTM(3, 4), "l0", "f", 1.0), torch.randn(6, 1, 3)
    stream = clamped.stream()  # type: ignore[operator]
    with torch.no_grad():
        steps = torch.stack([torch.as_tensor(stream.step(step)) for step in x])
        assert torch.allclose(steps, clamped(x)[0], atol=1e-6)


OPTIONS: dict[str, Any] = {
    "recurrent_dropout": 0.3,
    "zoneout": 0.2,
    "grad_clip": 0.5,
    "recompute": True,
    "weight_drop": 0.3,
    "dropout": 0.3,
    "engine": "reference",
}


def run_and_learn(layer: Any, x: Tensor, training: bool) -> list[Tensor]:
    """The outputs and the gradients of all that is learned, with the same draws each time."""
    torch.manual_seed(1)
    layer.train(training).zero_grad()
    output = layer(x)[0]
    output.square().sum().backward()
    return [output, *(p.grad for p in layer.parameters() if p.requires_grad)]


@pytest.mark.sweep
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: holdfast.LSTM(3, 4, 2, peephole=True, engine="reference"),
        lambda: holdfast.GRU(3, 4, 2, bidirectional=True, engine="reference"),
        pytest.param(lambda: holdfast.SLSTM(3, 4, 2, engine="reference"), marks=pytest.mark.full),
    ],
    ids=["LSTM", "GRU", "SLSTM"],
)
def test_what_is_held_stays_held_whatever_option_is_set_before_or_after(make: Any, training: bool) -> None:
    layer, x = make(), torch.randn(3, 2, 3)
    names = [name for name, _ in layer.train().program.names]
    for name in {*names, "h"}:
        for option, value in OPTIONS.items():
            before = copy.deepcopy(layer)
            setattr(before, option, value)
            before = clamp(before, "l0", name, 0.25, units=[1])
            after = clamp(layer, "l0", name, 0.25, units=[1])
            setattr(after, option, value)
            for one, other in zip(run_and_learn(before, x, training), run_and_learn(after, x, training), strict=True):
                assert torch.equal(one, other), (name, option)
            seen = after.trace(x).layers[0]  # type: ignore[operator]
            both = {**seen.gates, **seen.states}
            if name in both:
                assert (both[name][..., 1] == 0.25).all(), (name, option)


def test_what_is_held_stays_held_in_the_compiled_engine_copies_and_pickles() -> None:
    clamped: Any = clamp(holdfast.LSTM(3, 4), "l0", "f", 1.0)
    clamped.recurrent_dropout = 0.5
    for layer in (clamped, copy.deepcopy(clamped), pickle.loads(pickle.dumps(clamped))):
        layer.train()(torch.randn(6, 2, 3))[0].sum().backward()
        layer.zoneout = 0.0
        assert (layer.trace(torch.randn(6, 2, 3)).layers[0].gates["f"] == 1).all()


def test_an_option_is_not_set_if_what_is_held_would_be_no_more() -> None:
    clamped: Any = clamp(holdfast.LSTM(3, 4, zoneout=0.1), "l0", "h_new", 0.0)
    with pytest.raises(ValueError, match="there is no value 'h_new' in LSTM to hold"):
        clamped.zoneout = 0.0
    assert clamped.zoneout == (0.1, 0.1)
    clamped(torch.randn(6, 2, 3))


def test_an_option_set_while_every_value_is_shown_leaves_the_names_right() -> None:
    layer, x = holdfast.LSTM(3, 4).eval(), torch.randn(6, 2, 3)
    show_steps(layer)
    layer.zoneout = 0.2
    plain = copy.deepcopy(layer)
    for training in (False, True):
        layer.train(training)
        torch.manual_seed(0)
        traced = layer.trace(x).layers[0]
        program = parse(layer._texts[training, True])
        o = dict(program.names)["o"]
        assert traced.gates.keys() == {series_of(node) for _, node in program.shown}
        assert ((traced.gates[series_of(o)] > 0) & (traced.gates[series_of(o)] < 1)).all()
    assert torch.equal(plain.eval()(x)[0], layer.eval()(x)[0])


def test_an_option_set_while_a_recording_runs_is_kept_and_leaves_the_recording_whole() -> None:
    layer, x = holdfast.LSTM(3, 4), torch.randn(6, 2, 3)
    noted: list[str] = []

    def forward(*given: Any) -> Any:
        noted.append("called")
        layer.recurrent_dropout = 0.3
        return layer.trace(*given).output, None

    with replaced({layer: forward}):
        layer.zoneout = 0.1
        layer(x)
    assert noted == ["called"]
    assert (layer.recurrent_dropout, layer.zoneout) == (0.3, (0.1, 0.1))
    layer.train()(x)[0].sum().backward()


@pytest.mark.parametrize(
    ("layer", "name", "units", "message"),
    [
        ("l0", "forget", None, "there is no value 'forget' in LSTM to hold; there are i, f, g, "),
        ("l7", "f", None, "there is no layer 'l7'; there are l0"),
        ("encoder.l0", "f", None, "there is no layer 'encoder.l0'; there are l0"),
        ("l0", "f", [4], "units must be from 0 to 3; got 4"),
        ("l0", "f", [-1], "units must be from 0 to 3; got -1"),
    ],
)
def test_what_is_not_there_cannot_be_held(layer: str, name: str, units: list[int] | None, message: str) -> None:
    with pytest.raises(MicroscopeError, match=message):
        clamp(nn.LSTM(3, 4), layer, name, 1.0, units)


def test_what_is_projected_cannot_be_held_and_the_memory_can() -> None:
    layer, x = nn.LSTM(3, 4, proj_size=2), torch.randn(5, 1, 3)
    with pytest.raises(MicroscopeError, match="h is projected, and what is projected cannot be held"):
        clamp(layer, "l0", "h", 0.0)
    assert (record(clamp(layer, "l0", "c", 0.0), x)["l0"].states["h"] == 0).all()
