"""Heads of frames: each is a distribution over all sets of keys, and draws from it."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from holdfast.models import HEADS, Sampling
from holdfast.models.frame_heads import ChordHead, IndependentHead, make_head

KEYS, FEATURES = 5, 4
EVERY = torch.tensor([*itertools.product([0.0, 1.0], repeat=KEYS)])  # (32, K)


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> ChordHead | IndependentHead:
    torch.manual_seed(3)
    found = make_head(request.param, keys=KEYS, features=FEATURES, dropout=0.0).eval()
    for parameter in found.parameters():  # far from uniform
        torch.nn.init.normal_(parameter, std=0.7)
    return found


def _situation(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    return torch.randn(FEATURES).to(dtype), torch.tensor([1, 0, 0, 1, 1]).to(dtype)


def _chances(head: ChordHead | IndependentHead) -> Tensor:
    """Of every set of keys, (32,)."""
    features, before = _situation()
    with torch.no_grad():
        return (-head.nats(features.expand(32, -1), before.expand(32, -1), EVERY)).exp()


def test_the_probabilities_of_all_sets_of_keys_sum_to_one(head: ChordHead | IndependentHead) -> None:
    head.double()
    features, before = _situation(torch.float64)
    with torch.no_grad():
        nats = head.nats(features.expand(32, -1), before.expand(32, -1), EVERY.double())
    assert abs(nats.neg().exp().sum().item() - 1) < 1e-12
    assert nats.std() > 0.5  # they are not all alike


def test_frames_are_as_likely_beside_others_as_alone(head: ChordHead | IndependentHead) -> None:
    torch.manual_seed(0)
    features, before = torch.randn(32, FEATURES), (torch.rand(32, KEYS) < 0.5).float()
    with torch.no_grad():
        together = head.nats(features, before, EVERY)
        alone = torch.cat([head.nats(features[k : k + 1], before[k : k + 1], EVERY[k : k + 1]) for k in range(32)])
    torch.testing.assert_close(together, alone)


def test_keys_are_told_from_the_highest_down_by_an_lstm() -> None:
    head = make_head("chord", keys=KEYS, features=FEATURES, dropout=0.0).eval()
    assert isinstance(head, ChordHead)
    features, before = _situation()
    lstm = torch.nn.LSTM(128, 128)
    lstm.load_state_dict(head.layer.state_dict())
    with torch.no_grad():
        expected, last, state = 0.0, KEYS, None
        for key in (4, 3, 1, KEYS):  # and the end
            x = head.embedding.weight[last] + head.context.weight @ features + head.context.bias
            h, state = lstm(x[None], state)
            logits = head.output.weight @ h[0] + head.output.bias
            logits = logits + head.direct.weight @ features + head.persistence.weight @ before
            weights = logits.double().exp()
            weights[last:KEYS] = 0
            expected -= float((weights[key] / weights.sum()).log())
            last = key
        frame = torch.tensor([[0.0, 1.0, 0.0, 1.0, 1.0]])
        assert abs(head.nats(features[None], before[None], frame).item() - expected) < 1e-5


def test_frames_are_drawn_as_often_as_they_are_likely(head: ChordHead | IndependentHead) -> None:
    features, before = _situation()
    count = 20_000
    draw = head.drawing(count)
    with torch.no_grad():
        drawn = draw(features.expand(count, -1), before.expand(count, -1), Sampling(), torch.Generator().manual_seed(1))
    assert drawn.nats.abs().max() == 0
    found = (drawn.frames @ torch.tensor([16.0, 8, 4, 2, 1])).long().bincount(minlength=32) / count
    expected = _chances(head)
    deviation = (expected * (1 - expected) / count).sqrt()
    assert ((found - expected).abs() < 5 * deviation + 1e-4).all()


def test_a_highest_key_that_is_told_is_as_likely_as_all_frames_with_it(head: ChordHead | IndependentHead) -> None:
    features, before = _situation()
    highest = torch.where(EVERY.any(1), KEYS - 1 - EVERY.flip(1).argmax(1), -1)
    chances = _chances(head)
    top = torch.arange(-1, KEYS)  # silence, and each key
    draw = head.drawing(len(top))
    with torch.no_grad():
        drawn = draw(
            features.expand(len(top), -1),
            before.expand(len(top), -1),
            Sampling(),
            torch.Generator().manual_seed(0),
            top,
        )
    for key, frame, nats in zip(top.tolist(), drawn.frames, drawn.nats):
        assert (frame[key + 1 :] == 0).all()
        assert key < 0 or frame[key] == 1
        torch.testing.assert_close((-nats).exp(), chances[highest == key].sum())


def test_without_chance_the_likeliest_is_drawn(head: ChordHead | IndependentHead) -> None:
    features, before = _situation()
    draw = head.drawing(2)
    with torch.no_grad():
        first, second = draw(features.expand(2, -1), before.expand(2, -1), Sampling(temperature=0)).frames
    assert (first == second).all()
    if isinstance(head, IndependentHead):
        assert (first == EVERY[_chances(head).argmax()]).all()


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(ValueError, match="head must be one of chord, independent; got 'nade'"):
        make_head("nade", keys=3, features=3, dropout=0.0)
