from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

import holdfast
from holdfast.language.typeset import equation_parts
from holdfast.microscope import MicroscopeError, record
from holdfast.microscope.steps import record_steps

X = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(0))
NAMES = {
    "σ": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "softplus": nn.functional.softplus,
    "max": torch.maximum,
    "min": lambda a, b: a.clamp(max=b),
}


@pytest.mark.parametrize("engine", ["reference", "llvm"])
@pytest.mark.parametrize(
    "make",
    [
        holdfast.LSTM,
        holdfast.GRU,
        holdfast.RNN,
        partial(holdfast.LSTM, peephole=True, coupled=True, learn_state=True),
        partial(holdfast.GRU, bias=False),
    ],
    ids=["lstm", "gru", "rnn", "peephole", "without bias"],
)
def test_every_equation_holds_of_the_numbers_that_stand_in_it(
    make: Callable[[int, int], holdfast.Recurrent], engine: str
) -> None:
    layer = make(3, 5)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.uniform_(-1, 1)
    layer.engine = engine
    steps = record_steps(layer, X).layers["l0"]
    for line in equation_parts(steps.program):
        wanted, equals, *right = line
        # The text itself is computed, with a variable in the place of each value.
        text = equals.text.removeprefix(" = ") + "".join(
            part.text if part.node is None else f"v{part.node}" for part in right
        )
        scope = {f"v{node}": value for node, value in steps.values.items()}
        found = eval(text.replace("⊙", "*"), {**NAMES, **scope})
        assert wanted.node is not None
        assert torch.allclose(steps.values[wanted.node], found, atol=1e-5), text


def test_a_sum_is_what_the_weights_make_of_input_and_output() -> None:
    layer = holdfast.LSTM(3, 5)
    steps = record_steps(layer, X).layers["l0"]
    h = layer(X)[0]
    before = torch.cat([torch.zeros_like(h[:1]), h[:-1]])
    with torch.no_grad():
        pre = X @ layer.weight_ih_l0.T + before @ layer.weight_hh_l0.T + layer.bias_ih_l0 + layer.bias_hh_l0
    found = [part.node for line in equation_parts(steps.program) for part in line if part.text.startswith("W_")]
    assert len(found) == 4
    for node, wanted in zip(found, pre.chunk(4, -1)):
        assert node is not None
        assert torch.allclose(steps.values[node], wanted, atol=1e-5)


def test_states_before_a_step_are_those_after_the_one_before_it() -> None:
    layer = holdfast.LSTM(3, 5, learn_state=True)
    with torch.no_grad():
        layer.c_0.uniform_(-1, 1)
    steps = record_steps(layer, X).layers["l0"]
    node = next(k for k, node in enumerate(steps.program.nodes) if (node.op, node.label) == ("state", "c"))
    assert torch.equal(steps.values[node][1:], steps.values[steps.named()["c"]][:-1])
    assert torch.equal(steps.values[node][0], layer.c_0.expand(2, -1))


def test_layers_and_directions_are_kept_apart_and_the_model_is_left_as_it_was() -> None:
    model = holdfast.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=4)
    steps = record_steps(model, X)
    seen = record(model, X)
    assert list(steps.layers) == list(seen.layers) == ["l0", "l0_reverse", "l1", "l1_reverse"]
    for name, layer in steps.layers.items():
        nodes = layer.named()
        assert torch.equal(layer.values[nodes["h"]], seen[name].states["h"])
        assert torch.equal(layer.values[nodes["f"]], seen[name].gates["f"])


def test_a_model_without_recurrent_layers_is_refused() -> None:
    with pytest.raises(MicroscopeError, match="there is no recurrent layer"):
        record_steps(nn.Linear(3, 5), X)
