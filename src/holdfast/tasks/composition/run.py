"""A trained composer: new pieces, what goes on from a prompt, and voices below a melody."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from holdfast.data.music import KEYS, SHIFT, SHIFTS, Tune
from holdfast.models import FrameModel, LanguageModel, Sampling, choose

from ..fitting import Fitted
from .forms import FORMS, START, Form
from .options import ComposeOptions

Array = np.ndarray[Any, Any]

PARTICLES = 64  # harmonisations that are kept in mind
_CROWD = 64  # events after which time must pass


@dataclass(frozen=True)
class Composed:
    """A piece that was composed.

    Attributes:
        piece: in the run's form.
        tune: its notes.
        beats: how long it is.
        roll: of it, (T, 88).
        grid: frames of the roll a beat.
        given: frames of the roll that were given.
        melody: whether the highest notes were given.
    """

    piece: Array
    tune: Tune
    beats: float
    roll: Array
    grid: int
    given: int = 0
    melody: bool = False

    @property
    def ticks(self) -> int:
        """How long it is, in ticks of its tune."""
        return round(self.beats * self.tune.beat)

    @property
    def bars(self) -> float:
        """How long it is, in bars."""
        return self.beats / beats_of(self.tune.meter)


def beats_of(meter: tuple[int, int]) -> float:
    """Beats, which are quarter notes, of a bar.

    >>> beats_of((6, 8))
    3.0
    """
    above, below = meter
    return 4 * above / below


class ComposeRun(Fitted):
    """A model that was trained on music."""

    options: ComposeOptions

    @property
    def form(self) -> Form:
        """The form of its music."""
        return FORMS[self.facts["form"]]

    @property
    def grid(self) -> int:
        """Frames, or steps of an event's time, a beat."""
        return int(self.facts["grid"])

    @property
    def meter(self) -> tuple[int, int]:
        """Of what it composes."""
        above, below = self.facts["meter"]
        return int(above), int(below)

    def end_of(self, bars: int, meter: tuple[int, int], before: int = 0) -> int:
        """With which frame, or step of an event's time, so many bars end.

        Args:
            bars: how many.
            meter: of them.
            before: frames or steps that are there, in front of them; the last bar of these is whole, too.

        Raises:
            ValueError: the bars end between two frames.
        """
        above, below = meter
        bar = Fraction(4 * self.grid * above, below)
        there = ceil(before / bar)
        end = bar * (there + bars)
        if end.denominator != 1:
            better = next(k for k in itertools.count(bars) if (bar * (there + k)).denominator == 1)
            raise ValueError(
                f"{bars} bars of {above}/{below} end between two frames, of which a beat has {self.grid}: choose "
                f"{better} bars"
            )
        return int(end)

    def compose(
        self,
        bars: int = 16,
        *,
        prompt: Tune | None = None,
        count: int = 1,
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> list[Composed]:
        """New pieces.

        Args:
            bars: how many are composed; after a prompt, from the first bar line after its end on.
            prompt: what the pieces go on from, in its tempo and meter; it is their beginning, and its last bar is
                filled.
            count: how many pieces.
            sampling: how they are drawn; by default as the model says.
            seed: of the draws.

        Raises:
            ValueError: the bars end between two frames, the prompt is empty, or a frame of independent keys cannot be
                drawn in this way.
        """
        sampling = sampling or Sampling()
        self._check(sampling)
        given = None if prompt is None else self._of(prompt, "prompt")
        there = 0 if given is None else round(self.form.beats(given, self.grid) * self.grid)
        steps = self.end_of(bars, prompt.meter if prompt else self.meter, there) - there
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            made = self._continued(given, steps, count, sampling, generator)
        before = 0 if given is None else len(self._roll(given)[0])
        return [self._composed(piece, prompt, before) for piece in made]

    def harmonise(
        self, melody: Tune, *, count: int = 1, sampling: Sampling | None = None, seed: int = 0
    ) -> list[Composed]:
        """Other voices below a melody: the highest notes of a tune.

        Many harmonisations are kept in mind; those of which the melody goes on as it does are the ones that go on (a
        particle filter, Gordon 1993), so that a chord prepares the notes of the melody to come.

        Args:
            melody: the tune; of its notes only the highest at each time are read.
            count: how many harmonisations.
            sampling: how the other voices are drawn; by default as the model says.
            seed: of the draws.

        Raises:
            ValueError: the run is not of frames, or the tune is empty.
        """
        sampling = sampling or Sampling()
        self._check(sampling)
        model = self.model
        if not isinstance(model, FrameModel):
            raise ValueError("only a run of frames can harmonise: in events it is not known which note is the highest")
        top = torch.from_numpy(highest(self._of(melody, "melody")))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            made = _harmonised(model, top, count, sampling, generator)
        return [self._composed(piece, melody, 0, melody=True) for piece in made]

    def _of(self, tune: Tune, what: str) -> Array:
        """A tune in the run's form."""
        found = self.form.of(tune, self.grid)
        if not len(found):
            raise ValueError(f"the {what} has no note on the piano's keys")
        return found

    def _check(self, sampling: Sampling) -> None:
        if self.options.head == "independent" and self.form.name == "frames" and sampling.top_p < 1:
            raise ValueError("top_p chooses among many keys, and the keys of this run are independent of each other")

    def _continued(
        self, given: Array | None, steps: int, count: int, sampling: Sampling, generator: Generator
    ) -> list[Array]:
        if isinstance(self.model, FrameModel):
            return _frames(self.model, given, steps, count, sampling, generator)
        assert isinstance(self.model, LanguageModel)
        longest = int(self.facts["longest"])
        return [_events(self.model, given, steps, longest, sampling, generator) for _ in range(count)]

    def _roll(self, piece: Array) -> tuple[Array, int]:
        return self.form.roll(piece, self.grid)

    def _composed(self, piece: Array, of: Tune | None, given: int, melody: bool = False) -> Composed:
        tempo, meter = (of.tempo, of.meter) if of else (self.facts["tempo"], self.meter)
        tune = self.form.tune(piece, self.grid, tempo, meter)
        beats = self.form.beats(piece, self.grid)
        return Composed(piece, tune, beats, *self._roll(piece), given, melody)


def highest(roll: Array) -> Array:
    """The highest key of each frame, -1 where none sounds, (T,).

    >>> highest(np.array([[1, 1, 0], [0, 0, 0]])).tolist()
    [1, -1]
    """
    found: Array = np.where(roll.any(1), roll.shape[1] - 1 - roll[:, ::-1].argmax(1), -1)
    return found


def _frames(
    model: FrameModel, given: Array | None, steps: int, count: int, sampling: Sampling, generator: Generator
) -> list[Array]:
    """Frames after those that are given, several pieces side by side."""
    stream = model.stream(count)
    stream.read(torch.zeros(count, model.keys))
    known = np.zeros((0, model.keys), np.uint8) if given is None else given
    for frame in torch.from_numpy(known.astype(np.float32)):
        stream.read(frame.expand(count, -1))
    drawn = []
    for _ in range(steps):
        frames = stream.draw(sampling, generator).frames  # (B, K)
        stream.read(frames)
        drawn.append(frames.numpy(force=True).astype(np.uint8))
    new = np.stack(drawn, 1)  # (B, T, K)
    return [np.concatenate([known, piece]) for piece in new]


def _harmonised(model: FrameModel, top: Tensor, count: int, sampling: Sampling, generator: Generator) -> list[Array]:
    """Frames whose highest keys are given, (T,), by a particle filter for each piece."""
    rows = count * PARTICLES
    stream = model.stream(rows)
    stream.read(torch.zeros(rows, model.keys))
    made = torch.zeros(len(top), rows, model.keys, dtype=torch.uint8)
    weights = torch.zeros(count, PARTICLES, dtype=torch.float64)  # logarithms
    for t, key in enumerate(top):
        drawn = stream.draw(sampling, generator, key.expand(rows))
        stream.read(drawn.frames)
        made[t] = drawn.frames.to(torch.uint8).cpu()
        weights = (weights - drawn.nats.double().cpu().view_as(weights)).log_softmax(-1)
        effective = 1 / weights.exp().square().sum(-1)  # (count,), particles that count
        poor = effective < PARTICLES / 2
        if poor.any():
            chosen = torch.arange(PARTICLES).expand(count, -1).clone()
            chosen[poor] = weights[poor].exp().multinomial(PARTICLES, replacement=True, generator=generator)
            weights[poor] = 0.0
            lines = (chosen + PARTICLES * torch.arange(count)[:, None]).flatten()
            stream.choose(lines)
            made[: t + 1] = made[: t + 1, lines]
    best = weights.exp().multinomial(1, generator=generator)[:, 0] + PARTICLES * torch.arange(count)
    return [made[:, int(k)].numpy() for k in best]


def _events(
    model: LanguageModel, given: Array | None, steps: int, longest: int, sampling: Sampling, generator: Generator
) -> Array:
    """Events after those that are given, until so many steps of time have passed.

    Only a key that is up can go down, and only one that is down can go up; it does so after as long as the longest note
    that was learned from, at the latest. Where too much happens at once, only time may pass. What sounds in the end is
    ended by the bar's end.
    """
    stream = model.stream(1)
    known = np.zeros(0, np.int64) if given is None else given.astype(np.int64)
    logs = stream.read(torch.from_numpy(np.concatenate([[START], known]))[:, None])  # (1, V)
    keys = _Keys(model.vocabulary, longest)
    for token in known.tolist():
        keys.move(token)
    found, left = [*known.tolist()], steps
    while left > 0:
        token = keys.overdue()
        if token is None:
            token = int(
                choose(logs.masked_fill(~keys.possible().to(logs.device), float("-inf")), sampling, generator=generator)
            )
        passed = max(0, token - SHIFT + 1) if token < SHIFT + SHIFTS else 0
        token -= max(0, passed - left)
        left -= passed
        keys.move(token)
        found.append(token)
        logs = stream.step(torch.tensor([token]))
    return np.array(found)


class _Keys:
    """Which keys are down while events come, and what can come next.

    Args:
        vocabulary: tokens that the model knows.
        longest: steps after which a key goes up at the latest.
    """

    def __init__(self, vocabulary: int, longest: int) -> None:
        numbers = torch.arange(vocabulary)
        self._shifts = (numbers >= SHIFT) & (numbers < SHIFT + SHIFTS)
        self._others = numbers >= SHIFT + SHIFTS
        self._others[START] = False
        self._longest = longest
        self._down: dict[int, int] = {}  # of a key: since when
        self._now = self._crowd = 0

    def move(self, token: int) -> None:
        """An event has come."""
        self._crowd += 1
        if token < KEYS:
            self._down[token] = self._now
        elif token < SHIFT:
            self._down.pop(token - KEYS, None)
        elif self._shifts[token]:
            self._now += token - SHIFT + 1
            self._crowd = 0

    def overdue(self) -> int | None:
        """The event that lets a key go that has been down for too long."""
        late = [key for key, since in self._down.items() if self._now - since >= self._longest]
        return KEYS + late[0] if late else None

    def possible(self) -> Tensor:
        """The events that can come, (V,)."""
        shifts = self._shifts.clone()
        if self._down:  # time does not pass beyond the moment at which a key must go up
            shifts[SHIFT + self._longest - (self._now - min(self._down.values())) :] = False
        if self._crowd >= _CROWD:
            return shifts
        down = torch.zeros(KEYS, dtype=torch.bool)
        down[[*self._down]] = True
        found = shifts | self._others
        found[:KEYS], found[KEYS:SHIFT] = ~down, down
        return found
