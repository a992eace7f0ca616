"""A call of which one tensor was replaced by any other ends in an error or in right numbers, never by a signal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page protection is tried on Linux only")


def _fuzzed(side: str, count: int, seed: int) -> None:
    command = [sys.executable, "-m", "tests.engines.llvm.fuzzed", "--side", side]
    command += ["--count", str(count), "--seed", str(seed)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, f"ended by {done.returncode} in {done.stdout[-300:]}: {done.stderr[-3000:]}"
    last = done.stdout.splitlines()[-1].replace(",", "").split()
    assert int(last[0]) + int(last[2]) == count
    assert int(last[0]) > 0
    assert int(last[2]) > 0


def test_another_tensor_is_an_error_or_right() -> None:
    _fuzzed("end", 16, 0)


@pytest.mark.full
@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize("seed", range(1, 6))
def test_another_tensor_is_an_error_or_right_in_5000_calls(side: str, seed: int) -> None:
    _fuzzed(side, 500, seed)
