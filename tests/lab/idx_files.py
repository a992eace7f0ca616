"""Tiny files in the format of the digits: dark noise, and one bright pixel that tells the digit."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

ROWS, COLUMNS = 6, 5
VALIDATED = 5000
LEARNED, TESTED = 130, 70


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bytes, (N, rows, columns), and digits, (N,)."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 10, count, dtype=np.uint8)
    pixels = draw.integers(0, 12, (count, ROWS * COLUMNS), dtype=np.uint8)
    pixels[np.arange(count), 3 * labels.astype(int)] = 255
    return pixels.reshape(count, ROWS, COLUMNS), labels


def idx(array: np.ndarray) -> bytes:
    """An array as the content of an idx file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_digits(folder: Path, compressed: bool = True) -> dict[str, np.ndarray]:
    """The four files, and what is in them."""
    folder.mkdir(parents=True, exist_ok=True)
    train, test = images(LEARNED + VALIDATED, 1), images(TESTED, 2)
    content = {
        "train-images-idx3-ubyte": train[0],
        "train-labels-idx1-ubyte": train[1],
        "t10k-images-idx3-ubyte": test[0],
        "t10k-labels-idx1-ubyte": test[1],
    }
    for name, array in content.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return content
