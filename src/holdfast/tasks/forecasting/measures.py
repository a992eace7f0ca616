"""How good forecasts are.

With y the truth, f the forecast and q_τ its quantile of the level τ:

- `smape`: 200 |y − f| / (|y| + |f|), from 0 to 200, where 0/0 counts 0 (Makridakis et al. 2020, M4);
- `mase`: |y − f| / m, with m the series' mean |y_t − y_{t−season}| in its training part (Hyndman, Koehler 2006);
- `mse`, `mae`: (y − f)² and |y − f| of standardised values, which are divided by their series' deviation;
- `crps`: the continuous ranked probability score of standardised values, from the quantiles;
- `coverage_80`: the share of truths inside the central interval of 0.8, ends included; likewise for other intervals;
- `interval_score_80`: (u − l) + 2/α (l − y)₊ + 2/α (y − u)₊ of standardised values, with the interval of 1 − α from l
  to u (Gneiting, Raftery 2007).

The continuous ranked probability score is twice the integral, over all levels, of the pinball loss

    ρ_τ = τ (y − q_τ)₊ + (1 − τ) (q_τ − y)₊

and is approximated by the trapezoid rule on the given levels and the ends 0 and 1, where the loss vanishes:
2 Σ_k w_k ρ_{τ_k} with w_k = (τ_{k+1} − τ_{k−1}) / 2, τ_0 = 0 and τ_{Q+1} = 1. Levels at equal distances weigh the same:
k / (Q + 1) gives 2 Q / (Q + 1) times the mean loss.

`smape` and `mase` are means over the known steps of a window, and then over windows; the others are means over all
known steps of all windows. Missing truths are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .levels import checked_levels, interval_places

Floats = np.ndarray[Any, np.dtype[np.float64]]

_ROUNDING = 1e-7  # of the size of a series' values: a series that repeats itself differs by so much


class Measures:
    """The measures of forecasts, summed up over chunks of windows.

    >>> import numpy as np
    >>> measures = Measures()
    >>> measures.add(np.array([[1.0, np.nan]]), np.array([[3.0, 4.0]]), mase_scale=[2.0], deviation=[4.0])
    >>> measures.result()["smape"], measures.result()["mase"], measures.result()["mse"]
    (100.0, 1.0, 0.25)

    Args:
        levels: of the quantile forecasts, Q of them; none if there are none.
        intervals: the central intervals whose coverage and score are measured, such as 0.8; their ends must be levels.
    """

    def __init__(self, levels: Sequence[float] | Floats = (), intervals: Sequence[float] = ()) -> None:
        self.levels = checked_levels(levels) if len(levels) else np.zeros(0)
        self.intervals = tuple(float(interval) for interval in intervals)
        self._places = interval_places(self.levels, self.intervals) if self.intervals else []
        self._weights = pinball_weights(self.levels)
        self._windows = _Mean()
        self._left_out = {"mase": 0, "standardised": 0}
        self._means: dict[str, _Mean] = {}
        self._by_step = np.zeros((2, 0))  # the sum of the errors at each step to come, and how many there were

    def add(
        self,
        truth: Floats,
        forecasts: Floats,
        quantiles: Floats | None = None,
        *,
        mase_scale: Sequence[float] | Floats,
        deviation: Sequence[float] | Floats,
    ) -> None:
        """Take in a chunk of windows.

        Windows of which no step is known are not counted. Where `mase_scale` or `deviation` is 0 (the series did not
        change in its training part) or NaN (it had none), the window is left out of the measures in that unit, and
        counted as `mase_left_out` or `standardised_left_out`.

        Args:
            truth: what happened, (W, H), NaN where missing.
            forecasts: (W, H).
            quantiles: (W, H, Q), if there are levels.
            mase_scale: of each window's series (`mase_scale`), (W,).
            deviation: of each window's series, (W,).

        Raises:
            ValueError: shapes do not fit, or a forecast is no number where the truth is known.
        """
        truth, forecasts = np.asarray(truth, np.float64), np.asarray(forecasts, np.float64)
        known = ~np.isnan(truth)  # (W, H)
        self._check("forecasts", forecasts, truth.shape, known)
        if (quantiles is None) != (not len(self.levels)):
            raise ValueError("quantiles must be given if there are levels, and only then")
        if quantiles is not None:
            quantiles = np.asarray(quantiles, np.float64)
            self._check("quantiles", quantiles, (*truth.shape, len(self.levels)), known)
        units = {"mase": _units("mase_scale", mase_scale, truth), "standardised": _units("deviation", deviation, truth)}

        steps = known.sum(1)  # (W,)
        counted = steps > 0
        self._windows.take(np.ones(int(counted.sum())))
        for name, unit in units.items():
            self._left_out[name] += int(np.isnan(unit[counted]).sum())

        error = np.abs(truth - forecasts)  # (W, H)
        size = np.abs(truth) + np.abs(forecasts)
        relative = 200 * np.divide(error, size, out=np.zeros_like(error), where=size > 0)
        self._take("smape", _row_means(relative, known)[counted])
        self._take("mase", (_row_means(error, known) / units["mase"])[counted])

        window, step = np.nonzero(known & ~np.isnan(units["standardised"])[:, None])  # (N,), (N,)
        unit = units["standardised"][window]
        standardised = error[window, step] / unit
        self._take("mse", standardised**2)
        self._take("mae", standardised)
        more = max(0, truth.shape[1] - self._by_step.shape[1])
        self._by_step = np.pad(self._by_step, ((0, 0), (0, more)))
        self._by_step[0] += np.bincount(step, standardised, self._by_step.shape[1])
        self._by_step[1] += np.bincount(step, minlength=self._by_step.shape[1])
        if quantiles is None:
            return
        y = truth[window, step]
        score = np.zeros(len(y))
        for k, (level, weight) in enumerate(zip(self.levels, self._weights)):
            over = y - quantiles[window, step, k]
            score += 2 * weight * np.maximum(level * over, (level - 1) * over)
        self._take("crps", score / unit)
        for interval, (low, high) in zip(self.intervals, self._places):
            lower, upper = quantiles[..., low], quantiles[..., high]
            inside = (lower <= truth) & (truth <= upper)
            self._take(f"coverage_{100 * interval:g}", inside[known].astype(np.float64))
            lower, upper = lower[window, step], upper[window, step]
            missed = np.maximum(lower - y, 0) + np.maximum(y - upper, 0)
            self._take(f"interval_score_{100 * interval:g}", (upper - lower + 2 / (1 - interval) * missed) / unit)

    def result(self) -> dict[str, float]:
        """Each measure by its name, and how many windows were counted and left out.

        A measure that nothing was known for is not there.

        Raises:
            RuntimeError: nothing was taken in.
        """
        if not self._windows.count:
            raise RuntimeError("there is nothing to measure: no window with a known step was added")
        means = {name: mean.total / mean.count for name, mean in self._means.items() if mean.count}
        left_out = {f"{name}_left_out": float(count) for name, count in self._left_out.items()}
        return means | {"windows": float(self._windows.count)} | left_out

    def errors_by_step(self) -> Floats:
        """The mean absolute error of standardised values at each step to come, (H,); NaN where no truth was known."""
        total, count = self._by_step
        return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)

    def _take(self, name: str, values: Floats) -> None:
        self._means.setdefault(name, _Mean()).take(values)

    @staticmethod
    def _check(name: str, given: Floats, shape: tuple[int, ...], known: np.ndarray[Any, Any]) -> None:
        if len(shape) < 2 or given.shape != shape:
            raise ValueError(f"{name} must be of the shape {shape} that the truth asks for; got {given.shape}")
        finite = np.isfinite(given) if given.ndim == 2 else np.isfinite(given).all(-1)
        if (wrong := np.argwhere(known & ~finite)).size:
            window, step = wrong[0].tolist()
            raise ValueError(
                f"{name} must be numbers where the truth is known; got {given[window, step]} in window {window}, "
                f"step {step}"
            )


def mase_scale(values: Floats, season: int) -> float:
    """The unit of MASE: how far a series' values in its training part lie from those one season before, on average.

    >>> mase_scale(np.array([1.0, 2.0, 4.0, np.nan]), season=1)
    1.5

    Args:
        values: the training part of a series, (T,), NaN where missing.
        season: how many steps a season has; 1 if there is none.

    Returns:
        The mean absolute difference; 0 where it is no more than rounding, NaN where no two values that lie a season
        apart are known.
    """
    if not isinstance(season, int) or isinstance(season, bool) or season < 1:
        raise ValueError(f"season must be a whole number of at least 1; got {season!r}")
    values = np.asarray(values, np.float64)
    differences = np.abs(values[season:] - values[:-season])
    known = differences[~np.isnan(differences)]
    if not len(known):
        return float("nan")
    found = float(known.mean())
    return found if found > _ROUNDING * float(np.nanmean(np.abs(values))) else 0.0


def pinball_weights(levels: Sequence[float] | Floats) -> Floats:
    """How much each level's pinball loss weighs in the continuous ranked probability score, before it is doubled.

    >>> pinball_weights([0.1, 0.5, 0.9])
    array([0.25, 0.4 , 0.25])
    """
    ends = np.concatenate([[0.0], np.asarray(levels, np.float64), [1.0]])
    return (ends[2:] - ends[:-2]) / 2


class _Mean:
    """A mean whose values come in chunks; those that are NaN are not counted."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def take(self, values: Floats) -> None:
        known = values[~np.isnan(values)]
        self.total += float(known.sum())
        self.count += len(known)


def _row_means(values: Floats, known: np.ndarray[Any, Any]) -> Floats:
    """The mean over the known steps of each window, (W,); 0 where there is none."""
    return np.where(known, values, 0).sum(1) / np.maximum(known.sum(1), 1)


def _units(name: str, given: Sequence[float] | Floats, truth: Floats) -> Floats:
    """What the windows' errors are measured in, (W,); NaN where they cannot be."""
    units = np.array(given, np.float64)
    if units.shape != truth.shape[:1]:
        raise ValueError(f"{name} must be of shape {truth.shape[:1]}, one a window; got {units.shape}")
    if (units < 0).any():
        raise ValueError(f"{name} must be at least 0; got {units.min()}")
    units[units == 0] = np.nan
    return units
