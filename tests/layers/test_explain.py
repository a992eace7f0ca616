"""What `explain` says about a layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils.rnn import pack_sequence

import holdfast
from holdfast import cells, language
from holdfast.engines import llvm
from holdfast.engines.choose import STEPWISE

LSTM = [
    "i[t] = σ(W_i x[t] + U_i h[t-1] + b_i)",
    "f[t] = σ(W_f x[t] + U_f h[t-1] + b_f)",
    "g[t] = tanh(W_g x[t] + U_g h[t-1] + b_g)",
    "c[t] = f[t] ⊙ c[t-1] + i[t] ⊙ g[t]",
    "o[t] = σ(W_o x[t] + U_o h[t-1] + b_o)",
    "h[t] = o[t] ⊙ tanh(c[t])",
]

# Each with the number of its parameters, counted by hand, and its equations.
LAYERS: dict[str, tuple[Callable[[], Any], int, list[str]]] = {
    "LSTM": (lambda: holdfast.LSTM(3, 5), 4 * 5 * (3 + 5) + 2 * 4 * 5, LSTM),
    "LSTMCell": (lambda: holdfast.LSTMCell(3, 5), 4 * 5 * (3 + 5) + 2 * 4 * 5, LSTM),
    "two layers, both directions": (
        lambda: holdfast.LSTM(3, 5, 2, bidirectional=True, batch_first=True),
        2 * (4 * 5 * (3 + 5) + 40) + 2 * (4 * 5 * (10 + 5) + 40),
        LSTM,
    ),
    "LSTM with options": (
        lambda: holdfast.LSTM(3, 5, peephole=True, coupled=True, cell_clip=3.0, bias=False),
        3 * 5 * (3 + 5) + 2 * 5,
        [
            "i[t] = σ(W_i x[t] + U_i h[t-1] + weight_ch.i ⊙ c[t-1])",
            "f[t] = 1 - i[t]",
            "g[t] = tanh(W_g x[t] + U_g h[t-1])",
            "c[t] = clip(f[t] ⊙ c[t-1] + i[t] ⊙ g[t], -3, 3)",
            "o[t] = σ(W_o x[t] + U_o h[t-1] + weight_ch.o ⊙ c[t])",
            "h[t] = o[t] ⊙ tanh(c[t])",
        ],
    ),
    "LSTM projected, with layer norm and a learned state": (
        lambda: holdfast.LSTM(3, 5, proj_size=2, layer_norm=True, learn_state=True),
        4 * 5 * (3 + 2) + 40 + 2 * 5 + (20 + 20 + 5 + 5) + (2 + 5),
        [
            "i[t] = σ(LN(W x[t])_i + LN(U h[t-1])_i + b_i)",
            "f[t] = σ(LN(W x[t])_f + LN(U h[t-1])_f + b_f)",
            "g[t] = tanh(LN(W x[t])_g + LN(U h[t-1])_g + b_g)",
            "c[t] = f[t] ⊙ c[t-1] + i[t] ⊙ g[t]",
            "o[t] = σ(LN(W x[t])_o + LN(U h[t-1])_o + b_o)",
            "shown[t] = weight_ln_c ⊙ LN(c[t]) + bias_ln_c",
            "h_new[t] = o[t] ⊙ tanh(shown[t])",
            "h[t] = W_hr h_new[t]",
        ],
    ),
    "original GRU in blocks": (
        lambda: holdfast.GRU(3, 6, reset_after=False, heads=2),
        3 * 6 * (3 + 3) + 2 * 3 * 6,
        [
            "r[t] = σ(W_r x[t] + U_r h[t-1] + b_r)",
            "z[t] = σ(W_z x[t] + U_z h[t-1] + b_z)",
            "n[t] = tanh(W_n x[t] + U_n (r[t] ⊙ h[t-1]) + b_n)",
            "h[t] = (1 - z[t]) ⊙ n[t] + z[t] ⊙ h[t-1]",
        ],
    ),
    "RNNCell relu": (
        lambda: holdfast.RNNCell(3, 5, nonlinearity="relu"),
        5 * (3 + 5) + 2 * 5,
        ["h[t] = relu(W_h x[t] + U_h h[t-1] + b_h)"],
    ),
    "any cell": (
        lambda: holdfast.Recurrent(cells.NIG(), 3, 5),
        3 * 5 * (3 + 5) + 2 * 3 * 5 + 2 * 5,
        [
            "f[t] = σ(W_f x[t] + U_f h[t-1] + b_f + weight_ch.f ⊙ c[t-1])",
            "g[t] = tanh(W_g x[t] + U_g h[t-1] + b_g)",
            "c[t] = f[t] ⊙ c[t-1] + g[t]",
            "o[t] = σ(W_o x[t] + U_o h[t-1] + b_o + weight_ch.o ⊙ c[t])",
            "h[t] = o[t] ⊙ tanh(c[t])",
        ],
    ),
}
each_layer = pytest.mark.parametrize("kind", LAYERS)


@each_layer
def test_equations_and_the_number_of_parameters(kind: str) -> None:
    make, count, equations = LAYERS[kind]
    explained = holdfast.explain(make())
    assert explained.equations == equations
    assert explained.parameters == count
    assert explained.layer == repr(make())


@each_layer
def test_the_latex_has_a_line_for_each_equation(kind: str) -> None:
    make, _, equations = LAYERS[kind]
    explained = holdfast.explain(make())
    first, *lines, last = explained.latex.split("\n")
    assert (first, last) == (r"\begin{aligned}", r"\end{aligned}")
    assert len(lines) == len(equations)
    assert all(" &= " in line for line in lines)
    assert explained.latex.count("{") == explained.latex.count("}")
    assert explained._repr_latex_() == f"$${explained.latex}$$"


def test_the_latex_of_the_lstm_is_the_textbooks() -> None:
    assert holdfast.explain(holdfast.LSTM(3, 5)).latex == "\n".join(
        [
            r"\begin{aligned}",
            r"i_t &= \sigma(W_{i} x_t + U_{i} h_{t-1} + b_{i}) \\",
            r"f_t &= \sigma(W_{f} x_t + U_{f} h_{t-1} + b_{f}) \\",
            r"g_t &= \tanh(W_{g} x_t + U_{g} h_{t-1} + b_{g}) \\",
            r"c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\",
            r"o_t &= \sigma(W_{o} x_t + U_{o} h_{t-1} + b_{o}) \\",
            r"h_t &= o_t \odot \tanh(c_t)",
            r"\end{aligned}",
        ]
    )


@each_layer
def test_the_program_is_what_the_engine_gets(kind: str) -> None:
    layer = LAYERS[kind][0]()
    program = holdfast.explain(layer).program
    assert program == layer.program.text()
    assert language.equations(language.parse(program)) == LAYERS[kind][2]


def test_the_text_is_a_page_to_read() -> None:
    layer = holdfast.GRU(3, 100, 2, bidirectional=True)
    explained = holdfast.explain(layer)
    assert str(explained).split("\n") == [
        "GRU(3, 100, num_layers=2, bidirectional=True)",
        "",
        "  r[t] = σ(W_r x[t] + U_r h[t-1] + b_r)",
        "  z[t] = σ(W_z x[t] + U_z h[t-1] + b_z)",
        "  n[t] = tanh(W_n x[t] + b_ih,n + r[t] ⊙ (U_n h[t-1] + b_hh,n))",
        "  h[t] = (1 - z[t]) ⊙ n[t] + z[t] ⊙ h[t-1]",
        "",
        "parameters  244,200",
        f"engine      {explained.engine}: {explained.reason}",
    ]


def test_the_engine_asked_for_by_name_is_said_to_be() -> None:
    for layer in (holdfast.LSTM(3, 5, engine="reference"), holdfast.GRUCell(3, 5, engine="reference")):
        explained = holdfast.explain(layer)
        assert (explained.engine, explained.reason) == ("reference", "asked for by name")
    explained = holdfast.explain(holdfast.GRU(3, 5, engine="vendor"))
    assert (explained.engine, explained.reason) == ("vendor", "asked for by name")
    explained = holdfast.explain(holdfast.GRU(3, 5, engine="llvm"))
    assert (explained.engine, explained.reason) == ("llvm", f"asked for by name ({llvm.describe()})")


@pytest.mark.parametrize("make", [holdfast.LSTM, holdfast.LSTMCell])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_on_a_cpu_it_says_what_is_compiled_for_what(make: Any, dtype: torch.dtype) -> None:
    explained = holdfast.explain(make(3, 5, dtype=dtype))
    assert explained.engine == "llvm"
    assert explained.reason == f"compiled for this machine from the equations above ({llvm.describe()})"


def test_the_number_of_threads_is_the_one_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = holdfast.LSTM(3, 5)
    for count in (1, 2, 1):
        monkeypatch.setattr(llvm.threads, "count", lambda count=count: count)
        assert holdfast.explain(layer).reason.endswith(f", {count} thread{'s' * (count > 1)})")


@pytest.mark.parametrize("make", [holdfast.LSTM, holdfast.LSTMCell])
def test_float16_and_other_devices_go_step_by_step_and_it_says_what_that_costs(make: Any) -> None:
    assert holdfast.explain(make(3, 5, dtype=torch.bfloat16)).engine == "llvm"
    layers = [make(3, 5, dtype=torch.float16), make(3, 5, device="meta")]
    for layer, what in zip(layers, ("float16", "on meta")):
        explained = holdfast.explain(layer)
        assert explained.engine == "reference"
        assert explained.reason.startswith(f"{STEPWISE}; ")
        assert explained.reason.endswith(f"the input is {what}")


def test_the_inputs_device_and_dtype_count_more_than_the_weights() -> None:
    layer = holdfast.LSTM(3, 5)
    explained = holdfast.explain(layer, torch.empty(7, 2, 3, device="meta"))
    assert (explained.engine, explained.reason[-7:]) == ("reference", "on meta")
    assert "input is float16" in holdfast.explain(layer, torch.randn(7, 2, 3, dtype=torch.float16)).reason
    packed = pack_sequence([torch.randn(4, 3, dtype=torch.float16)])
    assert "input is float16" in holdfast.explain(layer, packed).reason


@pytest.mark.parametrize("make", [holdfast.LSTM, holdfast.LSTMCell])
@pytest.mark.parametrize("x", [None, torch.zeros(7, 3)], ids=["no input", "an input"])
def test_under_autocast_its_dtype_counts(make: Any, x: Tensor | None) -> None:
    layer = make(3, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert holdfast.explain(layer, x).engine == "llvm"
    with torch.autocast("cpu", dtype=torch.float16):
        explained = holdfast.explain(layer, x)
        assert explained.engine == "reference"
        assert explained.reason.endswith("the input is float16")
        assert holdfast.explain(layer.double(), None if x is None else x.double()).engine == "llvm"
    assert holdfast.explain(layer).engine == "llvm"


def test_one_asked_for_by_name_that_cannot_serve_is_the_error_of_the_call() -> None:
    x = torch.randn(7, 2, 3)
    packed = pack_sequence([torch.randn(4, 3), torch.randn(2, 3)])
    plain, peephole = holdfast.LSTM(3, 5, engine="vendor"), holdfast.LSTM(3, 5, peephole=True, engine="vendor")
    assert holdfast.explain(plain, x).engine == "vendor"
    for layer, given in ((peephole, x), (plain, packed), (peephole, packed)):
        with pytest.raises(NotImplementedError) as of_the_call:
            layer(given)
        with pytest.raises(NotImplementedError) as explained:
            holdfast.explain(layer, given)
        assert str(explained.value) == str(of_the_call.value)
        assert str(explained.value).startswith("engine='vendor' cannot serve this call: ")


def test_an_engine_set_later_is_seen() -> None:
    layer = holdfast.LSTM(3, 5)
    layer.engine = "reference"
    assert holdfast.explain(layer).reason == "asked for by name"


@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.jacrev, torch.func.hessian])
@pytest.mark.parametrize("make", [lambda: holdfast.LSTM(3, 5), lambda: holdfast.RNNCell(3, 5)], ids=["LSTM", "RNNCell"])
def test_under_a_transform_it_says_so(transform: Any, make: Any) -> None:
    layer = make()
    found = []

    def loss(x: Tensor) -> Tensor:
        found.append(holdfast.explain(layer, x))
        return x.square().sum()

    transform(loss)(torch.randn(2, 3))
    assert found
    for explained in found:
        assert explained.engine == "reference"
        assert "torch.func" in explained.reason
        assert explained.reason.startswith(STEPWISE)
    assert "torch.func" not in holdfast.explain(layer).reason


def test_under_forward_mode_it_says_so_too() -> None:
    with forward_ad.dual_level():
        assert "forward mode" in holdfast.explain(holdfast.LSTM(3, 5)).reason
    assert "forward mode" not in holdfast.explain(holdfast.LSTM(3, 5)).reason


def test_under_vmap_alone_the_choice_is_the_usual() -> None:
    layer = holdfast.LSTM(3, 5)
    found = []

    def call(x: Tensor) -> Tensor:
        found.append(holdfast.explain(layer, x))
        return x

    torch.func.vmap(call)(torch.randn(4, 2, 3))
    usual = holdfast.explain(layer)
    assert (found[0].engine, found[0].reason) == (usual.engine, usual.reason)


def test_in_training_masks_are_shown_and_in_evaluation_their_expectation() -> None:
    layer = holdfast.RNN(3, 5, zoneout=0.25, recurrent_dropout=0.5)
    assert holdfast.explain(layer).equations == [
        "h_new[t] = tanh(W_h x[t] + U_h (h[t-1] ⊙ recurrent_dropout / 0.5) + b_h)",
        "h[t] = zoneout_h[t] ⊙ h[t-1] + (1 - zoneout_h[t]) ⊙ h_new[t]",
    ]
    training = holdfast.explain(layer).program
    layer.eval()
    assert holdfast.explain(layer).equations == [
        "h_new[t] = tanh(W_h x[t] + U_h h[t-1] + b_h)",
        "h[t] = 0.25 ⊙ h[t-1] + 0.75 ⊙ h_new[t]",
    ]
    assert holdfast.explain(layer).program != training
    layer.train()
    assert holdfast.explain(layer).program == training


def test_the_mode_of_a_single_step_counts_too() -> None:
    cell = holdfast.LSTMCell(3, 5, zoneout=(0.0, 0.5))
    assert "c[t] = zoneout_c[t] ⊙ c[t-1] + (1 - zoneout_c[t]) ⊙ c_new[t]" in holdfast.explain(cell).equations
    assert "c[t] = 0.5 ⊙ c[t-1] + 0.5 ⊙ c_new[t]" in holdfast.explain(cell.eval()).equations


def test_an_input_may_be_given() -> None:
    layer = holdfast.LSTM(3, 5)
    packed = pack_sequence([torch.randn(4, 3), torch.randn(2, 3)])
    assert holdfast.explain(layer, torch.randn(7, 2, 3)) == holdfast.explain(layer, packed) == holdfast.explain(layer)


def test_explaining_changes_nothing() -> None:
    layer = holdfast.LSTM(3, 5, zoneout=(0.5, 0.5))
    state, weights = torch.get_rng_state(), {name: w.clone() for name, w in layer.state_dict().items()}
    explained = holdfast.explain(layer, torch.zeros(7, 2, 3))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(w, weights[name]) for name, w in layer.state_dict().items())
    assert layer.training
    with pytest.raises(dataclasses.FrozenInstanceError):
        explained.engine = "llvm"  # type: ignore[misc]


@pytest.mark.parametrize("given", [nn.LSTM(3, 5), nn.Linear(3, 5), cells.LSTM(), holdfast.LSTM, "LSTM", None])
def test_what_is_no_layer_is_refused(given: Any) -> None:
    expected = rf"^layer must be a holdfast layer, got {type(given).__name__}; holdfast\.convert turns PyTorch's into"
    with pytest.raises(TypeError, match=expected):
        holdfast.explain(given)


@pytest.mark.parametrize("given", [[1.0, 2.0], (7, 2, 3), "x", 3])
def test_an_input_of_another_kind_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match=f"^x must be a tensor or a PackedSequence, got {type(given).__name__}$"):
        holdfast.explain(holdfast.LSTM(3, 5), given)
