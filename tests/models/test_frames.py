"""The model of frames: what it computes, and its stream."""

from __future__ import annotations

import pytest
import torch

from holdfast.models import HEADS, FrameModel, Sampling

KEYS = 6


@pytest.fixture(params=HEADS)
def model(request: pytest.FixtureRequest) -> FrameModel:
    torch.manual_seed(0)
    return FrameModel(keys=KEYS, head=request.param, hidden=9, embedding=7, layers=2, dropout=0.5).eval()


def _frames(steps: int = 8, count: int = 3) -> torch.Tensor:
    return (torch.rand(steps, count, KEYS, generator=torch.Generator().manual_seed(1)) < 0.3).float()


def test_a_sequence_in_two_parts_is_as_likely_as_whole(model: FrameModel) -> None:
    frames = _frames()
    with torch.no_grad():
        whole = model.nats(model(frames[:-1]).features, frames[:-1], frames[1:])
        first = model(frames[:4])
        second = model(frames[4:-1], first.state)
        parts = [
            model.nats(first.features, frames[:4], frames[1:5]),
            model.nats(second.features, frames[4:-1], frames[5:]),
        ]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_what_is_not_there_is_not_read_and_counts_nothing(model: FrameModel) -> None:
    frames = _frames()
    there = torch.ones(7, 3, dtype=torch.bool)
    there[5:, 1] = there[2:, 2] = False
    spoiled = frames.clone()
    spoiled[6:, 1] = spoiled[3:, 2] = torch.nan
    with torch.no_grad():
        features = model(frames[:-1]).features
        expected = model.nats(features, frames[:-1], frames[1:])
        found = model.nats(features.masked_fill(~there[..., None], torch.nan), spoiled[:-1], spoiled[1:], there)
    torch.testing.assert_close(found, torch.where(there, expected, 0))


def test_a_stream_says_what_the_whole_says(model: FrameModel) -> None:
    frames = _frames()
    stream = model.stream(3)
    top = torch.tensor([5, 2, -1])
    with torch.no_grad():
        features = model(frames).features
        draw = model.head.drawing(3)
        for t, row in enumerate(frames):
            stream.read(row)
            expected = draw(features[t], row, Sampling(), torch.Generator().manual_seed(t), top)
            found = stream.draw(Sampling(), torch.Generator().manual_seed(t), top)
            torch.testing.assert_close(found.nats, expected.nats)
            assert (found.frames == expected.frames).all()


def test_a_stream_goes_on_with_chosen_sequences(model: FrameModel) -> None:
    frames = _frames()
    stream, other = model.stream(3), model.stream(3)
    rows = torch.tensor([2, 2, 0])
    for t, row in enumerate(frames):
        stream.read(row if t < 4 else row[rows])
        other.read(row[rows])
        if t == 3:
            stream.choose(rows)
            top = torch.tensor([3, 4, 5])
            torch.testing.assert_close(stream.draw(Sampling(), top=top).nats, other.draw(Sampling(), top=top).nats)
    top = torch.tensor([3, 4, 5])
    torch.testing.assert_close(stream.draw(Sampling(), top=top).nats, other.draw(Sampling(), top=top).nats)


def test_all_weights_learn(model: FrameModel) -> None:
    frames = _frames()
    model.train()
    model.nats(model(frames[:-1]).features, frames[:-1], frames[1:]).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.full
def test_it_learns_that_keys_sound_together() -> None:
    torch.manual_seed(0)
    both = (torch.rand(640, 1) < 0.5).float().expand(-1, 2)  # two keys, always together, at random
    frames = both.reshape(16, 40, 2)
    nats = {}
    for head in HEADS:
        model = FrameModel(keys=2, head=head, hidden=8, embedding=4)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.04)
        for _ in range(60):
            loss = model.nats(model(frames[:-1]).features, frames[:-1], frames[1:]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        nats[head] = loss.item()
    assert nats["chord"] < 0.75  # log 2 is 0.693
    assert nats["independent"] > 1.3  # twice that


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="dropout must lie between 0 and 1"):
        FrameModel(dropout=1.5)
    with pytest.raises(ValueError, match="keys must be"):
        FrameModel(keys=0)
    model = FrameModel(keys=3, hidden=4, embedding=4)
    with pytest.raises(ValueError, match=r"frames must be \(T, B, 3\)"):
        model(torch.zeros(2, 2, 4))
    with pytest.raises(ValueError, match="state must hold one state for each of the 1 layers"):
        model(torch.zeros(2, 2, 3), ())
    with pytest.raises(ValueError, match=r"frames must be \(2, 3\)"):
        model.stream(2).read(torch.zeros(1, 3))


def test_what_is_dropped_is_dropped_in_training_alone() -> None:
    frames = _frames()

    def varies(model: FrameModel) -> bool:
        with torch.no_grad():
            one, other = (model.nats(model(frames[:-1]).features, frames[:-1], frames[1:]) for _ in range(2))
        return not torch.equal(one, other)

    for drop in ({"dropout": 0.5}, {"weight_drop": 0.5}):
        model = FrameModel(keys=KEYS, hidden=9, embedding=7, **drop)
        assert varies(model.train())
        assert not varies(model.eval())
    head = FrameModel(keys=KEYS, hidden=9, embedding=7, dropout=0.5).train().head
    features, before, after = torch.ones(5, 9), frames[0, :1].expand(5, -1), frames[1, :1].expand(5, -1)
    assert len(head.nats(features, before, after).unique()) > 1
