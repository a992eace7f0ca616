"""`holdfast lab` on tiny contests, in this process and through the real entry point."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from holdfast.cli.commands import commands
from holdfast.lab import CONTESTANTS, PROBLEMS
from holdfast.lab.digits import DIGITS
from tests.lab.idx_files import write_digits

ENTRY = [sys.executable, "-W", "error", "-m", "holdfast.cli", "lab"]
TINY = ["--units", "4", "--sequences", "64", "--workers", "1"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "TERM": "dumb", "COLUMNS": "160"}


def invoked(*arguments: str | Path) -> Result:
    """The command in this process."""
    return CliRunner().invoke(commands, ["lab", *map(str, arguments)], env={"COLUMNS": "160"})


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny digits."""
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    return folder


def test_a_contest_says_who_learned_it_and_writes_a_report(tmp_path: Path) -> None:
    done = invoked("order", "--lag", "10,20", "--cells", "lstm,rnn", "--seeds", "2", "--out", tmp_path / "out", *TINY)
    assert done.exit_code == 0, done.stderr
    assert "Hochreiter and Schmidhuber 1997, experiment 6a" in done.stdout
    assert "learned: every output at the end within 0.3 of what is right" in done.stdout
    assert [line.split()[:5] for line in done.stdout.splitlines() if line.startswith((" lstm", " rnn"))] == [
        [who, lag, "0", "of", "2"] for lag in ("10", "20") for who in ("lstm", "rnn")
    ]
    assert done.stderr.splitlines()[0].startswith("1 of 8: lstm, lag 10, seed 0: not learned in 64 sequences, ")
    assert len(done.stderr.splitlines()) == 8
    for name in ("report.html", "success.svg", "needed.svg"):
        assert "<svg" in (tmp_path / "out" / name).read_text()
    assert len((tmp_path / "out" / "trials.jsonl").read_text().splitlines()) == 8


def test_json_is_one_object_and_nothing_else(tmp_path: Path) -> None:
    done = invoked("reber", "--cells", "gru", "--seeds", "1", "--out", tmp_path / "out", "--json", *TINY)
    assert (done.exit_code, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["task"] == "reber"
    assert found["recipe"]["units"] == 4
    (standing,) = found["standings"]
    assert (standing["contestant"], standing["solved"], standing["seeds"], standing["seen"]) == ("gru", 0, 1, 64)


def test_quiet_is_quiet(tmp_path: Path) -> None:
    done = invoked("order", "--lag", "10", "--cells", "rnn", "--seeds", "1", "--out", tmp_path / "o", "--quiet", *TINY)
    assert (done.exit_code, done.output) == (0, "")
    assert (tmp_path / "o" / "report.html").is_file()


@pytest.mark.full  # the signal is in the test of a training below, workers that end are in tests/lab/test_contest.py
@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_ends_it_with_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["order", "--lag", "10", "--cells", "rnn,gru", "--seeds", "4", "--out", str(out), "--workers", "2"]
    command += ["--units", "4", "--sequences", "1000"]
    child = subprocess.Popen([*ENTRY, *command], stderr=subprocess.PIPE, env=ENVIRONMENT, start_new_session=True)
    trials, started = out / "trials.jsonl", time.monotonic()
    while not (trials.exists() and trials.read_text().count("\n") > 1):
        assert child.poll() is None
        assert time.monotonic() - started < 90
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGINT)  # to all of its processes, as a terminal does
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    *progress, last = errors.decode().splitlines()
    assert last == f"holdfast: stopped; the same command goes on with what is in {out}"
    assert all(" of 8: " in line for line in progress)
    held = trials.read_text().count("\n")
    assert 1 < held < 8
    done = invoked(*command, "--workers", "1")  # in this process
    assert done.exit_code == 0
    assert len(done.stderr.splitlines()) == 8 - held


def test_a_contest_on_digits_says_how_many_were_recognised_and_writes_a_report(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["digits-rows", "--data", digits, "--cells", "lstm,rnn", "--seeds", "2", "--out", out]
    command += ["--units", "4", "--minutes", "0.01"]
    done = invoked(*command)
    assert done.exit_code == 0, done.stderr
    assert "digits-rows: which digit an image shows, read row by row" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith((" lstm", " rnn"))]
    assert [row[:2] for row in rows] == [["lstm", "2"], ["rnn", "2"]]
    said = done.stderr.splitlines()
    assert said[0] == "lstm, seed 0: 0.01 minutes"
    assert [line.split(":")[0] for line in said if " of 4: " in line] == [f"{k} of 4" for k in (1, 2, 3, 4)]
    assert any(line.startswith("step ") and "valid error 0." in line for line in said)
    assert "<svg" in (out / "report.html").read_text()
    results = {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/result.json")}
    assert sorted(results) == ["lstm-0", "lstm-1", "rnn-0", "rnn-1"]
    mean = (results["rnn-0"]["test"] + results["rnn-1"]["test"]) / 2
    assert rows[1][2] == f"{mean:.2%}"
    again = invoked(*command, "--json")
    assert again.exit_code == 0
    found = json.loads(again.output)
    assert found["standings"][1]["test"] == pytest.approx(mean)
    assert (found["recipe"]["units"], found["recipe"]["minutes"]) == (4, 0.01)
    refused = invoked(*command, "--no-norm", "--start", "forget", "--learning-rate", "0.01")
    assert (refused.exit_code, "with another recipe; choose another --out" in refused.output) == (2, True)


def test_quiet_is_quiet_on_digits(digits: Path, tmp_path: Path) -> None:
    arguments = ["--cells", "rnn", "--seeds", "1", "--units", "4", "--minutes", "0.01", "--no-norm", "--quiet"]
    done = invoked("digits-permuted", "--data", digits, "--out", tmp_path / "o", *arguments)
    assert (done.exit_code, done.output) == (0, "")
    assert (tmp_path / "o" / "report.html").is_file()
    assert "norm = false" in (tmp_path / "o" / "rnn-0" / "config.toml").read_text()


@pytest.mark.full  # tests/cli/test_text.py sends the signal, tests/lab stop and go on in their own process
@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_in_the_middle_of_a_training_saves_it_and_the_same_command_goes_on(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["digits-rows", "--data", str(digits), "--cells", "rnn", "--seeds", "1", "--out", str(out)]
    command += ["--units", "4", "--minutes", "0.03"]
    child = subprocess.Popen([*ENTRY, *command], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith("step "):
            break
    child.send_signal(signal.SIGINT)
    *_, last = child.stderr.read().splitlines()
    assert child.wait(timeout=60) == 130
    child.stderr.close()
    assert last == f"holdfast: stopped; the same command goes on with what is in {out}"
    run = out / "rnn-0"
    assert not (run / "result.json").exists()
    done = invoked(*command)
    assert done.exit_code == 0, done.stderr
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))
    assert json.loads((run / "result.json").read_text())["images"] == 100 * len(steps)


def test_help_names_every_task_and_contestant() -> None:
    told = invoked("--help").output
    for name in (*PROBLEMS, *DIGITS, *CONTESTANTS, "hmm"):
        assert f"\n    {name} " in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ordr"], "there is no task 'ordr'; did you mean order?"),
        (["order", "--cells", "lstm,grru"], "there is no contestant 'grru'; did you mean gru?"),
        (["order", "--cells", ","], "--cells names nobody"),
        (["order", "--lag", "ten"], "--lag must be whole numbers, with commas between; got 'ten'"),
        (["order", "--lag", "100,5"], "lag must be at least 10 for the task order; got 5"),
        (["reber", "--lag", "7"], "the lag of the task reber follows from its strings; got 7"),
        (["adding", "--cells", "hmm"], "tasks of symbols only; adding is of numbers"),
        (["order", "--start", "kept"], "there is no start 'kept'; did you mean keep?"),
        (
            ["order", "--data", "{digits}"],
            "--data is for digits-rows, digits-pixels, digits-permuted; the",
        ),
        (["digits-row", "--data", "{digits}"], "there is no task 'digits-row'; did you mean digits-rows?"),
        (["digits-rows"], "digits-rows needs --data, the folder of the four idx files"),
        (["digits-rows", "--data", "{nowhere}"], "nowhere does not exist"),
        (["digits-rows", "--data", "{file}"], "file is not a folder"),
        (["digits-rows", "--data", "{folder}"], "lacks train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images"),
        (["digits-rows", "--data", "{digits}", "--lag", "10"], "--lag is not for digits-rows: its sequences are as"),
        (["digits-rows", "--data", "{digits}", "--sequences", "9"], "--sequences is not for digits-rows: a training"),
        (["digits-rows", "--data", "{digits}", "--workers", "2"], "--workers is not for digits-rows: its trainings"),
        (["digits-rows", "--data", "{digits}", "--cells", "hmm"], "of symbols only; digits-rows is of numbers"),
        (["digits-rows", "--data", "{digits}", "--cells", "grru"], "no contestant 'grru'; did you mean gru?"),
        (["digits-rows", "--data", "{digits}", "--start", "kept"], "there is no start 'kept'; did you mean keep?"),
        (["digits-rows", "--data", "{digits}", "--out", "{folder}"], "is not a contest's folder"),
        (["order", "--out", "{file}"], "is not a contest's folder"),
        (["order", "--out", "{folder}"], "is not a contest's folder"),
    ],
)
def test_a_mistake_ends_with_one_line(arguments: list[str], message: str, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    places = {"{file}": tmp_path / "file", "{folder}": tmp_path, "{nowhere}": tmp_path / "nowhere", "{digits}": digits}
    done = invoked(
        *(str(places.get(a, a)) for a in arguments), *([] if "--out" in arguments else ["--out", tmp_path / "o"])
    )
    assert done.exit_code == 2
    (line,) = done.output.splitlines()
    assert line.startswith("holdfast: ")
    assert message in line
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [("hmmlearn.hmm", "lab", ["order", "--cells", "hmm"]), ("tomli_w", "train", ["digits-rows", "--data", "{digits}"])],
)
def test_a_package_that_is_missing_is_named_before_anything_is_tried(
    package: str, extra: str, arguments: list[str], digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (package.partition(".")[0], package):
        monkeypatch.setitem(sys.modules, module, None)
    done = invoked(*(str(digits) if a == "{digits}" else a for a in arguments), "--out", tmp_path / "o")
    assert done.exit_code == 2
    assert f"pip install 'holdfast[{extra}]'" in done.output
    assert not (tmp_path / "o").exists()
