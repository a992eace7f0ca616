"""The variety of replies, counted by hand."""

from __future__ import annotations

import pytest

from holdfast.tasks.dialogue.measures import reply_measures


def test_distinct_is_the_share_of_words_and_of_pairs_that_are_different_ones() -> None:
    found = reply_measures(["a b", "c d"], ["i do not know", "i do not"])
    assert found["distinct_1"] == pytest.approx(4 / 7)
    assert found["distinct_2"] == pytest.approx(3 / 5)


def test_replies_of_no_words_are_not_varied() -> None:
    found = reply_measures(["a"], [""])
    assert (found["distinct_1"], found["distinct_2"]) == (0, 0)


def test_the_reply_that_was_given_has_the_best_bleu() -> None:
    wanted = ["it is one of them", "it is two of them"]
    assert reply_measures(wanted, wanted)["bleu"] == pytest.approx(100)
