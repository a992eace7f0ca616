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
    scores = _scores(units[:cut], signal[:cut], two)
    middle = 0.5 if two else 0.0
    unit = int((scores - middle).abs().nan_to_num(-1.0).argmax())
    sign = 1 if scores[unit] >= middle else -1
    held = _scores(units[cut:, unit : unit + 1], signal[cut:], two)

    def turned(score: Tensor) -> float:
        return (score if sign > 0 else 2 * middle - score).item()

    return Probe(unit, sign, turned(scores[unit]), turned(held[0]), "AUC" if two else "correlation")


def _scores(units: Tensor, signal: Tensor, two: bool) -> Tensor:
    """The score of each unit; NaN for one that never moves, whose correlation is that of nothing."""
    units = units.double()
    if not two:
        centred, wanted = units - units.mean(0), signal.double() - signal.double().mean()
        return (centred * wanted[:, None]).sum(0) / (centred.square().sum(0) * wanted.square().sum()).sqrt()
    positive = signal == signal.max()
    count, others = int(positive.sum()), int((~positive).sum())
    above = torch.stack([_ranks(unit)[positive].sum() for unit in units.T]) - count * (count + 1) / 2
    return above / (count * others)


def _ranks(values: Tensor) -> Tensor:
    """The ranks from 1 on; equal values share the mean of theirs."""
    _, where, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[where]
