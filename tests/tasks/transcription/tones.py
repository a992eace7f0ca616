"""Recordings that are easy to write down: a tone for each of four digits, with pauses between them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

RATE = 8000
_HERTZ = {"0": 300, "1": 700, "2": 1500, "3": 3000}


def write(folder: Path, count: int, seed: int, shortest: int = 2, longest: int = 4) -> Path:
    """Write WAV files and their manifest."""
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for k in range(count):
        digits = "".join(draw.choice([*_HERTZ], draw.integers(shortest, longest + 1)))
        pieces = [_pause(draw)]
        for digit in digits:
            times = np.arange(int(RATE * draw.uniform(0.08, 0.2))) / RATE
            pieces += [0.3 * np.sin(2 * np.pi * _HERTZ[digit] * times), _pause(draw)]
        samples = np.concatenate(pieces)
        soundfile.write(folder / f"{k:03}.wav", samples + draw.normal(0, 0.003, len(samples)), RATE)
        rows.append((f"{k:03}.wav", digits))
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "text"), *rows])
    return folder / "manifest.csv"


def _pause(draw: np.random.Generator) -> np.ndarray:
    return np.zeros(int(RATE * draw.uniform(0.08, 0.25)))
