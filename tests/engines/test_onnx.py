"""ONNX Runtime as a live oracle: one LSTM, GRU or RNN node with the same weights, float32.

What its nodes say differently: the gates of an LSTM stand in the order i, o, f, c, those of a GRU in z, r, h; peepholes
in i, o, f. Its `clip` bounds what goes into the activations, not the memory. A sequence of length 0 ends there in
zeros, whatever state was passed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

import holdfast
from tests.support import assert_all_close, error

T, B, I, H = 9, 5, 3, 7  # noqa: E741  # the letters of the documentation
LENGTHS = [4, 1, 9, 8, 2]

ORDER = {"LSTM": "iofg", "GRU": "zrn", "RNN": "h"}
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")

# Our names, and what ONNX calls the same: name, alpha, beta.
ACTIVATIONS: dict[str, tuple[str, float | None, float | None]] = {
    "sigmoid": ("Sigmoid", None, None),
    "tanh": ("Tanh", None, None),
    "relu": ("Relu", None, None),
    "softplus": ("Softplus", None, None),
    "identity": ("Affine", 1.0, 0.0),
    "hard_sigmoid": ("HardSigmoid", 1 / 6, 0.5),
}

both_ways = pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
ragged = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])


def by_gate(layer: Any, name: str, suffix: str) -> dict[str, Tensor]:
    """The rows of a weight, by gate."""
    return dict(zip(layer.cell.gates, getattr(layer, f"{name}_l0{suffix}").detach().split(layer.hidden_size)))


def in_order(layer: Any, name: str, suffix: str) -> Tensor:
    """A weight with its gates in ONNX's order; rows that a coupled cell has not are NaN: nobody may read them."""
    rows = by_gate(layer, name, suffix)
    missing = torch.full_like(next(iter(rows.values())), float("nan"))
    return torch.cat([rows.get(gate, missing) for gate in ORDER[type(layer).__name__]])


def peepholes(layer: Any, suffix: str) -> Tensor:
    rows = dict(zip("io" if layer.cell.coupled else "ifo", getattr(layer, f"weight_ch_l0{suffix}").detach()))
    return torch.cat([rows.get(gate, torch.full_like(rows["i"], float("nan"))) for gate in "iof"])


def onnx_inputs(layer: Any, x: Tensor, states: list[Tensor], lengths: list[int] | None) -> dict[str, np.ndarray]:
    suffixes = ("", "_reverse") if layer.bidirectional else ("",)
    biases = [torch.cat([in_order(layer, n, s) for n in ("bias_ih", "bias_hh")]) for s in suffixes]
    tensors = {
        "X": x,
        "W": torch.stack([in_order(layer, "weight_ih", s) for s in suffixes]),
        "R": torch.stack([in_order(layer, "weight_hh", s) for s in suffixes]),
        "B": torch.stack(biases),
        **dict(zip(("initial_h", "initial_c"), states)),
    }
    if lengths is not None:
        tensors["sequence_lens"] = torch.tensor(lengths, dtype=torch.int32)
    if getattr(layer.cell, "peephole", False):
        tensors["P"] = torch.stack([peepholes(layer, s) for s in suffixes])
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def activation_attributes(layer: Any) -> dict[str, Any]:
    """ONNX lists the activations of each direction one after another, and the alphas of those that have one."""
    cell = layer.cell
    used = {
        "LSTM": lambda: [cell.gate_activation, cell.activation, cell.activation],
        "GRU": lambda: [cell.gate_activation, cell.activation],
        "RNN": lambda: [cell.activation],
    }[type(layer).__name__]()
    found = [ACTIVATIONS[name] for name in used] * (1 + layer.bidirectional)
    attributes: dict[str, Any] = {"activations": [name for name, _, _ in found]}
    for key, column in (("activation_alpha", 1), ("activation_beta", 2)):
        values = [row[column] for row in found if row[column] is not None]
        if values:
            attributes[key] = values
    return attributes


def run_node(
    layer: Any, x: Tensor, states: list[Tensor], lengths: list[int] | None = None, **attributes: Any
) -> dict[str, Tensor]:
    """What ONNX Runtime makes of the layer: its results in PyTorch's layout."""
    feeds = onnx_inputs(layer, x, states, lengths)
    names = [name if name in feeds else "" for name in INPUTS]
    while not names[-1]:
        names.pop()
    outputs = ["Y", "Y_h", "Y_c"][: 1 + len(states)]
    node = helper.make_node(
        type(layer).__name__,
        names,
        outputs,
        hidden_size=layer.hidden_size,
        direction="bidirectional" if layer.bidirectional else "forward",
        **activation_attributes(layer),
        **attributes,
    )
    kinds = {np.dtype("float32"): TensorProto.FLOAT, np.dtype("int32"): TensorProto.INT32}
    graph = helper.make_graph(
        [node],
        "one node",
        [helper.make_tensor_value_info(name, kinds[feed.dtype], feed.shape) for name, feed in feeds.items()],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, [None] * (4 if o == "Y" else 3)) for o in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    y, *final = (torch.from_numpy(result) for result in session.run(None, feeds))
    return {"output": y.transpose(1, 2).flatten(2), **dict(zip(("h_n", "c_n"), final))}


def run_layer(layer: Any, x: Tensor, states: list[Tensor], lengths: list[int] | None = None) -> dict[str, Tensor]:
    """What the layer makes of the same, with NaN in the padding."""
    x = x.clone()
    for b, length in enumerate(lengths or []):
        x[length:, b] = float("nan")
    with torch.no_grad():
        output, final = layer(x, tuple(states) if len(states) > 1 else states[0], lengths=lengths)
    return {"output": output, **dict(zip(("h_n", "c_n"), final if isinstance(final, tuple) else (final,)))}


def case(layer: Any) -> tuple[Tensor, list[Tensor]]:
    """An input, and an initial state that differs for each direction and sequence; weights large enough to matter."""
    with torch.no_grad():
        for weight in layer.parameters():
            weight.mul_(1.5).add_(0.05)
    shape = (1 + layer.bidirectional, B, H)
    return 1.3 * torch.randn(T, B, I), [torch.randn(shape) for _ in layer.cell.states]


def compare(layer: Any, lengths: list[int] | None = None, **attributes: Any) -> None:
    x, states = case(layer)
    expected = run_node(layer, x, states, lengths, **attributes)
    assert_all_close(run_layer(layer, x, states, lengths), expected, torch.float32)


@both_ways
@ragged
@pytest.mark.parametrize("coupled", [False, True], ids=["", "coupled"])
@pytest.mark.parametrize("peephole", [False, True], ids=["", "peephole"])
def test_the_lstm_with_peepholes_and_coupled_gates(
    bidirectional: bool, lengths: list[int] | None, coupled: bool, peephole: bool
) -> None:
    layer = holdfast.LSTM(I, H, bidirectional=bidirectional, coupled=coupled, peephole=peephole)
    compare(layer, lengths, input_forget=int(coupled))


@pytest.mark.sweep(every=3)
@both_ways
@pytest.mark.parametrize(
    ("gate_activation", "activation"),
    [
        ("hard_sigmoid", "tanh"),
        ("sigmoid", "relu"),
        ("sigmoid", "identity"),
        ("sigmoid", "softplus"),
        ("hard_sigmoid", "identity"),
        ("sigmoid", "hard_sigmoid"),
        ("hard_sigmoid", "sigmoid"),
    ],
)
def test_the_lstm_with_other_activations(bidirectional: bool, gate_activation: str, activation: str) -> None:
    layer = holdfast.LSTM(
        I, H, bidirectional=bidirectional, peephole=True, gate_activation=gate_activation, activation=activation
    )
    compare(layer, LENGTHS)


def test_the_hard_sigmoid_is_met_in_all_its_three_pieces() -> None:
    layer = holdfast.LSTM(I, H, gate_activation="hard_sigmoid")
    x, states = case(layer)
    x = 4 * x
    gate = layer.trace(x, tuple(states)).layers[0].gates["o"]
    assert (gate == 0).any()
    assert (gate == 1).any()
    assert ((gate > 0) & (gate < 1)).any()
    assert_all_close(run_layer(layer, x, states), run_node(layer, x, states), torch.float32)


@both_ways
@ragged
@pytest.mark.parametrize("reset_after", [True, False], ids=["reset after", "original"])
def test_both_forms_of_the_gru(bidirectional: bool, lengths: list[int] | None, reset_after: bool) -> None:
    layer = holdfast.GRU(I, H, bidirectional=bidirectional, reset_after=reset_after)
    compare(layer, lengths, linear_before_reset=int(reset_after))


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize("reset_after", [True, False], ids=["reset after", "original"])
@pytest.mark.parametrize(
    ("gate_activation", "activation"), [("hard_sigmoid", "tanh"), ("sigmoid", "relu"), ("sigmoid", "identity")]
)
def test_the_gru_with_other_activations(reset_after: bool, gate_activation: str, activation: str) -> None:
    layer = holdfast.GRU(
        I, H, bidirectional=True, reset_after=reset_after, gate_activation=gate_activation, activation=activation
    )
    compare(layer, LENGTHS, linear_before_reset=int(reset_after))


@pytest.mark.sweep(every=3)
@both_ways
@ragged
@pytest.mark.parametrize("activation", ["tanh", "relu", "identity", "softplus", "sigmoid", "hard_sigmoid"])
def test_the_rnn_with_every_activation(bidirectional: bool, lengths: list[int] | None, activation: str) -> None:
    compare(holdfast.RNN(I, H, bidirectional=bidirectional, activation=activation), lengths)


@both_ways
@pytest.mark.parametrize("kind", [holdfast.LSTM, holdfast.GRU, holdfast.RNN])
def test_a_sequence_of_length_zero_from_a_zero_state(kind: Any, bidirectional: bool) -> None:
    layer = kind(I, H, bidirectional=bidirectional)
    x, states = case(layer)
    for state in states:
        state[:, 1] = 0
    lengths = [4, 0, 9, 1, 2]
    attributes = {"linear_before_reset": 1} if kind is holdfast.GRU else {}
    expected = run_node(layer, x, states, lengths, **attributes)
    assert_all_close(run_layer(layer, x, states, lengths), expected, torch.float32)


def test_cell_clip_where_clipping_the_candidate_is_clipping_the_memory() -> None:
    bound = 30.0  # σ(±30) is 1 and 0 in float32, so ONNX's clip leaves i and f as they are
    layer = holdfast.LSTM(I, H, activation="identity", peephole=True, cell_clip=bound)
    x, states = case(layer)
    x = 20 * x
    with torch.no_grad():
        rows = by_gate(layer, "weight_ih", ""), by_gate(layer, "weight_hh", ""), by_gate(layer, "bias_ih", "")
        for gate, always in (("i", 500.0), ("f", -500.0)):  # write all, keep nothing: c is the candidate
            for tensor in rows:
                tensor[gate].zero_()
            rows[2][gate].fill_(always)
        rows[0]["o"].mul_(0.02)
        rows[1]["o"].mul_(0.02)
        layer.weight_ch_l0.mul_(0.01)
    expected = run_node(layer, x, states, clip=bound)
    assert_all_close(run_layer(layer, x, states), expected, torch.float32)
    c = layer.trace(x, tuple(states)).layers[0].states["c"]
    assert (c == bound).any()
    assert (c == -bound).any()
    assert (c.abs() < bound).any()
    unclipped = holdfast.LSTM(I, H, activation="identity", peephole=True)
    unclipped.load_state_dict(layer.state_dict())
    assert error(run_layer(unclipped, x, states)["output"], expected["output"]) > 0.1
