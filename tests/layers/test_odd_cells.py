"""Cells that the language allows and nobody built in: each runs forward, backward, traced, compiled and exported."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

import holdfast
from holdfast import cells
from holdfast.engines import operator
from holdfast.language import Cell, layer_norm, mask, parameter, recur, sigmoid, tanh, trace, where
from holdfast.layers import noise
from tests.support import assert_close

D = torch.float64
Step = Callable[[Any, Any], Any]


def made(step: Step, gates: tuple[str, ...] = ("a", "b"), states: tuple[str, ...] = ("h",)) -> Cell:
    """A cell from a function of gate and state; its traces show the gates before any activation."""
    shows = {name: f"gate.{name}" for name in gates}
    return type(
        "Odd", (Cell,), {"gates": gates, "states": states, "shows": shows, "step": lambda self, g, s: step(g, s)}
    )()


HC = ("h", "c")
ODD: dict[str, Callable[[], Cell]] = {
    "a state that passes through": lambda: made(lambda g, s: (tanh(g.a), s.c), states=HC),
    "two states that are one value": lambda: made(lambda g, s: (tanh(g.a),) * 2, states=HC),
    "a number as a state": lambda: made(lambda g, s: (tanh(g.a) + s.c, 1.5), states=HC),
    "a number as the output": lambda: made(lambda g, s: (0.5, tanh(g.a) + s.c), states=HC),
    "a parameter as a state": lambda: made(lambda g, s: (tanh(g.a) + s.c, parameter("weight_p")), states=HC),
    "a parameter as the output": lambda: made(lambda g, s: (parameter("weight_p"), tanh(g.a) + s.c), states=HC),
    "an input part as a state": lambda: made(lambda g, s: (tanh(g.a.input) * s.c, g.b.input), states=HC),
    "exchanged states": lambda: made(lambda g, s: (s.c, tanh(g.a)), states=HC),
    "input parts only": lambda: made(lambda g, s: tanh(g.a.input) + 0.5 * s.h),
    "recurrent parts only": lambda: made(lambda g, s: tanh(g.a.recurrent - g.b.recurrent) + 0.1),
    "two products of one gate": lambda: made(lambda g, s: tanh(g.a + recur("b", s.h * s.h) + recur("b", 1 - s.h))),
    "three phases": lambda: made(lambda g, s: tanh(recur("a", tanh(recur("b", sigmoid(g.a)))))),
    "a product of a number": lambda: made(lambda g, s: tanh(g.a + recur("b", 0.5))),
    "a product of a comparison": lambda: made(lambda g, s: tanh(g.a + recur("b", s.h > 0))),
    "a product of a parameter": lambda: made(lambda g, s: tanh(g.a + recur("b", parameter("weight_p")))),
    "comparisons as numbers": lambda: made(lambda g, s: g.a * (g.b > s.h) + where(s.h <= 0.1, 0.25 * s.h, 1 - g.b)),
    "a layer norm inside": lambda: made(lambda g, s: tanh(layer_norm(g.a + s.h, parameter("weight_p"), 0.1))),
}
each = pytest.mark.parametrize("name", ODD)
OPTIONS: list[dict[str, Any]] = [{}, {"layer_norm": True}, {"heads": 2, "bias": False}, {"zoneout": None}]


def layer_of(name: str, bidirectional: bool = True, **options: Any) -> holdfast.Recurrent:
    """A layer in evaluation, with weights of an ordinary size."""
    cell = ODD[name]()
    if "zoneout" in options:
        options["zoneout"] = (0.2, 0.3 * (len(cell.states) > 1))
    layer = holdfast.Recurrent(cell, 3, 4, bidirectional=bidirectional, dtype=D, **options).eval()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(0.5 * torch.randn_like(weight))
    return layer


def results_of(layer: holdfast.Recurrent, x: Tensor, **call: Any) -> list[Tensor]:
    output, state = layer(x, **call)
    return [output, *(state if isinstance(state, tuple) else [state])]


@pytest.mark.sweep(every=23)
@each
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("lengths", [None, [5, 2]])
def test_the_operator_and_autograd_agree(name: str, options: dict[str, Any], lengths: Any) -> None:
    layer = layer_of(name, **options)
    x = torch.randn(5, 2, 3, dtype=D)
    weights = dict(layer.named_parameters())

    def loss(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        output, state = functional_call(layer, weights, (x,), {"lengths": lengths})
        states = state if isinstance(state, tuple) else (state,)
        return output.sin().sum() + sum(s.cos().sum() for s in states)  # type: ignore[return-value]

    given = x.clone().requires_grad_()
    got = torch.autograd.grad(loss(weights, given), [given, *weights.values()], materialize_grads=True)
    detached = {n: w.detach() for n, w in weights.items()}
    by_weight, by_x = torch.func.grad(loss, (0, 1))(detached, x)  # the recorded reference run
    for one, other in zip(got, [by_x, *by_weight.values()]):
        assert_close(one, other)


@pytest.mark.sweep(every=3)
@each
def test_gradients_of_both_orders_agree_with_differences(name: str) -> None:
    layer = layer_of(name, bidirectional=False)
    x = torch.randn(3, 2, 3, dtype=D, requires_grad=True)
    outputs = [k for k, r in enumerate(results_of(layer, x)) if r.requires_grad]

    def run(x: Tensor) -> list[Tensor]:
        results = results_of(layer, x)
        return [results[k] for k in outputs]

    assert torch.autograd.gradcheck(run, (x,), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (x,), fast_mode=True)


@pytest.mark.sweep(every=7)
@each
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_trace_runs_the_same_equations_as_a_call(name: str, options: dict[str, Any]) -> None:
    layer = layer_of(name, **options)
    x = torch.randn(5, 2, 3, dtype=D)
    assert_close(layer.trace(x).output, layer(x)[0])


def test_a_trace_under_layer_norm_normalises_what_a_call_normalises() -> None:
    def step(gate: Any, state: Any) -> Any:
        f = sigmoid(gate.f)
        candidate = tanh(gate.n.input + recur(gate.n, f * state.h))
        return (1 - f) * state.h + f * candidate

    layer = holdfast.Recurrent(made(step, ("f", "n")), 3, 4, layer_norm=True, dtype=D)
    x = torch.randn(5, 2, 3, dtype=D)
    assert_close(layer.trace(x).output, layer(x)[0])


def test_a_layer_whose_gates_have_other_names_runs_and_its_trace_asks_what_to_show() -> None:
    class Own(Cell):
        gates = ("r", "n")

        def step(self, gate: Any, state: Any) -> Any:
            reset = sigmoid(gate.r)
            n = tanh(gate.n)
            return reset * state.h + n

    x = torch.randn(5, 2, 3)
    layer = holdfast.Recurrent(Own(), 3, 4)
    layer(x)[0].sum().backward()
    layer.zoneout = 0.1
    with pytest.raises(holdfast.CellError, match="to show 'r', but the step has no local variable 'r'"):
        layer.trace(x)
    Own.shows = {"r": "reset"}
    gate = holdfast.Recurrent(Own(), 3, 4).trace(100 * x).layers[0].gates["r"]
    assert ((gate >= 0) & (gate <= 1)).all()


@pytest.mark.sweep(every=4)
@each
def test_compiles_exports_and_has_tangents(name: str) -> None:
    layer = layer_of(name)
    x = torch.randn(5, 2, 3, dtype=D)
    expected = layer(x)[0]
    torch._dynamo.reset()
    assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x)[0], expected)
    assert_close(torch.export.export(layer, (x,)).module()(x)[0], expected)
    along = torch.randn_like(x)
    _, tangent = jvp(lambda x: layer(x)[0], (x,), (along,))
    reverse = torch.autograd.functional.jvp(lambda x: layer(x)[0], x, along, strict=False)[1]
    assert_close(tangent, reverse)


@pytest.mark.parametrize("per", ["step", "sequence"])
def test_a_cells_own_masks_are_drawn_by_the_layer(per: str) -> None:
    cell = made(lambda g, s: (tanh(g.a), mask("own", 0.5, per)), states=HC)
    layer = holdfast.Recurrent(cell, 3, 400, dtype=D)
    x = torch.randn(6, 2, 3, dtype=D, requires_grad=True)
    series = layer.trace(x).layers[0].states["c"]
    assert set(series.unique().tolist()) == {0.0, 1.0}
    assert abs(series.mean().item() - 0.5) < 0.1
    assert bool((series[0] == series[1]).all()) == (per == "sequence")
    layer(x)[0].sum().backward()
    assert bool((layer.eval()(x)[1][1] == 0.5).all())


def test_a_step_may_call_that_of_its_base() -> None:
    class Louder(cells.GRU):
        def step(self, gate: Any, state: Any) -> Any:
            return 1.5 * super().step(gate, state)

    layer = holdfast.Recurrent(Louder(), 3, 4, dtype=D)
    plain = holdfast.GRU(3, 4, dtype=D)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(1, 2, 3, dtype=D)
    assert_close(layer(x)[0], 1.5 * plain(x)[0])
    assert list(layer.trace(x).layers[0].gates) == ["r", "z", "n"]
    assert layer.trace(x).layers[0].gates["r"].min() > 0


def test_a_cell_without_a_source_file_works() -> None:
    names: dict[str, Any] = {}
    exec(
        "from holdfast.language import *\n"
        "class Typed(Cell):\n"
        "    gates = ('a',)\n"
        "    def step(self, gate, state):\n"
        "        return tanh(gate.a)\n",
        names,
    )
    layer, plain = holdfast.Recurrent(names["Typed"](), 3, 4), holdfast.RNN(3, 4)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(5, 2, 3)
    assert_close(layer(x)[0], plain(x)[0])


def test_a_frozen_dataclass_is_a_cell() -> None:
    @dataclasses.dataclass(frozen=True)
    class Scaled(Cell):
        scale: float = 1.0
        gates = ("a",)

        def step(self, gate: Any, state: Any) -> Any:
            return self.scale * tanh(gate.a)

    assert "Scaled(scale=0.5)" in repr(holdfast.Recurrent(Scaled(0.5), 3, 4))


def test_a_projection_needs_no_second_state() -> None:
    cell = made(lambda g, s: tanh(g.a + parameter("weight_p")) * 1.0, gates=("a",))
    layer = holdfast.Recurrent(cell, 3, 5, proj_size=2, dtype=D)
    output, _ = layer(torch.randn(4, 2, 3, dtype=D))
    assert output.shape == (4, 2, 2)
    output.sum().backward()
    constant = holdfast.Recurrent(made(lambda g, s: 0.5), 3, 5, proj_size=2, dtype=D)
    expected = constant.weight_hr_l0.sum(1) * 0.5
    assert_close(constant(torch.randn(4, 2, 3, dtype=D))[0][3, 1], expected)


def test_a_subclass_of_the_general_layer_still_names_its_cell() -> None:
    class Mine(holdfast.Recurrent):
        pass

    assert repr(Mine(cells.GRU(), 3, 4)) == "Mine(GRU(), 3, 4)"

    class MyLSTM(holdfast.LSTM):
        pass

    assert repr(MyLSTM(3, 4, peephole=True)) == "MyLSTM(3, 4, peephole=True)"


def test_a_parameter_must_not_take_the_name_of_an_attribute() -> None:
    cell = made(lambda g, s: g.a * parameter("engine"))
    with pytest.raises(ValueError, match="a parameter cannot be called 'engine'"):
        holdfast.RecurrentCell(cell, 3, 4)


# What surrounds the operator.


def test_the_output_may_be_changed_in_place() -> None:
    layer = holdfast.GRU(3, 4, dtype=D)
    x = torch.randn(5, 2, 3, dtype=D)
    expected = torch.autograd.grad(layer(x)[0].relu().sum(), list(layer.parameters()))
    output = layer(x)[0]
    got = torch.autograd.grad(nn.ReLU(inplace=True)(output).sum(), list(layer.parameters()))
    for one, other in zip(got, expected):
        assert_close(one, other)
    output = layer(x)[0]
    output[0] = 0.0
    output.sum().backward()


@pytest.mark.parametrize("heads", [1, 2])
def test_weights_need_not_be_contiguous(heads: int) -> None:
    layer = holdfast.LSTM(3, 4, heads=heads, dtype=D)
    x = torch.randn(5, 2, 3, dtype=D)
    strided = {name: w.detach().t().contiguous().t().requires_grad_() for name, w in layer.named_parameters()}
    assert not strided["weight_hh_l0"].is_contiguous()
    output = functional_call(layer, strided, (x,))[0]
    assert_close(output, layer(x)[0])
    got = torch.autograd.grad(output.sin().sum(), list(strided.values()))
    expected = torch.autograd.grad(layer(x)[0].sin().sum(), list(layer.parameters()))
    for one, other in zip(got, expected):
        assert_close(one, other)


def test_the_operator_knows_its_engines_by_name() -> None:
    layer = holdfast.RNN(3, 4)
    arguments = (torch.randn(5, 2, 3), [torch.zeros(2, 4)], [], list(layer.parameters()), [], None, None)
    with pytest.raises(ValueError, match=r"engine must be one of .*; got 'warp'"):
        operator.recurrence(*arguments, layer.program.text(), "warp", False, False, False)


def test_masks_in_half_precision_have_the_probability_that_was_asked_for() -> None:
    drawn = noise.bernoulli(0.999, (1000, 1000), torch.zeros(1, dtype=torch.bfloat16))
    assert drawn.dtype == torch.bfloat16
    assert 0.9985 < drawn.float().mean().item() < 0.9995


@pytest.mark.parametrize("layer", [holdfast.LSTM, holdfast.GRU, holdfast.GRUCell])
def test_tensors_on_different_devices_are_refused(layer: Any) -> None:
    x = torch.randn(5, 3) if layer is holdfast.GRUCell else torch.randn(5, 2, 3)
    with pytest.raises(RuntimeError, match="not at the same device, found input tensor at cpu and parameter tensor at"):
        layer(3, 4, device="meta")(x)
    with pytest.raises(RuntimeError, match="not at the same device, found input tensor at meta"):
        layer(3, 4)(x.to("meta"))


def test_a_state_on_another_device_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not at the same device, found hx tensor at meta"):
        holdfast.GRU(3, 4)(torch.randn(5, 2, 3), torch.zeros(1, 2, 4, device="meta"))


def test_forward_mode_through_an_exported_program_raises_instead_of_losing_the_tangent() -> None:
    layer = holdfast.GRU(3, 4, dtype=D)
    x = torch.randn(5, 2, 3, dtype=D)
    exported = torch.export.export(layer, (x,)).module()
    with pytest.raises(NotImplementedError, match="no forward-mode derivative"):
        jvp(lambda x: exported(x)[0], (x,), (torch.ones_like(x),))


def test_a_gradient_with_a_tangent_keeps_it() -> None:
    layer = holdfast.GRU(3, 4, dtype=D)
    x = torch.randn(5, 2, 3, dtype=D, requires_grad=True)
    output, _ = layer(x)
    arriving, along = torch.randn_like(output), torch.randn_like(output)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(arriving, along)
        [gradient] = torch.autograd.grad(output, x, dual, retain_graph=True)
        primal, tangent = torch.autograd.forward_ad.unpack_dual(gradient)
    assert tangent is not None
    assert_close(primal, torch.autograd.grad(output, x, arriving, retain_graph=True)[0])
    assert_close(tangent, torch.autograd.grad(output, x, along)[0])  # the gradient is linear in what arrives


def test_a_batch_of_gradients_runs_at_once() -> None:
    layer = holdfast.LSTM(2, 3, dtype=D)
    x = torch.randn(2, 1, 2, dtype=D)
    got = torch.autograd.functional.jacobian(lambda x: layer(x)[0], x, vectorize=True)
    assert_close(got, torch.autograd.functional.jacobian(lambda x: layer(x)[0], x))


@pytest.mark.parametrize("name", ["cell", "heads", "bias", "layer_norm", "hidden_size", "learn_state", "num_layers"])
def test_what_the_weights_depend_on_cannot_be_changed_later(name: str) -> None:
    layer = holdfast.LSTM(3, 4)
    with pytest.raises(AttributeError, match=f"{name} is fixed when the layer is made"):
        setattr(layer, name, getattr(layer, name))


def test_the_programs_of_a_call_and_of_a_trace_have_the_same_groups_but_for_what_is_only_shown() -> None:
    for cell in (cells.LSTM(), cells.GRU(), cells.FGR()):
        assert trace(cell).groups[0].gates == trace(cell, shown=True).groups[0].gates
