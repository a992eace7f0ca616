"""Which steps moved what a model says, against small changes and a model that can be solved."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from holdfast.models import SequenceModel
from holdfast.tasks.classification.influence import contributions, influence

STEPS = 6


def text_model(outputs: int = 3, bidirectional: bool = True) -> SequenceModel:
    torch.manual_seed(0)
    pooling = ("mean", "max", "last", "attention")
    model = SequenceModel(
        outputs=outputs, vocabulary=9, embedding=4, hidden=5, layers=2, bidirectional=bidirectional, pooling=pooling
    )
    assert model.embedding is not None
    torch.nn.init.normal_(model.embedding.weight)
    return model.double().eval()


def above(said: torch.Tensor, output: int) -> torch.Tensor:
    """How far an output lies above the mean of the others."""
    others = [k for k in range(len(said)) if k != output]
    return said[output] - (said[others].mean() if others else 0)


@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_it_is_the_rate_at_which_an_output_falls_as_a_word_fades(outputs: int, bidirectional: bool) -> None:
    model, tokens = text_model(outputs, bidirectional), np.array([1, 7, 7, 2, 0, 4])
    lengths = torch.tensor([STEPS])
    with torch.no_grad():
        inputs = model.inputs(torch.from_numpy(tokens)[:, None])
    for output in range(outputs):
        found = influence(model, tokens, output)
        for step in range(STEPS):
            ends = []
            for sign in (1, -1):
                scaled = inputs.clone()
                scaled[step] *= 1 + sign * 1e-6
                with torch.no_grad():
                    ends.append(above(model.from_inputs(scaled, lengths)[0], output).item())
            assert found[step] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-8)


def test_influences_add_up_to_the_output_of_a_linear_model() -> None:
    class Linear(SequenceModel):
        """The layers left out: the mean of what is read, mapped."""

        def from_inputs(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            return (inputs.sum(0) / lengths[:, None]) @ weights

    model = Linear(outputs=1, channels=2, hidden=3).double().eval()
    model.means.copy_(torch.tensor([1.0, -1.0]))
    model.deviations.copy_(torch.tensor([2.0, 4.0]))
    weights = torch.tensor([[3.0], [-5.0]], dtype=torch.float64)
    series = np.array([[1.0, -1.0], [3.0, 3.0], [5.0, -5.0]], np.float32)
    # In deviations (0, 0), (1, 1) and (2, -1); a third of 3a - 5b each.
    assert influence(model, series) == pytest.approx(np.array([0, -2, 11]) / 3)
    (apart,) = contributions(model, [series], [0])
    assert apart == pytest.approx(np.array([[0, 0], [3, -5], [6, 5]]) / 3)


def test_many_at_once_are_as_each_alone() -> None:
    model = text_model()
    sequences = [np.array([3]), np.array([5, 1, 2, 8]), np.array([4, 4])]
    outputs = [2, 0, 1]
    together = contributions(model, sequences, outputs)
    for found, sequence, output in zip(together, sequences, outputs):
        assert found.sum(1) == pytest.approx(influence(model, sequence, output))
        assert found.shape == (len(sequence), 4)


def test_a_missing_value_counts_for_its_channel() -> None:
    torch.manual_seed(0)
    model = SequenceModel(outputs=1, channels=2, gaps=True, hidden=4).double().eval()
    series = np.array([[1.0, np.nan], [0.5, 2.0], [np.nan, -1.0]], np.float32)
    (found,) = contributions(model, [series], [0])
    assert found.shape == (3, 2)
    assert np.isfinite(found).all()
    assert found[0, 1] != 0, "that the value is missing is read too"
    assert influence(model, series) == pytest.approx(found.sum(1))


def test_what_lies_past_a_length_has_no_influence_and_no_weight_gets_a_gradient() -> None:
    model = text_model()
    found = contributions(model, [np.array([1, 2]), np.array([1, 2, 3])], [0, 0])
    assert [len(each) for each in found] == [2, 3]
    assert all(parameter.grad is None for parameter in model.parameters())
