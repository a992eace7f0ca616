"""Forecasting as the loop, the command line and the report see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.data import Columns, DataError, Panel, Told, build_panel, files
from holdfast.extras import require
from holdfast.models import AutoregressiveForecaster, Forecasting, PatchForecaster
from holdfast.training import Devices, Loss

from ..fitting import Fitted
from ..task import Compared, Sources, Task
from . import report as _report
from .baselines import Baselines
from .conformal import Calibration
from .history import History, Known
from .judging import CONSTANT, PARTS, chunks, forecast_windows, latest, measured, some, windows_of
from .measures import Measures
from .options import ForecastOptions
from .recent import keep_recent
from .settling import settled, split
from .trial import choose, usual

Array = np.ndarray[Any, Any]

SUNSPOTS = "builtin:sunspots"
EVALUATED = PatchForecaster.evaluated  # windows that baselines are measured on while training
TRAINED_ON = 1 << 15  # windows that a ridge regression is fitted to


class ForecastRun(Fitted):
    """A trained forecaster."""

    model: Forecasting
    options: ForecastOptions
    task: Forecast


class Forecast(Task[ForecastOptions, Panel]):
    """The task."""

    name = "forecast"
    summary = "A forecaster: it reads series up to now, and says what comes, with intervals."
    objective = "crps"
    headline = ("crps", "mase", "smape")
    compared_by: ClassVar = {"crps": "CRPS", "mase": "MASE"}
    unit = "values"
    options = ForecastOptions
    fitted = ForecastRun
    use = (
        "Forecast with it: holdfast forecast {run} --out forecast.csv; try it on the past: holdfast backtest {run} DATA"
    )
    presets: ClassVar[Mapping[str, Any]] = {}

    def read(self, sources: Sources, options: ForecastOptions, told: Told) -> Panel:
        """The series of the tables, with a part to choose on."""
        told("reading the table")
        tables = [_tables(paths) for paths in (sources.data or (SUNSPOTS,), sources.valid, sources.test) if paths]
        panel = build_panel(tables, self.columns(options), options.frequency)
        if not sources.valid:
            panel = split(panel, options)
        if not sources.data:
            panel = replace(
                panel, notes=(f"{SUNSPOTS}: the yearly number of sunspots that statsmodels carries", *panel.notes)
            )
        return panel

    def settle(self, data: Panel, options: ForecastOptions, place: Devices) -> ForecastOptions:
        """Seasons, and how far to look ahead and back."""
        return settled(data, options)

    def typical(self, options: ForecastOptions) -> ForecastOptions:
        """On the usual base."""
        return usual(options)

    def choose(
        self, data: Panel, options: ForecastOptions, place: Devices, told: Told
    ) -> tuple[ForecastOptions, dict[str, Any]]:
        """The model and the base that did best in a short trial, and how each did."""
        return choose(self, data, options, place, told)

    def describe(self, data: Panel) -> dict[str, Any]:
        """How many series and values."""
        about: dict[str, Any] = {"digest": data.digest, "series": len(data), "frequency": data.frequency.alias}
        before = np.zeros(len(data), np.int64)
        for name in self.splits(data, training=True):
            end = data.ends[PARTS[name]]
            about[f"{name} values"] = int((end - before).sum())
            before = end
        about["missing values"] = int(sum(np.isnan(data.of(k)[:n]).sum() for k, n in enumerate(data.known)))
        return about

    def facts(self, data: Panel, options: ForecastOptions) -> dict[str, Any]:
        """What is known of the series beside the weights."""
        return {"known": Known.of(data, min(options.season, default=1), options.horizon, options.calendar).to_dict()}

    def retain(self, data: Panel, options: ForecastOptions, folder: Path) -> None:
        """The end of each series, from which forecasts are made."""
        steps = max(options.context, _report.HISTORY * options.horizon)
        keep_recent(replace(data, ends=data.ends[-1:]), steps, folder)

    def build(self, facts: Mapping[str, Any], options: ForecastOptions) -> nn.Module:
        """A fresh model."""
        known = Known.from_dict(facts["known"])
        told: dict[str, Any] = {
            "horizon": options.horizon,
            "context": options.context,
            "levels": options.levels,
            "likelihood_name": options.likelihood,
            "seasons": options.season,
            "series": len(known.names) if len(known.names) > 1 else 0,
            "past": len(known.past),
            "future": len(known.future),
            "calendar": len(known.calendar),
            "static": known.static_size,
            "gaps": known.gaps,
            "cell": options.cell,
            "hidden": options.hidden,
            "layers": options.layers,
            "dropout": options.dropout,
        }
        if options.model == "autoregressive":
            return AutoregressiveForecaster(**told)
        return PatchForecaster(patch=options.patch, base=options.base, **told)

    def problem(self, data: Panel, options: ForecastOptions, place: Devices) -> Problem:
        """What the loop trains."""
        known = Known.of(data, min(options.season, default=1), options.horizon, options.calendar)
        return Problem(self, History(data, known, options.context, options.horizon), options, place)

    def evaluate(
        self, model: nn.Module, facts: Mapping[str, Any], data: Panel, split: str, options: ForecastOptions, told: Told
    ) -> dict[str, float]:
        """The measures on all windows of a part."""
        assert isinstance(model, Forecasting)
        history = self.history(facts, data, options)
        windows = windows_of(history, split)
        if not len(windows[0]):
            raise DataError("no series is long enough to measure a forecast: none goes on after a value that is known")
        measures = Measures(options.levels, [k / 100 for k in options.intervals])
        done = 0
        for chunk in chunks(windows):
            one = forecast_windows(model, history, *chunk, split)
            measures.add(one.truth, one.median, one.quantiles, mase_scale=one.mase_scales, deviation=one.deviations)
            done += len(chunk[0])
            told(f"forecasting: {done:,} of {len(windows[0]):,} windows")
        return measured(measures)

    def history(self, facts: Mapping[str, Any], data: Panel, options: ForecastOptions) -> History:
        """Series in the model's terms."""
        return History(data, Known.from_dict(facts["known"]), options.context, options.horizon)

    def given(self, facts: Mapping[str, Any], paths: Sequence[str], told: Told) -> Panel:
        """Another table, which is tested on where it comes after what was learned from, or as a whole."""
        told("reading the table")
        known = Known.from_dict(facts["known"])
        return build_panel([_tables(paths)], known.panel_columns(), known.panel_frequency())

    def baselines(
        self, training: Panel, data: Panel, split: str, options: ForecastOptions, brief: bool = False
    ) -> Compared:
        """Simple methods, with conformal intervals from the validation part."""
        judged = self.history(self.facts(training, options), data, options)
        windows = windows_of(judged, split)
        measured_on = some(windows, EVALUATED) if brief else windows
        return self.baselines_of(training, options).measure(judged, measured_on, split)

    def baselines_of(self, training: Panel, options: ForecastOptions) -> Baselines:
        """The simple methods, with what they learned from the training part and the validation part."""
        learned = self.history(self.facts(training, options), training, options)
        simple = Baselines(options).fit(learned, some(windows_of(learned, "train"), TRAINED_ON))
        series, origins = some(windows_of(learned, "valid"), EVALUATED)
        late = latest(learned, (series, origins))
        simple.calibrate(learned, (series[late], origins[late]))
        return simple

    def notes(self, data: Panel, split: str, options: ForecastOptions, brief: bool = False) -> list[str]:
        """What happened to the rows, and what the intervals rest on."""
        notes = [*data.notes]
        if split == "valid":
            notes.append(
                "The intervals were calibrated on these validation data: their coverage counts on others only."
            )
        return notes

    def report(self, fitted: Fitted, data: Panel, compared: Compared) -> Iterable[str]:
        """Whether it was worth it, fans, errors by step, what was tried, what mattered, the look inside."""
        return _report.sections(self, fitted, data, compared)

    def loaded(self, fitted: Any) -> Any:
        """A `Forecaster`."""
        from .estimator import Forecaster  # which is made of this task

        return Forecaster.of(fitted)

    @staticmethod
    def columns(options: ForecastOptions) -> Columns:
        """The roles of the columns, as far as they were said."""
        return Columns(**{n: getattr(options, n) for n in ("time", "target", "series", "past", "future", "static")})

    def splits(self, data: Panel, training: bool = False) -> list[str]:
        """The parts."""
        if len(data.ends) == 1:
            return ["given"]
        return [name for name, k in PARTS.items() if k < len(data.ends) and (k or training)]


class Problem:
    """A forecaster's training, as the loop sees it."""

    def __init__(self, task: Forecast, history: History, options: ForecastOptions, place: Devices) -> None:
        self.history, self.options, self.place = history, options, place
        self.objective = task.objective
        ends = history.ends[0]
        least = torch.minimum(torch.full_like(ends, options.context), (ends - options.horizon) // 2).clamp(min=1)
        self.windows = history.origins(0, least)
        if not len(self.windows[0]):
            raise DataError("there is no window to learn from: no series has two values to learn from")
        kind = AutoregressiveForecaster if options.model == "autoregressive" else PatchForecaster
        self.judged = some(windows_of(history, "valid"), kind.evaluated)
        if not len(self.judged[0]):
            raise DataError("there is no window to choose on: no series has a value to read before its validation part")
        if not (history.deviations[self.judged[0].numpy()] > 0).any():
            raise DataError(CONSTANT)

    def epoch(self, number: int) -> Sequence[Any]:
        """All windows once, in an order of this epoch."""
        draw = torch.Generator().manual_seed(self.options.seed * 1_000_003 + number)
        order = torch.randperm(len(self.windows[0]), generator=draw)
        size = self.options.batch_size * self.place.size
        if len(order) < size:  # fewer windows than a batch: some stand in it more than once
            order = order.repeat(-(-size // len(order)))
        return _Batches(self, order[: len(order) // size * size].view(-1, size))

    def carry(self) -> Sequence[Tensor]:
        """Nothing: windows do not follow each other."""
        return ()

    def loss(self, model: nn.Module, batch: tuple[Any, Tensor], carry: Sequence[Tensor]) -> Loss:
        """The mean loss of the steps to come."""
        assert isinstance(model, Forecasting)
        window, targets = batch
        value = model.loss(type(window)(*(t.to(self.place.device) for t in window)), targets.to(self.place.device))
        return Loss(value, value, ())

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """The measures on some validation windows, after the intervals were calibrated on them."""
        assert isinstance(model, Forecasting)
        model.calibration = None
        options, history = self.options, self.history
        levels, intervals = options.levels, [k / 100 for k in options.intervals]
        found = [forecast_windows(model, history, *chunk, "valid") for chunk in chunks(self.judged)]
        quantiles, truth, scale = (
            np.concatenate([getattr(one, n) for one in found]) for n in ("quantiles", "truth", "scale")
        )
        late = latest(history, self.judged).numpy()
        calibration = Calibration.fit(quantiles[late], truth[late], scale[late], levels, intervals)
        model.calibration = calibration.to_dict()
        measures = Measures(levels, intervals)
        for one in found:
            better = calibration.apply(one.quantiles, one.scale)
            measures.add(one.truth, one.median, better, mase_scale=one.mase_scales, deviation=one.deviations)
        return measured(measures)


class _Batches(Sequence[Any]):
    """The batches of an epoch, cut when they are asked for; each process takes its own columns."""

    def __init__(self, problem: Problem, order: Tensor) -> None:
        self.problem, self.order = problem, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, k: Any) -> Any:
        place, size = self.problem.place, self.problem.options.batch_size
        which = self.order[k][place.rank * size : (place.rank + 1) * size]
        series, origins = (t[which] for t in self.problem.windows)
        history = self.problem.history
        return history.cut(series, origins, history.ends[0][series])


def _tables(paths: Sequence[str]) -> Any:
    if SUNSPOTS in paths:
        found = require("statsmodels.api", "forecast").datasets.sunspots.load_pandas().data
        return found.rename(columns={"YEAR": "ds", "SUNACTIVITY": "y"}).astype({"ds": int})
    return files(paths)
