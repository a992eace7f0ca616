"""A run's folder: what is in it, and what happens to it when a process is killed or a disk is full."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.training import DamagedFile, Run, RunError, files, load_tensors
from tests.training.child import finish
from tests.training.toy import Problem, resumed, training

ROOT = Path(__file__).parents[2]
STEPS = 60
CONFIG = {"task": "toy", "data": {"data": ["x"]}, "options": {"steps": STEPS, "seed": 1}}


def _run(folder: Path) -> Run:
    return Run.create(folder, CONFIG)


def _losses(folder: Path) -> list[float]:
    return [line["loss"] for line in Run.open(folder).metrics()]


def test_a_run_is_a_folder_that_a_person_can_read(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    training(run, steps=12, checkpoint_every=3).run()
    run.close()
    names = sorted(str(p.relative_to(run.folder)) for p in run.folder.rglob("*") if p.is_file())
    assert names == [
        ".origin",
        "checkpoints/step-000000009.safetensors",
        "checkpoints/step-000000012.safetensors",
        "config.toml",
        "metrics.jsonl",
        "model.safetensors",
    ]
    assert run.config() == CONFIG
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert set(lines[0]) == {"step", "loss", "norm", "rate"}
    assert set(lines[2]) == {"step", "loss", "norm", "rate", "valid_mse"}
    _, saved = run.model()
    assert saved["valid"]["mse"] == min(line.get("valid_mse", 9.0) for line in lines)


def test_a_loss_that_is_not_a_number_is_null_in_the_metrics(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    training(run, Problem(spoil=[1]), steps=3).run()
    run.close()
    text = (run.folder / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert [json.loads(line)["loss"] is None for line in text.splitlines()] == [False, True, False]


def test_a_fixed_number_of_steps_is_written_to_the_configuration(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    run.fixed(77, 3)
    assert Run.open(run.folder).config()["options"] == {"steps": 77, "evaluations": 3, "seed": 1}


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda f: _run(f), "holds a run already; go on with --resume"),
        (lambda f: (f.mkdir(), (f / "other").touch()), "exists and is not empty"),
        (lambda f: f.touch(), "exists and is not empty"),
    ],
)
def test_a_folder_in_use_is_refused(tmp_path: Path, prepare: Callable[[Path], Any], message: str) -> None:
    prepare(tmp_path / "run")
    with pytest.raises(RunError, match=message):
        _run(tmp_path / "run")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run: it has no config\.toml"):
        Run.open(tmp_path)
    with pytest.raises(RunError, match="does not exist"):
        Run.open(tmp_path / "nothing")
    (tmp_path / "config.toml").write_text("=")
    with pytest.raises(RunError, match=r"config\.toml is not TOML"):
        Run.open(tmp_path).config()


def test_a_line_that_was_cut_off_is_left_out_and_rewritten(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    training(run, steps=9, checkpoint_every=4).run()
    run.close()
    before = _losses(run.folder)
    (run.folder / "checkpoints" / "step-000000009.safetensors").unlink()
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "lo')
    again = resumed(run.folder, steps=9, checkpoint_every=4)
    assert _losses(run.folder) == before[:8]
    again.run()
    again.keeper.close()  # type: ignore[attr-defined]
    assert _losses(run.folder) == before


def test_a_damaged_checkpoint_names_the_one_before(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    training(run, steps=9, checkpoint_every=4).run()
    run.close()
    latest = run.folder / "checkpoints" / "step-000000009.safetensors"
    latest.write_bytes(latest.read_bytes()[:-5])
    with pytest.raises(DamagedFile, match=r"step-000000009.*; without that file the run goes on from step-000000008"):
        run.latest()
    latest.unlink()
    assert run.latest()[1]["position"]["step"] == 8  # type: ignore[index]


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    with run.in_use(), pytest.raises(RunError, match="another process is training in"), Run(run.folder).in_use():
        pass
    with run.in_use():
        pass


def test_tensorboard_has_what_the_metrics_have(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = _run(tmp_path / "run")
    run.write_events(0)
    training(run, steps=4).run()
    run.close()
    found = accumulator.EventAccumulator(str(run.folder / "tensorboard"))
    found.Reload()
    assert [e.step for e in found.Scalars("loss")] == [1, 2, 3, 4]
    assert [e.value for e in found.Scalars("loss")] == pytest.approx(_losses(run.folder))
    assert found.Scalars("valid_mse")


# Kills.


def _child(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.training.child", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})


def _kills(folder: Path, uninterrupted: list[float], count: int, seed: int) -> int:
    """Kill a training again and again; how many kills met it at work."""
    draw, met = random.Random(seed), 0
    for _ in range(count):
        child = _child(folder)
        started = time.monotonic()
        while not (folder / "alive").exists() and child.poll() is None:
            assert time.monotonic() - started < 60
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.25))
        met += child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait()
        (folder / "alive").unlink(missing_ok=True)
        run = Run.open(folder)
        latest = run.latest()  # raises if it does not load
        step = latest[1]["position"]["step"] if latest else 0
        assert _losses(folder)[:step] == uninterrupted[:step]
        for path in run.checkpoints():
            load_tensors(path)
    finish(folder)
    assert _losses(folder) == uninterrupted
    return met


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    _run(folder)
    finish(folder)
    losses = _losses(folder)
    assert len(losses) == STEPS
    return losses


@pytest.mark.full
def test_after_kills_the_run_goes_on_to_the_same_losses(tmp_path: Path, uninterrupted: list[float]) -> None:
    folder = tmp_path / "run"
    _run(folder)
    assert _kills(folder, uninterrupted, 2, seed=0) >= 1


@pytest.mark.full
@pytest.mark.parametrize("seed", range(5))
def test_after_fifty_kills_too(tmp_path: Path, uninterrupted: list[float], seed: int) -> None:
    folder = tmp_path / "run"
    _run(folder)
    assert _kills(folder, uninterrupted, 10, seed) >= 5


# Disks.


@pytest.mark.sweep(every=4)  # each call at each step but two
@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("step", range(3))
def test_when_writing_fails_there_is_an_error_and_the_last_checkpoint_is_whole(
    tmp_path: Path, call: str, error: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(tmp_path / "run")
    found = training(run, steps=9, checkpoint_every=3)
    calls = 0

    def failing(*given: Any) -> Any:
        nonlocal calls
        if found.position.step >= 6:
            calls += 1
            if calls > step:
                raise OSError(error, os.strerror(error))
        return original(*given)

    if call == "write":
        original = files._write
        monkeypatch.setattr(files, "_write", failing)
    else:
        original = getattr(os, call)
        monkeypatch.setattr(os, call, failing)
    with pytest.raises(OSError, match=os.strerror(error)):
        found.run()
    monkeypatch.undo()
    run.close()
    latest = Run.open(run.folder).latest()
    assert latest is not None
    assert latest[1]["position"]["step"] in (3, 6)
    again = resumed(run.folder, steps=9, checkpoint_every=3)
    again.run()
    again.keeper.close()  # type: ignore[attr-defined]
    assert not list(run.folder.rglob("*.part"))
