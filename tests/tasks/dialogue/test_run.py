"""What a model is asked for a reply, and what becomes of its tokens: it says again whatever it has read."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from torch import Tensor

from holdfast.data import build_encoding
from holdfast.models import Against, EncoderDecoder, Sampling, sample_decode
from holdfast.tasks.dialogue import ChatOptions, ChatRun, Manners

MANNERS = Manners(temperature=0.4, top_p=0.6, repetition_penalty=1.7, against_empty=0.2, longest=7)


class _Untrained(ChatRun):
    """It reads two turns."""

    def __init__(self) -> None:
        encoding = build_encoding("bpe", ["\n"], 256)
        self.facts = {"encoding": encoding.to_dict()}
        self.options = ChatOptions(context=2)
        self.model = EncoderDecoder(sources=encoding.size, embedding=4, hidden=4).eval()


@pytest.fixture(scope="module")
def run() -> ChatRun:
    return _Untrained()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What tokens are drawn with, time after time, while those of the source are said again."""
    found: list[SimpleNamespace] = []
    named = inspect.signature(sample_decode)

    def said_again(*given: object, **more: object) -> Iterator[list[int | None]]:
        bound = named.bind(*given, **more)
        bound.apply_defaults()
        found.append(now := SimpleNamespace(**bound.arguments))
        for step, tokens in enumerate(now.source.tolist()):
            yield [token if step < length else None for token, length in zip(tokens, now.lengths)]
        yield [None] * len(now.lengths)

    monkeypatch.setattr("holdfast.tasks.dialogue.run.sample_decode", said_again)
    return found


def _read(run: ChatRun, tokens: Tensor) -> str:
    return run.encoding.decode(tokens.flatten().tolist())


def test_replies_come_in_the_order_of_their_contexts(
    run: ChatRun, asked: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.tasks.dialogue.run._TOGETHER", 3)
    turns = ["one two three four", "five", "six seven", "eight nine ten", "a", "eleven twelve", "b", "c d e f g"]
    assert run.replies([[turn] for turn in turns]) == turns
    assert len(asked) == 3
    assert len({each.seed for each in asked}) == 3, "each batch is drawn anew"


def test_of_many_turns_the_last_ones_are_read(run: ChatRun, asked: list[SimpleNamespace]) -> None:
    run.replies([["one", "two", "three four", "five"]])
    assert _read(run, asked[0].source) == " three four\n five"


def test_a_conversation_reads_the_last_turns_its_own_among_them(run: ChatRun, asked: list[SimpleNamespace]) -> None:
    talk = run.conversation()
    said = ["".join(talk.say(text)).strip() for text in ("one", "two three", "four")]
    assert [_read(run, each.source) for each in asked] == [" one", " one\n two three", f" {said[1]}\n four"]
    assert talk.turns == ["one", said[0], "two three", said[1], "four", said[2]]
    assert said[:2] == ["one", "one two three"]


@pytest.mark.parametrize("manners", [MANNERS, Manners()], ids=["own", "default"])
def test_a_reply_is_drawn_in_the_manner_that_is_asked_for(
    manners: Manners, run: ChatRun, asked: list[SimpleNamespace]
) -> None:
    run.replies([["one"], ["two three"]], manners)
    list(run.conversation(manners).say("one"))
    talk = run.conversation()
    talk.manners = manners
    list(talk.say("one"))
    assert len(asked) == 3
    for each in asked:
        assert each.sampling == Sampling(
            temperature=manners.temperature,
            top_p=manners.top_p,
            repetition_penalty=manners.repetition_penalty,
            penalised=128,
        )
        assert each.most.tolist() == [manners.longest] * len(each.lengths)
        assert each.against == Against(each.against.source, manners.against_empty)
        assert _read(run, each.against.source) == " "


def test_a_seed_decides_what_is_drawn(run: ChatRun, asked: list[SimpleNamespace]) -> None:
    for seed in (3, 3, 4):
        run.replies([["one"]], seed=seed)
        list(run.conversation(seed=seed).say("one"))
    for seeds in ([each.seed for each in asked[::2]], [each.seed for each in asked[1::2]]):
        assert seeds[0] == seeds[1] != seeds[2]
