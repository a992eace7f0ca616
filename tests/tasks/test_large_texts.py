"""A table of many texts: a classifier trains on it in bounded memory, and its predictions keep order and count."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support import peak_memory

ROWS, WORDS = 200_000, 60
MOST = 2_000_000_000  # bytes of anonymous memory, of which an import of everything takes 300 MB


def _texts(path: Path) -> None:
    draw = np.random.default_rng(0)
    words = np.array([f"w{k}" for k in range(20_000)])
    with path.open("w") as file:
        file.write("review,sentiment\n")
        for number in range(ROWS):
            chosen = words[(20_000 * draw.random(WORDS) ** 3).astype(int)]
            label = draw.integers(2)
            file.write(f'"{number} {["bad", "good"][label]} {" ".join(chosen)}",{label}\n')


@pytest.mark.full
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the memory of a process from /proc")
def test_a_large_table_of_texts_is_learned_from_in_bounded_memory(tmp_path: Path) -> None:
    path, run, out = tmp_path / "reviews.csv", tmp_path / "run", tmp_path / "predictions.csv"
    _texts(path)
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    holdfast = [sys.executable, "-m", "holdfast.cli"]
    begun = time.perf_counter()
    command = [*holdfast, "fit", "classify", str(path), "--out", str(run), "--steps", "300", "--hidden", "16", "--json"]
    most, _ = peak_memory(command, environment)
    print(f"fit, {ROWS:,} rows: at most {most / 1e6:.0f} MB, {time.perf_counter() - begun:.0f} s")
    assert 100e6 < most < MOST
    begun = time.perf_counter()
    most, _ = peak_memory([*holdfast, "classify", str(run), str(path), "--out", str(out)], environment)
    print(f"classify, {ROWS:,} rows: at most {most / 1e6:.0f} MB, {time.perf_counter() - begun:.0f} s")
    assert 100e6 < most < MOST
    rows = out.read_text().splitlines()
    assert len(rows) == ROWS + 1
    assert [int(row.split(",")[0]) for row in rows[1:]] == list(range(1, ROWS + 1))
