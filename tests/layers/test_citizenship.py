"""What PyTorch can do to a module, it can do to ours: each by numbers."""

from __future__ import annotations

import copy
import pickle
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap

import holdfast
from holdfast.engines import operator
from holdfast.language import parse
from tests.layers import data_parallel
from tests.support import assert_close

D = torch.float64

LAYERS: dict[str, Callable[[], holdfast.Recurrent]] = {
    "LSTM": lambda: holdfast.LSTM(3, 4, 2, bidirectional=True, dtype=D),
    "LSTM with options": lambda: holdfast.LSTM(
        3, 4, peephole=True, layer_norm=True, proj_size=2, zoneout=(0.1, 0.2), learn_state=True, dtype=D
    ),
    "LSTM that computes its gates again": lambda: holdfast.LSTM(3, 4, recompute=True, dtype=D),
    "original GRU": lambda: holdfast.GRU(3, 4, reset_after=False, heads=2, dtype=D),
    "sLSTM": lambda: holdfast.SLSTM(3, 4, dtype=D),
    "RNN": lambda: holdfast.RNN(3, 4, grad_clip=100.0, dtype=D),
}
each_layer = pytest.mark.parametrize("kind", LAYERS)


def make(kind: str) -> holdfast.Recurrent:
    """A layer in evaluation, so that nothing is drawn."""
    layer = LAYERS[kind]().eval()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return layer


def loss_of(layer: nn.Module, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """A scalar that depends on everything a call returns."""
    output, state = functional_call(layer, weights, (x,))
    states = state if isinstance(state, tuple) else (state,)
    return output.sin().sum() + sum((s.square() * (k + 1)).sum() for k, s in enumerate(states))


def differences(function: Callable[[Tensor], Tensor], x: Tensor, along: Tensor) -> Tensor:
    """The directional derivative by central differences of sixth order."""
    h = 1e-3
    parts = ((1, 45), (2, -9), (3, 1))
    return sum(w * (function(x + k * h * along) - function(x - k * h * along)) for k, w in parts) / (60 * h)  # type: ignore[return-value]


# torch.compile and torch.export.


@pytest.mark.sweep(every=5)
@each_layer
def test_compiles_to_one_graph_with_one_recompilation_for_new_lengths(kind: str) -> None:
    layer = make(kind)
    torch._dynamo.reset()
    graphs = 0

    def count(graph: Any, inputs: Any) -> Any:
        nonlocal graphs
        graphs += 1
        return graph

    from torch._dynamo.backends.debugging import aot_eager

    def backend(graph: Any, inputs: Any) -> Any:
        count(graph, inputs)
        return aot_eager(graph, inputs)

    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    for steps in (5, 50, 500):
        x = torch.randn(steps, 2, 3, dtype=D)
        results = []
        for run in (compiled, layer):
            layer.zero_grad()
            given = x.clone().requires_grad_()
            output, _ = run(given)
            output.sin().sum().backward()
            assert given.grad is not None
            results.append([output, given.grad, *(w.grad.clone() for w in layer.parameters() if w.grad is not None)])
        for got, expected in zip(*results):
            assert_close(got, expected)
    assert graphs <= 2


def test_lengths_resets_noise_and_traces_compile_too() -> None:
    layer = holdfast.LSTM(3, 4, 2, dropout=0.3, zoneout=(0.2, 0.2), recurrent_dropout=0.2, weight_drop=0.2, dtype=D)
    torch._dynamo.reset()

    def call(x: Tensor, lengths: Tensor, reset: Tensor) -> tuple[Tensor, Tensor]:
        traced = layer.trace(x, lengths=lengths, reset=reset)
        return traced.output, traced.layers[1].gates["f"]

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    x, lengths, reset = torch.randn(6, 3, 3, dtype=D), torch.tensor([6, 0, 3]), torch.rand(6, 3) < 0.3
    torch.manual_seed(4)
    expected = call(x, lengths, reset)
    torch.manual_seed(4)
    for got, wanted in zip(compiled(x, lengths, reset), expected):
        assert_close(got, wanted)
    with pytest.raises(ValueError, match="lengths must lie between 0 and the number of steps, 6; got 7"):
        compiled(x, torch.tensor([7, 0, 3]), reset)


@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor needs a C++ compiler, and there is none")
def test_compiles_with_inductor_forward_and_backward() -> None:
    layer = holdfast.LSTM(3, 4, dtype=D)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True)
    x = torch.randn(5, 2, 3, dtype=D, requires_grad=True)
    expected = torch.autograd.grad(layer(x)[0].sin().sum(), [x, *layer.parameters()])
    got = torch.autograd.grad(compiled(x)[0].sin().sum(), [x, *layer.parameters()])
    for one, other in zip(got, expected):
        assert_close(one, other)


@pytest.mark.sweep(every=4)
@each_layer
def test_exports_with_dynamic_length_and_batch(kind: str) -> None:
    layer = make(kind)
    steps, batch = torch.export.Dim("steps"), torch.export.Dim("batch")
    exported = torch.export.export(
        layer, (torch.randn(5, 2, 3, dtype=D),), dynamic_shapes={"input": {0: steps, 1: batch}}
    )
    assert [str(node.target) for node in exported.graph.nodes].count("holdfast.recurrence.default") == len(
        layer.all_weights
    )
    for shape in ((11, 3, 3), (2, 7, 3), (40, 2, 3)):
        x = torch.randn(*shape, dtype=D)
        for got, expected in zip(exported.module()(x), layer(x)):
            for one, other in zip(*((r,) if isinstance(r, Tensor) else r for r in (got, expected))):
                assert_close(one, other)


def test_an_exported_program_needs_no_definition_of_the_cell(tmp_path: Any) -> None:
    class Passing(holdfast.Cell):
        gates = ("a",)

        def step(self, gate: Any, state: Any) -> Any:
            return 0.5 * gate.a + 0.25 * state.h

    layer = holdfast.Recurrent(Passing(), 3, 4, dtype=D)
    x = torch.randn(5, 2, 3, dtype=D)
    path = tmp_path / "layer.pt2"
    torch.export.save(torch.export.export(layer, (x,)), path)
    assert_close(torch.export.load(path).module()(x)[0], layer(x)[0])


# torch.func.


@each_layer
def test_an_ensemble_runs_by_vmap_over_stacked_weights(kind: str) -> None:
    members = [make(kind) for _ in range(3)]
    weights, buffers = stack_module_state(members)  # type: ignore[arg-type]
    base = copy.deepcopy(members[0]).to("meta")
    x = torch.randn(5, 2, 3, dtype=D)
    got = vmap(lambda w, b: functional_call(base, (w, b), (x,))[0])(weights, buffers)
    for k, member in enumerate(members):
        assert_close(got[k], member(x)[0])


def test_an_ensemble_trains_by_vmap_inside_of_autograd() -> None:
    members = [make("LSTM") for _ in range(3)]
    weights, _ = stack_module_state(members)  # type: ignore[arg-type]
    base = copy.deepcopy(members[0]).to("meta")
    x = torch.randn(5, 2, 3, dtype=D)
    losses = vmap(lambda w: loss_of(base, w, x))(weights)
    got = torch.autograd.grad(losses.sum(), list(weights.values()))
    for k, member in enumerate(members):
        expected = torch.autograd.grad(loss_of(member, {}, x), list(member.parameters()))
        for one, other in zip(got, expected):
            assert_close(one[k], other)


@each_layer
def test_gradients_per_sample_are_those_of_each_sample_alone(kind: str) -> None:
    layer = make(kind)
    weights = {name: w.detach() for name, w in layer.named_parameters()}
    x = torch.randn(5, 3, 3, dtype=D)
    got = vmap(grad(lambda w, one: loss_of(layer, w, one.unsqueeze(1))), (None, 1))(weights, x)
    for b in range(3):
        expected = torch.autograd.grad(loss_of(layer, {}, x[:, b : b + 1]), list(layer.parameters()))
        for name, other in zip(weights, expected):
            assert_close(got[name][b], other)


def test_gradients_per_sample_with_lengths_and_resets() -> None:
    layer = make("LSTM")
    weights = {name: w.detach() for name, w in layer.named_parameters()}
    x, lengths, reset = torch.randn(5, 3, 3, dtype=D), torch.tensor([5, 2, 0]), torch.rand(5, 3) < 0.4

    def loss(w: Any, one: Tensor, length: Tensor, cut: Tensor) -> Tensor:
        given = {"lengths": length.unsqueeze(0), "reset": cut.unsqueeze(1)}
        return functional_call(layer, w, (one.unsqueeze(1),), given)[0].sin().sum()

    got = vmap(grad(loss), (None, 1, 0, 1))(weights, x, lengths, reset)
    for b in range(3):
        value = loss({}, x[:, b], lengths[b], reset[:, b])
        expected = torch.autograd.grad(value, list(layer.parameters()), materialize_grads=True)
        for name, other in zip(weights, expected):
            assert_close(got[name][b], other)
    with pytest.raises(ValueError, match="lengths must lie between 0 and"):
        vmap(grad(loss), (None, 1, 0, 1))(weights, x, torch.tensor([5, 2, 9]), reset)


@each_layer
def test_the_tangent_of_jvp_is_the_directional_derivative(kind: str) -> None:
    layer = make(kind)
    x, along = torch.randn(5, 2, 3, dtype=D), torch.randn(5, 2, 3, dtype=D)

    output, tangent = jvp(lambda x: layer(x)[0], (x,), (along,))
    assert_close(output, layer(x)[0])
    assert_close(tangent, differences(lambda x: layer(x)[0].detach(), x, along))


def test_a_trace_under_a_transform_is_zero_past_a_length_too() -> None:
    layer = make("LSTM")
    x = torch.randn(5, 2, 3, dtype=D)

    def gate(x: Tensor) -> Tensor:
        return layer.trace(x, lengths=[2, 5]).layers[1].gates["f"]

    value, tangent = jvp(gate, (x,), (torch.ones_like(x),))
    assert_close(value, gate(x))
    assert not value[2:, 0].any()
    assert not tangent[2:, 0].any()
    assert tangent[:2, 0].all()


def test_forward_mode_of_autograd_is_right_too() -> None:
    layer = make("LSTM")
    x, along = torch.randn(5, 2, 3, dtype=D), torch.randn(5, 2, 3, dtype=D)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, along)
        tangent = torch.autograd.forward_ad.unpack_dual(layer(dual)[0]).tangent
    assert tangent is not None
    assert_close(tangent, differences(lambda x: layer(x)[0].detach(), x, along))


def test_jacobians_and_hessians_agree_forward_and_backward() -> None:
    layer = holdfast.LSTM(2, 3, dtype=D)
    x = torch.randn(3, 1, 2, dtype=D)

    def scalar(x: Tensor) -> Tensor:
        return layer(x)[0].sin().sum()

    assert_close(jacfwd(lambda x: layer(x)[0])(x), jacrev(lambda x: layer(x)[0])(x))
    _, pull = vjp(scalar, x)
    assert_close(pull(torch.ones((), dtype=D))[0], torch.autograd.functional.jacobian(scalar, x))
    assert_close(hessian(scalar)(x), torch.autograd.functional.hessian(scalar, x))


@pytest.mark.parametrize("fullgraph", [False, pytest.param(True, marks=pytest.mark.full)])
@pytest.mark.parametrize("kind", [pytest.param("LSTM with options", marks=pytest.mark.full), "RNN"])
def test_compiled_transforms_are_right_or_raise(kind: str, fullgraph: bool) -> None:
    layer = make(kind)
    weights = {name: w.detach() for name, w in layer.named_parameters()}
    x = torch.randn(5, 2, 3, dtype=D)

    def stacked(w: dict[str, Tensor], x: Tensor) -> Tensor:
        return vmap(lambda one: loss_of(layer, one, x))({name: torch.stack([v, 2 * v]) for name, v in w.items()})

    transforms: list[Callable[..., Any]] = [
        grad(lambda w, x: loss_of(layer, w, x)),
        vmap(grad(lambda w, one: loss_of(layer, w, one.unsqueeze(1))), (None, 1)),
        lambda w, x: jvp(lambda x: loss_of(layer, w, x), (x,), (x,)),
        lambda w, x: grad(lambda x: grad(lambda x: loss_of(layer, w, x))(x).square().sum())(x),
        stacked,
    ]
    leaves = torch.utils._pytree.tree_leaves
    for k, transform in enumerate(transforms):
        expected = leaves(transform(weights, x))
        torch._dynamo.reset()
        try:
            got = torch.compile(transform, backend="aot_eager", fullgraph=fullgraph)(weights, x)
        except torch._dynamo.exc.TorchDynamoException:
            assert fullgraph, f"transform {k} cannot run compiled at all"
            continue
        for one, other in zip(leaves(got), expected):
            assert_close(one, other)


def test_a_transform_of_a_compiled_layer_is_right_or_raises() -> None:
    layer = make("LSTM")
    x, along = torch.randn(5, 2, 3, dtype=D), torch.randn(5, 2, 3, dtype=D)
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager")
    calls: list[Callable[[Any], Any]] = [
        lambda run: grad(lambda x: run(x)[0].sin().sum())(x),
        lambda run: jvp(lambda x: run(x)[0], (x,), (along,))[1],
    ]
    for call in calls:
        try:
            got = call(compiled)
        except torch._dynamo.exc.TorchDynamoException:
            continue
        assert_close(got, call(layer))


# Autograd of higher order.


@pytest.mark.sweep
@pytest.mark.parametrize("kind", ["LSTM with options", "original GRU", "sLSTM", "RNN"])
@pytest.mark.parametrize("traced", [False, True])
def test_first_and_second_derivatives_agree_with_differences(kind: str, traced: bool) -> None:
    layer = make(kind)
    names = [name for name, _ in layer.named_parameters()]
    weights = [w.detach().requires_grad_() for w in layer.parameters()]
    x = torch.randn(3, 2, 3, dtype=D, requires_grad=True)

    class Traced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            if not traced:
                output, state = self.layer(x)
                return output, *(state if isinstance(state, tuple) else (state,))
            record = self.layer.trace(x).layers[0]
            return *record.gates.values(), *record.states.values()

    module = Traced()

    def run(x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        return functional_call(module, {f"layer.{n}": w for n, w in zip(names, weights)}, (x,))

    assert torch.autograd.gradcheck(run, (x, *weights), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (x, *weights), fast_mode=True)


def test_third_derivatives_agree_with_differences() -> None:
    layer = holdfast.LSTM(2, 2, dtype=D)
    x, along = torch.randn(2, 1, 2, dtype=D), torch.randn(2, 1, 2, dtype=D)

    def second(x: Tensor, keep: bool = False) -> Tensor:
        x = x if x.requires_grad else x.detach().requires_grad_()
        first = torch.autograd.grad(layer(x)[0].sin().sum(), x, create_graph=True)[0]
        return torch.autograd.grad((first * along).sum(), x, create_graph=keep)[0]

    x.requires_grad_()
    third = torch.autograd.grad((second(x, keep=True) * along).sum(), x)[0]
    numeric = differences(lambda x: second(x).detach(), x.detach(), along)
    assert (third - numeric).abs().max() < 1e-8 * numeric.abs().max()


def test_a_gradient_penalty_trains() -> None:
    layer = holdfast.LSTM(3, 4, dtype=D)
    x = torch.randn(5, 2, 3, dtype=D, requires_grad=True)
    [slope] = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
    slope.square().sum().backward()

    def penalty(weight: Tensor) -> Tensor:
        out = functional_call(layer, {"weight_hh_l0": weight}, (x,))[0]
        return torch.autograd.grad(out.sum(), x)[0].square().sum()

    along = torch.randn(16, 4, dtype=D)
    numeric = differences(penalty, layer.weight_hh_l0.detach(), along)
    assert layer.weight_hh_l0.grad is not None
    assert (layer.weight_hh_l0.grad * along).sum().item() == pytest.approx(numeric.item(), rel=1e-8)


# Precision.


@pytest.mark.sweep(every=3)
@each_layer
def test_autocast_runs_in_bfloat16_near_the_full_precision(kind: str) -> None:
    layer = make(kind).float()
    x = torch.randn(20, 2, 3, requires_grad=True)
    full = layer(x)[0]
    expected = torch.autograd.grad(full.sum(), [x, *layer.parameters()])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, state = layer(x)
        assert output.dtype == torch.bfloat16
        assert all(s.dtype == torch.bfloat16 for s in (state if isinstance(state, tuple) else (state,)))
    got = torch.autograd.grad(output.float().sum(), [x, *layer.parameters()])
    assert (output.float() - full).abs().max() < 0.05 * full.abs().max()
    for one, other in zip(got, expected):
        assert one.dtype == torch.float32
        assert torch.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.98


def test_autocast_covers_learned_states_resets_lengths_and_backward() -> None:
    layer = holdfast.LSTM(3, 4, learn_state=True)
    with torch.no_grad():
        layer.h_0.normal_()
    x, reset = torch.randn(9, 2, 3), torch.rand(9, 2) < 0.3
    expected = torch.autograd.grad(layer(x, lengths=[9, 6], reset=reset)[0].sum(), list(layer.parameters()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, _ = layer(x, lengths=[9, 6], reset=reset)
        assert output.dtype == torch.bfloat16
        got = torch.autograd.grad(output.sum(), list(layer.parameters()))  # backward inside of autocast, as some do
    for one, other in zip(got, expected):
        assert one.dtype == torch.float32
        assert torch.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.98


def test_the_backward_pass_is_the_same_inside_and_outside_of_autocast() -> None:
    layer = holdfast.LSTM(3, 4)
    output, _ = layer(torch.randn(9, 2, 3))
    outside = torch.autograd.grad(output.sum(), list(layer.parameters()), retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = torch.autograd.grad(output.sum(), list(layer.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(inside, outside))


def test_autocast_leaves_float64_alone() -> None:
    layer = make("LSTM")
    x = torch.randn(5, 2, 3, dtype=D)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x)[0], layer(x)[0])
        assert layer(x)[0].dtype == D


def test_states_of_half_precision_layers_are_kept_in_full_precision() -> None:
    layer = holdfast.LSTM(1, 1, dtype=torch.bfloat16)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
        layer.bias_ih_l0.copy_(torch.tensor([-4.0, 20.0, 20.0, 20.0]))  # c grows by 0.018 a step and forgets nothing
    output, _ = layer(torch.zeros(400, 1, 1, dtype=torch.bfloat16))
    expected = torch.tanh(400 * torch.sigmoid(torch.tensor(-4.0)))  # bfloat16 sums would stall at 4
    assert_close(output[-1, 0, 0].float(), expected.bfloat16().float())
    [record] = layer.trace(torch.zeros(400, 1, 1, dtype=torch.bfloat16)).layers
    assert record.states["c"][-1].item() == pytest.approx(7.19, abs=0.05)


# Modules.


@each_layer
def test_copies_and_pickles_are_the_same_layer(kind: str) -> None:
    layer = make(kind)
    x = torch.randn(5, 2, 3, dtype=D)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x)[0], layer(x)[0])
        assert not {id(w) for w in other.parameters()} & {id(w) for w in layer.parameters()}
        assert repr(other) == repr(layer)
        with torch.no_grad():
            next(other.parameters()).add_(1.0)
        assert not torch.equal(other(x)[0], layer(x)[0])


def test_weight_norm_parametrises_without_a_warning() -> None:
    layer = holdfast.LSTM(3, 4, dtype=D)
    x = torch.randn(5, 2, 3, dtype=D)
    expected = layer(x)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
        output, _ = layer(x)
    assert_close(output, expected)
    output.sum().backward()
    original = layer.parametrizations.weight_hh_l0.original1
    assert original.grad is not None
    assert original.grad.any()


def test_functional_call_uses_the_weights_it_is_given() -> None:
    layer, other = make("LSTM"), make("LSTM")
    x = torch.randn(5, 2, 3, dtype=D)
    assert torch.equal(functional_call(layer, dict(other.named_parameters()), (x,))[0], other(x)[0])


def test_a_layer_moves_between_dtypes_and_devices() -> None:
    layer = holdfast.LSTM(3, 4)
    assert layer.double()(torch.randn(5, 2, 3, dtype=D))[0].dtype == D
    meta = holdfast.LSTM(3, 4, device="meta")
    assert meta.weight_ih_l0.is_meta
    assert meta(torch.empty(5, 2, 3, device="meta"))[0].shape == (5, 2, 4)


def test_gradients_reach_only_what_asks_for_them() -> None:
    layer = holdfast.LSTM(3, 4)
    layer.weight_hh_l0.requires_grad_(False)
    x = torch.randn(5, 2, 3)
    layer(x)[0].sum().backward()
    assert layer.weight_hh_l0.grad is None
    assert layer.weight_ih_l0.grad is not None
    assert x.grad is None
    with torch.no_grad():
        assert not layer(x)[0].requires_grad
    with torch.inference_mode():
        assert layer(x)[0].is_inference()


@pytest.mark.full  # tests/training/test_devices.py trains in two processes
def test_distributed_data_parallel_averages_its_gradients(tmp_path: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.layers.data_parallel", str(port), str(tmp_path)]
    workers = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
    try:
        assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    layer, x = data_parallel.layer_and_input()
    layer(x)[0].square().mean().backward()
    for rank in range(2):
        for got, weight in zip(torch.load(tmp_path / f"{rank}.pt"), layer.parameters()):
            assert weight.grad is not None
            assert_close(got, weight.grad)


# The operator itself.


def operator_arguments(layer: holdfast.Recurrent, trace: bool, save: bool) -> tuple[Any, ...]:
    """Arguments of `holdfast::recurrence`, with everything that is optional."""

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=D).requires_grad_()

    text = layer._texts[layer.training, trace]
    program = parse(text)
    sizes = [layer.proj_size or layer.hidden_size, *[layer.hidden_size] * (len(program.states) - 1)]
    x = leaf(5, 2, 3)
    masks = layer._drawn_masks(x, layer._masks[trace])
    return (
        x,
        [leaf(2, size) for size in sizes],
        [leaf(size) for size in sizes],
        [w.detach().requires_grad_() for w in layer.all_weights[0]],
        [m.detach() for m in masks],
        torch.tensor([5, 3]),
        torch.rand(5, 2) < 0.4,
        text,
        "reference",
        True,
        trace,
        save,
    )


@pytest.mark.parametrize(
    ("kind", "trace"),
    [
        pytest.param(kind, trace, marks=[] if (kind, trace) == ("RNN", True) else pytest.mark.full)
        for kind in LAYERS
        for trace in (False, True)
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # opcheck's own, on what it finds fit to remark
def test_the_operators_forward_and_backward_pass_opcheck(kind: str, trace: bool) -> None:
    layer = make(kind).train()
    arguments = operator_arguments(layer, trace, save=True)
    torch.library.opcheck(operator.recurrence, arguments)
    results = operator.recurrence(*arguments)
    visible = operator._visible(parse(arguments[7]), trace)
    given = [k % 3 != 1 for k in range(visible)]
    gradients = [torch.randn_like(r).detach().requires_grad_() for r, was in zip(results, given) if was]
    saved = [r.detach() for r in results[visible:]]
    torch.library.opcheck(
        operator.recurrence_backward,
        (gradients, given, *arguments[:7], saved, *arguments[7:11], True),
    )
