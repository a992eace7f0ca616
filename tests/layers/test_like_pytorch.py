"""Plain layers against `torch.nn`: numbers, names, shapes, randomness, errors."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import holdfast
from tests.support import assert_all_close, assert_close

PAIRS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "LSTM": (nn.LSTM, holdfast.LSTM, {}),
    "LSTM projected": (nn.LSTM, holdfast.LSTM, {"proj_size": 3}),
    "GRU": (nn.GRU, holdfast.GRU, {}),
    "RNN": (nn.RNN, holdfast.RNN, {}),
    "RNN relu": (nn.RNN, holdfast.RNN, {"nonlinearity": "relu"}),
}
# PyTorch's own remark on its own layer.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
each_pair = pytest.mark.parametrize("pair", PAIRS)


def both(pair: str, input_size: int = 4, hidden_size: int = 5, **options: Any) -> tuple[Any, Any]:
    """PyTorch's layer and ours with the same weights."""
    theirs, ours, own = PAIRS[pair]
    theirs = theirs(input_size, hidden_size, **own, **options)
    ours = ours(input_size, hidden_size, **own, **options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def state_for(layer: Any, batch: int, dtype: torch.dtype = torch.float64) -> Any:
    """A random initial state in the form that the layer takes."""
    k = layer.num_layers * (1 + layer.bidirectional)
    h = torch.randn(k, batch, layer.proj_size or layer.hidden_size, dtype=dtype)
    if layer.mode != "LSTM":
        return h
    return h, torch.randn(k, batch, layer.hidden_size, dtype=dtype)


def flat(result: Any) -> list[Tensor]:
    """Output and states as one list."""
    output, state = result
    return [output, *(state if isinstance(state, tuple) else [state])]


def everything(layer: Any, x: Tensor, state: Any) -> dict[str, Tensor]:
    """Results and all gradients of a call."""
    x = x.clone().requires_grad_()
    states = [s.clone().requires_grad_() for s in (state if isinstance(state, tuple) else [state])]
    results = flat(layer(x, tuple(states) if isinstance(state, tuple) else states[0]))
    leaves = {"x": x, **dict(layer.named_parameters()), **{f"state {k}": s for k, s in enumerate(states)}}
    generator = torch.Generator().manual_seed(3)
    arriving = [torch.randn(r.shape, generator=generator, dtype=r.dtype) for r in results]
    gradients = torch.autograd.grad(results, list(leaves.values()), arriving)
    return {**{f"result {k}": r.detach() for k, r in enumerate(results)}, **dict(zip(leaves, gradients))}


@pytest.mark.sweep(every=7)
@each_pair
@pytest.mark.parametrize(
    ("layers", "bidirectional", "bias", "batch_first"),
    list(itertools.product((1, 2), (False, True), (True, False), (False, True))),
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_and_gradients_are_pytorchs(
    pair: str, layers: int, bidirectional: bool, bias: bool, batch_first: bool, dtype: torch.dtype
) -> None:
    theirs, ours = both(
        pair, num_layers=layers, bidirectional=bidirectional, bias=bias, batch_first=batch_first, dtype=dtype
    )
    state = state_for(theirs, 3, dtype)
    x = torch.randn(*((3, 7) if batch_first else (7, 3)), 4, dtype=dtype)
    assert_all_close(everything(ours, x, state), everything(theirs, x, state), dtype)


@each_pair
def test_unbatched_input_gives_unbatched_results(pair: str) -> None:
    theirs, ours = both(pair, num_layers=2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(7, 4, dtype=torch.float64)
    state = state_for(theirs, 1)
    state = tuple(s.squeeze(1) for s in state) if isinstance(state, tuple) else state.squeeze(1)
    for got, expected in zip(flat(ours(x, state)), flat(theirs(x, state))):
        assert_close(got, expected)


@each_pair
@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_packed_sequence_gives_a_packed_sequence(pair: str, sort: bool, batch_first: bool) -> None:
    theirs, ours = both(pair, num_layers=2, bidirectional=True, batch_first=batch_first, dtype=torch.float64)
    lengths = [7, 5, 5, 1] if sort else [5, 1, 7, 5]
    x = torch.randn(*((4, 7) if batch_first else (7, 4)), 4, dtype=torch.float64)
    packed = pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=sort)
    state = state_for(theirs, 4)
    (got, *got_state), (expected, *expected_state) = flat(ours(packed, state)), flat(theirs(packed, state))
    assert_close(got.data, expected.data)
    assert torch.equal(got.batch_sizes, expected.batch_sizes)
    for a, b in ((got.sorted_indices, expected.sorted_indices), (got.unsorted_indices, expected.unsorted_indices)):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)
    for one, other in zip(got_state, expected_state):
        assert_close(one, other)
    padded, _ = pad_packed_sequence(got, batch_first=batch_first)
    plain, _ = ours(x, state, lengths=lengths)
    assert_close(padded, plain)


@each_pair
def test_the_state_dict_loads_both_ways(pair: str) -> None:
    theirs, ours = both(pair, num_layers=2, bidirectional=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)


@each_pair
def test_the_same_seed_draws_the_same_weights(pair: str) -> None:
    theirs, ours, own = PAIRS[pair]
    torch.manual_seed(5)
    expected = theirs(4, 5, num_layers=2, bidirectional=True, **own)
    torch.manual_seed(5)
    got = ours(4, 5, num_layers=2, bidirectional=True, **own)
    assert all(torch.equal(a, b) for a, b in zip(got.parameters(), expected.parameters()))
    torch.manual_seed(6)
    expected.reset_parameters()
    torch.manual_seed(6)
    got.reset_parameters()
    assert all(torch.equal(a, b) for a, b in zip(got.parameters(), expected.parameters()))


@each_pair
def test_the_same_seed_drops_the_same_activations(pair: str) -> None:
    theirs, ours = both(pair, num_layers=3, dropout=0.5, bidirectional=True, dtype=torch.float64)
    x = torch.randn(7, 3, 4, dtype=torch.float64)
    torch.manual_seed(1)
    expected = theirs(x)[0]
    torch.manual_seed(1)
    assert_close(ours(x)[0], expected)
    assert_close(ours.eval()(x)[0], theirs.eval()(x)[0])


@each_pair
def test_the_public_attributes_are_pytorchs(pair: str) -> None:
    theirs, ours = both(pair, num_layers=2, bidirectional=True, dropout=0.25, batch_first=True)
    names = (
        "mode",
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
        "proj_size",
    )
    for name in names:
        assert getattr(ours, name) == getattr(theirs, name)
    assert [[w.shape for w in group] for group in ours.all_weights] == [
        [w.shape for w in group] for group in theirs.all_weights
    ]
    assert ours.all_weights[1][0] is ours.weight_ih_l0_reverse
    ours.flatten_parameters()


def test_the_representation_names_what_is_not_default() -> None:
    assert repr(holdfast.LSTM(3, 5, 2, bidirectional=True)) == repr(nn.LSTM(3, 5, 2, bidirectional=True))
    layer = holdfast.LSTM(3, 5, peephole=True, zoneout=(0.1, 0.2), engine="reference")
    assert repr(layer) == "LSTM(3, 5, peephole=True, zoneout=(0.1, 0.2), engine='reference')"
    assert repr(holdfast.Recurrent(holdfast.cells.GRU(reset_after=False), 3, 5)) == (
        "Recurrent(GRU(reset_after=False), 3, 5)"
    )


@each_pair
def test_arguments_stand_in_pytorchs_order(pair: str) -> None:
    theirs, ours, own = PAIRS[pair]
    positional = (4, 5, 2, "relu", True, True) if theirs is nn.RNN else (4, 5, 2, True, True)
    if theirs is nn.RNN:
        own = {}
    a, b = theirs(*positional, **own), ours(*positional, **own)
    assert [w.shape for w in a.parameters()] == [w.shape for w in b.parameters()]
    assert b.batch_first


def test_a_plain_lstm_trains_like_pytorchs() -> None:
    theirs, ours = both("LSTM", 8, 64)
    x, target = torch.randn(50, 16, 8), torch.randn(64).tanh()
    first = last = 0.0
    optimisers = [torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9) for layer in (theirs, ours)]
    for step in range(20):
        for layer, optimiser in zip((theirs, ours), optimisers):
            loss = (layer(x)[0] - target).square().mean(dim=(0, 1)).sum() / 8
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < 0.8 * first
    difference = max((a - b).abs().max().item() for a, b in zip(ours.parameters(), theirs.parameters()))
    assert difference < 1e-5


def raised(function: Any) -> tuple[type[BaseException], str]:
    """What a call raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # the type is what is compared
        function()
    return caught.type, str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m(torch.zeros(0, 2, 4)),
        lambda m: m(torch.zeros(3, 2, 6)),
        lambda m: m(torch.zeros(3, 2, 2, 4)),
        lambda m: m(torch.zeros(4)),
        lambda m: m(torch.zeros(3, 2, 4), (torch.zeros(1, 2, 5), torch.zeros(2, 2, 5))),
        lambda m: m(torch.zeros(3, 2, 4), (torch.zeros(2, 2, 5), torch.zeros(2, 3, 5))),
        lambda m: m(torch.zeros(3, 2, 4), (torch.zeros(2, 5), torch.zeros(2, 5))),
        lambda m: m(torch.zeros(3, 4), (torch.zeros(2, 1, 5), torch.zeros(2, 1, 5))),
        lambda m: m(torch.zeros(3, 2, 4, dtype=torch.float64)),
        lambda m: m(torch.zeros(3, 2, 4, dtype=torch.long)),
    ],
)
def test_bad_calls_raise_what_pytorch_raises(call: Any) -> None:
    theirs, ours = both("LSTM", num_layers=2)
    (their_type, their_text), (our_type, our_text) = raised(lambda: call(theirs)), raised(lambda: call(ours))
    assert our_type is their_type
    assert our_text == their_text


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("LSTM", {"hidden_size": 0}),
        ("LSTM", {"hidden_size": 4.0}),
        ("LSTM", {"input_size": -1}),
        ("LSTM", {"num_layers": 0}),
        ("LSTM", {"num_layers": 1.5}),
        ("LSTM", {"dropout": 1.5}),
        ("LSTM", {"dropout": True}),
        ("LSTM", {"proj_size": 5}),
        ("LSTM", {"proj_size": -1}),
        ("LSTM", {"bias": 1}),
        ("LSTM", {"batch_first": 1}),
        ("LSTM", {"unheard_of": 1}),
        ("GRU", {"proj_size": 2}),
        ("RNN", {"proj_size": 2}),
        ("RNN", {"nonlinearity": "sine"}),
    ],
)
def test_bad_constructions_raise_pytorchs_type(kind: str, arguments: dict[str, Any]) -> None:
    arguments = {"input_size": 4, "hidden_size": 5, **arguments}
    their_type, _ = raised(lambda: getattr(nn, kind)(**arguments))
    our_type, our_text = raised(lambda: getattr(holdfast, kind)(**arguments))
    assert our_type is their_type
    odd = next(
        name for name, value in arguments.items() if (name, value) not in (("input_size", 4), ("hidden_size", 5))
    )
    assert odd in our_text


def test_dropout_on_one_layer_warns_as_in_pytorch() -> None:
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last recurrent layer"):
        holdfast.LSTM(3, 5, dropout=0.5)


def test_an_empty_batch_gives_empty_results() -> None:
    theirs, ours = both("LSTM", num_layers=2, bidirectional=True)
    for got, expected in zip(flat(ours(torch.zeros(3, 0, 4))), flat(theirs(torch.zeros(3, 0, 4)))):
        assert got.shape == expected.shape
    x = torch.zeros(3, 0, 4, requires_grad=True)
    ours(x)[0].sum().backward()
    assert x.grad is not None
    assert all(w.grad is not None and not w.grad.any() for w in ours.parameters())
