"""The character model of the demo."""

from __future__ import annotations

import pytest
import torch

from holdfast.lab.writer import learn_to_write


def test_it_learns_and_its_text_changes() -> None:
    seen: list[int] = []
    before = torch.get_rng_state()
    found = learn_to_write(seed=2, steps=12, progress=lambda step, loss: seen.append(step))
    assert seen == list(range(1, 13))
    assert torch.equal(torch.get_rng_state(), before)
    losses = [loss for _, loss in found.curve]
    assert losses[-1] < losses[0]
    assert found.before != found.after
    assert len(found.after) == 320
    assert found.baselines["5-gram"]["nats"] < found.baselines["unigram"]["nats"]


@pytest.mark.full
def test_the_same_seed_gives_the_same_text() -> None:
    one, two, other = (learn_to_write(seed=seed, steps=2) for seed in (5, 5, 6))
    assert one.after == two.after
    assert one.curve == two.curve
    assert one.after != other.after
