"""Several processes that torchrun starts are one training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from holdfast.training import OptionError, Run, TrainingOptions, devices
from tests.training import distributed

ROOT = Path(__file__).parents[2]


def _train(folder: Path, processes: int, batch: int, steps: int = 12, more: tuple[str, ...] = ()) -> Run:
    """The toy, trained by so many processes."""
    start = [sys.executable, "-W", "ignore", "-m"]  # torchrun warns of its own defaults
    start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    done = subprocess.run(
        [*start, "tests.training.distributed", str(folder), str(batch), str(steps), *more],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Run.open(folder)


@pytest.mark.full
def test_two_processes_have_the_loss_of_one_with_twice_the_batch(tmp_path: Path) -> None:
    distributed.train(tmp_path / "one", batch=8, steps=12)
    one = Run.open(tmp_path / "one")
    two = _train(tmp_path / "two", 2, batch=4)
    for alone, shared in zip(one.metrics(), two.metrics(), strict=True):
        for name in ("loss", "norm"):
            assert shared[name] == pytest.approx(alone[name], rel=2e-5), alone["step"]
    losses = [line["loss"] for line in one.metrics()]
    assert len(set(losses)) == 12


@pytest.mark.full  # tests/training/test_run.py goes on in one process, and the test above trains in two
def test_two_processes_go_on_bit_for_bit(tmp_path: Path) -> None:
    whole = _train(tmp_path / "whole", 2, batch=4, steps=14, more=("0.3",))
    parts = _train(tmp_path / "parts", 2, batch=4, steps=9, more=("0.3",))
    assert parts.metrics()[-1]["step"] == 9
    parts = _train(tmp_path / "parts", 2, batch=4, steps=14, more=("0.3",))
    assert [x["loss"] for x in parts.metrics()] == [x["loss"] for x in whole.metrics()]


@pytest.mark.parametrize("name", ["cpuu", "cuda:77"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with (
        pytest.raises(OptionError, match=f"device '{name}' cannot be used here"),
        devices(TrainingOptions(device=name)),
    ):
        pass


def test_bfloat16_is_autocast_s() -> None:
    with devices(TrainingOptions(device="cpu", precision="bfloat16")) as place:
        with place.autocast():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.bfloat16
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32
