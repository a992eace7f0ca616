"""All eight applications on tiny data: what a test does with each of them, where it stands for a kind."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from holdfast.cli.commands import commands
from holdfast.tasks import TASKS, Sources, fit, opened
from holdfast.tasks.fitting import Fitted
from holdfast.training import Watcher
from tests.tasks.composition import tunes
from tests.tasks.dialogue import talks
from tests.tasks.transcription import tones
from tests.tasks.translation import phrases

NAMES = ("text", "forecast", "classify", "regress", "transcribe", "translate", "chat", "compose")
SHORT: dict[str, Any] = {"steps": 2, "evaluations": 1, "batch_size": 4}
SMALL = [*(word for name, value in SHORT.items() for word in ("--set", f"{name}={value}")), "--quiet"]


@dataclass(frozen=True)
class Application:
    """An application on tiny data.

    Attributes:
        name: as on the command line.
        write: writes data into a folder, and gives their files.
        values: the options of a tiny model.
        use: the arguments of a command that uses a run, but for what is read; "RUN" stands for the run's folder.
        reads: which of the data a use reads; None: it reads none.
        result: the end of the name of what it writes, where it can write.
    """

    name: str
    files: Callable[[Path], Sequence[Path]]
    values: Mapping[str, Any]
    use: Sequence[str]
    reads: Callable[[Path], Path | None] = lambda folder: None
    result: str = ""

    @property
    def options(self) -> list[str]:
        """The arguments of `fit` for a tiny model."""
        return [word for name, value in self.values.items() for word in ("--set", f"{name}={value}")]

    def write(self, folder: Path) -> list[Path | str]:
        """Data in a folder; the arguments of `fit` that name them."""
        files = self.files(folder)
        if not TASKS[self.name].in_two:
            return [*files]
        return ["--source", files[0], "--target", files[1]]


@dataclass(frozen=True)
class Made:
    """A run of one.

    Attributes:
        application: of which it is.
        run: its folder.
        data: the folder of its data.
        given: the arguments that name them.
    """

    application: Application
    run: Path
    data: Path
    given: Sequence[Path | str]

    def using(self, run: Path | None = None) -> list[str]:
        """The command that uses a run, on what it reads."""
        reads = self.application.reads(self.data)
        words = [str(run or self.run) if word == "RUN" else word for word in self.application.use]
        return [*words, *([str(reads)] if reads else [])]


def invoked(*arguments: str | Path, given: bytes | str | None = None) -> Result:
    """A command in this process."""
    return CliRunner().invoke(commands, list(map(str, arguments)), input=given)


def make(application: Application, folder: Path) -> Made:
    """Train a tiny model."""
    (folder / "data").mkdir(parents=True)
    given = application.write(folder / "data")
    done = invoked("fit", application.name, *given, "--out", folder / "run", *SMALL, *application.options)
    assert done.exit_code == 0, done.output
    return Made(application, folder / "run", folder / "data", given)


def fitted(name: str, folder: Path, given: Mapping[str, Any], watcher: Watcher | None = None) -> Fitted:
    """Train a model into a folder, beside its data, from Python."""
    (folder / "data").mkdir()
    data = tuple(map(str, APPLICATIONS[name].files(folder / "data")))
    fit(TASKS[name], Sources(data), folder / "run", given, watcher)
    return opened(folder / "run")


def _book(folder: Path) -> list[Path]:
    (folder / "book.txt").write_text("the cat sat on the mat\nthe rat sat on the cat\n" * 40)
    return [folder / "book.txt"]


def _sales(folder: Path) -> list[Path]:
    rows = [f"2024-{1 + k // 28:02}-{1 + k % 28:02},{3 + math.sin(k * 0.9):.3f}" for k in range(112)]
    (folder / "sales.csv").write_text("\n".join(["ds,y", *rows]) + "\n")
    return [folder / "sales.csv"]


def _reviews(folder: Path, labels: Sequence[str] = ("good", "bad")) -> list[Path]:
    texts = ["a fine film", "a dull film", "fine and moving", "dull and long"] * 8
    with (folder / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, [*labels] * 16)])
    return [folder / "reviews.csv"]


def _rated(folder: Path) -> list[Path]:
    return _reviews(folder, ("1.5", "-2"))


def _tones(folder: Path) -> list[Path]:
    return [tones.write(folder / "tones", 12, seed=1)]


def _pairs(folder: Path) -> list[Path]:
    return [*phrases.write(folder, "train", phrases.phrases(80, 0))]


def _talks(folder: Path) -> list[Path]:
    return [talks.write(folder / "talks.txt", talks.talks(40, 0))]


def _tunes(folder: Path) -> list[Path]:
    return [tunes.folder(folder / "tunes", 8)]


_TEXT = {"hidden": 8, "embedding": 4}
APPLICATIONS = {
    application.name: application
    for application in (
        Application("text", _book, {**_TEXT, "window": 16}, ["generate", "RUN", "--length", "5"]),
        Application(
            "forecast",
            _sales,
            {"hidden": 8, "horizon": 4, "model": "patches", "base": "mixture", "season": 7},
            ["forecast", "RUN"],
            lambda data: data / "sales.csv",
            ".csv",
        ),
        Application("classify", _reviews, _TEXT, ["classify", "RUN"], lambda data: data / "reviews.csv", ".csv"),
        Application("regress", _rated, _TEXT, ["regress", "RUN"], lambda data: data / "reviews.csv", ".csv"),
        Application(
            "transcribe",
            _tones,
            {"hidden": 8, "layers": 1, "channels": 4, "bands": 24, "augment": False},
            ["transcribe", "RUN"],
            lambda data: data / "tones" / "000.wav",
            ".csv",
        ),
        Application(
            "translate",
            _pairs,
            {**_TEXT, "layers": 1, "level": "word"},
            ["translate", "RUN"],
            lambda data: data / "train.de",
            ".txt",
        ),
        Application("chat", _talks, {**_TEXT, "layers": 1, "vocabulary": 320, "dropout": 0.3}, ["chat", "RUN"]),
        Application("compose", _tunes, _TEXT, ["compose", "RUN", "--bars", "1"], result=".mid"),
    )
}
assert tuple(APPLICATIONS) == NAMES
