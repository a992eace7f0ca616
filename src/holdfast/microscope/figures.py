"""Figures as SVG text, for a page or a file: no script, no plotting library.

Each figure is one `<svg>` element that scales to the width it is given and follows the reader's light or dark mode; a
page can set the colours itself by the variables `--figure-ink`, `--figure-quiet`, `--figure-grid`, `--figure-missing`
and `--figure-line-1` to `--figure-line-4`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .axes import Axis, drawable
from .colours import colour_map
from .svg import FONT_SIZE, SMALL, figure, line, pixels, text, text_width

_WIDTH = 420.0
_ROW = FONT_SIZE + 7  # the height of a row of text
_MARGIN = 10.0  # between the frame and what stands at its edge
_FEW = 12  # points of a line, each of which was measured for itself and is shown as a dot
_BAR = 6.0  # the width of a band at a single place
_SAMPLE = 22.0  # the length of a line's sample in the legend
_STRIP = 14.0  # the height of a strip of colours beneath a chart


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        label: its name in the legend.
        x: the places along the horizontal axis.
        y: the values; where one cannot be drawn (NaN, infinite, or not positive on a logarithmic axis) the line breaks.
        colour: 1 to 4.
        dashed: whether it is drawn dashed.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 1
    dashed: bool = False

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"series {self.label!r} needs as many x as y; got {len(self.x)} and {len(self.y)}")
        _check_colour(self.colour)


def numbered(k: int, label: str, x: Sequence[float], y: Sequence[float]) -> Series:
    """The line of a chart with the number k, from 0: colours take turns, and from the fifth on lines are dashed."""
    return Series(label, x, y, 1 + k % 4, k // 4 % 2 == 1)


@dataclass(frozen=True)
class Band:
    """An area of a chart between two values at each place, such as an interval.

    Attributes:
        label: its name in the legend.
        x: the places along the horizontal axis.
        low, high: its ends; where one of them cannot be drawn (as in `Series`) the band breaks.
        colour: 1 to 4.
    """

    label: str
    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    colour: int = 1

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.low) == len(self.high):
            raise ValueError(
                f"band {self.label!r} needs as many x as low and high; got {len(self.x)}, {len(self.low)} and "
                f"{len(self.high)}"
            )
        _check_colour(self.colour)


def _check_colour(colour: int) -> None:
    if colour not in range(1, 5):
        raise ValueError(f"colour must be 1, 2, 3 or 4; got {colour!r}")


@dataclass(frozen=True)
class _Frame:
    """The rectangle in which the data are drawn, and its two axes."""

    left: float
    top: float
    width: float
    height: float
    x: Axis
    y: Axis

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def across(self, value: float) -> float:
        return self.left + self.x.place(value) * self.width

    def down(self, value: float) -> float:
        return self.bottom - self.y.place(value) * self.height


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    bands: Sequence[Band] = (),
    log_x: bool = False,
    log_y: bool = False,
    y_limits: tuple[float, float] | None = None,
    reference: tuple[float, str] | None = None,
    strip: Sequence[float] = (),
    height: float = 280.0,
) -> str:
    """A chart of lines, and of bands behind them, with a legend above it.

    >>> chart = line_chart([Series("LSTM", [0, 1, 2], [0.9, 0.1, 0.004])], title="Error", x_label="step",
    ...                    y_label="error", log_y=True, reference=(0.167, "guessing the mean"))
    >>> chart.startswith("<svg"), "guessing the mean" in chart, ">0.01</text>" in chart
    (True, True, True)

    Args:
        series: the lines.
        title: what the figure shows, for readers who cannot see it; it is not drawn.
        x_label: what the horizontal axis counts.
        y_label: what the vertical axis measures.
        bands: the areas behind the lines, of one colour the widest first: each is drawn over those before it, and so
            is its sample in the legend.
        log_x, log_y: whether an axis is logarithmic.
        y_limits: the ends of the vertical axis; by default those of the values.
        reference: a value to draw a dotted line at, with its name.
        strip: a number for each of the places 1, 2, … of the horizontal axis, drawn beneath the lines as a colour: red
            above 0, blue below, the stronger the farther from it.
        height: of the figure, where its width is 420.
    """
    legend, legend_height = _legend(series, bands)
    shown = [value for one in series for value in one.y] + ([reference[0]] if reference else [])
    shown += [value for one in bands for value in (*one.low, *one.high)]
    y = Axis.around(shown, log_y) if y_limits is None else Axis(*y_limits, log_y)
    places = [value for one in series for value in one.x] + [value for one in bands for value in one.x]
    x = Axis(0.5, len(strip) + 0.5) if strip else Axis.around(places, log_x)  # the cells of a strip are centred
    left = 2 * _ROW + max(text_width(name, SMALL) for _, name in y.ticks())
    top = legend_height + _MARGIN
    beneath = _STRIP if strip else 0.0
    frame = _Frame(left, top, _WIDTH - left - 2 * _MARGIN, height - top - 2.4 * _ROW - beneath, x, y)
    parts = [*legend, *_axes(frame, x_label, y_label, beneath)]
    if strip:
        cells = np.asarray(strip, np.float64)[np.newaxis]
        low, high = _limits(cells, "diverging")
        shades = colour_map((cells - low) / (high - low), "diverging")
        parts.append(pixels(frame.left, frame.bottom + 2, frame.width, beneath - 2, shades))
    for band in bands:
        parts += _filled(band, frame)
    for one in series:
        parts += _drawn(one, frame)
    if reference is not None:
        level = frame.down(reference[0])
        parts.append(line(frame.left, level, frame.right, level, "reference"))
        parts.append(text(frame.right, level - 5, reference[1], "end", "quiet"))
    return figure(title, _WIDTH, height, parts)


def heat_map(
    matrix: ArrayLike,
    *,
    title: str,
    x_label: str,
    y_label: str,
    limits: tuple[float, float] | None = None,
    palette: str = "sequential",
    marks: Mapping[int, str] | None = None,
    height: float = 190.0,
) -> str:
    """A matrix as colours, a row a line and a column a step, with its colour scale.

    >>> picture = heat_map([[0.0, 0.5, 1.0], [1.0, 0.5, float("nan")]], title="Gates", x_label="step", y_label="unit",
    ...                    limits=(0, 1), marks={2: "marked"})
    >>> picture.startswith("<svg"), picture.count("data:image/png"), ">marked</text>" in picture
    (True, 2, True)

    Args:
        matrix: (rows, columns); the first row is drawn at the top; NaN is drawn as missing.
        title: what the figure shows, for readers who cannot see it; it is not drawn.
        x_label: what the columns are; they are counted from 1.
        y_label: what the rows are.
        limits: the numbers at both ends of the colour scale; by default those of the matrix, and with the diverging
            palette ± the largest absolute one.
        palette: "sequential", or "diverging" for signed numbers.
        marks: columns, counted from 0, to point at from above, each with its text.
        height: of the figure, where its width is 420.
    """
    cells = np.asarray(matrix, dtype=np.float64)
    if cells.ndim != 2 or 0 in cells.shape:
        raise ValueError(f"matrix must have two axes, rows and columns, and at least one cell; got {cells.shape}")
    low, high = limits or _limits(cells, palette)
    if not low < high:
        raise ValueError(f"limits must be two numbers, the lower first; got {(low, high)}")
    columns = cells.shape[1]
    top = _ROW + _MARGIN if marks else _MARGIN
    steps = Axis(0.5, columns + 0.5)
    frame = _Frame(1.6 * _ROW, top, _WIDTH - 5.6 * _ROW, height - top - 2.2 * _ROW, steps, Axis(low, high))
    box = (frame.left, frame.top, frame.width, frame.height)
    return figure(
        title,
        _WIDTH,
        height,
        [
            '<rect x="{:g}" y="{:g}" width="{:g}" height="{:g}" class="missing"/>'.format(*box),
            pixels(*box, colour_map((cells - low) / (high - low), palette)),
            *_columns(frame, columns, x_label),
            text(frame.left - 8, frame.top + frame.height / 2, y_label, "middle", turned=True),
            *_marks(frame, marks or {}, columns),
            *_scale(frame, palette),
        ],
    )


def _legend(series: Sequence[Series], bands: Sequence[Band]) -> tuple[list[str], float]:
    """Samples of all lines and bands with their names, in columns and as few rows as will do, and the height of it."""
    shown: list[Series | Band] = [*series, *bands]
    wide = _SAMPLE + 24 + max((text_width(one.label) for one in shown), default=0)
    rows = math.ceil(len(shown) / max(1, (_WIDTH - 2 * _MARGIN) // wide))
    parts: list[str] = []
    layers: Counter[int] = Counter()  # of bands, by colour
    for k, one in enumerate(shown):
        column, row = divmod(k, rows)
        x, y = _MARGIN + column * wide, _ROW * (row + 1)
        if isinstance(one, Series):
            parts.append(line(x, y - 4, x + _SAMPLE, y - 4, _stroke(one)))
        else:
            layers[one.colour] += 1
            sample = f'<rect x="{x:g}" y="{y - 10:g}" width="{_SAMPLE:g}" height="12" class="{_fill(one)}"/>'
            parts += [sample] * layers[one.colour]
        parts.append(text(x + _SAMPLE + 8, y, one.label))
    return parts, _ROW * rows + _MARGIN / 2


def _axes(frame: _Frame, x_label: str, y_label: str, beneath: float) -> list[str]:
    """Grid lines, ticks and labels of a chart; so much room is left between it and what stands beneath it."""
    parts = []
    floor = frame.bottom + beneath
    for value, name in frame.y.ticks():
        level = frame.down(value)
        parts.append(line(frame.left, level, frame.right, level, "grid"))
        parts.append(text(frame.left - 6, level + 4, name, "end", "quiet"))
    for value, name in frame.x.ticks():
        place = frame.across(value)
        parts.append(line(place, floor, place, floor + 4, "grid"))
        parts.append(text(place, floor + 17, name, "middle", "quiet"))
    parts.append(text(frame.left + frame.width / 2, floor + 17 + _ROW, x_label, "middle"))
    parts.append(text(FONT_SIZE + 2, frame.top + frame.height / 2, y_label, "middle", turned=True))
    return parts


def _drawn(series: Series, frame: _Frame) -> list[str]:
    """A line in one piece or, where values are missing, in several; a piece of one point is a dot, and so are few."""
    parts = []
    for piece in _pieces(frame, series.x, series.y):
        points = [f"{frame.across(x):.1f},{frame.down(y):.1f}" for x, y in piece]
        points = points if len(points) > 1 else points * 2  # with round ends, a line of no length is a dot
        parts.append(f'<polyline points="{" ".join(points)}" class="{_stroke(series)}"/>')
        if len(series.x) <= _FEW:
            parts += [
                f'<circle cx="{frame.across(x):.1f}" cy="{frame.down(y):.1f}" r="2" class="dot line-{series.colour}"/>'
                for x, y in piece
            ]
    return parts


def _filled(band: Band, frame: _Frame) -> list[str]:
    """A band in one piece or, where values are missing, in several; a piece of one place is a bar."""
    parts = []
    for piece in _pieces(frame, band.x, band.low, band.high):
        places = [frame.across(x) for x, _, _ in piece]
        if len(piece) == 1:
            piece, places = piece * 2, [places[0] - _BAR / 2, places[0] + _BAR / 2]
        above = [f"{place:.1f},{frame.down(high):.1f}" for place, (_, _, high) in zip(places, piece)]
        below = [f"{place:.1f},{frame.down(low):.1f}" for place, (_, low, _) in zip(places, piece)]
        parts.append(f'<polygon points="{" ".join([*above, *reversed(below)])}" class="{_fill(band)}"/>')
    return parts


def _pieces(frame: _Frame, *columns: Sequence[float]) -> Iterable[list[tuple[float, ...]]]:
    """Stretches of places and their values in which all can be drawn."""
    piece: list[tuple[float, ...]] = []
    for x, *values in zip(*columns):
        if drawable(x, frame.x.log) and all(drawable(value, frame.y.log) for value in values):
            piece.append((x, *values))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _stroke(series: Series) -> str:
    return f"line line-{series.colour}" + (" dashed" if series.dashed else "")


def _fill(band: Band) -> str:
    return f"band band-{band.colour}"


def _limits(cells: np.ndarray, palette: str) -> tuple[float, float]:
    """The range of the colour scale that shows all of a matrix."""
    finite = cells[np.isfinite(cells)]
    if palette == "diverging":
        largest = float(np.abs(finite).max(initial=0)) or 1.0
        return -largest, largest
    if finite.size == 0 or finite.min() == finite.max():
        low = float(finite[0]) if finite.size else 0.0
        return low, low + 1.0
    return float(finite.min()), float(finite.max())


def _columns(frame: _Frame, columns: int, x_label: str) -> list[str]:
    """The numbers of the steps below a heat map."""
    parts = []
    for value, name in [(1.0, "1"), *((v, n) for v, n in frame.x.ticks() if 1 < v <= columns and v == round(v))]:
        place = frame.across(value)
        parts.append(line(place, frame.bottom, place, frame.bottom + 4, "grid"))
        parts.append(text(place, frame.bottom + 16, name, "middle", "quiet"))
    parts.append(text(frame.left + frame.width / 2, frame.bottom + 16 + _ROW, x_label, "middle"))
    return parts


def _marks(frame: _Frame, marks: Mapping[int, str], columns: int) -> list[str]:
    """A small triangle above each marked column, with its text where that does not run into the one before."""
    parts = []
    free = 0.0
    for column, name in sorted(marks.items()):
        if column not in range(columns):
            raise ValueError(f"marks must be columns from 0 to {columns - 1}; got {column}")
        place, tip = frame.across(column + 1), frame.top - 2
        parts.append(f'<path d="M{place:.1f} {tip:.1f}l-4 -7h8z" class="mark"/>')
        half = text_width(name, SMALL) / 2
        if place - half >= free:
            parts.append(text(place, tip - 11, name, "middle", "quiet"))
            free = place + half + 4
    return parts


def _scale(frame: _Frame, palette: str) -> list[str]:
    """The colour scale at the right, with its numbers."""
    left, wide = frame.right + 14, 10.0
    shades = colour_map(np.linspace(1, 0, 64)[:, np.newaxis], palette)
    parts = [pixels(left, frame.top, wide, frame.height, shades)]
    low, high = frame.y.low, frame.y.high
    for value in (low, (low + high) / 2, high):
        name = f"{value:.3g}".replace("-", "−")
        parts.append(text(left + wide + 5, frame.down(value) + 4, name, kind="quiet"))
    return parts
