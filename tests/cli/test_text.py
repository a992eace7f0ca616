"""The language model's commands on tiny data, in this process and through the real entry point."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from holdfast import cli
from holdfast.cli import use
from holdfast.cli.commands import commands
from holdfast.tasks.text import Text
from tests.reports import reports

ENTRY = [sys.executable, "-W", "error", "-m", "holdfast.cli"]
TINY = ["--hidden", "8", "--embedding", "4", "--batch-size", "4", "--window", "16", "--evaluations", "2"]
MEASURES = {"nats", "bits_per_char", "perplexity", "tokens"}
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "TERM": "dumb", "COLUMNS": "200", "PYTHONUNBUFFERED": ""}


def invoked(*arguments: str | Path, **environment: str) -> Result:
    """A command in this process."""
    return CliRunner().invoke(commands, list(map(str, arguments)), env=environment)


def config_of(run: Path) -> dict[str, Any]:
    return tomllib.loads((run / "config.toml").read_text())


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rhyme.txt"
    path.write_text("the cat sat on the mat\nthe rat sat on the cat\n" * 60)
    return path


@pytest.fixture(scope="module")
def run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    with reports(True):
        done = invoked("fit", "text", text, "--out", folder, "--steps", "30", *TINY, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"task", "split", "baselines", "advice", *MEASURES}
    assert (found["task"], found["split"]) == ("text", "valid")
    assert set(found["baselines"]) == {"unigram", "5-gram"}
    assert all(set(measures) == MEASURES for measures in found["baselines"].values())
    assert done.stderr == ""
    return folder


@pytest.fixture(scope="module")
def other_run(run: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the run was, with one option and all data but the training data its own."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "valid.txt").write_text("the cat sat on the rat\n" * 5)
    (folder / "test.txt").write_text("the rat sat on the mat\n" * 7)
    parts = ["--valid", folder / "valid.txt", "--test", folder / "test.txt"]
    known = ["--config", run / "config.toml", "--set", "layers=2", "--quiet"]
    done = invoked("fit", "text", *parts, "--out", folder / "run", *known)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    return folder / "run"


@pytest.fixture(scope="module")
def words(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose tokens are words."""
    folder = tmp_path_factory.mktemp("words") / "run"
    done = invoked("fit", "text", text, "--out", folder, "--level", "word", "--steps", "1", *TINY, "--quiet")
    assert done.exit_code == 0, done.stderr
    return folder


def test_a_configuration_gives_what_the_flags_do_not(run: Path, text: Path, other_run: Path) -> None:
    found, known = config_of(other_run), config_of(run)
    assert found["options"] == known["options"] | {"layers": 2}
    assert found["data"]["data"] == [str(text)]
    assert found["data"]["valid"] == [str(other_run.parent / "valid.txt")]
    assert found["data"]["test"] == [str(other_run.parent / "test.txt")]


def test_a_split_is_the_part_that_was_given_for_it(other_run: Path) -> None:
    for split, characters in (("valid", 23 * 5), ("test", 23 * 7)):
        found = json.loads(invoked("evaluate", other_run, "--split", split, "--no-baselines", "--json").stdout)
        assert (found["split"], found["tokens"], found["baselines"]) == (split, characters - 1, {})
    found = json.loads(invoked("evaluate", other_run, "--json").stdout)
    assert (found["split"], set(found["baselines"])) == ("test", {"unigram", "5-gram"})


def test_a_flag_wins_over_set_that_over_the_file_and_that_over_a_preset(text: Path, tmp_path: Path) -> None:
    (tmp_path / "file.toml").write_text(f"clip = 0.3\ndropout = 0.3\nbatch-size = 5\n[data]\ndata = '{text}'")
    arguments = ["--preset", "large", "--config", tmp_path / "file.toml", "--steps", "1", "--quiet"]
    assigned = ["--set", "learning-rate=0.2", "--set", "clip=0.2", "--set", "hidden=16"]
    flags = ["--learning-rate", "0.1", "--hidden", "8", "--batch-size", "4"]
    done = invoked("fit", "text", "--out", tmp_path / "run", *arguments, *assigned, *flags)
    assert done.exit_code == 0, done.stderr
    options = config_of(tmp_path / "run")["options"]
    assert {"learning_rate": 0.1, "hidden": 8, "clip": 0.2, "dropout": 0.3, "batch_size": 4}.items() <= options.items()
    assert options["weight_decay"] == Text.presets["large"].options["weight_decay"]


def test_help_says_what_a_preset_sets() -> None:
    shown = " ".join(invoked("fit", "text", "--help").stdout.split())
    assert "Preset awd, for words: level=word, embedding=400," in shown
    assert "Preset large, for texts of a hundred megabytes and more: hidden=1024," in shown


def test_the_report_is_no_wider_than_a_phone(run: Path, fits_a_phone: Callable[[str], None]) -> None:
    fits_a_phone((run / "report.html").read_text())


def test_fit_writes_a_run(run: Path) -> None:
    names = {p.name for p in run.iterdir()}
    written = {"config.toml", "metrics.jsonl", "model.safetensors", "checkpoints", "report.html", "README.md"}
    assert names == {*written, ".origin"}
    page = (run / "report.html").read_text()
    assert all(part in page for part in ("<h2>Training</h2>", "<h2>Samples</h2>", "5-gram", "The gate f"))
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_evaluate_prints_one_json_object_and_nothing_else(run: Path, text: Path) -> None:
    own = json.loads(invoked("evaluate", run, "--json").stdout)
    assert own["split"] == "valid"
    other = json.loads(invoked("evaluate", run, text, "--json").stdout)
    assert other["split"] == "given"
    assert other["tokens"] == len(text.read_text()) - 1
    assert 0 < other["nats"] < 4


def test_a_terminal_sees_what_is_being_done(text: Path, tmp_path: Path) -> None:
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm", "XDG_CACHE_HOME": str(tmp_path)}
    fitted = invoked("fit", "text", text, "--out", tmp_path / "run", "--steps", "3", *TINY, **terminal)
    assert fitted.exit_code == 0
    assert "writing the report" in fitted.stderr
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", fitted.stderr)
    assert re.search(r"step 3 of 3  \d+:\d\d left  loss \d\.\d{3}  valid nats \d\.\d{4}", shown)
    assert "measuring the baselines" in invoked("evaluate", tmp_path / "run", **terminal).stderr
    assert invoked("evaluate", tmp_path / "run", "--json", **terminal).stderr == ""


def test_a_terminal_that_cannot_draw_again_is_spared_what_is_being_done(run: Path) -> None:
    assert invoked("evaluate", run, FORCE_COLOR="1", TERM="dumb").stderr == ""


def test_evaluate_shows_a_table(run: Path) -> None:
    done = invoked("evaluate", run)
    assert done.exit_code == 0
    assert all(word in done.stdout for word in ("this model", "unigram", "5-gram", "bits_per_char"))


@pytest.mark.parametrize("width", [20, 30, 200])
def test_no_number_is_cut_however_narrow_a_terminal_is(run: Path, width: int) -> None:
    found = json.loads(invoked("evaluate", run, "--json").stdout)
    shown = invoked("evaluate", run, COLUMNS=str(width)).stdout
    verdict, *lines = shown.splitlines()  # which is a sentence, and in a pipe one line
    assert verdict.startswith("The model ")
    assert all(len(line.rstrip()) <= max(width, 24) for line in lines)
    for measures in (found, *found["baselines"].values()):
        assert all(f" {measures[name]:,.4f}" in shown for name in ("nats", "bits_per_char", "perplexity"))


@pytest.mark.parametrize("arguments", [["evaluate", "{run}"], ["fit", "text", "{text}", "--steps", "1", *TINY]])
@pytest.mark.parametrize("as_json", [False, True])
def test_notes_go_to_standard_error(
    arguments: list[str], as_json: bool, run: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.tasks.text.BASELINE_TOKENS", 200)
    more = ["--json"] if as_json else []
    out = ["--out", str(tmp_path / "run")] if arguments[0] == "fit" else []
    done = invoked(*(a.format(run=run, text=text) for a in arguments), *out, *more)
    assert "holdfast: The baselines learned from the first 200 tokens of the training text.\n" in done.stderr
    assert "The baselines" not in done.stdout
    if as_json:
        assert json.loads(done.stdout)["baselines"]


def test_lines_are_scored_in_their_order(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("the cat sat on the mat\nzzzz qqqq\n\nthe\n")
    rows = [line.split("\t") for line in invoked("evaluate", run, path, "--per-line").stdout.splitlines()]
    assert [text for _, text in rows] == path.read_text().splitlines()
    likely, unlikely, *_ = (float(nats) for nats, _ in rows)
    assert unlikely > likely
    found = [json.loads(one) for one in invoked("evaluate", run, path, "--per-line", "--json").stdout.splitlines()]
    assert [one["line"] for one in found] == [1, 2, 3, 4]
    for one, (nats, text) in zip(found, rows, strict=True):
        assert (one["file"], one["text"], one["tokens"]) == (str(path), text, len(text) + 1)
        assert one["nats"] == pytest.approx(one["nats_per_token"] * one["tokens"])
        assert f"{one['nats_per_token']:.4f}" == nats


@pytest.mark.full  # the test below has it in this process
@pytest.mark.skipif(sys.platform == "win32", reason="has no such signal")
@pytest.mark.parametrize(
    "arguments",
    [["generate", "{run}", "--length", "100000"], ["evaluate", "{run}"]],
)
def test_it_ends_without_a_word_where_nobody_reads_on(arguments: list[str], run: Path) -> None:
    child = subprocess.Popen(
        [*ENTRY, *(a.format(run=run) for a in arguments)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait(60) == 141
    child.stderr.close()


def _ended(monkeypatch: pytest.MonkeyPatch, output: io.TextIOWrapper, *arguments: str | Path) -> object:
    """The exit code of the entry point, called in this process, with an output of its own."""
    interrupted = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["holdfast", *map(str, arguments)])
        patch.setattr(sys, "stdout", output)
        try:
            with pytest.raises(SystemExit) as end:
                cli.app()
        finally:
            signal.signal(signal.SIGINT, interrupted)  # the entry point ignores it in the end
    return end.value.code


def test_a_table_ends_without_a_word_where_nobody_reads_on(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with io.TextIOWrapper(io.FileIO(writing, "w"), write_through=True) as output:
        assert _ended(monkeypatch, output, "evaluate", run, "--no-baselines") == 141
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("flags", [["--temperature", "0"], ["--top-k", "1"], ["--min-p", "1"], ["--top-p", "1e-9"]])
def test_where_one_token_is_left_the_seed_changes_nothing(flags: list[str], run: Path) -> None:
    def text(seed: str, *more: str) -> str:
        return invoked("generate", run, "--length", "30", "--seed", seed, *more).stdout

    assert text("1", *flags) == text("2", *flags) == text("1", "--temperature", "0")
    assert text("1") != text("2")


def test_a_penalty_is_against_what_came_lately(run: Path) -> None:
    how = ["--length", "40", "--temperature", "0", "--json"]
    without, penalised = (
        json.loads(invoked("generate", run, *how, *more).stdout)["texts"][0]
        for more in ([], ["--repetition-penalty", "5"])
    )
    assert len(set(penalised)) > len(set(without))


def test_a_text_ends_before_a_stop(run: Path) -> None:
    how = ["--length", "60", "--seed", "3", "--json"]
    (whole,) = json.loads(invoked("generate", run, *how).stdout)["texts"]
    stops = [whole[20:22], whole[30:33]]
    (ended,) = json.loads(invoked("generate", run, *how, "--stop", stops[1], "--stop", stops[0]).stdout)["texts"]
    assert ended == whole[: min(map(whole.index, stops))]


def test_several_texts_are_those_of_the_json_and_the_first_comes_as_it_is_made(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = ["generate", str(run), "--prompt", "the ", "--count", "3", "--length", "20"]
    texts = json.loads(invoked(*how, "--json").stdout)["texts"]
    assert len(set(texts)) == 3
    shown = "".join(f"--- {number}\nthe {text}\n" for number, text in enumerate(texts, 1))
    assert invoked(*how).stdout == shown

    def stopped(*_: object, **__: object) -> Iterator[list[str]]:
        yield [text[0] for text in texts]
        yield [text[1] for text in texts]
        raise KeyboardInterrupt

    monkeypatch.setattr("holdfast.tasks.text.write", stopped)
    done = invoked(*how)
    assert (done.exit_code, done.stdout) == (130, f"--- 1\nthe {texts[0][:2]}")


def test_what_an_output_cannot_show_does_not_end_it(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = io.BytesIO()
    output = io.TextIOWrapper(written, encoding="ascii")
    assert _ended(monkeypatch, output, "generate", run, "--prompt", "é", "--length", "5") == 0
    assert written.getvalue()[:1] == b"?"
    assert capsys.readouterr().err.count("\n") == 1, "what the model does not know, and nothing else"


def test_generate_goes_on_from_a_prompt(run: Path) -> None:
    done = invoked("generate", run, "--prompt", "the ", "--length", "20", "--seed", "3")
    assert done.stdout.startswith("the ")
    assert len(done.stdout) == len("the ") + 20 + 1
    again = invoked("generate", run, "--prompt", "the ", "--length", "20", "--seed", "3", "--json")
    assert "the " + json.loads(again.stdout)["texts"][0] + "\n" == done.stdout


def test_generate_takes_characters_it_has_never_seen(run: Path) -> None:
    done = invoked("generate", run, "--prompt", "日本 Ω", "--length", "5", "--count", "2")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count("日本 Ω") == 2
    assert done.stderr == (
        "holdfast: --prompt: The model does not know '日', '本', 'Ω', which are read as the unknown character.\n"
    )
    assert invoked("generate", run, "--prompt", "the ", "--length", "5").stderr == ""


def test_words_of_a_prompt_that_the_model_does_not_know_are_named(words: Path) -> None:
    done = invoked("generate", words, "--prompt", "the zebra sat", "--length", "2", "--json")
    assert done.exit_code == 0, done.stderr
    assert "The model does not know 'zebra'" in done.stderr
    assert "as the unknown word.\n" in done.stderr


def test_info_shows_what_a_run_is(run: Path) -> None:
    found = json.loads(invoked("info", run, "--json").stdout)
    assert found["task"] == "text"
    assert found["options"]["hidden"] == 8
    assert "LSTM(4, 8" in invoked("info", run).stdout


def test_info_shows_numbers_in_full(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    saved = {"step": 3, "valid": {"nats": 1.44953, "tokens": 111_539, "perplexity": 123_456.7}}
    about = {"saved": saved, "config": {"data": {}, "options": {"steps": 5}}, "model": torch.nn.Linear(1, 1)}
    monkeypatch.setattr(use, "opened", lambda folder: SimpleNamespace(task=Text(), **about))
    use.info(Path("run"))
    shown = capsys.readouterr().out
    assert "  valid nats: 1.4495\n  valid tokens: 111,539\n  valid perplexity: 123,457\n" in shown


def test_a_run_that_is_stopped_is_saved_and_goes_on_to_the_same_losses(text: Path, tmp_path: Path) -> None:
    options = ["--steps", "300", *TINY, "--quiet"]
    assert invoked("fit", "text", text, "--out", tmp_path / "whole", *options).exit_code == 0
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
    assert child.stderr is not None
    way = f"holdfast fit --resume {tmp_path / 'parts'}"
    assert (
        child.stderr.readline().decode() == f"holdfast: stopped; what was learned is saved, and {way} goes on with it\n"
    )
    child.send_signal(signal.SIGINT)  # again, while it ends
    _, errors = child.communicate(timeout=60)
    assert (child.returncode, errors) == (130, b"")
    assert invoked("fit", "--resume", tmp_path / "parts", "--quiet").exit_code == 0
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
        (["evaluate", "{run}", "{text}", "--split", "test"], "--split test is a part of the run's own data"),
        (["evaluate", "{run}", "--split", "tset"], "the run has no tset part; it has valid"),
        (["evaluate", "{run}", "--per-line"], "--per-line needs the files"),
        (["generate", "{run}", "--top-p", "2"], "top_p must be"),
        (["generate", "{run}", "--seed", "-1"], "seed must be a whole number of at least 0; got -1"),
        (["generate", "{run}", "--stop", ""], "stop must be a list of texts that are not empty"),
        (["generate", "{words}", "--prompt", "   "], "prompt must have at least one token"),
    ],
)
def test_a_mistake_gives_one_line(arguments: list[str], message: str, run: Path, words: Path, text: Path) -> None:
    check_refused(invoked(*(a.format(folder=text.parent, text=text, run=run, words=words) for a in arguments)), message)
    assert not (text.parent / "new").exists()


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ("data = 'a.txt'", "data must be a table, [data]; got 'a.txt'"),
        ("options = 3", "options must be a table, [options]; got 3"),
        ("[data]\ndata = 3", "data in [data] must be a path, or a list of paths; got 3"),
        ("[data]\nvaild = 'a.txt'", "there is no 'vaild' in [data]; did you mean valid?"),
        ("task = 'txet'", "is of the task 'txet', not text"),
        ("hiden = 3\n[options]\nlayers = 2", "no option 'hiden'; did you mean hidden?"),
        ("hidden = {}", "hidden must be a whole number; got {}"),
        ("hidden", "is not TOML"),
    ],
)
def test_a_configuration_that_is_none_gives_one_line(configuration: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file.toml").write_text(configuration)
    check_refused(invoked("fit", "text", "--out", tmp_path / "new", "--config", tmp_path / "file.toml"), message)


def check_refused(done: Result, message: str) -> None:
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.startswith("holdfast: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_mistake_ends_the_process_with_one_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = io.BytesIO()
    output = io.TextIOWrapper(written)
    assert _ended(monkeypatch, output, "fit", "text", tmp_path / "nothing.txt", "--out", tmp_path / "new") == 2
    assert (written.getvalue(), capsys.readouterr().err.count("\n")) == (b"", 1)
