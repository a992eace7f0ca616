"""The page as one file that needs no server and no network."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from html import escape
from importlib import resources
from typing import Any

from .view import View

LIMIT = 14_500_000  # bytes of a file: mail and chat take so much
PAGE = resources.files("holdfast.serving") / "page"
MODULES = ("main.js", "source.js", "palette.js", "heat.js", "words.js", "plot.js", "step.js", "places.js", "state.js")
_POLICY = "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data:"


def html_file(view: View) -> str:
    """The whole page with what it shows: everything but typing and the horizon of other steps than the last.

    Series are kept in 16 bits where all of them fit into 14.5 MB, else in 8; those that do not fit are left out, the
    states last, and the page says so.
    """
    about = view.about()
    data: dict[str, Any] = {"about": about, "series": {}, "bits": 8, "horizon": None}
    if about["horizon"]:
        data["horizon"] = view.horizon(about["steps"] - 1)
    cells = sum(layer["units"] * len(layer["series"]) for layer in about["layers"]) * about["steps"]
    data["bits"] = bits = 16 if 2 * cells * 4 / 3 < LIMIT / 2 else 8
    room = LIMIT - len(_html(data, ""))
    for key, layer, node in _by_importance(about):
        packed = base64.b64encode(zlib.compress(view.bytes(layer, node, bits).tobytes(), 6)).decode()
        if len(packed) < room:
            room -= len(packed) + len(key) + 6
            data["series"][key] = packed
    return _html(data, about["title"])


def _by_importance(about: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    """All series of all layers: the outputs first, then the other states, gates and so on."""
    most = max((len(layer["series"]) for layer in about["layers"]), default=0)
    for rank in range(most):
        for number, layer in enumerate(about["layers"]):
            if rank < len(layer["series"]):
                node = layer["series"][rank]["node"]
                yield f"{number}/{node}", number, node


def index(title: str, style: str, places: dict[str, str], tail: str = "", nonce: str = "") -> str:
    """The frame of the page.

    Args:
        title: of the page.
        style: the element that brings the style sheet.
        places: where the modules are, by the names by which they import each other.
        tail: what comes before the page is started.
        nonce: what tells the page's own scripts from others, where the policy asks for it.
    """
    own = f' nonce="{nonce}"' if nonce else ""
    imports = json.dumps({"imports": {f"look/{name}": place for name, place in places.items()}})
    parts = {
        "title": escape(title),
        "head": f'{style}\n<script type="importmap"{own}>{imports}</script>',
        "nonce": own,
        "tail": tail,
    }
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    return re.sub(r"<!-- (\w+) -->", lambda match: parts[match[1]], text)


def _html(data: dict[str, Any], title: str) -> str:
    modules = {
        name: "data:text/javascript;base64," + base64.b64encode((PAGE / name).read_bytes()).decode() for name in MODULES
    }
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    style = f"{policy}\n<style>\n{(PAGE / 'style.css').read_text(encoding='utf-8')}</style>"
    # "<" cannot end the script early if there is none.
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return index(title, style, modules, f'<script type="application/json" id="data">{content}</script>')
