"""What is shown of attention stands where the model put it."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from holdfast.data import Encoding, build_encoding
from holdfast.models import EncoderDecoder
from holdfast.models.seq2seq import Decoded
from holdfast.tasks.paired import attention, attention_pictures

SOURCE, TARGET = "eins zwei drei", "one two three four"
# How much each word of the source is attended to before each word of the target, and before its end.
WORDS = [[0.68, 0.2, 0.12], [0.05, 0.35, 0.6], [0.5, 0.08, 0.42], [0.15, 0.8, 0.05], [0.0, 0.0, 1.0]]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> EncoderDecoder:
    """One that attends to each token of the source as `WORDS` says, whatever there is to read."""
    made = EncoderDecoder(sources=400, embedding=4, hidden=4).eval()
    monkeypatch.setattr(made, "forward", lambda memory, tokens: Decoded(torch.empty(0), (), torch.tensor([WORDS])))
    return made


@pytest.fixture(scope="module")
def words() -> Encoding:
    return build_encoding("word", [f"{SOURCE} {TARGET}\n"], None)


def test_each_word_that_is_written_has_the_attention_of_its_step(model: EncoderDecoder, words: Encoding) -> None:
    weights, columns, rows = attention(model, words, words, SOURCE, TARGET)
    assert (columns, rows) == (SOURCE.split(), TARGET.split())
    assert weights == pytest.approx(np.array(WORDS[:-1]), abs=1e-6)


def test_of_a_words_byte_pairs_the_attention_of_sources_is_added_and_that_of_targets_averaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = build_encoding("bpe", ["\n"], 256)  # no byte pairs: each letter, with the blank before it, is a token
    source, target = (len(pairs.encode(text)) for text in (" ab c", " x yz"))
    steps = torch.rand(1, target + 1, source, generator=torch.Generator().manual_seed(0))
    model = EncoderDecoder(sources=pairs.size, embedding=4, hidden=4).eval()
    monkeypatch.setattr(model, "forward", lambda memory, tokens: Decoded(torch.empty(0), (), steps))
    weights, columns, rows = attention(model, pairs, pairs, "ab c", "x yz")
    assert (columns, rows) == (["ab", "c"], ["x", "yz"])
    by_hand = steps[0].double().numpy()
    assert (source, target) == (5, 5), "letters and blanks"
    wanted = [
        [by_hand[some][:, others].sum(1).mean() for others in ([0, 1, 2], [3, 4])] for some in ([0, 1], [2, 3, 4])
    ]
    assert weights == pytest.approx(np.array(wanted))


def test_a_picture_has_a_row_for_each_word_that_is_written_and_a_number_from_a_tenth_on(
    model: EncoderDecoder, words: Encoding
) -> None:
    page = attention_pictures(model, words, words, [(SOURCE, TARGET)])
    assert re.findall(r'<th scope="col">(.*?)</th>', page) == SOURCE.split()
    shown = {
        row[1]: re.findall(r"<td[^>]*>(.*?)</td>", row[2])
        for row in re.finditer(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page)
    }
    assert shown == {
        "one": ["68", "20", "12"],
        "two": ["", "35", "60"],
        "three": ["50", "", "42"],
        "four": ["15", "80", ""],
    }
