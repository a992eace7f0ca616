import os
import re
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from holdfast.cli import demo as module
from holdfast.cli.commands import commands

HOLDFAST = Path(sysconfig.get_path("scripts")) / "holdfast"


def demo(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(commands, ["demo", *map(str, arguments)], env=environment)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if training begins."""

    def run(*_: object) -> None:
        raise AssertionError("trained before looking whether the report can be written")

    monkeypatch.setattr(module, "run", run)


def test_a_run_in_a_pipe_prints_plain_text_and_writes_a_page_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    done = demo("--out", out, "--seed", 3, "--steps", 2)
    assert (done.exit_code, done.stderr) == (0, "")
    text = done.stdout
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text), "no control characters"
    *_, where = text.splitlines()
    verdict = next(line for line in text.splitlines() if line.startswith("After "))
    assert "The character model before training:" in text
    assert "nats a character on text it has not seen; a 5-gram model of the same text takes 1.320." in text
    assert verdict.startswith("After 64 sequences the LSTM's error is ")
    assert "it did not learn the task" in verdict
    assert where == f"The report is {out / 'report.html'}"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "//" not in re.sub(r'xmlns="http://www.w3.org/2000/svg"|data:image/png;base64,[A-Za-z0-9+/=]+', "", page)
    assert [path.name for path in out.iterdir()] == ["report.html"]


def test_an_interrupted_training_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run", run)
    done = demo("--out", tmp_path / "out")
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "holdfast: stopped; no report was written\n")
    assert not (tmp_path / "out" / "report.html").exists()


@pytest.mark.full  # the signal itself is sent in tests/cli/test_text.py, its answer is in the test above
@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_an_interrupted_run_says_so_and_exits_with_130(tmp_path: Path) -> None:
    out = tmp_path / "out"
    running = subprocess.Popen(
        [HOLDFAST, "demo", "--out", out], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        for _ in range(600):
            if out.exists() and not any(out.iterdir()):  # made and found writable just before training begins
                break
            time.sleep(0.1)
        time.sleep(3)  # PyTorch imports its compiler first, of which an extension ends the process if it is interrupted
        running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate(timeout=30)
    finally:
        running.kill()
        running.communicate()
    assert (running.returncode, stdout, stderr) == (130, "", "holdfast: stopped; no report was written\n")
    assert not (out / "report.html").exists()


def test_a_terminal_sees_progress_on_standard_error(tmp_path: Path) -> None:
    done = demo("--out", tmp_path, "--steps", 2, FORCE_COLOR="1", TERM="xterm", COLUMNS="100")
    assert done.exit_code == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stderr)
    for name in ("LSTM", "RNN", "writer"):
        assert re.search(rf"{name} +\S+ +2/2 error \d\.\d{{4}} +0:00:00", shown)
    assert "2/2" not in done.stdout


@pytest.mark.full
def test_a_seed_decides_what_is_printed(tmp_path: Path) -> None:
    one, same, other = (demo("--out", tmp_path, "--steps", 1, "--seed", seed).stdout for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.usefixtures("untrained")
def test_a_file_in_the_way_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out, why in ((tmp_path / "file", "Not a directory"), (tmp_path / "file" / "below", "Not a directory")):
        done = demo("--out", out)
        assert done.exit_code == 2
        assert (done.stdout, done.stderr) == ("", f"holdfast: cannot write {out / 'report.html'}: {why}\n")


@pytest.mark.usefixtures("untrained")
def test_a_folder_where_the_report_should_be_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    done = demo("--out", tmp_path)
    assert done.exit_code == 2
    assert done.stderr == f"holdfast: cannot write {tmp_path / 'report.html'}: Is a directory\n"


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    "arguments", [("--steps", 0), ("--steps", "many"), ("--seed", -1), ("--seed", 2**32), ("--lag", 3)]
)
def test_bad_options_are_refused_by_name(arguments: tuple[object, ...]) -> None:
    done = demo(*arguments)
    assert done.exit_code == 2
    assert str(arguments[0]) in done.stderr


def test_a_report_is_written_over_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    assert demo("--out", tmp_path, "--steps", 1).exit_code == 0
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_help_documents_every_option() -> None:
    shown = " ".join(demo("--help").stdout.split())
    for words in ("--out DIR", "[default: holdfast-demo]", "--seed N", "--steps N", "[default: 1500;"):
        assert words in shown
