"""A server for the page, on this machine alone."""

from __future__ import annotations

import socket
from collections.abc import Callable

from holdfast.extras import require

from .app import look_app, new_token
from .view import View


def serve(view: View, port: int = 0, told: Callable[[str], None] = print) -> None:
    """Serve the page on the loopback interface until it is interrupted.

    Args:
        view: what is shown.
        port: where; 0: any that is free.
        told: called with the page's address as soon as it can be opened.

    Raises:
        OSError: the port is taken.
    """
    uvicorn = require("uvicorn", "serve")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen()  # from here on a browser that comes too early waits
        own, token = listening.getsockname()[1], new_token()
        config = uvicorn.Config(look_app(view, token, own), log_level="warning", access_log=False, lifespan="off")
        told(f"http://127.0.0.1:{own}/{token}/")
        uvicorn.Server(config).run(sockets=[listening])
