"""The two forms that music is learned in, frames and events, as all that trains and measures sees them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.data.music import (
    EVENTS,
    KEYS,
    Pieces,
    Tune,
    beats_in,
    events_of,
    roll_of,
    room_of_events,
    room_of_roll,
    ticks_of,
    transposed_events,
    transposed_roll,
    tune_of_events,
    tune_of_roll,
)
from holdfast.models import FrameModel, LanguageModel
from holdfast.models.language import ModelState

from .options import ComposeOptions

Array = np.ndarray[Any, Any]

START = EVENTS
"""The token before the first event."""

_LOOKED_AT = 100  # pieces, among whose notes the longest is looked for
_SHOWN_GRID = 4  # frames a beat of the roll of events


class Form(ABC):
    """A form of music.

    Attributes:
        name: as the option names it.
        unit: what a step is, in words.
    """

    name: ClassVar[str]
    unit: ClassVar[str]

    @abstractmethod
    def build(self, options: ComposeOptions) -> nn.Module:
        """A fresh model."""

    @abstractmethod
    def before(self, piece: Array, begin: int, end: int) -> Array:
        """What stands one place before each step of a part of a piece, (T, …)."""

    @abstractmethod
    def together(self, parts: Sequence[Array]) -> Tensor:
        """Parts side by side, (T, B, …), as the model reads them."""

    @abstractmethod
    def nats(
        self, model: nn.Module, before: Tensor, after: Tensor, there: Tensor, state: ModelState | None
    ) -> tuple[Tensor, ModelState]:
        """Minus the logarithm of the probability of each step that is asked for, (T, B); and the state after them."""

    @abstractmethod
    def room(self, piece: Array) -> tuple[int, int]:
        """By how many semitones a piece can be moved down, and up."""

    @abstractmethod
    def transposed(self, piece: Array, by: int) -> Array:
        """A piece moved by semitones, for which there must be room."""

    @abstractmethod
    def beats(self, piece: Array, grid: int) -> float:
        """How long a piece is."""

    def facts(self, part: Pieces, grid: int) -> dict[str, Any]:
        """What a model must know of what was learned from, beside its weights."""
        return {}

    @abstractmethod
    def of(self, tune: Tune, grid: int) -> Array:
        """A tune in this form."""

    @abstractmethod
    def tune(self, piece: Array, grid: int, tempo: float, meter: tuple[int, int]) -> Tune:
        """A piece as a tune."""

    @abstractmethod
    def roll(self, piece: Array, grid: int) -> tuple[Array, int]:
        """A piece as a piano roll, (T, 88), and its frames a beat."""


class Frames(Form):
    """Which keys sound in each frame."""

    name = "frames"
    unit = "frames"

    def build(self, options: ComposeOptions) -> nn.Module:
        """A fresh model."""
        return FrameModel(keys=KEYS, head=options.head, **options.model())

    def before(self, piece: Array, begin: int, end: int) -> Array:
        """The frame before each; before the first one silence."""
        return piece[begin - 1 : end - 1] if begin else np.concatenate([np.zeros_like(piece[:1]), piece[: end - 1]])

    def together(self, parts: Sequence[Array]) -> Tensor:
        """Parts side by side, (T, B, 88)."""
        return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(part.astype(np.float32)) for part in parts])

    def nats(
        self, model: nn.Module, before: Tensor, after: Tensor, there: Tensor, state: ModelState | None
    ) -> tuple[Tensor, ModelState]:
        """Of each frame; see `Form`."""
        assert isinstance(model, FrameModel)
        framed = model(before, state)
        return model.nats(framed.features, before, after, there), framed.state

    def room(self, piece: Array) -> tuple[int, int]:
        """Within the keys; see `Form`."""
        return room_of_roll(piece)

    def transposed(self, piece: Array, by: int) -> Array:
        """A piece moved by semitones; see `Form`."""
        return transposed_roll(piece, by)

    def beats(self, piece: Array, grid: int) -> float:
        """How long a piece is."""
        return len(piece) / grid

    def of(self, tune: Tune, grid: int) -> Array:
        """A tune's roll."""
        return roll_of(tune, grid)[0]

    def tune(self, piece: Array, grid: int, tempo: float, meter: tuple[int, int]) -> Tune:
        """A piece as a tune."""
        return tune_of_roll(piece, grid, tempo, meter)

    def roll(self, piece: Array, grid: int) -> tuple[Array, int]:
        """The piece itself."""
        return piece, grid


class Events(Form):
    """What happens one after the other: a key goes down or up, time passes, the strength of what follows."""

    name = "events"
    unit = "events"

    def facts(self, part: Pieces, grid: int) -> dict[str, Any]:
        """Steps of the longest note, of some pieces, evenly from all."""
        which = np.linspace(0, len(part) - 1, min(len(part), _LOOKED_AT)).astype(np.int64)
        notes = (note for k in which for note in tune_of_events(part.of(int(k)), grid).notes)
        return {"longest": max(note.length for note in notes) * grid // ticks_of(grid)}

    def build(self, options: ComposeOptions) -> nn.Module:
        """A fresh model."""
        return LanguageModel(vocabulary=EVENTS + 1, input_dropout=options.dropout, **options.model())

    def before(self, piece: Array, begin: int, end: int) -> Array:
        """The event before each; before the first one the start."""
        return piece[begin - 1 : end - 1] if begin else np.concatenate([[START], piece[: end - 1]])

    def together(self, parts: Sequence[Array]) -> Tensor:
        """Parts side by side, (T, B)."""
        return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(part.astype(np.int64)) for part in parts])

    def nats(
        self, model: nn.Module, before: Tensor, after: Tensor, there: Tensor, state: ModelState | None
    ) -> tuple[Tensor, ModelState]:
        """Of each event; see `Form`."""
        assert isinstance(model, LanguageModel)
        output = model(before, state)
        return torch.where(there, model.loss(output.features, after), 0), output.state

    def room(self, piece: Array) -> tuple[int, int]:
        """Within the keys; see `Form`."""
        return room_of_events(piece)

    def transposed(self, piece: Array, by: int) -> Array:
        """A piece moved by semitones; see `Form`."""
        return transposed_events(piece, by)

    def beats(self, piece: Array, grid: int) -> float:
        """How long a piece is."""
        return beats_in(piece, grid)

    def of(self, tune: Tune, grid: int) -> Array:
        """A tune's events."""
        return events_of(tune, grid)

    def tune(self, piece: Array, grid: int, tempo: float, meter: tuple[int, int]) -> Tune:
        """A piece as a tune."""
        return tune_of_events(piece, grid, tempo, meter)

    def roll(self, piece: Array, grid: int) -> tuple[Array, int]:
        """The roll of its tune."""
        return roll_of(tune_of_events(piece, grid), _SHOWN_GRID)[0], _SHOWN_GRID


FORMS = {form.name: form for form in (Frames(), Events())}
