"""The command that talks, in this process, through the real entry point and in a terminal."""

from __future__ import annotations

import inspect
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from holdfast.cli.commands import commands
from holdfast.models import sample_decode
from holdfast.tasks import opened
from holdfast.tasks.dialogue import Manners
from tests.cli.test_text import ENTRY, ENVIRONMENT, invoked
from tests.support import own_cache
from tests.tasks.dialogue.talks import talks, write

TINY = ["--steps", "200", "--hidden", "32", "--embedding", "16", "--layers", "1", "--vocabulary", "320"]
MORE = ["--learning-rate", "0.02", "--dropout", "0", "--average", "0.05", "--batch-size", "16", "--json"]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        own_cache(patch, tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    path = write(folder / "talks.txt", talks(100, 0))
    done = invoked("fit", "chat", path, "--out", folder / "run", *TINY, *MORE)
    assert done.exit_code == 0, done.output
    return folder / "run"


def _piped(run: Path, typed: str | bytes, *options: str) -> Result:
    return CliRunner().invoke(commands, ["chat", str(run), *options], input=typed)


def test_lines_of_a_pipe_are_replied_to_line_by_line(run: Path) -> None:
    done = _piped(run, "Hello !\n\nWhat is zwei ?\n", "--temperature", "0", "--against-empty", "0")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert lines[:2] == ["Good day .", ""]
    assert lines[2]


def test_of_lines_in_another_encoding_it_says_which(run: Path) -> None:
    done = _piped(run, "Hello !\ncafé\n".encode("latin-1"))
    assert done.exit_code == 2
    assert "standard input" in done.stderr
    assert "UTF-8" in done.stderr


def test_of_a_long_text_it_says_that_the_end_is_read(run: Path) -> None:
    done = _piped(run, "Hello ! " * 300 + "\n")
    assert done.exit_code == 0
    assert "only the end of this is read" in done.stderr


def test_replies_come_as_json(run: Path) -> None:
    rows = [json.loads(line) for line in _piped(run, "Hello !\n\n/reset\n", "--json").stdout.splitlines()]
    assert [row["said"] for row in rows] == ["Hello !", "", "/reset"]
    assert rows[1]["reply"] == ""
    assert all(isinstance(row["reply"], str) for row in rows)


def test_commands_are_obeyed(run: Path) -> None:
    typed = "Hello !\n/history\n/reset\n/history\n/temperature 0\n/temperature hot\n/nonsense\n/quit\nnever read\n"
    said = _piped(run, typed).stdout
    assert "you: Hello !" in said
    assert said.count("you:") == 1
    assert "It has forgotten what was said." in said
    assert "/temperature takes a number of at least 0, like 0.7; got 'hot'" in said
    assert "There is no /nonsense." in said
    assert "still reads)" not in said
    assert "/reset              forget what was said" in said


def test_the_history_shows_from_where_on_it_still_reads(run: Path) -> None:
    said = _piped(run, "Hello !\nGood .\nWhat is zwei ?\n/history\n").stdout.splitlines()
    begin = said.index("(what follows it still reads)")
    assert [line[:4] for line in said[begin - 4 :]] == ["you:", "it: ", "you:", "it: ", "(wha", "you:", "it: "]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What each reply is drawn with; nothing is replied."""
    found: list[SimpleNamespace] = []
    named = inspect.signature(sample_decode)

    def nothing(*given: object, **more: object) -> Iterator[list[int | None]]:
        found.append(SimpleNamespace(**named.bind(*given, **more).arguments))
        yield [None]

    monkeypatch.setattr("holdfast.tasks.dialogue.run.sample_decode", nothing)
    return found


def _talked(run: Path, typed: str, *options: str) -> Result:
    """A conversation in this process."""
    done = _piped(run, typed, *options)
    assert done.exit_code == 0, done.output
    return done


def test_each_option_reaches_what_a_reply_is_drawn_with(run: Path, asked: list[SimpleNamespace]) -> None:
    wanted = Manners(temperature=0.3, top_p=0.5, repetition_penalty=1.9, against_empty=0.1, longest=5)
    flags = [(f"--{name.replace('_', '-')}", str(value)) for name, value in asdict(wanted).items()]
    _talked(run, "Hello !\n", *(word for flag in flags for word in flag))
    _talked(run, "Hello !\n")
    for one, manners in zip(asked, [wanted, Manners()], strict=True):
        assert one.sampling == manners.sampling()
        assert one.against.weight == manners.against_empty
        assert one.most.tolist() == [manners.longest]


def test_a_temperature_that_is_typed_holds_from_then_on(run: Path, asked: list[SimpleNamespace]) -> None:
    _talked(run, "Hello !\n/temperature 0.25\nHello !\nHello !\n", "--longest", "5")
    assert [one.sampling.temperature for one in asked] == [Manners().temperature, 0.25, 0.25]
    assert [one.most.tolist() for one in asked] == [[5]] * 3, "all else is as it was"


def test_a_seed_decides_what_is_drawn(run: Path, asked: list[SimpleNamespace]) -> None:
    for seed in ("3", "3", "4"):
        _talked(run, "Hello !\n", "--seed", seed)
    assert asked[0].seed == asked[1].seed != asked[2].seed


def test_a_reply_is_written_as_it_comes(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoding = opened(run).encoding  # type: ignore[attr-defined]
    tokens = encoding.encode(" What is it ? It is one .").tolist()
    written: list[str] = []

    def slowly(*_: object) -> Iterator[list[int | None]]:
        for token in (*tokens, None):
            written.append(sys.stdout.buffer.getvalue().decode())  # type: ignore[attr-defined]
            yield [token]

    monkeypatch.setattr("holdfast.tasks.dialogue.run.sample_decode", slowly)
    assert _talked(run, "Hello !\n").stdout == "What is it ? It is one .\n"
    assert [text.strip() for text in written] == [encoding.decode(tokens[:k]).strip() for k in range(len(tokens) + 1)]


def test_where_it_is_typed_to_it_says_what_it_is_and_asks(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(b"Hello !\n/quit\n")))
    commands(["chat", str(run), "--temperature", "0"], standalone_mode=False)
    said = capsys.readouterr().out.splitlines()
    assert "knows nothing" in said[0]
    assert said[1].startswith("you: it:  ")
    assert said[2:] == ["you: "] or said[2:] == []


@pytest.mark.full  # a terminal is in tests/cli/test_translate.py, what is shown in one in the test above
def test_in_a_terminal_it_says_what_it_is_and_streams(run: Path) -> None:
    outer, inner = pty.openpty()
    child = subprocess.Popen(
        [*ENTRY, "chat", str(run), "--temperature", "0"], stdin=inner, stdout=inner, stderr=inner, env=ENVIRONMENT
    )
    os.close(inner)
    os.write(outer, b"Hello !\n/quit\n")
    shown = b""
    while True:
        try:
            piece = os.read(outer, 1024)
        except OSError:  # the other end has gone
            break
        if not piece:
            break
        shown += piece
    assert child.wait() == 0
    os.close(outer)
    assert b"knows nothing" in shown
    assert b"it:  " in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--top-p", "2"], "top_p"), (["--against-empty", "1"], "against_empty"), (["--seed", "9" * 20], "--seed")],
)
def test_manners_that_make_no_sense_are_refused(arguments: list[str], said: str, run: Path) -> None:
    done = _piped(run, "", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_without_files_or_with_wrong_ones_it_says_so(tmp_path: Path) -> None:
    nothing = invoked("fit", "chat", "--out", tmp_path / "run")
    assert nothing.exit_code == 2
    assert "name files of dialogues" in nothing.stderr
    (tmp_path / "a.txt").write_text("alone __eou__\n")
    lone = invoked("fit", "chat", tmp_path / "a.txt", "--out", tmp_path / "run")
    assert lone.exit_code == 2
    assert "a.txt, line 1: a dialogue needs two turns, and has 1; fit with --skip-bad" in lone.stderr


def test_flags_of_the_fit_reach_the_run(tmp_path: Path) -> None:
    path = write(tmp_path / "talks.txt", [*talks(40, 0), ["alone"]])
    read = ["--context", "1", "--skip-bad", "--valid-share", "0.25", "--vocabulary", "290"]
    tiny = ["--steps", "1", "--hidden", "4", "--embedding", "4", "--quiet"]
    done = invoked("fit", "chat", path, "--out", tmp_path / "run", *read, *tiny)
    assert done.exit_code == 0, done.output
    found = opened(tmp_path / "run")
    parts = found.data().parts
    begun = [sum(not part.source_text(k) for k in range(len(part))) for part in (parts["train"], parts["valid"])]
    assert begun == [30, 10]
    assert found.encoding.size == 290  # type: ignore[attr-defined]
    assert found.conversation().read == 1  # type: ignore[attr-defined]


def test_a_run_of_another_task_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("eins\n")
    done = invoked("translate", run, tmp_path / "a.txt")
    assert done.exit_code == 2
    assert "translate needs a run of the task translate" in done.stderr
