"""Choosing tokens against probabilities worked out by hand, and text that comes out piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from holdfast.models import LanguageModel, Sampling, choose, generate, write
from tests.support import assert_close

DRAWS = 20_000


def drawn_from(probabilities: Sequence[float], sampling: Sampling, recent: Sequence[int] = ()) -> Tensor:
    """How often each token is chosen."""
    rows = torch.tensor(probabilities, dtype=torch.float64).log().expand(DRAWS, -1)
    past = torch.tensor(recent, dtype=torch.int64).expand(DRAWS, -1)
    chosen = choose(rows, sampling, past, Generator().manual_seed(0))
    assert chosen.shape == (DRAWS,)
    return torch.bincount(chosen, minlength=len(probabilities))


def assert_drawn(counts: Tensor, weights: Sequence[float]) -> None:
    """The counts are as the weights would have them: what has none never comes, and χ² is within its bounds."""
    expected = torch.tensor(weights, dtype=torch.float64)
    expected = DRAWS * expected / expected.sum()
    assert torch.equal(counts > 0, expected > 0)
    possible = expected > 0
    squares = (counts - expected)[possible].square() / expected[possible]
    freedom = int(possible.sum()) - 1
    assert squares.sum().item() <= freedom + 4 * math.sqrt(2 * freedom)


# Choosing.


@pytest.mark.parametrize(
    ("sampling", "weights"),
    [
        (Sampling(), [0.4, 0.1, 0.3, 0.05, 0.15]),
        (Sampling(temperature=0.5), [0.16, 0.01, 0.09, 0.0025, 0.0225]),
        (Sampling(temperature=2), [math.sqrt(p) for p in (0.4, 0.1, 0.3, 0.05, 0.15)]),
        (Sampling(top_k=1), [1, 0, 0, 0, 0]),
        (Sampling(top_k=3), [0.4, 0, 0.3, 0, 0.15]),
        (Sampling(top_k=9), [0.4, 0.1, 0.3, 0.05, 0.15]),
        (Sampling(top_p=0.39), [1, 0, 0, 0, 0]),
        (Sampling(top_p=0.41), [0.4, 0, 0.3, 0, 0]),
        (Sampling(top_p=0.71), [0.4, 0, 0.3, 0, 0.15]),
        (Sampling(top_p=1e-9), [1, 0, 0, 0, 0]),
        (Sampling(min_p=0.3), [0.4, 0, 0.3, 0, 0.15]),
        (Sampling(min_p=0.24), [0.4, 0.1, 0.3, 0, 0.15]),
        (Sampling(min_p=1), [1, 0, 0, 0, 0]),
        # 0.4 and 0.3 become 4/7 and 3/7 before the next bound, and 16/25 and 9/25 if the temperature is 1/2.
        (Sampling(top_k=2, top_p=0.58), [0.4, 0, 0.3, 0, 0]),
        (Sampling(top_k=2, top_p=0.56), [1, 0, 0, 0, 0]),
        (Sampling(temperature=0.5, top_k=2, top_p=0.63), [1, 0, 0, 0, 0]),
        (Sampling(temperature=0.5, min_p=0.5), [0.16, 0, 0.09, 0, 0]),
        (Sampling(top_p=0.71, min_p=0.5), [0.4, 0, 0.3, 0, 0]),
        (Sampling(temperature=1e-300), [1, 0, 0, 0, 0]),
    ],
    ids=repr,
)
def test_tokens_come_as_often_as_they_should(sampling: Sampling, weights: Sequence[float]) -> None:
    assert_drawn(drawn_from([0.4, 0.1, 0.3, 0.05, 0.15], sampling), weights)


def test_recent_tokens_are_penalised_by_a_power() -> None:
    start = [0.5, 0.25, 0.25]
    assert_drawn(drawn_from(start, Sampling(repetition_penalty=2), [0, 2, 0]), [0.25, 0.25, 0.0625])
    assert_drawn(drawn_from(start, Sampling(repetition_penalty=2)), start)
    assert_drawn(drawn_from(start, Sampling(repetition_penalty=2, penalised=1), [0, 2]), [0.5, 0.25, 0.0625])
    assert_drawn(drawn_from(start, Sampling(), [0, 2]), start)
    # The penalty comes before the bounds: 0.5 becomes 0.125, the last of three.
    assert_drawn(drawn_from(start, Sampling(repetition_penalty=3, top_k=2), [0]), [0, 0.25, 0.25])
    assert (
        drawn_from(start, Sampling(temperature=0, repetition_penalty=3), [0, 1]) == torch.tensor([0, 0, DRAWS])
    ).all()


def test_a_temperature_of_zero_takes_the_most_likely() -> None:
    scores = torch.randn(50, 7).log_softmax(-1)
    assert torch.equal(choose(scores, Sampling(temperature=0)), scores.max(-1).indices)


def test_each_row_is_drawn_from_its_own_distribution() -> None:
    rows = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).log()
    for sampling in (Sampling(), Sampling(top_p=0.9), Sampling(top_k=2), Sampling(min_p=0.5)):
        assert choose(rows, sampling).tolist() == [1, 0, 2]


def test_the_smallest_temperature_divides_single_precision_too() -> None:
    rows = torch.tensor([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]]).log()
    found = [choose(rows, Sampling(temperature=1e-300)).tolist() for _ in range(50)]
    assert {first for first, _ in found} == {1}
    assert {second for _, second in found} == {0, 2}, "equals stay equal"


def test_choosing_changes_nothing_it_was_given() -> None:
    scores = torch.randn(4, 7).log_softmax(-1)
    before = scores.clone()
    choose(scores, Sampling(0.5, 3, 0.9, 0.1, 1.2), torch.zeros(4, 2, dtype=torch.int64))
    assert torch.equal(scores, before)


def test_without_a_generator_pytorch_s_own_draws() -> None:
    scores = torch.zeros(100, 10)
    torch.manual_seed(3)
    one, other = choose(scores, Sampling()), choose(scores, Sampling())
    torch.manual_seed(3)
    assert torch.equal(choose(scores, Sampling()), one)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_what_is_no_distribution_is_refused(temperature: float, bad: float) -> None:
    scores = torch.zeros(3, 4)
    scores[1, 2] = bad
    with pytest.raises(ValueError, match=f"log_probabilities must have a finite largest one in each row; got {bad}"):
        choose(scores, Sampling(temperature))
    with pytest.raises(ValueError, match="got -inf"):
        choose(torch.full((1, 4), -math.inf), Sampling(temperature))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature must be a number of at least 0; got -0.1"),
        ({"temperature": math.nan}, "temperature must be a number of at least 0; got nan"),
        ({"temperature": "hot"}, "temperature must be a number of at least 0; got 'hot'"),
        ({"top_k": -1}, "top_k must be a whole number of at least 0; got -1"),
        ({"top_k": 2.0}, r"top_k must be a whole number of at least 0; got 2\.0"),
        ({"top_p": 0}, "top_p must be a number above 0, up to 1; got 0"),
        ({"top_p": 1.1}, r"top_p must be a number above 0, up to 1; got 1\.1"),
        ({"min_p": -0.5}, "min_p must be a number between 0 and 1; got -0.5"),
        ({"min_p": True}, "min_p must be a number between 0 and 1; got True"),
        ({"repetition_penalty": 0.9}, r"repetition_penalty must be a number of at least 1; got 0\.9"),
        ({"penalised": 0}, "penalised must be a whole number of at least 1; got 0"),
    ],
)
def test_settings_that_are_not_accepted(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**options)


# Generating.


def model_of(**options: Any) -> LanguageModel:
    model = LanguageModel(**{"vocabulary": 12, "embedding": 5, "hidden": 8, **options}).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.7 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("options", [{}, {"cell": "gru", "layers": 2, "tied": True}], ids=["LSTM", "GRUs"])
@pytest.mark.parametrize("prompt", [[3], [3, 1, 4, 1, 5]], ids=["a token", "five tokens"])
def test_the_most_likely_continuation_is_that_of_whole_sequences(options: dict[str, Any], prompt: list[int]) -> None:
    model = model_of(**options).eval()
    written = list(prompt)
    for _ in range(8):
        features = model(torch.tensor(written).unsqueeze(1)).features
        written.append(int(model.log_probabilities(features)[-1, 0].argmax()))
    found = list(generate(model.train(), prompt, count=2, length=8, sampling=Sampling(temperature=0)))
    assert [tokens.tolist() for tokens in found] == [[token, token] for token in written[len(prompt) :]]
    assert model.training


def test_continuations_are_drawn_as_often_as_the_model_says() -> None:
    model = model_of(vocabulary=3).eval()
    count = 4000
    one, two = generate(model, [2, 0], count=count, length=2, seed=5)
    assert one.shape == (count,)
    pairs = torch.bincount(3 * one + two, minlength=9).double()
    tokens = torch.tensor([[2, 0, first, 0] for first in range(3)]).T
    found = model.log_probabilities(model(tokens).features).exp()  # (T, B, V)
    expected = (found[1, 0].unsqueeze(1) * found[2]).flatten() * count
    assert (pairs - expected).square().div(expected).sum().item() <= 8 + 4 * math.sqrt(16)


def test_a_seed_gives_the_same_again_and_another_seed_something_else() -> None:
    model = model_of()

    def texts(seed: int) -> list[list[int]]:
        return [tokens.tolist() for tokens in generate(model, [1], count=3, length=20, seed=seed)]

    before = torch.get_rng_state()
    one = texts(7)
    torch.rand(5)
    assert texts(7) == one
    assert texts(8) != one
    assert not one[0] == one[1] == one[2]
    torch.set_rng_state(before)
    texts(7)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("temperature", [0, 1])
def test_forbidden_tokens_are_never_chosen(temperature: float) -> None:
    model = model_of()
    with torch.no_grad():
        model.output_bias[4] = 9
        model.output_bias[0] = 8
    sampling = Sampling(temperature)
    assert 4 in torch.cat(list(generate(model, [4], count=3, length=30, sampling=sampling)))
    found = torch.cat(list(generate(model, [4], count=3, length=30, sampling=sampling, forbidden=[4])))
    assert 4 not in found
    assert 0 in found


@pytest.mark.parametrize("penalised", [1, 3])
def test_a_penalty_sees_the_prompt_and_what_was_chosen(penalised: int) -> None:
    model = model_of()
    with torch.no_grad():
        model.output_bias[:] = torch.linspace(0, 1, 12)
        model.output_matrix.zero_()
    # With a huge penalty the most likely token that is not recent comes.
    sampling = Sampling(temperature=0, repetition_penalty=1e6, penalised=penalised)
    found = [int(tokens) for tokens in generate(model, [10, 11], length=5, sampling=sampling)]
    assert found == {1: [10, 11, 10, 11, 10], 3: [9, 8, 10, 11, 9]}[penalised]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": []}, r"prompt must hold at least one token, \(T,\); got shape \(0,\)"),
        ({"prompt": [[1]]}, r"prompt must hold at least one token, \(T,\); got shape \(1, 1\)"),
        ({"prompt": [1, 12]}, "prompt must hold tokens between 0 and 11; got 12"),
        ({"prompt": [-1]}, "prompt must hold tokens between 0 and 11; got -1"),
        ({"forbidden": [12]}, "forbidden must hold tokens between 0 and 11; got 12"),
        ({"forbidden": range(12)}, "forbidden must leave a token to choose; got all of them"),
        ({"count": 0}, "count must be a whole number of at least 1; got 0"),
        ({"length": 0}, "length must be a whole number of at least 1; got 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0; got -1"),
    ],
)
def test_what_generation_does_not_accept(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):  # at the call, not at the first token
        generate(model_of(), **{"prompt": [1], "length": 3, **options})


# Writing.


class Pieces:
    """An encoding whose tokens are pieces of bytes; every prompt is the first of them."""

    def __init__(self, pieces: Sequence[bytes], unknown: int | None = None) -> None:
        self.pieces = [b"", *pieces]
        self.unknown = unknown
        self.encoded: list[str] = []

    @property
    def size(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> np.ndarray[Any, Any]:
        self.encoded.append(text)
        return np.array([0])

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(self.pieces[token] for token in ids).decode("utf-8", errors="replace")


def in_order(size: int) -> LanguageModel:
    """A model that is certain that each token is followed by the next."""
    model = LanguageModel(vocabulary=size, cell="rnn", embedding=size, hidden=size)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for weight in weights.values():
            weight.zero_()
        weights["embedding.weight"].copy_(torch.eye(size))
        weights["layers.0.weight_ih_l0"].copy_(9 * torch.eye(size))
        weights["output_weight"].copy_(9 * torch.eye(size).roll(1, 0))
    return model


def written(pieces: Sequence[bytes], stop: Sequence[str] = (), length: int | None = None) -> list[str]:
    """What comes out for each of some tokens that follow each other."""
    encoding = Pieces(pieces)
    greedy = Sampling(temperature=0)
    found = write(in_order(encoding.size), encoding, "begin", length=length or len(pieces), sampling=greedy, stop=stop)
    return [text for (text,) in found]


def bytes_of(text: str) -> list[bytes]:
    return [bytes([byte]) for byte in text.encode()]


def test_each_token_s_text_comes_with_it() -> None:
    assert written([b"to", b" be", b" or", b""]) == ["to", " be", " or", ""]
    assert written([b"to", b" be", b" or"], length=2) == ["to", " be"]


def test_a_character_comes_when_all_its_bytes_are_there() -> None:
    assert written(bytes_of("aé€😀b")) == ["a", "", "é", "", "", "€", "", "", "", "😀", "b"]
    assert written([b"a\xe2", b"\x82", b"\xacb\xf0\x9f", b"\x98\x80", b"!"]) == ["a", "", "€b", "😀", "!"]
    assert written([b"a\xe2\x82", b"\xac\xe2", b"\x82\xac"]) == ["a", "€", "€"]


def test_bytes_that_are_no_character_become_the_replacement_one() -> None:
    assert "".join(written([b"a", b"\xff", b"\xac", b"b", b"c"])) == "a\ufffd\ufffdbc"
    assert written([b"a", b"\xff", b"\xff", b"\xff", b"b"]) == ["a", "", "\ufffd", "\ufffd", "\ufffdb"]
    assert "".join(written([b"\xe2", b"\x82", b"\xe2\x82", b"\xac"])) == "\ufffd€"


def test_a_character_that_stays_incomplete_is_left_out() -> None:
    assert written([b"a", b"\xe2", b"\x82"]) == ["a", "", ""]


@pytest.mark.parametrize("seed", range(3))
def test_pieces_of_any_kind_make_up_the_text_of_all_tokens(seed: int) -> None:
    draw = np.random.default_rng(seed)
    text = "".join(draw.choice(list("aé€😀ß\n 漢"), 60))
    cuts = np.sort(draw.integers(0, len(text.encode()), 40))
    pieces = [bytes(part) for part in np.split(np.frombuffer(text.encode(), np.uint8), cuts)]
    found = written(pieces)
    assert "".join(found) == text
    so_far = b""
    for piece, before in zip(pieces, np.cumsum([len(new) for new in found])):
        so_far += piece
        assert before == len(so_far.decode(errors="ignore")), "it comes as soon as it is complete"


def test_a_stop_ends_the_text_before_it() -> None:
    assert "".join(written([b"to be", b" or STOP not", b" to be"], ["STOP"])) == "to be or "
    assert written([b"a", b"b", b"c", b"d"], ["c"]) == ["a", "b", ""]
    assert written([b"a\n\nb", b"c"], ["\n\n"]) == ["a"]


def test_a_stop_may_straddle_tokens() -> None:
    found = written([b"one", b" S", b"T", b"OP", b" two"], ["STOP"])
    assert found == ["one", " ", "", ""]
    assert written(bytes_of("x😀€y"), ["😀€"]) == ["x"] + 7 * [""]


def test_what_could_become_a_stop_comes_when_it_cannot_any_more() -> None:
    assert written([b"a", b"aab", b"aac", b"z"], ["aabaaa"]) == ["", "a", "aabaac", "z"]
    assert written([b"x\n", b"y\n", b"\n", b"z"], ["\n\n"]) == ["x", "\ny", ""]
    assert written([b"S", b"T", b"A", b"Y"], ["STOP"]) == ["", "", "STA", "Y"]
    assert written([b"abab", b"abc"], ["ababc"]) == ["", "ab"]


def test_what_is_held_back_at_the_end_comes_with_the_last_token() -> None:
    assert written([b"one ST", b"O"], ["STOP"]) == ["one ", "STO"]


def test_the_stop_that_is_complete_first_counts() -> None:
    for pieces in ([b"xabcy"], [b"x", b"a", b"b", b"c", b"y"]):
        assert "".join(written(pieces, ["abc", "b"])) == "xa"
        assert "".join(written(pieces, ["bc", "abc"])) == "x"
        assert "".join(written(pieces, ["y", "c"])) == "xab"


class Words:
    """An encoding of words, with spaces between them and lines' ends."""

    words = ("<unk>", "<eos>", "to", "be", "or", "not")
    size = len(words)
    unknown = 0

    def encode(self, text: str) -> np.ndarray[Any, Any]:
        return np.array([self.words.index(word) for word in text.replace("\n", " <eos> ").split()], np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        return (
            " ".join(self.words[token] for token in ids)
            .replace(" <eos>", "\n")
            .replace("<eos>", "\n")
            .replace("\n ", "\n")
        )


def test_a_word_is_written_with_the_space_before_it() -> None:
    found = write(in_order(6), Words(), "to", length=3, sampling=Sampling(temperature=0))
    assert [text for (text,) in found] == [" be", " or", " not"]


def test_the_unknown_token_is_never_written() -> None:
    found = write(in_order(6), Words(), "or not", count=50, length=2)
    assert not any("<unk>" in text for pieces in found for text in pieces)
    (greedy,) = write(in_order(6), Words(), "not", length=1, sampling=Sampling(temperature=0))
    assert greedy != ["<unk>"]


def test_an_empty_prompt_begins_after_the_end_of_a_line() -> None:
    found = write(in_order(6), Words(), "", length=2, sampling=Sampling(temperature=0))
    assert [text for (text,) in found] == ["to", " be"]


class Letters:
    """An encoding of three letters."""

    size, unknown = 3, None

    def encode(self, text: str) -> np.ndarray[Any, Any]:
        return np.array(["ab\n".index(letter) for letter in text])

    def decode(self, ids: Sequence[int]) -> str:
        return "".join("ab\n"[token] for token in ids)


def by_sample(pieces: Iterator[list[str]]) -> list[str]:
    return ["".join(texts) for texts in zip(*pieces)]


def test_each_text_stops_for_itself_and_all_end_when_none_is_left() -> None:
    model = LanguageModel(vocabulary=3, embedding=3, hidden=4)
    whole = by_sample(write(model, Letters(), "ab", count=5, length=40, seed=1))
    assert all(len(text) == 40 for text in whole)
    steps = list(write(model, Letters(), "ab", count=5, length=40, seed=1, stop=["ba"]))
    expected = [text.split("ba")[0] for text in whole]
    assert len(set(map(len, expected))) > 1
    assert by_sample(iter(steps)) == expected
    assert len(steps) == max(map(len, expected)) + 2, "the last text ends with its stop"


def test_tokens_and_text_have_the_same_seed() -> None:
    model = LanguageModel(vocabulary=3, embedding=3, hidden=4)
    tokens = torch.stack(list(generate(model, [0, 1], count=2, length=10, seed=4)))
    expected = [Letters().decode(row) for row in tokens.T.tolist()]
    assert by_sample(write(model, Letters(), "ab", count=2, length=10, seed=4)) == expected


def test_what_writing_does_not_accept() -> None:
    model = LanguageModel(vocabulary=3, embedding=3, hidden=4)

    class Silent(Letters):
        def encode(self, text: str) -> np.ndarray[Any, Any]:
            return np.array([], np.int64)

    with pytest.raises(ValueError, match=r"stop must be a list of texts that are not empty; got 'ab'"):
        write(model, Letters(), "a", length=3, stop="ab")
    with pytest.raises(ValueError, match=r"stop must be a list of texts that are not empty; got \['a', ''\]"):
        write(model, Letters(), "a", length=3, stop=["a", ""])
    with pytest.raises(ValueError, match="encoding must have the model's 3 tokens; got one of 6"):
        write(model, Words(), "to", length=3)
    with pytest.raises(ValueError, match="prompt must have at least one token in this encoding; got ''"):
        write(model, Silent(), "", length=3)
    with pytest.raises(ValueError, match="length must be a whole number of at least 1; got 0"):
        write(model, Letters(), "a", length=0)


def test_a_model_in_another_precision_generates_as_well() -> None:
    torch.manual_seed(1)
    model = model_of()
    sampling = Sampling(temperature=0)
    double = torch.stack(list(generate(model, [1, 2], length=6, sampling=sampling)))
    single = torch.stack(list(generate(model.float(), [1, 2], length=6, sampling=sampling)))
    assert torch.equal(double, single)
    stream = model.stream()
    assert_close(stream.read(torch.tensor([[1], [2]])).exp().sum(), torch.tensor(1.0))
