"""Which unit tracks a signal: chosen on one part of the steps, scored on another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .recording import MicroscopeError


@dataclass(frozen=True)
class Probe:
    """The unit that tracks a signal best.

    Attributes:
        unit: its number.
        sign: 1 if it rises with the signal, -1 if it falls.
        chosen: its score on the part it was chosen on.
        score: its score on the other part, which had no say: the area under the ROC curve for a signal of two values,
            the correlation for others; at most 1, and 0.5 or 0 for a unit that knows nothing.
        measure: "AUC" or "correlation".
    """

    unit: int
    sign: int
    chosen: float
    score: float
    measure: str


def probe(units: Tensor, signal: Tensor, share: float = 0.5) -> Probe:
    """Find the unit that tracks a signal best.

    >>> import torch
    >>> signal = (torch.arange(400) // 7 % 2).bool()
    >>> units = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
    >>> units[:, 3] -= 2 * signal
    >>> found = probe(units, signal)
    >>> found.unit, found.sign, found.measure, found.score > 0.85
    (3, -1, 'AUC', True)

    Args:
        units: what the units did, (steps, units).
        signal: what is to be tracked, (steps,): True and False, or numbers.
        share: the share of the steps, from the first on, that the unit is chosen on; it is scored on the rest.
    """
    return rank_units(units, signal, share, most=1)[0]


def rank_units(units: Tensor, signal: Tensor, share: float = 0.5, most: int = 10) -> list[Probe]:
    """The units that track a signal best, the best on the part they are chosen on first.

    >>> import torch
    >>> signal = torch.arange(400.0) % 37
    >>> units = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
    >>> units[:, 3] -= signal
    >>> units[:, 1] += signal / 10
    >>> [(found.unit, found.sign) for found in rank_units(units, signal, most=2)]
    [(3, -1), (1, 1)]

    Args:
        units: what the units did, (steps, units).
        signal: what is to be tracked, (steps,): True and False, or numbers.
        share: the share of the steps, from the first on, that the units are chosen on; they are scored on the rest.
        most: how many units at most.
    """
    if units.dim() != 2 or signal.shape != units.shape[:1]:
        raise MicroscopeError(
            f"units must be (steps, units) and signal (steps,); got {tuple(units.shape)} and {tuple(signal.shape)}"
        )
    if not 0 < share < 1:
        raise MicroscopeError(f"share must be between 0 and 1; got {share!r}")
    cut = round(share * len(units))
    two = len(signal.unique()) == 2
    for part in (signal[:cut], signal[cut:]):
        if len(part.unique()) < 2:
            raise MicroscopeError("the signal is constant in one of the two parts: there is nothing to track")
    middle = 0.5 if two else 0.0
    scores = _scores(units[:cut], signal[:cut], two)
    order = (scores - middle).abs().nan_to_num(-1.0).argsort(descending=True, stable=True)[:most]
    held = _scores(units[cut:, order], signal[cut:], two)
    probes = []
    for unit, score in zip(order.tolist(), held.tolist()):
        chosen = scores[unit].item()
        sign = -1 if chosen < middle else 1
        turned = (chosen, score) if sign > 0 else (2 * middle - chosen, 2 * middle - score)
        probes.append(Probe(unit, sign, *turned, "AUC" if two else "correlation"))
    return probes


def _scores(units: Tensor, signal: Tensor, two: bool) -> Tensor:
    """The score of each unit; NaN for one that never moves, whose correlation is that of nothing."""
    score = _Area(signal) if two else _Correlation(signal)
    return torch.stack([score(unit) for unit in units.T])  # one at a time: all in double may be gigabytes


class _Correlation:
    """The correlation of a unit with a signal."""

    def __init__(self, signal: Tensor) -> None:
        centred = signal.double() - signal.double().mean()
        self.wanted = centred / centred.square().sum().sqrt()

    def __call__(self, unit: Tensor) -> Tensor:
        centred = unit.double() - unit.double().mean()
        return centred @ self.wanted / centred.square().sum().sqrt()


class _Area:
    """The area under the ROC curve: the share of pairs of a step with the signal and one without that are in order."""

    def __init__(self, signal: Tensor) -> None:
        self.positive = signal == signal.max()
        self.count, self.others = int(self.positive.sum()), int((~self.positive).sum())

    def __call__(self, unit: Tensor) -> Tensor:
        above = _ranks(unit)[self.positive].sum() - self.count * (self.count + 1) / 2
        return above / (self.count * self.others)


def _ranks(values: Tensor) -> Tensor:
    """The ranks from 1 on; equal values share the mean of theirs."""
    if values.dtype == torch.uint8:  # as traces are kept: they need not be sorted
        where, counts = values.long(), values.long().bincount()
    else:
        _, where, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[where]
