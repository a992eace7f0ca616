"""A panel in the terms of a model: scaled columns, numbered series, windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from holdfast.data import Columns, DataError, Frequency, Panel
from holdfast.models import Window

from .measures import mase_scale

Array = np.ndarray[Any, Any]

_LAGS = 8  # within the horizon, at which a series' changes are looked at
_LEAST = 1e-3  # of the mean size of a series' values: below, it counts as constant


@dataclass(frozen=True)
class Known:
    """What was learned of the series beside the weights; it belongs to the model.

    Attributes:
        columns: the roles of the table's columns.
        frequency: of the steps.
        names: of the series, in the order of their numbers in the model, from 1 on.
        season: the shortest season, for MASE; 1 if there is none.
        past, future: mean and deviation of each of these columns.
        numbers: mean and deviation of each static column of numbers.
        texts: the values of each static column of texts.
        calendar: the columns of the calendar that are told.
        gaps: whether values are missing.
        deviations, scales, mase_scales: of each series' training part, in the order of the names. A scale says how far
            values usually are from those up to a horizon before.
    """

    columns: dict[str, Any]
    frequency: dict[str, Any]
    names: list[str]
    season: int
    past: list[list[float]]
    future: list[list[float]]
    numbers: dict[str, list[float]]
    texts: dict[str, list[str]]
    calendar: list[int]
    gaps: bool
    deviations: list[float]
    scales: list[float]
    mase_scales: list[float]

    @classmethod
    def of(cls, panel: Panel, season: int, horizon: int, calendar: bool) -> Known:
        """Learn it from the training part of a panel."""
        ends = panel.ends[0]
        rows = np.concatenate([np.arange(a, a + n) for a, n in zip(panel.starts[:-1], ends)])
        within = panel.values[rows]
        numbers, texts = {}, {}
        for name, cells in panel.static.items():
            if cells.dtype.kind == "U":
                texts[name] = sorted(set(cells[ends > 0].tolist()))
            else:
                numbers[name] = _mean_and_deviation(cells[ends > 0].astype(np.float64))
        units = [_units(panel.of(k)[:n], season) for k, n in enumerate(ends)]
        scales = [_scales(torch.from_numpy(panel.of(k)[:n])[None], horizon).item() for k, n in enumerate(ends)]
        return cls(
            columns=asdict(panel.columns),
            frequency=panel.frequency.to_dict(),
            names=[name for name, n in zip(panel.names, ends) if n],
            season=season,
            past=[_mean_and_deviation(column) for column in panel.past[rows].T],
            future=[_mean_and_deviation(column) for column in panel.future[rows].T],
            numbers=numbers,
            texts=texts,
            calendar=_calendar_seen(panel) if calendar else [],
            gaps=bool(np.isnan(within).any()),
            deviations=[u[0] for u, n in zip(units, ends) if n],
            scales=[scale for scale, n in zip(scales, ends) if n],
            mase_scales=[u[1] for u, n in zip(units, ends) if n],
        )

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Known:
        """What `to_dict` gave."""
        return cls(**kept)

    def to_dict(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return asdict(self)

    def panel_columns(self) -> Columns:
        """The roles of the columns, for reading another table."""
        return Columns(**self.columns)

    def panel_frequency(self) -> Frequency:
        """The frequency, for reading another table."""
        return Frequency.from_dict(self.frequency)

    @property
    def static_size(self) -> int:
        """How many numbers say what is static."""
        return len(self.numbers) + sum(len(values) for values in self.texts.values())


class History:
    """The series of a panel as tensors, each followed by the steps that are to come; windows are cut from it.

    Args:
        panel: the series.
        known: what the model knows of them.
        context: L, how many steps a window has been.
        horizon: H, how many are to come.

    Attributes:
        numbers: of each series in the model; 0 if it is new to it; (S,).
        scales: of each series, NaN of one that is new: each of its windows has a scale of its own; (S,).
        deviations, mase_scales: of each series; (S,).
        ends: those of the panel.
    """

    def __init__(self, panel: Panel, known: Known, context: int, horizon: int) -> None:
        if tuple(panel.past_names) != tuple(known.columns["past"]) or tuple(panel.future_names) != tuple(
            known.columns["future"]
        ):
            raise DataError("the table has not the past and future columns that the model was trained with")
        self.panel, self.known, self.context, self.horizon = panel, known, context, horizon
        self.ends = torch.from_numpy(panel.ends.astype(np.int64))  # (parts, S)
        lengths = panel.known + horizon
        self.starts = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]))  # (S + 1,)
        source = _source_rows(panel, lengths)  # (M,): the row of the panel, -1 where there is none
        there = source >= 0
        before = np.concatenate([np.arange(n) < m for n, m in zip(lengths, panel.known)])
        values = np.where(there & before, panel.values[source], np.nan)
        self.values = torch.from_numpy(values.astype(np.float32))  # (M,)
        self.past = _scaled(panel.past, known.past, source)  # (M, P), NaN where missing
        self.future = _scaled(panel.future, known.future, source)
        ordinals = np.concatenate([first + np.arange(n) for first, n in zip(panel.first, lengths)])
        if known.calendar:
            told = panel.frequency.calendar(ordinals, np.repeat(panel.phases, lengths))[:, known.calendar]
        else:
            told = np.zeros((len(ordinals), 0), np.float32)
        self.calendar = torch.from_numpy(np.ascontiguousarray(told))
        self.static = torch.from_numpy(_static(panel, known))  # (S, …)
        place = {name: k for k, name in enumerate(known.names)}
        self.numbers = torch.tensor([place.get(name, -1) + 1 for name in panel.names], dtype=torch.long)
        units = [self._units(k, name, place) for k, name in enumerate(panel.names)]
        self.deviations, self.mase_scales = (np.array(column, np.float64) for column in zip(*units))
        scales = [known.scales[place[name]] if name in place else np.nan for name in panel.names]
        self.scales = torch.tensor(scales, dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.panel)

    def _units(self, k: int, name: str, place: Mapping[str, int]) -> tuple[float, float]:
        """What errors are measured in: of the training part, or of what a new series has before its last part."""
        if name in place:
            return self.known.deviations[place[name]], self.known.mase_scales[place[name]]
        ends = self.panel.ends[:, k]
        before = ends[ends < ends[-1]]
        until = int(before[-1]) if len(before) and before[-1] else int(ends[-1])
        return _units(self.panel.of(k)[:until], self.known.season)

    def cut(self, series: Tensor, origins: Tensor, limits: Tensor) -> tuple[Window, Tensor]:
        """Windows, and what came.

        Args:
            series: of each window the series, (B,).
            origins: of each the first step to come, (B,).
            limits: steps from here on are not told, as if they were missing; (B,).

        Returns:
            The windows, and their targets, (B, H), NaN where missing.
        """
        steps = torch.arange(-self.context, self.horizon)
        at = origins[:, None] + steps  # (B, L + H): of the series
        rows = (self.starts[series][:, None] + at).clamp(min=0)
        inside = at >= 0
        told = inside & (at < limits[:, None])
        values = self.values[rows].where(told, torch.nan)
        split = self.context
        scales = self.scales[series]
        new = scales.isnan()
        if new.any():  # nothing that comes later may tell how far it goes
            scales[new] = _scales(values[new, :split], self.horizon)
        window = Window(
            values[:, :split],
            self.past[rows[:, :split]].where(inside[:, :split, None], 0.0).nan_to_num(0.0),
            self.future[rows].where(inside[..., None], 0.0).nan_to_num(0.0),
            self.calendar[rows],
            self.static[series],
            self.numbers[series],
            scales,
        )
        return window, values[:, split:]

    def origins(self, part: int, least: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All windows whose steps to come lie in a part: their series and origins, both (W,).

        A series that has fewer steps in a part than are forecast has one window there. What has been must hold a known
        value.

        Args:
            part: 0 to learn from, 1 to choose on, 2 to test on.
            least: the first origin in the first part, for each series.
        """
        begin = self.ends[part - 1] if part else least if least is not None else torch.ones(len(self), dtype=torch.long)
        begin, end = begin.clamp(min=1), self.ends[part]
        count = (end - begin - self.horizon + 1).clamp(min=0)
        count = torch.where((count == 0) & (end > begin), 1, count)
        series = torch.repeat_interleave(torch.arange(len(self)), count)
        first = count.cumsum(0) - count
        return self.with_a_past(series, begin[series] + torch.arange(len(series)) - first[series])

    def with_a_past(self, series: Tensor, origins: Tensor) -> tuple[Tensor, Tensor]:
        """Those windows of which at least one value that has been is known."""
        known = torch.cat([torch.zeros(1, dtype=torch.long), self.values.isfinite().cumsum(0)])  # up to each row
        rows = self.starts[series]
        read = known[rows + origins] > known[rows + (origins - self.context).clamp(min=0)]
        return series[read], origins[read]

    def unknown_future(self, k: int, origin: int, steps: int) -> tuple[int, str] | None:
        """The first step to come of which a column of the future is missing, and that column's name."""
        rows = self.future[self.starts[k] + origin : self.starts[k] + origin + steps]
        missing = rows.isnan().nonzero()
        if not len(missing):
            return None
        step, column = missing[0].tolist()
        return origin + step, self.panel.future_names[column]


def _source_rows(panel: Panel, lengths: Array) -> Array:
    """Of each row of a history the panel's row; -1 where it has none."""
    found = []
    for start, had, wanted in zip(panel.starts[:-1], panel.lengths, lengths):
        rows = np.arange(start, start + wanted)
        rows[had:] = -1
        found.append(rows)
    return np.concatenate(found)


def _scaled(columns: Array, known: Sequence[Sequence[float]], source: Array) -> Tensor:
    """Columns less their mean, over their deviation; NaN where missing, (M, C)."""
    if not len(known):
        return torch.zeros(len(source), 0)
    mean, deviation = np.array(known).T
    scaled = (columns[source].astype(np.float64) - mean) / deviation
    scaled[source < 0] = np.nan
    return torch.from_numpy(scaled.astype(np.float32))


def _mean_and_deviation(values: Array) -> list[float]:
    """Of the values that are known; 0 and 1 where none is, and a deviation of 1 where all are the same."""
    known = values[~np.isnan(values)].astype(np.float64)
    if not len(known):
        return [0.0, 1.0]
    return [float(known.mean()), float(known.std()) or 1.0]


def _units(values: Array, season: int) -> tuple[float, float]:
    """Deviation and MASE scale of a series."""
    values = values.astype(np.float64)
    known = values[~np.isnan(values)]
    return float(known.std()) if len(known) else 0.0, mase_scale(values, season)


def _scales(values: Tensor, horizon: int) -> Tensor:
    """The root of the mean squared change over some lags up to the horizon, of each row; (B,), from (B, L).

    It is at least a thousandth of the values' mean size; 1 where all are 0, or none is known.
    """
    values = values.double()
    lags = sorted({int(lag) for lag in np.linspace(1, min(horizon, max(1, values.shape[1] - 1)), _LAGS)})
    changes = [(values[:, lag:] - values[:, :-lag]).square().nanmean(1) for lag in lags]  # NaN where none is known
    usual = torch.stack(changes, 1).nanmean(1).sqrt().nan_to_num(0.0)
    scale = torch.maximum(usual, _LEAST * values.abs().nanmean(1).nan_to_num(0.0))
    return scale.where(scale > 0, 1.0).float()


def _static(panel: Panel, known: Known) -> Array:
    """What is static, as numbers, (S, …): texts as one column for each of their values, all 0 where one is new."""
    columns = []
    for name, (mean, deviation) in known.numbers.items():
        columns.append(np.nan_to_num((panel.static[name].astype(np.float64) - mean) / deviation))
    for name, values in known.texts.items():
        cells = panel.static[name]
        columns += [(cells == value).astype(np.float64) for value in values]
    found = np.stack(columns, 1) if columns else np.zeros((len(panel), 0))
    return found.astype(np.float32)


def _calendar_seen(panel: Panel) -> list[int]:
    """The columns of the calendar whose cycle some series' training part has gone through twice."""
    longest = int(panel.ends[0].argmax())
    times = panel.times(longest)[: int(panel.ends[0][longest])]
    if not panel.frequency.dated or len(times) < 2:
        return []
    days = (times[-1] - times[0]) / np.timedelta64(1, "D")
    needed = {"day": 2, "week": 14, "year": 730}
    names = panel.frequency.calendar_names
    return [k for k, name in enumerate(names) if days >= needed[name.split()[0]]]
