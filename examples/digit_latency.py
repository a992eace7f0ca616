"""How long after a digit has been said a transcriber writes it, on the strings of digit_strings.py.

    python examples/digit_latency.py RUN digits/strings-test.csv

The recordings are played to the run a twentieth of a second at a time, as they would come from a microphone. Only those
count that are written without an error: of others it cannot be told which digit is which.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import holdfast
from holdfast.data.audio import sound
from holdfast.tasks.transcription import TranscribeRun

BLOCK = 0.05  # seconds


def written_at(run: TranscribeRun, path: Path) -> tuple[str, list[float]]:
    """The text of a recording, and how many seconds of it had been played when each symbol was first written."""
    samples, rate = sound(str(path), run.mel.rate), run.mel.rate
    live = run.live()
    times: list[float] = []
    size = round(BLOCK * rate)
    for begin in range(0, len(samples), size):
        ended = "".join(part.text for part in live.push(samples[begin : begin + size]))
        assert not ended, "strings are shorter than a part"
        times += [min(begin + size, len(samples)) / rate] * (len(live.so_far().text) - len(times))
    text = "".join(part.text for part in live.finish())
    return text, times + [len(samples) / rate] * (len(text) - len(times))


def delays(run: TranscribeRun, manifest: Path) -> tuple[list[float], int, int]:
    """Seconds from the end of each digit to its being written; how many recordings count, and how many there are."""
    found: list[float] = []
    count = right = 0
    with manifest.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            text, times = written_at(run, manifest.parent / row["path"])
            count += 1
            if text == row["text"]:
                right += 1
                found += [time - float(end) for time, end in zip(times, row["ends"].split())]
    return found, right, count


def said(found: Sequence[float], right: int, count: int) -> str:
    """A line of figures."""
    middle, late = np.quantile(found, [0.5, 0.95])
    return (
        f"{len(found):,} digits of {right:,} of {count:,} recordings: written {1000 * middle:.0f} milliseconds after "
        f"their end (median), 95 % of them within {1000 * late:.0f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", help="a run of holdfast fit transcribe --streaming")
    parser.add_argument("manifest", type=Path, help="strings of digits with their ends")
    given = parser.parse_args()
    print(said(*delays(holdfast.load(given.run), given.manifest)))
