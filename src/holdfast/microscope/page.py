"""A page of HTML that needs no network and no script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --quiet: #59636e; --paper: #ffffff; --rule: #d8dee4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --quiet: #9aa4af; --paper: #0d1117; --rule: #343b44; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1rem 1rem 3rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 1rem 0 .75rem; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
pre { font: .82rem/1.45 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; max-width: 44rem;
  margin: .25rem 0 1rem; padding: .6rem .8rem; border: 1px solid var(--rule); border-radius: 4px; }
h1, h2, h3, p, figcaption { overflow-wrap: anywhere; }
p { max-width: 44rem; margin: .5rem 0; }
figure { margin: 1rem 0; max-width: 34rem; }
figcaption { margin-top: .25rem; color: var(--quiet); font-size: .9rem; line-height: 1.45; }
.pair { display: grid; align-items: start; gap: 0 2.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
table { border-collapse: collapse; width: 100%; max-width: 34rem; margin: .5rem 0 1rem; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; }
th[scope=col] { min-width: 5.5rem; }
tbody th { font-weight: 400; color: var(--quiet); min-width: 7rem; overflow-wrap: anywhere; }
td { font-variant-numeric: tabular-nums; overflow-wrap: break-word; }
tbody td:only-of-type { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
.shaded { width: auto; max-width: none; }
.shaded th[scope=col] { min-width: 3.5rem; }
.shaded td, .shaded th { padding: .3rem .6rem; }
.shaded td, .shaded th[scope=row] { white-space: nowrap; min-width: 0; }
@media (max-width: 40rem) {
  body { padding: .5rem .75rem 2rem; }
  th, td { padding-right: .6rem; }
  th[scope=col] { min-width: 3.5rem; }
}
"""
_OPAQUE = 0.55  # of a background: as much as leaves dark and light letters readable


def page(title: str, body: Iterable[str]) -> str:
    """The whole page, from its title and the parts of its body."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(heading: str, content: str) -> str:
    """A part with a heading."""
    return f"<section>\n<h2>{escape(heading)}</h2>\n{content}\n</section>"


def figure(svg: str, caption: str) -> str:
    """A picture with what is to be seen in it."""
    return f"<figure>\n{svg}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"


def pair(parts: Iterable[str]) -> str:
    """Parts side by side, as many as there is room for."""
    return '<div class="pair">\n' + "\n".join(parts) + "\n</div>\n"


def table(columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table with a name before each row and, if there are several columns, one above each."""
    cells = [(name, [f"<td>{escape(value)}</td>" for value in values]) for name, values in rows]
    return _scrolled(f"<table>\n{_rows(columns, cells)}\n</table>")


def shaded_table(
    columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], shades: Iterable[Sequence[float]]
) -> str:
    """The same with a background in each cell; see `tint`."""
    cells = [
        (name, [f'<td style="{tint(shade)}">{escape(value)}</td>' for value, shade in zip(values, each)])
        for (name, values), each in zip(rows, shades)
    ]
    return _scrolled(f'<table class="shaded">\n{_rows(columns, cells)}\n</table>')


def tint(value: float) -> str:
    """The style of a background on which text can be read, on light and on dark paper: red above 0, blue below.

    >>> tint(0.5), tint(-2)
    ('background: rgba(178, 24, 43, 0.28)', 'background: rgba(33, 102, 172, 0.55)')

    Args:
        value: the ends of the scale are -1 and 1.
    """
    colour = "178, 24, 43" if value > 0 else "33, 102, 172"  # the ends of the diverging palette
    return f"background: rgba({colour}, {_OPAQUE * min(1.0, abs(value)):.2f})"


def _scrolled(table: str) -> str:
    """A table that is scrolled by itself where it is wider than the window, so that the page is not."""
    return f'<div class="wide">\n{table}\n</div>'


def _rows(columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """The head and the body of a table whose cells are there."""
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    head = f"<thead><tr><td></td>{names}</tr></thead>\n" if columns else ""
    lines = [f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>' for name, cells in rows]
    return f"{head}<tbody>\n" + "\n".join(lines) + "\n</tbody>"
