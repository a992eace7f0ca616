"""Pictures of what a decoder looks at while it writes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import torch

from holdfast.data import Encoding
from holdfast.data.pairs import spaced
from holdfast.microscope.page import shaded_table
from holdfast.models import EncoderDecoder

from .batches import side_by_side

Array = np.ndarray[Any, Any]

_PICTURED, _WORDS = 3, 30  # pairs that are shown, of at most so many words on a side
_SHOWN = 0.1  # of attention, from which on its number stands in the picture


def attention_pictures(
    model: EncoderDecoder, ours: Encoding, theirs: Encoding, pairs: Sequence[tuple[str, str]]
) -> str:
    """For each word that is written, how much each word of the source was looked at before it, of some of the pairs.

    Args:
        model: with attention.
        ours, theirs: the encodings of sources and targets.
        pairs: sources and what was written of them.
    """
    said = (
        "A row for each word that it writes: how much it looks at each word of the source before it writes it, in "
        "percent where that is ten or more."
    )
    usable = [pair for pair in pairs if all(1 <= len(text.split()) <= _WORDS for text in pair)]
    parts = [f"<p>{said}</p>"]
    for k in np.linspace(0, len(usable) - 1, min(len(usable), _PICTURED)).astype(int):
        source, target = usable[k]
        weights, columns, rows = attention(model, ours, theirs, source, target)
        cells = [[f"{100 * one:.0f}" if one >= _SHOWN else "" for one in row] for row in weights]
        parts.append(f"<p>{escape(source)}</p>")
        parts.append(shaded_table(columns, zip(rows, cells, strict=True), weights.tolist()))
    return "\n".join(parts)


def attention(
    model: EncoderDecoder, ours: Encoding, theirs: Encoding, source: str, target: str
) -> tuple[Array, list[str], list[str]]:
    """How much each word of a source is looked at for each word of a target, (T, S), and the words of both.

    A word's attention is what its tokens give each, on average, and what the tokens of a source's word get together.
    """
    read, written = ours.encode(spaced(source, ours.level)), theirs.encode(spaced(target, theirs.level))
    batch = side_by_side([read], [written], model.end).to(model.device)
    with torch.no_grad():
        decoded = model(model.read(batch.source, batch.lengths), batch.before)
    assert decoded.weights is not None
    weights = decoded.weights[0, :-1].double().cpu().numpy()  # (T, S), without the end
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
