from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import holdfast
from holdfast.microscope import state_gradients
from tests.support import assert_close

STEPS, BATCH, INPUTS, UNITS = 5, 3, 2, 4


def total(last: Tensor) -> Tensor:
    return last.sum(-1)


def by_differences(layer: holdfast.Recurrent, x: Tensor, step: int, sequence: int) -> Tensor:
    """The same length from central differences on the state after a step."""
    _, state = layer(x[: step + 1])
    states = [s.detach().clone() for s in (state if isinstance(state, tuple) else (state,))]

    def end() -> float:
        given = tuple(states) if len(states) > 1 else states[0]
        last = layer(x[step + 1 :], given)[0][-1] if step + 1 < len(x) else states[0][-1]
        return total(last)[sequence].item()

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
    return torch.tensor(slopes, dtype=torch.float64).norm()


@pytest.mark.parametrize(
    "build",
    [
        lambda: holdfast.RNN(INPUTS, UNITS, dtype=torch.float64),
        lambda: holdfast.LSTM(INPUTS, UNITS, dtype=torch.float64),
        lambda: holdfast.GRU(INPUTS, UNITS, num_layers=2, dtype=torch.float64),
    ],
    ids=["RNN", "LSTM", "two layers of GRU"],
)
def test_the_gradient_is_the_total_one(build: Callable[[], holdfast.Recurrent]) -> None:
    layer, x = build(), torch.randn(STEPS, BATCH, INPUTS, dtype=torch.float64)
    lengths = state_gradients(layer, x, total)
    assert lengths.shape == (STEPS, BATCH)
    expected = torch.stack([torch.stack([by_differences(layer, x, t, b) for b in range(BATCH)]) for t in range(STEPS)])
    torch.testing.assert_close(lengths, expected, rtol=1e-6, atol=1e-8)


def test_batch_first_changes_the_layout_only() -> None:
    layer = holdfast.LSTM(INPUTS, UNITS, batch_first=True)
    twin = holdfast.LSTM(INPUTS, UNITS)
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(BATCH, STEPS, INPUTS)
    assert_close(state_gradients(layer, x, total), state_gradients(twin, x.transpose(0, 1), total))


def test_frozen_weights_and_no_grad_make_no_difference() -> None:
    layer, x = holdfast.LSTM(INPUTS, UNITS), torch.randn(STEPS, BATCH, INPUTS)
    expected = state_gradients(layer, x, total)
    layer.requires_grad_(False)
    with torch.no_grad():
        assert_close(state_gradients(layer, x, total), expected)


def test_nothing_is_left_behind_in_the_layer_or_the_input() -> None:
    layer, x = holdfast.LSTM(INPUTS, UNITS), torch.randn(STEPS, BATCH, INPUTS)
    state_gradients(layer, x, total)
    assert not x.requires_grad
    assert all(weight.grad is None for weight in layer.parameters())


def test_two_directions_are_refused() -> None:
    with pytest.raises(ValueError, match="a layer in one direction"):
        state_gradients(holdfast.LSTM(2, 4, bidirectional=True), torch.randn(5, 3, 2), total)


def test_a_sequence_without_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got shape \(5, 2\)"):
        state_gradients(holdfast.LSTM(2, 4), torch.randn(5, 2), total)
