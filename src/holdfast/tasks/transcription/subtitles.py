"""Subtitles: words with their times, in lines that can be read while they are heard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from xml.sax.saxutils import escape

from holdfast.models import Word

_WIDEST = 42  # characters of a line, two of which are shown at a time
_LONGEST = 6.0  # seconds that they are shown at most
_PAUSE = 0.8  # seconds without a word, at which new ones begin


def subtitles(words: Iterable[Word], kind: str) -> Iterator[str]:
    """The text of a file of subtitles, piece by piece.

    >>> hello = [Word("good", 0.4, 0.6, 1.0), Word("day", 0.7, 1.1, 1.0)]
    >>> print("".join(subtitles(hello, "srt")))
    1
    00:00:00,400 --> 00:00:01,100
    good day
    <BLANKLINE>
    <BLANKLINE>

    Args:
        words: in their order.
        kind: "srt" (SubRip) or "vtt" (WebVTT).
    """
    if kind == "vtt":
        yield "WEBVTT\n\n"
        # There a < begins a tag and an & the name of a character.
        words = [word._replace(text=escape(word.text)) for word in words]
    comma = "," if kind == "srt" else "."
    for number, cue in enumerate(_cues(words), 1):
        times = f"{_clock(cue[0].start, comma)} --> {_clock(cue[-1].end, comma)}"
        heading = f"{number}\n" if kind == "srt" else ""
        yield f"{heading}{times}\n{_lines([word.text for word in cue])}\n\n"


def _cues(words: Iterable[Word]) -> Iterator[list[Word]]:
    cue: list[Word] = []
    for word in words:
        if cue and (
            word.start - cue[-1].end > _PAUSE
            or word.end - cue[0].start > _LONGEST
            or len(" ".join(each.text for each in [*cue, word])) > 2 * _WIDEST
        ):
            yield cue
            cue = []
        cue.append(word)
    if cue:
        yield cue


def _lines(texts: Sequence[str]) -> str:
    """In one line, or in two of about the same width."""
    whole = " ".join(texts)
    if len(whole) <= _WIDEST or len(texts) < 2:
        return whole
    cuts = [(" ".join(texts[:k]), " ".join(texts[k:])) for k in range(1, len(texts))]
    return "\n".join(min(cuts, key=lambda cut: max(map(len, cut))))


def _clock(seconds: float, comma: str) -> str:
    millis = round(seconds * 1000)
    return f"{millis // 3_600_000:02}:{millis // 60_000 % 60:02}:{millis // 1000 % 60:02}{comma}{millis % 1000:03}"
