"""Forecasting windows and measuring the forecasts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from holdfast.data import DataError
from holdfast.models import Forecasting, Window, window_scales

from .conformal import Calibration
from .history import History
from .measures import Measures

Array = np.ndarray[Any, Any]

_LEAST_LIVELY = 0.1  # of a series' scale
_LATE, _LATE_LEAST = 4, 500  # one in so many validation windows calibrates, and at least so many of them
AT_ONCE = 1024  # windows that are forecast at a time
COUNTS = ("windows", "mase_left_out", "standardised_left_out")
CONSTANT = "there is nothing to forecast: no series with validation data changes in its training part"
PARTS = {"train": 0, "valid": 1, "test": 2}


class Forecasts:
    """The forecasts of some windows, and what came; all in float64.

    Attributes:
        quantiles: (W, H, Q), calibrated where the model is.
        raw: as the model made them.
        truth: (W, H), NaN where missing.
        scale: how much each series moved in its window, (W,).
        deviations, mase_scales: of each window's series, (W,).
    """

    def __init__(
        self, raw: Array, truth: Array, scale: Array, levels: Sequence[float], calibration: Calibration | None
    ):
        self.raw, self.truth, self.scale = raw, truth, scale
        self.quantiles = raw if calibration is None else calibration.apply(raw, scale)
        self.middle = list(levels).index(0.5)
        self.deviations = self.mase_scales = np.ones(0)

    @property
    def median(self) -> Array:
        """The forecasts as numbers, (W, H)."""
        found: Array = self.quantiles[..., self.middle]
        return found


@torch.no_grad()
def forecast_windows(model: Forecasting, history: History, series: Tensor, origins: Tensor, split: str) -> Forecasts:
    """The forecasts of windows, each from what lies before its origin; what came is told to the end of a part."""
    device = next(model.parameters()).device
    limits = end_of(history, split)[series]
    window, targets = history.cut(series, origins, limits)
    moved = type(window)(*(t.to(device) for t in window))
    raw = model.quantiles(moved, model.levels).double().numpy(force=True)
    found = Forecasts(raw, targets.double().numpy(), liveliness(window), model.levels, calibration_of(model))
    which = series.numpy()
    found.deviations, found.mase_scales = history.deviations[which], history.mase_scales[which]
    return found


def calibration_of(model: Forecasting) -> Calibration | None:
    """What calibrates a model's quantiles, once it was measured."""
    return None if model.calibration is None else Calibration.from_dict(model.calibration)


def liveliness(window: Window) -> Array:
    """How much each series moved in its context: what intervals are calibrated in, (W,).

    A calm time after a wild one has narrower intervals, and the other way round.
    """
    moved = window_scales(window.values.double().numpy())
    return np.fmax(moved, _LEAST_LIVELY * window.scale.double().numpy())


def end_of(history: History, split: str) -> Tensor:
    """The end of a part in each series, (S,)."""
    return history.ends[PARTS.get(split, -1)]


def windows_of(history: History, split: str) -> tuple[Tensor, Tensor]:
    """All windows of a part, by series and origin.

    Of data that were given, the part is what comes after the context, or after the first half of a shorter series.
    """
    if split != "given":
        return history.origins(PARTS[split])
    ends = end_of(history, split)
    least = torch.minimum(torch.full_like(ends, history.context), ends // 2).clamp(min=1)
    return history.origins(0, least)


def some(windows: tuple[Tensor, Tensor], most: int) -> tuple[Tensor, Tensor]:
    """At most so many windows, evenly from all of them."""
    count = len(windows[0])
    if count <= most:
        return windows
    which = torch.linspace(0, count - 1, most).round().long()
    return windows[0][which], windows[1][which]


def latest(history: History, windows: tuple[Tensor, Tensor]) -> Tensor:
    """The numbers of the last quarter of validation windows, and of some hundred at least, for calibration.

    What will be forecast lies as far from what was learned as the end of the validation part, or farther. Its first
    windows follow right after what was learned, and are easier: on them intervals come out too narrow.
    """
    series, origins = windows
    begins, ends = (history.ends[k][series] for k in (0, 1))
    places = (origins - begins) / (ends - history.horizon - begins).clamp(min=1)  # from 0 to 1 in the validation part
    count = max(_LATE_LEAST, -(-len(series) // _LATE))
    return places.argsort(descending=True, stable=True)[:count]


def chunks(windows: tuple[Tensor, Tensor], size: int = AT_ONCE) -> Iterator[tuple[Tensor, Tensor]]:
    """The windows, some at a time."""
    return zip(windows[0].split(size), windows[1].split(size))


def measured(measures: Measures, needed: str = "crps") -> dict[str, float]:
    """The measures that a table shows; counts are whole numbers.

    Raises:
        DataError: nothing can be measured, because all series are constant.
    """
    found = measures.result()
    if needed not in found:
        raise DataError(CONSTANT)
    counts = {name: int(found[name]) for name in COUNTS if found[name]}
    order: list[str] = [name for name in ("crps", "mase", "smape", "mse", "mae") if name in found]
    order += [name for name in found if name not in order and name not in COUNTS]
    return {**{name: found[name] for name in order}, **counts}
