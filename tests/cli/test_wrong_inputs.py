"""Wrong inputs against every command: one line that says what is wrong, exit status 2, nothing written or changed."""

from __future__ import annotations

import hashlib
import itertools
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
    "fit --config": lambda made, path, out: ["fit", "text", "--config", path, "--out", out / "run", *SMALL],
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
# Whatever is UTF-8 is a text, and what is learned from one need not make sense.
TEXTS = {
    "a header alone",
    "a Parquet file that is none",
    "a recording that is text",
    "a tune that is text",
    "a quotation mark that is not closed",
    "a row that is too long",
    "two columns of one name",
    "no names of columns",
    "other columns",
    "a cell of megabytes",
    "a line of megabytes",
    "no known value",
    "an infinite value",
    "a word among numbers",
    "a time that is there twice",
    "a time that is none",
    "a value alone",
    "JSON lines that are broken",
    "JSON lines of no objects",
    "JSON of many brackets",
    "half a character in JSON",
    "arrays that are none",
    "a .ts of no series",
    "a list of recordings that are not there",
    "a list of recordings that are text",
}
TAKING_TEXTS = {"fit text", "evaluate text", "evaluate --per-line", "translate", "look --data"}
WAITING = ("fit --config", "a pipe with nobody at its other end")  # for whom a shell puts there
TAKING = {  # what is no fault for a command
    *((name, wrong) for name in TAKING_TEXTS for wrong in TEXTS),
    *(
        (name, wrong)
        for name in ("classify", "regress")
        for wrong in (
            "a cell of megabytes",
            "a list of recordings that are not there",
            "a list of recordings that are text",
        )
    ),
    ("forecast", "a value alone"),
    ("translate", "blank lines"),
    *(
        (name, wrong)
        for name in ("evaluate text", "evaluate --per-line", "look --data")
        for wrong in ("blank lines", "a packed text that is not packed")
    ),
    *(("fit --config", f"an empty {what}") for what in ("table", "text", "recording", "tune")),  # which says nothing
    ("fit --config", "blank lines"),
    WAITING,
}
CASES = [case for case in itertools.product(COMMANDS, WRONG) if case not in TAKING]


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


@pytest.mark.sweep(every=149)
@pytest.mark.parametrize(("name", "wrong"), CASES)
def test_a_wrong_input_ends_a_command_with_one_line_and_leaves_nothing(
    name: str, wrong: str, made: Callable[[str], Made], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.csv").write_text("mine")
    path = str(WRONG[wrong](tmp_path / "in"))
    command = COMMANDS[name](made, path, tmp_path / "out")
    before = _state(tmp_path)
    _is_one_line(command)
    assert _state(tmp_path) == before


# Runs of strangers.


def _config(**changed: Any) -> Callable[[Path], Path]:
    """The run with a part of its configuration changed."""

    def write(run: Path) -> Path:
        Run(run).write_config({**Run(run).config(), **changed})
        return run

    return write


def _content(name: str, content: bytes | None) -> Callable[[Path], Path]:
    """The run with a file of other content, or without it."""

    def write(run: Path) -> Path:
        (run / name).unlink()
        if content is not None:
            (run / name).write_bytes(content)
        return run

    return write


def _torn(run: Path) -> Path:
    path = run / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return run


def _empty(run: Path) -> Path:
    shutil.rmtree(run)
    run.mkdir()
    return run


def _checkpoint(run: Path) -> Path:
    shutil.copy(max((run / "checkpoints").glob("*.safetensors")), run / "model.safetensors")
    return run


def _options(**changed: Any) -> Callable[[Path], Path]:
    return lambda run: _config(options={**Run(run).config()["options"], **changed})(run)


MODEL = "model.safetensors"
FOREIGN: dict[str, Callable[[Path], Path]] = {
    "a folder that is not there": lambda run: run.with_name("none"),
    "a file": lambda run: run / "config.toml",
    "an empty folder": _empty,
    "a project": _content("config.toml", b"[tool.black]\nline-length = 100\n"),
    "a configuration that is no TOML": _content("config.toml", b"task: text\n"),
    "a configuration in latin-1": _content("config.toml", 'task = "t\u00ebxt"\n'.encode("latin-1")),
    "an empty configuration": _content("config.toml", b""),
    "a task that is none": _config(task="paint"),
    "an option that is none": _options(hiden=8),
    "an option of another type": _options(hidden="many"),
    "an option out of its bounds": _options(batch_size=0),
    "options of a list": _config(options=[1, 2]),
    "data of a number": _config(data={"data": 3, "digest": "0"}),
    "no model": _content(MODEL, None),
    "a model that is torn": _torn,
    "a model of noise": _content(MODEL, bytes(range(256)) * 9),
    "an empty model": _content(MODEL, b""),
    "a pickle for a model": _content(MODEL, pickle.dumps({"a": 1})),
    "a checkpoint for a model": _checkpoint,
}
DATA_ALONE = ("data of a number",)  # which the use of a model does not read


@pytest.mark.sweep(every=31)
@pytest.mark.parametrize("wrong", FOREIGN)
@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_run_ends_every_command_with_one_line(
    name: str, wrong: str, made: Callable[[str], Made], tmp_path: Path
) -> None:
    copy = Run.open(made(name).run).copied_to(tmp_path / "run").folder
    run = FOREIGN[wrong](copy)
    before = _state(tmp_path)
    out = ["--out", tmp_path / f"out{made(name).application.result}"] if made(name).application.result else []
    commands: list[list[str | Path]] = [["evaluate", run], ["evaluate", run, tmp_path / "none.txt", "--no-baselines"]]
    if wrong not in DATA_ALONE:
        commands += [["info", run], ["look", run, "--html", tmp_path / "a.html"], [*made(name).using(run), *out]]
    for command in commands:
        _is_one_line(command, b"")
    if wrong not in DATA_ALONE:
        with pytest.raises((ValueError, OSError)):
            holdfast.load(run)
    assert _state(tmp_path) == before


@pytest.mark.sweep(every=4)
@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_another_task_is_refused_by_every_command_of_one(
    name: str, made: Callable[[str], Made], tmp_path: Path
) -> None:
    other = made("regress" if name == "text" else "text").run
    _is_one_line([*made(name).using(other), *(["--out", tmp_path / "a.mid"] if name == "compose" else [])], b"")
    other_model = Run.open(made(name).run).copied_to(tmp_path / "run").folder
    shutil.copy(other / MODEL, other_model / MODEL)
    _is_one_line(["info", other_model])


# Places that cannot be written to.


@pytest.mark.sweep(every=13)
@pytest.mark.parametrize("place", ["/proc/run", "{file}/run", "{folder}", "{run}", "s3://bucket/run"])
@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_cannot_be_made_is_refused(
    name: str, place: str, made: Callable[[str], Made], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    known = {"file": tmp_path / "mine" / "a.txt", "folder": tmp_path / "mine", "run": made(name).run}
    before = _state(tmp_path), _state(made(name).run)
    out = place.format(**known)
    _is_one_line(["fit", name, *made(name).given, "--out", out, *SMALL, *APPLICATIONS[name].options])
    assert (_state(tmp_path), _state(made(name).run)) == before


@pytest.mark.sweep(every=4)
@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_leaves_no_folder_that_blocks_the_next_try(
    name: str, made: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_write", full)
    command = ["fit", name, *made(name).given, "--out", tmp_path / "run", *SMALL, *APPLICATIONS[name].options]
    assert "No space left on device" in _is_one_line(command)
    assert _state(tmp_path) == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ["compose", "RUN", "--out", "/proc/a.mid"],
        ["look", "RUN", "--html", "/proc/a.html"],
        ["demo", "--out", "/proc/demo"],
        ["lab", "order", "--out", "/proc/lab"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_file_that_cannot_be_made_ends_a_command_with_one_line(
    arguments: list[str], made: Callable[[str], Made]
) -> None:
    run = made({"look": "text"}.get(arguments[0], "compose")).run
    more = ["--bars", "1"] if arguments[0] == "compose" else ["--text", "the cat"] if arguments[0] == "look" else []
    _is_one_line([*(str(run) if word == "RUN" else word for word in arguments), *more])
