"""A text whose letters are coloured by a number each: what a unit does while a model reads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .colours import colour_map, suited
from .svg import FONT_SIZE, figure, letters, pixels, text, text_width

_LETTER, _SIZE = 7.2, 12  # the width of a letter, and its font size
_ROW, _BAR = 18.0, 3.0  # the height of a row of letters, and of the bar beneath it
_PALE = 0.6  # how much of a colour is left, so that letters can be read on all
_BAR_COLOUR = (0, 114, 178)
_SCALE = 100.0  # the width of the colour scale


def coloured_text(
    content: str,
    values: ArrayLike,
    *,
    title: str,
    signal: ArrayLike | None = None,
    limits: tuple[float, float] | None = None,
    columns: int = 80,
) -> str:
    """A text as a figure, each letter on the colour of its number.

    >>> picture = coloured_text("He said\\n“no”.", range(13), title="A unit", signal=[0] * 8 + [1] * 3 + [0] * 2)
    >>> picture.startswith("<svg"), "“no”." in picture, picture.count("<image")
    (True, True, 5)

    Args:
        content: the text; a row ends with its line.
        values: a number for each character.
        title: what the figure shows, for readers who cannot see it; it is not drawn.
        signal: what is shown beneath each letter as a bar, the darker the larger; the least is not drawn.
        limits: the numbers at both ends of the colour scale; by default they suit the values.
        columns: the most letters of a row.
    """
    cells = np.asarray(values, dtype=np.float64)
    if not content or cells.shape != (len(content),):
        raise ValueError(f"values must be one number for each of {len(content)} characters; got {cells.shape}")
    palette, (low, high) = suited(cells)
    low, high = limits or (low, high)
    if not low < high:
        raise ValueError(f"limits must be two numbers, the lower first; got {(low, high)}")
    colours = _pale(colour_map((cells - low) / (high - low), palette))  # (characters, 4)
    bars = None if signal is None else _bars(np.asarray(signal, dtype=np.float64), len(content))
    parts = [*_colour_scale(palette, low, high)]
    top = _ROW + 4
    widest = 0
    for start, stop in _rows(content, columns):
        width = (stop - start) * _LETTER
        parts.append(pixels(0, top, width, _ROW, colours[None, start:stop]))
        parts.append(letters(0, top + _ROW - 5, content[start:stop], _LETTER, _SIZE))
        if bars is not None:
            parts.append(pixels(0, top + _ROW + 1, width, _BAR, bars[None, start:stop]))
        top += _ROW + (_BAR + 4 if bars is not None else 2)
        widest = max(widest, stop - start)
    return figure(title, max(widest * _LETTER, 3 * _SCALE), top, parts)


def _rows(content: str, columns: int) -> Iterator[tuple[int, int]]:
    """Where each row starts and stops: after a newline, or where it is full."""
    start = 0
    for place, letter in enumerate(content, 1):
        if letter == "\n" or place - start == columns or place == len(content):
            yield start, place
            start = place


def _pale(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pale = colours.copy()
    pale[:, :3] = 255 - _PALE * (255.0 - colours[:, :3])
    return pale


def _bars(signal: NDArray[np.float64], count: int) -> NDArray[np.uint8]:
    """One colour, as opaque as the signal is large, (characters, 4)."""
    if signal.shape != (count,):
        raise ValueError(f"signal must be one number for each of {count} characters; got {signal.shape}")
    span = float(np.ptp(signal)) or 1.0
    bars = np.empty((count, 4), np.uint8)
    bars[:, :3] = _BAR_COLOUR
    bars[:, 3] = 255 * (signal - signal.min()) / span
    return bars


def _colour_scale(palette: str, low: float, high: float) -> Iterator[str]:
    """The colour scale above the text, between its numbers."""
    names = [f"{value:.3g}".replace("-", "−") for value in (low, high)]
    left = text_width(names[0]) + 6
    yield text(0, FONT_SIZE, names[0], kind="quiet")
    yield pixels(left, 3, _SCALE, FONT_SIZE - 2, _pale(colour_map(np.linspace(0, 1, 64), palette))[None])
    yield text(left + _SCALE + 6, FONT_SIZE, names[1], kind="quiet")
