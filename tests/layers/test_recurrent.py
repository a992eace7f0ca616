"""What the layers offer beyond PyTorch's: lengths, resets, traces, options, and refusals of what makes no sense."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

import holdfast
from holdfast import cells
from holdfast.language import tanh
from tests.support import assert_close

D = torch.float64


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=D)


def test_lengths_may_be_a_list_and_padding_may_hold_anything() -> None:
    layer = holdfast.LSTM(3, 5, bidirectional=True, dtype=D)
    x = double(7, 4, 3)
    lengths = [3, 7, 0, 1]
    clean, _ = layer(x, lengths=lengths)
    for junk in (float("nan"), float("inf"), 1e30):
        dirty = x.clone()
        for b, length in enumerate(lengths):
            dirty[length:, b] = junk
        dirty.requires_grad_()
        output, (h, c) = layer(dirty, lengths=torch.tensor(lengths, dtype=torch.int32))
        assert torch.equal(output, clean)
        (output.sum() + h.sum() + c.sum()).backward()
        assert dirty.grad is not None
        assert all(bool(torch.isfinite(w.grad).all()) for w in layer.parameters() if w.grad is not None)
        for b, length in enumerate(lengths):
            assert not dirty.grad[length:, b].any()


def test_past_its_length_the_output_is_zero_and_the_final_state_is_the_one_at_the_length() -> None:
    layer = holdfast.LSTM(3, 5, dtype=D)
    x = double(7, 2, 3)
    output, (h, c) = layer(x, lengths=[4, 7])
    short, (h4, c4) = layer(x[:4, :1])
    assert not output[4:, 0].any()
    assert_close(output[:4, :1], short)
    assert_close(h[:, :1], h4)
    assert_close(c[:, :1], c4)


def test_a_length_of_zero_hands_the_initial_state_through() -> None:
    layer = holdfast.GRU(3, 5, bidirectional=True, dtype=D)
    h0 = double(2, 2, 5).requires_grad_()
    output, h = layer(double(4, 2, 3), h0, lengths=[0, 4])
    assert not output[:, 0].any()
    assert torch.equal(h[:, 0], h0[:, 0])
    h[:, 0].sum().backward()
    assert h0.grad is not None
    assert torch.equal(h0.grad[:, 0], torch.ones(2, 5, dtype=D))


def test_a_reset_starts_a_new_sequence() -> None:
    layer = holdfast.LSTM(3, 5, dtype=D)
    x, state = double(7, 1, 3), (double(1, 1, 5), double(1, 1, 5))
    reset = torch.zeros(7, 1, dtype=torch.bool)
    reset[4] = True
    output, (h, c) = layer(x, state, reset=reset)
    first, _ = layer(x[:4], state)
    second, (h2, c2) = layer(x[4:])
    assert_close(output, torch.cat([first, second]))
    assert_close(h, h2)
    assert_close(c, c2)


def test_the_boundary_of_a_reset_lies_between_the_same_steps_in_both_directions() -> None:
    layer = holdfast.LSTM(3, 5, bidirectional=True, dtype=D)
    x = double(7, 1, 3)
    reset = torch.zeros(7, 1, dtype=torch.bool)
    reset[4] = True
    output, _ = layer(x, reset=reset)
    assert_close(output, torch.cat([layer(x[:4])[0], layer(x[4:])[0]]))


def test_a_reset_at_the_first_step_forgets_the_passed_state_forward_only() -> None:
    layer = holdfast.GRU(3, 5, bidirectional=True, dtype=D)
    x, h0 = double(4, 1, 3), double(2, 1, 5)
    reset = torch.zeros(4, 1, dtype=torch.bool)
    reset[0] = True
    output, _ = layer(x, h0, reset=reset)
    assert_close(output[..., :5], layer(x)[0][..., :5])
    assert_close(output[..., 5:], layer(x, h0)[0][..., 5:])


def test_a_reset_in_padding_is_never_read() -> None:
    layer = holdfast.LSTM(3, 5, bidirectional=True, dtype=D)
    x, lengths = double(6, 2, 3), [4, 6]
    inside = torch.zeros(6, 2, dtype=torch.bool)
    inside[2, 0] = True
    outside = inside.clone()
    outside[4:, 0] = True
    for one, other in zip(layer(x, lengths=lengths, reset=inside)[1], layer(x, lengths=lengths, reset=outside)[1]):
        assert torch.equal(one, other)


def test_a_learned_state_is_where_a_call_and_a_reset_start() -> None:
    layer = holdfast.LSTM(3, 5, learn_state=True, dtype=D)
    with torch.no_grad():
        layer.h_0.normal_()
        layer.c_0.normal_()
    assert layer.h_0.shape == (1, 5)
    x = double(6, 2, 3)
    explicit = tuple(s.unsqueeze(1).expand(-1, 2, -1) for s in (layer.h_0, layer.c_0))
    assert_close(layer(x)[0], layer(x, explicit)[0])
    reset = torch.zeros(6, 2, dtype=torch.bool)
    reset[3] = True
    passed = (double(1, 2, 5), double(1, 2, 5))
    assert_close(layer(x, passed, reset=reset)[0][3:], layer(x[3:])[0])
    layer(x, passed, reset=reset)[0].sum().backward()
    assert layer.h_0.grad is not None
    assert layer.h_0.grad.any()


@pytest.mark.parametrize("layout", ["time first", "batch first", "unbatched"])
def test_a_reset_is_laid_out_like_the_input(layout: str) -> None:
    layer = holdfast.LSTM(3, 5, batch_first=layout == "batch first", dtype=D)
    reset = torch.zeros(7, 2, dtype=torch.bool)
    reset[4] = True
    x = double(7, 2, 3)
    plain, _ = holdfast_like(layer)(x, reset=reset)
    if layout == "time first":
        output = layer(x, reset=reset)[0]
    elif layout == "batch first":
        output = layer(x.transpose(0, 1), reset=reset.transpose(0, 1))[0].transpose(0, 1)
    else:
        output = torch.stack([layer(x[:, b], reset=reset[:, b])[0] for b in range(2)], 1)
    assert_close(output, plain)


def holdfast_like(layer: holdfast.Recurrent) -> holdfast.LSTM:
    """A time-first layer with the same weights."""
    other = holdfast.LSTM(layer.input_size, layer.hidden_size, dtype=D)
    other.load_state_dict(layer.state_dict())
    return other


def test_streaming_step_by_step_equals_the_whole_sequence() -> None:
    for layer in (
        holdfast.LSTM(3, 5, 2, peephole=True, layer_norm=True, zoneout=(0.1, 0.2), dtype=D),
        holdfast.GRU(3, 5, 2, reset_after=False, dtype=D),
        holdfast.SLSTM(3, 6, 2, heads=2, dtype=D),
        holdfast.Recurrent(cells.FGR(), 3, 5, dtype=D),
    ):
        layer.eval()
        x = double(9, 2, 3)
        whole, final = layer(x)
        state, pieces = None, []
        for t in range(9):
            piece, state = layer(x[t : t + 1], state)
            pieces.append(piece)
        assert_close(torch.cat(pieces), whole)
        assert isinstance(state, tuple) == isinstance(final, tuple)
        for one, other in zip(*((s,) if isinstance(s, Tensor) else s for s in (state, final))):
            assert_close(one, other)


# Traces.


def test_a_trace_of_an_lstm_holds_its_gates_and_memory() -> None:
    layer = holdfast.LSTM(3, 5, 2, bidirectional=True, dtype=D)
    x = double(7, 2, 3)
    traced = layer.trace(x)
    output, (h, c) = layer(x)
    assert torch.equal(traced.output, output)
    assert torch.equal(traced.state[0], h)
    assert [record.name for record in traced.layers] == ["l0", "l0_reverse", "l1", "l1_reverse"]
    for k, record in enumerate(traced.layers):
        assert list(record.gates) == ["i", "f", "g", "o"]
        assert list(record.states) == ["h", "c"]
        assert all(series.shape == (7, 2, 5) for series in (*record.gates.values(), *record.states.values()))
        gates, memory = record.gates, record.states["c"]
        before = torch.zeros(1, 2, 5, dtype=D)
        reverse = record.name.endswith("reverse")
        past = torch.cat([memory[1:], before]) if reverse else torch.cat([before, memory[:-1]])
        assert_close(memory, gates["f"] * past + gates["i"] * gates["g"])
        assert_close(record.states["h"], gates["o"] * torch.tanh(memory))
        assert_close(memory[0 if reverse else -1], c[k])
    below = torch.cat([traced.layers[0].states["h"], traced.layers[1].states["h"]], -1)
    pre = below @ layer.weight_ih_l1.T + layer.bias_ih_l1 + layer.bias_hh_l1
    first = pre[0].chunk(4, -1)[1]
    assert_close(traced.layers[2].gates["f"][0], torch.sigmoid(first))


def test_a_trace_names_the_gates_of_each_cell() -> None:
    names = {
        holdfast.GRU: (["r", "z", "n"], ["h"]),
        holdfast.RNN: (["h"], ["h"]),
        holdfast.SLSTM: (["i", "f", "g", "o"], ["h", "c", "n", "m"]),
    }
    for kind, (gates, states) in names.items():
        [record] = kind(3, 5).trace(torch.randn(4, 2, 3)).layers
        assert (list(record.gates), list(record.states)) == (gates, states)
    [record] = holdfast.LSTM(3, 5, coupled=True).trace(torch.randn(4, 2, 3)).layers
    assert_close(record.gates["f"], 1 - record.gates["i"])


def test_a_trace_may_need_noise_that_the_plain_run_does_not() -> None:
    class Deaf(holdfast.Cell):
        gates = ("a",)

        def step(self, gate: Any, state: Any) -> Any:
            a = tanh(gate.a.input)
            return a + 0.5 * state.h

    layer = holdfast.Recurrent(Deaf(), 3, 5, recurrent_dropout=0.5, dtype=D)
    x = double(4, 2, 3)
    assert_close(layer.trace(x).output, layer(x)[0])


def test_a_trace_is_differentiable_in_every_part() -> None:
    layer = holdfast.LSTM(2, 3, bidirectional=True, dtype=D)
    x = double(4, 2, 2).requires_grad_()

    def parts(x: Tensor) -> tuple[Tensor, ...]:
        traced = layer.trace(x)
        return tuple(s for r in traced.layers for s in (*r.gates.values(), *r.states.values()))

    assert torch.autograd.gradcheck(parts, (x,))


@pytest.mark.parametrize("layout", ["batch first", "unbatched"])
def test_a_trace_is_laid_out_like_the_input(layout: str) -> None:
    layer = holdfast.LSTM(3, 5, batch_first=layout == "batch first", dtype=D)
    x = double(7, 1, 3)
    plain = holdfast_like(layer).trace(x).layers[0].gates["f"]
    if layout == "batch first":
        assert torch.equal(layer.trace(x.transpose(0, 1)).layers[0].gates["f"].transpose(0, 1), plain)
    else:
        assert torch.equal(layer.trace(x.squeeze(1)).layers[0].gates["f"].unsqueeze(1), plain)


def test_a_trace_is_zero_past_a_length() -> None:
    [record] = holdfast.LSTM(3, 5).trace(torch.randn(7, 2, 3), lengths=[4, 7]).layers
    for series in (*record.gates.values(), *record.states.values()):
        assert not series[4:, 0].any()
        assert series[4:, 1].all()


def test_a_trace_refuses_a_packed_sequence() -> None:
    with pytest.raises(TypeError, match="trace takes a padded tensor with lengths="):
        holdfast.LSTM(3, 5).trace(pack_padded_sequence(torch.randn(4, 2, 3), [4, 2]))


# Options that act on how a layer starts.


def biases(layer: Any, gate: int, gates: int = 4) -> Tensor:
    """The summed bias of one gate in all layers and directions."""
    found = []
    for name, weight in layer.named_parameters():
        if name.startswith("bias_ih"):
            total = weight + getattr(layer, name.replace("bias_ih", "bias_hh"))
            found.append(total.view(gates, -1)[gate])
    return torch.cat(found).detach()


@pytest.mark.parametrize("kind", [holdfast.LSTM, holdfast.SLSTM])
def test_the_forget_bias_is_the_sum_of_the_two_in_every_layer_and_direction(kind: Any) -> None:
    layer = kind(3, 5, 2, bidirectional=True, forget_bias=1.5)
    assert torch.equal(biases(layer, 1), torch.full((20,), 1.5))
    layer.reset_parameters()
    assert torch.equal(biases(layer, 1), torch.full((20,), 1.5))
    assert biases(layer, 0).unique().numel() == 20


@pytest.mark.parametrize("kind", [holdfast.LSTM, holdfast.SLSTM])
def test_chrono_draws_time_constants_up_to_the_longest_lag(kind: Any) -> None:
    layer = kind(3, 4000, init="chrono", max_lag=100)
    forget, write = biases(layer, 1), biases(layer, 0)
    assert_close(write, -forget)
    lags = forget.exp()
    assert 1 <= lags.min() < 1.5
    assert 98 < lags.max() <= 99
    assert abs(lags.mean() - 50) < 2


def test_chrono_works_for_a_coupled_cell_by_its_input_gate() -> None:
    layer = holdfast.LSTM(3, 400, coupled=True, init="chrono", max_lag=50)
    lags = (-biases(layer, 0, gates=3)).exp()
    assert lags.min() >= 1
    assert 40 < lags.max() <= 49


def test_layer_norm_gains_start_from_one_and_their_bias_from_zero() -> None:
    layer = holdfast.LSTM(3, 5, layer_norm=True, learn_state=True)
    shapes = {name: tuple(w.shape) for name, w in layer.named_parameters() if "ln" in name or name.endswith("_0")}
    assert shapes == {
        "weight_ln_x_l0": (20,),
        "weight_ln_h_l0": (20,),
        "weight_ln_c_l0": (5,),
        "bias_ln_c_l0": (5,),
        "h_0": (1, 5),
        "c_0": (1, 5),
    }
    assert all(bool((getattr(layer, name) == (1 if name.startswith("weight") else 0)).all()) for name in shapes)


def test_the_shapes_of_peepholes_heads_and_extra_weights() -> None:
    assert holdfast.LSTM(3, 6, peephole=True).weight_ch_l0.shape == (3, 6)
    assert holdfast.LSTM(3, 6, peephole=True, coupled=True).weight_ch_l0.shape == (2, 6)
    assert holdfast.LSTM(3, 6, heads=3).weight_hh_l0.shape == (24, 2)
    assert holdfast.LSTM(3, 6, heads=2, proj_size=4).weight_hh_l0.shape == (24, 2)
    assert holdfast.LSTM(3, 6, coupled=True).weight_ih_l0.shape == (18, 3)
    extra = {n: tuple(w.shape) for n, w in holdfast.Recurrent(cells.FGR(), 3, 6).named_parameters()}
    assert {n: s for n, s in extra.items() if n.startswith("weight_g")} == {
        "weight_gi_l0": (18, 6),
        "weight_gf_l0": (18, 6),
        "weight_go_l0": (18, 6),
    }


# Noise.


def test_nothing_random_happens_in_evaluation() -> None:
    layer = holdfast.LSTM(
        3, 5, 2, dropout=0.5, zoneout=(0.5, 0.5), recurrent_dropout=0.5, weight_drop=0.5, dtype=D
    ).eval()
    x = double(7, 2, 3)
    state = torch.get_rng_state()
    assert torch.equal(layer(x)[0], layer(x)[0])
    assert torch.equal(torch.get_rng_state(), state)


def test_the_same_seed_draws_the_same_noise() -> None:
    layer = holdfast.LSTM(3, 5, zoneout=(0.5, 0.5), recurrent_dropout=0.5, weight_drop=0.5)
    x = torch.randn(7, 2, 3)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(layer(x)[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_zoneout_keeps_units_at_the_given_rate() -> None:
    layer = holdfast.LSTM(3, 200, zoneout=(0.3, 0.1), dtype=D)
    traced = layer.trace(double(50, 4, 3)).layers[0]
    for state, rate in (("h", 0.3), ("c", 0.1)):
        series = traced.states[state]
        kept = (series[1:] == series[:-1]).double().mean().item()
        assert kept == pytest.approx(rate, abs=0.01)


def test_options_that_hold_for_training_may_be_changed_later() -> None:
    layer = holdfast.LSTM(3, 5, dtype=D)
    x = double(7, 2, 3)
    plain = layer(x)[0]
    layer.zoneout = (1.0, 1.0)
    assert not layer(x)[0].any()
    layer.zoneout = (0.0, 0.0)
    assert torch.equal(layer(x)[0], plain)
    layer.recurrent_dropout = 0.5
    assert not torch.equal(layer(x)[0], plain)
    with pytest.raises(ValueError, match="recurrent_dropout must lie between 0 and 1"):
        layer.recurrent_dropout = 2.0


def test_gradient_clipping_bounds_what_flows_back_and_leaves_the_forward_alone() -> None:
    layer, clipped = holdfast.LSTM(3, 5, dtype=D), holdfast.LSTM(3, 5, grad_clip=1e-3, dtype=D)
    clipped.load_state_dict(layer.state_dict())
    x = double(7, 2, 3)
    h0 = double(1, 2, 5).requires_grad_()
    c0 = double(1, 2, 5).requires_grad_()
    output, _ = clipped(x, (h0, c0))
    assert_close(output, layer(x, (h0, c0))[0])
    output.sum().backward()
    assert h0.grad is not None
    assert h0.grad.abs().max() <= 1e-3
    assert (h0.grad.abs() == 1e-3).any()


# Refusals.


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"coupled": True, "forget_bias": 1.0}, ValueError, "forget_bias contradicts coupled=True"),
        ({"forget_bias": 1.0, "init": "chrono", "max_lag": 9}, ValueError, "forget_bias and init='chrono' contradict"),
        ({"forget_bias": 1.0, "bias": False}, ValueError, "forget_bias contradicts bias=False"),
        ({"init": "chrono"}, ValueError, "max_lag and init='chrono' go together"),
        ({"max_lag": 9}, ValueError, "max_lag and init='chrono' go together"),
        ({"init": "chrono", "max_lag": 2}, ValueError, "max_lag must be greater than 2; got 2"),
        ({"init": "orthogonal"}, ValueError, "init must be None .* or 'chrono'; got 'orthogonal'"),
        ({"zoneout": (0.5, 1.5)}, ValueError, "zoneout must lie between 0 and 1; got 1.5"),
        ({"zoneout": (0.5, "x")}, TypeError, "zoneout must be a number, got str"),
        ({"recurrent_dropout": 1.0}, ValueError, "recurrent_dropout must lie between 0 and 1 .* got 1.0"),
        ({"weight_drop": -0.1}, ValueError, "weight_drop must lie between 0 and 1"),
        ({"heads": 2}, ValueError, "heads must divide hidden_size: 5 units do not fall into 2 equal blocks"),
        ({"heads": 5, "proj_size": 3}, ValueError, "heads must divide proj_size"),
        ({"heads": 0}, ValueError, "heads must be greater than zero; got 0"),
        ({"grad_clip": 0}, ValueError, "grad_clip must be a positive number or None; got 0"),
        ({"cell_clip": -1.0}, ValueError, "cell_clip must be a positive number or None, got -1.0"),
        ({"activation": "sine"}, ValueError, "activation must be one of tanh, relu, identity, .*; got 'sine'"),
        ({"gate_activation": "tanh"}, ValueError, "gate_activation must be one of sigmoid, hard_sigmoid; got 'tanh'"),
        ({"engine": "warp"}, ValueError, "engine must be one of auto, reference, llvm, triton, vendor; got 'warp'"),
        ({"layer_norm": "yes"}, TypeError, "layer_norm should be of type bool, got: str"),
        ({"learn_state": 1}, TypeError, "learn_state should be of type bool, got: int"),
        ({"peephole": 1}, TypeError, "peephole should be of type bool, got: int"),
        ({"coupled": None}, TypeError, "coupled should be of type bool, got: NoneType"),
    ],
)
def test_contradictory_and_unknown_options_are_refused(options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        holdfast.LSTM(3, 5, **options)


def test_options_of_other_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="zoneout: GRU has no state beside h"):
        holdfast.GRU(3, 5, zoneout=(0.1, 0.1))
    with pytest.raises(TypeError, match="peephole"):
        holdfast.GRU(3, 5, peephole=True)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="init='chrono' contradicts forget_gate='exp'"):
        holdfast.SLSTM(3, 5, forget_gate="exp", init="chrono", max_lag=9)
    with pytest.raises(ValueError, match="nonlinearity='relu' and activation='tanh' contradict"):
        holdfast.RNN(3, 5, nonlinearity="relu", activation="tanh")
    with pytest.raises(holdfast.CellError, match="proj_size does not go with GRU"):
        holdfast.Recurrent(cells.GRU(), 3, 5, proj_size=2)
    with pytest.raises(TypeError, match=r"cell must be a holdfast.Cell, got type; pass an object: GRU\(\)"):
        holdfast.Recurrent(cells.GRU, 3, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda m, x: m(x, lengths=[5, -1]),
            ValueError,
            "lengths must lie between 0 and the number of steps, 5; got -1",
        ),
        (lambda m, x: m(x, lengths=[6, 5]), ValueError, "lengths must lie between 0 and .* 5; got 6"),
        (lambda m, x: m(x, lengths=[5]), ValueError, r"shape \(2,\); got shape \(1,\)"),
        (lambda m, x: m(x, lengths=torch.tensor([[5, 5]])), ValueError, r"got shape \(1, 2\)"),
        (lambda m, x: m(x, lengths=[5.0, 2.0]), TypeError, "lengths must be whole numbers; got dtype torch.float32"),
        (lambda m, x: m(x, lengths=[True, False]), TypeError, "lengths must be whole numbers; got dtype torch.bool"),
        (lambda m, x: m(x, lengths="ab"), TypeError, "lengths must be whole numbers, one a sequence; got str"),
        (lambda m, x: m(x[:, 0], lengths=[5]), ValueError, "lengths needs a batch"),
        (
            lambda m, x: m(x, reset=torch.zeros(5, 3, dtype=torch.bool)),
            ValueError,
            r"\(T, B\) = \(5, 2\); got \(5, 3\)",
        ),
        (lambda m, x: m(x, reset=torch.zeros(5, 2)), TypeError, "reset must be a bool tensor; got dtype torch.float32"),
        (lambda m, x: m(x, reset=[False] * 5), TypeError, r"reset must be a bool tensor of shape .* got list"),
        (lambda m, x: m(x[:, 0], reset=torch.zeros(5, 1, dtype=torch.bool)), ValueError, r"\(T,\) = \(5,\)"),
        (
            lambda m, x: m(pack_padded_sequence(x, [5, 2]), lengths=[5, 2]),
            ValueError,
            "lengths cannot be given with a Pac",
        ),
        (
            lambda m, x: m(pack_padded_sequence(x, [5, 2]), reset=torch.zeros(5, 2, dtype=torch.bool)),
            ValueError,
            "reset cannot be given with a PackedSequence",
        ),
        (lambda m, x: m([1, 2]), TypeError, "LSTM: input must be a tensor or a PackedSequence, got list"),
        (
            lambda m, x: m(x, torch.zeros(1, 2, 5)),
            TypeError,
            r"hx must be a tuple of 2 tensors, \(h_0, c_0\); got Tensor",
        ),
        (lambda m, x: m(x, (torch.zeros(1, 2, 5),)), ValueError, "hx must hold 2 tensors, .* got 1"),
        (
            lambda m, x: m(x, (torch.zeros(1, 2, 5, dtype=D), torch.zeros(1, 2, 5))),
            ValueError,
            "RNN hx dtype .*float64.* does not match weight dtype .*float32",
        ),
    ],
)
def test_bad_calls_say_what_is_wrong_and_what_is_accepted(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        call(holdfast.LSTM(3, 5), torch.zeros(5, 2, 3))


def test_a_state_for_a_cell_with_one_state_must_be_one_tensor() -> None:
    with pytest.raises(TypeError, match="hx must be one tensor, h; got tuple"):
        holdfast.GRU(3, 5)(torch.zeros(5, 2, 3), (torch.zeros(1, 2, 5),))
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 2, 5\), got \[1, 2, 6\]"):
        holdfast.GRU(3, 5)(torch.zeros(5, 2, 3), torch.zeros(1, 2, 6))


def test_nan_in_a_real_step_stays_in_its_own_sequence_and_is_not_hidden() -> None:
    layer = holdfast.LSTM(3, 5)
    x = torch.randn(6, 3, 3)
    x[2, 1, 0] = math.nan
    output, _ = layer(x)
    assert torch.isnan(output[2:, 1]).all()
    assert torch.isfinite(output[:2]).all()
    assert torch.isfinite(output[:, [0, 2]]).all()


def test_infinite_and_huge_inputs_saturate() -> None:
    layer = holdfast.LSTM(1, 5)
    for huge in (math.inf, -math.inf, 1e30, -1e30):
        assert torch.isfinite(layer(torch.full((4, 2, 1), huge))[0]).all()


def test_the_slstm_starts_from_nothing_however_small_its_first_input_gate() -> None:
    layer = holdfast.SLSTM(1, 4)
    with torch.no_grad():
        layer.bias_ih_l0[:4] = -1000.0
    output, _ = layer(torch.randn(5, 2, 1))
    assert torch.isfinite(output).all()
    assert output.abs().max() > 1e-3
