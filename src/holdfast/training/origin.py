"""Whether a run was made on this machine, by this user, where it lies now.

A run's configuration names the files that it was made of, and a run may come from a stranger: what it names is opened
again only if the run was made here. It then has a mark, a keyed digest (HMAC, RFC 2104) of where it lies and of what it
names. The key is the user's own and never leaves the machine, so nobody else can make a mark, and a mark does not hold
for a run that was moved or copied, nor for other paths.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .files import write_atomically

MARK = ".origin"
_PATHS = ("data", "valid", "test", "start")  # of a configuration's data: what is opened again


def mark(folder: Path, data: Mapping[str, Any]) -> None:
    """Mark a run as made here.

    Where the user's key cannot be kept it stays without a mark, and is then as one that was copied.

    Args:
        folder: the run's.
        data: as its configuration names them.
    """
    key = _key()
    if key is not None:
        write_atomically(folder / MARK, _digest(key, folder, data))


def is_own(folder: Path, data: Mapping[str, Any]) -> bool:
    """Whether a run was made here, of what its configuration names now.

    Args:
        folder: the run's.
        data: as its configuration names them.
    """
    try:
        there = (folder / MARK).read_bytes()
    except OSError:
        return False
    key = _key()
    return key is not None and hmac.compare_digest(there, _digest(key, folder, data).encode())


def _digest(key: bytes, folder: Path, data: Mapping[str, Any]) -> str:
    said = [os.path.realpath(folder), *(data.get(name, []) for name in _PATHS)]
    return hmac.new(key, json.dumps(said).encode(), hashlib.sha256).hexdigest()


def _key() -> bytes | None:
    """The user's key, which is made where there is none; None where none can be kept."""
    try:
        path = _state_folder() / "key"
        if not path.exists():
            _make(path)
        return path.read_bytes()
    except (OSError, RuntimeError):  # no home, or one that cannot be written to
        return None


def _make(path: Path) -> None:
    """Put a key in its place whole, unless another process was faster."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)  # nobody else can read it
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
        with suppress(FileExistsError):
            os.link(name, path)  # which, unlike a renaming, replaces nothing
    finally:
        Path(name).unlink(missing_ok=True)


def _state_folder() -> Path:
    """Where programs keep what is not to be lost when caches are cleared."""
    root = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_STATE_HOME", "")
    return (Path(root) if os.path.isabs(root) else Path.home() / ".local" / "state") / "holdfast"
