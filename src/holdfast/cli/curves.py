"""Error curves as a table for a terminal or a pipe."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table

from holdfast.lab import Point
from holdfast.lab.demo import Contest

_ROWS = 10
_WIDTH = 20  # of a bar
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEAST, _MOST = 1e-4, 1.0  # the errors at both ends of a bar, on a logarithmic scale


def curves_table(contest: Contest, ascii_only: bool = False) -> Table:
    """The errors of both models side by side, in at most a dozen rows, each with a bar on a logarithmic scale."""
    settings = contest.settings
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"Mean squared error, adding problem of {settings.lag} steps, {settings.hidden_size} units each",
        title_justify="left",
        title_style="bold",
        caption=f"bars: the error's logarithm, from {_LEAST:g} to {_MOST:g}",
        caption_justify="left",
        pad_edge=False,
    )
    table.add_column("sequences", justify="right")
    for result, style in zip(contest.results, ("blue", "dark_orange")):
        table.add_column(result.name, justify="right")
        table.add_column("", style=style, min_width=_WIDTH)
    for points in _chosen(list(zip(*(result.curve for result in contest.results)))):
        cells = (cell for point in points for cell in (f"{point.error:.4f}", bar(point.error, ascii_only)))
        table.add_row(f"{points[0].sequences:,}", *cells)
    return table


def bar(error: float, ascii_only: bool = False) -> str:
    """A bar as long as the logarithm of an error, from 0.0001 (none) to 1 (full).

    >>> bar(0.01)
    '██████████'
    >>> bar(0.2, ascii_only=True)
    '#################'
    """
    if not error > _LEAST:
        return ""
    share = min(1.0, math.log(error / _LEAST) / math.log(_MOST / _LEAST))
    if ascii_only:
        return "#" * round(share * _WIDTH)
    whole, rest = divmod(round(share * _WIDTH * 8), 8)
    return "█" * whole + _EIGHTHS[rest].strip()


def _chosen(rows: Sequence[tuple[Point, ...]]) -> list[tuple[Point, ...]]:
    """The first row, the last, and some evenly between them."""
    count = min(_ROWS, len(rows) - 1)
    return [rows[round(k * (len(rows) - 1) / count)] for k in range(count + 1)]
