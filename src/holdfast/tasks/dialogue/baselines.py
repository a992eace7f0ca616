"""Simple methods that learned from the same dialogues."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from holdfast.data import Encoding
from holdfast.data.pairs import TextPairs
from holdfast.models import NGram, largest_order

from ..paired import most_alike
from .measures import reply_measures

Array = np.ndarray[Any, Any]

_ORDERS = (2, 3, 4)  # of n-gram models, the best of which is measured
_TRIED = 2000  # replies on which the best is found


def counted(train: TextPairs, part: TextPairs, which: Array, encoding: Encoding, words: int) -> dict[str, float]:
    """The perplexity of the best n-gram model, which knows the end of the turn before.

    Args:
        train: what it counts.
        part, which: what it is measured on.
        encoding: of the texts.
        words: of the replies it is measured on, with their ends.
    """
    size = encoding.size + 1
    end = np.array([encoding.size])
    learned = np.concatenate([end, *(np.concatenate([train.target(k), end]) for k in range(len(train)))])
    lasting = min(largest_order(size, max(_ORDERS)), max(_ORDERS))
    models = [NGram(order, size).fit(learned) for order in _ORDERS if order <= lasting]

    def nats(model: NGram, some: Array) -> float:
        judged = np.concatenate([end, *(np.concatenate([part.target(int(k)), end]) for k in some)])
        return float(model.nats(judged)[1:].sum())

    best = min(models, key=lambda model: nats(model, which[:_TRIED]))
    return {"perplexity": math.exp(nats(best, which) / words)}


def retrieved(train: TextPairs, part: TextPairs, which: Array) -> dict[str, float]:
    """What was replied to the context that is most alike (TF-IDF)."""
    sources = [part.source_text(int(k)) for k in which]
    found = most_alike(train, sources)
    return reply_measures([part.target_text(int(k)) for k in which], found)
