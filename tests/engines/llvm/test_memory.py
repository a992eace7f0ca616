"""No kernel reads or writes outside its memory: calls between protected pages, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.engines.llvm import machine
from tests.engines.llvm.calls import HALF_PATHS, VECTORS

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page protection is tried on Linux only")

each_side = pytest.mark.parametrize("side", ["end", "start"])
each_path = pytest.mark.parametrize("vectors", VECTORS)


def _guarded(side: str, vectors: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "tests.engines.llvm.guarded", "--side", side]
    for name, value in more.items():
        command += [f"--{name}", str(value)]
    environment = os.environ | {machine.VARIABLE: vectors, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200)


def _calls(done: subprocess.CompletedProcess[str]) -> int:
    assert done.returncode == 0, f"ended by {done.returncode}: {done.stderr[-3000:]}"
    calls, buffers = (int(word) for word in done.stdout.replace(",", "").split() if word.isdigit())
    assert buffers > 40 * calls  # all that a kernel touches is guarded, in two runs forward and one back
    return calls


@pytest.mark.parametrize("vectors", [machine.host().name])
def test_no_kernel_leaves_its_memory(vectors: str) -> None:
    assert _calls(_guarded("both", vectors, count=3, seed=0, kinds=3)) == 6


@pytest.mark.parametrize("half", [p for p in HALF_PATHS if not p.marks][:1])
def test_no_kernel_leaves_its_memory_in_bfloat16(half: str) -> None:
    assert _calls(_guarded("both", "", count=2, seed=0, kinds=2, half=half)) == 4


@pytest.mark.full
@each_side
@each_path
def test_no_kernel_leaves_its_memory_in_more_calls(side: str, vectors: str) -> None:
    assert _calls(_guarded(side, vectors, count=12, seed=0, kinds=5)) == 12


@pytest.mark.full
@each_side
@pytest.mark.parametrize("half", HALF_PATHS)
def test_no_kernel_leaves_its_memory_in_more_calls_in_bfloat16(half: str, side: str) -> None:
    assert _calls(_guarded(side, "", count=10, seed=0, kinds=5, half=half)) == 10


@pytest.mark.full
@each_side
@pytest.mark.parametrize("half", HALF_PATHS)
@pytest.mark.parametrize("seed", range(1, 9))
def test_no_kernel_leaves_its_memory_in_many_more_calls_in_bfloat16(half: str, side: str, seed: int) -> None:
    assert _calls(_guarded(side, "", count=24, seed=seed, half=half)) == 24


@pytest.mark.full
@each_side
@each_path
@pytest.mark.parametrize("seed", range(1, 9))
def test_no_kernel_leaves_its_memory_in_many_more_calls(side: str, vectors: str, seed: int) -> None:
    assert _calls(_guarded(side, vectors, count=24, seed=seed)) == 24


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize(
    ("mistake", "side"), [("a unit too many", "end"), ("a unit too early", "start"), ("rows too far apart", "end")]
)
def test_one_that_does_is_caught(mistake: str, side: str) -> None:
    done = _guarded(side, "", count=1, seed=0, sabotage=mistake)
    assert done.returncode == -signal.SIGSEGV, done.stderr[-3000:]
