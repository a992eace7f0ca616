"""A recording of an hour: it is written down in bounded memory, many times faster than it was spoken."""

from __future__ import annotations

import csv
import os
import sys
import time
from itertools import cycle
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile

from holdfast.data.audio import keypad
from tests.support import peak_memory

MINUTES = 60
MOST = 1_200_000_000  # bytes of anonymous memory, of which an import of everything takes 300 MB
FASTER = 20  # than real time, on two cores
LEVEL = 0.1  # root of the mean square of each number


def _dial(path: Path, minutes: int) -> str:
    """Write one recording of many numbers that are dialled as loud as each other; its digits."""
    some = list(keypad.keypad(200, seed=3))
    digits, length = [], 0
    with soundfile.SoundFile(path, "w", keypad.RATE, 1) as file:
        for samples, said in cycle(some):
            if length >= 60 * minutes * keypad.RATE:
                return "".join(digits)
            file.write(LEVEL * samples / np.sqrt(np.mean(samples**2)))
            digits.append(said)
            length += len(samples)
    raise AssertionError


@pytest.mark.full
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the memory of a process from /proc")
# What reads from the end too errs in what is longer than it learned from, as these parts are: its text is not judged.
@pytest.mark.parametrize(("streaming", "most_wrong"), [([], None), (["--streaming"], 0.2)], ids=["whole", "streaming"])
def test_an_hour_is_written_down_in_bounded_memory_faster_than_it_was_spoken(
    tmp_path: Path, streaming: list[str], most_wrong: float | None
) -> None:
    run, long, short, out = (tmp_path / name for name in ("run", "long.wav", "short.wav", "said.csv"))
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    holdfast = [sys.executable, "-m", "holdfast.cli"]
    peak_memory([*holdfast, "fit", "transcribe", "--out", str(run), "--steps", "600", "--json", *streaming])
    found = {}
    for path, minutes in ((short, 2), (long, MINUTES)):
        dialled = _dial(path, minutes)
        begun = time.perf_counter()
        most, _ = peak_memory([*holdfast, "transcribe", str(run), str(path), "--out", str(out)], environment)
        seconds = time.perf_counter() - begun
        with out.open() as file:
            (row,) = csv.DictReader(file)
        wrong = jiwer.cer(dialled, row["text"])
        rate = 60 * minutes / seconds
        print(
            f"{minutes} minutes: at most {most / 1e6:.0f} MB, {seconds:.1f} s, {rate:.0f} times as fast as spoken,",
            end=" ",
        )
        print(f"{100 * wrong:.1f} % of {len(dialled):,} digits wrong")
        assert np.isclose(float(row["seconds"]), 60 * minutes, atol=10)
        assert most_wrong is None or wrong < most_wrong
        found[minutes] = most, rate
    assert 100e6 < found[MINUTES][0] < MOST
    assert found[MINUTES][0] < 1.5 * found[2][0]
    assert found[MINUTES][1] > FASTER
