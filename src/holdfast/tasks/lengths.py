"""Which ragged sequences stand side by side: those of like length, so that little is padding."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_POOL = 50  # batches, of whose sequences those of like length come together


def drawn(lengths: Array, together: int, seed: int) -> Array:
    """The batches of an epoch in an order drawn by a seed: numbers of sequences, (batches, together).

    Those that are left over when all batches are full are left out. Where there are fewer than a batch takes, some
    stand in it more than once.

    >>> sorted(drawn(np.array([5, 1, 4, 2]), 2, seed=0).tolist())
    [[1, 3], [2, 0]]

    Args:
        lengths: of all sequences, (S,).
        together: how many are in a batch.
        seed: of the order.
    """
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(lengths))
    if len(order) < together:
        order = np.resize(order, together)
    order = order[: len(order) // together * together]
    pools = [order[k : k + _POOL * together] for k in range(0, len(order), _POOL * together)]
    rows = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")].reshape(-1, together) for pool in pools])
    found: Array = draw.permutation(rows)
    return found


def in_order(lengths: Array, steps: int) -> list[Array]:
    """All sequences once, the shortest first, as many at a time as have no more than so many steps with the padding.

    >>> [batch.tolist() for batch in in_order(np.array([5, 1, 4, 2]), 8)]
    [[1, 3], [2], [0]]

    Args:
        lengths: of all sequences, (S,).
        steps: at a time, where there is more than one.
    """
    order = np.argsort(lengths, kind="stable")
    found, begin = [], 0
    for k in range(1, len(order) + 1):
        if k == len(order) or (k + 1 - begin) * lengths[order[k]] > steps:
            found.append(order[begin:k])
            begin = k
    return found
