"""`holdfast.Forecaster`: forecasting in scikit-learn's manner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch

from holdfast.data import DataError, Panel, build_panel, files
from holdfast.extras import require
from holdfast.models import Window
from holdfast.models.forecast_stream import ForecastStream, Row, stream
from holdfast.training import Watcher, make

from ..estimator import Estimator
from ..fitting import decoding, paths_of
from ..task import Sources
from .conformal import Calibration
from .history import History, Known
from .judging import Forecasts, calibration_of, chunks, forecast_windows, liveliness, measured
from .measures import Measures
from .options import ForecastOptions
from .recent import recent_of
from .report import HISTORY, Fan, fan_picture, time_of, when
from .settling import horizon_of
from .task import Forecast, ForecastRun

Array = np.ndarray[Any, Any]
W = TypeVar("W", Window, Row)

_DETECTED = 99.0  # per cent: a point is unusual if fewer than 1 in 100 are
_PICTURED = 4  # series
_SEVERAL = {"data": "table.parquet", "valid": "valid.parquet", "test": "test.parquet"}


class Forecaster(Estimator[ForecastRun]):
    """Learns from a table of series, and forecasts them with intervals.

    >>> import numpy as np, pandas as pd
    >>> days = pd.date_range("2024-01-01", periods=120)
    >>> table = pd.DataFrame({"ds": days, "y": np.sin(np.arange(120) * 2 * np.pi / 7)})
    >>> forecaster = Forecaster(horizon=7, steps=40, hidden=8, model="patches", base="mixture").fit(table)
    >>> forecast = forecaster.predict()
    >>> list(forecast.columns)[:3], len(forecast)
    (['ds', 'forecast', 'forecast-lo-50'], 7)

    It follows scikit-learn's conventions: `clone`, `get_params`, `set_params` and a grid search work. What was fitted
    is a run's folder, as `holdfast fit forecast` makes it, and `holdfast.load` gives it back.

    Args:
        options: those of `ForecastOptions`, by name: `horizon=48`, `series="shop"`, `minutes=5`.
    """

    task = Forecast()
    _panel: Panel | None = None
    _recent: Panel | None = None  # the last context of each series, and what has come since
    _streams: dict[str, ForecastStream]

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks an estimator about itself."""
        utils = require("sklearn.utils", "forecast")
        return utils.Tags(
            estimator_type=None,
            target_tags=utils.TargetTags(required=False),
            input_tags=utils.InputTags(allow_nan=True),
        )

    # Learning.

    def fit(
        self,
        df: Any,
        y: None = None,
        *,
        out: str | Path | None = None,
        valid: Any = None,
        test: Any = None,
        watcher: Watcher | None = None,
    ) -> Self:
        """Learn from a table.

        Args:
            df: a data frame, or a path, a glob or a URL of CSV or Parquet files, or several.
            y: nothing; scikit-learn passes it.
            out: the run's folder, which is made; by default a temporary one, until `save`.
            valid: rows after those, to choose on; by default the last tenth of each series.
            test: rows after those, which only `evaluate` reads.
            watcher: who is told what happens.

        Raises:
            DataError: something in the table is not as it must be; the message names the row.
            OptionError: a parameter is not as it must be.
        """
        if df is None or (_is_path(df) and not paths_of(df)):
            raise DataError(f"a table must be paths or a data frame, got {df!r}")
        tables = {name: table for name, table in (("data", df), ("valid", valid), ("test", test)) if table is not None}

        def keep(folder: Path) -> Sources:
            if not all(map(_is_path, tables.values())):
                self._panel_of(*tables.values())  # refused before it is kept
            return Sources(**{name: _kept(table, folder, _SEVERAL[name]) for name, table in tables.items()})

        self._learn(keep, out, watcher, in_memory=not all(map(_is_path, tables.values())))
        self._panel, self._recent, self._streams = None, None, {}
        return self

    # Forecasting.

    def predict(self, h: int | None = None, df: Any = None) -> Any:
        """What comes after the last known value of each series.

        Args:
            h: how many steps; by default as many as were learned.
            df: another table, from which series and what is known of their future are read; by default those that were
                learned from, with what `update` has added.

        Returns:
            A data frame of series (if there are several), time, the median as `forecast`, and `forecast-lo-90`,
            `forecast-hi-90` for each interval.

        Raises:
            DataError: a column that must be known of the future is missing; the message names the series and the time.
        """
        streamed = self._recent if df is None else None
        panel = streamed or (self._end_of_series() if df is None else self._read(df))
        found = self._ahead(panel, range(len(panel)), self._steps(h), streamed is not None)
        return self._frame(panel, np.arange(len(panel)), panel.known, found)

    def picture(self, h: int | None = None, df: Any = None, most: int = _PICTURED) -> str:
        """What `predict` gives for the first series, as an SVG: the last values, the median and the intervals.

        Args:
            h, df: as for `predict`.
            most: how many series.
        """
        panel = self._end_of_series() if df is None else self._read(df)
        some, steps, options = range(min(len(panel), most)), self._steps(h), self.run.options
        quantiles = self._ahead(panel, some, steps, df is None and self._recent is not None)
        history = self._history(panel)
        fans = []
        for k in some:
            end = int(panel.known[k])
            before = panel.of(k)[max(0, end - HISTORY * options.horizon) : end].astype(np.float64)
            shares = [interval / 100 for interval in options.intervals]
            fans.append(Fan(panel.names[k], when(history, k, end - 1), before, quantiles[k], options.levels, shares))
        return fan_picture(fans)

    def update(self, df: Any) -> Self:
        """Take in rows that have come, without reading what was before again.

        The state of each series moves on by its new steps; the weights stay. New series begin with their rows, and are
        read anew until they have a context.
        Forecasts are then as if each series had been read in one go, from a context before the first update on.

        Args:
            df: the new rows, each series' after those it has.

        Raises:
            DataError: a row lies before the end of its series, or is not as it must be.
        """
        recent, context = self._recent, self.run.options.context
        if recent is None:
            recent = self._end_of_series().last(context)
            history = self._history(recent)
            self._streams = {name: self._begun(history, k) for k, name in enumerate(recent.names)}
        new = self._read(df, recent.frequency)
        joined = recent.joined(new)
        known = {name: int(n) for name, n in zip(recent.names, recent.known)}
        fresh = self._history(joined.only(list(new.names)))  # of the series that have moved only
        for k, name in enumerate(new.names):
            # A new series is read anew while it is short: how far it goes cannot be told from its first rows.
            if name not in known or (not fresh.numbers[k] and int(fresh.panel.known[k]) <= context):
                self._streams[name] = self._begun(fresh, k)
                continue
            for at in range(known[name], int(fresh.panel.known[k])):
                self._streams[name].advance(_moved(_row(fresh, k, at), self.run.device))
        self._recent = replace(joined, ends=joined.ends[-1:])
        if len(joined.values) > 2 * (context + self.run.options.horizon) * len(joined):  # so that it stays short
            if self.run.run.may_open(self.run.config["data"]):  # or else nobody can look back at what came before
                self._known_panel()
            self._recent = self._recent.last(context)
        return self

    # Looking back.

    def backtest(
        self, df: Any = None, n_windows: int = 0, step_size: int = 0
    ) -> tuple[Any, dict[str, dict[str, float]]]:
        """What the model would have forecast at times that are past, and how good that was.

        Args:
            df: a table; by default the run's own.
            n_windows: how many for each series, the last ones; 0: all that fit behind a context.
            step_size: steps from one to the next; 0: the horizon.

        Returns:
            A data frame like that of `predict` with the columns `cutoff`, the last time that was known, and the truth;
            and the measures of the model and of the baselines.

        Raises:
            DataError: no series is long enough.
            ValueError: a number is out of its bounds.
        """
        _check_at_least(0, n_windows=n_windows, step_size=step_size)
        panel = self._known_panel() if df is None else self._read(df)
        history = self._history(panel)
        series, origins = _rolling(history, n_windows, step_size or self.run.options.horizon)
        if not len(series):
            raise DataError(
                f"no series is long enough to look back: {self.run.options.horizon} steps must follow at least as many"
            )
        options = self.run.options
        measures = Measures(options.levels, [k / 100 for k in options.intervals])
        frames = []
        for some in chunks((series, origins)):
            one = forecast_windows(self.run.model, history, *some, "given")
            measures.add(one.truth, one.median, one.quantiles, mase_scale=one.mase_scales, deviation=one.deviations)
            frames.append(self._frame(panel, some[0].numpy(), some[1].numpy(), one.quantiles, one.truth))
        training = self.run.data()
        compared = self.run.task.baselines_of(training, options).measure(history, (series, origins))
        found = {"this model": measured(measures), **{name: dict(m) for name, m in compared.measures.items()}}
        return require("pandas", "forecast").concat(frames, ignore_index=True), found

    def cross_validation(self, df: Any, n_windows: int = 1, step_size: int = 0, refit: bool = False) -> Any:
        """Forecasts of the last windows by a model that has seen nothing of them.

        A fresh forecaster with the same parameters learns from what lies before the first window, or with `refit`
        before each; this one stays as it is.

        Args:
            df: the table.
            n_windows: how many windows of each series.
            step_size: steps from one to the next; 0: the horizon.
            refit: whether to learn anew for each window.

        Returns:
            A data frame as `backtest` gives it.

        Raises:
            DataError: a series is too short.
            ValueError: a number is out of its bounds.
        """
        _check_at_least(1, n_windows=n_windows)
        _check_at_least(0, step_size=step_size)
        whole = self._panel_of(df)
        horizon = self._horizon_of(whole)
        step = step_size or horizon
        most = horizon + step * (n_windows - 1)
        short = np.flatnonzero(whole.known <= most)
        if len(short):
            k = int(short[0])
            raise DataError(
                f"series {whole.names[k]!r} has {whole.known[k]} steps, but {n_windows} windows of {horizon} "
                f"steps, {step} apart, need more than {most}"
            )
        frames = []
        forecaster: Forecaster | None = None
        for back in range(most, horizon - 1, -step):
            if forecaster is None or refit:
                forecaster = Forecaster(**{**self.get_params(), "horizon": horizon})
                forecaster.fit(_until(whole, back))
            run = forecaster.run
            history = forecaster._history(whole)
            series, origins = torch.arange(len(whole)), torch.from_numpy((whole.known - back).astype(np.int64))
            found = [forecast_windows(run.model, history, *some, "given") for some in chunks((series, origins))]
            quantiles, truth = (
                np.concatenate([getattr(one, name) for one in found]) for name in ("quantiles", "truth")
            )
            frames.append(forecaster._frame(whole, series.numpy(), origins.numpy(), quantiles, truth))
        return require("pandas", "forecast").concat(frames, ignore_index=True)

    def detected_level(self) -> float:
        """The level of `detect` by default, in per cent: 99, or the highest one that the validation points can tell."""
        return min(_DETECTED, _highest_level(self._points()))

    def _points(self) -> int:
        """How many validation points a point is compared with."""
        calibration = Calibration.from_dict(self.run.model.calibration or {})
        return int(calibration.counts[calibration.groups[0]])

    def detect(self, df: Any = None, level: float | None = None) -> Any:
        """Points that the model would hardly have expected, one step before.

        Each point is compared with the forecast from all before it; the first ones of each series, a context or half of
        a shorter one, are read only. A point's p-value is the share of validation points that lay at least as far
        outside their intervals; it is flagged where that is at most 1 - level.

        Args:
            df: a table; by default the run's own.
            level: in per cent; by default `detected_level()`.

        Returns:
            A data frame of series, time, value, forecast, the widest interval, `score` (how far outside the interval,
            in its half widths; negative inside), `p_value` and `anomaly`.

        Raises:
            DataError: no series has two known values.
            ValueError: the level is out of bounds, or so high that too few validation points could tell.
        """
        level = self.detected_level() if level is None else level
        if not 0 < level < 100:
            raise ValueError(f"level must be a per cent between 0 and 100; got {level}")
        panel = self._known_panel() if df is None else self._read(df)
        history = self._history(panel)
        series, origins = _rolling(history, 0, 1, 1)
        calibration = Calibration.from_dict(self.run.model.calibration or {})
        share = (100 - level) / 100 + 1e-9  # a p-value that equals it counts
        if share * ((count := self._points()) + 1) < 1:
            raise ValueError(
                f"level must be at most {_highest_level(count):g}; got {level:g}: there were {count} validation "
                f"points, and nothing can be rarer than 1 in {count + 1}; with more of them (valid_steps) it can be "
                "higher"
            )
        frames = []
        for some in chunks((series, origins)):
            one = forecast_windows(self.run.model, history, *some, "given")
            frames.append(self._judged(panel, some[0].numpy(), some[1].numpy(), one, calibration, share))
        if not frames:
            raise DataError("no series has two known values: there is nothing to compare")
        return require("pandas", "forecast").concat(frames, ignore_index=True)

    def score(self, df: Any, y: None = None) -> float:
        """Minus the MASE of forecasting rows that come after those that were learned from: the higher the better.

        The windows follow each other by a horizon; each is forecast from all rows before it. Series that go on for less
        are not judged.

        Raises:
            DataError: no series goes on for a horizon.
        """
        panel = self._known_panel().joined(self._read(df, self._known_panel().frequency))
        history = self._history(panel)
        begin = torch.from_numpy(panel.ends[-2].astype(np.int64))
        horizon = self.run.options.horizon
        series, origins = _rolling(history, 0, horizon, begin=begin)
        if not len(series):
            raise DataError(f"no series goes on for {horizon} steps, which is what a forecast is compared with")
        measures = Measures()
        for some in chunks((series, origins)):
            one = forecast_windows(self.run.model, history, *some, "given")
            measures.add(one.truth, one.median, mase_scale=one.mase_scales, deviation=one.deviations)
        return -measures.result()["mase"]

    # Parts of these.

    def _steps(self, h: int | None) -> int:
        most = self.run.options.horizon
        steps = most if h is None else h
        if not 1 <= steps <= most:
            raise ValueError(f"h must be from 1 to {most}, the steps that the model has learned to forecast; got {h}")
        return steps

    def _known(self) -> Known:
        return Known.from_dict(self.run.facts["known"])

    def _read(self, df: Any, frequency: Any = None) -> Panel:
        known = self._known()
        return build_panel([_table(df)], known.panel_columns(), frequency or known.panel_frequency())

    def _panel_of(self, *tables: Any) -> Panel:
        """Tables before anything was learned."""
        options = make(ForecastOptions, self.options)
        with decoding(options):
            return build_panel([*map(_table, tables)], Forecast.columns(options), options.frequency)

    def _horizon_of(self, panel: Panel) -> int:
        return horizon_of(panel, make(ForecastOptions, self.options), part=0)

    def _known_panel(self) -> Panel:
        """All rows that the run has read, and those that came later."""
        if self._panel is None:
            panel = self.run.data()
            self._panel = replace(panel, ends=panel.ends[-1:])
        if self._recent is not None:
            self._panel = _with_recent(self._panel, self._recent)
        return self._panel

    def _end_of_series(self) -> Panel:
        """The last rows of each series, more than a context, with those that came later."""
        if self._panel is not None:
            return self._known_panel()
        panel = recent_of(self.run.folder)
        if panel is None:  # of a run that was made before they were kept
            return self._known_panel()
        return panel if self._recent is None else _with_recent(panel, self._recent)

    def _history(self, panel: Panel) -> History:
        options = self.run.options
        return History(panel, self._known(), options.context, options.horizon)

    def _begun(self, history: History, k: int) -> ForecastStream:
        """The memory of a series, with the last context read."""
        origin = history.ends[-1][k : k + 1]
        window, _ = history.cut(torch.tensor([k]), origin, origin)
        return stream(self.run.model, _moved(window, self.run.device))

    def _ahead(self, panel: Panel, which: Sequence[int], steps: int, streamed: bool) -> Array:
        """The calibrated forecasts of some series, (len(which), steps, Q)."""
        if streamed:
            return np.concatenate([self._streamed(panel, k, steps) for k in which])
        history = self._history(panel)
        for k in which:
            _refuse_unknown_future(history, k, int(panel.known[k]), steps)
        series = torch.tensor(which)
        origins = torch.from_numpy(panel.known.astype(np.int64))[series]
        found = [forecast_windows(self.run.model, history, *some, "given") for some in chunks((series, origins))]
        return np.concatenate([one.quantiles[:, :steps] for one in found])

    def _streamed(self, panel: Panel, k: int, steps: int) -> Array:
        """The calibrated forecast of a series from its memory, (1, steps, Q)."""
        rows = History(panel.only([k]).last(1), self._known(), 1, self.run.options.horizon)
        origin = int(rows.panel.known[0])
        _refuse_unknown_future(rows, 0, origin, steps)
        memory, model = self._streams[panel.names[k]], self.run.model
        ahead = slice(origin, None)
        future, calendar = rows.future[ahead][None].nan_to_num(0.0), rows.calendar[ahead][None]
        raw = memory.quantiles(future.to(self.run.device), calendar.to(self.run.device), model.levels)
        window = _moved(memory.window, torch.device("cpu"))
        scale = liveliness(window._replace(values=window.values[:, -self.run.options.context :]))
        no_truth = np.full(raw.shape[:2], np.nan)
        return Forecasts(
            raw.double().numpy(force=True), no_truth, scale, model.levels, calibration_of(model)
        ).quantiles[:, :steps]

    def _frame(self, panel: Panel, series: Array, origins: Array, quantiles: Array, truth: Array | None = None) -> Any:
        """Forecasts as a table."""
        steps = quantiles.shape[1]
        columns = _places(panel, np.repeat(series, steps), (origins[:, None] + np.arange(steps)).ravel())
        options = self.run.options
        if truth is not None:
            columns["cutoff"] = _times(panel, np.repeat(series, steps), np.repeat(origins - 1, steps))
            columns[panel.columns.target or "y"] = truth[:, :steps].ravel()
        levels = list(options.levels)
        columns["forecast"] = quantiles[..., levels.index(0.5)].ravel()
        for interval in sorted(options.intervals):
            for side, level in (("lo", 100 - interval), ("hi", 100 + interval)):
                columns[f"forecast-{side}-{interval}"] = quantiles[..., levels.index(level / 200)].ravel()
        found = require("pandas", "forecast").DataFrame(columns)
        return found if truth is None else found[found[panel.columns.target or "y"].notna()].reset_index(drop=True)

    def _judged(
        self, panel: Panel, series: Array, origins: Array, one: Forecasts, calibration: Calibration, share: float
    ) -> Any:
        """What `detect` says of some points."""
        truth, levels = one.truth[:, :1], list(self.run.options.levels)
        widest = max(self.run.options.intervals)
        low, high = (one.quantiles[:, 0, levels.index(k / 200)] for k in (100 - widest, 100 + widest))
        value, middle = truth[:, 0], one.median[:, 0]
        half = np.maximum((high - low) / 2, 1e-12)
        p = calibration.p_values(truth, one.raw[:, :1], one.scale)[:, 0]
        columns = _places(panel, series, origins)
        columns |= {
            panel.columns.target or "y": value,
            "forecast": middle,
            f"forecast-lo-{widest}": low,
            f"forecast-hi-{widest}": high,
            "score": np.maximum(low - value, value - high) / half,
            "p_value": p,
            "anomaly": p <= share,
        }
        found = require("pandas", "forecast").DataFrame(columns)
        return found[np.isfinite(value)].reset_index(drop=True)


def _moved(tensors: W, device: torch.device) -> W:
    """The same on a device."""
    return type(tensors)(*(tensor.to(device) for tensor in tensors))


def _kept(table: Any, folder: Path, name: str) -> tuple[str, ...]:
    """Where a table can be read again: its paths, or a copy of the data frame in the run's folder."""
    if _is_path(table):
        return paths_of(table)
    folder.mkdir(parents=True, exist_ok=True)
    frame = require("narwhals", "forecast").from_native(table).to_pandas()
    for column in (name for name in frame.columns if frame[name].dtype == object):  # Parquet wants one kind in each
        frame = frame.assign(**{column: frame[column].map(str, na_action="ignore")})
    frame.to_parquet(folder / name)
    return (str(folder / name),)


def _is_path(table: Any) -> bool:
    """Whether it is one path or several, and not a data frame."""
    return isinstance(table, (str, Path)) or (isinstance(table, Sequence) and not hasattr(table, "columns"))


def _table(df: Any) -> Any:
    """A table as `build_panel` takes it."""
    return files(paths_of(df)) if _is_path(df) else df


def _until(panel: Panel, back: int) -> Any:
    """The rows of a table but for the last steps of each series, as a long table."""
    pandas = require("pandas", "forecast")
    keep = np.concatenate([np.arange(int(n)) < m - back for n, m in zip(panel.lengths, panel.known)])
    series = np.repeat(np.arange(len(panel)), panel.lengths)
    steps = np.concatenate([np.arange(int(n)) for n in panel.lengths])
    columns = _places(panel, series[keep], steps[keep])
    columns[panel.columns.target or "y"] = panel.values[keep]
    for names, cells in ((panel.past_names, panel.past), (panel.future_names, panel.future)):
        columns |= {name: cells[keep, i] for i, name in enumerate(names)}
    columns |= {name: cells[series[keep]] for name, cells in panel.static.items()}
    return pandas.DataFrame(columns)


def _with_recent(panel: Panel, recent: Panel) -> Panel:
    """A panel with the rows that have come since, which stand at the end of another."""
    had = dict(zip(panel.names, panel.cut + panel.known))
    came = recent.cut + recent.known - [had.get(name, 0) for name in recent.names]
    moved = np.flatnonzero(came)
    if not len(moved):
        return panel
    joined = panel.joined(recent.only(moved.tolist()).last(came[moved]))
    return replace(joined, ends=joined.ends[-1:])


def _places(panel: Panel, series: Array, steps: Array) -> dict[str, Any]:
    """The columns that say of which series and time a row is."""
    columns: dict[str, Any] = {}
    if len(panel) > 1 or panel.columns.series:
        columns[panel.columns.series or "unique_id"] = np.array(panel.names, object)[series]
    columns[panel.columns.time or "ds"] = _times(panel, series, steps)
    return columns


def _times(panel: Panel, series: Array, steps: Array) -> Any:
    """The times of steps, in the panel's zone."""
    times = panel.frequency.times(panel.first[series] + steps, panel.phases[series])
    if not panel.frequency.zone:
        return times
    return require("pandas", "forecast").DatetimeIndex(times).tz_localize("UTC").tz_convert(panel.frequency.zone)


def _row(history: History, k: int, at: int) -> Row:
    """A step of a series."""
    row = int(history.starts[k]) + at
    tables: Iterator[torch.Tensor] = (
        table[row : row + 1] for table in (history.values, history.past, history.future, history.calendar)
    )
    value, past, future, calendar = tables
    return Row(value, past.nan_to_num(0.0), future.nan_to_num(0.0), calendar)


def _check_at_least(least: int, **numbers: int) -> None:
    for name, number in numbers.items():
        if number < least:
            raise ValueError(f"{name} must be at least {least}; got {number}")


def _rolling(
    history: History, n_windows: int, step: int, horizon: int = 0, begin: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows of each series, so many steps apart, the last one ending where the series does."""
    horizon = horizon or history.horizon
    series, origins = [], []
    for k, end in enumerate(history.ends[-1].tolist()):
        least = int(begin[k]) if begin is not None else max(1, min(history.context, end // 2))
        found = torch.arange(max(end - horizon, least - 1), least - 1, -step)  # none where too little follows
        found = found[:n_windows] if n_windows else found
        origins.append(found.flip(0))
        series.append(torch.full_like(found, k))
    return history.with_a_past(torch.cat(series), torch.cat(origins))


def _refuse_unknown_future(history: History, k: int, origin: int, steps: int) -> None:
    missing = history.unknown_future(k, origin, steps)
    if missing is None:
        return
    step, column = missing
    name, time = history.panel.names[k], time_of(history, k, step)
    raise DataError(
        f"series {name!r} has no {column!r} at {time}: it must be known of the {steps} steps to come; "
        "give rows with it whose target is empty"
    )


def _highest_level(count: int) -> float:
    """The highest level that so many validation points can tell, in per cent, to a digit.

    >>> _highest_level(35)
    97.2
    """
    return int(1000 * count / (count + 1)) / 10
