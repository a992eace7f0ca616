"""How texts are put together and taken apart, with a model that has learned nothing."""

from __future__ import annotations

import pytest
import torch

from holdfast.data import build_encoding
from holdfast.models import EncoderDecoder, Sampling
from holdfast.tasks.translation.run import Translator
from tests.tasks.translation.phrases import WORDS


@pytest.fixture(scope="module")
def translator() -> Translator:
    """It reads three words at a time."""
    words = build_encoding("word", [" ".join([*WORDS, *WORDS.values()])], None)
    torch.manual_seed(0)
    model = EncoderDecoder(sources=words.size, embedding=8, hidden=12).eval()
    return Translator(model, words, words, [3, 3])


def test_the_score_of_a_text_in_parts_is_the_sum_of_theirs(translator: Translator) -> None:
    (whole,) = translator.translate(["eins zwei drei vier fünf"])
    parts = translator.translate(["eins zwei drei", "vier fünf"])
    assert (whole.parts, whole.others) == (2, ())
    assert whole.text == " ".join(part.text for part in parts)
    assert whole.score == pytest.approx(sum(part.score for part in parts), rel=1e-5)
    assert all(part.score < 0 for part in parts)


def test_each_batch_is_drawn_anew(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.tasks.translation.run._STEPS", 1)  # each text in a batch of its own
    found = translator.translate(["eins zwei"] * 10, sampling=Sampling())
    assert len({one.text for one in found}) > 5
