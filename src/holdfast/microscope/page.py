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
p { max-width: 44rem; margin: .5rem 0; }
figure { margin: 1rem 0; max-width: 34rem; }
figcaption { margin-top: .25rem; color: var(--quiet); font-size: .9rem; line-height: 1.45; }
.pair { display: grid; align-items: start; gap: 0 2.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
table { border-collapse: collapse; width: 100%; max-width: 34rem; margin: .5rem 0 1rem; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; }
th[scope=col] { min-width: 5.5rem; }
tbody th { font-weight: 400; color: var(--quiet); }
td { font-variant-numeric: tabular-nums; overflow-wrap: break-word; }
"""


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


def table(columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table with a name before each row and, if there are several columns, one above each."""
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    head = f"<thead><tr><td></td>{names}</tr></thead>\n" if columns else ""
    lines = [
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(value)}</td>" for value in values)}</tr>'
        for name, values in rows
    ]
    return f"<table>\n{head}<tbody>\n" + "\n".join(lines) + "\n</tbody>\n</table>"
