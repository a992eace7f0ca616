"""What was made of files once and is kept on the disk, with what it was made from.

A place in a folder holds raw little-endian arrays, which are mapped, so that they may be larger than the memory, and
beside them the facts about them in `corpus.json`, with the digest of each array: what does not agree is made anew.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .charsets import UTF_8, charset

_FACTS = "corpus.json"
_BUILDING = ".building-"  # how a folder begins in which arrays are being written; the process' number follows
_SYNCHRONIZE = 0x00100000  # the right to wait for a process


def kept(folder: Path, key: Mapping[str, Any], write: Callable[[Path], dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """The place in a folder for what a key describes, and the facts that stand there; written if they are not there.

    Several processes may write at once: the same key has the same contents, each file is put in place in one go, and
    the facts come last.

    Args:
        folder: where all places are.
        key: what tells this from all others, fit for JSON.
        write: writes arrays, `NAME.bin`, into a place, and returns the facts: their "arrays" are by name, each with its
            "sha256".
    """
    other = {} if charset() == UTF_8 else {"charset": charset()}  # the same bytes are then another text
    key = json.loads(json.dumps({**key, **other}))  # as it will be read
    remove_abandoned(folder)
    place = folder / fingerprint(key)[:16]
    facts = _facts(place, key)
    if facts is not None:
        return place, facts
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f"{_BUILDING}{os.getpid()}-") as beside:
        building = Path(beside)
        facts = {"key": key, **write(building)}
        (building / _FACTS).write_text(json.dumps({**facts, "sha256": fingerprint(facts)}), encoding="ascii")
        for name in [*(f"{array}.bin" for array in facts["arrays"]), _FACTS]:
            os.replace(building / name, place / name)
    return place, facts


def remove_abandoned(folder: Path) -> None:
    """Remove what processes of this machine had begun to write in a folder when they were killed."""
    for beside in folder.glob(f"{_BUILDING}*"):
        owner = beside.name.removeprefix(_BUILDING).partition("-")[0]
        if not (owner.isdecimal() and is_running(int(owner))):
            shutil.rmtree(beside, ignore_errors=True)


def is_running(process: int) -> bool:
    """Whether there is a process of a number on this machine.

    >>> is_running(os.getpid())
    True
    """
    if sys.platform == "win32":  # where a signal of 0 would be Ctrl-C
        handle = ctypes.windll.kernel32.OpenProcess(_SYNCHRONIZE, False, process)
        if handle:
            ctypes.windll.kernel32.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OverflowError:  # no number that a process can have
        return False
    except PermissionError:  # of somebody else
        return True
    return True


def _facts(place: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The facts that stand in a place, if they are about this key and all arrays are as they were written."""
    try:
        facts = json.loads((place / _FACTS).read_bytes())
        if facts.pop("sha256") != fingerprint(facts) or facts["key"] != key:
            return None
        agree = all(about["sha256"] == sha256(place / f"{name}.bin") for name, about in facts["arrays"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # torn, or somebody else's: not to be trusted
        return None
    return facts if agree else None


def mapped(path: Path, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The array in a file, (N,), which is not read before it is needed."""
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)


def sha256(path: Path) -> str:
    """The digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(content: Mapping[str, Any]) -> str:
    """The digest of what JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
