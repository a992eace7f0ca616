"""PyTorch's own kernels as an engine: the same numbers as the reference engine's, or a refusal."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils.rnn import pack_sequence

import holdfast
from holdfast import cells
from holdfast.engines import operator, vendor
from holdfast.engines.inputs import Inputs
from holdfast.engines.parameters import names
from holdfast.engines.tensors import checked
from holdfast.language import parse, recur, sigmoid, tanh
from tests.support import assert_all_close, assert_close

D = torch.float64

LAYERS: dict[str, Callable[..., holdfast.Recurrent]] = {
    "LSTM": holdfast.LSTM,
    "projected LSTM": lambda *sizes, **options: holdfast.LSTM(*sizes, proj_size=2, **options),
    "GRU": holdfast.GRU,
    "RNN": holdfast.RNN,
    "RNN relu": lambda *sizes, **options: holdfast.RNN(*sizes, nonlinearity="relu", **options),
}
each_kind = pytest.mark.parametrize("kind", LAYERS)
projected_on_a_cpu = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")


def pair(make: Callable[..., holdfast.Recurrent], **options: Any) -> tuple[holdfast.Recurrent, holdfast.Recurrent]:
    """The same layer twice, by the vendor's kernels and by the reference."""
    layer = make(3, 5, **{"dtype": D, **options})
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    other = copy.deepcopy(layer)
    layer.engine, other.engine = "vendor", "reference"
    return layer, other


def states_of(layer: holdfast.Recurrent, batch: int) -> list[Tensor]:
    """Initial states, all different."""
    dtype = layer.weight_ih_l0.dtype
    return [torch.randn(shape, dtype=dtype) for shape in layer._state_shapes(batch)]


def everything(layer: holdfast.Recurrent, x: Tensor, hx: list[Tensor] | None = None) -> dict[str, Tensor]:
    """All that a call gives, and all gradients of a mix of it."""
    x = x.clone().requires_grad_()
    hx = [s.clone().requires_grad_() for s in hx or []]
    state = None if not hx else hx[0] if len(hx) == 1 else tuple(hx)
    torch.manual_seed(1)
    output, final = layer(x, state)
    results = [output, *([final] if isinstance(final, Tensor) else final)]
    loss = sum((r.sin() * torch.linspace(0.5, 2, r.numel(), dtype=r.dtype).view_as(r)).sum() for r in results)
    leaves = {"x": x, **{f"hx{k}": s for k, s in enumerate(hx)}, **dict(layer.named_parameters())}
    found = torch.autograd.grad(loss, list(leaves.values()))  # type: ignore[arg-type]
    seen = {f"result {k}": r.detach() for k, r in enumerate(results)}
    return {**seen, **{f"gradient of {name}": g for name, g in zip(leaves, found)}}


# The same numbers.


@projected_on_a_cpu
@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, D], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", ["one layer", "three layers in both directions"])
def test_results_and_all_gradients_are_the_references(kind: str, dtype: torch.dtype, bias: bool, shape: str) -> None:
    several = {"num_layers": 3, "bidirectional": True} if shape != "one layer" else {}
    layer, other = pair(LAYERS[kind], dtype=dtype, bias=bias, **several)
    x, hx = torch.randn(7, 2, 3, dtype=dtype), states_of(layer, 2)
    assert_all_close(everything(layer, x, hx), everything(other, x, hx), dtype)
    assert_all_close(everything(layer, x), everything(other, x), dtype)


@each_kind
@pytest.mark.parametrize("steps", [1, 40])
def test_short_and_long_sequences(kind: str, steps: int) -> None:
    layer, other = pair(LAYERS[kind])
    x, hx = torch.randn(steps, 2, 3, dtype=D), states_of(layer, 2)
    assert_all_close(everything(layer, x, hx), everything(other, x, hx), D)


@pytest.mark.parametrize("options", [{"dropout": 0.4, "num_layers": 2}, {"weight_drop": 0.4}, {"learn_state": True}])
def test_what_a_layer_does_around_the_run_goes_with_it(options: Any) -> None:
    layer, other = pair(holdfast.LSTM, **options)
    x = torch.randn(7, 2, 3, dtype=D)
    assert_all_close(everything(layer, x), everything(other, x), D)


def test_recurrent_dropout_is_nothing_in_evaluation() -> None:
    layer, other = pair(holdfast.LSTM, recurrent_dropout=0.5)
    x = torch.randn(7, 2, 3, dtype=D)
    assert_all_close(everything(layer.eval(), x), everything(other.eval(), x), D)


@pytest.mark.parametrize("shape", [(7, 3), (7, 0, 3)], ids=["unbatched", "a batch of none"])
def test_other_layouts(shape: tuple[int, ...]) -> None:
    layer, other = pair(holdfast.LSTM, bidirectional=True)
    x = torch.randn(shape, dtype=D)
    assert_all_close(everything(layer, x), everything(other, x), D)


def test_input_and_weights_need_not_be_contiguous() -> None:
    layer, other = pair(holdfast.LSTM, batch_first=True)
    x = torch.randn(3, 7, 2, dtype=D).permute(2, 1, 0)
    weights = {name: w.detach().t().contiguous().t() for name, w in layer.named_parameters()}
    assert_close(functional_call(layer, weights, (x,))[0], other(x)[0])


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_an_output_without_a_gradient(missing: int) -> None:
    layer, other = pair(holdfast.LSTM)
    x = torch.randn(7, 2, 3, dtype=D)
    found = []
    for run in (layer, other):
        output, final = run(x)
        parts = [t.sin().sum() for k, t in enumerate((output, *final)) if k != missing]
        found.append(torch.autograd.grad(sum(parts), list(run.parameters())))  # type: ignore[arg-type]
    for got, expected in zip(*found):
        assert_close(got, expected)


def test_autocast_does_not_reach_into_it() -> None:
    layer, _ = pair(holdfast.LSTM, dtype=torch.float32)
    inputs = Inputs(torch.randn(7, 2, 3), [torch.zeros(2, 5)] * 2, [], layer.all_weights[0], [], None, None, False)
    expected = vendor.run(layer.program, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = vendor.run(layer.program, inputs)
        assert torch.is_autocast_enabled("cpu")
    assert all(torch.equal(a, b) for a, b in zip(got, expected))


@pytest.mark.parametrize("make", [holdfast.LSTMCell, holdfast.GRUCell, holdfast.RNNCell])
def test_single_steps(make: Any) -> None:
    cell = make(3, 5, dtype=D, engine="vendor")
    x = torch.randn(2, 3, dtype=D)
    state = [torch.randn(2, 5, dtype=D) for _ in cell.cell.states]
    hx = state[0] if len(state) == 1 else tuple(state)
    got = cell(x, hx)
    cell.engine = "reference"
    expected = cell(x, hx)
    for one, two in zip(*((r,) if isinstance(r, Tensor) else r for r in (got, expected))):
        assert_close(one, two)


def test_nothing_is_recorded_where_nothing_is_asked_for() -> None:
    layer, _ = pair(holdfast.LSTM)
    with torch.no_grad():
        assert not layer(torch.randn(7, 2, 3, dtype=D))[0].requires_grad
    layer.requires_grad_(False)
    assert not layer(torch.randn(7, 2, 3, dtype=D))[0].requires_grad


# What a program is, is told by its equations.


class Memory(holdfast.Cell):
    """The LSTM in other words and in another order."""

    gates = ("write", "keep", "new", "show")
    states = ("out", "store")

    def step(self, gate: Any, state: Any) -> Any:
        show = sigmoid(gate.show.recurrent + gate.show.input)
        keep, write = sigmoid(gate.keep), sigmoid(gate.write)
        store = tanh(gate.new) * write + state.store * keep
        return tanh(store) * show, store


class Late(holdfast.Cell):
    """The LSTM, shown one step late."""

    gates = ("i", "f", "g", "o")
    states = ("h", "c")

    def step(self, gate: Any, state: Any) -> Any:
        c = sigmoid(gate.f) * state.c + sigmoid(gate.i) * tanh(gate.g)
        return sigmoid(gate.o) * tanh(state.c), c


class Exchanged(holdfast.Cell):
    """The LSTM with its first two gates exchanged: other rows of the weights."""

    gates = ("f", "i", "g", "o")
    states = ("h", "c")

    def step(self, gate: Any, state: Any) -> Any:
        c = sigmoid(gate.f) * state.c + sigmoid(gate.i) * tanh(gate.g)
        return sigmoid(gate.o) * tanh(c), c


class Twice(holdfast.Cell):
    """An RNN with a second recurrent weight."""

    gates = ("h",)

    def step(self, gate: Any, state: Any) -> Any:
        return tanh(gate.h + recur("h", state.h, "weight_more"))


def test_a_cell_of_ones_own_with_the_equations_of_pytorchs_is_served() -> None:
    def make(*sizes: Any, **options: Any) -> holdfast.Recurrent:
        return holdfast.Recurrent(Memory(), *sizes, **options)

    layer, other = pair(make, num_layers=2, bidirectional=True)
    x, hx = torch.randn(7, 2, 3, dtype=D), states_of(layer, 2)
    assert_all_close(everything(layer, x, hx), everything(other, x, hx), D)


REFUSED: dict[str, tuple[Callable[[], holdfast.Recurrent], str]] = {
    "peephole": (lambda: holdfast.LSTM(3, 5, peephole=True), "the equations of this LSTM are others"),
    "coupled": (lambda: holdfast.LSTM(3, 5, coupled=True), "the equations of this LSTM are others"),
    "cell_clip": (lambda: holdfast.LSTM(3, 5, cell_clip=1.0), "the equations of this LSTM are others"),
    "gate_activation": (lambda: holdfast.LSTM(3, 5, gate_activation="hard_sigmoid"), "this LSTM are others"),
    "activation": (lambda: holdfast.LSTM(3, 5, activation="relu"), "this LSTM are others"),
    "activation of the GRU": (lambda: holdfast.GRU(3, 5, activation="relu"), "this GRU are others"),
    "activation of the RNN": (lambda: holdfast.RNN(3, 5, activation="sigmoid"), "this RNN are others"),
    "original GRU": (lambda: holdfast.GRU(3, 5, reset_after=False), "the equations of this GRU are others"),
    "sLSTM": (lambda: holdfast.SLSTM(3, 5), "the equations of this SLSTM are others"),
    "layer_norm": (lambda: holdfast.LSTM(3, 5, layer_norm=True), "this one has layer_norm$"),
    "heads": (lambda: holdfast.LSTM(3, 6, heads=2), "this one has heads=2$"),
    "grad_clip": (lambda: holdfast.LSTM(3, 5, grad_clip=0.5), "this one has grad_clip=0.5$"),
    "zoneout": (lambda: holdfast.LSTM(3, 5, zoneout=(0.1, 0.2)), "this one has zoneout_h, zoneout_c$"),
    "zoneout in evaluation": (lambda: holdfast.GRU(3, 5, zoneout=0.1).eval(), "equations of this GRU are others"),
    "recurrent_dropout": (lambda: holdfast.RNN(3, 5, recurrent_dropout=0.1), "this one has recurrent_dropout$"),
    "several": (
        lambda: holdfast.GRU(3, 6, layer_norm=True, heads=3, grad_clip=1.0),
        "this one has layer_norm, heads=3, grad_clip=1$",
    ),
    "half precision": (lambda: holdfast.LSTM(3, 5, dtype=torch.bfloat16), "float32 and float64, the input is bfloat16"),
    "another device": (lambda: holdfast.LSTM(3, 5, device="meta"), "on CUDA devices, the input is on meta"),
    "other gates": (lambda: holdfast.Recurrent(Exchanged(), 3, 5), "the equations of this Exchanged are others"),
    "another order in time": (lambda: holdfast.Recurrent(Late(), 3, 5), "the equations of this Late are others"),
    "a second weight": (lambda: holdfast.Recurrent(Twice(), 3, 5), "the equations of this Twice are others"),
    "Greff's NP with a peephole less": (lambda: holdfast.Recurrent(cells.NIG(), 3, 5), "this NIG are others"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_pytorchs_layers_cannot_do_is_refused(what: str) -> None:
    make, message = REFUSED[what]
    layer = make()
    layer.engine = "vendor"
    x = layer.weight_ih_l0.new_zeros(7, 2, 3)
    with pytest.raises(NotImplementedError, match=f"^engine='vendor' cannot serve this call: .*{message}"):
        layer(x)
    with pytest.raises(NotImplementedError, match=message):
        holdfast.explain(layer, x)


@pytest.mark.parametrize(
    ("call", "given"),
    [
        (lambda layer, x: layer.trace(x), "trace"),
        (lambda layer, x: layer(x, lengths=[7, 3]), "lengths"),
        (lambda layer, x: layer(pack_sequence([x[:, 0], x[:3, 0]])), "lengths"),
        (lambda layer, x: layer(x, reset=torch.zeros(7, 2, dtype=torch.bool)), "reset"),
    ],
    ids=["trace", "lengths", "packed", "reset"],
)
def test_calls_that_pytorchs_kernels_cannot_serve_are_refused(call: Any, given: str) -> None:
    layer = holdfast.LSTM(3, 5, engine="vendor")
    with pytest.raises(NotImplementedError, match=f"without trace, lengths .* and reset; given was {given}$"):
        call(layer, torch.randn(7, 2, 3))


def test_a_run_without_asking_first_is_refused_too() -> None:
    layer = holdfast.SLSTM(3, 5)
    states = [torch.zeros(2, 5) for _ in layer.cell.states]
    inputs = Inputs(torch.randn(7, 2, 3), states, [], layer.all_weights[0], [], None, None, False)
    with pytest.raises(NotImplementedError, match="takes plain cells only, not this SLSTM"):
        vendor.run(layer.program, inputs)


# What PyTorch does to a call.


@pytest.mark.sweep(every=9)
@each_kind
def test_compiles_to_one_graph_whatever_the_length(kind: str) -> None:
    layer, other = pair(LAYERS[kind], bidirectional=True)
    torch._dynamo.reset()
    graphs = 0

    def backend(graph: Any, inputs: Any) -> Any:
        from torch._dynamo.backends.debugging import aot_eager

        nonlocal graphs
        graphs += 1
        return aot_eager(graph, inputs)

    compiled: Any = torch.compile(layer, fullgraph=True, backend=backend)
    for shape in ((5, 2, 3), (50, 4, 3), (500, 3, 3)):
        x = torch.randn(shape, dtype=D, requires_grad=True)
        results = []
        for run in (compiled, other):
            output, final = run(x)
            loss = output.sin().sum() + sum(s.cos().sum() for s in ([final] if isinstance(final, Tensor) else final))
            parameters = list((layer if run is compiled else other).parameters())
            results.append([output, *torch.autograd.grad(loss, [x, *parameters])])
        for got, expected in zip(*results):
            assert_close(got, expected)
    assert graphs <= 2


def test_exports_with_dynamic_length_and_batch() -> None:
    layer, other = pair(holdfast.LSTM, num_layers=2)
    steps, batch = torch.export.Dim("steps"), torch.export.Dim("batch")
    exported = torch.export.export(
        layer, (torch.randn(5, 2, 3, dtype=D),), dynamic_shapes={"input": {0: steps, 1: batch}}
    )
    assert [str(node.target) for node in exported.graph.nodes].count("holdfast.recurrence.default") == 2
    for shape in ((11, 3, 3), (2, 7, 3)):
        x = torch.randn(shape, dtype=D)
        assert_close(exported.module()(x)[0], other(x)[0])


def test_an_ensemble_runs_and_trains_by_vmap() -> None:
    members = [pair(holdfast.LSTM)[0] for _ in range(3)]
    weights, _ = stack_module_state(members)  # type: ignore[arg-type]
    x = torch.randn(5, 2, 3, dtype=D)
    outputs = vmap(lambda w: functional_call(members[0], w, (x,))[0])(weights)
    got = torch.autograd.grad(outputs.sin().sum(), list(weights.values()))
    for k, member in enumerate(members):
        member.engine = "reference"
        output = member(x)[0]
        assert_close(outputs[k], output)
        for one, two in zip(got, torch.autograd.grad(output.sin().sum(), list(member.parameters()))):
            assert_close(one[k], two)


def operator_arguments(kind: str, need: bool = True) -> tuple[Any, ...]:
    layer, _ = pair(LAYERS[kind])
    x = torch.randn(5, 2, 3, dtype=D, requires_grad=need)
    state = [s[0].requires_grad_(need) for s in states_of(layer, 2)]
    weights = [w.detach().requires_grad_(need) for w in layer.all_weights[0]]
    return x, state, [], weights, [], None, None, layer.program.text(), "vendor", True, False, True


@pytest.mark.sweep(every=3)
@each_kind
@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # opcheck's own, on what it finds fit to remark
def test_as_an_operator_it_passes_opcheck(kind: str) -> None:
    torch.library.opcheck(operator.recurrence, operator_arguments(kind))
    arguments = operator_arguments(kind, need=False)
    results = operator.recurrence(*arguments)
    given = [True] * len(results)
    gradients = [torch.randn_like(r) for r in results]
    torch.library.opcheck(operator.recurrence_backward, (gradients, given, *arguments[:7], [], *arguments[7:11], True))


@each_kind
@pytest.mark.parametrize("need_x", [True, False])
def test_the_way_back_of_the_operator_is_autograds(kind: str, need_x: bool) -> None:
    arguments = operator_arguments(kind)
    x, state, _, weights, *_, text, _, reverse, _, _ = arguments
    inputs = Inputs(x, state, [], weights, [], None, None, reverse)
    program = parse(text)
    results = vendor.run(program, inputs)
    arriving = [None, *(torch.randn_like(r) for r in results[1:])]
    read = [x, *state, *weights]
    expected = torch.autograd.grad(results[1:], read, arriving[1:], allow_unused=True, materialize_grads=True)
    signature, inputs = checked(program, inputs)
    found = vendor.backward(signature, inputs, [], arriving[0], arriving[1:], [], False, need_x)
    assert (found.x is not None) == need_x
    got = [found.x, *found.state, *found.weights]
    for name, one, two in zip(["x", *["state"] * len(state), *names(program)], got, expected):
        if one is not None:
            assert_close(one, two, name)
    assert not found.home


def test_second_derivatives_through_the_operator_and_past_it() -> None:
    layer, other = pair(holdfast.LSTM)
    torch._dynamo.reset()
    x = torch.randn(5, 2, 3, dtype=D, requires_grad=True)

    def second(run: Any) -> Tensor:
        [slope] = torch.autograd.grad(run(x).sin().sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), x)[0]

    arguments = operator_arguments("LSTM")
    expected = second(lambda x: other(x)[0])
    assert_close(second(lambda x: layer(x)[0]), expected)
    weights = list(layer.parameters())
    zero = [torch.zeros(2, 5, dtype=D)] * 2
    by_operator = second(
        lambda x: operator.recurrence(x, zero, [], weights, [], None, None, arguments[7], "vendor", False, False, True)[
            0
        ]
    )
    assert_close(by_operator, expected)


# What a GPU wants.


@pytest.mark.parametrize("bias", [True, False])
def test_the_weights_in_one_piece_are_the_same_weights(bias: bool) -> None:
    layer, _ = pair(holdfast.LSTM, bias=bias)
    weights = [w.detach().t().contiguous().t().requires_grad_() for w in layer.parameters()]
    joined = vendor._in_one_piece(weights)
    assert len(joined) == len(weights)
    offset = 0
    for one, other in zip(joined, weights):
        assert torch.equal(one, other)
        assert one.is_contiguous()
        assert one.storage_offset() == offset
        offset += one.numel()
    rows = weights[0].shape[0]
    assert joined[0].untyped_storage().nbytes() == 8 * (weights[0].numel() + weights[1].numel() + 2 * rows)
    found = torch.autograd.grad(sum((k + 1) * w.sin().sum() for k, w in enumerate(joined)), weights)  # type: ignore[arg-type]
    for k, (got, weight) in enumerate(zip(found, weights)):
        assert_close(got, (k + 1) * weight.detach().cos())
