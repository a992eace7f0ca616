"""The commands that answer for sequences, through the real entry point, on tiny files."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast as package
from holdfast.cli import classify as module
from tests.cli.test_text import ENTRY, ENVIRONMENT, invoked
from tests.support import arrays_of

TINY = ["--steps", "30", "--hidden", "8", "--batch-size", "8", "--evaluations", "1", "--json"]
TEXTS = ["a fine film", "a dull film", "fine, and it's moving", "dull\nand long", "film", "no"] * 5
LABELS = ["good", "bad"] * 15


def _table(path: Path, texts: list[str], column: str = "text", labels: list[str] | None = None) -> Path:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([column, "label"] if labels else [column])
        rows.writerows(zip(texts, labels) if labels else ([text] for text in texts))
    return path


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def _fitted(task: str, path: Path, folder: Path, *more: str) -> Path:
    done = invoked("fit", task, path, "--out", folder, *TINY, *more)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _table(tmp_path_factory.mktemp("data") / "reviews.csv", TEXTS, labels=LABELS)


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _fitted("classify", table, tmp_path_factory.mktemp("runs") / "run", "--no-bidirectional")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "series.npz"
    np.savez(path, x=draw.normal(size=(20, 6, 2)), y=np.arange(20.0), lengths=draw.integers(1, 7, 20))
    return path


@pytest.fixture(scope="module")
def regressor(series: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _fitted("regress", series, tmp_path_factory.mktemp("runs") / "run")


def test_each_example_has_a_row_in_the_order_of_the_file(run: Path, tmp_path: Path) -> None:
    texts = [f"{text} {' '.join(['and'] * (k % 7))}" for k, text in enumerate(TEXTS * 150)]  # more than at a time
    done = invoked("classify", run, _table(tmp_path / "many.csv", texts), "--out", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    assert len(texts) > module._TOGETHER
    expected = package.load(run).predict_proba(texts)
    found = _rows((tmp_path / "out.csv").read_text())
    assert list(found[0]) == ["row", "prediction", "probability", "p_bad", "p_good"]
    assert [int(row["row"]) for row in found] == [*range(1, len(texts) + 1)]
    np.testing.assert_allclose([[float(row["p_bad"]), float(row["p_good"])] for row in found], expected, rtol=1e-5)
    for row, probabilities in zip(found, expected):
        assert row["prediction"] == ("bad", "good")[probabilities.argmax()]
        assert row["probability"] == row[f"p_{row['prediction']}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many.csv", "out.csv"]


def test_labels_are_not_needed_and_mean_nothing(run: Path, table: Path, tmp_path: Path) -> None:
    bare = _table(tmp_path / "bare.csv", TEXTS)
    other = _table(tmp_path / "other.csv", TEXTS, labels=["no class that was learned"] * 30)
    outputs = {invoked("classify", run, path).stdout for path in (table, bare, other)}
    assert len(outputs) == 1
    assert len(_rows(outputs.pop())) == 30


def test_numbers_are_said_of_series(regressor: Path, series: Path) -> None:
    done = invoked("regress", regressor, series)
    assert done.exit_code == 0, done.output
    arrays = arrays_of(series)
    expected = package.load(regressor).predict([x[:n] for x, n in zip(arrays["x"], arrays["lengths"])])
    found = _rows(done.stdout)
    assert list(found[0]) == ["row", "prediction"]
    np.testing.assert_allclose([float(row["prediction"]) for row in found], expected, rtol=1e-5)


def test_what_cannot_be_read_is_an_error_or_has_an_empty_answer(run: Path, tmp_path: Path) -> None:
    path = _table(tmp_path / "holes.csv", ["a film", " ", "fine"], labels=["x", "y", "z"])
    done = invoked("classify", run, path, "--out", tmp_path / "out.csv")
    assert done.exit_code == 2
    assert done.stderr == f"holdfast: {path}, line 3: the text is empty; --skip-bad leaves the answer empty\n"
    assert not (tmp_path / "out.csv").exists()
    done = invoked("classify", run, path, "--out", tmp_path / "out.csv", "--skip-bad")
    assert done.exit_code == 0, done.output
    assert "1 of 3 sequences could not be read: their column fault says why" in done.stderr
    found = _rows((tmp_path / "out.csv").read_text())
    assert [row["fault"] for row in found] == ["", "the text is empty", ""]
    assert [bool(row["prediction"]) for row in found] == [True, False, True]
    assert found[1]["p_good"] == ""


def test_series_of_other_channels_are_told(regressor: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, x=np.zeros((2, 5, 3)))
    done = invoked("regress", regressor, path)
    assert done.exit_code == 2
    assert f"{path}, row 1: 3 channels, but the model learned from 2;" in done.stderr


def test_json_is_a_line_for_each_or_one_object_beside_a_file(run: Path, table: Path, tmp_path: Path) -> None:
    lines = invoked("classify", run, table, "--json").stdout.splitlines()
    rows = _rows(invoked("classify", run, table).stdout)
    for line, row in zip(lines, rows, strict=True):
        assert {name: str(value) for name, value in json.loads(line).items()} == row
    out = tmp_path / "out.jsonl"
    done = invoked("classify", run, table, "--out", out, "--json")
    assert json.loads(done.stdout) == {"task": "classify", "sequences": 30, "faults": 0, "out": str(out)}
    assert out.read_text().splitlines() == lines


def test_each_step_has_a_row_with_its_token(run: Path, table: Path) -> None:
    done = invoked("classify", run, table, "--each-step")
    assert done.exit_code == 0, done.output
    found = _rows(done.stdout)
    third = [row for row in found if row["row"] == "3"]
    assert [row["token"] for row in third] == ["fine", ",", "and", "it", "'s", "moving"]
    assert [row["step"] for row in third] == [str(k + 1) for k in range(6)]
    steps = package.load(run).predict_proba_steps([TEXTS[2]])[0]
    np.testing.assert_allclose([float(row["p_good"]) for row in third], steps[:, 1], rtol=1e-5)
    whole = _rows(invoked("classify", run, table).stdout)
    last = {row["row"]: row for row in found}
    assert [last[row["row"]]["prediction"] for row in whole] == [row["prediction"] for row in whole]


def test_a_run_that_reads_from_the_end_too_says_how_to_train_another(regressor: Path, series: Path) -> None:
    done = invoked("regress", regressor, series, "--each-step")
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert (
        "--each-step: a bidirectional model says nothing before it has read the end: train one with --no-"
        in done.stderr
    )


@pytest.mark.full  # tests/cli/test_translate.py has a child that answers line by line
def test_lines_of_a_pipe_are_answered_as_they_come(run: Path) -> None:
    arguments = [*ENTRY, "classify", str(run), "-", "--skip-bad"]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(arguments, text=True, env=ENVIRONMENT, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = []
        for line in ("a fine film", "", "dull, label: x"):
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            if not said:
                said.append(process.stdout.readline())  # the names of the columns
            said.append(process.stdout.readline())  # before the next line is written
        process.stdin.close()
        assert process.wait(60) == 0
    found = _rows("".join(said))
    assert [row["row"] for row in found] == ["1", "2", "3"]
    assert found[1]["fault"] == "the text is empty"
    expected = package.load(run).predict(["a fine film", "dull, label: x"]).tolist()
    assert [found[0]["prediction"], found[2]["prediction"]] == expected


def test_a_column_of_another_name_can_be_named(run: Path, tmp_path: Path) -> None:
    path = _table(tmp_path / "other.csv", TEXTS, column="words")
    refused = invoked("classify", run, path)
    assert refused.exit_code == 2
    assert "no column looks like the text; name it with --text, of 'words'" in refused.stderr
    assert len(_rows(invoked("classify", run, path, "--text", "words").stdout)) == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "out.parquet"], "--out must end in .csv or .jsonl; got out.parquet"),
        (["--out", "no/such/out.csv"], "--out: there is no folder no/such"),
        (["-"], "- is all that is read: name it without other files"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(
    run: Path, table: Path, arguments: list[str], message: str
) -> None:
    done = invoked("classify", run, table, *arguments)
    assert done.exit_code == 2
    assert done.stderr == f"holdfast: {message}\n"


def test_a_file_that_is_read_is_not_written(run: Path, table: Path) -> None:
    before = table.read_bytes()
    done = invoked("classify", run, table, "--out", table)
    assert f"--out: {table} is a file that is read" in done.stderr
    assert table.read_bytes() == before


def test_a_run_of_another_task_is_refused(run: Path, regressor: Path, table: Path) -> None:
    for command, folder, task in (("regress", run, "classify"), ("classify", regressor, "regress")):
        done = invoked(command, folder, table)
        assert (
            done.stderr
            == f"holdfast: {command} needs a run of the task {command}; {folder} is one of the task {task}\n"
        )


def test_a_pipe_is_for_texts(regressor: Path) -> None:
    assert "- is for texts, but the run reads series: name a file" in invoked("regress", regressor, "-").stderr


def test_the_help_says_what_is_written() -> None:
    done = invoked("classify", "--help", COLUMNS="200")
    assert "that of each class as p_NAME" in " ".join(done.stdout.split())
