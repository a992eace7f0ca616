"""Simple forecasts: what a forecasting model must beat to be worth its training.

All work on windows: a window is a context, the values up to now of one series, from which the next ones are forecast.
Contexts are (W, L), NaN where a value is missing; where a series is shorter, NaN stands before its beginning. Forecasts
are (W, H). A context without a single known value is forecast as NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.extras import require

Floats = np.ndarray[Any, np.dtype[np.float64]]

PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)  # that a ridge regression chooses among

_LEAST_SCALE = 1e-3  # of the mean size of a context's values: below, a context counts as constant
_ROWS = 4096  # windows that are forecast at a time
_FEWEST = 8  # steps in a window that a statistical model is fitted to; with 6 or less exponential smoothing fails
_STATISTICAL = {"ets": "AutoETS", "theta": "DynamicOptimizedTheta"}  # by their names in statsforecast


def repeat_last(contexts: Floats, horizon: int) -> Floats:
    """Forecast that everything stays as it was last known.

    >>> import numpy as np
    >>> repeat_last(np.array([[1.0, 2.0, np.nan]]), horizon=2)
    array([[2., 2.]])

    Args:
        contexts: the values up to now, (W, L).
        horizon: H, how many steps to forecast.

    Returns:
        The forecasts, (W, H).
    """
    contexts = _checked(contexts)
    _check_count("horizon", horizon)
    return np.repeat(_filled_forward(contexts)[:, -1:], horizon, axis=1)


def seasonal_naive(contexts: Floats, horizon: int, season: int) -> Floats:
    """Forecast that everything is as it was one season before.

    Where that value is missing, it is the one of the same phase one season further back, and so on; where all of them
    are, the last known value.

    >>> import numpy as np
    >>> seasonal_naive(np.array([[1.0, 2.0, 3.0, np.nan, 5.0]]), horizon=4, season=3)
    array([[3., 1., 5., 3.]])

    Args:
        contexts: the values up to now, (W, L).
        horizon: H, how many steps to forecast.
        season: how many steps a season has.

    Returns:
        The forecasts, (W, H).
    """
    contexts = _checked(contexts)
    _check_count("season", season)
    last = repeat_last(contexts, horizon)  # (W, H)
    found = np.full((len(contexts), min(season, horizon)), np.nan)  # the first season, or what is asked for of it
    for begin in range(contexts.shape[1] - season, -season, -season):  # from the latest season back
        before = contexts[:, max(begin, 0) : max(begin + found.shape[1], 0)]
        later = found[:, max(-begin, 0) :]  # of the earliest season what lies inside the context
        later[...] = np.where(np.isnan(later), before, later)
        if not np.isnan(found).any():
            break
    repeated = found[:, np.arange(horizon) % season]  # (W, H)
    return np.where(np.isnan(repeated), last, repeated)


def window_scales(contexts: Floats) -> Floats:
    """How much each context varies: what its forecast's errors are measured in.

    It is the standard deviation of the known values, and at least a thousandth of their mean size; 1 where all are 0.

    >>> import numpy as np
    >>> window_scales(np.array([[1.0, 3.0, np.nan], [5.0, 5.0, 5.0], [0.0, 0.0, 0.0]]))
    array([1.   , 0.005, 1.   ])

    Args:
        contexts: the values up to now, (W, L).

    Returns:
        The scales, (W,); NaN where no value is known.
    """
    contexts = _checked(contexts)
    known = ~np.isnan(contexts)
    count = known.sum(1)
    divisor = np.maximum(count, 1)
    mean = np.where(known, contexts, 0).sum(1) / divisor
    deviation = np.sqrt((np.where(known, contexts - mean[:, None], 0) ** 2).sum(1) / divisor)
    least = _LEAST_SCALE * np.abs(np.where(known, contexts, 0)).sum(1) / divisor
    scales = np.maximum(deviation, least)
    scales[scales == 0] = 1.0
    scales[count == 0] = np.nan
    return scales


@dataclass(frozen=True)
class _Maps:
    """Linear maps that were fitted, one a penalty and way: with an intercept and without."""

    penalties: Floats  # (C,)
    weights: Floats  # (C, L, H)
    intercepts: Floats  # (C, H)


class Ridge:
    """Ridge regression: one linear map for all series, from the last values to all steps at once.

    The last known value is subtracted from each window, which is then divided by its scale (`window_scales`). Missing
    values are filled forward from those before them; before the first known value stands that value. The penalty is
    chosen on validation windows, and so is whether there is an intercept.

    >>> import numpy as np
    >>> series = np.sin(np.arange(400) / 5)
    >>> windows = np.lib.stride_tricks.sliding_window_view(series, 20 + 4)
    >>> model = Ridge(lags=20, horizon=4).fit([(windows[:200, :20], windows[:200, 20:])])
    >>> model = model.choose([(windows[200:300, :20], windows[200:300, 20:])])
    >>> model.penalty
    1.0
    >>> bool(np.abs(model.forecast(windows[300:, :20]) - windows[300:, 20:]).max() < 0.02)
    True

    Args:
        lags: L, how many values the map reads.
        horizon: H, how many steps it forecasts.
        penalties: to choose among, on the sum of the squared weights beside the sum of the squared errors.
    """

    def __init__(self, lags: int, horizon: int, penalties: Sequence[float] = PENALTIES) -> None:
        _check_count("lags", lags)
        _check_count("horizon", horizon)
        if not penalties or not all(penalty > 0 for penalty in penalties):
            raise ValueError(f"penalties must be numbers above 0, at least one; got {penalties!r}")
        self.lags, self.horizon = lags, horizon
        self.penalties = tuple(float(penalty) for penalty in penalties)
        self._maps: _Maps | None = None
        self._chosen: int | None = None

    @property
    def penalty(self) -> float:
        """The penalty that was chosen."""
        maps, chosen = self._chosen_of_fitted()
        return float(maps.penalties[chosen])

    def fit(self, chunks: Iterable[tuple[Floats, Floats]]) -> Ridge:
        """Learn the maps from windows; what was learned before is forgotten.

        Left out are windows whose context is constant, and those of which the last step to forecast is not known:
        they reach beyond their series. Other missing steps are filled forward.

        Args:
            chunks: contexts (W, any length) and what followed them (W, H), some thousand windows at a time.

        Returns:
            The model itself; `choose` comes next.

        Raises:
            ValueError: there is not a single window to learn from.
        """
        count = 0
        input_sum, target_sum = np.zeros(self.lags), np.zeros(self.horizon)
        squares = np.zeros((self.lags, self.lags))
        products = np.zeros((self.lags, self.horizon))
        for contexts, targets in chunks:
            x, y = self._to_learn_from(contexts, targets)  # (N, L), (N, H)
            count += len(x)
            input_sum += x.sum(0)
            target_sum += y.sum(0)
            squares += x.T @ x
            products += x.T @ y
        if not count:
            raise ValueError("there is no window to learn from: all were constant or reached beyond their series")
        input_mean, target_mean = input_sum / count, target_sum / count
        plain = self._solved(squares, products)
        centred = self._solved(
            squares - np.outer(input_sum, input_mean), products - np.outer(input_sum, target_mean)
        )  # (P, L, H)
        self._maps = _Maps(
            penalties=np.array(self.penalties * 2),
            weights=np.concatenate([plain, centred]),
            intercepts=np.concatenate([np.zeros((len(plain), self.horizon)), target_mean - input_mean @ centred]),
        )
        self._chosen = None
        return self

    def choose(self, chunks: Iterable[tuple[Floats, Floats]]) -> Ridge:
        """Choose the penalty, and whether there is an intercept, by the squared error in units of each window's scale.

        Args:
            chunks: validation windows, as for `fit`; missing steps and constant contexts are not counted.

        Returns:
            The model itself.

        Raises:
            ValueError: there is not a single known step to choose by.
        """
        maps = self._fitted()
        errors, count = np.zeros(len(maps.penalties)), 0
        for contexts, targets in chunks:
            x, last, scale = self._inputs(contexts)
            y = (self._checked_targets(targets, len(x)) - last) / scale  # (W, H)
            known = ~np.isnan(y) & _varied(x)[:, None]
            count += int(known.sum())
            for k, (weights, intercept) in enumerate(zip(maps.weights, maps.intercepts)):
                errors[k] += np.sum((x @ weights + intercept - y)[known] ** 2)
        if not count:
            raise ValueError("there is no known step to choose by: all contexts were constant or all targets missing")
        self._chosen = int(errors.argmin())
        return self

    def forecast(self, contexts: Floats) -> Floats:
        """Forecast windows.

        Args:
            contexts: the values up to now, (W, any length): of longer ones the last `lags` values are read, before
                shorter ones values are missing.

        Returns:
            The forecasts, (W, H).

        Raises:
            RuntimeError: the model has not been fitted, or its penalty has not been chosen.
        """
        maps, chosen = self._chosen_of_fitted()
        contexts = _checked(contexts)
        forecasts = np.empty((len(contexts), self.horizon))
        for begin in range(0, len(contexts), _ROWS):
            x, last, scale = self._inputs(contexts[begin : begin + _ROWS])
            forecasts[begin : begin + _ROWS] = last + scale * (x @ maps.weights[chosen] + maps.intercepts[chosen])
        return forecasts

    def to_arrays(self) -> dict[str, Floats]:
        """What was learned and chosen, as arrays by name: weights (L, H), intercept (H,), penalty (1,)."""
        maps, k = self._chosen_of_fitted()
        return {"weights": maps.weights[k], "intercept": maps.intercepts[k], "penalty": maps.penalties[k : k + 1]}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> Ridge:
        """The model that `to_arrays` gave the arrays of.

        >>> import numpy as np
        >>> arrays = {"weights": np.zeros((3, 2)), "intercept": np.zeros(2), "penalty": np.ones(1)}
        >>> Ridge.from_arrays(arrays).forecast(np.array([[1.0, 2.0, 4.0]]))
        array([[4., 4.]])
        """
        weights = np.asarray(arrays["weights"], np.float64)
        penalty = np.asarray(arrays["penalty"], np.float64).reshape(1)
        lags, horizon = weights.shape
        model = cls(lags, horizon, penalty.tolist())
        model._maps = _Maps(penalty, weights[None], np.asarray(arrays["intercept"], np.float64)[None])
        model._chosen = 0
        return model

    def _fitted(self) -> _Maps:
        if self._maps is None:
            raise RuntimeError("a ridge regression must be fitted to windows first: fit(chunks)")
        return self._maps

    def _chosen_of_fitted(self) -> tuple[_Maps, int]:
        maps = self._fitted()
        if self._chosen is None:
            raise RuntimeError("the penalty of a ridge regression must be chosen on validation windows: choose(chunks)")
        return maps, self._chosen

    def _inputs(self, contexts: Floats) -> tuple[Floats, Floats, Floats]:
        """What the maps read, (W, L); the last known values, (W, 1); the scales, (W, 1)."""
        contexts = _checked(contexts)[:, -self.lags :]
        missing = self.lags - contexts.shape[1]
        contexts = np.pad(contexts, ((0, 0), (missing, 0)), constant_values=np.nan) if missing else contexts
        filled = _filled_forward(contexts)
        last, scale = filled[:, -1:], window_scales(contexts)[:, None]
        return (filled - last) / scale, last, scale

    def _to_learn_from(self, contexts: Floats, targets: Floats) -> tuple[Floats, Floats]:
        x, last, scale = self._inputs(contexts)
        targets = self._checked_targets(targets, len(x))
        kept = _varied(x) & ~np.isnan(last[:, 0]) & ~np.isnan(targets[:, -1])
        filled = _filled_forward(np.concatenate([last, targets], axis=1)[kept])[:, 1:]  # (N, H)
        return x[kept], (filled - last[kept]) / scale[kept]

    def _checked_targets(self, targets: Floats, windows: int) -> Floats:
        targets = np.asarray(targets, np.float64)
        if targets.shape != (windows, self.horizon):
            raise ValueError(f"targets must be of shape {(windows, self.horizon)}; got {targets.shape}")
        return targets

    def _solved(self, squares: Floats, products: Floats) -> Floats:
        """The weights for each penalty, (P, L, H); one decomposition serves them all."""
        values, vectors = np.linalg.eigh(squares)
        rotated = vectors.T @ products
        return np.stack([vectors @ (rotated / (values + penalty)[:, None]) for penalty in self.penalties])


def statistical(
    contexts: Floats, horizon: int, season: int, which: Sequence[str] = ("ets", "theta")
) -> dict[str, Floats]:
    """Forecasts by statistical models, fitted to each window anew: as slow as they are well tried.

    "ets" is exponential smoothing, its form chosen by AICc, and "theta" the dynamic optimised theta model; both are
    those of the package statsforecast. Missing values are filled forward. A window of fewer than 8 steps, counted from
    its first known value, is too short to fit them to, and is forecast by `seasonal_naive`.

    >>> import numpy as np
    >>> contexts = 10 + np.tile([0.0, 1.0, 3.0, 2.0], 10)[None]
    >>> statistical(contexts, horizon=4, season=4, which=["ets"])["ets"].round(1)
    array([[10., 11., 13., 12.]])

    Args:
        contexts: the values up to now, (W, L).
        horizon: H, how many steps to forecast.
        season: how many steps a season has; 1 if there is none.
        which: the models, "ets" and "theta".

    Returns:
        The forecasts by model, each (W, H).

    Raises:
        MissingExtra: statsforecast is not installed.
        ArithmeticError: a model forecast what is no number.
    """
    contexts = _checked(contexts)
    if unknown := [name for name in which if name not in _STATISTICAL]:
        raise ValueError(f"which must be among {', '.join(_STATISTICAL)}; got {', '.join(unknown)}")
    models = require("statsforecast.models", "statistics")
    begins = np.argmax(~np.isnan(contexts), axis=1)  # where each is first known
    filled = _filled_forward(contexts)
    forecasts = {name: seasonal_naive(contexts, horizon, season) for name in which}
    long_enough = ~np.isnan(filled[:, -1]) & (contexts.shape[1] - begins >= _FEWEST)
    for name, found in forecasts.items():
        for k in np.flatnonzero(long_enough):
            model = getattr(models, _STATISTICAL[name])(season_length=season)
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                # While they search, they try forms that divide by 0 and take roots of what is negative; those lose.
                warnings.simplefilter("ignore", RuntimeWarning)
                found[k] = model.forecast(filled[k, begins[k] :], horizon)["mean"]
            if not np.isfinite(found[k]).all():
                raise ArithmeticError(f"the model {name!r} forecast {found[k]} for the window {k}")
    return forecasts


def _varied(x: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which windows, less their last value, are not constant: from a constant one there is nothing to learn, (W,)."""
    return (x != 0).any(1)


def _filled_forward(contexts: Floats) -> Floats:
    """Each missing value replaced by the one before it; before the first known value stands that value."""
    known = ~np.isnan(contexts)
    source = np.maximum.accumulate(np.where(known, np.arange(contexts.shape[1]), -1), axis=1)
    source = np.where(source < 0, known.argmax(1)[:, None], source)
    return np.take_along_axis(contexts, source, axis=1)


def _checked(contexts: Floats) -> Floats:
    contexts = np.asarray(contexts, np.float64)
    if contexts.ndim != 2 or not contexts.shape[1]:
        raise ValueError(f"contexts must be of shape (W, L), L at least 1; got {contexts.shape}")
    return contexts


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}")
