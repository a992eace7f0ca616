"""A server for the page, on this machine alone."""

from __future__ import annotations

import socket
from collections.abc import Callable

from holdfast.extras import require

from .app import look_app, new_token
from .view import View

LOOPBACK = "127.0.0.1"


def listen(port: int = 0) -> socket.socket:
    """A socket that listens on the loopback interface; a browser that comes before the server waits.

    Args:
        port: where; 0: any that is free.

    Raises:
        OSError: the port is taken.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK, port))
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def serve(view: View, listening: socket.socket | None = None, told: Callable[[str], None] = print) -> None:
    """Serve the page on the loopback interface until it is interrupted.

    Args:
        view: what is shown.
        listening: where; by default at any port that is free.
        told: called with the page's address before the first request is answered.
    """
    uvicorn = require("uvicorn", "serve")
    with listening or listen() as own:
        port, token = own.getsockname()[1], new_token()
        config = uvicorn.Config(look_app(view, token, port), log_level="warning", access_log=False, lifespan="off")
        told(f"http://{LOOPBACK}:{port}/{token}/")
        uvicorn.Server(config).run(sockets=[own])
