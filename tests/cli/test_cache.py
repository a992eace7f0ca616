"""`holdfast cache`: what is kept is shown, and goes when it is asked to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holdfast.cli.commands import commands


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "holdfast"


def run(*args: str) -> str:
    done = CliRunner().invoke(commands, ["cache", *args])
    assert done.exit_code == 0, done.output
    return done.output


def test_it_shows_what_there_is_and_removes_it(home: Path) -> None:
    assert run() == "The cache is empty\n"
    (home / "text" / "abc").mkdir(parents=True)
    (home / "text" / "abc" / "train.bin").write_bytes(bytes(2500))
    (home / "kernels").mkdir()
    (home / "kernels" / "one").write_bytes(bytes(10))
    assert [line.split() for line in run().splitlines()[:2]] == [
        ["2", "kB", "1", str(home / "text")],
        ["10", "bytes", "1", str(home / "kernels")],
    ]
    shown = json.loads(run("--json"))
    assert [(one["name"], one["bytes"]) for one in shown["cache"]] == [("text", 2500), ("kernels", 10)]
    assert run("clear") == "3 kB were removed\n"
    assert not [*home.iterdir()]


def test_what_stands_beside_it_stays(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    (home / "text").mkdir(parents=True)
    (home / "link").symlink_to(tmp_path / "mine")
    run("clear")
    assert (tmp_path / "mine" / "file").exists()
