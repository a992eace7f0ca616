"""A memory of pairs, to compare a model with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from holdfast.data.pairs import TextPairs
from holdfast.extras import require

_TOGETHER = 500  # texts whose neighbours are looked for at a time


def most_alike(train: TextPairs, sources: Sequence[str]) -> list[str]:
    """The targets of those sources that share the rarest words (TF-IDF), or in texts of one word the rarest letters.

    Args:
        train: pairs.
        sources: others, of each of which the target of the most alike one is given.
    """
    text = require("sklearn.feature_extraction.text", "translate")
    known = [train.source_text(k) for k in range(len(train))]
    single = np.mean([" " in each for each in known[:1000]]) < 0.5
    kind = {"analyzer": "char"} if single else {"token_pattern": r"\S+"}
    counter = text.TfidfVectorizer(ngram_range=(1, 2), **kind)
    theirs = counter.fit_transform(known).T
    found: list[str] = []
    for begin in range(0, len(sources), _TOGETHER):
        alike = counter.transform(sources[begin : begin + _TOGETHER]) @ theirs
        found += [train.target_text(int(k)) for k in np.asarray(alike.argmax(1)).ravel()]
    return found
