"""A tiny data set and tiny options for each of the applications, for tests that go over all of them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.tasks import TASKS, Sources, opened
from holdfast.tasks import fit as fit_task
from holdfast.tasks.fitting import Fitted
from holdfast.training import Watcher
from tests.tasks.composition import tunes
from tests.tasks.dialogue import talks
from tests.tasks.transcription import tones
from tests.tasks.translation import phrases

SHORT: dict[str, Any] = {"steps": 4, "evaluations": 2}
SMALL: dict[str, dict[str, Any]] = {
    "text": {"hidden": 8, "embedding": 6, "batch_size": 4, "window": 12},
    "forecast": {"hidden": 6, "batch_size": 16, "horizon": 4, "model": "patches", "base": "mixture"},
    "classify": {"hidden": 6, "embedding": 4, "batch_size": 8, "average": 0.0},
    "regress": {"hidden": 6, "embedding": 4, "batch_size": 8},
    "transcribe": {"hidden": 8, "layers": 1, "channels": 4, "bands": 24, "batch_size": 8},
    "translate": {"hidden": 8, "embedding": 8, "layers": 1, "batch_size": 8, "level": "word"},
    "chat": {"hidden": 8, "embedding": 8, "batch_size": 8, "vocabulary": 320, "dropout": 0.3},
    "compose": {"hidden": 16, "embedding": 8, "batch_size": 4, "window": 32},
}
NAMES = [*SMALL]


def sources(name: str, folder: Path) -> Sources:
    """Data for an application, written into a folder."""
    return Sources(data=tuple(map(str, _WRITERS[name](folder))))


def fit(name: str, folder: Path, given: dict[str, Any], watcher: Watcher | None = None) -> Fitted:
    """A run of an application in a folder, beside its data."""
    task = TASKS[name]
    data = folder / "data"
    data.mkdir()
    fit_task(task, sources(name, data), folder / "run", given, watcher)
    return opened(folder / "run")


def _text(folder: Path) -> list[Path]:
    path = folder / "book.txt"
    path.write_text("the cat sat on the mat\nthe rat sat on the cat\n" * 40)
    return [path]


def _table(folder: Path) -> list[Path]:
    draw, t = np.random.default_rng(0), np.arange(140)
    values = [10 + k + np.sin(2 * np.pi * t / 7 + k) + 0.2 * draw.normal(size=140) for k in range(2)]
    rows = [["ds", "a", "b"], *([int(step), *map(float, row)] for step, row in zip(t, zip(*values)))]
    return [_csv(folder / "table.csv", rows)]


def _labelled(label: Callable[[bool], Any]) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        rows = [
            [f"{'good' if k % 2 else 'bad'} film {'very ' * (k % 5)}{k % 7}", label(bool(k % 2))] for k in range(60)
        ]
        return [_csv(folder / "reviews.csv", [["text", "label"], *rows])]

    return write


def _csv(path: Path, rows: list[list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


_WRITERS: dict[str, Callable[[Path], list[Path]]] = {
    "text": _text,
    "forecast": _table,
    "classify": _labelled(lambda good: "good" if good else "bad"),
    "regress": _labelled(lambda good: 2.5 if good else -1.0),
    "transcribe": lambda folder: [tones.write(folder / "sounds", 24, 0)],
    "translate": lambda folder: [*phrases.write(folder, "train", phrases.phrases(80, 0))],
    "chat": lambda folder: [talks.write(folder / "talks.txt", talks.talks(40, 0))],
    "compose": lambda folder: [tunes.folder(folder / "tunes", 10)],
}
