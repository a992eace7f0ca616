"""Sounds from files and pipes: one channel of float32 at the rate that is asked for, some seconds at a time."""

from __future__ import annotations

import io
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from holdfast.extras import require

from ..labelled.example import Fault
from ..sources import DataError, seekable

Array = np.ndarray[Any, Any]

SUFFIXES = (".wav", ".flac", ".ogg")
"""How the names of files of sounds end; `.gz` may follow."""

_HIGHEST_RATE = 16_000  # that `common_rate` finds: speech needs no more
_ASKED = 100  # recordings from which the rate is told
_LOUDEST = 10.0  # a sample in a file of floats; beyond it other units are meant than the full scale
_UNKNOWN_BYTES = 2**32 - 1  # of samples, in the header of a WAV that was written before its length was known
_UNKNOWN_FRAMES = 2**62  # what is beyond was not in a file's header
_PAGE = 1 << 16  # a page of an Ogg file at most, but for its header
_HEADERS = {
    b"RIFF": "WAV",
    b"RIFX": "WAV",
    b"RF64": "WAV",
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
}  # how files of sounds begin


def rate_of(path: str) -> int:
    """Samples per second of a sound in a file.

    Raises:
        DataError: the file cannot be read.
        Fault: it is no sound.
    """
    with _opened(path) as file:
        return int(file.samplerate)


def common_rate(paths: Iterable[str]) -> int:
    """The rate to read recordings at: the commonest among the first 100, but 16,000 at most.

    What is no sound or cannot be read does not count; if nothing is left, it is 16,000.
    """
    rates: Counter[int] = Counter()
    for _, path in zip(range(_ASKED), paths):
        try:
            rates[rate_of(path)] += 1
        except (Fault, DataError):
            continue  # who reads the sound says so
    return min(rates.most_common(1)[0][0], _HIGHEST_RATE) if rates else _HIGHEST_RATE


def sound(path: str, rate: int) -> Array:
    """A whole sound, (N,): the blocks of `sound_blocks` together.

    Raises:
        DataError, Fault: as there.
    """
    return np.concatenate([*sound_blocks(path, rate)])


def sound_blocks(path: str, rate: int, seconds: float = 10.0) -> Iterator[Array]:
    """A sound from a WAV, FLAC or Ogg file, some seconds at a time, so that it may last for hours.

    Args:
        path: a local path, or a URL that fsspec knows; one that ends in `.gz` is unpacked into memory.
        rate: samples per second that are asked for; the sound is resampled if it has others.
        seconds: of a block at most, more or less.

    Yields:
        Blocks of float32 from −1 to 1, the mean of all channels, (n,) with n > 0.

    Raises:
        DataError: the file cannot be read.
        Fault: it is no sound, is cut short, has no samples, or one that is no finite number or far beyond full scale.
    """
    with _opened(path) as file:
        yield from _some(resampled(_mono(file, seconds), int(file.samplerate), rate))


def pcm_blocks(stream: BinaryIO, rate_in: int, rate: int, seconds: float = 10.0) -> Iterator[Array]:
    """A sound from a pipe of raw samples, 16 bits each, the lower byte first, of one channel: blocks as they come.

    >>> pipe = io.BytesIO(np.array([0, 16384, -32768], "<i2").tobytes())
    >>> [block.tolist() for block in pcm_blocks(pipe, 8000, 8000)]
    [[0.0, 0.5, -1.0]]

    Args:
        stream: the pipe, which is read until it ends; half of a sample at its end is dropped.
        rate_in: samples per second in the pipe.
        rate: those that are asked for.
        seconds: of a block at most. A block is not waited for: it is what the pipe gives.

    Yields:
        Blocks as of `sound_blocks`.

    Raises:
        Fault: there is not one sample, or they are those of a file with a header.
    """
    yield from _some(resampled(_samples(stream, max(1, round(seconds * rate_in))), rate_in, rate))


def resampled(blocks: Iterable[Array], rate_in: int, rate: int) -> Iterator[Array]:
    """The same sound at another rate, block by block, without what would fold back from above half the rate.

    >>> blocks = [np.zeros(3000, np.float32), np.zeros(1410, np.float32)]
    >>> sum(map(len, resampled(blocks, 44100, 16000)))
    1600
    """
    if rate_in == rate:
        yield from blocks
        return
    resampler = require("soxr", "speech").ResampleStream(rate_in, rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _some(blocks: Iterable[Array]) -> Iterator[Array]:
    """The blocks that hold something, within −1 to 1; there must be one."""
    empty = True
    for block in blocks:
        if len(block):
            yield np.clip(block, -1.0, 1.0)
            empty = False
    if empty:
        raise Fault("the sound has no samples")


def _mono(file: Any, seconds: float) -> Iterator[Array]:
    """The blocks of an open file, all channels in one."""
    error = require("soundfile", "speech").LibsndfileError
    size = max(1, round(seconds * file.samplerate))
    promised = file.frames if file.frames < _UNKNOWN_FRAMES else 0
    done = 0
    while True:
        try:
            block = file.read(size, dtype="float32", always_2d=True)  # (n, channels)
        except error:
            promise = f"the {promised:,} samples that its header promises" if promised else "its end"
            raise Fault(f"the sound is cut short before {promise}") from None
        if not len(block):
            break
        done += len(block)
        yield _averaged(block)
    if done < promised:
        raise _cut_short(done, promised)


def _averaged(block: Array) -> Array:
    if not np.isfinite(block).all():
        raise Fault("a sample that is not a number, or infinite")
    loudest = float(np.abs(block).max())
    if loudest > _LOUDEST:
        raise Fault(f"a sample of {loudest:g}, but they must be from -1 to 1")
    mean: Array = block.mean(1)
    return mean


def _samples(stream: BinaryIO, most: int) -> Iterator[Array]:
    """What a pipe gives, at most so many samples at a time."""
    read = getattr(stream, "read1", stream.read)  # of a buffered one, what is there
    half = b""  # of a sample whose other byte has not come yet
    begun = False
    while piece := read(2 * most - len(half)):
        held = half + piece
        header = "" if begun else next((name for mark, name in _HEADERS.items() if held.startswith(mark)), "")
        if header:
            raise Fault(f"it is a file of {header}, not raw samples: name the file, or send what follows its header")
        begun = True
        half = held[len(held) // 2 * 2 :]
        yield np.frombuffer(held, "<i2", len(held) // 2).astype(np.float32) / 32768


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """A file of a sound as soundfile has it, of which all is there."""
    soundfile = require("soundfile", "speech")
    with seekable(path) as file:
        _refuse_truncated(file)
        source = _Source(file)
        try:
            opened = soundfile.SoundFile(source)
        except soundfile.LibsndfileError as error:
            source.raise_error()
            raise Fault(f"it is not a sound in WAV, FLAC or Ogg: {error.error_string.rstrip('.')}") from None
        with opened:
            try:
                yield opened
            finally:
                source.raise_error()


class _Source:
    """A file for libsndfile, through which no exception can pass: one is kept until it can be raised.

    Args:
        file: the open file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell = file.seek, file.tell
        self._file = file
        self._error: OSError | None = None

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; how many bytes there were."""
        try:
            block = self._file.read(len(buffer))
        except OSError as error:
            self._error = error
            return 0
        buffer[: len(block)] = block
        return len(block)

    def raise_error(self) -> None:
        """Raise what was kept."""
        if self._error is not None:
            raise self._error


# libsndfile takes a WAV or an Ogg file that ends early for a shorter sound, so it is seen here.


def _refuse_truncated(file: BinaryIO) -> None:
    beginning = file.read(12)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if beginning[:4] == b"RIFF" and beginning[8:] == b"WAVE":
        _refuse_truncated_wav(file, size)
    elif beginning[:4] == b"OggS":
        _refuse_truncated_ogg(file, size)
    file.seek(0)


def _refuse_truncated_wav(file: BinaryIO, size: int) -> None:
    """Refuse a file whose header promises more samples than there are."""
    at, frame = 12, 1
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"fmt " and at + 24 <= size:
            frame = max(1, struct.unpack("<12xH", file.read(14))[0])
        if name == b"data":
            there = size - at - 8
            if there < length < _UNKNOWN_BYTES:
                raise _cut_short(there // frame, length // frame)
            return
        at += 8 + length + length % 2  # chunks begin at even bytes


def _refuse_truncated_ogg(file: BinaryIO, size: int) -> None:
    """Refuse a file whose last page is not whole or does not say that it is the last."""
    file.seek(max(0, size - 2 * _PAGE))
    end = file.read()
    page = end[max(0, end.rfind(b"OggS")) :]
    lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
    whole = len(page) > 26 and len(page) >= 27 + page[26] + sum(lengths)
    if not whole or not page[5] & 4:
        raise Fault("the sound is cut short: the file ends before its last page")


def _cut_short(done: int, promised: int) -> Fault:
    return Fault(f"the sound is cut short: it has {done:,} samples of {promised:,}")
