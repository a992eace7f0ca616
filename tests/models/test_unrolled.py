"""A forecaster as one sequence of its layers, and its forecast that gradients flow through."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from holdfast.models import AutoregressiveForecaster, Forecasting, PatchForecaster, Unrolled, Window
from holdfast.models.forecasting import filled
from holdfast.models.likelihoods import likelihood
from tests.support import assert_close

LEVELS = (0.1, 0.5, 0.9)
SIZES: dict[str, Any] = {"horizon": 7, "context": 13, "levels": LEVELS, "seasons": (4,), "hidden": 6, "gaps": True}
MODELS: dict[str, Any] = {
    "patches": lambda **more: PatchForecaster(patch=3, base="mixture", **SIZES, **more),
    "steps": lambda **more: PatchForecaster(patch=1, base="linear", **SIZES, **more),
    "autoregressive": lambda **more: AutoregressiveForecaster(**SIZES, **more),
}


def case() -> tuple[Window, Tensor]:
    """Windows with gaps, one of which begins late."""
    values, targets = torch.randn(5, 13) + 10, torch.randn(5, 7) + 10
    values[1, :6] = values[2, 4] = targets[0, 2] = torch.nan
    nothing = torch.zeros(5, 20, 0)
    return Window(
        values, nothing[:, :13], nothing, nothing, nothing[:, 0], torch.zeros(5).long(), torch.rand(5) + 1
    ), targets


def run(model: Forecasting, one: Unrolled) -> Tensor:
    output: Tensor = model.rnn(one.inputs, reset=one.reset)[0]
    return output


@pytest.mark.parametrize("kind", ["patches", "steps"])
def test_one_sequence_says_what_reading_and_then_asking_says(kind: str) -> None:
    model, (window, targets) = MODELS[kind]().eval(), case()
    one = model.unrolled(window, targets)
    assert one.reset.any()
    found = model.said(one.numbers(run(model, one)), LEVELS)
    assert_close(found, model.quantiles(window, LEVELS))


@pytest.mark.parametrize("kind", MODELS)
def test_the_last_steps_alone_say_what_they_say_among_all(kind: str) -> None:
    model, (window, targets) = MODELS[kind]().eval(), case()
    one = model.unrolled(window, targets)
    output = run(model, one)
    every, last = one.numbers(output), one.numbers(output[-9:])
    assert last.numbers.shape[1] == {"patches": 7, "steps": 7, "autoregressive": 9}[kind]
    assert_close(last.numbers[:, -7:], every.numbers[:, -7:])
    assert_close(last.base[:, -7:], every.base[:, -7:])
    assert one.last == 1, "7 steps by 3 leave one for the last patch"
    assert one.targets[:, -7:].equal(targets) or one.targets[:, -7:].isnan().equal(targets.isnan())


@pytest.mark.parametrize("kind", MODELS)
def test_the_loss_is_the_mean_over_all_targets_that_are_known(kind: str) -> None:
    model, (window, targets) = MODELS[kind]().eval(), case()
    one = model.unrolled(window, targets)
    found = one.numbers(run(model, one))
    each = []
    for b in range(5):
        for t in range(one.targets.shape[1]):
            y = one.targets[b, t]
            if y.isnan():
                continue
            over = [(y - found.base[b, t]) / window.scale[b] - said for said in found.numbers[b, t]]
            pinball = [max(level * one, (level - 1) * one) for level, one in zip(LEVELS, over)]
            each.append(sum(pinball) / len(pinball) + abs(over[LEVELS.index(0.5)]) / 2)
    assert_close(model.loss(window, targets), torch.stack(each).mean())


@pytest.mark.parametrize("kind", ["patches", "steps"])
@pytest.mark.parametrize("name", ["quantiles", "student-t"])
def test_the_middle_is_the_median(kind: str, name: str) -> None:
    model, (window, _) = MODELS[kind](likelihood_name=name).eval(), case()
    assert_close(model.middle(window), model.quantiles(window, (0.5,)).squeeze(-1))


def test_the_middle_of_counts_is_their_mean() -> None:
    head = likelihood("negative-binomial", LEVELS)
    numbers, base, scale = torch.tensor([[0.4, 1.5]]), torch.tensor([20.0]), torch.tensor([3.0])
    drawn = (torch.arange(200_000) + 0.5) / 200_000
    many = head.at(numbers.expand(200_000, 2), base.expand(200_000), scale.expand(200_000), drawn)
    assert float(head.middle(numbers, base, scale)) == pytest.approx(float(many.mean()), rel=0.01)


def test_the_middle_path_reads_each_step_again() -> None:
    model, (window, _) = MODELS["autoregressive"]().eval(), case()
    window = window._replace(values=filled(window.values))
    grown = window.values
    for ahead in range(7):
        nothing = torch.zeros(5, 13 + ahead + 1, 0)
        longer = window._replace(values=grown, past=nothing[:, :-1], future=nothing, calendar=nothing)
        one = model.unrolled(longer, torch.full((5, 1), torch.nan))  # its last number is about the step to come
        numbers = one.numbers(run(model, one))
        middle = model.likelihood.quantiles(numbers.numbers, numbers.base, window.scale[:, None], (0.5,))[:, -1, 0]
        grown = torch.cat([grown, middle[:, None]], 1)
    assert_close(model.middle(window), grown[:, 13:])


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", ["quantiles", "student-t", "negative-binomial"])
def test_gradients_flow_through_the_middle_to_every_known_value(kind: str, name: str) -> None:
    model, (window, _) = MODELS[kind](likelihood_name=name).eval(), case()
    values = window.values.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model.middle(window._replace(values=values)).sum(), values)
    assert gradient.isfinite().all()
    read = slice(1, None) if kind == "patches" else slice(None)  # 13 steps hold four patches of 3
    known = window.values.isfinite()
    assert (gradient[~known] == 0).all()
    moved = (gradient[:, read] != 0)[known[:, read]].float().mean()
    assert moved > 0.5
