"""The report's sections on what a translator makes of validation pairs, and what it looks at meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from holdfast.data.pairs import Pairs
from holdfast.microscope.page import section, table

from ..paired import attention_pictures
from .measures import scores, sentence_score
from .run import TranslateRun

Array = np.ndarray[Any, Any]

_JUDGED = 500  # pairs that are translated for the report
_SAMPLES = 20
_HARDEST = 5


def sections(run: TranslateRun, data: Pairs) -> Iterable[str]:
    """All of them."""
    part = data.parts["valid"]
    which = np.linspace(0, len(part) - 1, min(len(part), _JUDGED)).astype(np.int64)
    sources = [part.source_text(int(k)) for k in which]
    wanted = [part.target_text(int(k)) for k in which]
    found = [one.text for one in run.translate(sources)]
    yield section("Samples", _samples(sources, wanted, found))
    if run.model.attention is not None:
        yield section("What it looks at", attention_pictures(run.model, *run.encodings, list(zip(sources, found))))
    yield section("By length", _by_length(sources, wanted, found))
    yield section("The hardest", _hardest(sources, wanted, found))


def _samples(sources: Sequence[str], wanted: Sequence[str], found: Sequence[str]) -> str:
    """Some pairs, evenly from all."""
    chosen = np.linspace(0, len(sources) - 1, min(len(sources), _SAMPLES)).astype(np.int64)
    return _triples([(sources[k], wanted[k], found[k]) for k in chosen])


def _hardest(sources: Sequence[str], wanted: Sequence[str], found: Sequence[str]) -> str:
    """Those that are farthest from what was wanted, by the letters that they share with it (chrF)."""
    alike = np.array([sentence_score(one, other) for one, other in zip(wanted, found)])
    worst = np.argsort(alike, kind="stable")[:_HARDEST]
    return _triples([(sources[k], wanted[k], found[k]) for k in worst])


def _triples(triples: Iterable[tuple[str, str, str]]) -> str:
    return table(["wanted", "made"], [(source, [wanted, made]) for source, wanted, made in triples])


def _by_length(sources: Sequence[str], wanted: Sequence[str], found: Sequence[str]) -> str:
    """The measures of four parts, from the shortest sources to the longest."""
    lengths = np.array([len(source) for source in sources])
    rows = []
    for some in np.array_split(np.argsort(lengths, kind="stable"), 4):
        if not len(some):
            continue
        measured = scores([wanted[k] for k in some], [found[k] for k in some])
        cells = [f"{measured['bleu']:.1f}", f"{measured['chrf']:.1f}", f"{measured['exact']:.1%}"]
        rows.append((f"{lengths[some].min():,} to {lengths[some].max():,} characters", cells))
    return table(["BLEU", "chrF", "exact"], rows)
