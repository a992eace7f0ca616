"""How varied replies are, and how near to those that people gave."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ..translation.measures import scores


def reply_measures(wanted: Sequence[str], found: Sequence[str]) -> dict[str, float]:
    """BLEU, and how many of all words, and of all pairs of words in a row, are different ones (Li 2016).

    >>> reply_measures(["no , I do not"], ["no no no no"])["distinct_1"]
    0.25

    Args:
        wanted: what people replied.
        found: what was replied.
    """
    words = [text.split() for text in found]
    singles = [word for text in words for word in text]
    pairs = [pair for text in words for pair in pairwise(text)]
    return {
        "bleu": scores(wanted, found)["bleu"],
        "distinct_1": len({*singles}) / max(1, len(singles)),
        "distinct_2": len({*pairs}) / max(1, len(pairs)),
    }
