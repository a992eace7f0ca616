"""Tables that are long, and tables that are wide: a forecaster trains on them in bounded memory."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.support import peak_memory

MOST = 2_000_000_000  # bytes of anonymous memory, of which an import of everything takes 300 MB


def _many_short(path: Path) -> None:
    draw = np.random.default_rng(0)
    count, length = 10_000, 60
    days = pd.date_range("2024-01-01", periods=length)
    values = draw.normal(size=(count, length)).cumsum(1) + 50
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat([f"s{k}" for k in range(count)], length),
            "ds": np.tile(days, count),
            "y": values.ravel(),
        }
    )
    frame.to_parquet(path)


def _one_long(path: Path) -> None:
    draw = np.random.default_rng(0)
    steps = np.arange(1_000_000)
    values = np.sin(steps * 2 * np.pi / 24) + 0.1 * draw.normal(size=len(steps))
    pd.DataFrame({"ds": pd.date_range("1900-01-01", periods=len(steps), freq="h"), "y": values}).to_parquet(path)


@pytest.mark.full
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the memory of a process from /proc")
@pytest.mark.parametrize("kind", ["many short series", "one long series"])
def test_a_large_table_is_learned_from_in_bounded_memory(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    (_many_short if kind == "many short series" else _one_long)(path)
    command = [sys.executable, "-m", "holdfast.cli", "fit", "forecast", str(path), "--out", str(tmp_path / "run")]
    command += ["--steps", "60", "--horizon", "7", "--hidden", "32", "--json"]
    begun = time.perf_counter()
    most, _ = peak_memory(command)
    print(f"{kind}: at most {most / 1e6:.0f} MB, {time.perf_counter() - begun:.0f} s")
    assert 100e6 < most < MOST
