"""From dialogues to a run, and to a conversation with it."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.data import DataError, untold
from holdfast.data.pairs import Pairs
from holdfast.models import Against, sample_decode
from holdfast.tasks import Sources, fit, opened
from holdfast.tasks.dialogue import Chat, ChatOptions, ChatRun, Manners
from holdfast.tasks.dialogue import fit as fit_chat
from holdfast.training import Devices, OptionError
from holdfast.training.optimisers import averaged
from tests.reports import reports
from tests.support import own_cache
from tests.tasks.dialogue.talks import talks, write
from tests.tasks.translation.phrases import WORDS

TINY = {"hidden": 48, "embedding": 24, "layers": 1, "batch_size": 16, "evaluations": 2, "vocabulary": 320}
QUICK = {"steps": 500, "learning_rate": 0.02, "dropout": 0.0, "average": 0.05}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        own_cache(patch, tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write(tmp_path_factory.mktemp("talks") / "train.txt", talks(150, 0)))


@pytest.fixture(scope="module")
def run(path: str, tmp_path_factory: pytest.TempPathFactory) -> ChatRun:
    folder = tmp_path_factory.mktemp("run")
    test = str(write(folder / "test.txt", talks(30, 1)))
    with reports(True):
        fit(Chat(), Sources((path,), (), (test,)), folder / "run", {**TINY, **QUICK})
    found = opened(folder / "run")
    assert isinstance(found, ChatRun)
    return found


def test_it_learns_to_reply(run: ChatRun) -> None:
    found = run.replies([["Hello !", "Good day .", f"What is {word} ?"] for word in WORDS], Manners(temperature=0))
    assert np.mean([reply == f"It is {word} ." for reply, word in zip(found, WORDS.values())]) > 0.8


def test_it_is_measured_beside_simple_methods(run: ChatRun) -> None:
    result = run.evaluate()
    assert result.split == "test"
    assert 1 < result.measures["perplexity"] < result.baselines["n-grams"]["perplexity"]
    assert 0 < result.measures["distinct_1"] < result.measures["distinct_2"] < 1
    assert result.baselines["the reply to the most alike context"]["bleu"] > 50


def test_the_perplexity_is_that_of_words_and_ends_of_replies(run: ChatRun) -> None:
    part, model = run.data().parts["test"], run.model
    nats, words = 0.0, 0
    for k in range(len(part)):
        if not part.source_text(k):
            continue
        source = torch.from_numpy(part.source(k))[:, None]
        target = torch.tensor([*part.target(k), model.end])
        before = torch.cat([torch.tensor([model.end]), target[:-1]])[:, None]
        logs = model.log_probabilities(model(model.read(source, torch.tensor([len(source)])), before).features)[:, 0]
        nats -= logs[range(len(target)), target].sum().item()
        words += len(part.target_text(k).split()) + 1
    assert run.evaluate(baselines=False).measures["perplexity"] == pytest.approx(math.exp(nats / words), rel=1e-4)


def test_while_it_trains_replies_are_measured_that_are_spread_over_all(
    run: ChatRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.tasks.dialogue.task._BRIEF", 5)
    monkeypatch.setattr("holdfast.tasks.dialogue.task._DRAWN", 2)
    data = run.data()
    seen: list[np.ndarray] = []

    def nats_of(model: object, part: object, which: np.ndarray, told: object) -> np.ndarray:
        seen.append(which)
        return np.zeros(len(which))

    def replies(model: object, encoding: object, sources: list[str], *given: object) -> list[str]:
        texts = [data.parts["valid"].source_text(k) for k in range(len(data.parts["valid"]))]
        drawn.extend(map(texts.index, sources))
        return sources

    drawn: list[int] = []
    monkeypatch.setattr("holdfast.tasks.dialogue.task.nats_of", nats_of)
    monkeypatch.setattr("holdfast.tasks.dialogue.task.replies", replies)
    Chat().problem(data, run.options, Devices(torch.device("cpu"))).evaluate(run.model)
    replies = [k for k in range(len(data.parts["valid"])) if data.parts["valid"].source_text(k)]
    assert seen[0].tolist() == [replies[round(k)] for k in np.floor(np.linspace(0, len(replies) - 1, 5))]
    notes = Chat().notes(data, "valid", run.options, brief=True)
    assert (
        "Measured on 5 replies, spread over all of the part; replies were drawn to the contexts of 2 of them." in notes
    )
    assert drawn == [seen[0][0], seen[0][4]]


def test_a_conversation_streams_replies_and_remembers_the_last_turns(run: ChatRun) -> None:
    talk = run.conversation(Manners(temperature=0))
    pieces = list(talk.say("Hello !"))
    assert len(pieces) > 2
    assert "".join(pieces).strip() == talk.turns[-1]
    again = "".join(talk.say("What is drei ?")).strip()
    assert talk.turns[::2] == ["Hello !", "What is drei ?"]
    assert again == run.replies([talk.turns[:3]], Manners(temperature=0))[0]
    talk.reset()
    assert talk.turns == []


def test_what_is_said_again_after_a_reset_is_replied_to_anew(run: ChatRun) -> None:
    talk, found = run.conversation(Manners(temperature=5, top_p=1)), set()
    for _ in range(5):
        found.add("".join(talk.say("Hello !")))
        talk.reset()
    assert len(found) == 5


def test_replies_are_one_line_that_a_terminal_can_show(run: ChatRun) -> None:
    talk = run.conversation(Manners(temperature=20, top_p=1, longest=200))
    said = "".join("".join(talk.say("Hello !")) for _ in range(5))
    assert len(said) > 100
    assert not {letter for letter in said if unicodedata.category(letter) == "Cc"}


def test_of_more_than_was_ever_learned_from_the_end_is_read(run: ChatRun, monkeypatch: pytest.MonkeyPatch) -> None:
    words = " ".join(f"What is {word} ?" for word in [*WORDS] * 100)
    seen: list[int] = []
    read = run.model.read
    monkeypatch.setattr(run.model, "read", lambda source, *more: seen.append(len(source)) or read(source, *more))
    talk = run.conversation()
    assert talk.cut(words)
    assert not talk.cut("Hello !")
    list(talk.say(words))
    assert max(seen) == run.options.longest


def test_without_a_reply_that_is_short_enough_it_refuses_to_begin(path: str, tmp_path: Path) -> None:
    long = str(write(tmp_path / "long.txt", [["Hello ! " * 50, "Good day . " * 50]] * 3))
    with pytest.raises(DataError, match="no reply to measure by: in all more than 20 tokens are on a side"):
        fit_chat(path, valid=long, out=tmp_path / "run", **{**TINY, **QUICK, "longest": 20})


def test_what_is_drawn_depends_on_the_seed(run: ChatRun) -> None:
    wild = Manners(temperature=3, top_p=1)
    texts = [[["Hello !"]] * 8] * 2
    assert run.replies(texts[0], wild, seed=1) == run.replies(texts[1], wild, seed=1)
    assert run.replies(texts[0], wild, seed=1) != run.replies(texts[1], wild, seed=2)


def test_what_fits_every_context_becomes_less_likely(run: ChatRun) -> None:
    source, lengths = torch.tensor([[1], [2]]), torch.tensor([2])
    model = run.model
    memory = model.read(source, lengths)
    nothing = torch.tensor([0])
    plain = model.read(nothing[:, None], torch.tensor([1]))
    end = torch.tensor([[model.end]])
    logs = [model.log_probabilities(model(each, end).features)[0, 0] for each in (memory, plain)]
    wanted = (logs[0] - 0.5 * logs[1]).log_softmax(-1).exp()
    count = 20_000
    given = source.expand(2, count), lengths.expand(count)
    most = torch.ones(count, dtype=torch.int64)
    (drawn,) = sample_decode(model, *given, most=most, against=Against(nothing, 0.5))
    shares = np.bincount([model.end if token is None else token for token in drawn], minlength=model.end + 1) / count
    assert np.abs(shares - wanted.detach().numpy()).max() < 0.02


def test_the_report_is_no_wider_than_a_phone(run: ChatRun, fits_a_phone: Callable[[str], None]) -> None:
    fits_a_phone((run.folder / "report.html").read_text())


def test_the_report_shows_replies_attention_and_what_is_said_most_often(run: ChatRun) -> None:
    report = (run.folder / "report.html").read_text()
    for heading in ("Samples", "What it looks at", "What it says most often"):
        assert f"<h2>{heading}</h2>" in report
    assert "by the model" in report


def test_the_card_says_what_it_is_and_is_not(run: ChatRun) -> None:
    card = (run.folder / "README.md").read_text()
    assert "It knows nothing of the world" in card
    assert "not for advice" in card


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Forty dialogues, and one of a single turn."""
    return str(write(tmp_path_factory.mktemp("some") / "talks.txt", [*talks(40, 2), ["Hello !"]]))


def _read(path: str, **options: object) -> Pairs:
    given = ChatOptions(**{"skip_bad": True, "vocabulary": 300, **options})  # type: ignore[arg-type]
    return Chat().read(Sources((path,)), given, untold)


@pytest.mark.parametrize("context", [1, 2, 5])
def test_as_many_turns_are_read_as_are_asked_for(context: int, some: str) -> None:
    part = _read(some, context=context).parts["train"]
    turns = [part.source_text(k).count("\n") + 1 for k in range(len(part))]
    assert max(turns) == context


def test_bad_dialogues_are_left_out_only_where_that_is_asked_for(some: str) -> None:
    assert _read(some).notes[0].startswith("1 row left out")
    with pytest.raises(DataError, match="line 41: a dialogue needs two turns, and has 1; fit with --skip-bad"):
        _read(some, skip_bad=False)


def test_the_share_of_dialogues_that_is_asked_for_is_put_aside(some: str) -> None:
    parts = _read(some, valid_share=0.25).parts
    begun = [sum(not part.source_text(k) for k in range(len(part))) for part in (parts["train"], parts["valid"])]
    assert begun == [30, 10]


def test_there_are_as_many_byte_pairs_as_are_asked_for(some: str) -> None:
    assert [_read(some, vocabulary=size).encodings[0].size for size in (290, 310)] == [290, 310]


def test_by_default_what_is_measured_is_an_average_of_weights() -> None:
    assert averaged(torch.nn.Linear(1, 1), ChatOptions()) is not None


def test_without_dialogues_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="name files of dialogues"):
        fit_chat([], out=tmp_path / "run", steps=1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"against_empty": 1.0}, "against_empty must lie from 0 to below 1"),
        ({"longest": 0}, "longest"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
    ],
)
def test_manners_that_make_no_sense_are_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Manners(**wrong)  # type: ignore[arg-type]
