"""A run that was trained on speech: it writes down what is said in files, arrays and streams."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.data.audio import Mel, resampled, sound_blocks
from holdfast.models import (
    STRIDE,
    BeamSearch,
    LanguageScorer,
    Transcriber,
    Word,
    align,
    confidences,
    greedy,
    words,
)
from holdfast.models.ctc import BLANK
from holdfast.training import Run, RunError

from ..fitting import Fitted
from ..text import Text, TextRun
from .options import TranscribeOptions
from .reading import Reader, Segment, reader_of, segments

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Decoding:
    """How symbols are chosen.

    Attributes:
        beam: how many beginnings of texts are kept at a time; 1: the likeliest symbol of each step.
        language: a run of the task text, of characters, which knows what texts are like; empty: none.
        language_weight: how much it counts.
        insertion: what each symbol adds to the score of a beam, which makes up for a language model's liking of short
            texts.
    """

    beam: int = 1
    language: str = ""
    language_weight: float = 0.5
    insertion: float = 0.0

    def __post_init__(self) -> None:
        if self.beam < 1:
            raise ValueError(f"beam must be at least 1; got {self.beam}")
        if self.language and self.beam < 2:
            raise ValueError("a language model needs a beam of 2 or more, from which it can choose; 16 is usual")
        if not 0 <= self.language_weight < math.inf:
            raise ValueError(f"language_weight must be a number of at least 0; got {self.language_weight}")
        if not math.isfinite(self.insertion):
            raise ValueError(f"insertion must be a number; got {self.insertion}")
        if self.insertion and self.beam < 2:
            raise ValueError("insertion needs a beam of 2 or more, in which it can count; 16 is usual")


@dataclass(frozen=True)
class Transcript:
    """What was said.

    Attributes:
        text: all of it.
        words: with their times and how sure they are.
        begin, end: seconds.
        silence: how likely it is that no symbol is said, at the step where that is least likely; 0 of no sound.
    """

    text: str
    words: list[Word]
    begin: float
    end: float
    silence: float = 0.0

    @property
    def confidence(self) -> float:
        """The geometric mean of the words' confidences; if there are none, how sure it is that nothing is said."""
        if not self.words:
            return self.silence
        return float(np.exp(np.mean([np.log(max(word.confidence, 1e-12)) for word in self.words])))


class TranscribeRun(Fitted):
    """A model that was trained on speech."""

    model: Transcriber
    options: TranscribeOptions

    @property
    def mel(self) -> Mel:
        """What makes frames of sound."""
        return Mel(**self.facts["mel"])

    @property
    def symbols(self) -> list[str]:
        """Those that it writes."""
        return list(self.facts["symbols"])

    @property
    def latency(self) -> float:
        """Seconds at most from a moment of the sound until a step of the model has read it."""
        return self.mel.window + (STRIDE - 1) * self.mel.hop

    def transcribe(self, sound: str | Path | Array, rate: int = 0, decoding: Decoding | None = None) -> Transcript:
        """What is said in a file, or in samples between -1 and 1.

        Args:
            sound: a file, or samples (N,).
            rate: samples a second, where samples are given.
            decoding: how symbols are chosen.
        """
        parts = [*self.parts(sound, rate, decoding)]
        joined = self._between.join(part.text for part in parts if part.text)
        found = [word for part in parts for word in part.words]
        silence = min((part.silence for part in parts), default=0.0)
        return Transcript(joined, found, 0.0, parts[-1].end if parts else 0.0, silence)

    def parts(self, sound: str | Path | Array, rate: int = 0, decoding: Decoding | None = None) -> Iterator[Transcript]:
        """The same part by part, each of which ends at a quiet place after some seconds, as soon as it is known."""
        mel = self.mel
        blocks: Iterable[Array]
        if isinstance(sound, np.ndarray):
            if rate < 1:
                raise ValueError(f"rate must be given with samples: how many there are a second; got {rate}")
            blocks = resampled([np.asarray(sound, np.float32)], rate, mel.rate)
        else:
            blocks = sound_blocks(str(sound), mel.rate)
        decoder = Decoder(self, decoding or Decoding())
        for segment in segments(blocks, self.model, mel):
            yield decoder.transcript(segment)

    def live(self, decoding: Decoding | None = None) -> Live:
        """What is said in a sound that is still coming, as it comes."""
        return Live(self, decoding or Decoding())

    @property
    def _between(self) -> str:
        """What stands between what is said in two parts."""
        return " " if " " in self.facts["symbols"] else ""


class Decoder:
    """Symbols from what a model says.

    Args:
        run: of the model.
        decoding: how they are chosen.
    """

    def __init__(self, run: TranscribeRun, decoding: Decoding) -> None:
        self._symbols = run.symbols
        self._step = STRIDE * run.mel.hop
        self._decoding = decoding
        self._scorer = _scorer(decoding.language, self._symbols) if decoding.language else None

    def transcript(self, segment: Segment, known: Sequence[int] | None = None) -> Transcript:
        """What is said in a segment, with its words' times in the whole sound.

        Args:
            segment: the segment.
            known: its symbols, if they have been looked for already.
        """
        logs = segment.logs.double().numpy()
        chosen = self._chosen(logs) if known is None else list(known)
        begin = segment.begin * self._step
        texts = [self._symbols[k - 1] for k in chosen]
        found: list[Word] = []
        if chosen:
            spans = align(logs, chosen).spans
            found = words(texts, spans, confidences(logs, chosen, spans), self._step)
            found = [word._replace(start=word.start + begin, end=word.end + begin) for word in found]
        silence = float(np.exp(logs[:, BLANK].min())) if len(logs) else 0.0
        return Transcript("".join(texts).strip(), found, begin, begin + len(logs) * self._step, silence)

    def placed(self, segment: Segment) -> list[tuple[float, str]]:
        """When each symbol of a segment begins, in seconds."""
        logs = segment.logs.double().numpy()
        chosen = self._chosen(logs)
        begins = align(logs, chosen).spans[:, 0].tolist() if chosen else []
        return [((segment.begin + k) * self._step, self._symbols[n - 1]) for k, n in zip(begins, chosen)]

    def search(self) -> BeamSearch | None:
        """What looks for the symbols of a segment that grows; None: the likeliest path is all that is wanted."""
        decoding = self._decoding
        if decoding.beam == 1:
            return None
        return BeamSearch(decoding.beam, self._scorer, decoding.language_weight, decoding.insertion)

    def _chosen(self, logs: Array) -> list[int]:
        search = self.search()
        if search is None:
            return greedy(logs)
        search.push(logs)
        return _best(search, ended=True)


class Live:
    """What is said in a sound that is still coming.

    Args:
        run: of the model.
        decoding: how symbols are chosen.
    """

    def __init__(self, run: TranscribeRun, decoding: Decoding) -> None:
        self._reader: Reader = reader_of(run.model, run.mel)
        self._decoder = Decoder(run, decoding)
        self._begin, self._heard = 0, 0  # the segment that has not ended, and how many of its steps were searched
        self._search = self._decoder.search()

    def push(self, samples: Array) -> list[Transcript]:
        """The parts that end with some more samples, (N,), at the model's rate."""
        return [self._decoder.transcript(one) for one in self._reader.push(samples)]

    def so_far(self) -> Transcript:
        """What has been understood of the part that has not ended; it may still change."""
        segment = self._reader.unfinished()
        if segment.begin != self._begin:
            self._begin, self._heard, self._search = segment.begin, 0, self._decoder.search()
        if self._search is None:
            return self._decoder.transcript(segment)
        self._search.push(segment.logs[self._heard :])
        self._heard = len(segment.logs)
        return self._decoder.transcript(segment, _best(self._search, ended=False))

    def finish(self) -> list[Transcript]:
        """The last part."""
        return [self._decoder.transcript(one) for one in self._reader.finish()]


def _best(search: BeamSearch, ended: bool) -> list[int]:
    """The symbols of the best hypothesis; none if the language rules out all."""
    found = search.hypotheses(ended=ended)
    return list(found[0].symbols) if found else []


def _scorer(folder: str, symbols: list[str]) -> LanguageScorer:
    """The language model of a run.

    Raises:
        RunError: it is a run of another task, or of a level that does not serve.
    """
    run = Run.open(Path(folder).expanduser())
    task = run.config()["task"]
    if task != Text.name:
        raise RunError(f"{folder} is a run of the task {task}; a language model is a run of the task {Text.name}")
    found = TextRun(Text(), run)
    try:
        return LanguageScorer(found.model, found.encoding, symbols)
    except ValueError as error:
        raise RunError(f"{folder} cannot help to transcribe: {error}") from None
