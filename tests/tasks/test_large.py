"""A text that is larger than the memory that may be used for it."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from tests.support import peak_memory

SIZE = 2_000_000_000
MOST = 1_000_000_000  # bytes of anonymous memory


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences of words that are drawn like those of a language: a few often, most seldom."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyzäöü", k=draw.randint(2, 11))) for _ in range(50_000)]
    weights = [1 / (k + 3) for k in range(len(words))]
    path = tmp_path_factory.mktemp("large") / "text.txt"
    with path.open("w", encoding="utf-8") as file:
        written = 0
        while written < SIZE:
            chosen = draw.choices(words, weights, k=1_000_000)
            block = ". ".join(" ".join(chosen[k : k + 12]) for k in range(0, len(chosen), 12)) + "\n"
            written += len(block.encode())
            file.write(block)
    return path


@pytest.mark.full
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the memory of a process from /proc")
@pytest.mark.parametrize("level", ["char", "bpe"])
def test_two_gigabytes_are_encoded_and_trained_on_in_one(level: str, text: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "holdfast.cli", "fit", "text", str(text), "--out", str(tmp_path / "run")]
    command += ["--level", level, "--steps", "20", "--hidden", "256", "--evaluation-tokens", "20000", "--json"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    most, _ = peak_memory(command, environment)
    print(f"{level}: at most {most / 1e6:.0f} MB")
    assert 100e6 < most < MOST
