"""Simple methods that learned from the same music: what a model must beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from holdfast.data.music import EVENTS, KEYS, Pieces
from holdfast.models import NGram

Array = np.ndarray[Any, Any]

_PRIOR = 0.5  # counts that each outcome has before anything is counted (Krichevsky and Trofimov 1981)
_ORDER = 5
_MOST = 2_000_000  # events that n-grams are counted in


def of_frames(train: Pieces, part: Pieces, which: Array) -> Mapping[str, Mapping[str, float]]:
    """Each key by itself: by how often it sounds, and by how often it does after it did, and after it did not.

    Args:
        train: what they learn from.
        part: what they are measured on, the second frame of each piece and all after it.
        which: the pieces of it.
    """
    on, frames = np.zeros(KEYS), 0
    followed, stayed = np.zeros((2, KEYS)), np.zeros((2, KEYS))  # by the key before: how often, and how often it sounds
    for k in range(len(train)):
        piece = train.of(k).astype(bool)
        on, frames = on + piece.sum(0), frames + len(piece)
        for was in (0, 1):
            before = piece[:-1] == was
            followed[was] += before.sum(0)
            stayed[was] += (before & piece[1:]).sum(0)
    marginal = (on + _PRIOR) / (frames + 2 * _PRIOR)  # (K,)
    after = (stayed + _PRIOR) / (followed + 2 * _PRIOR)  # (2, K)
    nats, count = np.zeros(2), 0
    for k in which:
        piece = part.of(int(k)).astype(bool)
        for m, chance in enumerate((marginal, np.where(piece[:-1], after[1], after[0]))):
            nats[m] -= np.log(np.where(piece[1:], chance, 1 - chance)).sum()
        count += len(piece) - 1
    each = nats / count if count else np.full(2, np.nan)
    return {"each key by how often it sounds": {"nats": each[0]}, "each key by itself before": {"nats": each[1]}}


def of_events(train: Pieces, part: Pieces, which: Array) -> Mapping[str, Mapping[str, float]]:
    """Events by how often they come, and by how often they come after those before.

    Args:
        train: what they learn from.
        part: what they are measured on, the second event of each piece and all after it.
        which: the pieces of it.
    """
    learned: list[Array] = []
    for k in range(len(train)):
        learned.append(train.of(k).astype(np.int64))
        if sum(map(len, learned)) > _MOST:
            break
    flat = np.concatenate(learned)
    found = {}
    for order, name in ((1, "events by how often they come"), (_ORDER, f"{_ORDER}-grams of events")):
        model = NGram(order=order, vocabulary=EVENTS).fit(flat)
        nats = np.concatenate([model.nats(part.of(int(k)).astype(np.int64))[1:] for k in which])
        found[name] = {"nats": float(nats.mean()) if len(nats) else float("nan")}
    return found
