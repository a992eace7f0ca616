"""A transcriber reads sounds: many short ones side by side, or one that may last for hours, piece by piece."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from holdfast.data import Told
from holdfast.data.audio import Mel, MelStream, Recordings
from holdfast.models import STRIDE, Transcriber, greedy

from ..lengths import in_order

Array = np.ndarray[Any, Any]

LONGEST = 10.0  # seconds of a segment: one that reads from the end too errs more in what is longer than it learned
_EARLIEST = 0.5  # of these: from here on the quietest place is looked for
_QUIET = 15  # frames over which loudness is measured there
_TOGETHER = 1 << 14  # frames that are read at a time


@dataclass(frozen=True)
class Segment:
    """A part of a sound between two quiet places.

    Attributes:
        begin: its first step.
        logs: the logarithms of the probabilities of blank and symbols after each step, (T', 1 + symbols).
    """

    begin: int
    logs: Tensor


class Reader(ABC):
    """A model that reads one sound as it comes, in segments of at most `LONGEST` seconds.

    A segment ends where it is quietest in its last half.

    Args:
        model: the model.
        mel: makes frames of sound.
    """

    def __init__(self, model: Transcriber, mel: Mel) -> None:
        self._model = model
        self._mel = MelStream(mel)
        self._most = int(LONGEST / mel.hop) // STRIDE * STRIDE
        self._frames = torch.zeros(0, mel.bands)  # of the segment that is being read
        self._begin = 0  # its first step

    def push(self, samples: Array) -> list[Segment]:
        """The segments that end with some more samples, (N,)."""
        self._take(self._mel.push(torch.from_numpy(samples)))
        found = []
        while len(self._frames) > self._most:
            found.append(self._cut(_quietest(self._frames[: self._most])))
        return found

    def finish(self) -> list[Segment]:
        """The last segment, if there is anything left."""
        self._take(self._mel.finish())
        last = self._cut(len(self._frames), last=True)
        return [last] if len(last.logs) else []

    def _cut(self, frames: int, last: bool = False) -> Segment:
        logs = self._read(self._frames[:frames], last)
        found = Segment(self._begin, logs)
        self._frames = self._frames[frames:]
        self._begin += len(logs)
        return found

    def _take(self, frames: Tensor) -> None:
        self._frames = torch.cat([self._frames, frames])

    @abstractmethod
    def _read(self, frames: Tensor, last: bool) -> Tensor:
        """What is said of the next frames, (T', 1 + symbols)."""

    @abstractmethod
    def unfinished(self) -> Segment:
        """What can be said already of the segment that has not ended."""


class _WholeSegments(Reader):
    """By a model that reads from the end too: each segment is a sound of its own."""

    def _read(self, frames: Tensor, last: bool) -> Tensor:
        if not len(frames):
            return torch.zeros(0, self._model.output.out_features)
        device = self._model.means.device
        with torch.no_grad():
            logs, _ = self._model(frames[:, None].to(device), torch.tensor([len(frames)], device=device))
        found: Tensor = logs[:, 0].float().cpu()
        return found

    def unfinished(self) -> Segment:
        """Nothing: the end may change all."""
        return Segment(self._begin, torch.zeros(0, self._model.output.out_features))


class _AsItComes(Reader):
    """By a model that reads in one direction, whose memory goes through all segments."""

    def __init__(self, model: Transcriber, mel: Mel) -> None:
        super().__init__(model, mel)
        self._stream = model.stream()
        self._said = torch.zeros(0, model.output.out_features)  # of the segment that is being read

    def _take(self, frames: Tensor) -> None:
        super()._take(frames)
        self._hear(self._stream.push(frames.to(self._model.means.device)))

    def _hear(self, logs: Tensor) -> None:
        self._said = torch.cat([self._said, logs.float().cpu()])

    def _read(self, frames: Tensor, last: bool) -> Tensor:
        if last:
            self._hear(self._stream.finish())
        steps = len(self._said) if last else len(frames) // STRIDE
        found, self._said = self._said[:steps], self._said[steps:]
        return found

    def unfinished(self) -> Segment:
        """All that the stream has said."""
        return Segment(self._begin, self._said)


def reader_of(model: Transcriber, mel: Mel) -> Reader:
    """What reads a sound by a model."""
    return _WholeSegments(model, mel) if model.bidirectional else _AsItComes(model, mel)


def segments(blocks: Iterable[Array], model: Transcriber, mel: Mel) -> Iterator[Segment]:
    """What a model says of a sound that comes in blocks of samples."""
    reader = reader_of(model, mel)
    for block in blocks:
        yield from reader.push(block)
    yield from reader.finish()


@torch.no_grad()
def logs_of(model: Transcriber, data: Recordings, mel: Mel, told: Told) -> Iterator[tuple[int, Tensor]]:
    """What a model says of each recording, (T', 1 + symbols) on the CPU, with the recording's number, in any order."""
    device = model.means.device
    frames = np.array([mel.frames(int(samples)) for samples in data.lengths])
    long = frames > LONGEST / mel.hop
    short = np.flatnonzero(~long)
    done = 0
    for batch in in_order(frames[short], _TOGETHER):
        which = short[batch]
        x = torch.nn.utils.rnn.pad_sequence([mel(torch.from_numpy(data.of(int(k)))) for k in which])
        logs, steps = model(x.to(device), torch.from_numpy(frames[which]).to(device))
        for column, (k, count) in enumerate(zip(which.tolist(), steps.tolist())):
            yield k, logs[:count, column].float().cpu()
        done += len(which)
        told(f"reading: {done:,} of {len(data):,} recordings")
    for k in np.flatnonzero(long).tolist():
        yield k, torch.cat([one.logs for one in segments([data.of(k)], model, mel)])
        done += 1
        told(f"reading: {done:,} of {len(data):,} recordings")


def written_of(logs: Tensor, symbols: Sequence[str]) -> str:
    """The symbols of the likeliest path, as a text without blanks at its ends."""
    return "".join(symbols[k - 1] for k in greedy(logs)).strip()


def _quietest(frames: Tensor) -> int:
    """After how many frames to cut, a multiple of `STRIDE`: in the middle of the quietest stretch of the last half."""
    loudness = frames.mean(1)  # (T,)
    around = loudness.unfold(0, _QUIET, 1).mean(1)  # (T - QUIET + 1,)
    first = int(len(around) * _EARLIEST)
    place = first + int(around[first:].argmin()) + _QUIET // 2
    return max(STRIDE, place // STRIDE * STRIDE)
