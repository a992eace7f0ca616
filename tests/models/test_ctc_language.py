"""A language model's scores of symbols against what the model says of whole lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from holdfast.data import Encoding, build_encoding
from holdfast.models import LanguageModel, LanguageScorer, beam_search
from tests.oracles.paths import totals

Array = np.ndarray[Any, Any]

LETTERS = ["a", "b", " "]
GROUPS = ["a", "ä", "ch", "sch", "tsch", " "]  # some take several tokens, and begin like others


def made(encoding: Encoding, cell: str = "lstm", **how: Any) -> LanguageModel:
    """A model that is far from uniform, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = LanguageModel(vocabulary=encoding.size, cell=cell, embedding=5, hidden=7, **how).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
    return model


def nats(model: LanguageModel, encoding: Encoding, line: str) -> float:
    """Minus the log-probability of a line and its end, after the end of another; by one call of the whole model."""
    tokens = torch.tensor(encoding.encode(f"\n{line}\n"))[:, None]
    model.eval()
    with torch.no_grad():
        return model.loss(model(tokens[:-1]).features, tokens[1:]).sum().item()


def scored(scorer: LanguageScorer, symbols: Sequence[int]) -> float:
    """Minus the log-probability of symbols and their end, as the search adds it up."""
    state, total = scorer.start(), 0.0
    for symbol in symbols:
        total += float(scorer.scores(state)[symbol])
        [state] = scorer.extend([state], [symbol])
    return -(total + scorer.end(state))


@pytest.mark.parametrize("cell", ["lstm", "gru", "slstm"])
@pytest.mark.parametrize("level", ["char", "byte"])
@pytest.mark.parametrize("alphabet", [LETTERS, GROUPS])
def test_symbols_are_as_likely_as_the_text_they_stand_for(cell: str, level: str, alphabet: list[str]) -> None:
    encoding = build_encoding(level, ["abcäshtxy \n"])
    model = made(encoding, cell, layers=2)
    scorer = LanguageScorer(model, encoding, alphabet)
    rng = np.random.default_rng(0)
    for length in range(6):
        symbols = rng.integers(1, len(alphabet) + 1, length).tolist()
        text = "".join(alphabet[symbol - 1] for symbol in symbols)
        assert scored(scorer, symbols) == pytest.approx(nats(model, encoding, text), rel=1e-9)


def test_many_prefixes_are_read_together_as_each_is_for_itself() -> None:
    encoding = build_encoding("byte", ["a"])
    scorer = LanguageScorer(made(encoding), encoding, GROUPS)
    [start, short] = scorer.start(), scorer.extend([scorer.start()], [4])[0]
    symbols = [5, 1, 2, 3, 5, 6]
    together = scorer.extend([start, short, start, short, short, start], symbols)
    for before, symbol, found in zip([start, short, start, short, short, start], symbols, together):
        [alone] = scorer.extend([before], [symbol])
        np.testing.assert_allclose(scorer.scores(found), scorer.scores(alone), rtol=1e-9)
        assert scorer.end(found) == pytest.approx(scorer.end(alone))
    assert scorer.scores(start)[0] == -math.inf


def test_what_a_state_remembers_does_not_change_as_others_are_read() -> None:
    encoding = build_encoding("char", ["ab \n"])
    scorer = LanguageScorer(made(encoding), encoding, LETTERS)
    state, _ = scorer.extend([scorer.start()] * 2, [1, 2])
    [first], [again] = scorer.extend([state], [2]), scorer.extend([state], [2])
    np.testing.assert_array_equal(scorer.scores(first), scorer.scores(again))
    assert all(part.untyped_storage().nbytes() == 7 * 8 for part in state.memory)  # and it holds no others in memory


def test_what_the_encoding_does_not_know_has_the_probability_of_its_unknown_token() -> None:
    encoding = build_encoding("char", ["ab \n"])
    model = made(encoding)
    scorer = LanguageScorer(model, encoding, ["a", "ö", "ü"])
    scores = scorer.scores(scorer.start())
    assert scores[2] == scores[3]
    assert scored(scorer, [1, 2, 1]) == pytest.approx(nats(model, encoding, "a\ufffda"), rel=1e-9)


def test_dropout_of_a_model_in_training_does_not_count() -> None:
    encoding = build_encoding("char", ["ab \n"])
    model = made(encoding, dropout=0.5, input_dropout=0.5)
    expected = nats(model, encoding, "ab a")
    model.train()
    assert scored(LanguageScorer(model, encoding, LETTERS), [1, 2, 3, 1]) == pytest.approx(expected, rel=1e-9)
    assert model.training


def test_an_adaptive_softmax_gives_scores_too() -> None:
    encoding = build_encoding("char", ["abcdefgh \n"])
    model = made(encoding, adaptive=[4])
    scorer = LanguageScorer(model, encoding, LETTERS)
    assert scored(scorer, [2, 1, 3]) == pytest.approx(nats(model, encoding, "ba "), rel=1e-9)


@pytest.mark.parametrize("level", ["char", "byte"])
def test_a_search_ranks_by_what_the_model_says_of_every_string(level: str) -> None:
    encoding = build_encoding(level, ["abä \n"])
    model = made(encoding)
    alphabet = ["a", "ä", "ab"]
    probabilities = np.random.default_rng(1).dirichlet(np.full(4, 0.6), 4)
    scorer = LanguageScorer(model, encoding, alphabet)
    found = beam_search(np.log(probabilities), 4**4, scorer, 0.7, 0.4, best=999, floor=-math.inf)
    scores = {
        symbols: math.log(total)
        - 0.7 * nats(model, encoding, "".join(alphabet[symbol - 1] for symbol in symbols))
        + 0.4 * len(symbols)
        for symbols, total in totals(probabilities.tolist()).items()
    }
    assert [hypothesis.symbols for hypothesis in found] == sorted(scores, key=lambda symbols: -scores[symbols])
    np.testing.assert_allclose([each.score for each in found], sorted(scores.values())[::-1], rtol=1e-9)


def test_the_probabilities_of_all_texts_of_an_alphabet_of_all_tokens_add_up() -> None:
    encoding = build_encoding("char", ["ab\n"])
    scorer = LanguageScorer(made(encoding), encoding, ["a", "b", "\ufffd"])
    state = scorer.start()
    for symbol in (1, 3, 2):
        assert np.exp(scorer.scores(state)[1:]).sum() + math.exp(scorer.end(state)) == pytest.approx(1)
        [state] = scorer.extend([state], [symbol])
    assert len({scored(scorer, symbols) for symbols in product((1, 2, 3), repeat=2)}) == 9


@pytest.mark.parametrize("level", ["word", "prose", "bpe"])
def test_levels_of_more_than_a_character_are_refused(level: str) -> None:
    encoding = build_encoding(level, ["to be or not to be"])
    with pytest.raises(ValueError, match=rf"encoding must be of level char or byte, .*; got level {level}"):
        LanguageScorer(made(encoding), encoding, LETTERS)


def test_an_encoding_of_another_model_is_refused() -> None:
    encoding = build_encoding("char", ["ab \n"])
    with pytest.raises(ValueError, match="encoding must have the model's 256 tokens; got one of 5"):
        LanguageScorer(made(build_encoding("byte", ["a"])), encoding, LETTERS)


def test_a_symbol_without_text_is_refused() -> None:
    encoding = build_encoding("char", ["ab \n"])
    with pytest.raises(ValueError, match=r"alphabet must give each symbol a text .*; got '' for symbol 2"):
        LanguageScorer(made(encoding), encoding, ["a", "", "b"])


def test_an_alphabet_of_another_recogniser_is_refused() -> None:
    encoding = build_encoding("char", ["ab \n"])
    scorer = LanguageScorer(made(encoding), encoding, LETTERS)
    with pytest.raises(ValueError, match="language must give K = 3 scores"):
        beam_search(np.log([[0.2, 0.5, 0.3]]), language=scorer)
