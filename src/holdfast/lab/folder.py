"""The folder of a contest, and what it says the contest is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast.training import write_atomically

CONTEST = "contest.json"


class ContestError(ValueError):
    """A contest that cannot be held; the message says why."""


def open_folder(folder: Path, about: Mapping[str, Any], entered: Mapping[str, Any]) -> None:
    """Make a contest's folder, or go on with one, and write into it what the contest is.

    Args:
        folder: it.
        about: what is to be the same whenever the contest goes on, as JSON.
        entered: what may be another then: who takes part, and how often.

    Raises:
        ContestError: the folder holds something else.
    """
    path = folder / CONTEST
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not path.is_file())):
        raise ContestError(f"{folder} exists and is not a contest's folder; choose another --out")
    if path.is_file():
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise ContestError(f"{path} is not JSON") from None
        other = [name for name, value in about.items() if there.get(name) != value]
        if other:
            raise ContestError(f"{folder} holds a contest with another {' and '.join(other)}; choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({**about, **entered}, indent=2) + "\n")
