"""Optimisers, learning rates and averages."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast.training import TrainingOptions
from holdfast.training.optimisers import Pace, averaged, learning_rate, optimiser


def _rates(total: int, **options: object) -> list[float]:
    chosen = TrainingOptions(**options)  # type: ignore[arg-type]
    return [learning_rate(chosen, step, total, 1.0) for step in range(1, total + 1)]


@pytest.mark.parametrize("schedule", ["cosine", "plateau", "constant"])
def test_a_rate_rises_evenly_and_never_again(schedule: str) -> None:
    rates = _rates(100, schedule=schedule, learning_rate=0.5, warm_up=10, floor=0.1)
    assert rates[:10] == pytest.approx([0.05 * k for k in range(1, 11)])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.05 if schedule == "cosine" else 0.5)


def test_a_plateau_lowers_the_rate_to_its_floor() -> None:
    options = TrainingOptions(schedule="plateau", learning_rate=1.0, floor=0.1, warm_up=0)
    assert [learning_rate(options, 5, 100, factor) for factor in (1.0, 0.5, 0.01)] == [1.0, 0.5, 0.1]


def test_only_what_has_rows_and_columns_decays() -> None:
    layer = nn.Linear(3, 2)
    before = [p.detach().clone() for p in layer.parameters()]
    made = optimiser([Pace(layer.parameters())], TrainingOptions(learning_rate=0.1, weight_decay=0.5))
    for p in layer.parameters():
        p.grad = torch.zeros_like(p)
    made.step()
    assert torch.allclose(layer.weight, before[0] * 0.95)
    assert torch.equal(layer.bias, before[1])


def test_an_average_follows_quickly_at_first_and_slowly_later() -> None:
    layer = nn.Linear(1, 1, bias=False)
    made = averaged(layer, TrainingOptions(average=0.01))
    assert made is not None
    expected = None
    for n in range(300):
        layer.weight.data.fill_(float(n % 7))
        made.update_parameters(layer)
        share = max(0.01, 1 / (n + 10))
        expected = n % 7 if expected is None else expected + share * (n % 7 - expected)
    assert made.module.weight.item() == pytest.approx(expected, rel=1e-4)
    assert averaged(layer, TrainingOptions(average=0.0)) is None
