"""A forecaster's memory of one series, carried on as values come in, without reading the past again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from holdfast.layers.tracing import State

from .forecasting import AutoregressiveForecaster, Forecasting, PatchForecaster, Read, Window, filled


class Row(NamedTuple):
    """A step that has come.

    Attributes:
        value: NaN if missing, (1,).
        past, future, calendar: what is known beside it, (1, …).
    """

    value: Tensor
    past: Tensor
    future: Tensor
    calendar: Tensor


class ForecastStream(ABC):
    """What a model remembers of a series.

    After a context and some steps it forecasts as if it had read them all in one go, from the context's first step on,
    in the scale that the context had. A step takes as long whatever has been before.

    Args:
        window: a context, of one series.
    """

    def __init__(self, model: Forecasting, window: Window) -> None:
        if len(window.values) != 1:
            raise ValueError(f"a stream is of one series; got {len(window.values)}")
        length = window.values.shape[1]
        self.window = window._replace(future=window.future[:, :length], calendar=window.calendar[:, :length])
        self.values = filled(window.values)  # (1, L)

    @abstractmethod
    def advance(self, row: Row) -> None:
        """Take in the step that has come."""

    @abstractmethod
    def quantiles(self, future: Tensor, calendar: Tensor, levels: Sequence[float]) -> Tensor:
        """The forecast, (1, H, levels).

        Args:
            future, calendar: what is known of the steps to come, (1, H, …).
        """

    def take(self, row: Row, keep: int) -> None:
        """Put a step behind the others, of which only the last ones are kept."""
        value = torch.where(row.value.isfinite(), row.value, self.values[:, -1])
        self.values = torch.cat([self.values, value[None]], 1)[:, -keep:]
        old = self.window
        tables = {
            "values": torch.cat([old.values, row.value[None]], 1)[:, -keep:],
            "past": torch.cat([old.past, row.past[None]], 1)[:, -keep:],
            "future": torch.cat([old.future, row.future[None]], 1)[:, -keep:],
            "calendar": torch.cat([old.calendar, row.calendar[None]], 1)[:, -keep:],
        }
        self.window = old._replace(**tables)

    def ahead(self, future: Tensor, calendar: Tensor) -> Window:
        """What was kept, with what is known of the steps to come."""
        old = self.window
        return old._replace(future=torch.cat([old.future, future], 1), calendar=torch.cat([old.calendar, calendar], 1))


class PatchStream(ForecastStream):
    """The memory of a model that reads patches: one state for each place at which a patch can end.

    A forecast needs patches that end now, and now moves by single steps. So there are as many states as a patch has
    steps; each step ends a patch of one of them, which reads it.
    """

    def __init__(self, model: PatchForecaster, window: Window) -> None:
        super().__init__(model, window)
        self.model = model
        self.states = [self.read(shift) for shift in range(model.patch)]  # by how long ago their last patch ended

    @torch.no_grad()
    def read(self, shift: int) -> State | None:
        """The state after the patches that end so many steps before the context does; None before the first value."""
        until = self.values.shape[1] - shift
        if until < self.model.patch or not self.window.values[:, :until].isfinite().any():
            return None
        old = self.window
        cut = old._replace(**{n: getattr(old, n)[:, :until] for n in ("values", "past", "future", "calendar")})
        return self.model.read(cut, self.values[:, :until], old.scale[:, None])

    @torch.no_grad()
    def advance(self, row: Row) -> None:
        """Take in the step that has come."""
        model = self.model
        self.take(row, max(model.context, 2 * model.patch))
        state = self.states.pop()
        size = 2 * model.patch if state is not None else model.patch  # with the one before it, from which it rises
        old = self.window
        cut = old._replace(**{n: getattr(old, n)[:, -size:] for n in ("values", "past", "future", "calendar")})
        before = self.values[:, -size : -model.patch]  # it was read, even if all of it is missing
        cut = cut._replace(values=torch.cat([before, cut.values[:, -model.patch :]], 1))
        seen = model.seen(cut, self.values[:, -size:], old.scale[:, None])[-1:]
        _, state = model.rnn(seen, state)
        self.states.insert(0, state)

    @torch.no_grad()
    def quantiles(self, future: Tensor, calendar: Tensor, levels: Sequence[float]) -> Tensor:
        """The forecast, (1, H, levels)."""
        model = self.model
        state = self.states[0]
        if state is None:
            raise ValueError("not even a patch has been read")
        values, known = self.values[:, -model.context :], self.window.values[:, -model.context :].isfinite()
        read = Read(state, values, known, self.window.scale[:, None])
        return model.said(model.numbers(read, self.ahead(future, calendar)), levels)


class AutoregressiveStream(ForecastStream):
    """The memory of a model that reads step by step."""

    def __init__(self, model: AutoregressiveForecaster, window: Window) -> None:
        super().__init__(model, window)
        self.model = model
        with torch.no_grad():
            self.state = model.begin(window)

    @torch.no_grad()
    def advance(self, row: Row) -> None:
        """Take in the step that has come."""
        model = self.model
        ahead = self.ahead(row.future[None], row.calendar[None])
        self.state = model.step(ahead, self.values, self.state)
        self.take(row, model.context)

    @torch.no_grad()
    def quantiles(self, future: Tensor, calendar: Tensor, levels: Sequence[float]) -> Tensor:
        """The forecast, (1, H, levels)."""
        paths = self.model.paths(self.ahead(future, calendar), self.values, self.state)
        return torch.quantile(paths, paths.new_tensor(list(levels)), 1).permute(1, 2, 0)


def stream(model: Forecasting, window: Window) -> ForecastStream:
    """The memory of a model after a context of one series."""
    if isinstance(model, PatchForecaster):
        return PatchStream(model, window)
    if isinstance(model, AutoregressiveForecaster):
        return AutoregressiveStream(model, window)
    raise TypeError(f"there is no stream of a {type(model).__name__}")
