"""One example in a report: a text with its words coloured by their influence, or a series above a strip of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np

from holdfast.data import Encoding
from holdfast.microscope import line_chart
from holdfast.microscope.figures import numbered
from holdfast.microscope.page import tint

from .batches import shortened

Array = np.ndarray[Any, Any]

_CHARACTERS = 600  # of a text that are shown
_CHANNELS = 4  # of a series: more lines cannot be told apart
_PALE = 0.04  # of the largest influence: what is less is not coloured
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def legend(up: str, down: str) -> str:
    """What the two colours mean, as HTML."""
    return (
        f'Coloured is what pushes the model <span style="{tint(0.8)}">{up}</span> or <span style="{tint(-0.8)}">{down}'
        "</span>: the gradient times what is read, the stronger the colour the more, for each example by itself. It "
        "tells what counted for the model, not what is true of the world; what is pale was not read."
    )


def of_whole(found: Array, length: int, longest: int) -> Array:
    """What was found of each step that is read, (T', …), at its place in the whole sequence, (T, …); NaN elsewhere."""
    whole = np.full((length, *found.shape[1:]), np.nan)
    whole[shortened(np.arange(length), longest)] = found
    return whole


def by_character(text: str, encoding: Encoding, influence: Array) -> tuple[Array, Array]:
    """The influence at the last character of each token, and what of the text each token takes.

    Args:
        text: as it was read.
        encoding: what made tokens of it.
        influence: of each of its tokens, (T,).

    Returns:
        Of each character, 0 where no token ends, (characters,); and where each token ends, (T,).
    """
    spans = encoding.spans(text)
    if not len(spans):  # a text without a word is read as one unknown one
        spans = np.array([len(text)])
    ends = np.minimum(np.cumsum(spans), len(text))
    found = np.zeros(len(text) + 1)
    np.add.at(found, np.maximum(ends - 1, 0), influence)
    return found[: len(text)], ends


def words_of(text: str, encoding: Encoding, tokens: Array, influence: Array) -> Iterator[tuple[str, float]]:
    """The words of a text in lower case with their influence, without those that were not read or are not known."""
    strange = np.isnan(influence)
    if encoding.unknown is not None:
        strange = strange | (tokens == encoding.unknown)
    ones, _ = by_character(text, encoding, strange.astype(float))
    values, _ = by_character(text, encoding, np.nan_to_num(influence))
    left_out, sums = (np.concatenate([[0.0], np.cumsum(each)]) for each in (ones, values))
    for word in _WORD.finditer(text):
        begin, end = word.span()
        if left_out[begin] == left_out[end]:
            yield word[0].lower().replace("’", "'"), float(sums[end] - sums[begin])


def text_shown(text: str, encoding: Encoding, influence: Array) -> str:
    """A text as HTML, cut to the stretch of the strongest influence; it is NaN where the text was not read."""
    values, ends = by_character(text, encoding, influence)
    begin, end = _strongest(np.abs(np.nan_to_num(values)), text)
    most = float(np.nanmax(np.abs(influence), initial=0)) or 1.0
    letters = "".join(letter if letter.isprintable() else " " for letter in text)
    parts = ["…"] if begin else []
    at = 0
    for stop in [*np.unique(ends).tolist(), len(text)]:
        if at < stop and begin <= at and stop <= end:
            parts.append(_piece(letters[at:stop], values[stop - 1] / most))
        at = max(at, stop)
    if end < len(text):
        parts.append(" …")
    return f"<pre>{''.join(parts)}</pre>"


def _piece(letters: str, value: float) -> str:
    """What a token takes of a text, on its colour; the spaces before it have none."""
    word = letters.lstrip()
    spaces = letters[: len(letters) - len(word)]
    if np.isnan(value):
        return f'{spaces}<span style="opacity: .5">{escape(word)}</span>'
    if abs(value) < _PALE or not word:
        return escape(letters)
    return f'{spaces}<span style="{tint(value)}">{escape(word)}</span>'


def _strongest(sizes: Array, text: str) -> tuple[int, int]:
    """Where the stretch begins and ends whose influences add up to the most; at spaces, where there are any."""
    if len(text) <= _CHARACTERS:
        return 0, len(text)
    sums = np.concatenate([[0.0], np.cumsum(sizes)])
    within = sums[_CHARACTERS:] - sums[:-_CHARACTERS]
    best = np.flatnonzero(within >= within.max() * (1 - 1e-9))
    begin = int(best[len(best) // 2])  # so that what counts does not stand at the edge
    end = begin + _CHARACTERS
    space = text.find(" ", begin, end) if begin else 0
    if space > 0:
        begin = space
    last = text.rfind(" ", begin + 1, end) if end < len(text) else end
    return begin, last if last > 0 else end


def series_shown(values: Array, contributions: Array, title: str) -> str:
    """A series as a picture: the channels that counted most, and beneath them the influence of each step.

    Args:
        values: as the model reads them, (T, C), NaN where missing.
        contributions: of each step and channel, (T, C), NaN where it was not read.
        title: what it is.
    """
    counted = np.abs(np.nan_to_num(contributions)).sum(0)
    channels = np.sort(np.argsort(-counted, kind="stable")[:_CHANNELS])
    steps = list(range(1, len(values) + 1))
    lines = [numbered(k, f"channel {c + 1}", steps, values[:, c].tolist()) for k, c in enumerate(channels.tolist())]
    return line_chart(
        lines,
        title=title,
        x_label="step",
        y_label="deviations",
        strip=contributions.sum(1).tolist(),
        height=250,
    )
