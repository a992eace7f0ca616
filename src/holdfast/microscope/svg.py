"""The frame that all figures share: elements, the theme, and pixels as an image."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

FONT_SIZE = 13
SMALL = 11

# Every colour can be set from outside by its --figure-… variable; the defaults follow the reader's light or dark mode.
# The series colours are Okabe and Ito's (2008), which colour-blind eyes tell apart.
_STYLE = f"""
.holdfast-figure {{ --ink: #1f2328; --quiet: #59636e; --grid: #d8dee4; --missing: #e6e6e6;
  --line-1: #0072b2; --line-2: #d55e00; --line-3: #007a5a; --line-4: #a8407e;
  display: block; width: 100%; height: auto; font: {FONT_SIZE}px system-ui, sans-serif; }}
@media (prefers-color-scheme: dark) {{ .holdfast-figure {{ --ink: #e6edf3; --quiet: #9aa4af; --grid: #343b44;
  --missing: #30363d; --line-1: #56b4e9; --line-2: #ff8c42; --line-3: #2fc79a; --line-4: #e59ac6; }} }}
.holdfast-figure text {{ fill: var(--figure-ink, var(--ink)); }}
.holdfast-figure .quiet {{ fill: var(--figure-quiet, var(--quiet)); font-size: {SMALL}px; }}
.holdfast-figure .grid {{ stroke: var(--figure-grid, var(--grid)); }}
.holdfast-figure .reference {{ stroke: var(--figure-quiet, var(--quiet)); stroke-dasharray: 2 3; }}
.holdfast-figure .mark {{ fill: var(--figure-ink, var(--ink)); }}
.holdfast-figure .missing {{ fill: var(--figure-missing, var(--missing)); }}
.holdfast-figure .line {{ fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }}
.holdfast-figure .dot {{ fill: none; stroke-width: 3; }}
.holdfast-figure .dashed {{ stroke-dasharray: 5 5; }}
.holdfast-figure .band {{ fill-opacity: .2; }}
""" + "".join(
    f".holdfast-figure .line-{k} {{ stroke: var(--figure-line-{k}, var(--line-{k})); }}\n"
    f".holdfast-figure .band-{k} {{ fill: var(--figure-line-{k}, var(--line-{k})); }}\n"
    for k in range(1, 5)
)
_BEGINNING = '<svg xmlns="http://www.w3.org/2000/svg" '


def figure(title: str, width: float, height: float, parts: Iterable[str]) -> str:
    """A whole figure; it scales to the width it is given."""
    return (
        f'{_BEGINNING}class="holdfast-figure" role="img" '
        f'viewBox="0 0 {width:g} {height:g}">\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>"
    )


def stacked(title: str, figures: Sequence[str]) -> str:
    """Figures one below the other, as one; each keeps its own title."""
    parts, top, widest = [], 0.0, 0.0
    for each in figures:
        size = re.match(re.escape(_BEGINNING) + r'[^>]*viewBox="0 0 (\S+) (\S+)"', each)
        if size is None:
            raise ValueError(f"figures must be such as line_chart returns; got {each[:60]!r}")
        width, height = map(float, size.groups())
        # Also as a style, because the class of a figure says 100 %.
        place = f'y="{top:g}" width="{width:g}" height="{height:g}" style="width: {width:g}px; height: {height:g}px"'
        parts.append(f"<svg {place} {each.removeprefix(_BEGINNING)}")
        top, widest = top + height, max(widest, width)
    return figure(title, widest, top, parts)


def text(x: float, y: float, content: str, anchor: str = "start", kind: str = "", turned: bool = False) -> str:
    """A line of text; turned, it reads upwards."""
    attributes = f' class="{kind}"' if kind else ""
    attributes += f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{attributes}>{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def letters(x: float, y: float, content: str, each: float, size: float) -> str:
    """A line of letters of the same width, black in every mode, for what stands on a colour."""
    shown = "".join(letter if letter.isprintable() else " " for letter in content)  # XML has no control characters
    return (
        f'<text x="{x:g}" y="{y:g}" textLength="{each * len(shown):g}" lengthAdjust="spacingAndGlyphs" '
        f'xml:space="preserve" style="font: {size:g}px ui-monospace, monospace; fill: #111">{escape(shown)}</text>'
    )


def text_width(content: str, size: float = FONT_SIZE) -> float:
    """About how wide a text is: there is no font at hand to measure it with."""
    return 0.56 * size * len(content)


def pixels(x: float, y: float, width: float, height: float, rgba: NDArray[np.uint8]) -> str:
    """An array of colours, (rows, columns, 4), as an image with sharp cells: far smaller than one element a cell."""
    source = base64.b64encode(_png(rgba)).decode()
    return (
        f'<image x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" preserveAspectRatio="none" '
        f'style="image-rendering: pixelated" href="data:image/png;base64,{source}"/>'
    )


def _png(rgba: NDArray[np.uint8]) -> bytes:
    rows, columns, _ = rgba.shape
    lines = b"".join(b"\0" + row.tobytes() for row in rgba)  # the byte before each line says: not filtered
    header = struct.pack(">IIBBBBB", columns, rows, 8, 6, 0, 0, 0)  # 8 bits a channel, four channels
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
