"""The language model's commands, through the real entry point, on tiny data."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holdfast.cli import app

ENTRY = [sys.executable, "-W", "error", "-m", "holdfast.cli"]
TINY = ["--hidden", "8", "--embedding", "4", "--batch-size", "4", "--window", "16", "--evaluations", "2"]
MEASURES = {"nats", "bits_per_char", "perplexity", "tokens"}
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "TERM": "dumb", "COLUMNS": "200"}


def holdfast(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ENTRY, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT | environment,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rhyme.txt"
    path.write_text("the cat sat on the mat\nthe rat sat on the cat\n" * 60)
    return path


@pytest.fixture(scope="module")
def run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = holdfast("fit", "text", text, "--out", folder, "--steps", "30", *TINY, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"task", "split", "baselines", *MEASURES}
    assert (found["task"], found["split"]) == ("text", "valid")
    assert set(found["baselines"]) == {"unigram", "5-gram"}
    assert all(set(measures) == MEASURES for measures in found["baselines"].values())
    assert done.stderr == ""
    return folder


def test_fit_writes_a_run(run: Path) -> None:
    names = {p.name for p in run.iterdir()}
    assert names == {"config.toml", "metrics.jsonl", "model.safetensors", "checkpoints", "report.html", "README.md"}
    page = (run / "report.html").read_text()
    assert all(part in page for part in ("<h2>Training</h2>", "<h2>Samples</h2>", "5-gram", "The gate f"))
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_evaluate_prints_one_json_object_and_nothing_else(run: Path, text: Path) -> None:
    own = json.loads(holdfast("evaluate", run, "--json").stdout)
    assert own["split"] == "valid"
    other = json.loads(holdfast("evaluate", run, text, "--json").stdout)
    assert other["split"] == "given"
    assert other["tokens"] == len(text.read_text()) - 1
    assert 0 < other["nats"] < 4


def test_a_terminal_sees_what_is_being_done(text: Path, tmp_path: Path) -> None:
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm", "XDG_CACHE_HOME": str(tmp_path)}
    fitted = holdfast("fit", "text", text, "--out", tmp_path / "run", "--steps", "3", *TINY, **terminal)
    assert fitted.returncode == 0
    assert "writing the report" in fitted.stderr
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", fitted.stderr)
    assert re.search(r"training .* 3/3 loss \d\.\d{3}  [\d,]+ tokens/s  valid nats \d\.\d{4}", shown)
    assert "measuring the baselines" in holdfast("evaluate", tmp_path / "run", **terminal).stderr
    assert holdfast("evaluate", tmp_path / "run", "--json", **terminal).stderr == ""


def test_evaluate_shows_a_table(run: Path) -> None:
    done = holdfast("evaluate", run)
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("this model", "unigram", "5-gram", "bits_per_char"))


def test_lines_are_scored_in_their_order(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("the cat sat on the mat\nzzzz qqqq\nthe\n")
    done = holdfast("evaluate", run, path, "--per-line")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [text for _, text in rows] == path.read_text().splitlines()
    likely, unlikely, _ = (float(nats) / (len(text) + 1) for nats, text in rows)
    assert unlikely > likely


def test_generate_goes_on_from_a_prompt(run: Path) -> None:
    done = holdfast("generate", run, "--prompt", "the ", "--length", "20", "--seed", "3")
    assert done.stdout.startswith("the ")
    assert len(done.stdout) == len("the ") + 20 + 1
    again = holdfast("generate", run, "--prompt", "the ", "--length", "20", "--seed", "3", "--json")
    assert "the " + json.loads(again.stdout)["texts"][0] + "\n" == done.stdout


def test_generate_takes_characters_it_has_never_seen(run: Path) -> None:
    done = holdfast("generate", run, "--prompt", "日本 Ω", "--length", "5", "--count", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("日本 Ω") == 2


def test_info_shows_what_a_run_is(run: Path) -> None:
    found = json.loads(holdfast("info", run, "--json").stdout)
    assert found["task"] == "text"
    assert found["options"]["hidden"] == 8
    assert "LSTM(4, 8" in holdfast("info", run).stdout


def test_a_run_that_is_stopped_is_saved_and_goes_on_to_the_same_losses(text: Path, tmp_path: Path) -> None:
    options = ["--steps", "300", *TINY, "--quiet"]
    assert holdfast("fit", "text", text, "--out", tmp_path / "whole", *options).returncode == 0
    child = subprocess.Popen(
        [*ENTRY, "fit", "text", str(text), "--out", str(tmp_path / "parts"), *options],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
    )
    metrics = tmp_path / "parts" / "metrics.jsonl"
    started = time.monotonic()
    while not (metrics.exists() and metrics.stat().st_size) and child.poll() is None:
        assert time.monotonic() - started < 60
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130, errors
    assert errors.decode() == "holdfast: stopped, and saved; holdfast fit --resume goes on with it\n"
    assert holdfast("fit", "--resume", tmp_path / "parts", "--quiet").returncode == 0
    assert (tmp_path / "parts" / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "text", "{folder}/rhime.txt", "--out", "{folder}/new"], "rhime.txt; did you mean"),
        (["fit", "text", "{text}", "--out", "{run}"], "holds a run already; go on with --resume"),
        (
            ["fit", "text", "{text}", "--out", "{folder}/new", "--set", "hiden=3"],
            "no option 'hiden'; did you mean hidden",
        ),
        (["fit", "text", "{text}", "--out", "{folder}/new", "--cell", "lstmm"], "did you mean lstm?"),
        (["fit", "text", "{text}", "--out", "{folder}/new", "--preset", "adw"], "no preset 'adw'"),
        (["fit", "text", sys.executable, "--out", "{folder}/new"], "must be UTF-8 text, but byte"),
        (["fit", "--resume", "{folder}/nothing"], "nothing does not exist"),
        (["evaluate", "{folder}"], "is not a run: it has no config.toml"),
        (["generate", "{run}", "--top-p", "2"], "top_p must be"),
    ],
)
def test_a_mistake_gives_one_line(arguments: list[str], message: str, run: Path, text: Path) -> None:
    done = CliRunner().invoke(app, [a.format(folder=text.parent, text=text, run=run) for a in arguments])
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.startswith("holdfast: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (text.parent / "new").exists()


def test_a_mistake_ends_the_process_with_one_line_too(text: Path, tmp_path: Path) -> None:
    done = holdfast("fit", "text", tmp_path / "nothing.txt", "--out", tmp_path / "new")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
