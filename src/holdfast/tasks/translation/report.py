"""The report's sections on what a translator makes of validation pairs, and what it looks at meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
import torch

from holdfast.data import Encoding
from holdfast.data.pairs import Pairs, TextPairs
from holdfast.microscope.page import section, shaded_table, table

from ..paired import side_by_side
from .measures import scores, sentence_score
from .run import TranslateRun, Translator

Array = np.ndarray[Any, Any]

_JUDGED = 500  # pairs that are translated for the report
_SAMPLES = 20
_HARDEST = 5
_PICTURED, _WORDS = 3, 30  # pairs whose attention is shown, of at most so many words on a side
_SHOWN = 0.1  # of attention, from which on its number stands in the picture


def sections(run: TranslateRun, data: Pairs) -> Iterable[str]:
    """All of them."""
    part = data.parts["valid"]
    which = np.linspace(0, len(part) - 1, min(len(part), _JUDGED)).astype(np.int64)
    sources = [part.source_text(int(k)) for k in which]
    wanted = [part.target_text(int(k)) for k in which]
    found = [one.text for one in run.translate(sources)]
    yield section("Samples", _samples(sources, wanted, found))
    if run.model.attention is not None:
        yield section("What it looks at", _attention(run, part, which, found))
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
    names = ("source", "wanted", "made")
    return "\n".join(table([], [(name, [text]) for name, text in zip(names, three)]) for three in triples)


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


def _attention(run: TranslateRun, part: TextPairs, which: Array, found: Sequence[str]) -> str:
    """For each word that is written, how much each word of the source was looked at before it."""
    parts = [
        "<p>A row for each word that it writes: how much it looks at each word of the source before it writes it, in "
        "percent where that is ten or more.</p>"
    ]
    ours, theirs = run.encodings
    lengths = [len(part.source_text(int(k)).split()) for k in which]
    usable = [k for k in range(len(which)) if 1 <= lengths[k] <= _WORDS and 1 <= len(found[k].split()) <= _WORDS]
    chosen = [usable[k] for k in np.linspace(0, len(usable) - 1, min(len(usable), _PICTURED)).astype(int)]
    translator = Translator(run.model, ours, theirs, run.facts["longest"])
    for k in chosen:
        source = part.source_text(int(which[k]))
        weights, columns, rows = attention(run, translator, source, found[k])
        cells = [[f"{100 * one:.0f}" if one >= _SHOWN else "" for one in row] for row in weights]
        parts.append(f"<p>{escape(source)}</p>")
        parts.append(shaded_table(columns, zip(rows, cells, strict=True), weights.tolist()))
    return "\n".join(parts)


def attention(
    run: TranslateRun, translator: Translator, source: str, target: str
) -> tuple[Array, list[str], list[str]]:
    """How much each word of a source is looked at for each word of a target, (T, S), and the words of both.

    A word's attention is what its tokens give each, on average, and what the tokens of a source's word get together.
    """
    ours, theirs = run.encodings
    read, written = translator.tokens(source), theirs.encode(f" {target}" if theirs.level == "bpe" else target)
    batch = side_by_side([read], [written], run.model.end)
    with torch.no_grad():
        decoded = run.model(run.model.read(batch.source, batch.lengths), batch.before)
    assert decoded.weights is not None
    weights = decoded.weights[0, :-1].double().numpy()  # (T, S), without the end
    columns, of_source = _words(ours, read)
    rows, of_target = _words(theirs, written)
    summed = np.stack([weights[:, of_source == k].sum(1) for k in range(len(columns))], 1)
    return np.stack([summed[of_target == k].mean(0) for k in range(len(rows))]), columns, rows


def _words(encoding: Encoding, tokens: Array) -> tuple[list[str], Array]:
    """The words that tokens make, and of each token which one it belongs to; characters are each their own."""
    if encoding.level != "bpe":
        return [encoding.text_of(int(token)) for token in tokens], np.arange(len(tokens))
    begins = [encoding.decode([int(token)])[:1].isspace() for token in tokens]
    which = np.cumsum([False, *begins[1:]])
    words = [encoding.decode(tokens[which == k]).strip() for k in range(int(which[-1]) + 1)]
    return words, which
