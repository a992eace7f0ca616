"""The sequences of each task, against its description in the paper, looked at one by one."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Generator, Tensor

from holdfast.lab import PROBLEMS, Batch, Problem
from holdfast.lab.reber import LETTERS, EmbeddedReber

NAMES = list(PROBLEMS)


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def made(name: str, lag: int | None = None) -> Problem:
    problem = PROBLEMS[name](lag)
    problem.prepare(generator(7))
    return problem


def sequences(batch: Batch) -> Iterator[tuple[list[int], int]]:
    """Each sequence without what lies past its end, and its answer."""
    for k, length in enumerate(batch.lengths.tolist()):
        yield batch.x[:length, k].tolist(), batch.target[..., k].tolist()


def certain(batch: Batch, problem: Problem) -> Tensor:
    """The right answers, as scores that leave no doubt."""
    if problem.outputs == 1:
        return batch.target[:, None]
    target = batch.target[..., 0] if problem.name == "reber" else batch.target
    return 50.0 * torch.nn.functional.one_hot(target, problem.outputs).float()


@pytest.mark.parametrize("name", NAMES)
def test_the_right_answers_are_correct_and_others_are_not(name: str) -> None:
    problem = made(name)
    batch = problem.batch(40, generator())
    right = certain(batch, problem)
    if name == "reber":
        right = 50.0 * batch.target[..., 1:].float()
    assert problem.correct(right, batch).all()
    assert not problem.correct(-right if problem.outputs > 1 else right + 0.6, batch).any()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "reber"])
def test_the_right_answers_have_no_error_and_no_loss(name: str) -> None:
    problem = made(name)
    batch = problem.batch(20, generator())
    right = certain(batch, problem)
    assert problem.loss(right, batch).item() == pytest.approx(0, abs=1e-5)
    assert problem.errors(right, batch).tolist() == pytest.approx([0.0] * 20, abs=1e-5)


def test_what_lies_past_the_end_of_a_string_is_not_judged() -> None:
    problem = made("reber")  # the only task with an answer at every step and sequences of different lengths
    batch = problem.batch(30, generator())
    answer = torch.randn(*batch.x.shape[:2], problem.outputs, generator=generator(1))
    past = torch.arange(len(batch.x))[:, None] >= batch.lengths
    other = torch.where(past[..., None], torch.randn(answer.shape, generator=generator(2)), answer)
    assert torch.equal(problem.errors(answer, batch), problem.errors(other, batch))
    assert torch.equal(problem.correct(answer, batch), problem.correct(other, batch))
    assert torch.equal(problem.loss(answer, batch), problem.loss(other, batch))


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_the_same_sequences_and_another_seed_others(name: str) -> None:
    problem = made(name)
    one, same, other = (problem.batch(8, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.x, same.x)
    assert torch.equal(one.target, same.target)
    assert one.x.shape != other.x.shape or not torch.equal(one.x, other.x)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "reber"])
def test_a_lag_without_room_is_refused(name: str) -> None:
    least = PROBLEMS[name].least_lag
    with pytest.raises(ValueError, match=f"lag must be at least {least} for the task {name}; got {least - 1}"):
        PROBLEMS[name](least - 1)
    assert made(name, least).batch(50, generator()).x.shape[1] == 50


@pytest.mark.parametrize("name", ["order", "distractors", "parity", "copy", "no-regularity"])
def test_who_remembers_nothing_is_wrong_by_the_guessing_error(name: str) -> None:
    problem = made(name, 20)
    batch = problem.fresh(4000, generator())
    flat = torch.zeros(*(batch.x.shape[1:] if problem.at_end else batch.x.shape), problem.outputs)
    if name == "no-regularity":  # who remembers nothing knows all the same that the last is one of two
        flat[..., -2:] = 30.0
    assert problem.errors(flat, batch).mean().item() == pytest.approx(problem.guessing, rel=0.02)


@pytest.mark.parametrize("name", ["adding", "adding-1997", "multiplication"])
def test_the_variance_of_the_answers_is_the_guessing_error(name: str) -> None:
    problem = made(name, 40)
    target = problem.batch(40_000, generator()).target
    assert target.var().item() == pytest.approx(problem.guessing, rel=0.03)


def test_noise_free_sequences_are_the_two_of_the_paper() -> None:
    problem = made("noise-free", 6)
    batch = problem.batch(60, generator())
    found = {(tuple(x), tuple(target)) for x, target in sequences(batch)}
    assert found == {
        ((5, 0, 1, 2, 3, 4), (0, 1, 2, 3, 4, 5)),
        ((6, 0, 1, 2, 3, 4), (0, 1, 2, 3, 4, 6)),
    }


def test_without_regularity_all_between_is_random_and_the_last_repeats_the_first() -> None:
    batch = made("no-regularity", 6).batch(2000, generator())
    for x, target in sequences(batch):
        assert x[0] == target[-1] in (5, 6)
        assert x[1:] == target[:-1]
        assert max(x[1:]) < 5
    counts = batch.x[1:].flatten().bincount(minlength=5)
    assert counts.min() > 0.85 * counts.max()


def test_distractors_lie_between_the_symbol_and_the_end() -> None:
    problem = made("distractors", 30)
    batch = problem.batch(3000, generator())
    for x, answer in sequences(batch):
        assert x[0] == 1
        assert x[1] == 2 + answer
        assert x[-1] == 0
        assert len(x) >= 33
        assert all(4 <= symbol < problem.symbols for symbol in x[2:-1])
    more = batch.lengths.float() - 33
    assert more.mean().item() == pytest.approx(9.0, rel=0.08)  # of a geometric law with probability 1/10


def test_copy_memory_shows_ten_symbols_and_asks_for_them_after_the_sign() -> None:
    batch = made("copy", 7).batch(50, generator())
    for x, target in sequences(batch):
        assert len(x) == 27
        assert max(x[:10]) < 8
        assert x[10:16] == [8] * 6
        assert x[16] == 9
        assert x[17:] == [8] * 10
        assert target[-10:] == x[:10]


def test_parity_counts_the_ones_before_the_end_only() -> None:
    problem = made("parity", 12)
    batch = problem.batch(500, generator())
    assert batch.lengths.min() == 1
    assert batch.lengths.max() == 12
    for x, answer in sequences(batch):
        assert sum(x) % 2 == answer
    assert set(problem.fresh(50, generator()).lengths.tolist()) == {12}


@pytest.mark.parametrize(("name", "count"), [("order", 2), ("order-3", 3)])
@pytest.mark.parametrize("lag", [10, 100, 250])
def test_temporal_order_has_its_symbols_where_the_paper_puts_them(name: str, count: int, lag: int) -> None:
    spans = {2: [(0.1, 0.2), (0.5, 0.6)], 3: [(0.1, 0.2), (0.33, 0.43), (0.66, 0.76)]}[count]
    batch = made(name, lag).batch(1500, generator())
    assert set(batch.target.tolist()) == set(range(2**count))
    for x, answer in sequences(batch):
        assert lag <= len(x) <= round(1.1 * lag)
        assert (x[0], x[-1]) == (0, 1)
        places = [k for k, symbol in enumerate(x) if symbol >= 6]
        assert len(places) == count
        for place, (low, high) in zip(places, spans):
            assert round(low * lag) <= place <= round(high * lag)
        assert sum((x[place] - 6) << (count - 1 - k) for k, place in enumerate(places)) == answer
        assert all(2 <= symbol < 6 for k, symbol in enumerate(x[1:-1], 1) if k not in places)


@pytest.mark.parametrize("lag", [2, 7, 10])
def test_adding_marks_one_number_in_each_half(lag: int) -> None:
    x, target, _ = made("adding", lag).batch(500, generator())
    markers = x[..., 1]
    assert set(markers.unique().tolist()) <= {0.0, 1.0}
    assert (markers[: lag // 2].sum(0) == 1).all()
    assert (markers[lag // 2 :].sum(0) == 1).all()
    assert (markers.sum(1) > 0).all()
    for sequence, wanted in zip(x.unbind(1), target.tolist()):
        assert sum(value for value, marker in sequence.tolist() if marker) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("name", "lowest"), [("adding-1997", -1.0), ("multiplication", 0.0)])
@pytest.mark.parametrize("lag", [8, 30, 100])
def test_the_paper_marks_two_numbers_in_the_first_half(name: str, lowest: float, lag: int) -> None:
    x, target, lengths = made(name, lag).batch(800, generator())
    for k, length in enumerate(lengths.tolist()):
        values, markers = x[:length, k].T.tolist()
        places = [t for t, marker in enumerate(markers) if marker == 1]
        assert lag <= length <= round(1.1 * lag)
        assert len(places) == 2
        assert max(places) < lag / 2
        assert min(places) <= 10
        assert markers[0] == markers[-1] == -1
        assert markers.count(0) == length - 4
        assert lowest <= min(values)
        one, two = (values[t] for t in places)
        wanted = 0.5 + (one + two) / 4 if name == "adding-1997" else one * two
        assert target[k].item() == pytest.approx(wanted, abs=1e-6)


def test_two_sequences_tell_their_class_by_the_first_three_numbers() -> None:
    x, target, lengths = made("two-sequences", 60).batch(1000, generator())
    assert set(target.tolist()) == {0.0, 1.0}
    assert (x[:3, :, 0] == 2 * target - 1).all()
    noise = x[3:60]
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.var().item() == pytest.approx(0.2, rel=0.03)
    assert lengths.min() >= 60
    assert lengths.max() <= 66


def test_reber_strings_are_those_of_the_grammar_and_the_sets_are_apart() -> None:
    problem = made("reber")
    assert isinstance(problem, EmbeddedReber)
    texts = ["".join(LETTERS[k] for k in letters.tolist()) for letters, _ in problem.strings]
    assert len(set(texts)) == len(texts) == 512
    for text in texts:
        assert text[0] == "B"
        assert text[-1] == "E"
        assert text[1] == text[-2] in "TP"
        assert accepted(text[2:-2]), text
    learned = set(problem.batch(3000, generator()).x[1].tolist())
    assert learned == {LETTERS.index("T"), LETTERS.index("P")}


def accepted(text: str) -> bool:
    """Whether the Reber automaton, as drawn by Reber in 1967, accepts a string."""
    arcs = {
        ("0", "B"): "1", ("1", "T"): "2", ("1", "P"): "3", ("2", "S"): "2", ("2", "X"): "4", ("3", "T"): "3",
        ("3", "V"): "5", ("4", "X"): "3", ("4", "S"): "6", ("5", "P"): "4", ("5", "V"): "6", ("6", "E"): "7",
    }  # fmt: skip
    state = "0"
    for letter in text:
        if (state, letter) not in arcs:
            return False
        state = arcs[state, letter]
    return state == "7"


def test_all_letters_that_may_follow_are_known_from_the_strings_themselves() -> None:
    problem = made("reber")
    assert isinstance(problem, EmbeddedReber)
    texts = ["".join(LETTERS[k] for k in letters.tolist()) for letters, _ in problem.strings]
    for (letters, allowed), text in zip(problem.strings, texts):
        for t in range(1, len(letters) - 1):
            begun = text[: t + 1]
            seen = {other[t + 1] for other in texts if other.startswith(begun) and len(other) > t + 1}
            may = {LETTERS[k] for k in allowed[t].nonzero().flatten().tolist()}
            assert seen <= may
            assert text[t + 1] in may
            assert len(may) <= 2


def test_the_entropy_of_reber_without_the_second_letter_is_about_what_is_said() -> None:
    problem = made("reber")
    assert isinstance(problem, EmbeddedReber)
    total = steps = 0.0
    for letters, allowed in problem.strings:
        counts = allowed[:-1].sum(1).tolist()
        total += sum(math.log(count) for count in counts) + math.log(2)  # the last but one is a coin to them
        steps += len(letters) - 1
    assert total / steps == pytest.approx(problem.guessing, abs=0.05)


@pytest.mark.parametrize("name", [name for name in NAMES if made(name).symbols])
def test_the_spelled_sequences_hold_question_and_answer(name: str) -> None:
    problem = made(name)
    batch = problem.batch(25, generator())
    text, lengths = problem.spelled(batch)
    assert int(text.max()) < problem.alphabet
    first = problem.alphabet - problem.outputs
    for k, length in enumerate(lengths.tolist()):
        whole, asked = text[:length, k].tolist(), batch.x[: batch.lengths[k], k].tolist()
        if name == "copy":
            assert whole == asked[:-10] + [10 + s for s in asked[:10]]
            continue
        assert whole[:-1] == asked
        target = batch.target[..., 0] if name == "reber" else batch.target
        last = target[k] if problem.at_end else target[batch.lengths[k] - 1, k]
        assert whole[-1] == first + last
