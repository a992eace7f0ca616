"""Pictures of pieces, as a pianola's roll of paper shows them, and of shares side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from holdfast.microscope.axes import Axis
from holdfast.microscope.svg import FONT_SIZE, SMALL, figure, line, text, text_width

Array = np.ndarray[Any, Any]

_MIDDLE_C, _OCTAVE = 60 - 21, 12  # as keys; the first one of a roll is MIDI note 21
_BARS = 16  # in a row of a piano roll, at most
_AROUND = 2  # keys above and below those that are used

_WIDTH = 760.0  # of a piano roll
_KEY = 4.0  # the height of a key
_NOTE = 3.4  # and of the note on it
_LEFT, _RIGHT = 34.0, 8.0  # of the rows
_BENEATH = 30.0  # a row, down to the next
_NUMBERS = 22.0  # beneath the last row, for the numbers of its bars
_LEGEND, _BARE = 26.0, 6.0  # above the first row, with a legend and without

_CHART, _HEIGHT = 420.0, 240.0  # the size of a bar chart
_FILLED = 0.8  # of the room that a place of a bar chart has
_ROW = FONT_SIZE + 7  # the height of a row of text
_SAMPLE = 14.0  # the size of a colour's sample in a legend

_STYLE = """<style>
.holdfast-figure .fill-1 { fill: var(--figure-line-1, var(--line-1)); }
.holdfast-figure .fill-2 { fill: var(--figure-line-2, var(--line-2)); }
.holdfast-figure .octave { stroke: var(--figure-grid, var(--grid)); stroke-width: .75; }
.holdfast-figure .bar { stroke: var(--figure-quiet, var(--quiet)); stroke-width: .75; stroke-opacity: .55; }
</style>"""


class _Note(NamedTuple):
    """A key that sounds from a frame up to another one, before which it stops."""

    key: int
    start: int
    stop: int
    given: bool


class _Row(NamedTuple):
    """Some bars of a piano roll, and where they are drawn: one of the rows below each other."""

    start: float  # in frames; bars need not begin at one
    stop: float
    low: int  # the lowest key
    high: int  # and the highest
    top: float
    frame: float  # the width of a frame

    @property
    def bottom(self) -> float:
        return self.top + _KEY * (self.high - self.low + 1)

    def across(self, frame: float) -> float:
        return _LEFT + self.frame * (frame - self.start)

    def down(self, key: float) -> float:
        """The middle of a key."""
        return self.bottom - _KEY * (key - self.low + 0.5)


def piano_roll(
    roll: Array,
    *,
    grid: int,
    meter: tuple[int, int],
    title: str,
    given: int = 0,
    top_given: bool = False,
) -> str:
    """A piece as bars of colour, time to the right and keys upwards, as SVG; long ones take several rows.

    A note that goes on in the next row, or from what is given into what is composed, is drawn in two pieces.

    >>> roll = np.zeros((32, 88), np.uint8)
    >>> roll[:16, 60 - 21] = roll[16:, 64 - 21] = 1
    >>> picture = piano_roll(roll, grid=4, meter=(4, 4), title="Two notes", given=16)
    >>> picture.startswith("<svg"), ">C4</text>" in picture, ">composed</text>" in picture
    (True, True, True)

    Args:
        roll: (T, 88), frames by the keys of a piano, from A0.
        grid: the frames of a beat, a quarter note.
        meter: the time signature, such as (3, 4).
        title: what the figure shows, for readers who cannot see it; it is not drawn.
        given: so many frames at the beginning were not composed but given, and have a colour of their own.
        top_given: whether the highest note of each frame was given.
    """
    if roll.ndim != 2 or roll.shape[1] != 88:
        raise ValueError(f"roll must be (T, 88), frames by the keys of a piano; got {roll.shape}")
    if grid < 1 or min(meter) < 1:
        raise ValueError(f"grid and meter must be positive; got {grid} and {meter}")
    keys = roll != 0
    bar = grid * 4 * meter[0] / meter[1]  # frames, maybe not a whole number
    marked = given > 0 or top_given
    rows = _rows(keys, bar, _LEGEND if marked else _BARE)
    notes = list(_notes(_colours(keys, given, top_given)))
    parts = [_STYLE, *(_legend(((2, "given"), (1, "composed")), _LEFT) if marked else [])]
    for row in rows:
        parts += _paper(row, bar)
        parts += [_drawn(note, row) for note in notes if note.start < row.stop and note.stop > row.start]
    return figure(title, _WIDTH, rows[-1].bottom + _NUMBERS, parts)


def _rows(keys: Array, bar: float, top: float) -> list[_Row]:
    """The rows of a piano roll, of whole bars, about as many in each; there is at least one bar."""
    bars = max(1, math.ceil(len(keys) / bar))
    rows = math.ceil(bars / _BARS)
    each = math.ceil(bars / rows)
    low, high = _range(keys)
    apart = _KEY * (high - low + 1) + _BENEATH
    frame = (_WIDTH - _LEFT - _RIGHT) / (each * bar)
    ends = [min(k * each, bars) * bar for k in range(rows + 1)]
    return [_Row(a, b, low, high, top + k * apart, frame) for k, (a, b) in enumerate(pairwise(ends))]


def _range(keys: Array) -> tuple[int, int]:
    """The lowest and the highest key to draw: some around those that sound, and a C, to know which they are."""
    used = np.flatnonzero(keys.any(0))
    if used.size == 0:
        return _MIDDLE_C, _MIDDLE_C + _OCTAVE
    low, high = max(0, int(used[0]) - _AROUND), min(87, int(used[-1]) + _AROUND)
    below = low - (low - _MIDDLE_C) % _OCTAVE  # the next C
    if below + _OCTAVE <= high:
        return low, high
    return (below, high) if below >= 0 else (low, below + _OCTAVE)


def _colours(keys: Array, given: int, top_given: bool) -> Array:
    """What each key of each frame is: 0 silent, 1 composed, 2 given, (T, 88)."""
    theirs = np.zeros_like(keys)
    theirs[:given] = True
    if top_given:
        theirs |= np.cumsum(keys[:, ::-1], axis=1)[:, ::-1] == 1  # the highest key, and silent ones below
    return np.where(keys, 1 + theirs, 0)


def _notes(colours: Array) -> Iterator[_Note]:
    """The notes of a piece, key by key."""
    of_keys = np.pad(colours.T, ((0, 0), (1, 1)))  # (88, 1 + T + 1)
    now, before, after = of_keys[:, 1:-1], of_keys[:, :-2], of_keys[:, 2:]
    starts = np.argwhere((now > 0) & (now != before))
    ends = np.argwhere((now > 0) & (now != after))
    for (key, start), (_, end) in zip(starts.tolist(), ends.tolist()):
        yield _Note(key, start, end + 1, bool(colours[start, key] == 2))


def _paper(row: _Row, bar: float) -> list[str]:
    """What notes are drawn on: a line at each C, with its name, and one at each bar, with its number."""
    parts = []
    left, right = row.across(row.start), row.across(row.stop)
    for key in range(row.low, row.high + 1):
        octave, step = divmod(key - _MIDDLE_C, _OCTAVE)
        if step == 0:
            level = row.down(key)
            parts.append(line(left, level, right, level, "octave"))
            parts.append(text(left - 6, level + 4, f"C{4 + octave}", "end", "quiet"))
    for number in range(round(row.start / bar), round(row.stop / bar) + 1):
        place = row.across(number * bar)
        parts.append(line(place, row.top, place, row.bottom, "bar"))
        if number * bar < row.stop:
            parts.append(text(place, row.bottom + SMALL + 3, str(number + 1), "middle", "quiet"))
    return parts


def _drawn(note: _Note, row: _Row) -> str:
    """As much of a note as is in a row."""
    left, right = row.across(max(note.start, row.start)), row.across(min(note.stop, row.stop))
    return _rectangle(left, row.down(note.key) - _NOTE / 2, right - left, _NOTE, 2 if note.given else 1)


def bar_pairs(
    labels: Sequence[str],
    data: Sequence[float],
    samples: Sequence[float],
    *,
    title: str,
    x_label: str,
    y_label: str,
) -> str:
    """A chart with two bars at each place, from 0 upwards, as SVG.

    >>> chart = bar_pairs(["C", "D"], [0.75, 0.25], [0.5, 0.5], title="Tones", x_label="tone", y_label="share")
    >>> chart.startswith("<svg"), ">D</text>" in chart, ">samples</text>" in chart
    (True, True, True)

    Args:
        labels: what each place is; where there is no room for all, some are left out.
        data: the height of the first bar of each.
        samples: that of the second.
        title: what the figure shows, for readers who cannot see it; it is not drawn.
        x_label: what the places are.
        y_label: what the heights measure.
    """
    if not len(labels) == len(data) == len(samples):
        raise ValueError(f"bars need as many labels; got {len(labels)} for {len(data)} and {len(samples)}")
    y = Axis(0.0, max([*data, *samples], default=0.0) or 1.0)
    left, top = 2 * _ROW + max(text_width(name, SMALL) for _, name in y.ticks()), _LEGEND + 6
    right, bottom = _CHART - 10, _HEIGHT - 2.4 * _ROW
    parts = [_STYLE, *_legend(((1, "data"), (2, "samples")), left)]
    for value, name in y.ticks():
        level = bottom - y.place(value) * (bottom - top)
        parts.append(line(left, level, right, level, "grid"))
        parts.append(text(left - 6, level + 4, name, "end", "quiet"))
    room = (right - left) / max(1, len(labels))
    every = max(1, math.ceil((max(map(_label_width, labels), default=0.0) + 4) / room))
    for k, (label, *heights) in enumerate(zip(labels, data, samples)):
        middle = left + (k + 0.5) * room
        for colour, height in enumerate(heights, start=1):
            wide, high = _FILLED * room / 2, y.place(height) * (bottom - top)
            parts.append(_rectangle(middle + (colour - 2) * wide, bottom - high, wide, high, colour))
        if k % every == 0:
            parts.append(text(middle, bottom + 17, label, "middle", "quiet"))
    parts.append(text((left + right) / 2, bottom + 17 + _ROW, x_label, "middle"))
    parts.append(text(FONT_SIZE + 2, (top + bottom) / 2, y_label, "middle", turned=True))
    return figure(title, _CHART, _HEIGHT, parts)


def _label_width(label: str) -> float:
    return text_width(label, SMALL)


def _legend(names: Iterable[tuple[int, str]], left: float) -> list[str]:
    """A sample of each colour with its name, side by side."""
    parts = []
    for colour, name in names:
        parts.append(_rectangle(left, 5, _SAMPLE, _SAMPLE - 4, colour))
        parts.append(text(left + _SAMPLE + 6, 14.5, name))
        left += _SAMPLE + 6 + text_width(name) + 18
    return parts


def _rectangle(x: float, y: float, width: float, height: float, colour: int) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.2f}" height="{height:.2f}" class="fill-{colour}"/>'
