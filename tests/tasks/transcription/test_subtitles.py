"""Subtitles can be read while they are heard."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

from holdfast.models import Word
from holdfast.tasks.transcription import subtitles

LINE = re.compile(r"(\d\d):(\d\d):(\d\d)[,.](\d{3}) --> (\d\d):(\d\d):(\d\d)[,.](\d{3})")


def spoken(count: int) -> list[Word]:
    draw = np.random.default_rng(0)
    found, now = [], 3590.0
    for k in range(count):
        now += float(draw.choice([0.05, 0.1, 0.2, 1.5], p=[0.4, 0.3, 0.2, 0.1]))
        found.append(Word(f"w{k}" + "x" * int(draw.integers(0, 12)), now, now + 0.3, 1.0))
        now += 0.3
    return found


def cues(text: str) -> list[tuple[float, float, list[str]]]:
    found = []
    for block in text.strip().split("\n\n"):
        lines = [line for line in block.splitlines() if not line.isdigit() and line != "WEBVTT"]
        if not lines:
            continue
        match = LINE.fullmatch(lines[0])
        assert match, lines[0]
        a, b, c, d, e, f, g, h = map(int, match.groups())
        found.append((a * 3600 + b * 60 + c + d / 1000, e * 3600 + f * 60 + g + h / 1000, lines[1:]))
    return found


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_all_words_are_shown_once_in_few_short_lines_while_they_are_said(kind: str) -> None:
    words = spoken(200)
    text = "".join(subtitles(words, kind))
    assert text.startswith("1\n" if kind == "srt" else "WEBVTT\n\n")
    assert ("," in text.splitlines()[1 if kind == "srt" else 2]) == (kind == "srt")
    found = cues(text)
    assert " ".join(line for _, _, lines in found for line in lines).split() == [word.text for word in words]
    by_text = {word.text: word for word in words}
    for begin, end, lines in found:
        assert len(lines) <= 2
        assert all(len(line) <= 60 for line in lines)
        assert end - begin <= 6.001
        inside = [by_text[one] for one in " ".join(lines).split()]
        assert begin == pytest.approx(inside[0].start, abs=1e-3)
        assert end == pytest.approx(inside[-1].end, abs=1e-3)
        assert all(b.start - a.end <= 0.8 for a, b in pairwise(inside))


def test_nothing_said_is_no_subtitle() -> None:
    assert "".join(subtitles([], "srt")) == ""
    assert "".join(subtitles([], "vtt")) == "WEBVTT\n\n"


def test_what_is_no_markup_is_escaped_where_there_is_markup() -> None:
    words = [Word("at&t", 0.0, 0.5, 1.0), Word("<b>", 0.6, 0.9, 1.0)]
    assert "".join(subtitles(words, "vtt")).endswith("\nat&amp;t &lt;b&gt;\n\n")
    assert "".join(subtitles(words, "srt")).endswith("\nat&t <b>\n\n")
