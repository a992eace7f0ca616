"""A layer one step at a time: what the whole-sequence run gives, with the weights and options as they stand."""

from __future__ import annotations

import copy
import math
import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import holdfast
from holdfast import Stream, cells
from holdfast.engines.llvm import machine
from holdfast.engines.llvm.stream import RAW_BATCH
from holdfast.language import Cell, recur, sigmoid, tanh
from holdfast.language.cell import Gates, States
from tests.support import assert_close

FEATURES = 3
STEPS = 5
F, D = torch.float32, torch.float64
VECTORS = ("portable", "avx2", "avx512")
Make = Callable[..., holdfast.Recurrent]


class TwoProducts(Cell):
    """A cell with a second recurrent product, of what the first one gave."""

    gates = ("a", "b")

    def step(self, gate: Gates, state: States) -> Any:
        gated = sigmoid(gate.a)
        return tanh(gate.b + recur("a", gated * state.h)) + 0.5 * (1 - gated) * state.h


class CellWithAMemory(Cell):
    """A cell with two states that trade places in part."""

    gates = ("a",)
    states = ("h", "c")

    def step(self, gate: Gates, state: States) -> Any:
        return tanh(gate.a + state.c), 0.5 * state.h - 0.25 * state.c


def of_cell(cell: Callable[[], Cell]) -> Make:
    """Layers of a cell that has no layer of its own."""
    return lambda *sizes, **options: holdfast.Recurrent(cell(), *sizes, **options)


LAYERS: dict[str, tuple[Make, dict[str, Any]]] = {
    "LSTM": (holdfast.LSTM, {}),
    "LSTM with peepholes": (holdfast.LSTM, {"peephole": True}),
    "LSTM with coupled gates": (holdfast.LSTM, {"coupled": True}),
    "LSTM with coupled gates and peepholes": (holdfast.LSTM, {"coupled": True, "peephole": True}),
    "LSTM with a bound on its memory": (holdfast.LSTM, {"cell_clip": 0.2}),
    "LSTM with layer norm": (holdfast.LSTM, {"layer_norm": True}),
    "LSTM with a projection": (holdfast.LSTM, {"proj_size": 4}),
    "LSTM with heads": (holdfast.LSTM, {"heads": 2}),
    "LSTM with heads, a projection and layer norm": (holdfast.LSTM, {"heads": 2, "proj_size": 4, "layer_norm": True}),
    "LSTM with zoneout": (holdfast.LSTM, {"zoneout": (0.2, 0.3), "recurrent_dropout": 0.3, "weight_drop": 0.2}),
    "LSTM with other activations": (holdfast.LSTM, {"gate_activation": "hard_sigmoid", "activation": "softplus"}),
    "LSTM with relu": (holdfast.LSTM, {"activation": "relu"}),
    "GRU": (holdfast.GRU, {}),
    "GRU that resets before the product": (holdfast.GRU, {"reset_after": False}),
    "GRU with layer norm": (holdfast.GRU, {"layer_norm": True}),
    "RNN": (holdfast.RNN, {}),
    "RNN with the identity": (holdfast.RNN, {"activation": "identity"}),
    "SLSTM": (holdfast.SLSTM, {}),
    "SLSTM with an exponential forget gate": (holdfast.SLSTM, {"forget_gate": "exp", "layer_norm": True}),
    "NIAF": (of_cell(cells.NIAF), {}),
    "FGR": (of_cell(cells.FGR), {}),
    "a cell with two products": (of_cell(TwoProducts), {}),
    "a cell with a memory": (of_cell(CellWithAMemory), {}),
}


def layer_of(name: str = "LSTM", hidden: int = 7, dtype: torch.dtype = D, **options: Any) -> holdfast.Recurrent:
    """A layer in evaluation with weights of an ordinary size, to be compared by the reference engine."""
    make, own = LAYERS[name]
    layer = make(FEATURES, hidden, **{"dtype": dtype, "engine": "reference", **own, **options})
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(0.7 * torch.randn_like(weight) / math.sqrt(weight.shape[-1]))
    return layer.eval()


def series(layer: holdfast.Recurrent, batch: int, steps: int = STEPS) -> Tensor:
    return torch.randn(steps, batch, layer.input_size, dtype=layer.weight_ih_l0.dtype)


def states_of(state: Any) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def whole(layer: holdfast.Recurrent, x: Tensor, hx: Any = None) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The output and the final states of the layer's own run, in evaluation."""
    training = layer.training
    with torch.no_grad():
        output, state = layer.eval()(x, hx)
    layer.train(training)
    return output, states_of(state)


def steps_of(stream: Stream, x: Tensor) -> Tensor:
    return torch.stack([stream.step(row) for row in x])


def assert_streams(layer: holdfast.Recurrent, batch: int) -> None:
    """A new stream of the layer gives what its own run gives: every output, and the state at the end."""
    x = series(layer, batch)
    stream = layer.stream(batch)
    output, final = whole(layer, x)
    assert_close(steps_of(stream, x), output, "output")
    found = states_of(stream.state)
    assert len(found) == len(final)
    for k, (one, other) in enumerate(zip(found, final)):
        assert_close(one, other, f"state {k}")


def assert_follows(stream: Stream, layer: holdfast.Recurrent) -> None:
    """The stream's next step is the layer's own, from the stream's state and with the weights as they are now."""
    x = series(layer, stream.batch_size, 1)
    output, final = whole(layer, x, stream.state)
    assert_close(stream.step(x[0]), output[0], "output")
    for one, other in zip(states_of(stream.state), final):
        assert_close(one, other, "state")


# What a step gives.


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize("batch", [1, 7], ids=["raw", "packed"])
@pytest.mark.parametrize("name", LAYERS)
def test_step_by_step_is_the_whole_sequence(name: str, batch: int) -> None:
    number = list(LAYERS).index(name)
    heads = "heads" in LAYERS[name][1]
    every = batch == 1 or number % 3 == 0  # the elementwise part is the same for many sequences
    if not every:
        batch = 3
    layers, bias, learned = (1, 3)[number % 2], number % 4 != 1, number % 3 == 0
    dtype = (F, D)[number // 2 % 2]
    layer = layer_of(name, 8 if heads else 7, dtype, num_layers=layers, bias=bias, learn_state=learned)
    assert_streams(layer, batch)


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["LSTM", "GRU"])
@pytest.mark.parametrize("vectors", VECTORS)
def test_on_every_vector_unit_for_odd_sizes_and_few_and_many_sequences(
    monkeypatch: pytest.MonkeyPatch, vectors: str, name: str
) -> None:
    best = machine.host().name
    if VECTORS.index(vectors) > VECTORS.index(best):
        pytest.skip(f"this machine has {best} only")
    monkeypatch.setenv(machine.VARIABLE, vectors)
    dtype = F if (name == "LSTM") == (vectors == "avx2") else D
    for hidden in (1, 7, 16, 33):
        for batch in (1, 3, RAW_BATCH, 7):
            assert_streams(layer_of(name, hidden, dtype), batch)
    assert_streams(layer_of(name, 33, dtype, num_layers=3), 7)


def test_a_layer_in_training_streams_its_evaluation() -> None:
    layer = layer_of("LSTM with zoneout", num_layers=2, dropout=0.5)
    x = series(layer, 2)
    layer.train()
    stream = layer.stream(2)
    before = torch.get_rng_state()
    assert_close(steps_of(stream, x), whole(layer, x)[0])
    assert layer.training, "the stream must leave the layer as it is"
    assert torch.equal(torch.get_rng_state(), before)


def test_a_layer_of_another_layout_streams_as_well() -> None:
    layer = layer_of(batch_first=True)
    x = series(layer, 2)
    assert_close(steps_of(layer.stream(2), x), whole(layer, x.transpose(0, 1))[0].transpose(0, 1))


def test_the_method_and_the_class_make_the_same() -> None:
    layer = layer_of()
    x = series(layer, 1, 1)[0]
    stream = Stream(layer)
    assert stream.batch_size == layer.stream().batch_size == 1
    assert torch.equal(stream.step(x), layer.stream().step(x))
    assert repr(stream) == f"Stream({layer!r}, batch_size=1)"


def test_nan_stays_in_its_sequence() -> None:
    for batch in (2, 6):
        layer = layer_of("LSTM with a bound on its memory", 9)
        x = series(layer, batch)
        x[0, 1, 0] = float("nan")
        got, expected = steps_of(layer.stream(batch), x), whole(layer, x)[0]
        assert torch.equal(got.isnan(), expected.isnan())
        assert got[:, 1].isnan().all()
        assert_close(got[:, 0], expected[:, 0])


# What goes in and what comes out.


@pytest.mark.parametrize("dtype", [F, D])
def test_an_array_gives_an_array_and_a_tensor_a_tensor(dtype: torch.dtype) -> None:
    layer = layer_of(dtype=dtype)
    x = series(layer, 2)
    by_tensor, by_array = layer.stream(2), layer.stream(2)
    for row in x:
        tensor, array = by_tensor.step(row), by_array.step(row.numpy())
        assert type(tensor) is Tensor
        assert type(array) is np.ndarray
        assert tensor.dtype == dtype
        assert array.dtype == row.numpy().dtype
        assert not tensor.requires_grad
        assert np.array_equal(tensor.numpy(), array)
    both = layer.stream(2)  # one kind after the other, in one stream
    mixed = [both.step(row) if t % 2 else torch.from_numpy(both.step(row.numpy())) for t, row in enumerate(x)]
    assert_close(torch.stack(mixed), whole(layer, x)[0])


def test_what_an_earlier_step_gave_does_not_change() -> None:
    layer = layer_of(num_layers=2)
    x = series(layer, 2)
    for stream, rows in ((layer.stream(2), list(x)), (layer.stream(2), [row.numpy() for row in x])):
        given, kept = [], []
        for row in rows:
            given.append(stream.step(row))
            kept.append(given[-1].copy() if isinstance(given[-1], np.ndarray) else given[-1].clone())
        for one, other in zip(given, kept):
            assert np.array_equal(np.asarray(one), np.asarray(other))


def test_changing_a_result_changes_nothing_in_the_stream() -> None:
    layer = layer_of(num_layers=2)
    x = series(layer, 2)
    stream, outputs = layer.stream(2), []
    for row in x:
        given = stream.step(row)
        outputs.append(given.clone())
        given.fill_(99)
        row.fill_(99)
    x = series(layer, 2)
    torch.manual_seed(5)
    fresh, again = layer.stream(2), layer.stream(2)
    for row in x:
        result = fresh.step(row)
        assert torch.equal(result, again.step(row.clone()))
        result.zero_()


def test_out_is_written_and_returned() -> None:
    layer = layer_of()
    x = series(layer, 2)
    expected, _ = whole(layer, x)
    by_tensor, by_array = layer.stream(2), layer.stream(2)
    out, array = torch.full((2, 7), float("nan"), dtype=D), np.full((2, 7), np.nan)
    for t, row in enumerate(x):
        assert by_tensor.step(row, out=out) is out
        assert by_array.step(row.numpy(), out=array) is array
        assert_close(out, expected[t])
        assert np.array_equal(array, out.numpy())


def test_out_may_be_strided_or_lie_in_a_larger_memory() -> None:
    layer = layer_of()
    x = series(layer, 2)
    expected, _ = whole(layer, x)
    stream, room = layer.stream(2), torch.full((STEPS, 2, 14), float("nan"), dtype=D)
    for t, row in enumerate(x):
        stream.step(row, out=room[t, :, ::2])
    assert_close(room[..., ::2], expected)
    assert room[..., 1::2].isnan().all()
    stream, held = layer.stream(2), np.full((2, 7, STEPS), np.nan)
    for t, row in enumerate(x):
        stream.step(row.numpy(), held[..., t])
    assert_close(torch.from_numpy(held).permute(2, 0, 1), expected)


def test_out_may_be_the_input_itself() -> None:
    layer = layer_of(hidden=FEATURES)
    x = series(layer, 2)
    expected, _ = whole(layer, x)
    stream = layer.stream(2)
    for row in x:
        stream.step(row, out=row)
    assert_close(x, expected)


def test_an_input_may_be_strided() -> None:
    layer = layer_of()
    wide = torch.randn(STEPS, FEATURES, 4, dtype=D)
    x = wide[..., ::2].transpose(1, 2)
    assert not x[0].is_contiguous()
    expected, _ = whole(layer, x)
    assert_close(steps_of(layer.stream(2), x), expected)
    stream = layer.stream(2)
    assert_close(torch.stack([torch.from_numpy(stream.step(row.numpy())) for row in x]), expected)


def test_an_input_is_converted() -> None:
    layer = layer_of(dtype=F)
    x = series(layer, 2)
    expected = steps_of(layer.stream(2), x)
    stream, other = layer.stream(2), layer.stream(2)
    for row, y in zip(x, expected):
        got, array = stream.step(row.double()), other.step(row.double().numpy())
        assert got.dtype == F
        assert array.dtype == np.float32
        assert torch.equal(got, y)
        assert np.array_equal(array, y.numpy())
    whole_numbers = torch.ones(2, FEATURES, dtype=torch.int64)
    assert torch.equal(layer.stream(2).step(whole_numbers), layer.stream(2).step(whole_numbers.float()))


def test_an_input_that_requires_a_gradient_is_taken_as_it_is() -> None:
    layer = layer_of()
    x = series(layer, 1, 1)[0]
    given = layer.stream().step(x.clone().requires_grad_())
    assert not given.requires_grad
    assert torch.equal(given, layer.stream().step(x))


@pytest.mark.parametrize("shape", [(FEATURES,), (1, FEATURES), (2, FEATURES + 1), (1, 2, FEATURES), (FEATURES, 2), ()])
def test_an_input_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    layer = layer_of()
    stream, untouched = layer.stream(2), layer.stream(2)
    for x in (torch.zeros(shape), np.zeros(shape)):
        with pytest.raises(ValueError, match=r"x must be a CPU array or tensor \(2, 3\) of real numbers; got"):
            stream.step(x)
    x = series(layer, 2, 1)[0]
    assert torch.equal(stream.step(x), untouched.step(x))


@pytest.mark.parametrize("x", [[[0.0] * FEATURES], None, 1.0, "x"], ids=repr)
def test_an_input_of_another_type_is_refused(x: Any) -> None:
    with pytest.raises(TypeError, match="x must be a NumPy array or a tensor, of one kind, got"):
        layer_of().stream().step(x)


def test_an_input_on_another_device_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be a CPU array or tensor .* on meta"):
        layer_of().stream().step(torch.zeros(1, FEATURES, device="meta"))


def test_an_out_of_another_shape_or_kind_is_refused() -> None:
    layer = layer_of()
    stream = layer.stream(2)
    x = torch.zeros(2, FEATURES, dtype=D)
    message = "out must be a (CPU|NumPy) array or"
    refused = (TypeError, ValueError)
    for out in (torch.zeros(2, 6), torch.zeros(1, 7), np.zeros((2, 7)), [0.0], torch.zeros(2, 7, device="meta")):
        with pytest.raises(refused, match=message):
            stream.step(x, out=out)  # type: ignore[arg-type]
    for other in (np.zeros((2, 6)), np.zeros(7), torch.zeros(2, 7), [0.0]):
        with pytest.raises(refused, match=message):
            stream.step(x.numpy(), out=other)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_a_refused_out_does_not_move_the_stream_on(kind: str) -> None:
    layer = layer_of()
    stream, untouched = layer.stream(2), layer.stream(2)
    x: Any = series(layer, 2, 1)[0]
    x = x if kind == "tensor" else x.numpy()
    with pytest.raises(ValueError, match="out must be"):
        stream.step(x, out=x[:, :1])
    assert np.array_equal(np.asarray(stream.step(x)), np.asarray(untouched.step(x)))


# What cannot stream.


def test_two_directions_cannot_stream() -> None:
    with pytest.raises(ValueError, match="a bidirectional layer cannot stream"):
        holdfast.LSTM(3, 5, bidirectional=True).stream()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_dtype_that_the_engine_does_not_compute_in_cannot_stream(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"cannot serve this layer.*{str(dtype).removeprefix('torch.')}"):
        holdfast.GRU(3, 5, dtype=dtype).stream()


def test_a_layer_on_another_device_cannot_stream() -> None:
    with pytest.raises(ValueError, match=r"cannot serve this layer.*meta"):
        holdfast.GRU(3, 5, device="meta").stream()


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError)])
def test_a_batch_size_is_a_whole_number_above_zero(size: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="batch_size"):
        layer_of().stream(size)


# The state.


@pytest.mark.parametrize("name", ["LSTM with a projection", "GRU", "SLSTM"])
def test_a_stream_resumes_where_another_one_stood(name: str) -> None:
    layer = layer_of(name, num_layers=2)
    for moment in (2, 3):  # the states lie in one of two places, by turns
        x = series(layer, 2, 7)
        expected, final = whole(layer, x)
        first, second = layer.stream(2), layer.stream(2)
        steps_of(first, x[:moment])
        steps_of(second, x[:1])
        second.state = first.state
        assert_close(steps_of(second, x[moment:]), expected[moment:])
        assert_close(steps_of(first, x[moment:]), expected[moment:])
        for one, other in zip(states_of(second.state), final):
            assert_close(one, other)
        _, (half) = whole(layer, x[:moment])
        third = layer.stream(2)
        third.state = half if len(half) > 1 else half[0]
        assert_close(steps_of(third, x[moment:]), expected[moment:])


def test_the_state_has_the_layers_own_form() -> None:
    for name in ("LSTM with a projection", "GRU", "SLSTM"):
        layer = layer_of(name, num_layers=3)
        with torch.no_grad():
            _, state = layer(series(layer, 2))
        stream = layer.stream(2)
        assert isinstance(stream.state, tuple) == isinstance(state, tuple)
        assert [s.shape for s in states_of(stream.state)] == [s.shape for s in states_of(state)]
        assert all(not s.any() for s in states_of(stream.state))


def test_a_state_that_was_read_or_given_is_a_copy() -> None:
    layer = layer_of()
    x = series(layer, 2)
    stream, untouched = layer.stream(2), layer.stream(2)
    stream.step(x[0])
    untouched.step(x[0])
    h, c = stream.state
    kept = h.clone(), c.clone()
    stream.step(x[1])
    untouched.step(x[1])
    stream.step(x[2])
    untouched.step(x[2])
    assert torch.equal(h, kept[0])
    assert torch.equal(c, kept[1])
    stream.state = untouched.state = (h, c)
    h.fill_(99)
    stream.state[1].fill_(99)
    assert torch.equal(stream.step(x[3]), untouched.step(x[3]))


def test_a_state_is_converted_and_may_require_a_gradient() -> None:
    layer = layer_of(dtype=F)
    h, c = (torch.randn(1, 2, 7, dtype=D, requires_grad=True) for _ in range(2))
    stream = layer.stream(2)
    stream.state = (h, c)
    assert torch.equal(stream.state[0], h.detach().float())
    assert not stream.state[0].requires_grad
    assert_follows(stream, layer)


def test_a_state_of_another_form_is_refused() -> None:
    stream = layer_of(num_layers=2).stream(3)
    right = torch.zeros(2, 3, 7)
    for wrong, error, message in (
        (right, TypeError, "hx must be a tuple of 2 tensors"),
        ((right,), ValueError, "hx must hold 2 tensors"),
        ((right, right[:1]), RuntimeError, r"Expected hidden\[1\] size \(2, 3, 7\), got \[1, 3, 7\]"),
        ((right[0], right[0]), RuntimeError, "should also be 3-D"),
    ):
        with pytest.raises(error, match=message):
            stream.state = wrong
    with pytest.raises(TypeError, match="hx must be one tensor"):
        layer_of("GRU").stream(3).state = (right,)


def learned(layer: holdfast.Recurrent, batch: int) -> tuple[Tensor, ...]:
    """The learned state as a call is given it."""
    return tuple(h.detach().unsqueeze(1).expand(-1, batch, -1) for h in layer._learned_state())


@pytest.mark.parametrize("learn", [False, True], ids=["zero", "learned"])
def test_a_reset_returns_to_the_first_state(learn: bool) -> None:
    layer = layer_of("LSTM with a projection", num_layers=2, learn_state=learn)
    for steps in (2, 3):
        x = series(layer, 3, steps)
        stream = layer.stream(3)
        expected, _ = whole(layer, x)
        assert_close(steps_of(stream, x), expected)
        stream.reset()
        assert_close(steps_of(stream, x), expected)


@pytest.mark.parametrize(
    "rows",
    [
        [0, 2],
        (2, 0, 2),
        [-3, -1],
        np.array([0, 2]),
        torch.tensor([2, 0]),
        torch.tensor([0, 2], dtype=torch.int32),
        np.array([0, 2], dtype=np.uint8),
        [True, False, True],
        np.array([True, False, True]),
        torch.tensor([True, False, True]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("learn", [False, True], ids=["zero", "learned"])
def test_a_reset_of_some_sequences_leaves_the_others(rows: Any, learn: bool) -> None:
    layer = layer_of(num_layers=2, learn_state=learn)
    x = series(layer, 3, 6)
    stream = layer.stream(3)
    before = steps_of(stream, x[:3])
    stream.reset(rows)
    after = steps_of(stream, x[3:])
    through, _ = whole(layer, x)
    anew, _ = whole(layer, x[3:])
    assert_close(before, through[:3])
    assert_close(after[:, 1], through[3:, 1])
    assert_close(after[:, [0, 2]], anew[:, [0, 2]])


@pytest.mark.parametrize("rows", [[], np.zeros(0, dtype=np.int64), [False] * 3, torch.zeros(3, dtype=torch.bool)])
def test_a_reset_of_no_sequences_changes_nothing(rows: Any) -> None:
    layer = layer_of()
    x = series(layer, 3)
    stream = layer.stream(3)
    steps_of(stream, x[:2])
    stream.reset(rows)
    assert_close(steps_of(stream, x[2:]), whole(layer, x)[0][2:])


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([3], IndexError, r"rows must lie below batch_size, 3; got \[3\]"),
        ([0, -4], IndexError, "rows must lie below batch_size"),
        ([True, False], ValueError, r"a mask \(3,\), got a mask \(2,\)"),
        (torch.ones(3, 1, dtype=torch.bool), ValueError, "got a mask"),
        ([0.0], TypeError, "whole numbers or bools, got float64"),
        (["a"], TypeError, "whole numbers or bools"),
    ],
    ids=repr,
)
def test_a_reset_of_sequences_that_are_not_there_is_refused(rows: Any, error: type[Exception], message: str) -> None:
    layer = layer_of()
    stream, x = layer.stream(3), series(layer, 3)
    steps_of(stream, x[:2])
    with pytest.raises(error, match=message):
        stream.reset(rows)
    assert_close(steps_of(stream, x[2:]), whole(layer, x)[0][2:])


def test_a_learned_state_that_was_changed_holds_from_the_next_reset() -> None:
    layer = layer_of("SLSTM", learn_state=True)
    x = series(layer, 2)
    stream = layer.stream(2)
    steps_of(stream, x)
    with torch.no_grad():
        layer.h_0.normal_()
        layer.m_0 = nn.Parameter(torch.randn(1, 7, dtype=D))
    stream.reset()
    for one, other in zip(states_of(stream.state), learned(layer, 2)):
        assert torch.equal(one, other)
    assert_close(steps_of(stream, x), whole(layer, x)[0])


# Weights and options that change while a stream runs.


def in_place(layer: holdfast.Recurrent) -> None:
    with torch.no_grad():
        for weight in layer.parameters():
            weight.mul_(-0.5).add_(0.1)


def through_data(layer: holdfast.Recurrent) -> None:
    for weight in layer.parameters():
        weight.data.mul_(-0.5)


def by_an_optimizer(layer: holdfast.Recurrent) -> None:
    output, _ = layer(series(layer, 2))
    output.square().sum().backward()
    torch.optim.SGD(layer.parameters(), lr=0.3).step()


def by_loading(layer: holdfast.Recurrent) -> None:
    layer.load_state_dict({name: -0.5 * value for name, value in layer.state_dict().items()})


def by_loading_with_assignment(layer: holdfast.Recurrent) -> None:
    layer.load_state_dict({name: -0.5 * value for name, value in layer.state_dict().items()}, assign=True)


def by_new_parameters(layer: holdfast.Recurrent) -> None:
    for name, weight in list(layer.named_parameters()):
        setattr(layer, name, nn.Parameter(-0.5 * weight.detach()))


def by_a_new_bias(layer: holdfast.Recurrent) -> None:
    layer.bias_hh_l1 = nn.Parameter(torch.randn_like(layer.bias_hh_l1))


def by_other_data(layer: holdfast.Recurrent) -> None:
    for weight in layer.parameters():
        weight.data = -0.5 * weight.data


def by_other_data_of_one(layer: holdfast.Recurrent) -> None:
    layer.weight_ch_l0.data = torch.randn_like(layer.weight_ch_l0)


def by_drawing_anew(layer: holdfast.Recurrent) -> None:
    layer.reset_parameters()


def by_zoneout(layer: holdfast.Recurrent) -> None:
    layer.zoneout = (0.4, 0.1)


def by_an_option_of_training(layer: holdfast.Recurrent) -> None:
    layer.recurrent_dropout, layer.grad_clip, layer.engine = 0.4, 0.1, "auto"


def by_both(layer: holdfast.Recurrent) -> None:
    by_zoneout(layer)
    by_new_parameters(layer)


def there_and_back(layer: holdfast.Recurrent) -> None:
    layer.float().double()


CHANGES = (
    in_place,
    through_data,
    by_an_optimizer,
    by_loading,
    by_loading_with_assignment,
    by_new_parameters,
    by_a_new_bias,
    by_other_data,
    by_other_data_of_one,
    by_drawing_anew,
    by_zoneout,
    by_an_option_of_training,
    by_both,
    there_and_back,
)


@pytest.mark.parametrize("batch", [2, RAW_BATCH + 1], ids=["raw", "packed"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_holds_from_the_next_step(change: Callable[[holdfast.Recurrent], None], batch: int) -> None:
    layer = layer_of("LSTM with peepholes", num_layers=2)
    x = series(layer, batch, 1)
    stream = layer.stream(batch)
    assert_follows(stream, layer)
    before, _ = whole(layer, x, stream.state)
    change(layer)
    if change not in (by_an_option_of_training, there_and_back):
        assert not torch.equal(whole(layer, x, stream.state)[0], before), "the change must change something"
    for _ in range(3):
        assert_follows(stream, layer)
    change(layer)
    assert_follows(stream, layer)


def test_a_change_of_the_gains_and_the_projection_holds_from_the_next_step() -> None:
    layer = layer_of("LSTM with heads, a projection and layer norm", 8, num_layers=2)
    for batch in (1, RAW_BATCH + 1):
        stream = layer.stream(batch)
        for change in (in_place, through_data, by_new_parameters):
            assert_follows(stream, layer)
            change(layer)
            assert_follows(stream, layer)


def test_weights_that_are_gone_are_not_read() -> None:
    layer = layer_of(hidden=33)
    stream = layer.stream()
    for _ in range(5):
        by_new_parameters(layer)  # the old ones are freed, and their memory is taken by others
        held = [torch.full_like(weight, float("nan")) for weight in layer.parameters()]
        assert_follows(stream, layer)
        assert len(held) == 4


def test_a_layer_that_was_converted_is_refused_and_the_stream_runs_again_when_it_is_back() -> None:
    layer = layer_of(dtype=F)
    stream = layer.stream()
    x = series(layer, 1, 1)[0]
    state = stream.state
    layer.double()
    with pytest.raises(
        RuntimeError,
        match=r"is on cpu in torch\.float64 now, this stream runs on the CPU in torch\.float32: make a new one",
    ):
        stream.step(x)
    with pytest.raises(RuntimeError, match="make a new one"):
        stream.step(x)
    layer.float()
    for one, other in zip(states_of(stream.state), states_of(state)):
        assert torch.equal(one, other)
    assert_follows(stream, layer)


def test_weights_that_are_not_contiguous_are_refused() -> None:
    layer = layer_of()
    stream = layer.stream()
    layer.weight_hh_l0 = nn.Parameter(torch.randn(7, 28, dtype=D).t())
    with pytest.raises(RuntimeError, match="contiguous"):
        stream.step(series(layer, 1, 1)[0])


def test_a_change_of_options_keeps_the_state() -> None:
    layer = layer_of("LSTM with zoneout", num_layers=2)
    for steps in (1, 2):
        stream = layer.stream(2)
        steps_of(stream, series(layer, 2, steps))
        state = stream.state
        layer.zoneout = (0.05 * steps, 0.1)
        assert_follows(stream, layer)
        fresh = layer.stream(2)
        fresh.state = state
        assert_follows(fresh, layer)


def test_under_inference_mode() -> None:
    layer = layer_of()
    x = series(layer, 2)
    expected, _ = whole(layer, x)
    outside = layer.stream(2)
    with torch.inference_mode():
        inside = layer.stream(2)
        assert_close(steps_of(inside, x), expected)
        assert_close(steps_of(outside, x), expected)
        inside.reset([0])
        inside.state = outside.state
        layer.zoneout = (0.3, 0.1)
        assert_follows(inside, layer)
        layer.zoneout = (0.0, 0.0)
    inside.reset()
    assert_close(steps_of(inside, x), expected)  # and what was made there runs outside of it


def test_no_gradient_is_recorded_and_no_weight_is_touched() -> None:
    layer = layer_of()
    before = {name: weight.detach().clone() for name, weight in layer.named_parameters()}
    assert all(weight.requires_grad for weight in layer.parameters())
    assert not steps_of(layer.stream(2), series(layer, 2)).requires_grad
    for name, weight in layer.named_parameters():
        assert torch.equal(weight, before[name])
        assert weight.grad is None


# Several streams.


@pytest.mark.parametrize("batches", [(2, 2), (2, 6)], ids=str)
def test_streams_of_one_layer_do_not_know_of_each_other(batches: tuple[int, int]) -> None:
    layer = layer_of(num_layers=2)
    streams = [layer.stream(batch) for batch in batches]
    xs = [series(layer, batch) for batch in batches]
    outputs: list[list[Tensor]] = [[], []]
    for t in range(STEPS):
        for k, stream in enumerate(streams):
            outputs[k].append(stream.step(xs[k][t]))
        streams[1].state = streams[1].state
    for x, own in zip(xs, outputs):
        assert_close(torch.stack(own), whole(layer, x)[0])


def in_threads(work: Sequence[Callable[[], Any]]) -> Iterator[Any]:
    """What each piece of work gives, or raises, all of them side by side."""
    found: list[Any] = [None] * len(work)
    begin = threading.Barrier(len(work))

    def run(k: int) -> None:
        begin.wait()
        try:
            found[k] = work[k]()
        except BaseException as error:
            found[k] = error

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in found:
        if isinstance(result, BaseException):
            raise result
        yield result


def test_many_threads_each_with_a_stream_of_its_own() -> None:
    layer = layer_of("GRU", 16, F, num_layers=2)
    xs = [series(layer, 1 + k % 6, 60) for k in range(8)]
    work = [lambda x=x: steps_of(layer.stream(x.shape[1]), x) for x in xs]  # made there as well
    for x, got in zip(xs, in_threads(work)):
        assert_close(got, whole(layer, x)[0])


def test_a_stream_may_outlive_the_name_of_its_layer_and_pass_between_threads() -> None:
    layer = layer_of()
    x = series(layer, 2)
    expected, _ = whole(layer, x)
    stream = layer.stream(2)
    del layer
    [first] = in_threads([lambda: steps_of(stream, x[:2])])
    assert_close(torch.cat([first, steps_of(stream, x[2:])]), expected)


def test_a_parametrized_weight_is_read_in_every_step() -> None:
    class Twice(torch.nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return 2 * weight

    layer = holdfast.RNN(3, 5)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight_hh_l0", Twice())
    stream, x = layer.stream(), torch.randn(4, 1, 3)
    h = torch.zeros(1, 1, 5)
    for row in x:
        with torch.no_grad():
            layer.parametrizations.weight_hh_l0.original.normal_()
            expected, h = layer(row.unsqueeze(0), h)
        assert_close(stream.step(row), expected[0])


def test_a_pruned_weight_is_read_in_every_step() -> None:
    layer = holdfast.RNN(3, 5)
    stream, x = layer.stream(), torch.randn(3, 1, 3)
    prune.random_unstructured(layer, "weight_hh_l0", 0.5)
    h = torch.zeros(1, 1, 5)
    for row in x:
        with torch.no_grad():
            layer.weight_hh_l0_orig.normal_()
        layer.weight_hh_l0 = layer.weight_hh_l0_orig * layer.weight_hh_l0_mask  # as the module's own hook does
        with torch.no_grad():
            expected, h = layer(row.unsqueeze(0), h)
        assert_close(stream.step(row), expected[0])


def test_weights_that_lie_otherwise_at_the_same_address_are_refused() -> None:
    layer = holdfast.RNN(3, 5)
    stream = layer.stream()
    stream.step(torch.zeros(1, 3))
    layer.weight_hh_l0.data = layer.weight_hh_l0.data.t()
    with pytest.raises(RuntimeError, match="contiguous"):
        stream.step(torch.zeros(1, 3))


def test_a_step_that_is_refused_leaves_the_state_as_it_was() -> None:
    layer = holdfast.GRU(3, 5)
    stream = layer.stream()
    stream.step(torch.ones(1, 3))
    state = stream.state
    layer.zoneout = (0.1, 0.0)
    layer.double()
    with pytest.raises(RuntimeError, match="make a new one"):
        stream.step(torch.ones(1, 3))
    layer.float()
    assert torch.equal(stream.state, state)
    out = np.zeros((1, 5), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="can be written to"):
        stream.step(np.ones((1, 3), np.float32), out=out)
    assert torch.equal(stream.state, state)


@pytest.mark.parametrize("x", [torch.ones(1, 3, dtype=torch.complex64), np.array([["a", "b", "c"]])])
def test_an_input_that_is_no_real_number_is_refused(x: object) -> None:
    with pytest.raises(ValueError, match="of real numbers"):
        holdfast.RNN(3, 5).stream().step(x)  # type: ignore[type-var]


def test_an_input_of_another_real_dtype_is_converted() -> None:
    layer = holdfast.RNN(3, 5)
    x = torch.randn(1, 3).bfloat16()
    assert torch.equal(layer.stream().step(x), layer.stream().step(x.float()))


def test_a_copy_of_a_stream_goes_on_from_the_same_state_by_itself() -> None:
    stream = holdfast.LSTM(3, 5, num_layers=2).stream()
    stream.step(torch.ones(1, 3))
    other = copy.deepcopy(stream)
    with torch.no_grad():
        other._layer.weight_hh_l0.zero_()
    first, second = stream.step(torch.ones(1, 3)), other.step(torch.ones(1, 3))
    assert not torch.equal(first, second)
    with torch.no_grad():
        stream._layer.weight_hh_l0.zero_()
    again = pickle.loads(pickle.dumps(other))
    assert torch.equal(again.step(torch.ones(1, 3)), other.step(torch.ones(1, 3)))
