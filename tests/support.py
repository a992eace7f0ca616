"""What tests share: how numbers are compared (one measure, one tolerance a dtype, never loosened), memory, files."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from holdfast.engines.llvm.machine import cache_folder

# In half precision it follows from the format, whose unit roundoff is u: 2^-8 in bfloat16, 2^-11 in float16. On its
# way to a result or a gradient a number is rounded at most five times: the state as a factor, what is kept of a step,
# the gradient of a gate as a factor, the output that another layer reads, and the result itself. Each time it is off by
# u at most, and the error is measured against the largest number: with some room for what adds up over steps and
# layers, 8 u. An engine whose sums or states were kept in half precision would be off by u a step and more.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-10, torch.bfloat16: 2**-5, torch.float16: 2**-8}
DEVICE = torch.device(os.environ.get("HOLDFAST_DEVICE", "cpu"))  # where the tests of the GPU engine run
NEGLIGIBLE = 1e-9  # an expected tensor below this is zero but for rounding: what is measured is then not relative


def own_cache(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """A cache folder in which nothing is kept yet but the compiled kernels, which take seconds."""
    compiled = cache_folder()
    compiled.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "holdfast").mkdir(parents=True)
    (folder / "holdfast" / "kernels").symlink_to(compiled)
    patch.setenv("XDG_CACHE_HOME", str(folder))


def error(got: Tensor, expected: Tensor) -> float:
    """max|a - b| / max|b|; NaN counts as infinitely wrong."""
    if got.shape != expected.shape:
        raise AssertionError(f"shape {tuple(got.shape)}, expected {tuple(expected.shape)}")
    if expected.numel() == 0:
        return 0.0
    difference = (got.double() - expected.double()).abs().max().item()
    scale = expected.double().abs().max().item()
    result = difference / scale if scale > NEGLIGIBLE else difference
    return result if result == result else float("inf")


def assert_close(got: Tensor, expected: Tensor, what: str = "", dtype: torch.dtype | None = None) -> None:
    """The two agree within the tolerance of `got`'s dtype (or of the one named)."""
    limit = TOLERANCE[dtype or got.dtype]
    found = error(got, expected)
    assert found <= limit, f"{what}: error {found:.2e} exceeds {limit:.0e}"


def assert_all_close(got: Mapping[str, Tensor], expected: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """The same for many at once; the message names all that are wrong."""
    assert set(got) == set(expected), f"{sorted(set(got) ^ set(expected))} on one side only"
    errors = {name: error(got[name], expected[name]) for name in expected}
    wrong = {name: f"{found:.2e}" for name, found in errors.items() if found > TOLERANCE[dtype]}
    assert not wrong, f"errors over {TOLERANCE[dtype]:.0e}: {wrong}"


def arrays_of(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a `.npz` file, which is closed: one that is left open warns whenever it is collected."""
    with np.load(path) as arrays:
        return dict(arrays)


def peak_memory(command: Sequence[str], environment: Mapping[str, str] = os.environ) -> tuple[int, str]:
    """The most memory that a command needs that is not pages of files, in bytes, on Linux; and what it printed.

    The command must succeed, and print little.
    """
    most = 0
    pipes: dict[str, int] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **pipes) as child:  # type: ignore[call-overload]
        while child.poll() is None:
            most = max(most, _anonymous_memory(child.pid))
            time.sleep(0.02)
        assert child.returncode == 0, child.stderr.read().decode()
        printed = child.stdout.read().decode()
    return most, printed


def _anonymous_memory(process: int) -> int:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")), 0)
