"""Intervals that cover what they say: quantile forecasts calibrated on validation windows.

Conformalised quantile regression (Romano, Patterson, Candès 2019). For the central interval of 1 − α, which a model
forecasts from l to u, the score of a known truth y is how far it lies outside, in units of its window's scale s:

    E = max(l − y, y − u) / s

negative inside. Among n scores of validation windows let c be the ⌈(1 − α)(n + 1)⌉-th smallest; the interval from
l − c s to u + c s then holds the truth of a new window with a probability of at least 1 − α, if its score is
exchangeable with those. Each interval and each step of the horizon has a c of its own; where a step has fewer than 100
scores, it is pooled with its neighbours.

Scores of overlapping windows depend on each other, steps that are pooled may differ, and a series may change after its
validation part: then the promise holds only roughly, and the coverage on test windows says how roughly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .levels import checked_levels, interval_places

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

FEWEST = 100  # scores of a group of steps: with 100 the rank of the 95 % quantile is known to about 2 %

_EXACT = 200  # of a group's largest scores that are kept one by one
_THINNED = 500  # of the others, a few per cent apart in rank: a p-value is 3 % too large at most


@dataclass(frozen=True, eq=False)
class Calibration:
    """What calibrates the quantile forecasts of one model.

    >>> import numpy as np
    >>> truth = np.random.default_rng(0).normal(size=(2000, 1))
    >>> quantiles = np.tile([-0.1, 0.0, 0.1], (2000, 1, 1))  # far too narrow
    >>> scale = np.ones(2000)
    >>> calibration = Calibration.fit(quantiles[:1000], truth[:1000], scale[:1000], [0.1, 0.5, 0.9], [0.8])
    >>> wider = calibration.apply(quantiles[1000:], scale[1000:])
    >>> inside = (wider[..., 0] <= truth[1000:]) & (truth[1000:] <= wider[..., 2])
    >>> bool(abs(inside.mean() - 0.8) < 0.04)
    True

    Attributes:
        levels: of the quantiles, (Q,).
        intervals: the central intervals that are calibrated, (I,).
        groups: of each step of the horizon, the group that it is pooled in, (H,).
        counts: how many scores each group had, (G,).
        corrections: by how much each end moves outwards, in units of a window's scale, (I, G).
        tails: for each group, scores of the widest interval, rising, and how many of all scores lie above each.
    """

    levels: Floats
    intervals: Floats
    groups: Integers
    counts: Integers
    corrections: Floats
    tails: tuple[tuple[Floats, Integers], ...]

    @classmethod
    def fit(
        cls,
        quantiles: Floats,
        truth: Floats,
        scale: Floats,
        levels: Sequence[float] | Floats,
        intervals: Sequence[float] | Floats,
    ) -> Calibration:
        """Learn from validation windows, which the model was not trained on.

        Args:
            quantiles: the model's forecasts, (W, H, Q).
            truth: what happened, (W, H), NaN where missing.
            scale: of each window, (W,).
            levels: of the quantiles, (Q,).
            intervals: the central intervals to calibrate, such as 0.8; their ends must be levels.

        Raises:
            ValueError: shapes do not fit, a forecast is no number where the truth is known, or no truth is known.
        """
        levels, intervals = checked_levels(levels), np.asarray(intervals, np.float64)
        if intervals.ndim != 1 or not len(intervals):
            raise ValueError(f"intervals must be at least one number between 0 and 1; got {intervals.tolist()}")
        places = interval_places(levels, intervals)
        truth = np.asarray(truth, np.float64)
        quantiles, scale = _checked(quantiles, scale, levels, truth)
        groups = step_groups((~np.isnan(truth)).sum(0))
        tails, counts = [], np.zeros(groups[-1] + 1, np.int64)
        corrections = np.zeros((len(intervals), len(counts)))
        widest = int(intervals.argmax())
        for i, (interval, (low, high)) in enumerate(zip(intervals.tolist(), places)):
            scores = _scores(quantiles[..., low], quantiles[..., high], truth, scale)  # (W, H)
            for g in range(len(counts)):
                ordered = _known_sorted(scores[:, groups == g])
                counts[g] = len(ordered)
                corrections[i, g] = ordered[_upper_rank(len(ordered), interval) - 1]
                if i == widest:
                    tails.append(_thinned(ordered))
        return cls(levels, intervals, groups, counts, corrections, tuple(tails))

    @property
    def unsure(self) -> tuple[float, ...]:
        """The intervals, 1 − α each, that some group of steps has fewer than 1 / α scores for.

        Their ends move to the largest score there was, which may be too little.
        """
        fewest = int(self.counts.min())
        return tuple(interval for interval in self.intervals.tolist() if fewest * (1 - interval) < 1 - 1e-9)

    def apply(self, quantiles: Floats, scale: Floats) -> Floats:
        """Move the ends of the calibrated intervals; no end crosses the median.

        The levels that are no end of such an interval stay, but for the order: the quantiles of a step rise.

        Args:
            quantiles: forecasts of the same model, (W, H, Q); H may be less than what was learned from.
            scale: of each window, (W,).

        Returns:
            The calibrated quantiles, (W, H, Q).
        """
        quantiles, scale = _checked(quantiles, scale, self.levels)
        groups = self._groups_of(quantiles.shape[1])
        middle = _middle(quantiles, self.levels)  # (W, H)
        moved = quantiles.copy()
        for correction, (low, high) in zip(self.corrections, interval_places(self.levels, self.intervals)):
            by = correction[groups] * scale[:, None]  # (W, H)
            moved[..., low] = np.minimum(quantiles[..., low] - by, middle)
            moved[..., high] = np.maximum(quantiles[..., high] + by, middle)
        return np.sort(moved, axis=-1)

    def p_values(self, truth: Floats, quantiles: Floats, scale: Floats) -> Floats:
        """How unusual each value is: the share of validation scores that were at least as large as its own.

        (1 + how many of the n scores are at least as large) / (n + 1), of the scores of the widest interval. Among
        values of the kind that was learned from, at most a share p has a p-value of at most p; a value lies outside the
        calibrated interval of 1 − α, the widest, where its p-value is at most α. What `unsure` says of that interval
        holds for small p-values: none is below 1 / (n + 1).

        Args:
            truth: what happened, (W, H), NaN where missing.
            quantiles: the forecasts as the model made them, before `apply`, (W, H, Q).
            scale: of each window, (W,).

        Returns:
            The p-values, (W, H), NaN where the truth is missing.
        """
        truth = np.asarray(truth, np.float64)
        quantiles, scale = _checked(quantiles, scale, self.levels, truth)
        groups = self._groups_of(truth.shape[1])
        ((low, high),) = interval_places(self.levels, [self.intervals.max()])
        scores = _scores(quantiles[..., low], quantiles[..., high], truth, scale)  # (W, H)
        found = np.empty_like(scores)
        for g in np.unique(groups):
            kept, above = self.tails[g]
            # How many scores lie above the kept one that is next below one's own; all of them where there is none.
            reached = np.concatenate([self.counts[g : g + 1], above])
            steps = groups == g
            found[:, steps] = (1 + reached[np.searchsorted(kept, scores[:, steps])]) / (self.counts[g] + 1)
        found[np.isnan(scores)] = np.nan
        return found

    def to_dict(self) -> dict[str, Any]:
        """All of it as lists and numbers, to be written as JSON."""
        return {
            "levels": self.levels.tolist(),
            "intervals": self.intervals.tolist(),
            "groups": self.groups.tolist(),
            "counts": self.counts.tolist(),
            "corrections": self.corrections.tolist(),
            "tails": [{"scores": kept.tolist(), "above": above.tolist()} for kept, above in self.tails],
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Calibration:
        """The calibration that `to_dict` gave the dictionary of."""
        return cls(
            levels=np.array(given["levels"], np.float64),
            intervals=np.array(given["intervals"], np.float64),
            groups=np.array(given["groups"], np.int64),
            counts=np.array(given["counts"], np.int64),
            corrections=np.array(given["corrections"], np.float64),
            tails=tuple(
                (np.array(tail["scores"], np.float64), np.array(tail["above"], np.int64)) for tail in given["tails"]
            ),
        )

    def _groups_of(self, horizon: int) -> Integers:
        if horizon > len(self.groups):
            raise ValueError(f"quantiles must be of at most {len(self.groups)} steps, as learned from; got {horizon}")
        return self.groups[:horizon]


def residual_quantiles(forecasts: Floats, truth: Floats, scale: Floats, levels: Sequence[float] | Floats) -> Floats:
    """Quantiles of what a point forecast misses by, at each step, in units of a window's scale.

    Added to a new forecast, times its window's scale, they make it a quantile forecast. A level below 1/2 takes the
    ⌊level (n + 1)⌋-th smallest of the n residuals, one above the ⌈level (n + 1)⌉-th, so that central intervals cover
    at least what they say of exchangeable windows; with too few residuals it is the smallest or the largest. Steps are
    pooled as in `Calibration`.

    >>> import numpy as np
    >>> truth = np.arange(-49.0, 50)[:, None]
    >>> residual_quantiles(np.zeros((99, 1)), truth, np.ones(99), [0.1, 0.5, 0.9])
    array([[-40.,   0.,  40.]])

    Args:
        forecasts: of validation windows, (W, H).
        truth: what happened, (W, H), NaN where missing.
        scale: of each window, (W,).
        levels: of the quantiles, (Q,).

    Returns:
        The quantiles, (H, Q).
    """
    levels = checked_levels(levels)
    truth = np.asarray(truth, np.float64)
    points, scale = _checked(np.asarray(forecasts)[..., None], scale, np.array([0.5]), truth)
    residuals = (truth - points[..., 0]) / scale[:, None]  # (W, H)
    groups = step_groups((~np.isnan(truth)).sum(0))
    found = np.empty((groups[-1] + 1, len(levels)))
    for g in range(len(found)):
        ordered = _known_sorted(residuals[:, groups == g])
        n = len(ordered)
        lower = n - np.array([_upper_rank(n, 1 - level) for level in levels])  # counted from 0
        upper = np.array([_upper_rank(n, level) for level in levels]) - 1
        half = np.abs(levels - 0.5) < 1e-9
        found[g] = np.where(levels < 0.5, ordered[lower], ordered[upper])
        found[g, half] = (ordered[lower] + ordered[upper])[half] / 2
    return found[groups]


def step_groups(counts: Integers, fewest: int = FEWEST) -> Integers:
    """Pool neighbouring steps until each group has enough scores.

    >>> step_groups(np.array([150, 60, 30, 50, 100, 70]))
    array([0, 1, 1, 1, 2, 2])

    Args:
        counts: how many scores each step has, (H,).
        fewest: how many a group should have; a single group may have fewer.

    Returns:
        The group of each step, from 0 on, (H,).

    Raises:
        ValueError: there is no score at all.
    """
    if not np.sum(counts):
        raise ValueError("there is nothing to calibrate on: no truth is known")
    groups = np.zeros(len(counts), np.int64)
    group, gathered = 0, 0
    for step, count in enumerate(counts):
        groups[step] = group
        gathered += int(count)
        if gathered >= fewest:
            group, gathered = group + 1, 0
    if gathered < fewest and group:
        groups[groups == group] = group - 1  # what is left over joins the last that is full
    return groups


def _upper_rank(n: int, share: float) -> int:
    """The rank, from 1, of the score that a share of exchangeable ones does not exceed."""
    return min(max(math.ceil(share * (n + 1) - 1e-9), 1), n)


def _scores(lower: Floats, upper: Floats, truth: Floats, scale: Floats) -> Floats:
    return np.maximum(lower - truth, truth - upper) / scale[:, None]


def _known_sorted(scores: Floats) -> Floats:
    return np.sort(scores[~np.isnan(scores)])


def _thinned(ordered: Floats) -> tuple[Floats, Integers]:
    """Some of the scores, of the largest all, and how many of all lie above each."""
    n = len(ordered)
    ranks = np.arange(min(n, _EXACT))  # from the largest
    if n > _EXACT:
        ranks = np.unique(np.concatenate([ranks, np.geomspace(_EXACT, n - 1, _THINNED).round().astype(np.int64)]))
    kept = np.unique(ordered[n - 1 - ranks])
    return kept, n - np.searchsorted(ordered, kept, side="right")


def _middle(quantiles: Floats, levels: Floats) -> Floats:
    """The median, (W, H); between the two levels beside it where it is not among them."""
    above = int(np.searchsorted(levels, 0.5 + 1e-9))
    below = int(np.searchsorted(levels, 0.5 - 1e-9))
    if below < above:
        return quantiles[..., below]
    return (quantiles[..., max(below - 1, 0)] + quantiles[..., min(above, len(levels) - 1)]) / 2


def _checked(quantiles: Floats, scale: Floats, levels: Floats, truth: Floats | None = None) -> tuple[Floats, Floats]:
    quantiles, scale = np.asarray(quantiles, np.float64), np.asarray(scale, np.float64)
    shape = quantiles.shape[:2] if truth is None else truth.shape
    if quantiles.ndim != 3 or quantiles.shape != (*shape, len(levels)):
        expected = f"(W, H, {len(levels)})" if truth is None else str((*shape, len(levels)))
        raise ValueError(f"forecasts must be of shape {expected}; got {quantiles.shape}")
    if scale.shape != shape[:1]:
        raise ValueError(f"scale must be of shape {shape[:1]}, one a window; got {scale.shape}")
    counted = np.ones(shape, bool) if truth is None else ~np.isnan(truth)
    if not (np.isfinite(scale) & (scale > 0))[counted.any(1)].all():
        raise ValueError("scale must be numbers above 0 for every window that counts")
    if not np.isfinite(quantiles[counted]).all():
        raise ValueError("forecasts must be numbers for every step that counts; got some that are not")
    return quantiles, scale
