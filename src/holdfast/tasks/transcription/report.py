"""The report's sections on what was written of the validation recordings."""

from __future__ import annotations

import base64
import io
import wave
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from holdfast.data import untold
from holdfast.data.audio import Recordings, Speech
from holdfast.extras import require
from holdfast.microscope import heat_map
from holdfast.microscope.page import figure, section, table

from .reading import LONGEST, Segment, logs_of
from .run import Decoder, Decoding, TranscribeRun, Transcript

Array = np.ndarray[Any, Any]

_HARDEST, _EASIEST = 4, 2
_COLUMNS = 400  # of a picture, at most
_BINS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99)  # of confidence
_CONFUSED = 3  # symbols that one is taken for, the commonest
_NOTHING = "∅"


@dataclass(frozen=True)
class _Judged:
    """A recording.

    Attributes:
        number: which one it is.
        said: what was said.
        transcript: what was written.
        placed: when each symbol that was written begins, in seconds.
        compared: jiwer's alignment of both texts, symbol by symbol.
    """

    number: int
    said: str
    transcript: Transcript
    placed: list[tuple[float, str]]
    compared: Any

    @property
    def errors(self) -> int:
        """Symbols that are wrong, missing or too many."""
        found = self.compared
        return int(found.substitutions + found.deletions + found.insertions)


def sections(run: TranscribeRun, data: Speech) -> Iterable[str]:
    """All of them."""
    part = data.parts["valid"]
    judged = _judged(run, part)
    yield section("The hardest recordings", _hardest(run, part, judged))
    yield section("Errors by symbol", _by_symbol(judged))
    yield section("How far its confidence can be trusted", _confidence(judged))


def _judged(run: TranscribeRun, part: Recordings) -> list[_Judged]:
    """All recordings, those with most errors first."""
    jiwer = require("jiwer", "speech")
    decoder = Decoder(run, Decoding())
    found = []
    for k, logs in logs_of(run.model, part, run.mel, untold):
        segment, said = Segment(0, logs), part.text(k)
        transcript = decoder.transcript(segment)
        compared = jiwer.process_characters(said, transcript.text)
        found.append(_Judged(k, said, transcript, decoder.placed(segment), compared))
    return sorted(found, key=lambda one: (-one.errors / len(one.said), one.transcript.confidence, one.number))


def _hardest(run: TranscribeRun, part: Recordings, judged: list[_Judged]) -> str:
    """Those with most errors, and some without, with their sound and where in it the symbols were heard."""
    wrong = sum(one.errors > 0 for one in judged)
    parts = [
        f"<p>{wrong:,} of {len(judged):,} recordings have an error. The pictures show how loud each band of pitch is, "
        "low ones at the bottom, and where each symbol that was written begins.</p>"
    ]
    right = [one for one in judged if not one.errors][::-1][:_EASIEST]  # the surest last
    wrongest = [one for one in judged if one.errors][:_HARDEST]
    parts += [_one(run, part, one) for one in [*wrongest, *right]]
    return "\n".join(parts)


def _one(run: TranscribeRun, part: Recordings, one: _Judged) -> str:
    mel = run.mel
    samples = part.of(one.number)[: int(LONGEST * mel.rate)]
    frames = mel(torch.from_numpy(samples)).numpy()  # (T, C)
    wide = -(-len(frames) // _COLUMNS)
    columns = np.stack([frames[k : k + wide].mean(0) for k in range(0, len(frames), wide)], 1)[::-1]  # (C, columns)
    marks: dict[int, str] = {}
    for begin, symbol in one.placed:
        column = int(begin / (mel.hop * wide))
        if column < columns.shape[1]:
            marks[column] = marks.get(column, "") + symbol
    picture = heat_map(
        columns,
        title=f"Recording {one.number + 1}",
        x_label=f"{1000 * mel.hop * wide:g} milliseconds",
        y_label="pitch",
        marks=marks,
    )
    caption = (
        f"{part.name(one.number)}: said “{one.said}”, written “{one.transcript.text}”, {one.errors} "
        f"{'error' if one.errors == 1 else 'errors'}, confidence {one.transcript.confidence:.2f}."
    )
    return figure(picture, caption) + _sound(samples, mel.rate)


def _sound(samples: Array, rate: int) -> str:
    """The recording itself, to be listened to."""
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return f'<audio controls src="data:audio/wav;base64,{base64.b64encode(held.getvalue()).decode()}"></audio>'


def _by_symbol(judged: list[_Judged]) -> str:
    """How often each symbol was said and what was written instead."""
    said: Counter[str] = Counter()
    instead: dict[str, Counter[str]] = {}
    added: Counter[str] = Counter()
    for one in judged:
        said.update(one.said)
        for chunk in one.compared.alignments[0]:
            were = one.said[chunk.ref_start_idx : chunk.ref_end_idx]
            are = one.transcript.text[chunk.hyp_start_idx : chunk.hyp_end_idx]
            if chunk.type == "insert":
                added.update(are)
            elif chunk.type == "delete":
                for symbol in were:
                    instead.setdefault(symbol, Counter())[_NOTHING] += 1
            elif chunk.type == "substitute":
                for symbol, other in zip(were, are, strict=True):
                    instead.setdefault(symbol, Counter())[other] += 1
    rows = []
    for symbol in sorted(set(said) | set(added), key=lambda s: (-sum(instead.get(s, Counter()).values()), s)):
        wrong = instead.get(symbol, Counter())
        commonest = ", ".join(f"{_shown(other)} {count:,}" for other, count in wrong.most_common(_CONFUSED))
        share = f"{sum(wrong.values()) / said[symbol]:.1%}" if said[symbol] else "–"
        rows.append((_shown(symbol), [f"{said[symbol]:,}", share, commonest, f"{added[symbol]:,}"]))
    return f"<p>{_NOTHING} stands for nothing: the symbol was left out.</p>" + table(
        ["said", "wrong", "written instead", "added"], rows
    )


def _shown(symbol: str) -> str:
    return "blank" if symbol == " " else symbol


def _confidence(judged: list[_Judged]) -> str:
    """The share of recordings without an error, by the confidence of their transcript."""
    sure = np.array([one.transcript.confidence for one in judged])
    right = np.array([one.errors == 0 for one in judged])
    rows = []
    for low, high in zip(_BINS, (*_BINS[1:], np.inf)):
        within = (sure >= low) & (sure < high)
        if within.any():
            name = f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g} and above"
            rows.append((name, [f"{within.sum():,}", f"{right[within].mean():.1%}"]))
    said = (
        "A transcript's confidence is the geometric mean of its words'; a word's is that of the probabilities of its "
        "symbols where they were heard. It says nothing of what was left out. That of a transcript without a word is "
        "the probability that nothing was said, where it was lowest."
    )
    return f"<p>{said}</p>" + table(["recordings", "without an error"], rows)
