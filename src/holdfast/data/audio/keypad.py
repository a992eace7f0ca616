"""Telephone keypads: the tones of digits as a bad line brings them, for those who have no recordings of their own.

A key sounds one of four low and one of three high tones (ITU-T Q.23). A recording is a number that somebody dials, in
a room that rings, through a line that hums and hisses.
"""

from __future__ import annotations

import csv
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .augmentation import louder, noisy

Array = np.ndarray[Any, Any]

NAME = "builtin:keypad"
RATE = 8000

_LOW, _HIGH = (697, 770, 852, 941), (1209, 1336, 1477)  # Hz
_KEYS = ("123", "456", "789", "*0#")
TONES = {key: (low, high) for low, row in zip(_LOW, _KEYS) for high, key in zip(_HIGH, row) if key.isdigit()}
"""Of each digit its two tones, in Hz."""

_DEVIATION = 0.015  # of a frequency, up or down
_TONE, _PAUSE = (0.05, 0.20), (0.03, 0.25)  # seconds
_TWIST = (-8.0, 4.0)  # dB of the high tone above the low one
_RAMP = 0.003  # seconds in which a tone begins and ends
_RINGING = (0.1, 0.6)  # seconds until an echo has fallen by 60 dB
_ECHO = (-15.0, 0.0)  # dB of all echoes over the direct sound
_HUM = (-40.0, -10.0)  # dB of the hum over the sound
_MAINS = (50, 60)  # Hz
_NOISE = (0.0, 25.0)  # dB of the sound above the noise
_PEAK = (-26.0, 0.0)  # dB of the loudest sample below full scale


def keypad(count: int, seed: int, shortest: int = 3, longest: int = 8) -> Iterator[tuple[Array, str]]:
    """Recordings of dialled digits, each (N,) in float32, 8,000 samples a second, and what the digits are.

    >>> [digits for _, digits in keypad(3, seed=0)]
    ['76341112', '906493', '13537925']

    Args:
        count: how many.
        seed: of all that is drawn; recording k is the same however many there are.
        shortest: digits of a recording at least.
        longest: digits at most.
    """
    for k in range(count):
        draw = np.random.default_rng([seed, k])
        digits = "".join(draw.choice([*TONES], draw.integers(shortest, longest + 1)))
        yield _through_a_line(dialled(digits, draw), draw), digits


def dialled(digits: str, draw: np.random.Generator) -> Array:
    """The tones of digits with pauses before, between and after them, as clean as a telephone makes them, float64.

    >>> samples = dialled("12", np.random.default_rng(0))
    >>> bool(abs(samples).max() <= 1)
    True
    """
    parts = [_pause(draw)]
    for digit in digits:
        parts += [_tone(digit, draw), _pause(draw)]
    return np.concatenate(parts)


def write(folder: str | Path, count: int, seed: int, shortest: int = 3, longest: int = 8) -> Path:
    """Write recordings as WAV files of 16 bits, and a table of them, `manifest.csv`, with columns path and text.

    Args:
        folder: where to; it is made if it is not there.
        count: how many; this and all others as of `keypad`.
        seed: of all that is drawn.
        shortest: digits of a recording at least.
        longest: digits at most.

    Returns:
        The path of the table.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.csv"
    with manifest.open("w", encoding="utf-8", newline="") as table:
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(["path", "text"])
        for k, (samples, digits) in enumerate(keypad(count, seed, shortest, longest)):
            name = f"{k:05}.wav"
            with wave.open(str(folder / name), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE)
                file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
            rows.writerow([name, digits])
    return manifest


def _pause(draw: np.random.Generator) -> Array:
    return np.zeros(round(RATE * draw.uniform(*_PAUSE)))


def _tone(digit: str, draw: np.random.Generator) -> Array:
    """The two tones of a key, at most 1 together."""
    count = round(RATE * draw.uniform(*_TONE))
    at = np.arange(count) / RATE
    twist = 10 ** (draw.uniform(*_TWIST) / 20)
    low, high = (
        np.sin(2 * np.pi * (hertz * draw.uniform(1 - _DEVIATION, 1 + _DEVIATION) * at + draw.random()))
        for hertz in TONES[digit]
    )
    edge = np.minimum(1, np.minimum(at, at[::-1]) / _RAMP)
    found: Array = edge * (low + twist * high) / (1 + twist)
    return found


def _through_a_line(samples: Array, draw: np.random.Generator) -> Array:
    """The same sound with echoes, hum and noise, at some level."""
    samples = _echoed(samples, draw)
    level = np.sqrt(np.mean(samples**2))
    at = np.arange(len(samples)) / RATE
    mains, hum = draw.choice(_MAINS), 10 ** (draw.uniform(*_HUM) / 20)
    for harmonic in (1, 2, 3):
        samples = samples + level * hum / harmonic * np.sin(2 * np.pi * (harmonic * mains * at + draw.random()))
    samples = noisy(samples.astype(np.float32), draw.uniform(*_NOISE), draw.uniform(0, 2), draw)
    return louder(samples / np.abs(samples).max(), draw.uniform(*_PEAK))


def _echoed(samples: Array, draw: np.random.Generator) -> Array:
    """The same sound in a room: each sample is followed by noise that decays."""
    ringing = draw.uniform(*_RINGING)
    at = np.arange(round(RATE * ringing)) / RATE
    response = draw.standard_normal(len(at)) * 10 ** (-3 * at / ringing)
    response *= 10 ** (draw.uniform(*_ECHO) / 20) / np.sqrt((response**2).sum())
    response[0] = 1
    count = len(samples) + len(response) - 1
    size = 1 << (count - 1).bit_length()
    found: Array = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[:count]
    return found
