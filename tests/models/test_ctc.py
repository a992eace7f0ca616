"""The likeliest path and the alignment against all paths, one by one; words and their times by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from holdfast.models import GreedyStream, Word, align, confidences, greedy, words
from tests.oracles.paths import likeliest, runs, spelled, totals

Array = np.ndarray[Any, Any]

SIZES = [(1, 2), (2, 4), (3, 3), (4, 4), (5, 3), (5, 2), (5, 4)]  # T, K


def drawn(frames: int, size: int, seed: int = 0) -> Array:
    """Probabilities that differ much between symbols, (T, K)."""
    return np.random.default_rng([seed, frames, size]).dirichlet(np.full(size, 0.6), frames)


def pieces(frames: Array, seed: int) -> list[Array]:
    """The frames cut at some places; some pieces are empty."""
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(frames) + 1, 7))
    return [frames[start:end] for start, end in pairwise([0, *cuts, len(frames)])]


# The likeliest path.


@pytest.mark.parametrize(("frames", "size"), SIZES)
@pytest.mark.parametrize("seed", range(6))
def test_greedy_spells_the_likeliest_path(frames: int, size: int, seed: int) -> None:
    probabilities = drawn(frames, size, seed)
    path, _ = likeliest(probabilities.tolist())
    assert greedy(np.log(probabilities)) == list(spelled(path))


def test_a_repeat_is_one_symbol_and_two_with_a_blank_between() -> None:
    labels = [1, 1, 0, 1, 2, 2, 0, 0, 2, 0]
    assert greedy(np.log(np.eye(3)[labels] * 0.9 + 0.03)) == [1, 1, 2, 2]


def test_a_tensor_is_read_as_an_array_is() -> None:
    logs = np.log(drawn(20, 4))
    assert greedy(torch.tensor(logs, requires_grad=True)) == greedy(logs) != []
    half = torch.tensor(logs).log_softmax(-1).bfloat16()
    assert greedy(half) == greedy(half.double().numpy())


@pytest.mark.parametrize("seed", range(8))
def test_a_stream_gives_the_same_symbols_however_the_frames_are_cut(seed: int) -> None:
    logs = np.log(drawn(40, 4, seed))
    stream = GreedyStream()
    found = [stream.push(piece) for piece in pieces(logs, seed)]
    assert [symbol for some in found for symbol in some] == greedy(logs)
    one_by_one = GreedyStream()
    assert [symbol for k in range(40) for symbol in one_by_one.push(logs[k : k + 1])] == greedy(logs)


def test_no_frames_and_no_symbols_spell_nothing() -> None:
    assert greedy(np.zeros((0, 5))) == []
    assert greedy(np.zeros((7, 1))) == []


def test_what_is_impossible_may_stand_beside_what_is_certain() -> None:
    with np.errstate(divide="ignore"):
        assert greedy(np.log(np.eye(4)[[0, 3, 3, 0, 1]])) == [3, 1]


@pytest.mark.parametrize(
    ("logs", "message"),
    [
        (np.zeros(3), r"real numbers \(T, K\).*got float64 of \(3,\)"),
        (np.zeros((3, 0)), r"K at least 1; got float64 of \(3, 0\)"),
        (np.zeros((3, 2), np.int64), "got int64"),
        (np.array([[-1.0, 3.5]]), "none above 0; got one of 3.5"),
        (np.array([[-1.0, math.nan]]), "none above 0; got one of nan"),
        (np.array([[-1.0, -1.0], [-math.inf, -math.inf]]), "-inf alone in frame 1"),
    ],
)
def test_what_are_no_log_probabilities_are_refused(logs: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        greedy(logs)


# Alignment.


@pytest.mark.parametrize(("frames", "size"), SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_the_alignment_of_every_spelling_is_its_likeliest_path(frames: int, size: int, seed: int) -> None:
    probabilities = drawn(frames, size, seed)
    for symbols in totals(probabilities.tolist()):
        path, _ = likeliest(probabilities.tolist(), symbols)
        found = align(np.log(probabilities), symbols)
        assert found.spans.shape == (len(symbols), 2)
        assert list(map(tuple, found.spans.tolist())) == runs(path)
        expected = [
            sum(math.log(probabilities[t, symbol]) for t in range(*span)) for span, symbol in zip(runs(path), symbols)
        ]
        np.testing.assert_allclose(found.log_probabilities, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("frames", "symbols", "needed"), [(0, [1], 1), (1, [1, 2], 2), (2, [1, 1], 3), (5, [2, 2, 1, 1, 2], 7)]
)
def test_too_few_frames_are_refused(frames: int, symbols: list[int], needed: int) -> None:
    with pytest.raises(ValueError, match=rf"at least {needed} frames for these {len(symbols)} symbols; got {frames}"):
        align(np.log(drawn(frames, 3)), symbols)
    assert len(align(np.log(drawn(needed, 3)), symbols).spans) == len(symbols)


def test_symbols_that_no_path_spells_are_refused() -> None:
    with np.errstate(divide="ignore"):
        logs = np.log([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    assert align(logs, [1]).spans[0, 0] <= 1
    for symbols in ([2], [1, 1], []):
        with pytest.raises(ValueError, match="symbols must be possible"):
            align(logs, symbols)


def test_no_symbols_are_aligned_with_any_frames() -> None:
    for frames in (0, 3):
        found = align(np.log(drawn(frames, 3)), [])
        assert found.spans.shape == (0, 2)
        assert found.log_probabilities.shape == (0,)
    assert align(np.zeros((2, 1)), []).spans.shape == (0, 2)


@pytest.mark.parametrize("symbols", [[0], [3], [-1], [1.0], [[1]]])
def test_what_are_no_symbols_is_refused(symbols: Sequence[Any]) -> None:
    with pytest.raises(ValueError, match="symbols must"):
        align(np.log(drawn(4, 3)), symbols)


def test_a_long_alignment_finds_what_a_clear_recording_says() -> None:
    labels = np.repeat([0, 3, 0, 3, 5, 5, 0, 1], [30, 2, 1, 7, 4, 5, 60, 90])
    logs = np.log(np.eye(6)[labels] * 0.94 + 0.01)
    found = align(logs, [3, 3, 5, 1])
    assert found.spans.tolist() == [[30, 32], [33, 40], [40, 49], [109, 199]]
    np.testing.assert_allclose(found.log_probabilities, np.array([2, 7, 9, 90]) * math.log(0.95))


# Confidences and words.


def test_the_confidence_of_a_symbol_is_its_mean_probability() -> None:
    probabilities = drawn(6, 4)
    found = confidences(np.log(probabilities), [2, 1, 1], np.array([[0, 3], [3, 4], [5, 6]]))
    expected = [probabilities[:3, 2].sum() / 3, probabilities[3, 1], probabilities[5, 1]]
    np.testing.assert_allclose(found, expected)
    assert confidences(np.log(probabilities), [], np.zeros((0, 2), np.int64)).shape == (0,)


@pytest.mark.parametrize("spans", [[[0, 0]], [[2, 1]], [[-1, 2]], [[0, 7]], [[0.0, 2.0]], [0, 1], [[0, 1], [1, 2]]])
def test_spans_that_are_none_are_refused(spans: Any) -> None:
    with pytest.raises(ValueError, match="spans must"):
        confidences(np.log(drawn(6, 4)), [2], np.array(spans))


def test_words_end_at_spaces() -> None:
    spans = np.array([[1, 2], [3, 4], [5, 7], [7, 8], [8, 9], [9, 10], [12, 14], [15, 16]])
    sure = [1.0, 0.5, 0.5, 1.0, 1.0, 0.8, 0.2, 1.0]
    found = words([" ", "th", "e", " ", " ", "ä", "b", " "], spans, sure, seconds_per_frame=0.25)
    assert [(word.text, word.start, word.end) for word in found] == [("the", 0.75, 1.75), ("äb", 2.25, 3.5)]
    np.testing.assert_allclose([word.confidence for word in found], [0.5, 0.4])


def test_a_symbol_of_no_confidence_takes_its_word_s() -> None:
    spans = np.array([[0, 1], [1, 2]])
    assert words("no", spans, [0.0, 1.0], 1.0) == [Word("no", 0.0, 2.0, 0.0)]


@pytest.mark.parametrize("texts", ["", " ", "   "])
def test_without_letters_there_are_no_words(texts: str) -> None:
    spans = np.array([[k, k + 1] for k in range(len(texts))], np.int64).reshape(-1, 2)
    assert words(texts, spans, [1.0] * len(texts), 0.5) == []


def test_words_refuse_what_does_not_fit() -> None:
    span = np.array([[0, 1]])
    with pytest.raises(ValueError, match="spans must be whole numbers, two for each of the 2 symbols"):
        words("ab", span, [1.0, 1.0], 1.0)
    with pytest.raises(ValueError, match="confidences must be one for each of the 1 symbols; got 2"):
        words("a", span, [1.0, 1.0], 1.0)
    with pytest.raises(ValueError, match="seconds_per_frame must be a number above 0; got 0"):
        words("a", span, [1.0], 0)
