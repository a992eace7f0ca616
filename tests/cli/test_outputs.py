"""What a command writes is written over nothing that it reads, and is there whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import holdfast
from holdfast.training import Run, RunError
from holdfast.training.files import replaced
from tests.applications import Made, invoked
from tests.reports import reports

WRITING = ("forecast", "classify", "regress", "transcribe", "translate")


def _refused(said: str, *command: str | Path) -> None:
    done = invoked(*command, given="")
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


@pytest.fixture
def mine(made: Callable[[str], Made], tmp_path: Path) -> Callable[[str], tuple[Made, list[str], Path]]:
    """An application, the command that uses it, and a file of mine that the command can read and could write to."""

    def of(name: str) -> tuple[Made, list[str], Path]:
        found = made(name)
        *command, read = found.using()
        suffix = ".wav" if name == "transcribe" else found.application.result
        path = Path(shutil.copy(read, tmp_path / f"mine{suffix}"))
        return found, command, path

    return of


@pytest.mark.sweep(every=5)
@pytest.mark.parametrize("way", ["itself", "another spelling", "a link", "a hard link", "a glob", "a folder"])
@pytest.mark.parametrize("name", ["forecast", "classify", "regress", "translate"])
def test_a_file_that_is_read_is_not_written_to(
    name: str, way: str, mine: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, command, path = mine(name)
    before = path.read_bytes()
    out, read = path, str(path)
    if way == "another spelling":
        monkeypatch.chdir(tmp_path)
        read = f"../{tmp_path.name}/./{path.name}"
    elif way in ("a link", "a hard link"):
        out = tmp_path / f"link{path.suffix}"
        (out.symlink_to if way == "a link" else out.hardlink_to)(path)
    elif way == "a glob":
        read = f"{tmp_path}/mi*{path.suffix}"
    elif way == "a folder":
        read = str(tmp_path)
    _refused("is a file that is read", *command, read, "--out", out)
    assert path.read_bytes() == before
    assert not [*tmp_path.glob(".*.part")]


@pytest.mark.parametrize("prompt", ["--prompt", "--harmonise"])
def test_a_tune_that_is_read_is_not_written_to(prompt: str, made: Callable[[str], Made], tmp_path: Path) -> None:
    tune = Path(shutil.copy(made("compose").data / "tunes" / "00.mid", tmp_path / "tune.mid"))
    _refused("is a file that is read", "compose", made("compose").run, prompt, tune, "--out", tune)


def test_a_text_that_is_looked_at_is_not_written_to(made: Callable[[str], Made], tmp_path: Path) -> None:
    text = Path(shutil.copy(made("text").data / "book.txt", tmp_path / "book.txt"))
    _refused("is a file that is read", "look", made("text").run, "--data", text, "--html", text)
    _refused("is a file of the run", "look", made("text").run, "--html", made("text").run / "report.html")
    assert "cat" in text.read_text()


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize("name", WRITING)
def test_a_file_of_the_run_is_not_written_to(name: str, mine: Callable[[str], Any], tmp_path: Path) -> None:
    found, _, path = mine(name)
    run = Run.open(found.run).copied_to(tmp_path / "run").folder
    own = run / f"data/kept{found.application.result}"
    own.parent.mkdir()
    own.write_text("kept")
    command = [name, run, path]
    _refused("is a file of the run", *command, "--out", own)
    assert own.read_text() == "kept"
    if name != "forecast":  # which writes no such files
        _refused("is a file of the run", *command, "--out", run / "metrics.jsonl")


def test_the_data_that_a_run_was_made_of_are_not_written_to(made: Callable[[str], Made]) -> None:
    sales = made("forecast").data / "sales.csv"
    before = sales.read_bytes()
    for command in ("forecast", "backtest", "detect"):
        _refused("was made of", command, made("forecast").run, "--out", sales)
    assert sales.read_bytes() == before


def test_a_picture_is_an_svg_and_is_not_written_over_what_is_read(made: Callable[[str], Made], tmp_path: Path) -> None:
    sales = Path(shutil.copy(made("forecast").data / "sales.csv", tmp_path / "sales.csv"))
    _refused("--picture must end in .svg", "forecast", made("forecast").run, sales, "--picture", sales)


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize("name", WRITING)
def test_what_was_there_stays_where_the_disk_is_full(
    name: str, mine: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, command, path = mine(name)
    out = tmp_path / f"out{found.application.result}"
    out.write_text("what was there")
    real = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).name == out.name:
            raise OSError(28, "No space left on device", str(source))
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    done = invoked(*command, path, "--out", out)
    assert done.exit_code == 2
    assert "No space left on device" in done.stderr
    assert out.read_text() == "what was there"
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([path.name, out.name])


def test_a_file_beside_of_mine_is_not_taken_for_what_is_half_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv.part").write_text("mine")
    with replaced(tmp_path / "a.csv") as beside:
        beside.write_text("new")
    assert (tmp_path / "a.csv.part").read_text() == "mine"
    assert (tmp_path / "a.csv").read_text() == "new"
    assert len([*tmp_path.iterdir()]) == 2


def test_a_link_to_write_to_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a.csv").symlink_to(tmp_path / "there" / "b.csv")
    with replaced(tmp_path / "a.csv") as beside:
        beside.write_text("new")
    assert (tmp_path / "a.csv").is_symlink()
    assert (tmp_path / "there" / "b.csv").read_text() == "new"


# In Python.

TINY: dict[str, Any] = {"steps": 2, "hidden": 8, "batch_size": 4, "evaluations": 1}
TABLE = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=112), "y": np.sin(np.arange(112) * 0.9)})
TEXTS, LABELS = ["a fine film", "a dull film"] * 8, ["good", "bad"] * 8
LEARNERS: dict[str, Callable[[Path], Any]] = {
    "forecast": lambda out: holdfast.Forecaster(**TINY, horizon=4, model="patches", base="last", season=(7,)).fit(
        TABLE, out=out
    ),
    "classify": lambda out: holdfast.SequenceClassifier(**TINY, embedding=4).fit(TEXTS, LABELS, out=out),
    "regress": lambda out: holdfast.SequenceRegressor(**TINY, embedding=4).fit(TEXTS, [1.0, 2.0] * 8, out=out),
}
KEPT = {"forecast": "table.parquet", "classify": "classes.json", "regress": "train.jsonl"}


@pytest.mark.parametrize("name", LEARNERS)
def test_data_in_memory_are_kept_over_nothing_of_mine(name: str, tmp_path: Path) -> None:
    mine = tmp_path / "data" / KEPT[name]
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(RunError, match="data is there already, and data that are in memory are kept there"):
        LEARNERS[name](tmp_path)
    assert mine.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_run_is_saved_over_nothing_of_mine(tmp_path: Path) -> None:
    with reports(False):
        model = LEARNERS["regress"](tmp_path / "run")
    mine = tmp_path / "there" / "data" / "train.jsonl"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(RunError, match="exists and is not empty"):
        model.save(tmp_path / "there")
    assert mine.read_text() == "mine"
    assert model.evaluate(baselines=False).measures == holdfast.load(model.save(tmp_path / "saved")).evaluate().measures
