"""One labelled sequence: what it may hold, how its label is read, and why it cannot be used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from ..numbers import number
from ..sources import DataError

if TYPE_CHECKING:
    from ..audio.mel import Mel

Content = str | np.ndarray[Any, Any]

_SHOWN = 40  # characters of a cell that a message shows


@dataclass(frozen=True)
class Reading:
    """How examples are read: which columns say what, and what a label is.

    Files without columns (folders, `.ts`, `.npz`) say themselves what is what.

    >>> Reading(text="review", label="stars", numeric=True).named
    ('review', 'stars')

    Attributes:
        text: the column of texts, or in JSON lines and Parquet of lists of numbers; else the one that is called `text`,
            `review`, `sentence`, `content`, `comment`, `message`, `tweet`, `body` or `document`.
        label: the column of labels; else the one that is called `label`, `sentiment`, `class`, `category`, `target`,
            `rating` or `y`.
        series: of tables of numbers with a row for each step: the column that says which sequence a row belongs to.
        channels: of those, the columns of numbers; else every other column that has a name.
        labelled: whether there must be labels. Where not, they are read if they are there.
        numeric: whether labels are numbers, else they are classes.
        audio: of tables that list recordings: the column of their paths, which are relative to the table's folder.
        mel: how recordings become frames. Where it is known, tables list recordings unless another column is named;
            the column of their paths may then be the one that is called `path`, `file`, `audio`, `wav` or `filename`.

    Raises:
        DataError: a column has two roles, or is named for a table of another kind.
    """

    text: str = ""
    label: str = ""
    series: str = ""
    channels: tuple[str, ...] = ()
    labelled: bool = True
    numeric: bool = False
    audio: str = ""
    mel: Mel | None = None

    def __post_init__(self) -> None:
        if isinstance(self.channels, str):
            raise DataError(f"channels must be a list of columns, got {self.channels!r}")
        object.__setattr__(self, "channels", tuple(self.channels))
        contents = [repr(name) for name in (self.text, self.series, self.audio) if name]
        if len(contents) > 1:
            raise DataError(
                "name a column of texts, one that tells series apart, or one of recordings; "
                f"got {' and '.join(contents)}"
            )
        if self.channels and not self.series:
            raise DataError("channels are named in tables with a row for each step: name the column of series too")
        doubles = [name for name in self.named if self.named.count(name) > 1]
        if doubles:
            raise DataError(f"the column {doubles[0]!r} must have one role, got {self.named.count(doubles[0])}")

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` and JSON have made of one.

        >>> Reading.from_dict({"series": "id", "channels": ["x", "y"], "mel": None}).channels
        ('x', 'y')
        """
        from ..audio.mel import Mel  # whose package reads examples' faults

        mel = held.get("mel")
        return cls(**{**held, "mel": mel and Mel(**mel)})

    @property
    def lists_recordings(self) -> bool:
        """Whether tables list recordings.

        >>> Reading(audio="path").lists_recordings, Reading(text="review").lists_recordings
        (True, False)
        """
        return bool(self.audio) or (self.mel is not None and not self.text and not self.series)

    @property
    def named(self) -> tuple[str, ...]:
        """All columns that are named.

        >>> Reading(series="id", channels=("x", "y")).named
        ('id', 'x', 'y')
        """
        return tuple(name for name in (self.text, self.label, self.series, self.audio, *self.channels) if name)


class Example(NamedTuple):
    """A labelled sequence, or why it cannot be used.

    Attributes:
        where: where it stands: "reviews.csv, line 17".
        content: a text, or numbers in float32, (steps, channels), NaN where one is missing; None if there is a fault.
        label: a class, a number if labels are numeric, or None if there is none.
        fault: why it cannot be used; empty if it can.
    """

    where: str
    content: Content | None
    label: str | float | None
    fault: str = ""


@dataclass(frozen=True)
class Kind:
    """The sequences that a model reads.

    >>> Kind(channels=2).fault_of(np.zeros((5, 3)))
    '3 channels, but the model learned from 2'

    Attributes:
        channels: of series; 0: texts are read.
        gaps: whether values of series may be missing.
    """

    channels: int
    gaps: bool = True

    def fault_of(self, content: Content) -> str:
        """Why a model cannot read a sequence, in a few words; empty if it can."""
        text = isinstance(content, str)
        if text != (self.channels == 0):
            kinds = ("a text", "series") if text else ("a series", "texts")
            return f"{kinds[0]}, but the model reads {kinds[1]}"
        return "" if isinstance(content, str) else self._fault_of_series(content)

    def _fault_of_series(self, series: np.ndarray[Any, Any]) -> str:
        if series.shape[1] != self.channels:
            return f"{series.shape[1]} channels, but the model learned from {self.channels}"
        if not self.gaps and np.isnan(series).any():
            return "a missing value (NaN), but the model learned from series without any"
        return ""


class Fault(Exception):
    """Why an example cannot be used, in a few words."""


def example(where: str, content: Any, label: Any, reading: Reading) -> Example:
    """An example from what a file holds.

    >>> example("a.csv, line 2", "a fine film", " pos ", Reading())
    Example(where='a.csv, line 2', content='a fine film', label='pos', fault='')
    >>> example("a.csv, line 3", "a fine film", "", Reading()).fault
    'the label is missing'

    Args:
        where: where it stands.
        content: a text, an array (steps, channels), or a list of numbers or of lists of numbers.
        label: a text, a number, or None.
        reading: what labels are.
    """
    faults = []
    try:
        content = content_of(content)
    except Fault as fault:
        faults.append(str(fault))
    try:
        label = label_of(label, reading)
    except Fault as fault:
        label = None
        faults.append(str(fault))
    return Example(where, None if faults else content, label, faults[0] if faults else "")


def content_of(held: Any) -> Content:
    """A text or a series from what a file holds.

    >>> content_of([1, None, 3]).tolist()
    [[1.0], [nan], [3.0]]

    Raises:
        Fault: it is empty or neither, or a number is infinite.
    """
    if isinstance(held, str):
        if not held or held.isspace():
            raise Fault("the text is empty")
        return held
    if held is None or (isinstance(held, float) and math.isnan(held)):
        raise Fault("the text is empty")
    if isinstance(held, list):
        held = _stacked(held)
    if not isinstance(held, np.ndarray):
        raise Fault(f"{shown(held)} is neither a text nor a list of numbers")
    if len(held) == 0:
        raise Fault("the series has no steps")
    if held.shape[1] == 0:
        raise Fault("the series has no channels")
    with np.errstate(over="ignore"):
        series = held.astype(np.float32)
    if np.isinf(series).any():
        raise Fault("an infinite value" if np.isinf(held).any() else "a value too large for a number of 32 bits")
    return series


def label_of(held: Any, reading: Reading) -> str | float | None:
    """A label from what a file holds: a class, or a number if labels are numeric.

    >>> label_of(3.0, Reading()), label_of("3", Reading(numeric=True))
    ('3', 3.0)

    Raises:
        Fault: it is missing but needed, or is no label.
    """
    label = _value(held) if reading.numeric else _class(held)
    if label is None and reading.labelled:
        raise Fault("the label is missing")
    return label


def shown(held: Any) -> str:
    """A cell for a message, cut where it is long.

    >>> shown("abc"), shown("no end " * 1000)
    ("'abc'", "'no end no end no end no end no end no en…'")
    """
    if isinstance(held, str):
        return repr(held) if len(held) <= _SHOWN else repr(held[:_SHOWN] + "…")
    if isinstance(held, bool | int | float):
        return f"{held}"[:_SHOWN]
    return "nothing" if held is None else f"a {type(held).__name__}"


def _value(held: Any) -> float | None:
    try:
        value = number(held)
    except ValueError:
        raise Fault(f"the label {shown(held)} is not a number") from None
    if math.isinf(value):
        raise Fault(f"the label {shown(held)} is not finite")
    return None if math.isnan(value) else value


def _class(held: Any) -> str | None:
    if isinstance(held, str):
        return held.strip() or None
    if held is None:
        return None
    if isinstance(held, bool):
        return str(held).lower()
    if isinstance(held, float):
        if math.isnan(held):
            return None
        return str(int(held)) if held.is_integer() else str(held)  # a column with gaps makes 1 into 1.0
    if isinstance(held, int):
        return str(held)
    raise Fault(f"the label is {shown(held)}, which names no class")


def _stacked(steps: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Lists as an array; (steps, channels)."""
    rows = [step if isinstance(step, list) else [step] for step in steps]
    widths = sorted({len(row) for row in rows})
    if len(widths) > 1:
        raise Fault(f"steps of {widths[0]} and of {widths[-1]} channels")
    return np.array([[_in_list(value) for value in row] for row in rows], np.float64)


def _in_list(value: Any) -> float:
    try:
        return number(value)
    except ValueError:
        raise Fault(f"{shown(value)} is not a number") from None
