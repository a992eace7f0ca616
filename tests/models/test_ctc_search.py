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


@pytest.mark.parametrize("seed", range(6))
def test_the_totals_are_those_of_torch(seed: int) -> None:
    logs = torch.tensor(drawn(9, 3, seed)).log()
    found = beam_search(logs, width=2**10, best=40, floor=-math.inf)
    assert len({len(hypothesis.symbols) for hypothesis in found}) > 3
    for hypothesis in found:
        symbols = torch.tensor([hypothesis.symbols])
        lengths = torch.tensor([9]), torch.tensor([symbols.shape[1]])
        loss = F.ctc_loss(logs[:, None], symbols, *lengths, reduction="none")
        assert hypothesis.ctc == pytest.approx(-loss.item(), rel=1e-10)


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


def textbook(
    probabilities: Array, width: int, language: Pairs, weight: float, insertion: float, floor: float
) -> list[tuple[int, ...]]:
    """The search as its papers write it down: by strings, with probabilities as they are."""
    beams = {(): (1.0, 0.0)}  # of each string, of the paths that end with a blank and with its last symbol

    def score(string: tuple[int, ...], ended: bool = False) -> float:
        after = math.exp(language.end(string)) if ended else 1.0
        said = math.prod(language.table[a, b] for a, b in pairwise([0, *string])) * after
        return sum(found[string]) * said**weight * math.exp(insertion) ** len(string)

    for frame in probabilities:
        found: dict[tuple[int, ...], tuple[float, float]] = {}
        for string, (blank, other) in beams.items():
            ways = [(string, (blank + other) * frame[0], 0.0)]
            if string:
                ways.append((string, 0.0, other * frame[string[-1]]))
            for symbol in range(1, len(frame)):
                longer = (*string, symbol)
                if longer in beams or frame[symbol] >= floor or symbol == frame.argmax():
                    before = blank if string[-1:] == (symbol,) else blank + other
                    ways.append((longer, 0.0, before * frame[symbol]))
            for reached, with_blank, without in ways:
                already = found.get(reached, (0.0, 0.0))
                found[reached] = already[0] + with_blank, already[1] + without
        possible = [string for string in found if score(string)]
        beams = {string: found[string] for string in sorted(possible, key=score, reverse=True)[:width]}
    found = beams
    return sorted(beams, key=lambda string: score(string, ended=True), reverse=True)


@pytest.mark.parametrize("seed", range(60))
def test_a_narrow_search_keeps_what_the_papers_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, width = int(rng.integers(2, 6)), int(rng.integers(1, 7))
    weight, insertion, floor = rng.uniform(0.1, 2), rng.uniform(-1, 2), rng.choice([0.001, 0.05, 0.3])
    probabilities, language = drawn(25, size, seed), Pairs(size, seed)
    found = beam_search(np.log(probabilities), width, language, weight, insertion, width, math.log(floor))
    expected = textbook(probabilities, width, language, weight, insertion, floor)
    assert [hypothesis.symbols for hypothesis in found] == expected


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


def test_a_language_need_not_remember_anything() -> None:
    class Forgetful:
        read = 0

        def start(self) -> None:
            return None

        def extend(self, states: Sequence[None], symbols: Sequence[int]) -> list[None]:
            self.read += len(states)
            return [None] * len(states)

        def scores(self, state: None) -> Array:
            return np.log([0.2, 0.7, 0.1])

        def end(self, state: None) -> float:
            return math.log(0.2)

    language = Forgetful()
    found = beam_search(np.log(drawn(4, 3)), language=language, best=99, **EVERY)
    for hypothesis in found:
        assert hypothesis.language == pytest.approx(sum(np.log([0.2, 0.7, 0.1])[[0, *hypothesis.symbols]]))
    assert language.read == len(found) - 1


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


def shared(strings: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """What all begin with."""
    shortest = min(strings, key=len)
    return next(
        shortest[:k] for k in range(len(shortest), -1, -1) if all(string[:k] == shortest[:k] for string in strings)
    )


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
        assert given == shared([hypothesis.symbols for hypothesis in every])
    assert len(given) > 2
    assert beam_search(logs, 6, Pairs(5) if spoken else None, best=6) == [
        h._replace(symbols=given + h.symbols) for h in settling.hypotheses(6, ended=True)
    ]


def ambiguous(times: int) -> Array:
    """A place that may be 1 or 2, and then many that may be, less likely, 3 instead of 4."""
    blank = [0.96, 0.01, 0.01, 0.01, 0.01]
    first = [[0.01, 0.49, 0.48, 0.01, 0.01], blank]
    return np.log(np.array(first + [[0.01, 0.01, 0.01, 0.07, 0.9], blank] * times))


def test_a_place_of_which_both_readings_are_kept_settles_once_it_may_not_stay_open() -> None:
    search = BeamSearch(4)
    search.push(ambiguous(9))
    assert search.settled() == []
    found = search.hypotheses(4)
    assert [hypothesis.symbols[0] for hypothesis in found[:2]] == [1, 2]
    assert search.settled(open_symbols=10) == []
    assert search.hypotheses(4) == found
    settled = search.settled(open_symbols=9)
    assert settled[0] == 1
    left = [hypothesis._replace(symbols=(*settled, *hypothesis.symbols)) for hypothesis in search.hypotheses(4)]
    assert left == [hypothesis for hypothesis in found if hypothesis.symbols[0] == 1]
    search.push(ambiguous(9))
    assert search.settled(open_symbols=1)[-1] == 4
    assert all(len(hypothesis.symbols) <= 2 for hypothesis in search.hypotheses(4))


class Counted:
    """A state of which one knows how many there are."""

    alive = 0

    def __init__(self) -> None:
        Counted.alive += 1

    def __del__(self) -> None:
        Counted.alive -= 1


class Indifferent:
    """A language in which everything is as likely."""

    def start(self) -> Counted:
        return Counted()

    def extend(self, states: Sequence[Counted], symbols: Sequence[int]) -> list[Counted]:
        return [Counted() for _ in states]

    def scores(self, state: Counted) -> Array:
        return np.full(5, math.log(0.2))

    def end(self, state: Counted) -> float:
        return math.log(0.2)


def test_memory_stays_bounded_where_settled_symbols_are_taken_out() -> None:
    search, given = BeamSearch(6, Indifferent()), 0
    for _ in range(40):
        search.push(ambiguous(20))
        given += len(search.settled(open_symbols=10))
        assert Counted.alive < 2 * 6 * 10
    assert given > 700


@pytest.mark.full
def test_a_hypothesis_of_very_many_symbols_is_found_and_let_go() -> None:
    search = BeamSearch(1)
    search.push(np.log(np.eye(3)[np.arange(30_000) % 2 + 1] * 0.97 + 0.01))
    assert search.hypotheses()[0].symbols == (1, 2) * 15_000
    del search  # a chain of 30,000 links


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
