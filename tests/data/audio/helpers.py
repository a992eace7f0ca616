"""What the tests of sounds share."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def tone(hertz: float, seconds: float, rate: int, level: float = 0.5) -> Array:
    """A sine, (N,), float64."""
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def written(path: Path, samples: Array, rate: int) -> str:
    """The path of a 16-bit WAV that Python's own module writes, of samples (N,) or (N, channels)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return str(path)


def strength(samples: Array, hertz: float, rate: int) -> float:
    """The amplitude of a sine of this frequency in a sound, but for its ends (Goertzel's sum, written out)."""
    inner = samples[len(samples) // 10 : -(len(samples) // 10) or None]
    window = np.hanning(len(inner))
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(inner)) / rate)
    return float(2 * abs((inner * window * turns).sum()) / window.sum())
