"""Simple methods that learned from the same pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from holdfast.data.pairs import TextPairs

from ..paired import most_alike
from .measures import scores

Array = np.ndarray[Any, Any]

_ROUNDS = 5  # of expectation and maximisation
_LEARNED = 50_000  # pairs at most that words are learned from


def baselines(train: TextPairs, part: TextPairs) -> dict[str, dict[str, float]]:
    """A memory, which gives the target of the source that is most alike, and a dictionary, word for word.

    Args:
        train: what they learn from.
        part: what they are measured on.
    """
    sources = [part.source_text(k) for k in range(len(part))]
    wanted = [part.target_text(k) for k in range(len(part))]
    return {
        "the most alike source's target": scores(wanted, most_alike(train, sources)),
        "word for word": scores(wanted, WordForWord(train).translate(sources)),
    }


class WordForWord:
    """Of each word the one that it most likely becomes (Brown 1993, model 1), in the order of the source.

    Args:
        train: what it learns from.
    """

    def __init__(self, train: TextPairs) -> None:
        count = min(len(train), _LEARNED)
        self._becomes = _likeliest([(train.source_text(k).split(), train.target_text(k).split()) for k in range(count)])

    def translate(self, sources: Sequence[str]) -> list[str]:
        """What texts become; a word that is not known stays as it is."""
        return [" ".join(self._becomes.get(word, word) for word in source.split()) for source in sources]


def _likeliest(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> dict[str, str]:
    """Of each word of the sources the likeliest of the targets, by expectation and maximisation."""
    ours = {word: k for k, word in enumerate(dict.fromkeys(word for source, _ in pairs for word in source))}
    theirs = {word: k for k, word in enumerate(dict.fromkeys(word for _, target in pairs for word in target))}
    places, groups = _met(pairs, ours, theirs)
    which, entry = np.unique(places, return_inverse=True)  # the pairs of words that are met, and which of them
    source, target = which // len(theirs), which % len(theirs)
    probability = np.ones(len(which))
    for _ in range(_ROUNDS):
        # A word of a target comes from one of the source's words, the likelier the more often.
        each = probability[entry]
        each /= np.bincount(groups, each)[groups]
        counted = np.bincount(entry, each, len(which))
        probability = counted / np.bincount(source, counted)[source]
    order = np.lexsort((probability, source))
    last = np.append(source[order][1:] != source[order][:-1], True)
    words, others = [*ours], [*theirs]
    return {words[source[k]]: others[target[k]] for k in order[last]}


def _met(
    pairs: Sequence[tuple[Sequence[str], Sequence[str]]], ours: dict[str, int], theirs: dict[str, int]
) -> tuple[Array, Array]:
    """All words of sources beside all words of their targets: the number of both, and which word of which target."""
    places, groups, begin = [], [], 0
    for source, target in pairs:
        left = np.array([ours[word] for word in source], np.int64)
        right = np.array([theirs[word] for word in target], np.int64)
        places.append((left[:, None] * len(theirs) + right).ravel())
        groups.append(np.tile(np.arange(begin, begin + len(right)), len(left)))
        begin += len(right)
    return np.concatenate(places), np.concatenate(groups)
