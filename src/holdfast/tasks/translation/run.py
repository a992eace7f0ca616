"""A run that was trained to translate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch

from holdfast.data import Encoding, encoding_from
from holdfast.data.pairs import sentence, spaced, written
from holdfast.models import Beam, Candidate, EncoderDecoder, Sampling, beam_decode, limits, sample_decode

from ..fitting import Fitted
from ..lengths import in_order
from ..paired import sources_together
from .options import TranslateOptions

Array = np.ndarray[Any, Any]

_TOGETHER = 2000  # texts that are translated at a time, those of like length side by side
_STEPS = 2048  # tokens of sources with their padding in a batch
# Where a text that is too long is cut: after sentences, or else after words, or else between letters.
_FINER = (re.compile(r".+?(?:[.!?;:…] +|[。！？；]|$)"), re.compile(r"\S+ *"), re.compile(r"."))


class Translation(NamedTuple):
    """What a text became.

    Attributes:
        text: the likeliest translation, or the one that was drawn.
        score: its score, as `Beam` says; of several parts their sum; 0 of one that was drawn.
        others: the next likely ones with their scores.
        parts: how many parts the text was cut into, because it was longer than all that were learned from.
    """

    text: str
    score: float
    others: tuple[tuple[str, float], ...] = ()
    parts: int = 1


class TranslateRun(Fitted):
    """A model that was trained to translate."""

    model: EncoderDecoder
    options: TranslateOptions

    @property
    def encodings(self) -> tuple[Encoding, Encoding]:
        """What turns sources and targets into tokens."""
        found = [encoding_from(each) for each in self.facts["encodings"]]
        return found[0], found[-1]

    def translate(
        self, texts: str | Sequence[str], beam: Beam | None = None, sampling: Sampling | None = None, seed: int = 0
    ) -> list[Translation]:
        """What texts become, in their order; an empty text stays empty.

        A text that is longer than all that were learned from is cut where sentences end, or else between words, and
        what its parts become is joined.

        Args:
            texts: one or several.
            beam: how the likeliest translation is looked for; by default by a beam of 5.
            sampling: how tokens are drawn instead.
            seed: of the draws.
        """
        given = [texts] if isinstance(texts, str) else texts
        return list(self.translations(iter(given), beam, sampling, seed))

    def translations(
        self,
        texts: Iterator[str],
        beam: Beam | None = None,
        sampling: Sampling | None = None,
        seed: int = 0,
        at_once: bool = False,
    ) -> Iterator[Translation]:
        """The same for as many texts as there are, some thousand of which are held at a time.

        Args:
            texts: as they come.
            beam, sampling, seed: as of `translate`.
            at_once: whether each is translated as soon as it is there.
        """
        ours, theirs = self.encodings
        translator = Translator(self.model, ours, theirs, self.facts["longest"])
        while some := list(islice(texts, 1 if at_once else _TOGETHER)):
            yield from translator.translate(some, beam, sampling, seed)
            seed += len(some)


class Translator:
    """A model with its vocabularies.

    Args:
        model: in evaluation mode.
        ours, theirs: the encodings of sources and targets.
        longest: tokens of the longest source and of the longest target that were learned from.
    """

    def __init__(self, model: EncoderDecoder, ours: Encoding, theirs: Encoding, longest: Sequence[int]) -> None:
        self._model, self._ours, self._theirs = model, ours, theirs
        self._longest, self._most = longest

    def translate(
        self, texts: Sequence[str], beam: Beam | None = None, sampling: Sampling | None = None, seed: int = 0
    ) -> list[Translation]:
        """What texts become, in their order; see `TranslateRun.translate`."""
        parts = [self._cut(sentence(text)) for text in texts]
        flat = [part for each in parts for part in each]
        made = iter(self._made(flat, beam or Beam(), sampling, seed))
        return [_joined([next(made) for _ in each]) for each in parts]

    def tokens(self, text: str) -> Array:
        """The tokens of a source."""
        return self._ours.encode(spaced(text, self._ours.level))

    def text(self, tokens: Sequence[int]) -> str:
        """The text of a target."""
        return written(self._theirs.decode(tokens))

    def _made(self, texts: Sequence[str], beam: Beam, sampling: Sampling | None, seed: int) -> list[Translation]:
        sources = [self.tokens(text) for text in texts]
        found = [Translation("", 0.0)] * len(texts)
        for some in in_order(np.array([len(each) for each in sources], np.int64), _STEPS):
            source, lengths = (each.to(self._model.device) for each in sources_together([sources[k] for k in some]))
            most = torch.clamp(limits(lengths), min=self._most + 1)  # with the end
            if sampling is None:
                made = [self._found(each) for each in beam_decode(self._model, source, lengths, beam, most)]
            else:
                steps = zip(*sample_decode(self._model, source, lengths, sampling, seed + int(some[0]), most))
                drawn = [[token for token in each if token is not None] for each in steps]
                made = [Translation(self.text(each), 0.0) for each in drawn]
            for k, one in zip(some, made, strict=True):
                found[k] = one
        return found

    def _found(self, candidates: Sequence[Candidate]) -> Translation:
        best, *others = [(self.text(each.tokens), each.score) for each in candidates]
        return Translation(*best, tuple(others))

    def _cut(self, text: str) -> list[str]:
        """A text in parts that are no longer than what was learned from; none of an empty one."""
        parts = [text] if text else []
        for finer in _FINER:
            parts = [one for part in parts for one in ([part] if self._fits(part) else self._packed(finer, part))]
        return [part.strip() for part in parts]

    def _packed(self, finer: re.Pattern[str], text: str) -> list[str]:
        """The pieces that a pattern finds, as many in a part as fit; a piece that does not fit is a part."""
        parts: list[str] = []
        for piece in finer.findall(text):
            if parts and self._fits(parts[-1] + piece):
                parts[-1] += piece
            else:
                parts.append(piece)
        return parts

    def _fits(self, text: str) -> bool:
        return len(self.tokens(text.strip())) <= self._longest


def _joined(parts: Sequence[Translation]) -> Translation:
    if len(parts) == 1:
        return parts[0]
    return Translation(" ".join(part.text for part in parts), sum(part.score for part in parts), (), max(1, len(parts)))
