"""Strings of digits joined from recordings of single ones: what a transcriber and a keyword classifier can learn from.

The recordings are those of the Free Spoken Digit Dataset, or others whose names say the same:
`DIGIT_SPEAKER_NUMBER.wav`. Its official test part are the numbers 0 to 4; 5 to 9 are put aside here to choose on.

    python examples/digit_strings.py recordings --out digits
    holdfast fit transcribe digits/strings-train.csv --valid digits/strings-valid.csv --test digits/strings-test.csv \
        --out RUN
    holdfast fit classify digits/keywords-train.csv --valid digits/keywords-valid.csv --test digits/keywords-test.csv \
        --audio path --label digit --out RUN
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

TEST, VALID = range(5), range(5, 10)  # numbers of recordings
STRINGS = {"train": 3000, "valid": 200, "test": 500}
DIGITS = 3, 7  # of a string, least and most
PAUSES = 0.05, 0.5  # seconds between two, and before and after all
HISS = 1e-4  # of what is between recordings


@dataclass(frozen=True)
class Recording:
    """One digit, said by somebody."""

    path: Path
    digit: str
    speaker: str
    number: int


def recordings(folder: Path) -> list[Recording]:
    """All recordings of a folder, in the order of their names."""
    found = []
    for path in sorted(folder.glob("*_*_*.wav")):
        digit, speaker, number = path.stem.split("_")
        found.append(Recording(path, digit, speaker, int(number)))
    if not found:
        raise SystemExit(f"{folder} must hold files like 7_theo_12.wav")
    return found


def parts(found: Sequence[Recording], without: str) -> dict[str, list[Recording]]:
    """What to learn from, to choose on and to test on.

    Args:
        found: all recordings.
        without: a speaker who is only tested on, with all recordings; empty: the official test part.
    """
    if not without:
        test = [one for one in found if one.number in TEST]
    else:
        test = [one for one in found if one.speaker == without]
    others = [one for one in found if one not in test]
    valid = [one for one in others if one.number in VALID]
    return {"train": [one for one in others if one not in valid], "valid": valid, "test": test}


@dataclass(frozen=True)
class String:
    """Digits one after the other, said by one speaker.

    Attributes:
        samples: the sound.
        rate: samples a second.
        digits: what is said.
        ends: when each digit has been said, in seconds.
    """

    samples: Any
    rate: int
    digits: str
    ends: list[float]


def strings(found: Sequence[Recording], count: int, draw: np.random.Generator) -> Iterator[String]:
    """Some strings, each by one speaker."""
    by_speaker: dict[str, list[Recording]] = {}
    for one in found:
        by_speaker.setdefault(one.speaker, []).append(one)
    speakers = sorted(by_speaker)
    for _ in range(count):
        spoken = by_speaker[speakers[draw.integers(len(speakers))]]
        chosen = [spoken[k] for k in draw.integers(len(spoken), size=draw.integers(DIGITS[0], DIGITS[1] + 1))]
        pieces: list[Any] = []
        ends: list[float] = []
        for one in chosen:
            samples, rate = soundfile.read(one.path, dtype="float32")
            pieces += [_pause(rate, draw), samples]
            ends.append(sum(map(len, pieces)) / rate)
        pieces.append(_pause(rate, draw))
        yield String(np.concatenate(pieces), rate, "".join(one.digit for one in chosen), ends)


def _pause(rate: int, draw: np.random.Generator) -> Any:
    return draw.normal(0, HISS, int(rate * draw.uniform(*PAUSES))).astype(np.float32)


def write(folder: Path, out: Path, without: str = "", seed: int = 0, counts: dict[str, int] | None = None) -> None:
    """Write manifests of single digits, and strings with theirs."""
    out.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    for name, found in parts(recordings(folder), without).items():
        _table(out / f"keywords-{name}.csv", ("path", "digit"), [(str(one.path.resolve()), one.digit) for one in found])
        rows = []
        (out / name).mkdir(exist_ok=True)
        for k, one in enumerate(strings(found, (counts or STRINGS)[name], draw)):
            soundfile.write(out / name / f"{k:05}.flac", one.samples, one.rate)
            rows.append((f"{name}/{k:05}.flac", one.digits, " ".join(f"{end:.3f}" for end in one.ends)))
        _table(out / f"strings-{name}.csv", ("path", "text", "ends"), rows)


def _table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="where the recordings are")
    parser.add_argument("--out", type=Path, required=True, help="a folder for manifests and strings")
    parser.add_argument("--without", default="", metavar="SPEAKER", help="learn from the others, and test on this one")
    given = parser.parse_args()
    write(given.folder, given.out, given.without)
