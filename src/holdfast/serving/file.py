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

from holdfast.microscope import MicroscopeError

from .view import View

LIMIT = 14_500_000  # bytes of a file: mail and chat take so much
PAGE = resources.files("holdfast.serving") / "page"
MODULES = ("main.js", "source.js", "palette.js", "heat.js", "words.js", "plot.js", "step.js", "places.js", "state.js")
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def html_file(view: View) -> str:
    """The whole page with what it shows: everything but typing and the horizon of other steps than the last.

    Series are kept in 16 bits if all of them fit into 14.5 MB so, else in 8; from the first on that does not fit even
    then they are left out, and the page says so. The states come first.

    Raises:
        MicroscopeError: the input alone is too large.
    """
    about = view.about()
    data: dict[str, Any] = {"about": about, "series": {}, "bits": 16, "horizon": None}
    if about["horizon"]:
        data["horizon"] = _horizon(view, about["steps"] - 1)
    room = LIMIT - len(_html(data, about["title"]).encode())
    if room < 0:
        raise MicroscopeError(f"the input alone takes {(LIMIT - room) / 1e6:.1f} MB of a file; look at fewer steps")
    series, are_all = _packed(view, about, 16, room)
    if not are_all:
        data["bits"] = 8
        series, _ = _packed(view, about, 8, room)
    data["series"] = series
    return _html(data, about["title"])


def _horizon(view: View, step: int) -> dict[str, Any]:
    try:
        return view.horizon(step)
    except MicroscopeError as error:  # of layers in two directions, say: there is much else to be seen
        return {"error": str(error)}


def _packed(view: View, about: dict[str, Any], bits: int, room: int) -> tuple[dict[str, str], bool]:
    """The series for which there is room, compressed, in base64, and whether that is all of them."""
    found: dict[str, str] = {}
    for key, layer, node in _by_importance(about):
        packed = base64.b64encode(zlib.compress(view.bytes(layer, node, bits).tobytes(), 6)).decode()
        room -= len(packed) + len(key) + 6  # its name and the signs around both
        if room < 0:
            return found, False
        found[key] = packed
    return found, True


def _by_importance(about: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    """All series of all layers: the outputs first, then the other states, gates and so on."""
    most = max(len(layer["series"]) for layer in about["layers"])
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
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return index(title, style, modules, f'<script type="application/json" id="data">{content}</script>')
