"""N-gram models against their formula, written out with dictionaries."""

from __future__ import annotations

import math
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from holdfast.models import NGram, largest_order


class ByTheFormula:
    """Interpolated Witten-Bell smoothing, as it stands in the textbook."""

    def __init__(self, order: int, vocabulary: int, text: Sequence[int]) -> None:
        self.order, self.vocabulary = order, vocabulary
        self.after: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for end in range(len(text)):
            for length in range(min(order - 1, end) + 1):
                self.after[tuple(text[end - length : end])][text[end]] += 1

    def probability(self, token: int, context: Sequence[int]) -> float:
        shorter = 1 / self.vocabulary if not context else self.probability(token, context[1:])
        if tuple(context) not in self.after:
            return shorter
        counts = self.after[tuple(context)]
        return (counts[token] + len(counts) * shorter) / (sum(counts.values()) + len(counts))

    def nats(self, text: Sequence[int], before: Sequence[int] = ()) -> list[float]:
        whole = [*before, *text]
        begin = self.order - 1
        return [
            -math.log(self.probability(whole[end], whole[max(end - begin, 0) : end]))
            for end in range(len(before), len(whole))
        ]


def text_of(length: int, vocabulary: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Tokens of which few are frequent and most are rare."""
    drawn = np.random.default_rng(seed).geometric(0.3, length) - 1
    return np.minimum(drawn, vocabulary - 1)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_an_n_gram_model_gives_what_its_formula_gives(order: int) -> None:
    vocabulary = 12
    known, new = text_of(300, 9), text_of(100, vocabulary, seed=1)
    expected = ByTheFormula(order, vocabulary, known.tolist())
    model = NGram(order, vocabulary).fit(known)
    for text in (known, new, new[:1]):
        np.testing.assert_allclose(model.nats(text), expected.nats(text.tolist()), rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_what_went_before_counts_as_context(order: int) -> None:
    known, new = text_of(300, 6), text_of(40, 6, seed=1)
    model, expected = NGram(order, 6).fit(known), ByTheFormula(order, 6, known.tolist())
    for length in (0, 1, 2, 3, 20):
        before, after = new[:length], new[length:]
        found = model.nats(after, context=before)
        np.testing.assert_allclose(found, expected.nats(after.tolist(), before.tolist()), rtol=1e-12)
        np.testing.assert_allclose(found, model.nats(new)[length:], rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_the_probabilities_after_any_context_sum_to_one(order: int) -> None:
    vocabulary = 7
    model = NGram(order, vocabulary).fit(text_of(200, 5))
    contexts = [np.array(context, np.int64) for context in ([], [0], [0, 0, 1, 0], [6], [1, 6, 0], [6, 6, 6, 6, 6])]
    for context in contexts:
        probabilities = [math.exp(-model.nats(np.array([token]), context)[0]) for token in range(vocabulary)]
        assert min(probabilities) > 0
        assert sum(probabilities) == pytest.approx(1, abs=1e-12)


def test_a_unigram_by_hand() -> None:
    model = NGram(1, 4).fit(np.array([2, 2, 0]))  # two different tokens among three
    expected = [(1 + 2 / 4) / 5, (0 + 2 / 4) / 5, (2 + 2 / 4) / 5, (0 + 2 / 4) / 5]
    np.testing.assert_allclose(np.exp(-model.nats(np.arange(4))), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint64])
def test_tokens_may_have_any_whole_type(dtype: type) -> None:
    known = text_of(200, 250)
    expected = NGram(4, 256).fit(known).nats(known)
    known = known.astype(dtype)
    np.testing.assert_array_equal(NGram(4, 256).fit(known).nats(known), expected)


def test_a_text_shorter_than_the_order_can_be_counted() -> None:
    known = np.array([1, 0])
    found = NGram(5, 3).fit(known).nats(np.array([0, 1, 0, 2]))
    np.testing.assert_allclose(found, ByTheFormula(5, 3, [1, 0]).nats([0, 1, 0, 2]), rtol=1e-12)


def test_no_tokens_have_no_losses() -> None:
    assert NGram(3, 4).fit(np.array([1, 2])).nats(np.array([], np.int64)).shape == (0,)


def test_another_text_replaces_the_first() -> None:
    model = NGram(2, 5).fit(text_of(100, 5))
    again = NGram(2, 5).fit(text_of(50, 5, seed=1)).nats(np.arange(5))
    np.testing.assert_array_equal(model.fit(text_of(50, 5, seed=1)).nats(np.arange(5)), again)


def test_the_largest_keys_do_not_overflow() -> None:
    vocabulary = 2**21  # three tokens fill 63 bits
    known = np.array([vocabulary - 1] * 4 + [0] + [vocabulary - 1] * 4)
    found = NGram(3, vocabulary).fit(known).nats(known)
    np.testing.assert_allclose(found, ByTheFormula(3, vocabulary, known.tolist()).nats(known.tolist()), rtol=1e-12)


def test_the_largest_order_is_the_last_whose_n_grams_fit() -> None:
    assert largest_order(2**21, wanted=9) == 3
    assert largest_order(2**21 + 1, wanted=9) == 2
    assert largest_order(2**40, wanted=9) == 1
    assert largest_order(65, wanted=5) == 5
    assert largest_order(1, wanted=100) == 100


@pytest.mark.full  # a million tokens
def test_a_million_tokens_take_little_memory() -> None:
    tokens = np.random.default_rng(0).integers(0, 100, 1_000_000, dtype=np.uint8)  # hardly a 5-gram comes twice
    tracemalloc.start()
    try:
        model = NGram(5, 100).fit(tokens)
        model.nats(tokens)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300e6


def test_what_an_n_gram_model_does_not_accept() -> None:
    with pytest.raises(ValueError, match=r"order must be a whole number of at least 1; got 0"):
        NGram(0, 5)
    with pytest.raises(ValueError, match=r"vocabulary must be a whole number of at least 1; got 2\.5"):
        NGram(2, 2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"order must be at most 3 for a vocabulary of 2097152; got 4"):
        NGram(4, 2**21)
    with pytest.raises(ValueError, match=r"wanted must be a whole number of at least 1; got 0"):
        largest_order(5, 0)
    model = NGram(2, 5)
    with pytest.raises(RuntimeError, match="must be fitted to a text before"):
        model.nats(np.array([1]))
    with pytest.raises(ValueError, match="tokens must hold at least one token; got none"):
        model.fit(np.array([], np.int64))
    with pytest.raises(ValueError, match="tokens must lie between 0 and 4; got 1 to 5"):
        model.fit(np.array([1, 5]))
    with pytest.raises(ValueError, match="context must lie between 0 and 4; got -1 to -1"):
        model.fit(np.array([1])).nats(np.array([1]), np.array([-1]))
    with pytest.raises(ValueError, match=r"tokens must be whole numbers \(N,\); got float64 of shape \(2,\)"):
        model.fit(np.zeros(2))
    with pytest.raises(ValueError, match=r"tokens must be whole numbers \(N,\); got int64 of shape \(2, 1\)"):
        model.fit(np.zeros((2, 1), np.int64))
