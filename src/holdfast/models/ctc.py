"""Connectionist temporal classification (Graves 2006): from what is said of each frame to symbols and their times.

A frame is one step of the sequence that a recogniser has read. Of each it says how likely every symbol is, or the
blank, which stands for none: log-probabilities (T, K), the blank's in column 0, those of symbol k in column k. A path
takes one of them a frame; what it spells is found by writing repeats once and leaving blanks out. The same symbols are
spelled by many paths. Here are the likeliest path of all, and the likeliest among those that spell given symbols;
`ctc_search` looks for the symbols whose paths are the likeliest taken together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

BLANK = 0
_ROUNDING = 1e-2  # of 16 bits: how far above 0 a log-probability may lie
_SPACE = " "


def greedy(logs: np.ndarray[Any, Any] | Tensor) -> list[int]:
    """The symbols that the likeliest path spells.

    >>> import numpy as np
    >>> greedy(np.log([[0.1, 0.7, 0.2], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [0.1, 0.7, 0.2], [0.3, 0.2, 0.5]]))
    [1, 1, 2]

    Args:
        logs: log-probabilities of each frame, (T, K); the blank's first.
    """
    return GreedyStream().push(logs)


class GreedyStream:
    """The likeliest path of frames that come in pieces: symbols come out at the first frame of each.

    >>> import numpy as np
    >>> logs = np.log([[0.1, 0.7, 0.2], [0.1, 0.8, 0.1], [0.3, 0.2, 0.5]])
    >>> stream = GreedyStream()
    >>> stream.push(logs[:1]), stream.push(logs[1:])
    ([1], [2])
    """

    def __init__(self) -> None:
        self._last = BLANK

    def push(self, logs: np.ndarray[Any, Any] | Tensor) -> list[int]:
        """The symbols that begin in these frames, (T, K)."""
        labels = checked_logs(logs).argmax(1)  # (T,)
        before = np.concatenate([[self._last], labels])  # (T + 1,)
        self._last = int(before[-1])
        return labels[(labels != before[:-1]) & (labels != BLANK)].tolist()


class Alignment(NamedTuple):
    """Where symbols lie in the frames.

    Attributes:
        spans: the first frame of each symbol and the first one after it, (S, 2).
        log_probabilities: of each symbol in its frames, their sum, (S,).
    """

    spans: Integers
    log_probabilities: Floats


def align(logs: np.ndarray[Any, Any] | Tensor, symbols: Sequence[int]) -> Alignment:
    """The likeliest path that spells some symbols (Viterbi).

    >>> import numpy as np
    >>> logs = np.log([[0.1, 0.7, 0.2], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [0.1, 0.7, 0.2], [0.3, 0.2, 0.5]])
    >>> align(logs, [1, 1, 2]).spans.tolist()
    [[0, 2], [3, 4], [4, 5]]

    Args:
        logs: log-probabilities of each frame, (T, K); the blank's first.
        symbols: what is spelled, numbers from 1 to K - 1.

    Raises:
        ValueError: there are too few frames: each symbol needs one, and so does the blank between two that are the
            same. Or no path that spells the symbols has a probability above 0.
    """
    frames = checked_logs(logs)
    wanted = _checked_symbols(symbols, frames.shape[1])
    needed = len(wanted) + int((wanted[1:] == wanted[:-1]).sum())
    if len(frames) < needed:
        raise ValueError(f"logs must have at least {needed} frames for these {len(wanted)} symbols; got {len(frames)}")
    places = _likeliest_places(frames, wanted)
    # Place 2 s + 1 is symbol s. Places never fall, so those of one symbol lie side by side.
    at = 2 * np.arange(len(wanted)) + 1  # (S,)
    spans = np.stack([places.searchsorted(at), places.searchsorted(at, "right")], 1)  # (S, 2)
    sums = [frames[start:end, symbol].sum() for (start, end), symbol in zip(spans, wanted)]
    return Alignment(spans, np.array(sums, np.float64))


def _likeliest_places(frames: Floats, symbols: Integers) -> Integers:
    """Where among the symbols and the blanks around them, 2 S + 1 places, the likeliest path is in each frame, (T,)."""
    labels = np.full(2 * len(symbols) + 1, BLANK)
    labels[1::2] = symbols
    # The blank between two symbols may be left out if they differ.
    leaps = np.zeros(len(labels), bool)
    leaps[3::2] = symbols[1:] != symbols[:-1]
    best = np.full(len(labels) + 2, -np.inf)  # of the paths that end in each place, behind two that none reaches
    best[2] = 0.0  # before the first frame, as if a blank had been there
    advances = np.zeros((len(frames), len(labels)), np.uint8)  # by how many places the likeliest path came there
    for frame, advance in zip(frames, advances):
        ways = np.stack([best[2:], best[1:-1], np.where(leaps, best[:-2], -np.inf)])  # (3, 2 S + 1)
        advance[:] = ways.argmax(0)
        best[2:] = ways.max(0) + frame[labels]
    place = len(labels) - 1
    if place and best[2 + place - 1] > best[2 + place]:
        place -= 1  # it ends with the last symbol, without a blank
    if best[2 + place] == -np.inf:
        raise ValueError("symbols must be possible in these frames; got some that every path gives probability 0")
    places = np.empty(len(frames), np.int64)
    for t in reversed(range(len(frames))):
        places[t] = place
        place -= int(advances[t, place])
    return places


def confidences(logs: np.ndarray[Any, Any] | Tensor, symbols: Sequence[int], spans: Integers) -> Floats:
    """How sure a recogniser is of each symbol: the mean of its probabilities in the symbol's frames, (S,).

    It says nothing of the frames between symbols, so it does not see what was left out.

    >>> import numpy as np
    >>> logs = np.log([[0.1, 0.7, 0.2], [0.1, 0.8, 0.1], [0.3, 0.2, 0.5]])
    >>> confidences(logs, [1, 2], align(logs, [1, 2]).spans).round(2).tolist()
    [0.75, 0.5]

    Args:
        logs: log-probabilities of each frame, (T, K); the blank's first.
        symbols: numbers from 1 to K - 1.
        spans: the first frame of each symbol and the first one after it, (S, 2), of which none is empty.
    """
    frames = checked_logs(logs)
    wanted = _checked_symbols(symbols, frames.shape[1])
    within = _checked_spans(spans, len(wanted))
    if within.size and within.max() > len(frames):
        raise ValueError(f"spans must lie within the {len(frames)} frames; got one up to {within.max()}")
    means = [np.exp(frames[start:end, symbol]).mean() for (start, end), symbol in zip(within, wanted)]
    return np.array(means, np.float64)


class Word(NamedTuple):
    """A word and where it lies.

    Attributes:
        text: the word.
        start: when it begins, in seconds.
        end: when it ends.
        confidence: the geometric mean of its symbols'.
    """

    text: str
    start: float
    end: float
    confidence: float


def words(
    texts: Sequence[str], spans: Integers, confidences: Sequence[float] | Floats, seconds_per_frame: float
) -> list[Word]:
    """The words that symbols make up, with their times.

    >>> import numpy as np
    >>> spans = np.array([[0, 2], [3, 4], [4, 6], [6, 9]])
    >>> words("I am", spans, [0.9, 1, 0.25, 1.0], seconds_per_frame=0.02)
    [Word(text='I', start=0.0, end=0.04, confidence=0.9), Word(text='am', start=0.08, end=0.18, confidence=0.5)]

    Args:
        texts: what each symbol stands for, (S,): a string of one character each, or several strings. Words end where
            one is a space.
        spans: the first frame of each symbol and the first one after it, (S, 2).
        confidences: of each symbol, (S,).
        seconds_per_frame: how long a frame lasts.
    """
    within = _checked_spans(spans, len(texts))
    if len(confidences) != len(texts):
        raise ValueError(f"confidences must be one for each of the {len(texts)} symbols; got {len(confidences)}")
    if not 0 < seconds_per_frame < np.inf:
        raise ValueError(f"seconds_per_frame must be a number above 0; got {seconds_per_frame!r}")
    spaces = [k for k, text in enumerate(texts) if text == _SPACE]
    found = []
    for first, end in zip([0, *(k + 1 for k in spaces)], [*spaces, len(texts)]):
        if first == end:  # one space after another, or at the beginning or the end
            continue
        with np.errstate(divide="ignore"):  # one symbol of confidence 0 makes the word's 0
            mean = np.exp(np.log(np.asarray(confidences[first:end], np.float64)).mean())
        times = float(within[first, 0] * seconds_per_frame), float(within[end - 1, 1] * seconds_per_frame)
        found.append(Word("".join(texts[first:end]), *times, float(mean)))
    return found


def checked_logs(logs: np.ndarray[Any, Any] | Tensor) -> Floats:
    """Log-probabilities as an array (T, K) of float64, if they are such."""
    given = logs.detach().to("cpu", torch.float64).numpy() if isinstance(logs, Tensor) else np.asarray(logs)
    if given.ndim != 2 or given.dtype.kind != "f" or not given.shape[1]:
        raise ValueError(f"logs must be real numbers (T, K), with K at least 1; got {given.dtype} of {given.shape}")
    if given.size and not given.max() <= _ROUNDING:
        raise ValueError(f"logs must be log-probabilities, none above 0; got one of {given.max()}")
    possible = given.max(1) > -np.inf
    if not possible.all():
        frame = int(possible.argmin())
        raise ValueError(f"logs must leave something possible in each frame; got -inf alone in frame {frame}")
    return given.astype(np.float64)


def _checked_symbols(symbols: Sequence[int], size: int) -> Integers:
    given = np.asarray(symbols)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise ValueError(f"symbols must be whole numbers (S,); got {given.dtype} of shape {given.shape}")
    if given.size and not (given.min() > BLANK and given.max() < size):
        raise ValueError(f"symbols must lie between 1 and {size - 1}; got {given.min()} to {given.max()}")
    return given.astype(np.int64)


def _checked_spans(spans: Integers, count: int) -> Integers:
    given = np.asarray(spans)
    if given.shape != (count, 2) or (given.size and given.dtype.kind not in "iu"):
        raise ValueError(
            f"spans must be whole numbers, two for each of the {count} symbols; got {given.dtype} of {given.shape}"
        )
    if given.size and not (given.min() >= 0 and (given[:, 0] < given[:, 1]).all()):
        raise ValueError("spans must each begin at 0 or later, and end after they begin")
    return given.astype(np.int64)
