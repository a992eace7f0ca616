"""The diagram of a cell, drawn from its own definition: its values from left to right, each after what it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.language import Program
from holdfast.language.outline import SUM, Box, outline

from .svg import SMALL, figure, text, text_width

_HEIGHT, _APART = 38.0, 26.0  # of a box, and between two of them
_BETWEEN = 40.0  # columns
_MARGIN = 8.0
_NAME = 5.0  # above its box
_SWEEPS = 8
_NUMBER = text_width("−0.00123") + 22  # the widest number, bold, with room at its sides

_STYLE = """<style>
.holdfast-figure .box rect { fill: var(--figure-box, transparent); stroke: var(--figure-quiet, var(--quiet)); }
.holdfast-figure .sum rect { stroke-dasharray: 4 3; }
.holdfast-figure .result rect { stroke-width: 2; stroke: var(--figure-ink, var(--ink)); }
.holdfast-figure .edge { fill: none; stroke: var(--figure-quiet, var(--quiet)); }
.holdfast-figure .value { font-variant-numeric: tabular-nums; }
</style>"""


@dataclass(eq=False)
class _Place:
    """A box, or a point on an edge that passes a column, and where it stands."""

    column: int
    box: Box | None = None
    width: float = 0.0
    x: float = 0.0
    y: float = 0.0
    before: list[_Place] = field(default_factory=list)
    after: list[_Place] = field(default_factory=list)

    @property
    def height(self) -> float:
        return _HEIGHT + _APART if self.box else _APART


def diagram(program: Program, title: str = "") -> str:
    """An SVG of what a step computes.

    Each box has an empty line for its number: a `text` element with the attribute `data-node`, the value's node in the
    program.

    >>> from holdfast import cells
    >>> from holdfast.language import trace
    >>> picture = diagram(trace(cells.LSTM(), shown=True))
    >>> picture.startswith("<svg"), picture.count('class="box')
    (True, 14)

    Args:
        program: a traced cell.
        title: what it is, for readers who cannot see it.
    """
    texts = {box.node: _written(box, program) for box in outline(program)}
    places = _placed(outline(program), {node: max(_NUMBER, text_width(t, SMALL) + 12) for node, t in texts.items()})
    width = max((p.x + p.width for p in places), default=0.0) + _MARGIN
    height = max((p.y + (_HEIGHT if p.box else 0.0) for p in places), default=0.0) + _MARGIN
    names = {index: f"{name}[t]" for name, index in program.names}
    edges = [_edge(one, two) for one in places for two in one.after]
    boxes = [
        _drawn(p, p.box, texts[p.box.node], names.get(p.box.node, ""), p.box.node in program.results)
        for p in places
        if p.box
    ]
    return figure(title or f"What a step of {program.cell} computes", width, height, [_STYLE, *edges, *boxes])


def _placed(boxes: Sequence[Box], widths: Mapping[int, float]) -> list[_Place]:
    """Where everything stands."""
    columns = _columns(boxes)
    places = {box.node: _Place(columns[box.node], box, widths[box.node]) for box in boxes}
    every = list(places.values())
    for box in boxes:
        for arg in dict.fromkeys(box.args):
            if arg in places:
                every += _joined(places[arg], places[box.node])
    by_column: list[list[_Place]] = [[] for _ in range(max(columns.values(), default=-1) + 1)]
    for place in every:
        by_column[place.column].append(place)
    _order(by_column)
    x = _MARGIN
    for column in by_column:
        wide = max(place.width for place in column)
        for place in column:
            place.x = x + (wide - place.width) / 2
        x += wide + _BETWEEN
    top = min((place.y for place in every), default=0.0) - _MARGIN - SMALL - _NAME
    for place in every:
        place.y -= top
    return every


def _columns(boxes: Sequence[Box]) -> dict[int, int]:
    """Each box right of all that it reads, and as near as can be to what reads it."""
    columns: dict[int, int] = {}
    for box in boxes:
        columns[box.node] = 1 + max((columns[arg] for arg in box.args if arg in columns), default=-1)
    readers: dict[int, list[int]] = {}
    for box in reversed(boxes):
        if box.node in readers:
            columns[box.node] = min(columns[reader] for reader in readers[box.node]) - 1
        for arg in box.args:
            readers.setdefault(arg, []).append(box.node)
    return columns


def _joined(one: _Place, two: _Place) -> list[_Place]:
    """The points between two boxes on the edge from one to the other, one in each column that it passes."""
    points = [_Place(column) for column in range(one.column + 1, two.column)]
    for left, right in zip([one, *points], [*points, two]):
        left.after.append(right)
        right.before.append(left)
    return points


def _order(columns: Sequence[list[_Place]]) -> None:
    """Stack each column so that edges are short: near the middle of what is read, and then of what reads."""
    for column in columns:
        _stack(column, list(range(len(column))))
    for sweep in range(_SWEEPS):
        forwards = sweep % 2 == 0
        for column in columns if forwards else reversed(columns):
            wanted = []
            for place in column:
                near = (place.before if forwards else place.after) or place.after or place.before
                wanted.append(sum(_middle(other) for other in near) / len(near) if near else _middle(place))
            _stack(column, wanted)


def _middle(place: _Place) -> float:
    return place.y + (_HEIGHT / 2 if place.box else 0.0)


def _stack(column: list[_Place], wanted: Sequence[float]) -> None:
    """Give the places of a column heights near those wanted, in their order, none over another."""
    order = sorted(range(len(column)), key=lambda k: wanted[k])
    column[:] = [column[k] for k in order]
    middles = [wanted[k] for k in order]
    groups: list[list[float]] = []  # runs of places that touch: the first one's middle, how many, the run's length
    for place, middle in zip(column, middles):
        groups.append([middle, 1, place.height])
        while len(groups) > 1 and groups[-2][0] + groups[-2][2] / 2 > groups[-1][0] - groups[-1][2] / 2:
            second, first = groups.pop(), groups.pop()
            count = first[1] + second[1]
            groups.append([(first[0] * first[1] + second[0] * second[1]) / count, count, first[2] + second[2]])
    places = iter(column)
    for middle, count, length in groups:
        top = middle - length / 2
        for _ in range(int(count)):
            place = next(places)
            place.y = top + (place.height - (_HEIGHT if place.box else 0.0)) / 2
            top += place.height


def _written(box: Box, program: Program) -> str:
    """What stands in a box; a whole sum says what is summed."""
    if box.kind != SUM or " " in box.text:
        return box.text
    parts = ["LN(W x)", "LN(U h)"] if program.layer_norm else ["W x", "U h"]
    return f"{' + '.join(parts + ['b'] * program.bias)}, {box.text}"


def _edge(one: _Place, two: _Place) -> str:
    x1, y1 = one.x + one.width, _middle(one)
    x2, y2 = two.x, _middle(two)
    bend = (x2 - x1) / 2
    through = "" if one.box else f"M{one.x:.1f} {y1:.1f}L{x1:.1f} {y1:.1f}"
    curve = f"M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    return f'<path class="edge" d="{through}{curve}"/>'


def _drawn(place: _Place, box: Box, written: str, name: str, is_result: bool) -> str:
    kind = f"box {box.kind}" + (" result" if is_result else "")
    which = f'data-node="{box.node}"'
    x, y = place.x + place.width / 2, place.y
    rectangle = f'<rect x="{place.x:.1f}" y="{y:.1f}" width="{place.width:.1f}" height="{_HEIGHT:g}" rx="5" {which}/>'
    number = f'<text class="value" x="{x:.1f}" y="{y + 30:.1f}" text-anchor="middle" {which}></text>'
    parts = [rectangle, text(x, y + 14, written, "middle", "quiet"), number]
    if name:
        parts.append(text(x, y - _NAME, name, "middle"))
    return f'<g class="{kind}">{"".join(parts)}</g>'
