"""Text files that are not UTF-8: the message says where and what they look like, and every command takes --encoding."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import APPLICATIONS, SMALL, Made, invoked

OF_TEXT = ("text", "forecast", "classify", "regress", "transcribe", "translate", "chat")
# In each application's data, what becomes a text with letters that UTF-8 has two bytes for.
WORDS = {
    "text": ("rat", "r\u00e4t"),
    "forecast": ("y\n", "d\u00e9bit\n"),
    "classify": ("fine", "f\u00efne"),
    "regress": ("fine", "f\u00efne"),
    "transcribe": ("text", "t\u00ebxt"),
    "translate": ("eins", "e\u00efns"),
    "chat": ("Hello", "H\u00e9llo"),
}
MORE = {"transcribe": ["--text", "t\u00ebxt"]}


def _written(name: str, folder: Path) -> tuple[list[Path | str], Path]:
    """The data in latin-1, as arguments, and the file that is not UTF-8."""
    folder.mkdir()
    given = [*APPLICATIONS[name].write(folder)]
    path = next(one for one in given if isinstance(one, Path))
    plain, accented = WORDS[name]
    text = path.read_text(encoding="utf-8")
    assert plain in text
    path.write_bytes(text.replace("\u00fc", "ue").replace(plain, accented).encode("latin-1"))
    return [*given, *MORE.get(name, [])], path


def _fit(name: str, given: list[Path | str], out: Path, *more: str | Path) -> tuple[int, str]:
    done = invoked("fit", name, *given, "--out", out, *SMALL, *APPLICATIONS[name].options, *more)
    return done.exit_code, done.stderr


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize("name", OF_TEXT)
def test_data_in_another_encoding_are_told_by_file_and_line_and_read_when_it_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.tasks.transcription.baselines._LEARNED", 5)
    given, path = _written(name, tmp_path / "data")
    code, said = _fit(name, given, tmp_path / "run")
    line = 1 + path.read_bytes().decode("latin-1").split(WORDS[name][1])[0].count("\n")
    assert (code, len(said.strip().splitlines())) == (2, 1), said
    assert f"{path} must be UTF-8 text, but line {line} is not: it looks like latin-1" in said
    assert "--encoding latin-1" in said
    assert not (tmp_path / "run").exists()
    code, said = _fit(name, given, tmp_path / "run", "--encoding", "latin-1")
    assert code == 0, said
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text())["options"]["encoding"] == "latin-1"
    done = invoked("evaluate", tmp_path / "run")  # which reads them again as it has read them
    assert done.exit_code == 0, done.output


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
@pytest.mark.parametrize("name", ["forecast", "classify", "regress", "translate"])
def test_what_a_command_reads_may_be_in_another_encoding(
    name: str, encoding: str, made: Callable[[str], Made], tmp_path: Path
) -> None:
    *command, read = made(name).using()
    path = tmp_path / Path(read).name
    text = Path(read).read_text(encoding="utf-8").replace("fine", "f\u00efne").replace("eins", "e\u00efns")
    path.write_bytes(
        text.replace("\n", ", \u00e9\n", 1).encode(encoding) if name == "forecast" else text.encode(encoding)
    )
    refused = invoked(*command, path)
    assert refused.exit_code == 2
    assert f"--encoding {encoding} reads" in refused.stderr
    done = invoked(*command, path, "--encoding", encoding)
    assert done.exit_code == 0, done.output
    expected = invoked(*command, read)
    assert len(done.stdout.splitlines()) == len(expected.stdout.splitlines())


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
@pytest.mark.parametrize("name", ["classify", "translate", "chat"])
def test_so_may_what_comes_from_a_pipe(name: str, encoding: str, made: Callable[[str], Made]) -> None:
    lines = "a f\u00efne film\neins zwei\n\u00e9t\u00e9\n"
    done = invoked(
        name,
        made(name).run,
        *(["-"] if name == "classify" else []),
        "--encoding",
        encoding,
        given=lines.encode(encoding),
    )
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) == (4 if name == "classify" else 3)


def test_so_may_what_is_evaluated_scored_and_looked_at(made: Callable[[str], Made], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(("the c\u00e4t sat on the mat\n" * 20).encode("latin-1"))
    run, path = made("text").run, tmp_path / "a.txt"
    for command in (
        ["evaluate", run, path, "--no-baselines"],
        ["evaluate", run, path, "--per-line"],
        ["look", run, "--data", path, "--html", tmp_path / "a.html"],
    ):
        refused = invoked(*command)
        assert refused.exit_code == 2
        assert "line 1 is not: it looks like latin-1" in refused.stderr
        done = invoked(*command, "--encoding", "latin-1")
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize("command", ["fit", "evaluate", "forecast", "translate"])
def test_an_encoding_that_is_none_is_refused(command: str, made: Callable[[str], Made], tmp_path: Path) -> None:
    run = made("forecast").run
    words = ["fit", "text", "--out", tmp_path / "run"] if command == "fit" else [command, run]
    done = invoked(*words, "--encoding", "klingon")
    assert done.exit_code == 2
    assert "there is no encoding 'klingon'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
