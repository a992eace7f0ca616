"""Forecasters: recurrent layers that read a series up to now, and say what comes, with how sure they are of it.

All read values relative to themselves: a patch of steps minus its last value, over a scale that belongs to the series.
So a forecast moves and stretches with its series, and the state depends on nothing that comes later: it can be carried
on as new values arrive.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from holdfast.layers import checks
from holdfast.layers.tracing import State

from .language import layer_class
from .likelihoods import Likelihood, likelihood

_SEEN_AS_NEW = 0.1  # the share of training windows whose series is not told, so that new ones can be forecast
_STILL = 0.1  # scales: a series that moves less in its context is taken to move so much
_POSITION = 0.1  # deviation of what first stands for a place in the horizon
_PATHS = 100  # of a forecast that is drawn
_ROWS = 1 << 15  # paths that are drawn at once


BASES = ("last", "mixture", "linear")
"""What a patch forecaster's numbers can be added to, by name."""


class Window(NamedTuple):
    """Some series up to now, and what is known beside them. L steps have been, H are to come.

    Attributes:
        values: NaN where missing, and before a series begins; (B, L).
        past: what is known up to now, (B, L, P).
        future: what is known of the steps to come too, (B, L + H, F).
        calendar: the place of a step in the day, the week and the year, (B, L + H, C).
        static: of each series, (B, S).
        series: the number of each, from 1 on; 0 for one that was not learned from; (B,).
        scale: of each series, how far its values usually are from those up to a horizon before, (B,).
    """

    values: Tensor
    past: Tensor
    future: Tensor
    calendar: Tensor
    static: Tensor
    series: Tensor
    scale: Tensor


class Numbers(NamedTuple):
    """What a network says of each step to come: the likelihood reads it.

    Attributes:
        numbers: (B, H, size).
        base: the first guess, (B, H).
        scale: (B, 1).
    """

    numbers: Tensor
    base: Tensor
    scale: Tensor


class Unrolled(NamedTuple):
    """Windows and what came as one sequence of the layers, from the first step that is read to the last that is said.

    Attributes:
        inputs: of the layers, (T, B, hidden).
        reset: where series begin, (T, B); None if all have begun.
        numbers: what the layers' output says, (T, B, hidden), or its last steps alone.
        targets: what that is about, (B, S), NaN where missing.
        last: how many of the targets the last step of the layers is about.
    """

    inputs: Tensor
    reset: Tensor | None
    numbers: Callable[[Tensor], Numbers]
    targets: Tensor
    last: int


class Read(NamedTuple):
    """What is remembered of the steps that have been.

    Attributes:
        state: of the layers.
        values: the last L steps, filled forward, (B, L).
        known: which of them were known, (B, L).
        scale: (B, 1).
    """

    state: State
    values: Tensor
    known: Tensor
    scale: Tensor


def filled(values: Tensor) -> Tensor:
    """Each missing value as the last known one before it; before the first one, as the first one; 0 where none is.

    >>> filled(torch.tensor([[float("nan"), 1.0, float("nan"), 3.0]])).tolist()
    [[1.0, 1.0, 1.0, 3.0]]
    """
    known = values.isfinite()
    places = torch.arange(values.shape[-1], device=values.device).expand_as(values)
    first = known.int().argmax(-1, keepdim=True)
    last = torch.where(known, places, first).cummax(-1).values
    return values.gather(-1, last).nan_to_num(0.0)


class Forecasting(nn.Module, ABC):
    """What all forecasters have in common.

    `calibration` says what widens or narrows the intervals, as plain JSON, once they were measured on validation data;
    it is saved with the weights.

    Args:
        horizon: H, the steps that are forecast.
        context: L, the steps that are read.
        levels: of the quantiles that are learned, rising.
        likelihood: how a step's numbers are read: "quantiles", "student-t" or "negative-binomial".
        seasons: lengths of seasons in steps.
        series: how many series there are; each is told to the model. 0: none is.
        past, future, calendar, static: how many columns a window has of each.
        gaps: whether values are missing, so that it must be told which.
        cell: which layers, a name in `CELLS`.
        hidden: units of a layer.
        layers: how many are stacked.
        dropout: before the output, and between layers.

    Attributes:
        calibration: None before it is measured.
        evaluated: how many windows are enough for an evaluation while training.
    """

    evaluated: ClassVar[int]

    def __init__(
        self,
        *,
        horizon: int,
        context: int,
        levels: Sequence[float],
        likelihood_name: str = "quantiles",
        seasons: Sequence[int] = (),
        series: int = 0,
        past: int = 0,
        future: int = 0,
        calendar: int = 0,
        static: int = 0,
        gaps: bool = False,
        cell: str = "lstm",
        hidden: int = 128,
        layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, size in {"horizon": horizon, "context": context, "hidden": hidden, "layers": layers}.items():
            checks.whole(name, size)
        checks.probability("dropout", dropout)
        for season in seasons:
            checks.whole("a season", season)
        self.horizon, self.context, self.levels = horizon, context, tuple(levels)
        self.seasons = tuple(m for m in seasons if m <= context)
        self.likelihood: Likelihood = likelihood(likelihood_name, levels)
        self.told = {"past": past, "future": future, "calendar": calendar, "static": static}
        self.gaps = gaps
        self.rnn = layer_class(cell)(hidden, hidden, layers, dropout=dropout if layers > 1 else 0.0)
        self.drop = nn.Dropout(dropout)
        self.series = nn.Embedding(series + 1, hidden) if series else None
        if self.series is not None:
            nn.init.normal_(self.series.weight, std=_POSITION)
            nn.init.zeros_(self.series.weight[:1])
        self.static = nn.Linear(static, hidden, bias=False) if static else None
        self.calibration: dict[str, Any] | None = None

    def get_extra_state(self) -> Tensor:
        """The calibration, as bytes in a tensor."""
        return torch.tensor(list(json.dumps(self.calibration).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take a calibration from bytes."""
        self.calibration = json.loads(bytes(state.tolist()))

    def about(self, series: Tensor, static: Tensor) -> Tensor | float:
        """What is told of each series, whatever the step; (B, hidden)."""
        found: Tensor | float = 0.0
        if self.series is not None:
            if self.training:
                series = series.where(torch.rand(series.shape, device=series.device) >= _SEEN_AS_NEW, 0)
            found = found + self.series(series)
        if self.static is not None:
            found = found + self.static(static)
        return found

    def mean_loss(self, found: Numbers, targets: Tensor) -> Tensor:
        """The mean loss of the targets that are known."""
        known = targets.isfinite()
        scale = found.scale.expand_as(found.base)
        each = self.likelihood.loss(found.numbers[known], found.base[known], scale[known], targets[known])
        return each.sum() / max(1, len(each))

    def loss(self, window: Window, targets: Tensor) -> Tensor:
        """The mean loss of what is said.

        Args:
            window: what has been.
            targets: what came, (B, H), NaN where missing.
        """
        one = self.unrolled(window, targets)
        output, _ = self.rnn(one.inputs, reset=one.reset)
        return self.mean_loss(one.numbers(output), one.targets)

    @abstractmethod
    def unrolled(self, window: Window, targets: Tensor) -> Unrolled:
        """All that the layers do for a loss, as one sequence."""

    @abstractmethod
    def middle(self, window: Window) -> Tensor:
        """A forecast that gradients flow through: the median, of counts the mean; (B, H)."""

    def middle_of(self, found: Numbers) -> Tensor:
        """The middle of what was said, (B, H)."""
        return self.likelihood.middle(found.numbers, found.base, found.scale.expand_as(found.base))

    @abstractmethod
    def quantiles(self, window: Window, levels: Sequence[float]) -> Tensor:
        """The forecast, (B, H, levels), in the units of the values."""


class PatchForecaster(Forecasting):
    """Reads a series patch by patch, and writes the patches to come in one go, each with its quantiles.

    >>> model = PatchForecaster(horizon=4, context=12, patch=2, levels=(0.1, 0.5, 0.9), seasons=(4,), hidden=8)
    >>> nothing = torch.zeros(3, 16, 0)
    >>> beside = (nothing[:, :12], nothing, nothing, nothing[:, 0])
    >>> one = Window(torch.randn(3, 12), *beside, series=torch.zeros(3).long(), scale=torch.ones(3))
    >>> model.quantiles(one, (0.1, 0.5, 0.9)).shape
    torch.Size([3, 4, 3])

    A forecast is a first guess and what the layers add to it. With patches of one step this is an encoder and a decoder
    that go step by step.

    Args:
        patch: how many steps the layers take at once.
        base: what the first guess is. "last": the last value. "mixture": of that and of the values one season before,
            for each season, weighed by what the layers have read. "linear": a linear map of the context, learned with
            the layers.
        others: as `Forecasting` has them.
    """

    evaluated = 4096

    def __init__(self, *, patch: int, base: str = "last", **others: Any) -> None:
        super().__init__(**others)
        checks.whole("patch", patch)
        if base not in BASES:
            raise ValueError(f"base must be one of {', '.join(BASES)}; got {base!r}")
        if patch > self.context:
            raise ValueError(f"patch must be at most the context, {self.context}; got {patch}")
        hidden = self.rnn.hidden_size
        self.patch = patch
        self.count = math.ceil(self.horizon / patch)  # patches to come
        told = self.told
        seen = patch * (1 + self.gaps + told["past"] + told["future"]) + 1 + told["calendar"]
        self.into = nn.Linear(seen, hidden)
        self.place = nn.Parameter(torch.randn(self.count, hidden) * _POSITION)
        ahead = patch * told["future"] + told["calendar"]
        self.ahead = nn.Linear(ahead, hidden, bias=False) if ahead else None
        self.guesses = 1 + len(self.seasons) if base == "mixture" else 1
        self.out = nn.Linear(hidden, patch * self.likelihood.size)
        self.weigh = nn.Linear(hidden, self.guesses) if base == "mixture" else None
        self.linear = nn.Linear(self.context, self.horizon) if base == "linear" else None
        if self.linear is not None:
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)

    # Reading.

    def patches(self, window: Window, values: Tensor, scale: Tensor) -> Tensor:
        """What the layers read, a patch a step, (T, B, features)."""
        size, told = self.patch, self.told
        length = values.shape[1] // size * size
        cut = values[:, -length:].unflatten(1, (-1, size))  # (B, T, P)
        ends = cut[..., -1:]
        begun = _cut_known(window.values, size)[:, :-1].cummax(1).values.unsqueeze(-1)  # before the first, none is read
        rise = torch.cat([torch.zeros_like(ends[:, :1]), (ends[:, 1:] - ends[:, :-1]).where(begun, 0.0)], 1)
        parts = [(cut - ends) / scale.unsqueeze(-1), rise / scale.unsqueeze(-1)]
        if self.gaps:
            parts.append(window.values[:, -length:].isfinite().unflatten(1, (-1, size)).to(values.dtype))
        until = values.shape[1]
        if told["past"]:
            parts.append(_cut(window.past[:, until - length : until], size))
        if told["future"]:
            parts.append(_cut(window.future[:, until - length : until], size))
        if told["calendar"]:
            parts.append(window.calendar[:, until - length + size - 1 : until : size])
        return torch.cat(parts, -1).transpose(0, 1)

    def seen(self, window: Window, values: Tensor, scale: Tensor) -> Tensor:
        """What goes into the layers, (T, B, hidden)."""
        return torch.relu(self.into(self.patches(window, values, scale)))

    def read(self, window: Window, values: Tensor, scale: Tensor) -> State:
        """The state after all patches that end where the values end."""
        _, state = self.rnn(self.seen(window, values, scale), reset=_starts(_cut_known(window.values, self.patch)))
        return state

    def begin(self, window: Window) -> Read:
        """Read what has been."""
        values, scale = filled(window.values), window.scale.unsqueeze(-1)
        state, known = self.read(window, values, scale), window.values.isfinite()
        return Read(state, values[:, -self.context :], known[:, -self.context :], scale)

    # Saying what comes.

    def asked(self, window: Window) -> Tensor:
        """What goes into the layers for the patches to come, (N, B, hidden)."""
        asked = self.place.unsqueeze(1) + self.about(window.series, window.static)  # (N, B, hidden)
        if self.ahead is not None:
            asked = asked + self.ahead(self.coming(window))
        return asked.expand(-1, len(window.scale), -1)

    def numbers(self, read: Read, window: Window) -> Numbers:
        """What comes after what was read."""
        output, _ = self.rnn(self.asked(window), read.state)
        return self.answered(output, read.values, read.known, read.scale)

    def answered(self, output: Tensor, values: Tensor, known: Tensor, scale: Tensor) -> Numbers:
        """What the layers' output for the patches to come, (N, B, hidden), says after the last L values."""
        said = self.drop(output).transpose(0, 1)  # (B, N, hidden)
        numbers = self.out(said).unflatten(-1, (self.patch, -1)).flatten(1, 2)[:, : self.horizon]
        numbers = self.likelihood.stretched(numbers, movement(values, known, scale))
        return Numbers(numbers, self.guess(values, scale, said), scale)

    def guess(self, values: Tensor, scale: Tensor, said: Tensor) -> Tensor:
        """What the numbers are added to, (B, H)."""
        last = values[:, -1:]
        if self.weigh is not None:
            weights = self.weigh(said).softmax(-1).repeat_interleave(self.patch, 1)[:, : self.horizon]
            return (simple(values, self.seasons, self.horizon) * weights).sum(-1)
        if self.linear is not None:
            return last + scale * self.linear((values - last) / scale)
        return last.expand(-1, self.horizon)

    def coming(self, window: Window) -> Tensor:
        """What is known of the patches to come, (N, B, features); beyond the horizon it is as in its last step."""
        length = self.count * self.patch
        parts = []
        for name, table in (("future", window.future), ("calendar", window.calendar)):
            if self.told[name]:
                ahead = table[:, -self.horizon :]
                ahead = torch.cat([ahead, ahead[:, -1:].expand(-1, length - ahead.shape[1], -1)], 1)
                parts.append(_cut(ahead, self.patch) if name == "future" else ahead[:, self.patch - 1 :: self.patch])
        return torch.cat(parts, -1).transpose(0, 1)

    def unrolled(self, window: Window, targets: Tensor) -> Unrolled:
        """The patches that have been, and then those to come."""
        values, scale = filled(window.values), window.scale.unsqueeze(-1)
        inputs = torch.cat([self.seen(window, values, scale), self.asked(window)])
        reset = _starts(_cut_known(window.values, self.patch))
        if reset is not None:
            reset = torch.cat([reset, reset.new_zeros(self.count, reset.shape[1])])
        last = self.horizon - (self.count - 1) * self.patch
        known = window.values.isfinite()

        def said(output: Tensor) -> Numbers:
            return self.answered(output[-self.count :], values, known, scale)

        return Unrolled(inputs, reset, said, targets, last)

    def middle(self, window: Window) -> Tensor:
        """The median, of counts the mean; (B, H)."""
        return self.middle_of(self.numbers(self.begin(window), window))

    def quantiles(self, window: Window, levels: Sequence[float]) -> Tensor:
        """The forecast, (B, H, levels)."""
        return self.said(self.numbers(self.begin(window), window), levels)

    def said(self, found: Numbers, levels: Sequence[float]) -> Tensor:
        """Numbers as quantiles."""
        return self.likelihood.quantiles(found.numbers, found.base, found.scale.expand_as(found.base), levels)


class AutoregressiveForecaster(Forecasting):
    """Says what the next step is, draws it, reads what was drawn, and so on (Salinas 2020, DeepAR).

    What a step reads is the value before it, those one season before, and what is known of the step. A forecast is the
    quantiles of many paths, so its steps belong together, and it can go on for as long as one likes.

    >>> model = AutoregressiveForecaster(horizon=4, context=12, levels=(0.1, 0.5, 0.9), seasons=(4,), hidden=8)
    >>> nothing = torch.zeros(3, 16, 0)
    >>> beside = (nothing[:, :12], nothing, nothing, nothing[:, 0])
    >>> one = Window(torch.randn(3, 12), *beside, series=torch.zeros(3).long(), scale=torch.ones(3))
    >>> model.quantiles(one, (0.1, 0.5, 0.9)).shape
    torch.Size([3, 4, 3])

    Args:
        options: as `Forecasting` has them.
    """

    evaluated = 512

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        hidden, told = self.rnn.hidden_size, self.told
        seen = 1 + len(self.seasons) + self.gaps + told["past"] + told["future"] + told["calendar"]
        self.into = nn.Linear(seen, hidden)
        self.out = nn.Linear(hidden, self.likelihood.size)
        self.weigh = nn.Linear(hidden, 1 + len(self.seasons))

    def guesses(self, values: Tensor) -> Tensor:
        """For each value the first guesses of what follows: itself, and what followed one season before; (B, T, G)."""
        length = values.shape[1]
        ago = [torch.cat([values[:, :1].expand(-1, season - 1), values], 1)[:, :length] for season in self.seasons]
        return torch.stack([values, *ago], -1)

    def seen(self, values: Tensor, guesses: Tensor, scale: Tensor, beside: Tensor) -> Tensor:
        """What goes into the layers at each value, (T, B, hidden).

        Args:
            values: filled forward, with the one before them in front; (B, 1 + T).
            guesses: of what follows each, (B, T, G).
            scale: (B, 1).
            beside: what else is known there, (B, T, …).
        """
        here = values[:, 1:, None]
        changes = torch.cat([here - values[:, :-1, None], guesses[..., 1:] - here], -1) / scale.unsqueeze(-1)
        return torch.relu(self.into(torch.cat([changes, beside], -1))).transpose(0, 1)

    def beside(self, window: Window, known: Tensor) -> Tensor:
        """What else is known at each value when the next is to be said, (B, L + H - 1, …).

        Whether the value itself is known, the past columns there, and what is known of the next step.
        """
        parts = [window.future[:, 1:], window.calendar[:, 1:]]
        steps = known.shape[1]
        if self.told["past"]:
            ahead = steps - window.past.shape[1]
            held = window.past[:, -1:].expand(-1, max(0, ahead), -1)
            parts.insert(0, torch.cat([window.past, held], 1)[:, :steps])
        if self.gaps:
            parts.insert(0, known.to(window.scale.dtype).unsqueeze(-1))
        return torch.cat(parts, -1)

    def said(self, output: Tensor, guesses: Tensor, scale: Tensor, about: Tensor | float) -> Numbers:
        """What the layers' output, (T, B, hidden), says of what follows."""
        features = self.drop(output + about).transpose(0, 1)
        base = (guesses * self.weigh(features).softmax(-1)).sum(-1)
        return Numbers(self.out(features), base, scale)

    def unrolled(self, window: Window, targets: Tensor) -> Unrolled:
        """All steps that follow a known value: those of the context are said too, from what was before them."""
        every = torch.cat([window.values, targets], 1)  # (B, L + H)
        values, known = filled(every)[:, :-1], every.isfinite()[:, :-1]
        scale, guesses = window.scale.unsqueeze(-1), self.guesses(values)
        seen = self.seen(_with_one_before(values), guesses, scale, self.beside(window, known))
        about = self.about(window.series, window.static)
        return Unrolled(
            seen,
            _starts(known),
            lambda output: self.said(output, guesses[:, -len(output) :], scale, about),
            every[:, 1:].where(known.cummax(1).values, torch.nan),
            last=1,
        )

    def middle(self, window: Window) -> Tensor:
        """The path on which each step is the middle of what is said of it, (B, H)."""
        return self.path(window, filled(window.values), self.begin(window), lambda found, _: self.middle_of(found))

    def begin(self, window: Window) -> State | None:
        """The state after what has been, but for the last value; None where there is only that.

        Of a series that begins with its last value it is the one that all begin with.
        """
        if window.values.shape[1] < 2:
            return None
        values, known = filled(window.values)[:, :-1], window.values.isfinite()[:, :-1]
        beside = self.beside(window, self.known_ahead(window))[:, : values.shape[1]]
        seen = self.seen(_with_one_before(values), self.guesses(values), window.scale.unsqueeze(-1), beside)
        _, state = self.rnn(seen, reset=_starts(known))
        begun = known.any(1)[:, None]
        return _each(state, lambda t: t.where(begun, 0.0))

    def known_ahead(self, window: Window) -> Tensor:
        """Which values are known, of those that were and of those that will be drawn, as far as `beside` goes."""
        known, steps = window.values.isfinite(), window.future.shape[1] - 1
        return torch.cat([known, known.new_ones(len(known), max(0, steps - known.shape[1]))], 1)[:, :steps]

    def step(self, window: Window, values: Tensor, state: State | None) -> State:
        """The state after the last value too.

        Args:
            window: with what is known of one step to come at least.
            values: those that have been, filled forward.
            state: after all but the last value.
        """
        beside = self.beside(window, self.known_ahead(window))[:, window.values.shape[1] - 1 :][:, :1]
        found: State = self.last(values, window.scale.unsqueeze(-1), beside, state)[1]
        return found

    def last(self, values: Tensor, scale: Tensor, beside: Tensor, state: State | None) -> tuple[Tensor, State, Tensor]:
        """The layers' output and state after the last value, and the guesses of what follows it."""
        reach = min(max((2, *self.seasons)), values.shape[1])
        guesses = self.guesses(values[:, -reach:])[:, -1:]
        pair = _with_one_before(values)[:, -2:] if values.shape[1] == 1 else values[:, -2:]
        output, state = self.rnn(self.seen(pair, guesses, scale, beside), state)
        return output, state, guesses

    def quantiles(self, window: Window, levels: Sequence[float]) -> Tensor:
        """The quantiles of paths, (B, H, levels)."""
        at_once = max(1, _ROWS // _PATHS)
        found = []
        for some in zip(*(t.split(at_once) for t in window)):
            one = Window(*some)
            found.append(self.paths(one, filled(one.values), self.begin(one)))
        return torch.cat([torch.quantile(p, p.new_tensor(list(levels)), 1) for p in found], 1).permute(1, 2, 0)

    def paths(self, window: Window, values: Tensor, state: State | None, count: int = _PATHS, seed: int = 0) -> Tensor:
        """Paths that are drawn, (B, count, H).

        Args:
            window: with what is known of the steps to come.
            values: those that have been, filled forward.
            state: after all of them but the last.
            count: how many.
            seed: of the draws.
        """
        drawn = torch.rand(count, self.horizon, generator=torch.Generator().manual_seed(seed))
        levels = drawn.to(values.device).repeat(len(values), 1)  # the same for all: none depends on its neighbours

        def drawn_at(found: Numbers, ahead: int) -> Tensor:
            scales = found.scale.expand_as(found.base)
            return self.likelihood.at(found.numbers, found.base, scales, levels[:, ahead : ahead + 1])

        many = Window(*(t.repeat_interleave(count, 0) for t in window))
        values = values.repeat_interleave(count, 0)
        state = None if state is None else _each(state, lambda t: t.repeat_interleave(count, 1))
        return self.path(many, values, state, drawn_at).unflatten(0, (-1, count))

    def path(
        self, window: Window, values: Tensor, state: State | None, take: Callable[[Numbers, int], Tensor]
    ) -> Tensor:
        """The steps to come, (B, H): of each a value is taken from what is said of it, (B, 1), and read again."""
        scale, about = window.scale.unsqueeze(-1), self.about(window.series, window.static)
        beside = self.beside(window, self.known_ahead(window))[:, window.values.shape[1] - 1 :]  # (B, H, …)
        for ahead in range(beside.shape[1]):
            output, state, guesses = self.last(values, scale, beside[:, ahead : ahead + 1], state)
            values = torch.cat([values, take(self.said(output, guesses, scale, about), ahead)], 1)
        return values[:, -beside.shape[1] :]


def simple(values: Tensor, seasons: Sequence[int], horizon: int) -> Tensor:
    """Forecasts that need no learning: the last value, and the values one season before; (B, H, 1 + seasons).

    >>> simple(torch.tensor([[1.0, 2.0, 3.0]]), (2,), 3).tolist()
    [[[3.0, 2.0], [3.0, 3.0], [3.0, 2.0]]]
    """
    ahead = torch.arange(horizon, device=values.device)
    found = [values[:, -1:].expand(-1, horizon)]
    found += [values[:, values.shape[1] - season + ahead % season] for season in seasons]
    return torch.stack(found, -1)


def _starts(known: Tensor) -> Tensor | None:
    """Where each series begins whose first steps are missing, (T, B); None if there is none."""
    if bool(known[:, 0].all()):
        return None
    first = known.int().argmax(1)
    return (torch.arange(known.shape[1], device=known.device)[:, None] == first) & known.any(1)


def movement(values: Tensor, known: Tensor, scale: Tensor) -> Tensor:
    """How much each series moved since it began, in scales; (B, 1).

    >>> movement(torch.tensor([[9.0, 1.0, 3.0]]), torch.tensor([[False, True, True]]), torch.tensor([[2.0]])).tolist()
    [[0.5]]

    Args:
        values: filled forward, (B, L).
        known: which were known, (B, L).
        scale: (B, 1).
    """
    begun = known.cummax(1).values
    count = begun.sum(1, keepdim=True).clamp(min=1)
    mean = (values * begun).sum(1, keepdim=True) / count
    variance = ((values - mean).square() * begun).sum(1, keepdim=True) / count
    return (variance.sqrt() / scale).clamp(min=_STILL)


def _cut_known(values: Tensor, size: int) -> Tensor:
    """Which patches hold a known value, (B, T)."""
    length = values.shape[1] // size * size
    return values[:, -length:].isfinite().unflatten(1, (-1, size)).any(-1)


def _each(state: State, change: Callable[[Tensor], Tensor]) -> State:
    return change(state) if isinstance(state, Tensor) else tuple(change(t) for t in state)


def _with_one_before(values: Tensor) -> Tensor:
    """The values with the first one once more in front, (B, 1 + T)."""
    return torch.cat([values[:, :1], values], 1)


def _cut(table: Tensor, size: int) -> Tensor:
    """(B, T·size, C) as (B, T, size·C)."""
    return table.unflatten(1, (-1, size)).flatten(2)
