"""Prefix beam search against all paths and all strings, one by one, and against PyTorch's own total."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from holdfast.models import BeamSearch, Hypothesis, beam_search, greedy
from tests.oracles.paths import totals

Array = np.ndarray[Any, Any]

SIZES = [(1, 2), (2, 4), (3, 3), (4, 4), (5, 3), (5, 2), (5, 4)]  # T, K
EVERY = {"width": 4**5, "floor": -math.inf}  # so that nothing is left out


def drawn(frames: int, size: int, seed: int = 0) -> Array:
    """Probabilities that differ much between symbols, (T, K)."""
    return np.random.default_rng([seed, frames, size]).dirichlet(np.full(size, 0.6), frames)


def pieces(frames: Array, seed: int) -> list[Array]:
    """The frames cut at some places; some pieces are empty."""
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(frames) + 1, 7))
    return [frames[start:end] for start, end in pairwise([0, *cuts, len(frames)])]


class Pairs:
    """A language in which a symbol depends on the one before; states are prefixes, and it counts how often it is asked.

    `table[a, b]` is the probability of b after a; in row and in column 0 stand the beginning and the end.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self.table = np.random.default_rng(seed).dirichlet(np.full(size, 0.7), size)
        self.asked: Counter[tuple[int, ...]] = Counter()
        self.calls: list[int] = []

    def start(self) -> tuple[int, ...]:
        return ()

    def extend(self, states: Sequence[tuple[int, ...]], symbols: Sequence[int]) -> list[tuple[int, ...]]:
        assert len(states) == len(symbols) > 0
        found = [(*state, symbol) for state, symbol in zip(states, symbols)]
        self.asked.update(found)
        self.calls.append(len(found))
        return found

    def scores(self, state: tuple[int, ...]) -> Array:
        with np.errstate(divide="ignore"):
            found = np.log(self.table[state[-1] if state else 0])
        found[0] = math.nan  # of the blank nobody may ask
        return found

    def end(self, state: tuple[int, ...]) -> float:
        return math.log(self.table[state[-1] if state else 0, 0])

    def whole(self, symbols: Sequence[int]) -> float:
        """The log-probability of a whole string."""
        chain = [0, *symbols, 0]
        return math.log(math.prod(self.table[a, b] for a, b in pairwise(chain))) if chain else 0.0


def assert_ranked(found: Sequence[Hypothesis], expected: dict[tuple[int, ...], float]) -> None:
    """All strings are there, best first, each with its score."""
    assert [hypothesis.symbols for hypothesis in found] == sorted(expected, key=lambda symbols: -expected[symbols])
    np.testing.assert_allclose([hypothesis.score for hypothesis in found], sorted(expected.values())[::-1], rtol=1e-10)


# Without a language.


@pytest.mark.parametrize(("frames", "size"), SIZES)
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_search_finds_every_string_with_its_total(frames: int, size: int, seed: int) -> None:
    probabilities = drawn(frames, size, seed)
    found = beam_search(np.log(probabilities), best=10**6, **EVERY)
    expected = {symbols: math.log(total) for symbols, total in totals(probabilities.tolist()).items()}
    assert_ranked(found, expected)
    assert all(hypothesis.ctc == hypothesis.score and hypothesis.language == 0 for hypothesis in found)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_impossible_is_no_hypothesis(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = np.zeros((5, 4))
    for frame in probabilities:
        possible = rng.choice(4, 2, replace=False)
        frame[possible] = rng.dirichlet([1, 1])
    with np.errstate(divide="ignore"):
        found = beam_search(np.log(probabilities), best=10**6, **EVERY)
    expected = totals(probabilities.tolist())
    assert_ranked(found, {symbols: math.log(total) for symbols, total in expected.items() if total})


@pytest.mark.parametrize("seed", range(12))
def test_the_total_of_a_long_string_is_that_of_torch(seed: int) -> None:
    # With few likely symbols a frame nothing of weight is left out.
    logs = torch.tensor(np.random.default_rng(seed).dirichlet(np.full(5, 0.05), 30) + 1e-9).log().log_softmax(-1)
    for found in beam_search(logs, width=400, best=3, floor=-math.inf):
        target = torch.tensor([found.symbols])
        loss = F.ctc_loss(logs[:, None], target, torch.tensor([30]), torch.tensor([target.shape[1]]), reduction="none")
        assert found.ctc == pytest.approx(-loss.item(), rel=1e-6)


@pytest.mark.parametrize("seed", range(30))
def test_a_narrow_search_never_claims_more_than_the_total(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames, size, width = int(rng.integers(1, 6)), int(rng.integers(2, 5)), int(rng.integers(1, 5))
    probabilities = drawn(frames, size, seed)
    expected = totals(probabilities.tolist())
    found = beam_search(np.log(probabilities), width=width, best=width, floor=math.log(0.1))
    assert 1 <= len(found) <= width
    assert len({hypothesis.symbols for hypothesis in found}) == len(found)
    assert [hypothesis.score for hypothesis in found] == sorted((each.score for each in found), reverse=True)
    for hypothesis in found:
        assert hypothesis.ctc <= math.log(expected[hypothesis.symbols]) + 1e-12


def test_many_paths_outweigh_the_likeliest_one() -> None:
    logs = np.log([[0.6, 0.4], [0.6, 0.4]])
    assert greedy(logs) == []
    assert beam_search(logs)[0].symbols == (1,)


def test_a_prefix_that_was_dropped_goes_on_in_the_longer_one_that_was_kept() -> None:
    # After the second frame (1,) is dropped and (1, 2) is kept; then the empty prefix makes (1,) anew, which becomes
    # (1, 2) again: one beam, not two.
    probabilities = [[0.5, 0.5, 0.0], [0.09, 0.01, 0.9], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
    with np.errstate(divide="ignore"):
        logs = np.log(probabilities)
    for width in range(1, 9):
        found = beam_search(logs, width=width, best=width, floor=-math.inf)
        assert len({hypothesis.symbols for hypothesis in found}) == len(found)


def test_a_symbol_below_the_floor_begins_no_prefix_unless_it_is_the_likeliest() -> None:
    logs = np.log([[0.5, 0.3, 0.2], [0.3, 0.3, 0.4]])
    found = beam_search(logs, best=99, floor=math.log(0.25))
    assert {hypothesis.symbols for hypothesis in found} == {(), (1,), (2,), (1, 2)}
    found = beam_search(logs, best=99, floor=0.0)
    assert {hypothesis.symbols for hypothesis in found} == {(), (2,)}


def test_without_frames_there_is_the_empty_hypothesis() -> None:
    assert beam_search(np.zeros((0, 3)), best=5) == [Hypothesis((), 0.0, 0.0, 0.0)]
    assert BeamSearch().hypotheses() == [Hypothesis((), 0.0, 0.0, 0.0)]


def test_blanks_alone_spell_nothing() -> None:
    assert beam_search(np.full((3, 1), -0.5), best=5) == [Hypothesis((), -1.5, -1.5, 0.0)]


def test_insertion_counts_symbols() -> None:
    probabilities = drawn(4, 3)
    found = beam_search(np.log(probabilities), insertion=1.5, best=999, **EVERY)
    expected = totals(probabilities.tolist())
    assert_ranked(found, {symbols: math.log(total) + 1.5 * len(symbols) for symbols, total in expected.items()})


# With a language.


@pytest.mark.parametrize(("frames", "size"), SIZES)
@pytest.mark.parametrize(("weight", "insertion"), [(0.5, 0.0), (1.7, 0.8), (0.9, -0.6)])
def test_the_fused_score_is_that_of_every_string(frames: int, size: int, weight: float, insertion: float) -> None:
    probabilities, language = drawn(frames, size), Pairs(size)
    found = beam_search(np.log(probabilities), EVERY["width"], language, weight, insertion, 10**6, -math.inf)
    expected = totals(probabilities.tolist())
    scores = {
        symbols: math.log(total) + weight * language.whole(symbols) + insertion * len(symbols)
        for symbols, total in expected.items()
    }
    assert_ranked(found, scores)
    for hypothesis in found:
        assert hypothesis.ctc == pytest.approx(math.log(expected[hypothesis.symbols]), rel=1e-10)
        assert hypothesis.language == pytest.approx(language.whole(hypothesis.symbols), rel=1e-10)


def test_the_end_counts_only_once_it_has_come() -> None:
    language, search = Pairs(3), BeamSearch(language=(scorer := Pairs(3)), language_weight=1.0)
    search.push(np.log(drawn(4, 3)))
    open_ended = {hypothesis.symbols: hypothesis for hypothesis in search.hypotheses(99)}
    ended = {hypothesis.symbols: hypothesis for hypothesis in search.hypotheses(99, ended=True)}
    assert open_ended.keys() == ended.keys()
    for symbols, hypothesis in ended.items():
        assert hypothesis.language - open_ended[symbols].language == pytest.approx(scorer.end(symbols))
        assert hypothesis.language == pytest.approx(language.whole(symbols))


def test_the_language_reads_each_prefix_once_and_those_of_a_frame_together() -> None:
    language = Pairs(6)
    beam_search(np.log(drawn(60, 6)), width=8, language=language)
    assert set(language.asked.values()) == {1}
    assert max(language.calls) > 1
    assert len(language.calls) <= 60


def test_the_language_is_not_asked_where_no_symbol_may_begin() -> None:
    language = Pairs(3)
    search = BeamSearch(language=language)
    search.push(np.log(np.array([[0.02, 0.97, 0.01]])))
    search.push(np.full((500, 3), [-1e-9, -30.0, -30.0]))
    assert not language.calls
    search.push(np.log(np.array([[0.02, 0.01, 0.97]])))
    assert len(language.calls) == 1


def test_a_language_of_no_weight_is_not_asked() -> None:
    language, logs = Pairs(4), np.log(drawn(9, 4))
    assert beam_search(logs, language=language, language_weight=0.0, best=9) == beam_search(logs, best=9)
    assert not language.calls


def test_what_the_language_rules_out_is_no_hypothesis() -> None:
    language, probabilities = Pairs(3), drawn(4, 3)
    language.table[1, 1] = 0.0
    found = beam_search(np.log(probabilities), language=language, best=99, **EVERY)
    expected = {symbols for symbols in totals(probabilities.tolist()) if (1, 1) not in pairwise(symbols)}
    assert {hypothesis.symbols for hypothesis in found} == expected
    language.table[:, 1:] = 0.0
    with np.errstate(divide="ignore"):
        assert beam_search(np.log([[0.0, 0.5, 0.5]] * 3), language=language) == []


def test_a_language_of_other_symbols_is_refused() -> None:
    with pytest.raises(ValueError, match=r"language must give K = 3 scores, as logs have columns; got \(4,\)"):
        beam_search(np.log(drawn(2, 3)), language=Pairs(4))


# Frames that come in pieces.


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("spoken", [False, True])
def test_a_search_finds_the_same_however_the_frames_are_cut(seed: int, spoken: bool) -> None:
    logs = np.log(drawn(40, 5, seed))
    whole = beam_search(logs, width=6, language=Pairs(5) if spoken else None, best=6)
    for cut in (pieces(logs, seed), [logs[k : k + 1] for k in range(40)]):
        search = BeamSearch(6, Pairs(5) if spoken else None)
        for piece in cut:
            search.push(piece)
            assert search.hypotheses(6)
        assert search.hypotheses(6, ended=True) == whole


@pytest.mark.parametrize("cut", range(6))
def test_what_is_found_so_far_is_what_the_first_frames_spell(cut: int) -> None:
    logs = np.log(drawn(5, 4))
    search = BeamSearch(5)
    search.push(logs[:cut])
    assert search.hypotheses(5) == beam_search(logs[:cut], 5, best=5)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("spoken", [False, True])
def test_settled_symbols_are_those_that_every_later_hypothesis_begins_with(seed: int, spoken: bool) -> None:
    logs = np.log(np.random.default_rng(seed).dirichlet(np.full(5, 0.1), 80) * 0.98 + 0.004)
    search, settling = (BeamSearch(6, Pairs(5) if spoken else None) for _ in range(2))
    given: tuple[int, ...] = ()
    for k in range(80):
        search.push(logs[k : k + 1])
        settling.push(logs[k : k + 1])
        every = search.hypotheses(6)
        given += tuple(settling.settled())
        assert settling.settled() == []
        assert [h._replace(symbols=given + h.symbols) for h in settling.hypotheses(6)] == every
        firsts = zip(*(hypothesis.symbols for hypothesis in every))
        common = [column[0] for column in firsts if len(set(column)) == 1]
        assert list(given) == list(every[0].symbols[: len(given)])
        assert len(given) == len(common) or len({h.symbols[len(given)] for h in every if len(h.symbols) > len(given)})
    assert len(given) > 10
    assert beam_search(logs, 6, Pairs(5) if spoken else None, best=6) == [
        h._replace(symbols=given + h.symbols) for h in settling.hypotheses(6, ended=True)
    ]


def test_memory_stays_bounded_where_settled_symbols_are_taken_out() -> None:
    class Counted:
        alive = 0

        def __init__(self) -> None:
            Counted.alive += 1

        def __del__(self) -> None:
            Counted.alive -= 1

    class Language(Pairs):
        def start(self) -> Any:
            return Counted()

        def extend(self, states: Sequence[Any], symbols: Sequence[int]) -> Any:
            return [Counted() for _ in states]

        def scores(self, state: Any) -> Array:
            return np.zeros(5)

    search = BeamSearch(6, Language(5))
    logs = np.log(np.random.default_rng(0).dirichlet(np.full(5, 0.1), 50) * 0.98 + 0.004)
    alive, symbols = [], 0
    for _ in range(30):
        search.push(logs)
        symbols += len(search.settled())
        alive.append(Counted.alive)
    assert symbols > 500
    assert max(alive) < 100


def test_a_hypothesis_of_very_many_symbols_is_found_and_let_go() -> None:
    search = BeamSearch(1)
    search.push(np.log(np.eye(3)[np.arange(60_000) % 2 + 1] * 0.97 + 0.01))
    assert search.hypotheses()[0].symbols == (1, 2) * 30_000
    del search  # a chain of 60,000 links


def test_frames_of_another_size_are_refused() -> None:
    search = BeamSearch()
    search.push(np.log(drawn(2, 3)))
    with pytest.raises(ValueError, match="logs must have K = 3 columns, as before; got 4"):
        search.push(np.log(drawn(2, 4)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 0}, "width must be greater than zero; got 0"),
        ({"best": 0}, "best must be greater than zero; got 0"),
        ({"language_weight": -1.0}, "language_weight must be a number of at least 0; got -1.0"),
        ({"language_weight": math.nan}, "language_weight must be"),
        ({"insertion": math.inf}, "insertion must be a number; got inf"),
        ({"floor": 0.5}, "floor must be at most 0, or -inf; got 0.5"),
        ({"floor": math.nan}, "floor must be at most 0"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        beam_search(np.log(drawn(2, 3)), **wrong)
