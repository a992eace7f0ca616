"""Wrong inputs against every command: one line that says what is wrong, exit status 2, nothing written or changed."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.training import Run, files
from tests.applications import APPLICATIONS, NAMES, SMALL, Made, invoked
from tests.cli.wrong_inputs import WRONG

Command = Callable[[Callable[[str], Made], str, Path], list[str | Path]]


def _fit(name: str) -> Command:
    def command(made: Callable[[str], Made], path: str, out: Path) -> list[str | Path]:
        given = ["--source", path, "--target", path] if name == "translate" else [path]
        return ["fit", name, *given, "--out", out / "run", *SMALL, *APPLICATIONS[name].options]

    return command


def _using(name: str, *words: str) -> Command:
    """A command on a run; OUT stands for where it may write."""

    def command(made: Callable[[str], Made], path: str, out: Path) -> list[str | Path]:
        known = {"RUN": made(name).run, "PATH": path}
        return [str(known.get(word, word)).replace("OUT", str(out)) for word in words]

    return command


COMMANDS: dict[str, Command] = {
    **{f"fit {name}": _fit(name) for name in NAMES},
    "fit --config": lambda made, path, out: ["fit", "text", "--config", path, "--out", out / "run"],
    **{f"evaluate {name}": _using(name, "evaluate", "RUN", "PATH") for name in NAMES},
    "evaluate --per-line": _using("text", "evaluate", "RUN", "PATH", "--per-line"),
    "forecast": _using("forecast", "forecast", "RUN", "PATH", "--out", "OUT/a.csv", "--picture", "OUT/a.svg"),
    "backtest": _using("forecast", "backtest", "RUN", "PATH", "--out", "OUT/a.parquet"),
    "detect": _using("forecast", "detect", "RUN", "PATH", "--out", "OUT/a.csv"),
    "classify": _using("classify", "classify", "RUN", "PATH", "--out", "OUT/a.csv"),
    "regress": _using("regress", "regress", "RUN", "PATH", "--out", "OUT/a.jsonl"),
    "transcribe": _using("transcribe", "transcribe", "RUN", "PATH", "--out", "OUT/a.csv"),
    "transcribe --out .srt": _using("transcribe", "transcribe", "RUN", "PATH", "--out", "OUT/a.srt"),
    "translate": _using("translate", "translate", "RUN", "PATH", "--out", "OUT/a.txt"),
    "compose --prompt": _using("compose", "compose", "RUN", "--prompt", "PATH", "--out", "OUT/a.mid"),
    "compose --harmonise": _using("compose", "compose", "RUN", "--harmonise", "PATH", "--out", "OUT/a.mid"),
    "look --data": _using("text", "look", "RUN", "--data", "PATH", "--html", "OUT/a.html"),
    "lab --data": lambda made, path, out: ["lab", "digits-rows", "--data", path, "--out", out / "lab"],
}
# What is no fault for a command: another one's data, or what it can do without.
ACCEPTED: dict[str, set[str]] = {}


def _state(folder: Path) -> dict[str, str]:
    """All that is in a folder, and what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def _is_one_line(command: list[str | Path], given: bytes | None = None) -> str:
    """See that a command ends as it should; what it says."""
    done = invoked(*command, given=given)
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("holdfast: "), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


@pytest.mark.sweep(every=47)
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_input_ends_a_command_with_one_line_and_leaves_nothing(
    name: str, wrong: str, made: Callable[[str], Made], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.csv").write_text("mine")
    path = str(WRONG[wrong](tmp_path / "in"))
    command = COMMANDS[name](made, path, tmp_path / "out")
    before = _state(tmp_path)
    if name in ACCEPTED.get(wrong, set()):
        done = invoked(*command)
        assert done.exit_code == 0, done.output
        return
    _is_one_line(command)
    assert _state(tmp_path) == before
