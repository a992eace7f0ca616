"""What PyTorch's exporters make of a layer: AOTInductor's packages and TorchScript."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import holdfast
from holdfast.engines import operator
from tests.support import assert_close

D = torch.float64
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean:torch.jit.TracerWarning"),  # of checks
]


# AOTInductor.


def arguments(engine: str) -> list[Any]:
    """Arguments of `holdfast::recurrence` whose lists of home states and of masks are empty."""
    layer = holdfast.LSTM(3, 4, dtype=D)
    state = [torch.randn(2, 4, dtype=D, requires_grad=True) for _ in range(2)]
    weights = [w.detach().requires_grad_() for w in layer.all_weights[0]]
    x = torch.randn(5, 2, 3, dtype=D, requires_grad=True)
    return [x, state, [], weights, [], None, None, layer.program.text(), engine, False, False, True]


def as_none(values: list[Any]) -> list[Any]:
    """The same as AOTInductor hands them over: None for an empty list."""
    return [None if isinstance(value, list) and not value else value for value in values]


def derivatives(values: list[Any]) -> list[Tensor]:
    """The results of the operator, their gradients, and gradients of these."""
    x, state, _, weights, *_ = values
    visible = operator.recurrence(*values)[:3]
    read = [x, *state, *weights]
    first = torch.autograd.grad(sum(v.sin().sum() for v in visible), read, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), read)
    return [*visible, *first, *second]


@pytest.mark.parametrize("engine", ["reference", "llvm", "vendor"])
def test_none_in_place_of_an_empty_list_changes_nothing(engine: str) -> None:
    values = arguments(engine)
    assert None not in (values[2], values[4])
    for got, expected in zip(derivatives(as_none(values)), derivatives(values), strict=True):
        assert torch.equal(got, expected)


def test_the_backward_operator_takes_none_in_place_of_empty_lists_too() -> None:
    values = arguments("vendor")  # which saves nothing
    given = [True, False, False]
    gradients = [torch.randn(5, 2, 4, dtype=D)]
    backward = [gradients, given, *values[:7], [], *values[7:11], True]
    expected = operator.recurrence_backward(*backward)
    for got, wanted in zip(operator.recurrence_backward(*as_none(backward)), expected, strict=True):
        assert torch.equal(got, wanted)


def test_every_list_that_may_be_empty_is_optional_in_the_schema() -> None:
    never_empty = {"state", "weights", "given"}
    for entry in (operator.recurrence, operator.recurrence_backward):
        lists = {a.name: str(a.type) for a in entry._opoverload._schema.arguments if "List" in str(a.type)}
        assert {name for name, kind in lists.items() if "Optional" not in kind} <= never_empty, lists


@pytest.mark.full
@pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor needs a C++ compiler, and there is none")
@pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated:FutureWarning")  # torch's own
def test_a_package_of_aotinductor_runs_with_other_lengths_and_batches(tmp_path: Path) -> None:
    layer = holdfast.LSTM(3, 4, 2, bidirectional=True).eval()
    steps, batch = torch.export.Dim("steps"), torch.export.Dim("batch")
    exported = torch.export.export(layer, (torch.randn(5, 2, 3),), dynamic_shapes={"input": {0: steps, 1: batch}})
    package = torch._inductor.aoti_compile_and_package(exported, package_path=str(tmp_path / "layer.pt2"))
    loaded = torch._inductor.aoti_load_package(package)
    for shape in ((5, 2, 3), (11, 3, 3), (2, 7, 3)):
        x = torch.randn(*shape)
        for got, expected in zip(leaves(loaded(x)), leaves(layer(x)), strict=True):
            assert torch.equal(got, expected)


def leaves(value: Any) -> list[Tensor]:
    """All tensors of a result."""
    return torch.utils._pytree.tree_leaves(value)


# torch.jit.trace.


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_what_jit_trace_records_runs_and_trains_on_other_lengths_and_batches(mode: str) -> None:
    layer = getattr(holdfast.LSTM(3, 4, 2, bidirectional=True, dtype=D), mode)()
    with torch.no_grad():
        without = torch.jit.trace(layer, (torch.randn(5, 2, 3, dtype=D),))
    traced = torch.jit.trace(layer, (torch.randn(5, 2, 3, dtype=D),))  # checks itself, without gradients
    x = torch.randn(9, 3, 3, dtype=D, requires_grad=True)
    read = [x, *layer.parameters()]
    expected = layer(x)[0]
    gradients = torch.autograd.grad(expected.sin().sum(), read)
    for module in (traced, without):
        got = module(x)[0]
        assert_close(got, expected)
        for one, other in zip(torch.autograd.grad(got.sin().sum(), read), gradients, strict=True):
            assert_close(one, other)


def test_a_trace_of_a_frozen_layer_differentiates_by_its_input() -> None:
    layer = holdfast.GRU(3, 4, dtype=D).requires_grad_(False)
    traced = torch.jit.trace(layer, (torch.randn(5, 2, 3, dtype=D),))
    x = torch.randn(9, 3, 3, dtype=D, requires_grad=True)
    [got] = torch.autograd.grad(traced(x)[0].sin().sum(), x)
    [expected] = torch.autograd.grad(layer(x)[0].sin().sum(), x)
    assert_close(got, expected)


@pytest.mark.parametrize("engine", ["reference", "llvm", "vendor"])
def test_a_program_exported_of_a_frozen_layer_differentiates_by_its_input(engine: str) -> None:
    layer = holdfast.LSTM(3, 4, engine=engine, dtype=D).requires_grad_(False)
    exported = torch.export.export(layer, (torch.randn(5, 2, 3, dtype=D),)).module()  # in which nothing is saved
    x = torch.randn(5, 2, 3, dtype=D, requires_grad=True)
    [got] = torch.autograd.grad(exported(x)[0].sin().sum(), x)
    [expected] = torch.autograd.grad(layer(x)[0].sin().sum(), x)
    assert_close(got, expected)


# torch.jit.script.


class Outputs(torch.nn.Module):
    """The output of a layer; PyTorch's own cannot be scripted bare."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, 3) to (T, B, H)."""
        return self.layer(x)[0]


@pytest.mark.parametrize(
    "layer", [holdfast.LSTM(3, 4, 2, bidirectional=True, dtype=D), holdfast.GRU(3, 4, dtype=D)], ids=["LSTM", "GRU"]
)
def test_what_jit_script_compiles_has_the_same_results_and_tensors(layer: holdfast.Recurrent) -> None:
    model = Outputs(copy.deepcopy(layer))
    named = dict(model.named_parameters())
    scripted = torch.jit.script(model)
    x = torch.randn(5, 2, 3, dtype=D)
    assert_close(scripted(x), layer(x)[0])
    scripted(x).sum().backward()
    assert named.keys() == dict(scripted.named_parameters()).keys()
    assert all(parameter.grad is not None for parameter in named.values())


def test_jit_script_refuses_what_pytorch_has_not_and_names_it() -> None:
    why = r"plain layer only.*LSTM\(3, 4, peephole=True\) is none: its equations are not those of a PyTorch layer"
    with pytest.raises(NotImplementedError, match=why):
        torch.jit.script(Outputs(holdfast.LSTM(3, 4, peephole=True)))
