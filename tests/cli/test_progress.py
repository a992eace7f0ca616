"""The line of a training on a terminal."""

from __future__ import annotations

import re

import pytest

from holdfast.cli.progress import Bar
from holdfast.tasks import TASKS
from holdfast.training import Position


def last_line(task: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What stands there after some steps and an evaluation, on a terminal so many columns wide."""
    for name, value in {"TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1", "TERM": "xterm", "COLUMNS": columns}.items():
        monkeypatch.setenv(name, str(value))
    with Bar(TASKS[task].unit) as bar:
        for step in range(12_340, 12_346):
            now = Position(step=step, total=30_000, best=1.4402)
            bar.step(now, 1.2345, 4096, 0.01)
            bar.evaluated(now, {TASKS[task].objective: 1.4495}, False)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    return re.split(r"[\r\n]+", shown.rstrip())[-1].rstrip()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("columns", [50, 80, 130])
def test_the_line_has_the_steps_and_the_time_left_at_any_width(
    task: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = last_line(task, columns, monkeypatch, capsys)
    assert len(line) <= columns
    assert "step 12,345 of 30,000" in line
    assert re.search(r"\b\d+:\d\d left\b", line)
    if columns >= 80:
        assert f"loss 1.234  valid {TASKS[task].objective} 1.4495, best 1.4402" in line


@pytest.mark.parametrize("task", TASKS)
def test_a_throughput_does_not_count_steps_beside_the_steps_of_the_training(
    task: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = last_line(task, 130, monkeypatch, capsys)
    assert line.endswith(f" {TASKS[task].unit}/s")
    assert not re.search(r"\d steps/s", line)
