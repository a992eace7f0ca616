"""The microscope's page as a web application for one person on this machine."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from holdfast.data import DataError
from holdfast.extras import require
from holdfast.microscope import MicroscopeError
from holdfast.training import RunError

from .file import MODULES, PAGE, index
from .view import View

KEPT = 8  # pages that have typed: the last text of each can still be asked for
LONGEST = 1_000_000  # bytes of a request
_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_NAMES = ("127.0.0.1", "localhost")
_TYPES = {"css": "text/css", "js": "text/javascript"}


def new_token() -> str:
    """What only who was told the address knows."""
    return secrets.token_urlsafe(24)


def look_app(view: View, token: str, port: int) -> Any:
    """The application (FastAPI's): the page below /TOKEN/, and nothing else.

    It answers only what is asked of 127.0.0.1 or localhost by their names, so that no foreign page can reach it by a
    name that it makes point here, and only who knows the token.

    Args:
        view: what the page shows first.
        token: the first part of every path.
        port: where it will listen.
    """
    fastapi = require("fastapi", "serve")
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    pages = _Pages(view)
    answers = fastapi.responses

    @app.middleware("http")
    async def guard(request: Any, following: Callable[[Any], Awaitable[Any]]) -> Any:
        refusal = _refusal(request, token, port)
        if refusal:
            response = answers.PlainTextResponse(refusal[1] + "\n", refusal[0])
        else:
            response = await following(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    async def refused(_: Any, error: Exception) -> Any:
        return answers.JSONResponse({"error": str(error)}, 422)

    async def misunderstood(_: Any, error: Any) -> Any:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return answers.JSONResponse({"error": said}, 422)

    for kind in (MicroscopeError, RunError, DataError):
        app.add_exception_handler(kind, refused)
    app.add_exception_handler(fastapi.exceptions.RequestValidationError, misunderstood)

    below = fastapi.APIRouter(prefix=f"/{token}")

    @below.get("/")
    def page() -> Any:
        nonce = secrets.token_urlsafe(12)
        places = {name: f"./{name}" for name in MODULES}
        text = index(pages.first.subject.title, '<link rel="stylesheet" href="style.css">', places, nonce=nonce)
        return answers.HTMLResponse(text, headers={"Content-Security-Policy": _POLICY.format(nonce=nonce)})

    @below.get("/api/view")
    def about() -> Any:
        return answers.JSONResponse(pages.first.about())

    @below.get("/api/{number}/series")
    def series(number: int, layer: int, node: int) -> Any:
        return _binary(answers, pages.of(number).bytes(layer, node))

    @below.get("/api/{number}/unit")
    def unit(number: int, layer: int, unit: int) -> Any:
        return _binary(answers, pages.of(number).unit(layer, unit).astype("<f4"))

    @below.get("/api/{number}/horizon")
    def horizon(number: int, step: int) -> Any:
        return answers.JSONResponse(pages.of(number).horizon(step))

    @below.post("/api/text")
    def text(body: dict[str, Any]) -> Any:
        return answers.JSONResponse(pages.typed(body.get("text"), body.get("page"), body.get("turn")).about())

    @below.get("/{name}")
    def file(name: str) -> Any:
        if name not in (*MODULES, "style.css"):
            raise fastapi.HTTPException(404, f"there is no {name}")
        return answers.Response((PAGE / name).read_bytes(), media_type=_TYPES[name.rpartition(".")[2]])

    app.include_router(below)
    return app


def _binary(answers: Any, values: np.ndarray[Any, Any]) -> Any:
    return answers.Response(np.ascontiguousarray(values).tobytes(), media_type="application/octet-stream")


def _refusal(request: Any, token: str, port: int) -> tuple[int, str] | None:
    """Why a request is not answered: a status and a sentence."""
    own = {f"{name}:{port}" for name in _NAMES} | (set(_NAMES) if port == 80 else set())
    host = request.headers.get("host", "")
    if host not in own:
        return 421, f"this page answers to {' and '.join(_NAMES)} only, not to {host!r}"
    for origin in request.headers.getlist("origin"):
        if origin not in {f"http://{one}" for one in own}:
            return 403, f"pages of {origin!r} may not ask here"
    given = request.url.path.split("/")[1]
    if not secrets.compare_digest(given.encode(), token.encode()):
        return 403, "the address lacks this start's token; open the whole address that holdfast look has printed"
    length = request.headers.get("content-length", "0")
    is_known = length.isdecimal() and "transfer-encoding" not in request.headers
    if request.method == "POST" and not (is_known and 0 < int(length) <= LONGEST):
        return 413, f"at most {LONGEST:,} bytes can be sent at once, and their number must be said"
    return None


class _Pages:
    """The views that may be asked for: the first one, and for each page in a browser what was typed there last."""

    def __init__(self, first: View) -> None:
        self.first = first
        self.last: OrderedDict[str, tuple[int, View]] = OrderedDict()  # by page, with the turn at which it was typed
        self.lock = threading.Lock()  # one text at a time: the machine's cores are shared

    def of(self, number: int) -> View:
        views = (self.first, *(view for _, view in self.last.values()))
        found = next((view for view in views if view.number == number), None)
        if found is None:
            raise MicroscopeError("other text has been typed since; reload the page")
        return found

    def typed(self, text: Any, page: Any, turn: Any) -> View:
        if self.first.subject.other is None:
            raise MicroscopeError("this model does not read text that is typed")
        if not isinstance(text, str) or not text:
            raise MicroscopeError("text must be a string that is not empty")
        if not isinstance(page, str) or not isinstance(turn, int):
            raise MicroscopeError("page must be a string, and turn a whole number")
        with self.lock:
            view = View(self.first.subject.other(text))
            if page in self.last and self.last[page][0] > turn:
                return view  # requests can overtake each other: the page shows what was typed later
            self.last[page] = (turn, view)
            self.last.move_to_end(page)
            while len(self.last) > KEPT:
                self.last.popitem(last=False)
        return view
