"""Traces of a whole corpus on the disk, unit by unit, so that one question to them reads few bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .recording import MicroscopeError, Recording
from .recording import series as series_of

ABOUT, FORMAT = "traces.json", "holdfast-traces 1"
LEVELS = 255  # a value is kept as one of so many: one byte
_PIECE = 1 << 17  # steps that are counted together: few enough that what is added to all the time stays in a cache
ROOM = 1.5  # how far beyond the first chunk's largest value a value may lie before it is kept as the largest


@dataclass(frozen=True)
class Match:
    """A place where the same units are on.

    Attributes:
        start, stop: its steps.
        score: the share of the units that are on, on average over its steps.
    """

    start: int
    stop: int
    score: float


class Traces:
    """Series of units over the steps of a corpus, one file a series, (units, steps), read where they lie.

    Args:
        folder: where `write_traces` wrote them.

    Attributes:
        steps: how many steps there are.
        series: the names of the series, such as "rnn.l0.h", with the number of their units.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / ABOUT
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise MicroscopeError(f"{self.folder} holds no traces: there is no {ABOUT}") from None
        except ValueError:
            raise MicroscopeError(f"{path} is not JSON") from None
        if about.get("format") != FORMAT:
            raise MicroscopeError(f"{path} must say {FORMAT!r}; got {about.get('format')!r}")
        self.steps: int = about["steps"]
        self.series: dict[str, int] = {name: one["units"] for name, one in about["series"].items()}
        self._limits = {name: (one["low"], one["high"]) for name, one in about["series"].items()}
        for name, units in self.series.items():
            size = (self.folder / _file(name)).stat().st_size
            if size != units * self.steps:
                raise MicroscopeError(f"{_file(name)} must hold {units * self.steps:,} bytes; it holds {size:,}")

    def raw(self, name: str) -> NDArray[np.uint8]:
        """The bytes of a series, (units, steps), mapped from the disk."""
        if name not in self.series:
            raise MicroscopeError(f"there is no series {name!r}; there are {', '.join(self.series)}")
        path = self.folder / _file(name)
        return np.memmap(path, np.uint8, "r", shape=(self.series[name], self.steps))

    def values(self, name: str, units: Sequence[int] | slice, start: int, stop: int) -> NDArray[np.float32]:
        """Some units over some steps, (units, steps), to within 1/255 of the range of the series."""
        raw = self.raw(name)
        low, high = self._limits[name]
        return low + raw[units, start:stop].astype(np.float32) * np.float32((high - low) / LEVELS)

    def _least(self, name: str, threshold: float) -> int:
        """The lowest byte that stands for a value above a threshold, from 0 to 256, which none reaches."""
        low, high = self._limits[name]
        return min(max(math.floor((threshold - low) / (high - low) * LEVELS) + 1, 0), LEVELS + 1)

    def _check(self, start: int, stop: int) -> None:
        if not 0 <= start < stop <= self.steps:
            raise MicroscopeError(f"the range must lie within the {self.steps:,} steps; got {start} to {stop}")

    def on(self, name: str, start: int, stop: int, threshold: float) -> list[int]:
        """The units that are above a threshold all through some steps."""
        self._check(start, stop)
        lowest = self.raw(name)[:, start:stop].min(1)
        return np.flatnonzero(lowest >= self._least(name, threshold)).tolist()

    def find(
        self,
        name: str,
        start: int,
        stop: int,
        threshold: float = 0.3,
        units: Sequence[int] | None = None,
        most: int = 20,
    ) -> list[Match]:
        """The other places where the units that are on in a range are on too, the best first.

        Args:
            name: of the series.
            start, stop: the range that was selected.
            threshold: above it a unit is on.
            units: which units; by default all that are on all through the range.
            most: how many places at most.

        Raises:
            MicroscopeError: there is no such series or range, or no unit is on in it.
        """
        self._check(start, stop)
        wanted = self.on(name, start, stop, threshold) if units is None else list(units)
        if not wanted:
            raise MicroscopeError(f"no unit is above {threshold:g} all through {start} to {stop}; lower the threshold")
        wide = stop - start
        sums = np.concatenate([[0], self._counts(name, wanted, threshold).cumsum(dtype=np.int64)])
        scores = (sums[wide:] - sums[:-wide]).astype(np.float32) / (wide * len(wanted))  # of each place to begin
        scores[max(0, start - wide + 1) : stop] = -1  # the range itself
        return list(_best(scores, wide, most))

    def _counts(self, name: str, units: Sequence[int], threshold: float) -> NDArray[np.int32]:
        """How many of some units are on at each step."""
        raw, least = self.raw(name), self._least(name, threshold)
        counts = np.zeros(self.steps, np.int32)
        if least > LEVELS:
            return counts
        for start in range(0, self.steps, _PIECE):
            piece = raw[:, start : start + _PIECE]
            # A comparison of bytes with a byte, 64 at once; with a Python number all would become double first.
            on = np.empty(piece.shape[1], bool)
            for first in range(0, len(units), LEVELS):  # as many as a byte can count, which is added 4 times as fast
                some = np.zeros(piece.shape[1], np.uint8)
                for unit in units[first : first + LEVELS]:
                    np.greater_equal(piece[unit], np.uint8(least), out=on)
                    some += on.view(np.uint8)
                counts[start : start + _PIECE] += some
        return counts


def _best(scores: NDArray[np.float32], wide: int, most: int) -> Iterator[Match]:
    """The highest scores, no two of which overlap."""
    for _ in range(most):
        at = int(scores.argmax())
        if scores[at] <= 0:
            return
        yield Match(at, at + wide, float(scores[at]))
        scores[max(0, at - wide + 1) : at + wide] = -1


def write_traces(
    folder: str | Path, recordings: Iterable[Recording], steps: int, series: Sequence[str] = ("h",)
) -> Traces:
    """Write series of all layers of recordings, one behind the other, so that they can be searched.

    Memory holds one recording at a time. Several sequences of a recording are laid one behind the other.

    >>> import tempfile, torch, holdfast
    >>> from holdfast import microscope
    >>> layer, chunks = holdfast.LSTM(3, 4), torch.randn(5, 10, 1, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     traces = write_traces(folder, (microscope.record(layer, x) for x in chunks), steps=50)
    ...     traces.series, traces.values("l0.h", slice(None), 0, 50).shape
    ({'l0.h': 4}, (4, 50))

    Args:
        folder: made if it is not there; traces that are there are overwritten.
        recordings: of the parts of a corpus, in order.
        steps: of all of them together.
        series: the gates and states to keep.

    Raises:
        MicroscopeError: the recordings have no such series, or another number of steps.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ABOUT).unlink(missing_ok=True)  # until all is written there are no traces
    files: dict[str, NDArray[np.uint8]] = {}
    limits: dict[str, tuple[float, float]] = {}
    done = 0
    for recording in recordings:
        wide = 0
        for name, rows, is_gate in _rows(recording, series):
            wide = rows.shape[1]
            if done + wide > steps:
                raise MicroscopeError(f"there are more steps than the {steps:,} that were said")
            if name not in files:
                limits[name] = _limits(rows, is_gate)
                files[name] = np.memmap(folder / _file(name), np.uint8, "w+", shape=(len(rows), steps))
            low, high = limits[name]
            files[name][:, done : done + wide] = np.clip((rows - low) * (LEVELS / (high - low)) + 0.5, 0, LEVELS)
        done += wide
    if done != steps or not files:
        raise MicroscopeError(f"there are {done:,} steps, not the {steps:,} that were said")
    about = {n: {"units": len(f), "low": limits[n][0], "high": limits[n][1]} for n, f in files.items()}
    for file in files.values():
        file.flush()  # type: ignore[attr-defined]
    (folder / ABOUT).write_text(json.dumps({"format": FORMAT, "steps": steps, "series": about}), encoding="utf-8")
    return Traces(folder)


def _rows(recording: Recording, names: Sequence[str]) -> Iterator[tuple[str, NDArray[np.float32], bool]]:
    """Each series as units over steps, (H, B·T), and whether it is a gate's."""
    for place, layer in recording.layers.items():
        for name in names:
            rows = series_of(layer, name).detach().float().permute(2, 1, 0).flatten(1)
            yield f"{place}.{name}", rows.cpu().numpy(), name in layer.gates


def _limits(rows: NDArray[np.float32], is_gate: bool) -> tuple[float, float]:
    """The ends of the range that a series is kept in: those of a gate, or of a state with room for more."""
    low, high = float(rows.min()), float(rows.max())
    if is_gate and low >= 0 and high <= 1:
        return 0.0, 1.0
    largest = max(1.0, ROOM * max(abs(low), abs(high)))
    return -largest, largest


def _file(name: str) -> str:
    return f"{name}.u8"
