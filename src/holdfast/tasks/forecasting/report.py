"""The part of a run's report that is a forecaster's own: is it worth it, what does it say, where does it err."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.data import Panel
from holdfast.microscope import Band, Series, line_chart
from holdfast.microscope.figures import numbered
from holdfast.microscope.page import figure, pair, section, table
from holdfast.microscope.svg import stacked
from holdfast.models import Forecasting, PatchForecaster, Unrolled, Window
from holdfast.models.forecasting import Numbers

from .. import inside
from ..task import Compared
from ..verdict import MEASURED_ON, Standing, verdict
from .conformal import Calibration
from .history import History
from .judging import calibration_of, chunks, end_of, forecast_windows, some, windows_of
from .levels import interval_places
from .options import ForecastOptions
from .sensitivity import sensitivity

if TYPE_CHECKING:
    from ..fitting import Fitted
    from .task import Forecast

Array = np.ndarray[Any, Any]

HISTORY = 3  # horizons before a forecast that a fan shows
_OVERLAID = 240  # steps of validation data that the overlay shows, and at least so many windows:
_LEAST_OVERLAID = 3
_DIFFERENTIATED = 256  # windows that a gradient is taken of
_SEEN = 1e-3  # of the largest gradient: smaller ones are not drawn
_BINS = 40  # of the residuals
_SHOWN = 99  # per cent of the residuals that their distribution shows
_COLUMNS = 6  # stretches of the horizon that coverage is told of


def sections(task: Forecast, fitted: Fitted, data: Panel, compared: Compared) -> Iterator[str]:
    """The sections of a forecaster's report.

    Args:
        task: the task.
        fitted: the run.
        data: its series.
        compared: the simple methods on the validation part.
    """
    model, options = fitted.model, fitted.options
    assert isinstance(model, Forecasting)
    assert isinstance(options, ForecastOptions)
    history = task.history(fitted.facts, data, options)
    windows = some(windows_of(history, "valid"), type(model).evaluated)
    intervals = [k / 100 for k in options.intervals]
    judged = _Judged.of(model, history, windows)
    yield section("In plain words", _words(task.standings(fitted.saved["valid"], compared.measures)))
    yield section("Forecasts", _fans(model, history, judged, intervals))
    yield section("Window after window", _overlay(model, history, judged.typical))
    yield section("The error by step", _errors(judged, compared.by_step, options.horizon))
    yield section("What is left unexplained", _residuals(judged, intervals, calibration_of(model)))
    yield from _tried(fitted.config.get("settled", {}))
    yield section("Which inputs mattered", _inputs(model, history, some(windows, _DIFFERENTIATED)))
    yield _inside(model, history, windows)


# In plain words.


def _words(standings: Sequence[Standing]) -> str:
    """Whether the model is better than what is simple."""
    about = (
        "CRPS judges the whole forecast with its intervals, MASE its middle alone; of both the smaller is the better. "
        "The model was chosen by its CRPS on these data, which flatters it a little: <code>holdfast evaluate</code> on "
        "data that come later says it exactly."
    )
    return f"<p><strong>{escape(verdict(standings, MEASURED_ON['valid']))}</strong></p>\n<p>{about}</p>"


# What was judged.


@dataclass(frozen=True, eq=False)
class _Judged:
    """The forecasts of validation windows, calibrated, and what came.

    Attributes:
        series: of each window, (W,).
        truth: (W, H), NaN where missing.
        quantiles: (W, H, Q).
        levels: (Q,).
        scale, deviations: of each window's series, (W,).
    """

    series: Array
    truth: Array
    quantiles: Array
    levels: Array
    scale: Array
    deviations: Array

    @classmethod
    def of(cls, model: Forecasting, history: History, windows: tuple[Tensor, Tensor]) -> _Judged:
        found = [forecast_windows(model, history, *chunk, "valid") for chunk in chunks(windows)]
        names = ("truth", "quantiles", "scale", "deviations")
        joined = [np.concatenate([getattr(one, name) for one in found]) for name in names]
        truth, quantiles, scale, deviations = joined
        return cls(windows[0].numpy(), truth, quantiles, np.array(model.levels), scale, deviations)

    @property
    def median(self) -> Array:
        """(W, H)."""
        found: Array = self.quantiles[..., int(np.abs(self.levels - 0.5).argmin())]
        return found

    @property
    def errors(self) -> Array:
        """The sizes of the errors, in deviations of the series, (W, H); NaN where they cannot be measured."""
        units = np.where(self.deviations > 0, self.deviations, np.nan)
        sizes: Array = np.abs(self.truth - self.median) / units[:, None]
        return sizes

    def ranked(self) -> list[int]:
        """The series that can be judged, by their mean error, the best first."""
        errors = self.errors
        known = ~np.isnan(errors)
        count = int(self.series.max()) + 1
        total = np.bincount(self.series, np.where(known, errors, 0).sum(1), count)
        counts = np.bincount(self.series, known.sum(1), count)
        there = np.flatnonzero(counts)
        return [int(k) for k in there[np.argsort(total[there] / counts[there], kind="stable")]]

    @property
    def typical(self) -> int:
        """The series of median error."""
        ranked = self.ranked()
        return ranked[len(ranked) // 2]

    def inside(self, interval: float) -> Array:
        """Where the truth lies in the central interval, (W, H); NaN where it is missing."""
        ((low, high),) = interval_places(self.levels, [interval])
        within = (self.quantiles[..., low] <= self.truth) & (self.truth <= self.quantiles[..., high])
        found: Array = np.where(np.isnan(self.truth), np.nan, within)
        return found


# Fans.


@dataclass(frozen=True, eq=False)
class Fan:
    """A forecast as a picture.

    Attributes:
        name: of what is forecast.
        when: what the horizontal axis counts.
        history: the last values before the first step to come, NaN where missing, (L,).
        quantiles: of the steps to come, (H, Q).
        levels: of the quantiles, rising, 0.5 among them; (Q,).
        intervals: the central intervals to draw, such as 0.8; their ends are levels.
        truth: what came, NaN where missing, (H,); None where nobody knows it.
    """

    name: str
    when: str
    history: Array
    quantiles: Array
    levels: Sequence[float]
    intervals: Sequence[float]
    truth: Array | None = None


def fan_chart(fan: Fan) -> str:
    """History, median and intervals as SVG, with what came if that is known."""
    before = np.arange(1 - len(fan.history), 1)
    ahead = np.arange(1, len(fan.quantiles) + 1).tolist()
    lines = [Series("history", before.tolist(), fan.history.tolist(), 3)]
    if fan.truth is not None:  # from the last value on, so that the two lines meet
        came = [*fan.history[-1:].tolist(), *fan.truth.tolist()]
        lines.append(Series("what came", [*before[-1:].tolist(), *ahead], came, 3, dashed=True))
    middle = int(np.abs(np.asarray(fan.levels) - 0.5).argmin())
    lines.append(Series("median", ahead, fan.quantiles[:, middle].tolist(), 1))
    widest_first = sorted(fan.intervals, reverse=True)
    places = interval_places(np.asarray(fan.levels, np.float64), widest_first)
    bands = [
        Band(f"{interval:.0%}", ahead, fan.quantiles[:, low].tolist(), fan.quantiles[:, high].tolist(), 1)
        for interval, (low, high) in zip(widest_first, places)
    ]
    title = f"{fan.name}: a forecast with its intervals"
    return line_chart(lines, title=title, x_label=fan.when, y_label=fan.name, bands=bands)


def fan_picture(fans: Sequence[Fan]) -> str:
    """The forecasts of some series, one below the other, as one SVG."""
    return stacked("Forecasts", [fan_chart(fan) for fan in fans])


def _fans(model: Forecasting, history: History, judged: _Judged, intervals: Sequence[float]) -> str:
    """The last validation window of some series."""
    ranked = judged.ranked()
    wanted: dict[int, list[str]] = {}
    for what, k in (
        ("the first series", int(judged.series[0])),
        ("the one with the smallest error", ranked[0]),
        ("the one with the median error", judged.typical),
        ("the one with the largest error", ranked[-1]),
    ):
        wanted.setdefault(k, []).append(what)
    starts, origins = windows_of(history, "valid")
    chosen = torch.tensor([int((starts == k).nonzero()[-1]) for k in wanted])
    series, origins = starts[chosen], origins[chosen]
    one = forecast_windows(model, history, series, origins, "valid")
    pictures = []
    for k, origin, truth, quantiles in zip(series.tolist(), origins.tolist(), one.truth, one.quantiles):
        first = max(0, origin - HISTORY * history.horizon)
        values = history.panel.of(k)[first:origin].astype(np.float64)
        fan = Fan(
            history.panel.names[k], when(history, k, origin - 1), values, quantiles, model.levels, intervals, truth
        )
        said = " and ".join(wanted[k]) if len(ranked) > 1 else "the only series"
        pictures.append(figure(fan_chart(fan), f"{history.panel.names[k]}: {said}."))
    words = (
        "The last window of the validation data: what the model would have forecast from what it knew at 0, and what "
        "came. An interval of 80% should hold what comes in 80 of 100 cases."
    )
    return f"<p>{words}</p>\n" + pair(pictures)


def _overlay(model: Forecasting, history: History, k: int) -> str:
    """The medians of windows that follow each other, over the truth."""
    horizon = history.horizon
    starts, origins = windows_of(history, "valid")
    mine = origins[starts == k]
    first, last = int(mine[0]), int(mine[-1])
    most = max(_LEAST_OVERLAID, _OVERLAID // horizon)
    chosen = torch.arange(last, first - 1, -horizon)[:most].flip(0)
    one = forecast_windows(model, history, torch.full_like(chosen, k), chosen, "valid")
    begin = int(chosen[0])
    x, y = [], []
    for origin, median in zip(chosen.tolist(), one.median):
        x += [*range(origin - begin + 1, origin - begin + 1 + horizon), origin - begin + horizon]
        y += [*median.tolist(), float("nan")]  # the line breaks between windows
    truth = one.truth.reshape(-1)
    name = history.panel.names[k]
    chart = line_chart(
        [
            Series("what came", list(range(1, len(truth) + 1)), truth.tolist(), 3),
            Series("median forecast", x, y, 1),
        ],
        title=f"{name}: forecasts of successive windows, and what came",
        x_label=when(history, k, begin - 1),
        y_label=name,
    )
    caption = (
        f"{name}: the median forecasts of the last windows of the validation data, {horizon} steps each, one after the "
        "other. Each piece was forecast from what had come before it."
    )
    return figure(chart, caption)


def when(history: History, k: int, step: int) -> str:
    """What an axis counts whose 0 is a step of a series."""
    frequency, time = history.panel.frequency, time_of(history, k, step)
    said = f"steps ({frequency.alias}) from" if frequency.dated else f"steps of {frequency.alias}, from"
    return f"{said} {time} on"


def time_of(history: History, k: int, step: int) -> str:
    """The time of a step, for people."""
    frequency, panel = history.panel.frequency, history.panel
    time = frequency.times(panel.first[k] + np.array([step]), panel.phases[k])[0]
    if not frequency.dated:
        return str(time)
    shown = str(np.datetime_as_string(time, unit="m")).removesuffix("T00:00").replace("T", " ")
    return f"{shown}{' UTC' if frequency.zone else ''}"


# Errors.


def _errors(judged: _Judged, by_step: Mapping[str, Sequence[float]], horizon: int) -> str:
    """The model's error at each step of the horizon beside those of the simple methods."""
    errors = judged.errors
    known = ~np.isnan(errors)
    counts = known.sum(0)
    means = np.divide(np.where(known, errors, 0).sum(0), counts, out=np.full(horizon, np.nan), where=counts > 0)
    steps = list(range(1, horizon + 1))
    lines = [numbered(0, "this model", steps, means.tolist())]
    lines += [numbered(k, name, steps, values) for k, (name, values) in enumerate(by_step.items(), 1)]
    chart = line_chart(
        lines, title="The mean absolute error against the step", x_label="step ahead", y_label="error, in deviations"
    )
    caption = (
        "The mean absolute error at each step of the horizon, in standard deviations of each series' training part, "
        "over validation windows."
    )
    return figure(chart, caption)


def _residuals(judged: _Judged, intervals: Sequence[float], calibration: Calibration | None) -> str:
    """How the errors lie, and how often intervals hold the truth."""
    residuals = ((judged.truth - judged.median) / judged.scale[:, None]).ravel()
    residuals = residuals[np.isfinite(residuals)]
    ends = np.percentile(residuals, [(100 - _SHOWN) / 2, (100 + _SHOWN) / 2])
    counts, edges = np.histogram(residuals, _BINS, (float(ends[0]), float(ends[1])))
    shares = np.repeat(100 * counts / len(residuals), 2).tolist()  # each bin from its left edge to its right
    x = np.repeat(edges, 2)[1:-1].tolist()
    chart = line_chart(
        [],
        title="How the residuals are distributed",
        x_label="what came less the median, in scales",
        y_label="% of the residuals",
        bands=[Band("residuals", x, [0.0] * len(x), shares, 1)],
    )
    middle, above = float(np.median(residuals)), float((residuals > 0).mean())
    caption = (
        "What came less the median forecast, in units of each series' scale (how far its values usually are from those "
        f"up to a horizon before); {_SHOWN}% of all are shown. Their median is {middle:.3f}: what came lay above the "
        f"forecast in {above:.0%} of the cases."
    )
    words = (
        "How often each interval held what came, by the step ahead. The last of these validation data calibrated the "
        "intervals, so they must be about right here; whether they are elsewhere, later data say."
    )
    unsure = calibration.unsure if calibration else ()
    if unsure:
        which = " and ".join(f"{100 * interval:g} %" for interval in unsure)
        words += (
            f" <strong>There are too few validation data to calibrate the interval of {which}:</strong> its ends are "
            "the largest errors that there were, which may be too little."
        )
    return pair([figure(chart, caption), f"<div>\n<p>{words}</p>\n{_coverage(judged, intervals)}\n</div>"])


def _coverage(judged: _Judged, intervals: Sequence[float]) -> str:
    """A row an interval, a column a stretch of the horizon."""
    horizon = judged.truth.shape[1]
    stretches = [part for part in np.array_split(np.arange(horizon), min(_COLUMNS, horizon)) if len(part)]
    names = [f"{part[0] + 1}–{part[-1] + 1}" if len(part) > 1 else str(part[0] + 1) for part in stretches]

    def held(within: Array) -> str:
        known = within[~np.isnan(within)]
        return f"{known.mean():.1%}" if len(known) else "–"

    found = {interval: judged.inside(interval) for interval in sorted(intervals)}
    rows = [
        (f"step {name}", [held(within[:, part]) for within in found.values()]) for name, part in zip(names, stretches)
    ]
    rows.append(("all steps", [held(within) for within in found.values()]))
    return table([f"{interval:.0%}" for interval in found], rows)


# What was tried.


def _tried(settled: Mapping[str, Any]) -> Iterator[str]:
    """The models that were tried before the training, if several were."""
    if not settled:
        return
    found = settled["crps after a short trial"]
    words = (
        "Before the training each of these was trained on the same data for the same short time, and the one with the "
        "lowest CRPS on the validation data was taken. A short trial can err where models come close to each other, or "
        "where one learns more slowly and ends lower."
    )
    rows = [
        (name, [f"{value:.4f}", "taken" if name == settled["chosen"] else ""])
        for name, value in sorted(found.items(), key=lambda one: one[1])
    ]
    yield section("What was tried", f"<p>{words}</p>\n" + table(["CRPS", ""], rows))


# What is read.


def _inputs(model: Forecasting, history: History, windows: tuple[Tensor, Tensor]) -> str:
    """How much the forecast moves with each input."""
    found = sensitivity(model, history, *windows)
    seen = np.where(found.lags > _SEEN * found.lags.max(), found.lags, np.nan)
    chart = line_chart(
        [Series("the values", list(range(1, len(seen) + 1)), seen.tolist(), 1)],
        title="The gradient of the forecast with respect to the values before it",
        x_label="steps before the forecast",
        y_label="gradient",
        log_y=True,
    )
    caption = (
        "How much the mean of the median forecast moves with each value that was read: the mean size of its gradient "
        f"over {len(windows[0]):,} validation windows. Peaks lie where the model looks, such as one season "
        "before; what is under a thousandth of the largest is not drawn."
    )
    words = (
        "How far the mean forecast would move, in standard deviations of its series, if each step of an input moved by "
        "one deviation of that input, always in the direction that counts:"
    )
    ordered = sorted(found.parts.items(), key=lambda one: -one[1])
    parts = table(["moves"], [(name, [f"{value:.3f}"]) for name, value in ordered])
    return pair([figure(chart, caption), f"<div>\n<p>{words}</p>\n{parts}\n</div>"])


class _Reader(nn.Module):
    """A forecaster's layers, and what is said of their output, on a sequence of their own inputs."""

    def __init__(self, model: Forecasting, unrolled: Unrolled) -> None:
        super().__init__()
        self.rnn, self.numbers = model.rnn, unrolled.numbers

    def forward(self, inputs: Tensor) -> Numbers:
        output, _ = self.rnn(inputs)
        return self.numbers(output)


@torch.no_grad()
def _inside(model: Forecasting, history: History, windows: tuple[Tensor, Tensor]) -> str:
    """The look inside while a few windows are read, to the loss of the last step that is said."""
    series, origins = windows
    window, targets = history.cut(series, origins, end_of(history, "valid")[series])
    last_known = targets[:, -1].isfinite()
    if not last_known.any():
        words = (
            "No validation window has a known value at the last step of its horizon, so there is no loss to look at."
        )
        return section("Inside the model", f"<p>{words}</p>")
    best = last_known & (window.values.isfinite().sum(1) == window.values[last_known].isfinite().sum(1).max())
    series, origins = some((series[best], origins[best]), inside.SEQUENCES)
    window, targets = history.cut(series, origins, end_of(history, "valid")[series])
    device = next(model.parameters()).device
    one = model.unrolled(Window(*(t.to(device) for t in window)), targets.to(device))
    steps = min(len(one.inputs), inside.STEPS)
    if one.reset is not None:  # from where the last of the series has begun
        steps = min(steps, len(one.inputs) - int(one.reset.int().argmax(0).max()))
    k, size = int(series[0]), model.patch if isinstance(model, PatchForecaster) else 1
    step = "step" if size == 1 else "piece"
    last = one.targets[:, -one.last :]

    def loss(found: Numbers) -> Tensor:
        end = Numbers(found.numbers[:, -one.last :], found.base[:, -one.last :], found.scale)
        return model.mean_loss(end, last)

    begin = when(history, k, int(origins[0]) - 1)
    text = f"{history.panel.names[k]}, {steps} {step}s up to the end of the horizon; it forecasts the {begin}"
    if size > 1:
        text += f"\neach {step} is the {size} steps that the layers take at once"
    return inside.inside(_Reader(model, one), one.inputs[-steps:], loss, step, text)
