"""Batches of pairs."""

from __future__ import annotations

import numpy as np

from holdfast.data.pairs import TextPairs
from holdfast.tasks.paired import Epoch, batch_of, learnable


def test_a_batch_holds_targets_after_an_end_and_before_one(part: TextPairs) -> None:
    batch = batch_of(part, [3, 5], end=99)
    for column, k in enumerate([3, 5]):
        source, target = part.source(k), part.target(k)
        assert batch.source[: batch.lengths[column], column].tolist() == source.tolist()
        there = batch.there[:, column]
        assert batch.before[there, column].tolist() == [99, *target]
        assert batch.after[there, column].tolist() == [*target, 99]


def test_an_epoch_reads_each_pair_once_and_processes_share_its_batches(part: TextPairs) -> None:
    which = np.arange(60)
    whole = Epoch(part, which, 99, 20, seed=1)
    sizes = sum(batch.source.shape[1] for batch in whole)
    assert (len(whole), sizes) == (3, 60)
    halves = [Epoch(part, which, 99, 10, 1, rank, 2) for rank in (0, 1)]
    for batch, first, second in zip(whole, *halves, strict=True):
        assert batch.lengths.tolist() == [*first.lengths.tolist(), *second.lengths.tolist()]


def test_pairs_with_a_long_side_are_not_learned_from(part: TextPairs) -> None:
    kept = learnable(part, 3)
    assert 0 < len(kept) < 60
    assert all(max(len(part.source(int(k))), len(part.target(int(k)))) <= 3 for k in kept)
