"""A run from a stranger names files and URLs: none of them is opened unasked, whatever the application."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import holdfast
from holdfast.data import sources
from holdfast.training import Run, RunError
from tests.applications import NAMES, Made, invoked

SECRETS = ["/etc/hostname", "http://127.0.0.1:9/secret.txt"]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been looked for anywhere, through the only door to files and URLs."""
    found: list[str] = []
    system = sources._system
    monkeypatch.setattr(sources, "_system", lambda path: (found.append(path), system(path))[1])
    return found


def _strange(made: Made, folder: Path, data: Sequence[str] = SECRETS) -> Path:
    """The run as it comes from a stranger: elsewhere, and of other data."""
    run = Path(shutil.copytree(made.run, folder / "strange"))
    config = Run.open(run).config()
    (run / "config.toml").write_text(tomli_w.dumps({**config, "data": {**config["data"], "data": [*data]}}))
    return run


def _is_refused(*command: str | Path) -> None:
    done = invoked(*command)
    assert done.exit_code == 2, done.output
    assert "was not made here, or has been moved or copied" in done.stderr
    assert "--trust-paths" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def _is_never_opened(paths: Sequence[str]) -> None:
    assert not [path for path in paths if "secret" in path or path in SECRETS]


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize("name", ["forecast", "text", "classify", *sorted({*NAMES} - {"forecast", "text", "classify"})])
def test_a_strangers_run_is_used_without_opening_what_it_names(
    name: str, made: Callable[[str], Made], opened: list[str], tmp_path: Path
) -> None:
    run = _strange(made(name), tmp_path)
    result = ["--out", tmp_path / "out.mid"] if name == "compose" else []
    using = [word for word in made(name).using(run) if name != "forecast" or not word.endswith("sales.csv")]
    for command in (["info", run], [*using, *result]):
        done = invoked(*command, given="")
        assert done.exit_code == 0, done.output
    holdfast.load(run)
    _is_never_opened(opened)


@pytest.mark.sweep(every=4)
@pytest.mark.parametrize("name", NAMES)
def test_what_reads_the_data_again_opens_them_of_a_strangers_run_only_when_told_to_trust_it(
    name: str, made: Callable[[str], Made], opened: list[str], tmp_path: Path
) -> None:
    run = _strange(made(name), tmp_path)
    _is_refused("evaluate", run)
    _is_refused("fit", "--resume", run)
    with pytest.raises(RunError, match="trust_paths=True"):
        holdfast.tasks.opened(run).data()
    _is_never_opened(opened)
    done = invoked("evaluate", run, "--trust-paths")
    assert done.exit_code == 2  # these are no data
    assert SECRETS[0] in opened


@pytest.mark.sweep(every=4)
@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_ones_own_reads_its_data_again_where_it_was_made_and_elsewhere_when_trusted(
    name: str, made: Callable[[str], Made], tmp_path: Path
) -> None:
    mine = made(name).run
    assert invoked("evaluate", mine, "--no-baselines").exit_code == 0
    moved = Path(shutil.copytree(mine, tmp_path / "moved"))
    _is_refused("evaluate", moved, "--no-baselines")
    trusted = invoked("evaluate", moved, "--no-baselines", "--trust-paths")
    assert trusted.exit_code == 0, trusted.output
    assert invoked("fit", "--resume", moved, "--quiet", "--trust-paths").exit_code == 0


@pytest.mark.parametrize(
    "command",
    [
        ["backtest", "RUN"],
        ["detect", "RUN"],
        ["look", "RUN", "--html", "OUT"],
        ["compose", "RUN", "--check", "--out", "OUT"],
    ],
    ids=lambda command: command[0],
)
def test_commands_that_look_back_at_the_data_need_trust_too(
    command: list[str], made: Callable[[str], Made], opened: list[str], tmp_path: Path
) -> None:
    name, out = {"look": ("text", "x.html"), "compose": ("compose", "x.mid")}.get(command[0], ("forecast", ""))
    run = _strange(made(name), tmp_path)
    words = {"RUN": run, "OUT": tmp_path / out}
    _is_refused(*(words.get(word, word) for word in command))
    _is_never_opened(opened)
    assert not out or not (tmp_path / out).exists()


@pytest.mark.parametrize(
    "path", ["run:../secret.txt", "run:data/link.txt", "run:/etc/hostname", "run:x::file:///etc/hostname"]
)
def test_a_path_inside_the_run_does_not_lead_out_of_it(
    path: str, made: Callable[[str], Made], opened: list[str], tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("a secret " * 50)
    run = _strange(made("text"), tmp_path, [path])
    (run / "data").mkdir()
    (run / "data" / "link.txt").symlink_to(tmp_path / "secret.txt")
    done = invoked("evaluate", run)
    assert done.exit_code == 2, done.output
    _is_never_opened(opened)


def test_a_list_inside_the_run_does_not_lead_out_of_it(made: Callable[[str], Made], tmp_path: Path) -> None:
    run = _strange(made("transcribe"), tmp_path, ["run:data/manifest.csv"])
    (run / "data").mkdir()
    sound = made("transcribe").data / "tones" / "000.wav"
    (run / "data" / "manifest.csv").write_text(f"path,text\n{sound},1\n{sound},2\n")
    done = invoked("evaluate", run)
    assert done.exit_code == 2, done.output
    assert f"{sound} lies outside of {run}" in done.stderr


def test_other_paths_in_the_place_of_ones_own_run_are_not_trusted(made: Callable[[str], Made], tmp_path: Path) -> None:
    run = Run.open(made("text").run).copied_to(tmp_path / "run")
    assert invoked("evaluate", run.folder, "--no-baselines").exit_code == 0
    config = run.config()
    run.write_config({**config, "data": {**config["data"], "valid": ["/etc/hostname"]}})
    _is_refused("evaluate", run.folder)


def test_nobody_elses_mark_is_believed(
    made: Callable[[str], Made], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "stranger"))
    run = Run.open(made("text").run).copied_to(tmp_path / "run").folder
    shutil.copy(made("text").run / ".origin", run)
    _is_refused("evaluate", run)


def test_a_forecast_from_what_the_run_kept_is_that_from_all_data(made: Callable[[str], Made]) -> None:
    kept, read = (holdfast.load(made("forecast").run) for _ in range(2))
    read._known_panel()
    expected: Any = read.predict()
    assert kept.predict().equals(expected)
    assert kept._panel is None
    assert kept.picture() == read.picture()
