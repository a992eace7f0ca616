"""Windows: what is an input, what is a target, how often, and what a window costs."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.data import DataError, Windows, evaluation_windows

SHAPES = [(1, 1, 0), (1, 7, 3), (2, 3, 0), (2, 3, 2), (5, 4, 1), (3, 30, 29), (7, 2, 1)]


@pytest.mark.parametrize(("batch", "steps", "offset"), SHAPES)
def test_every_token_of_a_lane_but_its_first_is_a_target_once(batch: int, steps: int, offset: int) -> None:
    count = 211
    windows = Windows(np.arange(count), batch, steps, offset)
    length = (count - offset) // batch
    predicted = Counter(int(k) for _, targets in windows for k in targets.flatten())
    expected = {offset + b * length + t for b in range(batch) for t in range(1, length)}
    assert predicted == Counter(expected)


@pytest.mark.parametrize(("batch", "steps", "offset"), SHAPES)
def test_a_target_is_the_token_after_its_input_and_lanes_go_on(batch: int, steps: int, offset: int) -> None:
    windows = Windows(np.arange(211, dtype=np.uint8), batch, steps, offset)
    found = [windows[k] for k in range(len(windows))]
    for inputs, targets in found:
        assert inputs.dtype == targets.dtype == torch.int64
        assert inputs.is_contiguous()
        assert targets.is_contiguous()
        assert torch.equal(targets, inputs + 1)
    assert all(inputs.shape == (steps, batch) for inputs, _ in found[:-1])
    assert 0 < found[-1][0].shape[0] <= steps
    for (_, before), (after, _) in pairwise(found):
        assert torch.equal(before[-1], after[0])
    assert found[0][0][0, 0] == offset


@pytest.mark.parametrize("batch", [1, 2])
def test_inputs_targets_and_tokens_share_no_memory(batch: int) -> None:
    ids = np.arange(20)
    inputs, targets = Windows(ids, batch, 3)[0]
    inputs.zero_()
    assert targets.T.tolist() == [[1, 2, 3], [11, 12, 13]][:batch]
    assert ids.tolist() == [*range(20)]


def test_windows_are_found_by_number() -> None:
    windows = Windows(np.arange(20), 2, 3)
    assert len(windows) == 3
    assert torch.equal(windows[-1][0], windows[2][0])
    for k in (3, -4):
        with pytest.raises(IndexError, match=f"window {k} of 3"):
            windows[k]


def test_the_tokens_are_left_as_they_are(tmp_path: Path) -> None:
    np.arange(100, dtype=np.uint16).tofile(tmp_path / "ids")
    ids = np.memmap(tmp_path / "ids", dtype=np.uint16, mode="r")
    Windows(ids, 2, 3)[0][0].fill_(7)
    assert ids.tolist() == [*range(100)]


def test_a_text_too_short_says_what_it_has_and_what_is_needed() -> None:
    needed = 4 * 11 + 9
    with pytest.raises(DataError) as error:
        Windows(np.arange(needed - 1), 4, 10)
    assert str(error.value) == (
        "the text has 52 tokens, but windows of 10 steps in 4 lanes need 53: "
        "give more text, or a smaller batch_size or window"
    )
    for offset in range(10):
        inputs, _ = Windows(np.arange(needed), 4, 10, offset)[0]
        assert inputs.shape == (10, 4)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, 3), "batch must be a whole number above 0, got 0"),
        ((2, -1), "steps must be a whole number above 0, got -1"),
        ((2.0, 3), "batch must be a whole number above 0, got 2.0"),
        ((True, 3), "batch must be a whole number above 0, got True"),
    ],
)
def test_sizes_must_be_whole_and_positive(arguments: tuple[int, int], text: str) -> None:
    for cut in (Windows, evaluation_windows):
        with pytest.raises(DataError) as error:
            cut(np.arange(100), *arguments)
        assert str(error.value) == text


@pytest.mark.parametrize("offset", [-1, 3])
def test_an_offset_must_lie_within_a_window(offset: int) -> None:
    with pytest.raises(DataError, match=rf"offset must lie from 0 to 2 \(steps - 1\), got {offset}"):
        Windows(np.arange(100), 2, 3, offset)


@pytest.mark.parametrize("count", [2, 3, 10, 100, 211])
@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (1, 300), (4, 3), (8, 16), (300, 2)])
def test_an_evaluation_predicts_every_token_but_the_first_once(count: int, batch: int, steps: int) -> None:
    predicted: Counter[int] = Counter()
    padded = 0
    for inputs, targets, weights in evaluation_windows(np.arange(count, dtype=np.uint16), batch, steps):
        assert inputs.shape == targets.shape == weights.shape
        assert inputs.shape[0] <= steps
        assert inputs.shape[1] == batch
        assert torch.equal(targets, inputs + 1)
        predicted.update(targets[weights == 1].tolist())
        padded += int((weights == 0).sum())
    assert predicted == Counter(range(1, count))
    assert padded < batch


def test_the_lanes_of_an_evaluation_go_on_from_window_to_window() -> None:
    found = [*evaluation_windows(np.arange(103), 4, 5)]
    lanes = torch.cat([torch.where(weights == 1, inputs, -1) for inputs, _, weights in found])  # (T, B)
    for lane in lanes.T.tolist():
        tokens = [k for k in lane if k >= 0]
        assert tokens == [*range(tokens[0], tokens[0] + len(tokens))]
        assert lane == tokens + [-1] * (len(lane) - len(tokens))
        assert len(tokens) in (25, 26)
    assert found[0][2].dtype == torch.float32


def test_an_evaluation_needs_two_tokens() -> None:
    with pytest.raises(DataError) as error:
        evaluation_windows(np.arange(1), 1, 1)
    assert str(error.value) == "the text has 1 tokens, but an evaluation needs 2: one to start from, one to predict"


def test_a_window_costs_little(tmp_path: Path) -> None:
    np.zeros(10_000_000, dtype=np.uint16).tofile(tmp_path / "ids")
    ids = np.memmap(tmp_path / "ids", dtype=np.uint16, mode="r")
    windows = Windows(ids, 64, 128)
    costs = []
    for k in range(200):
        start = time.perf_counter()
        windows[k]
        costs.append(time.perf_counter() - start)
    assert sorted(costs)[len(costs) // 4] < 0.4e-3  # a hundredth of a training step of 40 ms
