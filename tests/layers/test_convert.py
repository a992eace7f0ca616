"""`convert`: what is swapped, and that all around it stays."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import holdfast
from tests.support import assert_all_close, assert_close

D = torch.float64

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: nn.LSTM(4, 5),
    "LSTM stacked": lambda: nn.LSTM(4, 5, 2, bidirectional=True, batch_first=True, dropout=0.25),
    "LSTM projected": lambda: nn.LSTM(4, 5, 2, proj_size=3),
    "LSTM without bias": lambda: nn.LSTM(4, 5, bias=False),
    "LSTM float64": lambda: nn.LSTM(4, 5, bidirectional=True, dtype=D),
    "GRU": lambda: nn.GRU(4, 5),
    "GRU stacked": lambda: nn.GRU(4, 5, 2, bias=False, bidirectional=True, batch_first=True, dropout=0.25),
    "GRU float64": lambda: nn.GRU(4, 5, dtype=D),
    "RNN": lambda: nn.RNN(4, 5),
    "RNN relu": lambda: nn.RNN(4, 5, 3, "relu", bidirectional=True, batch_first=True, dropout=0.25),
    "RNN by keyword": lambda: nn.RNN(4, 5, nonlinearity="relu", bias=False),
    "RNN float64": lambda: nn.RNN(4, 5, dtype=D),
    "LSTMCell": lambda: nn.LSTMCell(4, 5),
    "LSTMCell without bias": lambda: nn.LSTMCell(4, 5, bias=False),
    "GRUCell": lambda: nn.GRUCell(4, 5),
    "GRUCell float64": lambda: nn.GRUCell(4, 5, bias=False, dtype=D),
    "RNNCell": lambda: nn.RNNCell(4, 5),
    "RNNCell relu": lambda: nn.RNNCell(4, 5, bias=False, nonlinearity="relu"),
}
each_layer = pytest.mark.parametrize("kind", LAYERS)
# PyTorch's own remark on its own layer.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

PLAIN = (nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell)
OURS = (holdfast.Recurrent, holdfast.RecurrentCell)


class Model(nn.Module):
    """Recurrent layers at several depths, a shared one, a buffer, and a Cell in a loop."""

    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(4, 5, bidirectional=True)
        self.middle = nn.ModuleDict({"down": nn.Linear(10, 6), "stack": nn.ModuleList([nn.GRU(6, 6), nn.GRU(6, 6)])})
        self.again = nn.Sequential(nn.Identity(), nn.Sequential(nn.RNN(6, 6, nonlinearity="relu")))
        self.same = self.again[1]
        self.register_buffer("offset", torch.randn(6))
        self.cell = nn.LSTMCell(6, 5)
        self.absent: nn.Module | None
        self.register_module("absent", None)
        self.last = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle["down"](self.first(x)[0])
        for layer in self.middle["stack"]:
            x = x + layer(x)[0]
        x = self.same(self.again(x)[0] + self.offset)[0]
        state = None
        for step in x:
            state = self.cell(step, state)
        return self.last(state[0])


def results(layer: Any, x: Tensor) -> list[Tensor]:
    """All that a layer or a cell returns, as one list."""

    def flat(value: Any) -> Iterator[Tensor]:
        if isinstance(value, Tensor):
            yield value
        else:
            for part in value:
                yield from flat(part)

    return list(flat(layer(x)))


def input_for(layer: Any) -> Tensor:
    dtype = next(layer.parameters()).dtype
    return torch.randn(3, 4, dtype=dtype) if isinstance(layer, nn.RNNCellBase) else torch.randn(3, 6, 4, dtype=dtype)


def swapped_quietly(model: Any) -> Any:
    return holdfast.convert(model, quiet=True)


# A bare layer.


@pytest.mark.sweep(every=3)
@each_layer
def test_a_bare_layer_comes_back_as_ours_with_the_same_results(kind: str) -> None:
    theirs = LAYERS[kind]()
    x = input_for(theirs)
    before = copy.deepcopy(theirs)
    ours = swapped_quietly(theirs)
    assert type(ours) is getattr(holdfast, type(theirs).__name__)
    for seed in range(2):  # the dropout is theirs too
        torch.manual_seed(seed)
        expected = results(before, x)
        torch.manual_seed(seed)
        for got, wanted in zip(results(ours, x), expected, strict=True):
            assert_close(got, wanted)


@each_layer
def test_the_parameters_are_the_very_same_in_the_same_order(kind: str) -> None:
    theirs = LAYERS[kind]()
    named = dict(theirs.named_parameters())
    ours = swapped_quietly(theirs)
    assert list(dict(ours.named_parameters())) == list(named)
    assert all(parameter is named[name] for name, parameter in ours.named_parameters())
    assert list(ours.state_dict()) == list(LAYERS[kind]().state_dict())


@each_layer
def test_every_setting_is_kept(kind: str) -> None:
    theirs = LAYERS[kind]()
    ours = swapped_quietly(theirs)
    names = ("input_size", "hidden_size", "bias", "num_layers", "batch_first", "dropout", "bidirectional", "proj_size")
    for name in (*names, "nonlinearity"):
        if hasattr(theirs, name):
            assert getattr(ours, name) == getattr(theirs, name), name


@each_layer
def test_what_was_swapped_can_be_copied_pickled_and_drawn_anew(kind: str) -> None:
    theirs = LAYERS[kind]()
    ours = swapped_quietly(copy.deepcopy(theirs)).eval()
    x = input_for(theirs)
    for twin in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert all(torch.equal(a, b) for a, b in zip(results(twin, x), results(ours, x)))
    torch.manual_seed(3)
    theirs.reset_parameters()  # type: ignore[operator]
    torch.manual_seed(3)
    ours.reset_parameters()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters()))


def test_a_swap_draws_no_random_numbers() -> None:
    model = Model()
    before = torch.get_rng_state()
    swapped_quietly(model)
    assert torch.equal(torch.get_rng_state(), before)


# A model.


def test_layers_are_swapped_at_any_depth() -> None:
    model = Model()
    converted = swapped_quietly(model)
    assert converted is model
    assert not [module for module in model.modules() if isinstance(module, PLAIN)]
    assert [name for name, module in model.named_modules() if isinstance(module, OURS)] == [
        "first",
        "middle.stack.0",
        "middle.stack.1",
        "again.1.0",
        "cell",
    ]


def test_results_gradients_names_and_state_dict_are_unchanged() -> None:
    model = Model().double()
    before = copy.deepcopy(model)
    swapped_quietly(model)
    assert [name for name, _ in model.named_modules()] == [name for name, _ in before.named_modules()]
    assert [name for name, _ in model.named_children()] == [name for name, _ in before.named_children()]
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in before.named_parameters()]
    assert [name for name, _ in model.named_buffers()] == [name for name, _ in before.named_buffers()] == ["offset"]
    assert list(model.state_dict()) == list(before.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), before.state_dict().values()))
    before.load_state_dict(model.state_dict(), strict=True)
    model.load_state_dict(before.state_dict(), strict=True)
    x = torch.randn(6, 3, 4, dtype=D)
    found = []
    for one in (model, before):
        result = one(x)
        result.square().sum().backward()
        found.append({"result": result.detach(), **{name: p.grad for name, p in one.named_parameters()}})
    assert_all_close(found[0], found[1], D)


def test_the_parameters_of_a_model_are_the_very_same() -> None:
    model = Model()
    before = dict(model.named_parameters())
    swapped_quietly(model)
    assert all(parameter is before[name] for name, parameter in model.named_parameters())


def test_a_module_in_two_places_stays_one() -> None:
    lstm = nn.LSTM(5, 5)
    model = nn.ModuleDict({"a": lstm, "b": nn.Sequential(nn.Identity(), lstm), "c": nn.ModuleList([lstm])})
    swapped_quietly(model)
    assert isinstance(model["a"], holdfast.LSTM)
    assert model["a"] is model["b"][1] is model["c"][0]
    holder = Model()
    swapped_quietly(holder)
    assert holder.same is holder.again[1]
    assert holder.same[0] is holder.again[1][0]


def test_a_parameter_of_two_layers_stays_one() -> None:
    a, b = nn.LSTM(3, 5), nn.LSTM(3, 5)
    b.weight_hh_l0 = a.weight_hh_l0
    model = swapped_quietly(nn.ModuleList([a, b]))
    assert model[0].weight_hh_l0 is model[1].weight_hh_l0


def test_a_layer_inside_a_subclass_is_swapped() -> None:
    class WithGRU(nn.LSTM):
        def __init__(self) -> None:
            super().__init__(3, 5)
            self.inner = nn.GRU(5, 5)

    model = swapped_quietly(WithGRU())
    assert type(model) is WithGRU
    assert type(model.inner) is holdfast.GRU


def test_converting_twice_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    model = Model()
    once = dict(holdfast.convert(model, quiet=True).named_modules())
    twice = dict(holdfast.convert(model).named_modules())
    assert list(once) == list(twice)
    assert all(once[name] is twice[name] for name in once)
    assert capsys.readouterr().out == ""
    layer = holdfast.LSTM(3, 5)
    assert holdfast.convert(layer) is layer


# Training.


def train_step(model: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor) -> None:
    optimiser.zero_grad()
    model(x).square().sum().backward()
    optimiser.step()


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_an_optimiser_made_before_the_swap_trains_the_model(kind: Any) -> None:
    model = Model().double()
    x = torch.randn(6, 3, 4, dtype=D)
    optimiser = kind(model.parameters(), lr=0.05)
    train_step(model, optimiser, x)  # so that Adam has moments
    twin = copy.deepcopy(model)
    twin_optimiser = kind(twin.parameters(), lr=0.05)
    twin_optimiser.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    swapped_quietly(model)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(2):
        train_step(model, optimiser, x)
        train_step(twin, twin_optimiser, x)
    got = {name: p.detach() for name, p in model.named_parameters()}
    assert_all_close(got, {name: p.detach() for name, p in twin.named_parameters()}, D)
    assert not [name for name in start if torch.equal(got[name], start[name])]


def test_gradients_already_there_stay() -> None:
    layer = nn.LSTM(3, 5)
    layer(torch.randn(2, 2, 3))[0].sum().backward()
    gradient = layer.weight_hh_l0.grad
    assert gradient is not None
    assert swapped_quietly(layer).weight_hh_l0.grad is gradient


def test_the_training_mode_of_each_module_stays() -> None:
    model = Model().train()
    model.first.eval()
    model.middle["stack"][1].eval()
    model.cell.eval()
    before = {name: module.training for name, module in model.named_modules()}
    swapped_quietly(model)
    assert {name: module.training for name, module in model.named_modules()} == before
    assert set(before.values()) == {True, False}


def test_frozen_parameters_stay_frozen() -> None:
    model = Model()
    model.first.requires_grad_(False)
    model.cell.weight_hh.requires_grad_(False)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    swapped_quietly(model)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    model(torch.randn(6, 3, 4)).sum().backward()
    assert model.first.weight_ih_l0.grad is None
    assert model.cell.weight_ih.grad is not None


def test_attributes_of_the_users_own_stay() -> None:
    layer: Any = nn.GRU(3, 5)
    layer.note = {"any": "thing"}
    layer.scale = torch.tensor([2.0])
    layer.register_buffer("table", torch.arange(3))
    layer.register_parameter("temperature", nn.Parameter(torch.ones(1)))
    layer.helper = nn.Linear(5, 5)
    ours = swapped_quietly(layer)
    for name in ("note", "scale", "table", "temperature", "helper"):
        assert getattr(ours, name) is getattr(layer, name)
    assert list(ours.state_dict())[-4:] == ["temperature", "table", "helper.weight", "helper.bias"]


# Hooks.


def test_forward_hooks_survive_and_their_handles_remove_them() -> None:
    model = nn.Sequential(nn.LSTM(3, 5))
    seen: list[tuple[str, type]] = []

    def after(module: nn.Module, arguments: Any, result: Any) -> Any:
        seen.append(("after", type(module)))
        return result[0] * 2, result[1]

    def before(module: nn.Module, arguments: Any) -> Any:
        seen.append(("before", type(module)))
        return (arguments[0] + 1,)

    def with_keywords(module: nn.Module, arguments: Any, keywords: Any, result: Any) -> None:
        seen.append((f"keywords {sorted(keywords)}", type(module)))

    handles = [
        model[0].register_forward_hook(after),
        model[0].register_forward_pre_hook(before),
        model[0].register_forward_hook(with_keywords, with_kwargs=True),
    ]
    x = torch.randn(4, 2, 3)
    expected = model(x)[0]
    seen.clear()
    swapped_quietly(model)
    assert_close(model(x)[0], expected)
    assert seen == [(what, holdfast.LSTM) for what in ("before", "after", "keywords []")]
    for handle in handles:
        handle.remove()
    seen.clear()
    assert_close(model(x)[0] * 0 + model[0](x + 1)[0] * 2, expected)
    assert seen == []


def test_backward_hooks_survive_and_their_handles_remove_them() -> None:
    model = nn.Sequential(nn.GRU(3, 5))
    seen = []
    full = model[0].register_full_backward_hook(lambda module, inward, outward: seen.append(("full", type(module))))
    pre = model[0].register_full_backward_pre_hook(lambda module, outward: seen.append(("pre", type(module))))
    swapped_quietly(model)
    x = torch.randn(4, 2, 3, requires_grad=True)
    model(x)[0].sum().backward()
    assert seen == [("pre", holdfast.GRU), ("full", holdfast.GRU)]
    full.remove()
    pre.remove()
    model(x)[0].sum().backward()
    assert len(seen) == 2


def test_state_dict_hooks_survive_and_their_handles_remove_them() -> None:
    model = nn.Sequential(nn.LSTM(3, 5))
    seen = []
    handles = [
        model[0].register_state_dict_pre_hook(lambda module, *rest: seen.append(("saving", type(module)))),
        model[0].register_state_dict_post_hook(lambda module, *rest: seen.append(("saved", type(module)))),
        model[0].register_load_state_dict_post_hook(lambda module, keys: seen.append(("loaded", type(module)))),
    ]
    swapped_quietly(model)
    model.load_state_dict(model.state_dict())
    assert seen == [(what, holdfast.LSTM) for what in ("saving", "saved", "loaded")]
    for handle in handles:
        handle.remove()
    model.load_state_dict(model.state_dict())
    assert len(seen) == 3


def test_a_hook_before_loading_survives_and_sees_the_layer_that_is_there_now() -> None:
    model = nn.Sequential(nn.LSTM(3, 5))
    seen = []
    handle = model[0].register_load_state_dict_pre_hook(lambda module, *rest: seen.append(type(module)))
    swapped_quietly(model)
    gc.collect()  # PyTorch keeps the hook's module by a weak reference
    model.load_state_dict(model.state_dict())
    assert seen == [holdfast.LSTM]
    handle.remove()
    model.load_state_dict(model.state_dict())
    assert len(seen) == 1


def test_pruned_weights_stay_pruned() -> None:
    layer = nn.LSTM(3, 5)
    prune.random_unstructured(layer, "weight_hh_l0", 0.5)
    x = torch.randn(4, 2, 3)
    expected = layer(x)[0]
    ours = swapped_quietly(layer)
    assert type(ours) is holdfast.LSTM
    assert_close(ours(x)[0], expected)
    with torch.no_grad():
        ours.weight_hh_l0_orig.mul_(2)
    ours(x)[0].sum().backward()
    assert torch.equal(ours.weight_hh_l0, ours.weight_hh_l0_orig * ours.weight_hh_l0_mask)
    assert not ours.weight_hh_l0_orig.grad[ours.weight_hh_l0_mask == 0].any()


# What is said.


def test_one_line_is_printed_for_each_swap(capsys: pytest.CaptureFixture[str]) -> None:
    holdfast.convert(Model())
    assert capsys.readouterr().out.splitlines() == [
        "first: torch.nn.LSTM(4, 5, bidirectional=True) -> holdfast.LSTM(4, 5, bidirectional=True)",
        "cell: torch.nn.LSTMCell(6, 5) -> holdfast.LSTMCell(6, 5)",
        "middle.stack.0: torch.nn.GRU(6, 6) -> holdfast.GRU(6, 6)",
        "middle.stack.1: torch.nn.GRU(6, 6) -> holdfast.GRU(6, 6)",
        "again.1.0: torch.nn.RNN(6, 6) -> holdfast.RNN(6, 6, activation='relu')",
    ]
    holdfast.convert(nn.GRUCell(3, 5, bias=False))
    assert (
        capsys.readouterr().out == "model: torch.nn.GRUCell(3, 5, bias=False) -> holdfast.GRUCell(3, 5, bias=False)\n"
    )


def test_a_layer_with_a_child_of_its_own_gets_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    layer = nn.LSTM(3, 5)
    layer.helper = nn.Linear(5, 5)
    holdfast.convert(nn.Sequential(layer))
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    class Own(nn.LSTM):
        pass

    holdfast.convert(nn.ModuleList([Model(), Own(3, 5)]), quiet=True)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_swap_repeats_no_warning() -> None:
    with pytest.warns(UserWarning, match="dropout option adds dropout"):
        model = nn.Sequential(nn.LSTM(3, 5, dropout=0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        swapped_quietly(model)
    assert model[0].dropout == 0.5


def test_a_subclass_is_left_alone_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    class Doubled(nn.LSTM):
        def forward(self, input: Any, hx: Any = None) -> Any:
            output, state = super().forward(input, hx)
            return 2 * output, state

    class OwnCell(nn.GRUCell):
        pass

    model = nn.ModuleDict({"a": Doubled(3, 5), "b": OwnCell(3, 5), "c": nn.LSTM(3, 5)})
    doubled, cell = model["a"], model["b"]
    holdfast.convert(model)
    assert model["a"] is doubled
    assert model["b"] is cell
    assert type(model["c"]) is holdfast.LSTM
    assert capsys.readouterr().out.splitlines() == [
        "a: Doubled left alone: a subclass, which may do more",
        "b: OwnCell left alone: a subclass, which may do more",
        "c: torch.nn.LSTM(3, 5) -> holdfast.LSTM(3, 5)",
    ]
    assert holdfast.convert(doubled) is doubled
    assert capsys.readouterr().out == "model: Doubled left alone: a subclass, which may do more\n"


def test_a_parametrised_layer_is_left_alone_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    layer = nn.LSTM(3, 5)
    parametrizations.weight_norm(layer, "weight_hh_l0")
    model = nn.Sequential(layer)
    x = torch.randn(4, 2, 3)
    expected = model(x)[0]
    holdfast.convert(model)
    assert model[0] is layer
    assert capsys.readouterr().out == "0: ParametrizedLSTM left alone: parametrised\n"
    assert torch.equal(model(x)[0], expected)


@pytest.mark.parametrize("given", [None, nn.LSTM, "LSTM", [nn.LSTM(3, 5)], {"a": nn.GRU(3, 5)}, torch.zeros(2)])
def test_anything_but_a_module_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match=rf"^model must be a torch\.nn\.Module, got {type(given).__name__}$"):
        holdfast.convert(given)


def test_a_model_without_recurrent_layers_is_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU())
    children = list(model)
    assert holdfast.convert(model) is model
    assert all(a is b for a, b in zip(model, children))
    assert capsys.readouterr().out == ""


# The way back.


@each_layer
def test_a_layer_that_came_from_pytorch_goes_back_whole(kind: str) -> None:
    theirs = LAYERS[kind]().eval()
    theirs.note = "the user's own"  # type: ignore[assignment]
    seen: list[type] = []
    theirs.register_forward_hook(lambda module, *rest: seen.append(type(module)))
    named, before = dict(theirs.named_parameters()), copy.deepcopy(theirs)
    back = holdfast.convert(swapped_quietly(theirs), to="torch", quiet=True)
    assert type(back) is type(theirs)
    assert vars(back).keys() == vars(theirs).keys()
    assert repr(back) == repr(theirs)
    assert back.note == "the user's own"
    assert all(parameter is named[name] for name, parameter in back.named_parameters())
    assert list(back.state_dict()) == list(before.state_dict())
    seen.clear()
    x = input_for(theirs)
    for mode in (False, True):
        back.train(mode)
        before.train(mode)
        torch.manual_seed(5)
        got = results(back, x)
        torch.manual_seed(5)
        assert all(torch.equal(a, b) for a, b in zip(got, results(before, x), strict=True))
    assert seen[0] is type(theirs)
    if not isinstance(back, nn.RNNCellBase):
        assert all(w is getattr(back, name) for w, name in zip(back._flat_weights, back._flat_weights_names))


def test_a_model_of_ours_becomes_pytorchs_and_trains_on(capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.Sequential(holdfast.LSTM(4, 5), nn.Module())
    shared = holdfast.Recurrent(holdfast.cells.RNN("relu"), 5, 5, dtype=D)
    model[1].first, model[1].second = shared, shared
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(6, 3, 4)
    expected = model[0](x)[0]
    assert holdfast.convert(model, to="torch") is model
    assert (
        capsys.readouterr().out.splitlines()
        == [
            "0: holdfast.LSTM(4, 5) -> torch.nn.LSTM(4, 5)",
            "1.first: holdfast.Recurrent(5, 5, cell=RNN, activation='relu') -> torch.nn.RNN(5, 5)",
        ]
        or type(model[1].first) is nn.RNN
    )
    assert type(model[0]) is nn.LSTM
    assert model[1].first is model[1].second
    assert model[1].first.nonlinearity == "relu"
    assert_close(model[0](x)[0], expected)
    model[0](x)[0].square().sum().backward()
    optimizer.step()
    assert not torch.equal(model[0](x)[0], expected)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: holdfast.LSTM(3, 4, peephole=True), "its equations are not those of a PyTorch layer"),
        (lambda: holdfast.GRU(3, 4, reset_after=False), "its equations are not those of a PyTorch layer"),
        (lambda: holdfast.LSTM(3, 4, learn_state=True), "it has learn_state"),
        (lambda: holdfast.GRU(3, 4, weight_drop=0.5), "it has weight_drop"),
        (lambda: holdfast.RNN(3, 4, zoneout=0.5), "it has zoneout"),
        (lambda: holdfast.LSTM(3, 4, recurrent_dropout=0.5), "it has"),
        (lambda: holdfast.LSTM(3, 4, layer_norm=True), "it has layer_norm"),
        (lambda: holdfast.LSTM(3, 4, heads=2), "it has heads=2"),
        (lambda: holdfast.LSTM(3, 4, grad_clip=1.0), "it has grad_clip=1"),
        (lambda: type("Own", (holdfast.LSTM,), {})(3, 4), "a subclass, which may do more"),
        (lambda: parametrizations.weight_norm(holdfast.LSTM(3, 4), "weight_hh_l0"), "parametrised"),
    ],
)
def test_what_pytorch_has_not_is_left_and_named_or_refused(
    make: Callable[[], nn.Module], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = make().eval()  # in evaluation zoneout draws nothing, and is still none of PyTorch's
    model = nn.Sequential(holdfast.GRU(3, 3), layer)
    first = model[0]
    with pytest.raises(ValueError, match=rf"would leave 1 of the recurrent layers: 1: .* left alone: {why}"):
        holdfast.convert(model, to="torch", strict=True)
    assert model[0] is first
    holdfast.convert(model, to="torch")
    assert model[1] is layer
    assert type(model[0]) is nn.GRU
    assert f"1: {type(layer).__name__} left alone: {why}" in capsys.readouterr().out


def test_a_direction_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^to must be 'holdfast' or 'torch', got 'keras'$"):
        holdfast.convert(nn.LSTM(3, 4), to="keras")


@pytest.mark.filterwarnings("ignore:.*deprecated", "ignore:`isinstance")  # PyTorch's own
def test_scripted_and_quantised_layers_are_named_and_strictly_refused(capsys: pytest.CaptureFixture[str]) -> None:
    scripted = nn.Sequential(torch.jit.script(nn.LSTM(3, 4)))
    holdfast.convert(scripted)
    assert capsys.readouterr().out == "0: LSTM left alone: scripted, its code is fixed\n"
    quantised = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.GRU(3, 4)), {nn.GRU})
    holdfast.convert(quantised)
    assert capsys.readouterr().out.startswith("0: GRU left alone: quantised")
    with pytest.raises(ValueError, match="would leave 1 of the recurrent layers: 0: GRU left alone: quantised"):
        holdfast.convert(quantised, strict=True)
