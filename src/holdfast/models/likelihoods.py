"""What a forecast says of a step: quantiles, or the parameters of a distribution.

All are told in the same units: `base`, a first guess of the value, and `scale`, how much such values usually move. The
network's numbers say how far from the base, in scales.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.extras import require

_LEAST_DEGREES = 2.0  # of a Student-t distribution: with fewer it has no variance
_FARTHEST = 6.0  # how many powers of e a count's mean may be from its base
_SMALLEST = 1e-3  # of a spread, in scales


class Likelihood(ABC):
    """How a network's numbers are read.

    Attributes:
        size: how many numbers there are for a step.
    """

    size: int

    @abstractmethod
    def loss(self, numbers: Tensor, base: Tensor, scale: Tensor, target: Tensor) -> Tensor:
        """What is made small, for each target.

        Args:
            numbers: the network's, (…, size).
            base, scale, target: (…), all in the units of the data.
        """

    @abstractmethod
    def quantiles(self, numbers: Tensor, base: Tensor, scale: Tensor, levels: Sequence[float]) -> Tensor:
        """The quantiles at some levels, (…, levels), rising with the levels."""

    def stretched(self, numbers: Tensor, moved: Tensor) -> Tensor:
        """The numbers where a series moves more or less than it usually does; by default they stay.

        Args:
            numbers: the network's, (B, H, size).
            moved: how much each series moved of late, in scales, (B, 1).
        """
        return numbers

    @abstractmethod
    def middle(self, numbers: Tensor, base: Tensor, scale: Tensor) -> Tensor:
        """The median, or a value near it, that gradients flow through; (…)."""

    @abstractmethod
    def at(self, numbers: Tensor, base: Tensor, scale: Tensor, level: Tensor) -> Tensor:
        """The quantile of each step at a level of its own, (…): at levels that are drawn evenly, a sample."""


class Quantiles(Likelihood):
    """Numbers that are the quantiles themselves; the loss is the pinball loss (Koenker and Bassett 1978), in scales.

    >>> head = Quantiles((0.1, 0.5, 0.9))
    >>> base, scale = torch.tensor([10.0]), torch.tensor([2.0])
    >>> head.quantiles(torch.tensor([[-1.0, 0.0, 1.0]]), base, scale, (0.1, 0.5, 0.9)).tolist()
    [[8.0, 10.0, 12.0]]

    Args:
        levels: rising, between 0 and 1, with 0.5 among them.
    """

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = tuple(levels)
        if 0.5 not in self.levels:
            raise ValueError(f"levels must hold 0.5, the median; got {self.levels}")
        self.median = self.levels.index(0.5)
        self.size = len(self.levels)

    def loss(self, numbers: Tensor, base: Tensor, scale: Tensor, target: Tensor) -> Tensor:
        """Half of it twice the mean pinball loss over the levels, half the absolute error of the median.

        The tails move the weights but little, and the median waits for them: with equal weights it needed twice the
        training.
        """
        levels = numbers.new_tensor(self.levels)
        over = ((target - base) / scale).unsqueeze(-1) - numbers  # (…, Q)
        pinball = torch.maximum(levels * over, (levels - 1) * over).mean(-1)
        return pinball + 0.5 * over[..., self.median].abs()

    def stretched(self, numbers: Tensor, moved: Tensor) -> Tensor:
        """The median as it is; the others as far from it as they say, in units of how much the series moved.

        So intervals learned in wild times are narrow in calm ones.
        """
        median = numbers[..., self.median : self.median + 1]
        others = torch.ones_like(numbers[0, 0])
        others[self.median] = 0.0
        return median + numbers * moved.unsqueeze(-1) * others

    def quantiles(self, numbers: Tensor, base: Tensor, scale: Tensor, levels: Sequence[float]) -> Tensor:
        """The quantiles that were learned; between two of them along a line, beyond the last one the last one."""
        known = base.unsqueeze(-1) + scale.unsqueeze(-1) * numbers.sort(-1).values
        if tuple(levels) == self.levels:
            return known
        found = []
        for level in levels:
            above = next((k for k, one in enumerate(self.levels) if one >= level), self.size - 1)
            below = max(0, above - 1) if self.levels[above] > level else above
            span = self.levels[above] - self.levels[below]
            share = (level - self.levels[below]) / span if span and level > self.levels[below] else 0.0
            found.append(known[..., below].lerp(known[..., above], min(1.0, share)))
        return torch.stack(found, -1)

    def middle(self, numbers: Tensor, base: Tensor, scale: Tensor) -> Tensor:
        """The median."""
        return self.quantiles(numbers, base, scale, (0.5,)).squeeze(-1)

    def at(self, numbers: Tensor, base: Tensor, scale: Tensor, level: Tensor) -> Tensor:
        """Along the line between the quantiles that were learned, beyond the last one the last one."""
        levels = numbers.new_tensor(self.levels)
        above = torch.searchsorted(levels, level.contiguous()).clamp(max=self.size - 1)
        below = (above - 1).clamp(min=0)
        low, high = levels[below], levels[above]
        share = ((level - low) / (high - low).clamp(min=torch.finfo(levels.dtype).tiny)).clamp(0, 1)
        known = numbers.sort(-1).values
        lower = known.gather(-1, below.unsqueeze(-1)).squeeze(-1)
        upper = known.gather(-1, above.unsqueeze(-1)).squeeze(-1)
        return base + scale * lower.lerp(upper, share)


class StudentT(Likelihood):
    """A location, a spread and the degrees of freedom of a Student-t distribution: for values with heavy tails."""

    size = 3

    def loss(self, numbers: Tensor, base: Tensor, scale: Tensor, target: Tensor) -> Tensor:
        """The negative logarithm of the density, of the value in scales."""
        place, spread, degrees = _student(numbers)
        z = ((target - base).double() / scale - place) / spread
        density = (
            torch.lgamma((degrees + 1) / 2)
            - torch.lgamma(degrees / 2)
            - 0.5 * torch.log(torch.pi * degrees)
            - spread.log()
            - (degrees + 1) / 2 * torch.log1p(z.square() / degrees)
        )
        return -density.to(numbers)

    def quantiles(self, numbers: Tensor, base: Tensor, scale: Tensor, levels: Sequence[float]) -> Tensor:
        """By the inverse of the distribution function."""
        place, spread, degrees = (t.unsqueeze(-1).numpy(force=True) for t in _student(numbers))
        z = place + spread * require("scipy.special", "forecast").stdtrit(degrees, list(levels))  # (…, Q)
        return base.unsqueeze(-1) + scale.unsqueeze(-1) * torch.from_numpy(z).to(base)

    def middle(self, numbers: Tensor, base: Tensor, scale: Tensor) -> Tensor:
        """The location, which is the median."""
        return base + scale * _student(numbers)[0].to(base)

    def at(self, numbers: Tensor, base: Tensor, scale: Tensor, level: Tensor) -> Tensor:
        """By the inverse of the distribution function."""
        place, spread, degrees = _student(numbers)
        stdtrit = require("scipy.special", "forecast").stdtrit
        z = torch.from_numpy(stdtrit(degrees.numpy(force=True), level.double().numpy(force=True))).to(place)
        return base + scale * (place + spread * z).to(base)


class NegativeBinomial(Likelihood):
    """The mean and the dispersion of a negative binomial distribution: for counts.

    The variance is μ + α μ². The mean is a multiple of the base, so it is never below 0.
    """

    size = 2

    def loss(self, numbers: Tensor, base: Tensor, scale: Tensor, target: Tensor) -> Tensor:
        """The negative logarithm of the probability."""
        mean, shape = _counts(numbers, base, scale)
        target, total = target.double(), shape + mean
        chance = (
            torch.lgamma(target + shape)
            - torch.lgamma(shape)
            - torch.lgamma(target + 1)
            + shape * (shape / total).log()
            + target * (mean / total).log()
        )
        return -chance.to(numbers)

    def quantiles(self, numbers: Tensor, base: Tensor, scale: Tensor, levels: Sequence[float]) -> Tensor:
        """By the inverse of the distribution function: whole numbers."""
        mean, shape = (t.unsqueeze(-1).numpy(force=True) for t in _counts(numbers, base, scale))
        found = require("scipy.stats", "forecast").nbinom.ppf(list(levels), shape, shape / (shape + mean))
        return torch.from_numpy(found).to(base)

    def middle(self, numbers: Tensor, base: Tensor, scale: Tensor) -> Tensor:
        """The mean: the median is a whole number, without a gradient."""
        return _counts(numbers, base, scale)[0].to(base)

    def at(self, numbers: Tensor, base: Tensor, scale: Tensor, level: Tensor) -> Tensor:
        """By the inverse of the distribution function."""
        mean, shape = (t.numpy(force=True) for t in _counts(numbers, base, scale))
        ppf = require("scipy.stats", "forecast").nbinom.ppf
        return torch.from_numpy(ppf(level.double().numpy(force=True), shape, shape / (shape + mean))).to(base)


def _student(numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Location, spread and degrees of freedom; in float64, for the loss is a difference of large logarithms."""
    place, spread, degrees = numbers.double().unbind(-1)
    return place, F.softplus(spread) + _SMALLEST, F.softplus(degrees) + _LEAST_DEGREES


def _counts(numbers: Tensor, base: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The mean, and the shape 1/α; in float64, for the loss is a difference of large logarithms."""
    change, shape = numbers.double().unbind(-1)
    first = base.clamp(min=0) + 0.1 * scale  # so that it can leave 0
    return first * change.clamp(-_FARTHEST, _FARTHEST).exp(), F.softplus(shape) + _SMALLEST


LIKELIHOODS: Mapping[str, type[Likelihood]] = MappingProxyType(
    {"quantiles": Quantiles, "student-t": StudentT, "negative-binomial": NegativeBinomial}
)
"""By name, as the options have it."""


def likelihood(name: str, levels: Sequence[float]) -> Likelihood:
    """A likelihood by its name.

    >>> likelihood("student-t", (0.5,)).size
    3

    Args:
        name: one of `LIKELIHOODS`.
        levels: of the quantiles that are learned, or wanted: rising, between 0 and 1.

    Raises:
        ValueError: there is none of this name, or the levels do not rise from above 0 to below 1.
    """
    if name not in LIKELIHOODS:
        raise ValueError(f"likelihood must be one of {', '.join(LIKELIHOODS)}; got {name!r}")
    if not levels or not all(low < high for low, high in zip([0.0, *levels], [*levels, 1.0])):
        raise ValueError(f"levels must be numbers between 0 and 1 that rise; got {list(levels)}")
    return Quantiles(levels) if name == "quantiles" else LIKELIHOODS[name]()
