"""Batches of ragged sequences."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from holdfast.data import Sequences
from holdfast.tasks.classification.batches import Epoch, shortened, side_by_side

from .helpers import of_series


def numbered(count: int, longest: int = 40, seed: int = 0) -> Sequences:
    """Series of one channel, all of whose values are the sequence's own number; so is what is said of it."""
    lengths = np.random.default_rng(seed).integers(1, longest, count)
    return of_series([np.full((n, 1), k, np.float32) for k, n in enumerate(lengths)], range(count))


@pytest.mark.parametrize("size", [1, 2])
def test_an_epoch_has_every_sequence_once_in_one_of_the_processes(size: int) -> None:
    data = numbered(96)
    met: Counter[int] = Counter()
    for rank in range(size):
        for batch in Epoch(data, 8, 50, seed=3, rank=rank, size=size):
            assert batch.x.shape[1] == 8
            met.update(batch.said.int().tolist())
    assert met == dict.fromkeys(range(96), 1)


def test_what_does_not_fill_a_batch_is_left_for_another_epoch() -> None:
    data = numbered(21)
    left = []
    for seed in range(4):
        met = [k for batch in Epoch(data, 8, 50, seed) for k in batch.said.int().tolist()]
        assert len(met) == len(set(met)) == 16
        left.append(frozenset(range(21)) - {*met})
    assert len(set(left)) > 1, "not always the same are left out"


def test_fewer_sequences_than_a_batch_fill_it_more_than_once() -> None:
    (batch,) = Epoch(numbered(3), 8, 50, seed=0)
    assert Counter(batch.said.int().tolist()).keys() == {0, 1, 2}
    assert len(batch.said) == 8


def test_an_epoch_is_that_of_its_seed() -> None:
    data = numbered(64)
    orders = [[batch.said.tolist() for batch in Epoch(data, 8, 50, seed)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_a_batch_has_what_belongs_together_and_0_past_a_length() -> None:
    data = numbered(40)
    for batch in Epoch(data, 8, 50, seed=0):
        for column, (k, length) in enumerate(zip(batch.said.int().tolist(), batch.lengths.tolist())):
            assert length == data.lengths[k]
            assert batch.x[:length, column, 0].unique().tolist() == [k]
            assert not batch.x[length:, column].any()
        assert len(batch.x) == batch.lengths.max()


def test_sequences_of_like_length_come_together_and_batches_in_any_order() -> None:
    data = numbered(800, longest=200)
    batches = [*Epoch(data, 8, 500, seed=0)]
    padding = sum(batch.x.numel() for batch in batches) / data.lengths.sum() - 1
    assert padding < 0.05, "drawn at random, they would be filled up by more than half"
    longest = [len(batch.x) for batch in batches]
    assert longest != sorted(longest)


def test_a_long_sequence_is_its_beginning_and_its_end() -> None:
    assert shortened(np.arange(10), 10).tolist() == [*range(10)]
    assert shortened(np.arange(11), 10).tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert shortened(np.arange(11), 3).tolist() == [0, 9, 10]
    (batch,) = Epoch(of_series([np.arange(9, dtype=np.float32)[:, None]], [0]), 1, 4, seed=0)
    assert batch.x[:, 0, 0].tolist() == [0, 1, 7, 8]
    assert batch.lengths.tolist() == [4]


def test_tokens_are_whole_numbers() -> None:
    batch = side_by_side([np.array([3, 1], np.uint16), np.array([2], np.uint16)], np.array([1.0, 0.0]), 5)
    assert batch.x.tolist() == [[3, 2], [1, 0]]
    assert batch.x.dtype.is_floating_point is False
