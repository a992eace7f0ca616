"""The single-step cells: against `torch.nn`, and against one step of our layers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import holdfast
from holdfast import cells
from tests.support import assert_all_close, assert_close

D = torch.float64

PAIRS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "LSTMCell": (nn.LSTMCell, holdfast.LSTMCell, {}),
    "GRUCell": (nn.GRUCell, holdfast.GRUCell, {}),
    "RNNCell": (nn.RNNCell, holdfast.RNNCell, {}),
    "RNNCell relu": (nn.RNNCell, holdfast.RNNCell, {"nonlinearity": "relu"}),
}
each_pair = pytest.mark.parametrize("pair", PAIRS)


def both(pair: str, input_size: int = 4, hidden_size: int = 5, **options: Any) -> tuple[Any, Any]:
    """PyTorch's cell and ours with the same weights."""
    theirs, ours, own = PAIRS[pair]
    theirs = theirs(input_size, hidden_size, **own, **options)
    ours = ours(input_size, hidden_size, **own, **options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def flat(state: Any) -> list[Tensor]:
    return list(state) if isinstance(state, tuple) else [state]


def state_of(cell: Any, *shape: int, dtype: torch.dtype = D) -> Any:
    """A random state in the form that the cell takes, of PyTorch's or of ours."""
    if isinstance(cell, nn.RNNCellBase):
        count = 2 if isinstance(cell, nn.LSTMCell) else 1
    else:
        count = len(cell.cell.states)
    drawn = tuple(torch.randn(shape, dtype=dtype) for _ in range(count))
    return drawn if count > 1 else drawn[0]


def everything(cell: Any, x: Tensor, state: Any = None) -> dict[str, Tensor]:
    """Results and all gradients of a call."""
    x = x.clone().requires_grad_()
    states = [] if state is None else [s.clone().requires_grad_() for s in flat(state)]
    results = flat(cell(x, None if state is None else tuple(states) if isinstance(state, tuple) else states[0]))
    leaves = {"x": x, **dict(cell.named_parameters()), **{f"state {k}": s for k, s in enumerate(states)}}
    generator = torch.Generator().manual_seed(3)
    arriving = [torch.randn(r.shape, generator=generator, dtype=r.dtype) for r in results]
    gradients = torch.autograd.grad(results, list(leaves.values()), arriving)
    return {**{f"result {k}": r.detach() for k, r in enumerate(results)}, **dict(zip(leaves, gradients))}


def raised(function: Any) -> tuple[type[BaseException], str]:
    """What a call raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # the type is what is compared
        function()
    return caught.type, str(caught.value)


# Against PyTorch.


@each_pair
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("passed", [True, False], ids=["hx", "no hx"])
@pytest.mark.parametrize("dtype", [torch.float32, D], ids=["float32", "float64"])
def test_results_and_gradients_are_pytorchs(pair: str, bias: bool, passed: bool, dtype: torch.dtype) -> None:
    theirs, ours = both(pair, bias=bias, dtype=dtype)
    x = torch.randn(3, 4, dtype=dtype)
    state = state_of(theirs, 3, 5, dtype=dtype) if passed else None
    assert_all_close(everything(ours, x, state), everything(theirs, x, state), dtype)


@each_pair
@pytest.mark.parametrize("passed", [True, False], ids=["hx", "no hx"])
def test_unbatched_input_gives_an_unbatched_state(pair: str, passed: bool) -> None:
    theirs, ours = both(pair, dtype=D)
    x = torch.randn(4, dtype=D)
    state = state_of(theirs, 5) if passed else None
    assert_all_close(everything(ours, x, state), everything(theirs, x, state), D)


@each_pair
def test_an_empty_batch_gives_an_empty_state(pair: str) -> None:
    theirs, ours = both(pair)
    for got, expected in zip(flat(ours(torch.zeros(0, 4))), flat(theirs(torch.zeros(0, 4))), strict=True):
        assert got.shape == expected.shape == (0, 5)
    x = torch.zeros(0, 4, requires_grad=True)
    flat(ours(x, state_of(ours, 0, 5, dtype=torch.float32)))[0].sum().backward()
    assert x.grad is not None
    assert all(not w.grad.any() for w in ours.parameters())


@each_pair
def test_strided_input_and_state_are_read_as_they_lie(pair: str) -> None:
    theirs, ours = both(pair, dtype=D)
    x = torch.randn(4, 3, dtype=D).t()
    state = tuple(torch.randn(3, 10, dtype=D)[:, ::2] for _ in ours.cell.states)
    hx = state if len(state) > 1 else state[0]
    for got, expected in zip(flat(ours(x, hx)), flat(theirs(x, hx))):
        assert_close(got, expected)


@each_pair
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_the_state_dict_loads_both_ways(pair: str, bias: bool) -> None:
    theirs, ours = both(pair, bias=bias)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)


@each_pair
def test_the_same_seed_draws_the_same_weights(pair: str) -> None:
    theirs, ours, own = PAIRS[pair]
    torch.manual_seed(5)
    expected = theirs(4, 5, **own)
    torch.manual_seed(5)
    got = ours(4, 5, **own)
    assert all(torch.equal(a, b) for a, b in zip(got.parameters(), expected.parameters()))
    torch.manual_seed(6)
    expected.reset_parameters()
    torch.manual_seed(6)
    got.reset_parameters()
    assert all(torch.equal(a, b) for a, b in zip(got.parameters(), expected.parameters()))


@each_pair
def test_arguments_and_attributes_are_pytorchs(pair: str) -> None:
    theirs, ours, _ = PAIRS[pair]
    for made in (theirs(4, 5, False), ours(4, 5, False)):
        assert (made.input_size, made.hidden_size, made.bias) == (4, 5, False)
    if theirs is nn.RNNCell:
        assert ours(4, 5, True, "relu").nonlinearity == theirs(4, 5, True, "relu").nonlinearity == "relu"


@each_pair
@pytest.mark.parametrize(
    "call",
    [
        lambda m: m(torch.zeros(2, 3, 4)),
        lambda m: m(torch.tensor(1.0)),
        lambda m: m(torch.zeros(3, 6)),
        lambda m: m(torch.zeros(6)),
        lambda m: m(torch.zeros(3, 4), state_of(m, 3, 4, dtype=torch.float32)),
        lambda m: m(torch.zeros(3, 4), state_of(m, 2, 5, dtype=torch.float32)),
        lambda m: m(torch.zeros(3, 4), state_of(m, 1, 3, 5, dtype=torch.float32)),
    ],
    ids=["input 3-D", "input 0-D", "input size", "input size unbatched", "hidden size", "batch size", "hidden 3-D"],
)
def test_bad_calls_raise_what_pytorch_raises(pair: str, call: Any) -> None:
    theirs, ours = both(pair)
    assert raised(lambda: call(ours)) == raised(lambda: call(theirs))


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
@pytest.mark.parametrize("arguments", [{"input_size": "4"}, {"hidden_size": 5.0}, {"unheard_of": 1}])
def test_bad_constructions_raise_pytorchs_type(kind: str, arguments: dict[str, Any]) -> None:
    arguments = {"input_size": 4, "hidden_size": 5, **arguments}
    their_type, _ = raised(lambda: getattr(nn, kind)(**arguments))
    our_type, _ = raised(lambda: getattr(holdfast, kind)(**arguments))
    assert our_type is their_type


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell", "SLSTMCell"])
def test_autocast_gives_its_dtype_and_leaves_float64(kind: str) -> None:
    cell = getattr(holdfast, kind)(4, 5)
    x = torch.randn(3, 4)
    expected = flat(cell(x))
    with torch.autocast("cpu", torch.bfloat16):
        first = cell(x)
        again = flat(cell(x, first))
        doubles = flat(copy.deepcopy(cell).double()(x.double()))
    for got, wanted in zip(flat(first), expected):
        assert got.dtype == torch.bfloat16
        assert (got.float() - wanted).abs().max() < 0.05
    assert {t.dtype for t in again} == {torch.bfloat16}
    assert {t.dtype for t in doubles} == {D}


# Against the layers.

LAYERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "LSTM": (lambda **o: holdfast.LSTM(4, 6, **o), lambda **o: holdfast.LSTMCell(4, 6, **o)),
    "GRU": (lambda **o: holdfast.GRU(4, 6, **o), lambda **o: holdfast.GRUCell(4, 6, **o)),
    "RNN": (lambda **o: holdfast.RNN(4, 6, **o), lambda **o: holdfast.RNNCell(4, 6, **o)),
    "SLSTM": (lambda **o: holdfast.SLSTM(4, 6, **o), lambda **o: holdfast.SLSTMCell(4, 6, **o)),
    "NIG": (
        lambda **o: holdfast.Recurrent(cells.NIG(), 4, 6, **o),
        lambda **o: holdfast.RecurrentCell(cells.NIG(), 4, 6, **o),
    ),
    "FGR": (
        lambda **o: holdfast.Recurrent(cells.FGR(), 4, 6, **o),
        lambda **o: holdfast.RecurrentCell(cells.FGR(), 4, 6, **o),
    ),
}
COMMON: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"layer_norm": True},
    {"heads": 3},
    {"grad_clip": 0.05},
    {"layer_norm": True, "heads": 2, "bias": False, "grad_clip": 0.05},
]
OWN: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {"peephole": True}),
    ("LSTM", {"coupled": True}),
    ("LSTM", {"coupled": True, "peephole": True, "layer_norm": True, "heads": 2}),
    ("LSTM", {"cell_clip": 0.3}),
    ("LSTM", {"gate_activation": "hard_sigmoid", "activation": "relu"}),
    ("LSTM", {"zoneout": (0.3, 0.2)}),
    ("LSTM", {"zoneout": (0.0, 1.0)}),
    ("LSTM", {"forget_bias": 2.0}),
    ("LSTM", {"init": "chrono", "max_lag": 30}),
    ("GRU", {"reset_after": False}),
    ("GRU", {"reset_after": False, "heads": 2, "layer_norm": True}),
    ("GRU", {"gate_activation": "hard_sigmoid", "activation": "softplus"}),
    ("GRU", {"zoneout": 0.4}),
    ("RNN", {"nonlinearity": "relu"}),
    ("RNN", {"activation": "softplus"}),
    ("RNN", {"zoneout": (0.4, 0)}),
    ("SLSTM", {"forget_gate": "exp", "layer_norm": True}),
    ("SLSTM", {"zoneout": (0.3, 0.2), "heads": 3}),
    ("SLSTM", {"forget_bias": -1.0}),
    ("SLSTM", {"init": "chrono", "max_lag": 10}),
]
CASES = [(kind, options) for kind in LAYERS for options in COMMON] + OWN
each_case = pytest.mark.parametrize(
    ("kind", "options"),
    CASES,
    ids=[f"{kind} {' '.join(f'{k}={v}' for k, v in o.items())}".strip() for kind, o in CASES],
)


def layer_and_cell(kind: str, options: dict[str, Any]) -> tuple[Any, Any]:
    """A layer and the single step with the same weights, none of them at its first value."""
    layer, cell = (make(dtype=D, **options) for make in LAYERS[kind])
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    assert [f"{name}_l0" for name, _ in cell.named_parameters()] == [name for name, _ in layer.named_parameters()]
    cell.load_state_dict({name.removesuffix("_l0"): w for name, w in layer.state_dict().items()}, strict=True)
    return layer, cell


def warm_state(cell: Any, batch: int = 3) -> Any:
    """A state such as the cell itself reaches; one drawn at random may be none that it can be in."""
    state = None
    with torch.no_grad():
        for _ in range(2):
            state = cell(torch.randn(batch, 4, dtype=D), state)
    return state


def one_step(layer: Any) -> Callable[[Tensor, Any], Any]:
    """The layer used like a cell."""

    class Once(nn.Module):
        def forward(self, x: Tensor, state: Any) -> Any:
            state = tuple(s.unsqueeze(0) for s in state) if isinstance(state, tuple) else state.unsqueeze(0)
            _, final = layer(x.unsqueeze(0), state)
            return tuple(s.squeeze(0) for s in final) if isinstance(final, tuple) else final.squeeze(0)

        def named_parameters(self, *_: Any, **__: Any) -> Any:  # type: ignore[override]
            return ((name.removesuffix("_l0"), w) for name, w in layer.named_parameters())

    return Once()


@pytest.mark.sweep(every=19)
@each_case
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_step_is_one_step_of_the_layer(kind: str, options: dict[str, Any], training: bool) -> None:
    layer, cell = layer_and_cell(kind, options)
    layer.train(training)
    cell.train(training)
    x, state = torch.randn(3, 4, dtype=D), warm_state(cell)
    torch.manual_seed(1)
    got = everything(cell, x, state)
    torch.manual_seed(1)
    assert_all_close(got, everything(one_step(layer), x, state), D)


@pytest.mark.sweep(every=5)
@each_case
def test_steps_by_hand_are_the_layer(kind: str, options: dict[str, Any]) -> None:
    layer, cell = layer_and_cell(kind, options)
    layer.eval()
    cell.eval()
    results = []
    x = torch.randn(5, 3, 4, dtype=D)
    for by_hand in (True, False):
        if by_hand:
            state, outputs = None, []
            for step in x:
                state = cell(step, state)
                outputs.append(flat(state)[0])
            output, final = torch.stack(outputs), flat(state)
        else:
            output, last = layer(x)
            final = [s.squeeze(0) for s in flat(last)]
        owner = cell if by_hand else layer
        gradients = torch.autograd.grad(output.sin().sum() + final[-1].square().sum(), list(owner.parameters()))
        names = [name for name, _ in cell.named_parameters()]
        results.append(
            {"output": output, **{f"final {k}": s for k, s in enumerate(final)}, **dict(zip(names, gradients))}
        )
    assert_all_close(results[0], results[1], D)


def test_zoneout_keeps_units_in_training_and_mixes_in_evaluation() -> None:
    cell = holdfast.LSTMCell(4, 200, zoneout=(0.25, 0.75), dtype=D)
    plain = holdfast.LSTMCell(4, 200, dtype=D)
    plain.load_state_dict(cell.state_dict())
    x, old = torch.randn(6, 4, dtype=D), state_of(cell, 6, 200)
    new = plain(x, old)
    for p, was, is_new, got, mean in zip((0.25, 0.75), old, new, cell(x, old), cell.eval()(x, old)):
        kept = got == was
        assert torch.equal(got[~kept], is_new[~kept])
        assert abs(kept.double().mean().item() - p) < 0.06
        assert_close(mean, p * was + (1 - p) * is_new)


def test_the_gradient_clip_bounds_what_flows_back_through_each_step() -> None:
    cell = holdfast.GRUCell(4, 5, grad_clip=0.01, dtype=D)
    state = torch.randn(3, 5, dtype=D, requires_grad=True)
    (cell(torch.randn(3, 4, dtype=D), state) * 100).sum().backward()
    assert state.grad is not None
    assert state.grad.abs().max() == 0.01


def test_the_forget_bias_is_the_sum_of_both() -> None:
    cell = holdfast.LSTMCell(4, 5, forget_bias=1.5)
    assert torch.equal((cell.bias_ih + cell.bias_hh)[5:10], torch.full((5,), 1.5))
    with torch.no_grad():
        cell.bias_ih.zero_()
    cell.reset_parameters()
    assert torch.equal((cell.bias_ih + cell.bias_hh)[5:10], torch.full((5,), 1.5))


@pytest.mark.parametrize(
    ("option", "value"), [("zoneout", (0.0, 0.5)), ("zoneout", (0.5, 0.0)), ("grad_clip", 0.001)], ids=str
)
def test_an_option_set_later_takes_effect_as_in_the_layer(option: str, value: Any) -> None:
    layer, cell = layer_and_cell("LSTM", {})
    x, state = torch.randn(3, 4, dtype=D), warm_state(cell)
    plain = everything(cell, x, state)
    for module in (layer, cell):
        setattr(module.eval(), option, value)
    expected = everything(one_step(layer), x, state)
    assert not all(torch.equal(expected[name], plain[name]) for name in plain)
    assert_all_close(everything(cell, x, state), expected, D)


@pytest.mark.parametrize(("option", "value"), [("zoneout", 1.5), ("grad_clip", -1.0), ("engine", "warp")], ids=str)
def test_a_bad_option_set_later_is_refused_as_in_the_layer(option: str, value: Any) -> None:
    layer, cell = layer_and_cell("LSTM", {})
    assert raised(lambda: setattr(cell, option, value)) == raised(lambda: setattr(layer, option, value))


# As an object.


def test_the_representation_names_what_is_not_default() -> None:
    for kind in ("LSTMCell", "GRUCell", "RNNCell"):
        assert repr(getattr(holdfast, kind)(3, 5)) == repr(getattr(nn, kind)(3, 5))
        assert repr(getattr(holdfast, kind)(3, 5, bias=False)) == repr(getattr(nn, kind)(3, 5, bias=False))
    assert repr(holdfast.LSTMCell(3, 6, peephole=True, heads=2, zoneout=(0.1, 0.2), layer_norm=True)) == (
        "LSTMCell(3, 6, peephole=True, layer_norm=True, zoneout=(0.1, 0.2), heads=2)"
    )
    assert repr(holdfast.RecurrentCell(cells.GRU(reset_after=False), 3, 5, grad_clip=1.0)) == (
        "RecurrentCell(GRU(reset_after=False), 3, 5, grad_clip=1.0)"
    )


def test_the_representation_names_an_engine_asked_for() -> None:
    assert repr(holdfast.LSTMCell(3, 5, engine="reference")) == "LSTMCell(3, 5, engine='reference')"


@pytest.mark.sweep(every=5)
@each_case
def test_a_copy_and_a_pickle_give_the_same(kind: str, options: dict[str, Any]) -> None:
    _, cell = layer_and_cell(kind, options)
    cell.eval()
    x = torch.randn(3, 4, dtype=D)
    for twin in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        assert repr(twin) == repr(cell)
        assert not twin.training
        for got, expected in zip(flat(twin(x)), flat(cell(x)), strict=True):
            assert torch.equal(got, expected)
        with torch.no_grad():
            twin.weight_ih.add_(1)
        assert not torch.equal(flat(twin(x))[0], flat(cell(x))[0])


def test_the_cell_passed_is_not_changed() -> None:
    equations = cells.LSTM(peephole=True)
    holdfast.RecurrentCell(equations, 3, 5, layer_norm=True)
    assert not equations.layer_norm


# Refusals.


@pytest.mark.parametrize(
    ("kind", "hx", "error", "text"),
    [
        ("LSTMCell", torch.zeros(3, 5), TypeError, r"hx must be a tuple of 2 tensors, \(h_0, c_0\); got Tensor"),
        ("LSTMCell", 1.0, TypeError, r"hx must be a tuple of 2 tensors, .*; got float"),
        ("LSTMCell", (torch.zeros(3, 5), None), TypeError, r"hx must be a tuple of 2 tensors"),
        ("LSTMCell", (torch.zeros(3, 5),), ValueError, r"hx must hold 2 tensors, \(h_0, c_0\); got 1"),
        ("LSTMCell", (torch.zeros(3, 5),) * 3, ValueError, r"hx must hold 2 tensors, .*; got 3"),
        ("SLSTMCell", (torch.zeros(3, 5),) * 2, ValueError, r"hx must hold 4 tensors, \(h_0, c_0, n_0, m_0\); got 2"),
        ("GRUCell", (torch.zeros(3, 5),), TypeError, r"hx must be one tensor, .*; got tuple"),
        ("RNNCell", [[0.0] * 5] * 3, TypeError, r"hx must be one tensor, .*; got list"),
        ("GRUCell", torch.zeros(5), ValueError, r"Expected hidden to be 2D.* got 1D"),
        ("LSTMCell", (torch.zeros(3, 5), torch.zeros(5)), ValueError, r"Expected hx\[1\] to be 2D.* got 1D"),
        ("LSTMCell", (torch.zeros(3, 5), torch.zeros(3, 6)), RuntimeError, r"hidden1 .* got 6, expected 5"),
        ("LSTMCell", (torch.zeros(3, 5), torch.zeros(2, 5)), RuntimeError, r"batch size 3 .* hidden1 batch size 2"),
        ("GRUCell", torch.zeros(3, 5, dtype=D), ValueError, r"RNN hx dtype \(torch.float64\) does not match weight"),
        ("GRUCell", torch.zeros(3, 5, dtype=torch.long), ValueError, r"RNN hx dtype \(torch.int64\)"),
        (
            "LSTMCell",
            (torch.zeros(3, 5), torch.zeros(3, 5, dtype=D)),
            ValueError,
            r"RNN hx dtype \(torch.float64\) does not match weight dtype \(torch.float32\)",
        ),
    ],
)
def test_a_bad_state_is_refused(kind: str, hx: Any, error: type[Exception], text: str) -> None:
    cell = getattr(holdfast, kind)(4, 5)
    with pytest.raises(error, match=text):
        cell(torch.zeros(3, 4), hx)


def test_a_batched_state_for_an_unbatched_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected hidden to be 1D.* got 2D"):
        holdfast.GRUCell(4, 5)(torch.zeros(4), torch.zeros(1, 5))


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        ([1.0] * 4, TypeError, "LSTMCell: input must be a tensor, got list"),
        (None, TypeError, "LSTMCell: input must be a tensor, got NoneType"),
        (torch.zeros(3, 4, dtype=D), ValueError, r"RNN input dtype \(torch.float64\) does not match weight dtype"),
        (torch.zeros(3, 4, dtype=torch.long), ValueError, r"RNN input dtype \(torch.int64\) does not match"),
    ],
)
def test_a_bad_input_is_refused(x: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        holdfast.LSTMCell(4, 5)(x)


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "text"),
    [
        ("LSTMCell", {"input_size": 0}, ValueError, "input_size must be greater than zero; got 0"),
        ("LSTMCell", {"hidden_size": -1}, ValueError, "hidden_size must be greater than zero; got -1"),
        ("LSTMCell", {"hidden_size": True}, TypeError, "hidden_size should be of type int, got: bool"),
        ("GRUCell", {"bias": 1}, TypeError, "bias should be of type bool, got: int"),
        ("GRUCell", {"layer_norm": 1}, TypeError, "layer_norm should be of type bool, got: int"),
        ("GRUCell", {"heads": 2}, ValueError, "heads must divide hidden_size: 5 units do not fall into 2 equal blocks"),
        ("GRUCell", {"heads": 0}, ValueError, "heads must be greater than zero; got 0"),
        ("GRUCell", {"grad_clip": 0}, ValueError, "grad_clip must be a positive number or None; got 0"),
        ("GRUCell", {"grad_clip": "1"}, ValueError, "grad_clip must be a positive number or None; got '1'"),
        ("GRUCell", {"zoneout": (0.1, 0.1)}, ValueError, "zoneout: GRU has no state beside h, so p_c must be 0"),
        ("LSTMCell", {"zoneout": (0.1, 1.5)}, ValueError, "zoneout must lie between 0 and 1; got 1.5"),
        ("LSTMCell", {"zoneout": (0.1, "a")}, TypeError, "zoneout must be a number, got str"),
        ("LSTMCell", {"engine": "warp"}, ValueError, "engine must be one of .*; got 'warp'"),
        ("LSTMCell", {"peephole": 1}, TypeError, "peephole should be of type bool, got: int"),
        ("LSTMCell", {"cell_clip": 0}, ValueError, "cell_clip must be a positive number or None, got 0"),
        ("LSTMCell", {"activation": "sine"}, ValueError, "activation must be one of tanh, .*; got 'sine'"),
        ("LSTMCell", {"gate_activation": "tanh"}, ValueError, "gate_activation must be one of sigmoid, .*; got 'tanh'"),
        ("LSTMCell", {"forget_bias": 1.0, "bias": False}, ValueError, "forget_bias contradicts bias=False"),
        ("LSTMCell", {"forget_bias": 1.0, "coupled": True}, ValueError, "forget_bias contradicts coupled=True"),
        ("LSTMCell", {"init": "chrono"}, ValueError, "max_lag and init='chrono' go together"),
        ("LSTMCell", {"init": "chrono", "max_lag": 2}, ValueError, "max_lag must be greater than 2; got 2"),
        ("LSTMCell", {"proj_size": 2}, TypeError, "proj_size"),
        ("LSTMCell", {"recurrent_dropout": 0.5}, TypeError, "recurrent_dropout"),
        ("RNNCell", {"nonlinearity": "sine"}, ValueError, "Unknown nonlinearity 'sine'. Select from 'tanh' or 'relu'"),
        ("RNNCell", {"nonlinearity": "relu", "activation": "tanh"}, ValueError, "contradict each other"),
        ("SLSTMCell", {"forget_gate": "hard"}, ValueError, "forget_gate must be one of sigmoid, exp; got 'hard'"),
    ],
)
def test_bad_options_are_refused(kind: str, arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        getattr(holdfast, kind)(**{"input_size": 4, "hidden_size": 5, **arguments})


@pytest.mark.parametrize("cell", [cells.LSTM, "LSTM", nn.LSTMCell(3, 5), None])
def test_what_is_no_cell_is_refused(cell: Any) -> None:
    with pytest.raises(TypeError, match=r"cell must be a holdfast\.Cell, got"):
        holdfast.RecurrentCell(cell, 3, 5)
