"""The gradient by lag, against autograd over a loop written by hand and against finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import holdfast
from holdfast.microscope import Horizon, MicroscopeError, memory_horizon

D = torch.float64


class Last(nn.Module):
    """The last output of a layer, as a number for each sequence."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.rnn = layer

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.rnn(x)
        last: Tensor = output[:, -1] if self.rnn.batch_first else output[-1]
        return last.sum(-1)


def test_an_lstm_s_gradients_are_those_of_a_loop_of_nn_lstmcell() -> None:
    torch.manual_seed(0)
    layer, x = nn.LSTM(3, 4, dtype=D), torch.randn(6, 2, 3, dtype=D)
    cell = nn.LSTMCell(3, 4, dtype=D)
    cell.load_state_dict({name.removesuffix("_l0"): tensor for name, tensor in layer.state_dict().items()})
    found = memory_horizon(Last(layer), x, read=torch.sum)

    xs, states, state = [step.clone().requires_grad_() for step in x], [], None
    for step in xs:
        state = tuple(s * 1 for s in cell(step, state))  # what is handed on: c as it is, not on its way into this h
        states.append(state)
    flat = torch.autograd.grad(states[-1][0].sum(), [*xs, *(s for pair in states for s in pair)], allow_unused=True)
    by_input = torch.stack([g.norm(dim=-1) for g in flat[:6]]).flip(0)
    pairs = [
        torch.cat([torch.zeros_like(x[0, :, :1].expand(-1, 4)) if g is None else g for g in flat[k : k + 2]], -1)
        for k in range(6, 18, 2)
    ]
    by_state = torch.stack([pair.norm(dim=-1) for pair in pairs]).flip(0)
    assert torch.allclose(found.inputs["rnn"], by_input)
    assert torch.allclose(found.states["rnn"], by_state)


@pytest.mark.parametrize(
    "layer",
    [
        nn.GRU(3, 4, batch_first=True, dtype=D),
        holdfast.LSTM(3, 4, num_layers=2, layer_norm=True, dtype=D),
        holdfast.SLSTM(3, 4, dtype=D),
    ],
    ids=["GRU, batch first", "two layers", "SLSTM"],
)
def test_the_gradient_to_the_inputs_is_what_small_changes_do(layer: Any) -> None:
    torch.manual_seed(1)
    layer.reset_parameters()  # some draws curve so much that even small changes are too large
    model, time = Last(layer).eval(), int(bool(layer.batch_first))
    x = torch.randn(5, 5, 3, dtype=D)
    found = memory_horizon(model, x, read=torch.sum).inputs["rnn"]
    steps = x.shape[time]
    for t in range(steps):
        for b in range(5):
            slopes = []
            for k in range(3):
                moved = [x.clone(), x.clone()]
                place = (b, t, k) if time else (t, b, k)
                for sign, one in zip((1, -1), moved):
                    one[place] += sign * 1e-5
                with torch.no_grad():
                    slopes.append((model(moved[0]).sum() - model(moved[1]).sum()).item() / 2e-5)
            assert torch.tensor(slopes).norm().item() == pytest.approx(
                found[steps - 1 - t, b].item(), rel=1e-4, abs=1e-9
            )


def by_differences(layer: holdfast.Recurrent, x: Tensor, step: int, sequence: int) -> Tensor:
    """The length of the gradient to the state after a step, from small changes of it."""
    _, state = layer(x[: step + 1])
    states = [s.detach().clone() for s in (state if isinstance(state, tuple) else (state,))]

    def end() -> float:
        given = tuple(states) if len(states) > 1 else states[0]
        last = layer(x[step + 1 :], given)[0][-1] if step + 1 < len(x) else states[0][-1]
        return last.sum(-1)[sequence].item()

    slopes = []
    for s in states:
        for index in torch.cartesian_prod(torch.arange(s.shape[0]), torch.arange(s.shape[2])).tolist():
            place = (index[0], sequence, index[1])
            kept = s[place].item()
            s[place] = kept + 1e-6
            above = end()
            s[place] = kept - 1e-6
            slopes.append((above - end()) / 2e-6)
            s[place] = kept
    return torch.tensor(slopes, dtype=D).norm()


@pytest.mark.parametrize(
    "layer",
    [holdfast.RNN(2, 4, dtype=D), holdfast.LSTM(2, 4, dtype=D), holdfast.GRU(2, 4, num_layers=2, dtype=D)],
    ids=["RNN", "LSTM", "two layers of GRU"],
)
def test_the_gradient_to_the_states_is_what_small_changes_do(layer: holdfast.Recurrent) -> None:
    x = torch.randn(5, 3, 2, dtype=D)
    found = memory_horizon(Last(layer), x, read=torch.sum).states["rnn"]
    wanted = torch.stack([torch.stack([by_differences(layer, x, t, b) for b in range(3)]) for t in range(5)])
    torch.testing.assert_close(found, wanted.flip(0), rtol=1e-6, atol=1e-8)


def test_batch_first_changes_the_layout_only() -> None:
    layer, twin, x = nn.LSTM(2, 4, batch_first=True), nn.LSTM(2, 4), torch.randn(3, 5, 2)
    twin.load_state_dict(layer.state_dict())
    one = memory_horizon(Last(layer), x, read=torch.sum)
    other = memory_horizon(Last(twin), x.transpose(0, 1), read=torch.sum)
    assert torch.allclose(one.states["rnn"], other.states["rnn"], atol=1e-6)
    assert torch.allclose(one.inputs["rnn"], other.inputs["rnn"], atol=1e-6)


def test_nothing_is_left_behind_in_the_model_or_the_input() -> None:
    model, x = Last(nn.LSTM(3, 4)), torch.randn(5, 2, 3)
    with torch.no_grad():
        memory_horizon(model, x, read=torch.sum)
    assert not x.requires_grad
    assert all(weight.grad is None for weight in model.parameters())
    assert type(model.rnn) is nn.LSTM


def test_frozen_weights_and_an_embedding_before_stop_nothing() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.rnn = nn.Embedding(9, 3), nn.RNN(3, 4)

        def forward(self, tokens: Tensor) -> Tensor:
            found: Tensor = self.rnn(self.embedding(tokens))[0][-1]
            return found

    model = Words().requires_grad_(False)
    found = memory_horizon(model, torch.randint(9, (6, 2)), read=torch.sum)
    assert (found.states["rnn"] > 0).all()
    assert (found.inputs["rnn"] > 0).all()


def test_the_lag_is_where_so_much_is_gone_for_good() -> None:
    lengths = torch.tensor([[8.0, 8.0], [4.1, 4.1], [3.9, 3.9], [4.5, 4.5], [1.0, 1.0], [0.5, 0.5]])
    horizon = Horizon({"a": lengths, "b": torch.ones(6, 2)}, {}, range(6))
    assert horizon.lag(0.5) == 4  # at 2 it was gone, and came back at 3
    assert horizon.lag(0.87) == 4
    assert horizon.lag(0.9) == 5
    assert horizon.lag(0.99) is None
    assert horizon.lag(0.5, "b") is None
    with pytest.raises(MicroscopeError, match="there is no layer 'c'; there are a, b"):
        horizon.lag(0.5, "c")
    with pytest.raises(MicroscopeError, match="share must be between 0 and 1; got 50"):
        horizon.lag(50)


@pytest.mark.parametrize("layer", [nn.LSTM(3, 4, 2, dtype=D), nn.GRU(3, 4, batch_first=True, dtype=D)])
def test_a_few_lags_give_what_all_give_there(layer: Any) -> None:
    model, x = Last(layer), torch.randn(12, 12, 3, dtype=D)
    every = memory_horizon(model, x, read=torch.sum)
    some = memory_horizon(model, x, read=torch.sum, lags=[7, 2, 1, 2, 40])
    assert list(every.lags) == list(range(12))
    assert list(some.lags) == [0, 1, 2, 7]
    assert torch.allclose(some.states["rnn"], every.states["rnn"][[0, 1, 2, 7]])
    assert torch.allclose(some.inputs["rnn"], every.inputs["rnn"])
    with pytest.raises(MicroscopeError, match=r"lags must be whole numbers from 0 on; got \[3, -1\]"):
        memory_horizon(model, x, read=torch.sum, lags=[3, -1])


def test_a_lag_is_counted_in_steps_where_only_some_were_looked_at() -> None:
    horizon = Horizon({"a": torch.tensor([[1.0], [0.6], [0.3], [0.01]])}, {}, [0, 3, 10, 50])
    assert (horizon.lag(0.5), horizon.lag(0.9), horizon.lag(0.999)) == (10, 50, None)


def test_open_forget_gates_reach_farther() -> None:
    torch.manual_seed(0)
    x = torch.randn(60, 4, 3)
    near, far = (
        memory_horizon(Last(holdfast.LSTM(3, 8, forget_bias=b)), x, read=torch.sum).lag(0.9) for b in (0.0, 4.0)
    )
    assert near is not None
    assert near < 15
    assert far is None or far > 2 * near


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (Last(nn.LSTM(3, 4, bidirectional=True)), torch.randn(5, 2, 3), "the layer rnn has two directions"),
        (nn.LSTM(3, 4), torch.randn(5, 3), "must be called with one batch of sequences"),
        (nn.Linear(3, 4), torch.randn(5, 3), "there is no recurrent layer in this Linear"),
    ],
)
def test_what_has_no_horizon_is_refused(model: nn.Module, x: Tensor, message: str) -> None:
    with pytest.raises(MicroscopeError, match=message):
        memory_horizon(model, x, read=lambda output: output[0].sum())


def test_read_must_return_a_number() -> None:
    with pytest.raises(MicroscopeError, match=r"read must return one number; got a tensor of shape \(2,\)"):
        memory_horizon(Last(nn.LSTM(3, 4)), torch.randn(5, 2, 3), read=lambda output: output)
