"""What is said of a step, against SciPy and plain float64 formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from holdfast.models.likelihoods import LIKELIHOODS, Likelihood, likelihood

LEVELS = (0.05, 0.25, 0.5, 0.9, 0.95)
NAMES = tuple(LIKELIHOODS)


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


class Truth:
    """A likelihood of one step, told again in float64 and without tensors."""

    def __init__(self, name: str, numbers: Sequence[float], base: float, scale: float) -> None:
        self.name, self.numbers, self.base, self.scale = name, list(numbers), base, scale

    @property
    def distribution(self) -> Any:
        """The distribution as SciPy has it, in the units of the data."""
        if self.name == "student-t":
            place, spread, degrees = self.numbers
            return stats.t(
                2 + softplus(degrees), self.base + self.scale * place, self.scale * (softplus(spread) + 1e-3)
            )
        change, shape = self.numbers
        mean = (max(self.base, 0.0) + 0.1 * self.scale) * math.exp(min(max(change, -6.0), 6.0))
        shape = softplus(shape) + 1e-3
        return stats.nbinom(shape, shape / (shape + mean))

    def loss(self, target: float) -> float:
        if self.name == "quantiles":
            over = [(target - self.base) / self.scale - q for q in self.numbers]
            each = [level * o if o >= 0 else (level - 1) * o for level, o in zip(LEVELS, over)]
            return sum(each) / len(each) + abs(over[LEVELS.index(0.5)]) / 2
        if self.name == "student-t":
            return -float(self.distribution.logpdf(target)) - math.log(self.scale)
        return -float(self.distribution.logpmf(target))

    def quantile(self, level: float) -> float:
        if self.name != "quantiles":
            return float(self.distribution.ppf(level))
        return self.base + self.scale * float(np.interp(level, LEVELS, sorted(self.numbers)))


def steps(name: str, count: int = 40) -> tuple[Likelihood, Tensor, Tensor, Tensor, Tensor]:
    """A likelihood, its numbers, bases, scales and targets of some steps in two rows; quantiles in no order."""
    draw = torch.Generator().manual_seed(7)
    made = likelihood(name, LEVELS)
    numbers = 2 * torch.randn(2, count, made.size, generator=draw)
    scale = torch.rand(2, count, generator=draw) * 5 + 0.2
    base = torch.randn(2, count, generator=draw) * 20
    target = base + scale * torch.randn(2, count, generator=draw) * 3
    if name == "negative-binomial":
        target = target.abs().round()
    return made, numbers, base, scale, target


def each(*tensors: Tensor) -> list[tuple[Any, ...]]:
    return list(zip(*(t.flatten(0, 1).tolist() for t in tensors)))


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_that_of_the_formula(name: str) -> None:
    made, numbers, base, scale, target = steps(name)
    found = made.loss(numbers, base, scale, target)
    expected = [Truth(name, n, b, s).loss(y) for n, b, s, y in each(numbers, base, scale, target)]
    assert found.shape == target.shape
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.flatten().numpy(), expected, rtol=2e-5, atol=2e-6)


def test_large_counts_and_nearly_normal_values_lose_no_digits() -> None:
    counts, base, scale = torch.tensor([999_000.0]), torch.tensor([1e6]), torch.tensor([1.0])
    for shape in (0.0, 30.0, 3000.0):
        found = likelihood("negative-binomial", LEVELS).loss(torch.tensor([[0.01, shape]]), base, scale, counts)
        expected = Truth("negative-binomial", torch.tensor([0.01, shape]).tolist(), 1e6, 1.0).loss(999_000.0)
        assert found.item() == pytest.approx(expected, rel=1e-5)
    found = likelihood("student-t", LEVELS).loss(
        torch.tensor([[0.5, 0.0, 1e5]]), torch.zeros(1), torch.ones(1), torch.ones(1)
    )
    assert found.item() == pytest.approx(Truth("student-t", [0.5, 0.0, 1e5], 0.0, 1.0).loss(1.0), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("levels", [LEVELS, (0.02, 0.05, 0.1, 0.3, 0.7, 0.93, 0.99)])
def test_quantiles_are_those_of_the_distribution(name: str, levels: tuple[float, ...]) -> None:
    made, numbers, base, scale, _ = steps(name)
    found = made.quantiles(numbers, base, scale, levels)
    assert found.shape == (*base.shape, len(levels))
    assert (found.diff(dim=-1) >= 0).all()
    expected = [[Truth(name, n, b, s).quantile(q) for q in levels] for n, b, s in each(numbers, base, scale)]
    np.testing.assert_allclose(found.flatten(0, 1).numpy(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_quantiles_at_levels_that_are_drawn_evenly_are_a_sample(name: str) -> None:
    count = 4000
    made, numbers, base, scale, _ = steps(name, 3)
    many = [t.repeat_interleave(count, 1) for t in (numbers, base, scale)]
    level = torch.rand(many[1].shape, generator=torch.Generator().manual_seed(3))
    drawn = made.at(*many, level).unflatten(1, (3, count))
    bound = 1.95 / math.sqrt(count)  # of the largest distance between distribution functions: one in 1000 goes beyond
    for (n, b, s), values in zip(each(numbers, base, scale), drawn.flatten(0, 1).double()):
        truth = Truth(name, n, b, s)
        for at_level in np.linspace(0.06, 0.94, 45):
            at = truth.quantile(float(at_level))
            slack = 1e-4 * (abs(at) + s)
            below, upto = (values < at - slack).double().mean(), (values <= at + slack).double().mean()
            assert below - bound <= at_level <= upto + bound


@pytest.mark.parametrize("name", NAMES)
def test_each_step_has_the_quantile_at_a_level_of_its_own(name: str) -> None:
    made, numbers, base, scale, _ = steps(name)
    level = torch.rand(base.shape, generator=torch.Generator().manual_seed(3)) * 0.98 + 0.01
    found = made.at(numbers, base, scale, level)
    expected = [Truth(name, n, b, s).quantile(q) for n, b, s, q in each(numbers, base, scale, level)]
    np.testing.assert_allclose(found.flatten().numpy(), expected, rtol=1e-5, atol=1e-4)


def test_the_median_alone_is_drawn_as_it_is() -> None:
    one = (torch.tensor([[2.0]]), torch.tensor([1.0]), torch.tensor([3.0]))
    for level in (0.01, 0.5, 0.99):
        assert likelihood("quantiles", (0.5,)).at(*one, torch.tensor([level])).tolist() == [7.0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0.0, 30.0, 1e4])
def test_losses_and_gradients_are_finite_at_extremes(name: str, size: float) -> None:
    made = likelihood(name, LEVELS)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * made.size)  # every corner
    numbers = (size * signs).requires_grad_()
    for base in (0.0, 1e6):
        for target in (0.0, 1.0, 1e6):
            for scale in (1e-3, 1e4):
                full = [torch.full(signs.shape[:1], v) for v in (base, scale, target)]
                loss = made.loss(numbers, *full)
                (gradient,) = torch.autograd.grad(loss.sum(), numbers)
                assert loss.isfinite().all()
                assert gradient.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_small_changes(name: str) -> None:
    made, numbers, base, scale, target = (t.double() if isinstance(t, Tensor) else t for t in steps(name, 5))
    torch.autograd.gradcheck(lambda n: made.loss(n, base, scale, target), (numbers.requires_grad_(),))


def test_a_likelihood_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match=r"^likelihood must be one of quantiles, student-t, negative-binomial; got 'normal'$"
    ):
        likelihood("normal", LEVELS)


@pytest.mark.parametrize("levels", [(), (0.5, 0.1), (0.1, 0.1), (0.0, 0.5), (0.5, 1.0)])
@pytest.mark.parametrize("name", NAMES)
def test_levels_must_rise_between_0_and_1(name: str, levels: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"^levels must be numbers between 0 and 1 that rise; got \["):
        likelihood(name, levels)


def test_the_median_must_be_among_the_quantiles_that_are_learned() -> None:
    with pytest.raises(ValueError, match=r"^levels must hold 0\.5, the median; got \(0\.1, 0\.9\)$"):
        likelihood("quantiles", (0.1, 0.9))
