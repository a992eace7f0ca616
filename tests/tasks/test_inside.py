"""The look inside a model that its report has."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

import holdfast
from holdfast.models import LanguageModel
from holdfast.tasks.inside import inside


class Stack(nn.Module):
    """Layers one on the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x, _ = layer(x)
        return x


def look(model: nn.Module, x: Tensor, text: str = "text") -> str:
    html = inside(model, x, lambda output: output[-1].square().sum(), "letter", text)
    ElementTree.fromstring(html)  # it is well formed
    assert "nan" not in html
    assert ">inf" not in html
    return html


def rows(html: str) -> dict[str, list[str]]:
    """The tables: what stands beside each name."""
    found = {}
    for row in re.findall(r"<tr><th scope=\"row\">(.*?)</tr>", html):
        name, *values = re.split(r"</th><td>|</td><td>", row.removesuffix("</td>"))
        found.setdefault(name, values)
    return found


def test_it_has_all_gates_and_states_the_horizon_and_what_was_read() -> None:
    html = look(Stack(holdfast.LSTM(3, 5), holdfast.GRU(5, 4)), torch.randn(30, 2, 3), "was <read> & said")
    captions = re.findall(r"<figcaption>(.*?)[,:.]", html)
    assert captions[:6] == [f"The gate {name}" for name in "ifgo"] + ["The state h", "The state c"]
    assert captions[6:] == ["The memory horizon", "Time constants"]
    assert "The gate f, how much of its memory each unit keeps: 5 units, those that keep" in html
    assert "<pre>was &lt;read&gt; &amp; said</pre>" in html
    assert "2 × 30 letters" in html
    assert {"layer 1", "layer 2", "layer 1, gate f", "layer 2, gate z"} <= set(rows(html))


def test_its_numbers_are_those_of_the_layers() -> None:
    layer = holdfast.LSTM(1, 2)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
        layer.bias_ih_l0[2:4] = math.log(0.8 / 0.2)  # f = 0.8, so that c passes on 0.8 of its gradient a step
        layer.bias_ih_l0[0:2] = -5.0  # i is shut
        layer.bias_ih_l0[6] = 5.0  # one of two units' o is open
        layer.bias_ih_l0[4:6] = 1.0
    html = look(Stack(layer), torch.zeros(60, 1, 1))
    found = rows(html)
    assert found["layer 1, gate i"] == ["100.0%", "0.0%"]
    assert found["layer 1, gate f"] == ["0.0%", "0.0%"]
    assert found["layer 1, gate o"] == ["0.0%", "50.0%"]
    half, tenth, _ = (int(lag) for lag in found["layer 1"])
    assert 2 <= half <= 5
    assert 9 <= tenth <= 15  # 0.8 ** 10.3 = 0.1; the lags are some 20 % apart
    tau = -1 / math.log(0.8)  # 4.5
    (chart,) = [c for c in re.findall(r"<svg.*?</svg>", html, re.DOTALL) if "time constants" in c]
    names = [float(name) for name in re.findall(r"text-anchor=\"end\" class=\"quiet\">([\d.]+)</text>", chart)]
    assert names[0] <= tau <= names[-1] <= 20
    assert "never moves: none" in html


def test_units_that_do_nothing_are_counted() -> None:
    layer = holdfast.LSTM(3, 5)
    with torch.no_grad():
        layer.bias_ih_l0[15:17] = -50.0  # the output gates of two units
    assert "never moves: 2 of layer 1." in look(Stack(layer), torch.randn(20, 2, 3))


@pytest.mark.parametrize("cell", ["rnn", "slstm", "gru"])
@pytest.mark.parametrize("steps", [1, 2, 40])
def test_every_cell_and_length_goes(cell: str, steps: int) -> None:
    model = LanguageModel(vocabulary=9, cell=cell, hidden=7, embedding=3, layers=6)
    tokens = torch.randint(9, (steps, 2))
    html = inside(model, tokens, lambda output: output.features[-1].sum(), "word", "a b")
    ElementTree.fromstring(html)
    assert "layer 6" in html
    assert ("Time constants" in html) == (cell == "gru")  # the f of an sLSTM is rescaled at every step
    assert html.count("<figcaption>The state h,") == 1


def test_gates_that_never_forget_are_drawn() -> None:
    layer = holdfast.LSTM(3, 5)
    with torch.no_grad():
        layer.bias_ih_l0[5:10] = 100.0
    look(Stack(layer), torch.randn(20, 2, 3))


def test_few_units_of_a_wide_layer_are_drawn() -> None:
    html = look(Stack(holdfast.LSTM(3, 300)), torch.randn(12, 1, 3))
    assert "60 of 300 units" in html
    assert len(html) < 200_000
