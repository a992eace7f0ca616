"""How pairs are measured, and what the loop makes small."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from holdfast.data.pairs import Pairs, TextPairs
from holdfast.models import EncoderDecoder
from holdfast.tasks.paired import PairedOptions, PairedProblem, nats_of
from holdfast.training import Devices


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


def test_each_token_counts_the_same_in_whatever_batch_it_stands(pairs: Pairs) -> None:
    torch.manual_seed(0)
    part = pairs.parts["train"]
    model = EncoderDecoder(sources=pairs.encodings[0].size, embedding=8, hidden=12).double()
    options = PairedOptions(batch_size=6, smoothing=0.0)
    problem = PairedProblem("nats", pairs, options, Devices(torch.device("cpu")), lambda _: {})
    batches = problem.epoch(0)
    assert len({len(batch.before) for batch in batches}) > 1, "some are of short targets, some of long ones"
    values = [problem.loss(model, batch, ()).value.item() for batch in batches]
    tokens = (part.lengths[1] + 1).sum()
    assert np.mean(values) == pytest.approx(nats_of(model, part, np.arange(60)).sum() / tokens, rel=1e-6)
