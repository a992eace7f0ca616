"""The measures agree with figures that are known."""

from __future__ import annotations

import math

import pytest

from holdfast.tasks.translation.measures import scores, sentence_score, signatures


def test_bleu_is_the_mean_precision_of_one_to_four_words_in_a_row_with_a_penalty_for_short_texts() -> None:
    # "the cat sat on the" of "the cat sat on the mat": all that is there is right, and a sixth is missing
    found = scores(["the cat sat on the mat"], ["the cat sat on the"])
    assert found["bleu"] == pytest.approx(100 * math.exp(1 - 6 / 5), abs=1e-3)
    assert 0 < found["chrf"] < 100
    assert found["exact"] == 0


def test_letters_of_another_case_are_others() -> None:
    assert scores(["A b c d"], ["a b c d"])["bleu"] < 100
    assert "case:mixed" in signatures()


def test_exact_is_the_share_of_translations_that_are_the_same() -> None:
    assert scores(["a", "b", "c", "d"], ["a", "b", "c", "x"])["exact"] == 0.75


def test_a_sentence_that_shares_more_letters_has_more() -> None:
    assert sentence_score("the cat", "the car") > sentence_score("the cat", "a dog")


def test_texts_that_come_in_tokens_are_measured_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    tokenised = ["well , it is .", "no , it is not ."] * 100
    assert scores(tokenised, tokenised)["bleu"] == pytest.approx(100)
    assert not caplog.records
