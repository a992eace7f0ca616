"""Batches of pairs, and how they are measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from holdfast.data.pairs import PairManner, TextPairs, build_pairs
from holdfast.models import EncoderDecoder
from holdfast.tasks.paired import Epoch, batch_of, learnable, nats_of
from tests.tasks.translation.phrases import phrases, write


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> TextPairs:
    folder = tmp_path_factory.mktemp("pairs")
    paths = [str(path) for path in write(folder, "a", phrases(60, 0))]
    manner = PairManner(level="word")
    return build_pairs({"train": paths, "valid": paths}, manner, folder / "cache").parts["train"]


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


def test_the_nats_of_a_part_are_those_of_its_pairs_one_by_one(part: TextPairs, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = EncoderDecoder(sources=14, embedding=8, hidden=12).double().eval()
    monkeypatch.setattr("holdfast.tasks.paired.problem._STEPS", 30)
    found = nats_of(model, part, np.arange(60))
    for k in range(0, 60, 7):
        source, target = torch.from_numpy(part.source(k))[:, None], [*part.target(k).tolist(), model.end]
        before = torch.tensor([model.end, *target[:-1]])[:, None]
        memory = model.read(source, torch.tensor([len(source)]))
        logs = model.log_probabilities(model(memory, before).features)[:, 0]
        assert found[k] == pytest.approx(-logs[range(len(target)), target].sum().item(), rel=1e-9)
