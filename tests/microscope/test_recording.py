"""What is recorded, against oracles and PyTorch's own layers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import holdfast
from holdfast.microscope import MicroscopeError, record


class Tagger(nn.Module):
    """An embedding, a layer, dropout and a read-out, as people have them."""

    def __init__(self, layer: nn.Module, width: int = 5) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 3)
        self.encoder = layer
        self.dropout = nn.Dropout(0.5)
        self.out = nn.Linear(width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        output, _ = self.encoder(self.embedding(tokens))
        found: Tensor = self.out(self.dropout(output))
        return found


TOKENS = torch.randint(11, (7, 2), generator=torch.Generator().manual_seed(0))


def by_hand(layer: Any, x: Tensor) -> dict[str, Tensor]:
    """The gates and states of an nn.LSTM of one layer, by its textbook equations."""
    h = c = torch.zeros(x.shape[1], layer.hidden_size)
    found: dict[str, list[Tensor]] = {name: [] for name in "ifgohc"}
    for step in x:
        pre = step @ layer.weight_ih_l0.T + layer.bias_ih_l0 + h @ layer.weight_hh_l0.T + layer.bias_hh_l0
        i, f, g, o = pre.chunk(4, -1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * c + i * g
        h = o * c.tanh()
        for name, value in zip("ifgohc", (i, f, g, o, h, c)):
            found[name].append(value)
    return {name: torch.stack(values) for name, values in found.items()}


def test_every_gate_and_state_of_pytorch_s_lstm_is_that_of_the_textbook() -> None:
    model = Tagger(nn.LSTM(3, 5))
    seen = record(model, TOKENS)["encoder.l0"]
    with torch.no_grad():
        wanted = by_hand(model.encoder, model.embedding(TOKENS))
    assert [*seen.gates, *seen.states] == list("ifgohc")
    for name, series in {**seen.gates, **seen.states}.items():
        assert torch.allclose(series, wanted[name], atol=1e-6), name


@pytest.mark.parametrize(
    "layer",
    [nn.LSTM(3, 5), nn.GRU(3, 5), nn.RNN(3, 5), holdfast.LSTM(3, 5, layer_norm=True), holdfast.SLSTM(3, 5)],
    ids=lambda layer: f"{type(layer).__module__.split('.')[0]} {type(layer).__name__}",
)
def test_the_output_is_what_the_model_gives_in_evaluation(layer: nn.Module) -> None:
    model = Tagger(layer)
    seen = record(model, TOKENS)
    with torch.no_grad():
        assert torch.allclose(seen.output, copy.deepcopy(model).eval()(TOKENS), atol=1e-6)
    assert not seen.output.requires_grad
    assert next(iter(seen["encoder.l0"].states.values())).shape == (7, 2, 5)


def test_the_model_is_left_as_it_is() -> None:
    model = Tagger(nn.LSTM(3, 5))
    before = copy.deepcopy(model.state_dict())
    record(model, TOKENS)
    assert type(model.encoder) is nn.LSTM
    assert model.training
    assert "forward" not in vars(model.encoder)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_all_layers_and_directions_have_their_places() -> None:
    model = nn.Sequential(nn.Embedding(11, 3), nn.LSTM(3, 5, 2, bidirectional=True, batch_first=True))
    seen = record(model, TOKENS.T)
    assert list(seen.layers) == ["1.l0", "1.l0_reverse", "1.l1", "1.l1_reverse"]
    assert all(one.states["c"].shape == (7, 2, 5) for one in seen.layers.values())  # time first all the same
    output = seen.output[0].transpose(0, 1)
    assert torch.equal(torch.cat([seen["1.l1"].states["h"], seen["1.l1_reverse"].states["h"]], -1), output)


def test_a_layer_alone_is_a_model_too_and_one_sequence_is_a_batch_of_one() -> None:
    layer = nn.GRU(3, 4)
    x = torch.randn(6, 3)
    seen = record(layer, x)
    assert list(seen.layers) == ["l0"]
    assert seen["l0"].states["h"].shape == (6, 1, 4)
    with torch.no_grad():
        assert torch.allclose(seen["l0"].states["h"][:, 0], layer(x)[0], atol=1e-6)


def test_packed_sequences_are_followed_to_their_ends() -> None:
    class Packing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, 4, batch_first=True)

        def forward(self, x: Tensor, lengths: list[int]) -> Tensor:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            output: Tensor = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]
            return output

    model, x = Packing(), torch.randn(3, 6, 3)
    seen = record(model, x, [4, 6, 1])
    with torch.no_grad():
        assert torch.allclose(seen.output, model(x, [4, 6, 1]), atol=1e-6)
    h = seen["rnn.l0"].states["h"]
    assert h.shape == (6, 3, 4)
    assert (h[4:, 0] == 0).all()
    assert (h[1:, 2] == 0).all()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(3, 2)), "there is no recurrent layer in this Sequential"),
        ("model.pt", "the model must be a torch.nn.Module; got str"),
    ],
)
def test_what_has_no_recurrent_layer_is_refused(model: Any, message: str) -> None:
    with pytest.raises(MicroscopeError, match=message):
        record(model, torch.randn(4, 3))


def test_a_layer_that_is_called_twice_is_refused_and_an_unknown_one_named() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.rnn(self.rnn(x)[0])[0]
            return output

    with pytest.raises(MicroscopeError, match="the layer rnn is called several times"):
        record(Twice(), torch.randn(4, 2, 3))
    seen = record(Tagger(nn.LSTM(3, 5)), TOKENS)
    with pytest.raises(MicroscopeError, match=r"there is no layer 'l0'; there are encoder\.l0"):
        seen["l0"]


def test_a_wrong_input_is_refused_by_the_layer_that_gets_it() -> None:
    with pytest.raises((RuntimeError, ValueError), match="4"):
        record(nn.LSTM(3, 5), torch.randn(7, 2, 4))
