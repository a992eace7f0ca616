"""The baselines of a forecaster: simple methods with conformal intervals, measured as the model is."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from torch import Tensor

from holdfast.models.naive import Ridge, repeat_last, seasonal_naive, statistical, window_scales

from ..task import Compared
from .conformal import residual_quantiles
from .history import History
from .judging import end_of, measured, some
from .measures import Measures
from .options import ForecastOptions

Array = np.ndarray[Any, Any]

_AT_ONCE = 2048  # windows
_LAGS = 512  # of the ridge, at most: its normal equations grow with their square
_FITTED_ANEW = {"ets": 60, "theta": 500}  # windows at most: a fit takes up to a second, and a thirtieth of one


class Baselines:
    """Repeat-last, seasonal naive, ridge on lags, and where statsforecast is installed ETS and theta."""

    def __init__(self, options: ForecastOptions) -> None:
        self.options = options
        self.ridge: Ridge | None = None
        self.residuals: dict[str, Array] = {}
        self.notes: list[str] = []

    def fit(self, history: History, windows: tuple[Tensor, Tensor]) -> Baselines:
        """Learn the ridge from training windows, its penalty chosen on validation windows."""
        options = self.options
        lags = min(options.context, _LAGS)
        chosen = some(history.origins(1), _AT_ONCE)
        ridge = Ridge(lags, options.horizon)
        try:
            ridge.fit((x, y) for x, y, *_ in _cut(history, windows, history.ends[0]))
            self.ridge = ridge.choose((x, y) for x, y, *_ in _cut(history, chosen, history.ends[1]))
        except ValueError as error:  # not a single window that is whole
            self.notes.append(f"The baseline ridge on lags is left out: {error}.")
        return self

    def calibrate(self, history: History, windows: tuple[Tensor, Tensor]) -> None:
        """Learn from validation windows how far each method misses."""
        misses: dict[str, list[Array]] = {}
        truths, scales = [], []
        for contexts, truth, *_ in _cut(history, windows, history.ends[1]):
            truths.append(truth)
            scales.append(window_scales(contexts))
            for name, forecast in self.simple(contexts).items():
                misses.setdefault(name, []).append(forecast)
        truth, scale = np.concatenate(truths), np.concatenate(scales)
        for name, forecasts in misses.items():
            self.residuals[name] = residual_quantiles(np.concatenate(forecasts), truth, scale, self.options.levels)

    def simple(self, contexts: Array) -> dict[str, Array]:
        """The forecasts of windows, each (W, H)."""
        horizon = self.options.horizon
        found = {"repeat last": repeat_last(contexts, horizon)}
        for season in self.options.season:
            found[f"seasonal naive, {season}"] = seasonal_naive(contexts, horizon, season)
        if self.ridge is not None:
            found["ridge on lags"] = self.ridge.forecast(contexts)
        return found

    def measure(self, history: History, windows: tuple[Tensor, Tensor], split: str = "given") -> Compared:
        """The measures of each method on some windows of a part, and what must be said of them."""
        options = self.options
        intervals = [k / 100 for k in options.intervals]
        found: dict[str, Measures] = {}
        notes = [*self.notes]
        count = len(windows[0])
        anew: list[str] = []
        if find_spec("statsforecast") is not None:
            anew = [name for name, most in _FITTED_ANEW.items() if count <= most]
            notes += [
                f"The baseline {name} is left out: it is fitted to each of the {count:,} windows anew, which is done "
                f"for {most} at most."
                for name, most in _FITTED_ANEW.items()
                if count > most
            ]
        for contexts, truth, deviations, scales in _cut(history, windows, end_of(history, split)):
            units = {"mase_scale": scales, "deviation": deviations}
            scale = window_scales(contexts)
            for name, forecast in self.simple(contexts).items():
                measures = found.setdefault(name, Measures(options.levels, intervals))
                spreads = self.residuals[name] * scale[:, None, None]  # (W, H, Q)
                measures.add(truth, forecast, forecast[..., None] + spreads, **units)
            if anew:
                season = min(options.season, default=1)
                for name, forecast in statistical(contexts, options.horizon, season, anew).items():
                    found.setdefault(name, Measures()).add(truth, forecast, **units)
        return Compared(
            {name: measured(measures, "smape") for name, measures in found.items()},
            notes,
            {name: measures.errors_by_step().tolist() for name, measures in found.items()},
        )


def _cut(
    history: History, windows: tuple[Tensor, Tensor], limits: Tensor
) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Contexts, what followed, and the units of the windows' series."""
    for series, origins in zip(windows[0].split(_AT_ONCE), windows[1].split(_AT_ONCE)):
        window, targets = history.cut(series, origins, limits[series])
        which = series.numpy()
        yield (
            window.values.double().numpy(),
            targets.double().numpy(),
            history.deviations[which],
            history.mase_scales[which],
        )
