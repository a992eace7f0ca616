"""Pooling, against loops over the steps of each sequence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from holdfast.models.pooling import POOLS, Pooling

LENGTHS = torch.tensor([5, 1, 3])


def _steps(width: int = 4) -> torch.Tensor:
    """(T, B, H), 0 past a length, as layers give it."""
    h = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 3, width)) - 0.5)
    return h * (torch.arange(5)[:, None] < LENGTHS)[..., None]


def _oracle(name: str, rows: np.ndarray, both: bool, score: np.ndarray | None) -> np.ndarray:
    """One sequence's vector from its steps, (T, H)."""
    if name == "mean":
        return sum(rows) / len(rows)
    if name == "max":
        return np.array([max(column) for column in rows.T])
    if name == "last":
        half = len(rows[0]) // 2
        return np.concatenate([rows[-1][:half], rows[0][half:]]) if both else rows[-1]
    assert score is not None
    weights = np.exp(rows @ score)
    return sum(w * row for w, row in zip(weights, rows)) / sum(weights)


def _made(name: str, both: bool) -> tuple[Pooling, np.ndarray | None]:
    pooling = Pooling((name,), 4, both).double()
    if name != "attention":
        return pooling, None
    score = pooling.ways[0].score.weight
    torch.nn.init.normal_(score, generator=torch.Generator().manual_seed(1))
    return pooling, score.detach().numpy()[0]


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("name", POOLS)
def test_a_sequence_becomes_one_vector_of_its_own_steps(name: str, both: bool) -> None:
    pooling, score = _made(name, both)
    h = _steps()
    found = pooling(h, LENGTHS).detach().numpy()
    for k, length in enumerate(LENGTHS.tolist()):
        np.testing.assert_allclose(found[k], _oracle(name, h[:length, k].numpy(), both, score), rtol=1e-12)


@pytest.mark.parametrize("name", POOLS)
def test_each_beginning_becomes_a_vector_as_if_it_were_all(name: str) -> None:
    pooling, score = _made(name, False)
    h = _steps()
    found = pooling.running(h).detach().numpy()
    for k, length in enumerate(LENGTHS.tolist()):
        for t in range(length):
            np.testing.assert_allclose(found[t, k], _oracle(name, h[: t + 1, k].numpy(), False, score), rtol=1e-9)


@pytest.mark.parametrize("name", POOLS)
def test_one_step_after_the_other_makes_the_same_vectors(name: str) -> None:
    pooling, score = _made(name, False)
    h, state = _steps(), None
    for t, each in enumerate(h):
        found, state = pooling.step(each, state)
        expected = _oracle(name, h[: t + 1, 0].numpy(), False, score)
        np.testing.assert_allclose(found[0].detach().numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("slope", [1000.0, -1000.0])
def test_attention_bears_scores_that_rise_and_fall_far(slope: float) -> None:
    """In float32 the weights of all other steps vanish: what remains is the step of the highest score."""
    pooling = Pooling(("attention",), 2)
    pooling.ways[0].score.weight.data = torch.tensor([[slope, 0.0]])
    h = torch.stack([torch.arange(4.0), torch.tensor([3.0, 1.0, 4.0, 2.0])], -1)[:, None]  # (4, 1, 2)
    running = pooling.running(h)[:, 0, 1]
    assert running.tolist() == ([3.0, 1.0, 4.0, 2.0] if slope > 0 else [3.0] * 4)


def test_ways_stand_side_by_side() -> None:
    h = _steps()
    pooling = Pooling(("max", "mean"), 4).double()
    torch.testing.assert_close(pooling(h, LENGTHS)[:, 4:], Pooling(("mean",), 4)(h, LENGTHS))
    assert pooling.width == 8


@pytest.mark.parametrize(("names", "said"), [((), "at least one of last"), (("men",), "got 'men'; did you mean mean")])
def test_a_way_that_is_not_there_is_refused(names: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Pooling(names, 4)
