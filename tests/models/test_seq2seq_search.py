"""A beam that is wide enough finds what trying all targets finds; batches give what single sources give."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from holdfast.models import (
    ATTENTIONS,
    Against,
    Beam,
    Candidate,
    EncoderDecoder,
    Sampling,
    beam_decode,
    limits,
    sample_decode,
)

SOURCE = torch.tensor([[1, 3, 2], [4, 1, 0], [0, 0, 3], [2, 0, 0]])
LENGTHS = torch.tensor([4, 2, 3])
MOST = torch.tensor([4, 3, 4])


def _model(attention: str = "general", layers: int = 2) -> EncoderDecoder:
    torch.manual_seed(1)
    model = EncoderDecoder(sources=5, targets=3, embedding=8, hidden=12, layers=layers, attention=attention)
    for parameter in model.parameters():
        parameter.data.mul_(3)  # so that probabilities are far from even
    return model.double().eval()


@torch.no_grad()
def _all(model: EncoderDecoder, k: int, beam: Beam) -> list[Candidate]:
    """All targets of a source with their scores, each run for itself, the best first."""
    found = []
    memory = model.read(SOURCE[: LENGTHS[k], k : k + 1], LENGTHS[k : k + 1])
    for count in range(int(MOST[k])):
        for text in product(range(3), repeat=count):
            decoded = model(memory, torch.tensor([[model.end], *[[token] for token in text]]))
            logs = model.log_probabilities(decoded.features)[:, 0]
            log = sum(logs[at, token].item() for at, token in enumerate([*text, model.end]))
            score = log / ((6 + count) / 6) ** beam.length_penalty
            if beam.coverage_penalty:
                score += beam.coverage_penalty * decoded.weights[0].sum(0).clamp(max=1).log().sum().item()
            found.append(Candidate([*text], score, log))
    return sorted(found, key=lambda one: -one.score)


@pytest.mark.parametrize("beam", [Beam(81, 0.0), Beam(81, 1.0), Beam(81, 0.6, 0.3)], ids=["plain", "long", "covered"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_wide_beam_finds_what_trying_all_targets_finds(attention: str, layers: int, beam: Beam) -> None:
    if beam.coverage_penalty and attention == "none":
        beam = Beam(81, 0.6)
    model = _model(attention, layers)
    found = beam_decode(model, SOURCE, LENGTHS, beam, MOST)
    for k in range(3):
        wanted = _all(model, k, beam)
        assert [one.tokens for one in found[k]] == [one.tokens for one in wanted]
        for one, other in zip(found[k], wanted):
            assert one.score == pytest.approx(other.score, abs=1e-10)
            assert one.log_probability == pytest.approx(other.log_probability, abs=1e-10)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_batch_gives_the_tokens_that_single_sources_give(width: int) -> None:
    model = _model()
    together = beam_decode(model, SOURCE, LENGTHS, Beam(width))
    for k in range(3):
        (alone,) = beam_decode(model, SOURCE[: LENGTHS[k], k : k + 1], LENGTHS[k : k + 1], Beam(width))
        assert [one.tokens for one in together[k]] == [one.tokens for one in alone]
        assert [one.score for one in together[k]] == pytest.approx([one.score for one in alone], abs=1e-10)


def test_a_batch_gives_scores_within_a_hundred_thousandth_in_single_precision() -> None:
    torch.manual_seed(3)
    model = EncoderDecoder(sources=50, embedding=32, hidden=64).eval()
    for parameter in model.parameters():
        parameter.data.mul_(2)  # so that no two targets are as likely
    lengths = torch.randint(3, 15, (40,))
    source = torch.randint(50, (15, 40))
    together = beam_decode(model, source, lengths, Beam(5))
    for k in range(40):
        (alone,) = beam_decode(model, source[: lengths[k], k : k + 1], lengths[k : k + 1], Beam(5))
        assert [one.score for one in together[k]] == pytest.approx([one.score for one in alone], rel=1e-5)


def test_a_beam_of_one_takes_the_likeliest_token_each_time() -> None:
    model = _model()
    found = beam_decode(model, SOURCE, LENGTHS, Beam(1))
    for k in range(3):
        memory = model.read(SOURCE[: LENGTHS[k], k : k + 1], LENGTHS[k : k + 1])
        text: list[int] = []
        while len(text) < int(limits(LENGTHS)[k]) - 1:
            decoded = model(memory, torch.tensor([[model.end], *[[token] for token in text]]))
            token = int(model.log_probabilities(decoded.features)[-1, 0].argmax())
            if token == model.end:
                break
            text.append(token)
        assert found[k][0].tokens == text


def test_a_target_that_does_not_end_is_ended_at_its_limit() -> None:
    model = _model()
    model.output_bias.data[model.end] = -1e3
    found = beam_decode(model, SOURCE, LENGTHS, Beam(2))
    assert [len(each[0].tokens) + 1 for each in found] == limits(LENGTHS).tolist()


def _rows_of_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sources each step computes with, as they come."""
    rows: list[int] = []
    step = EncoderDecoder.step
    monkeypatch.setattr(
        EncoderDecoder,
        "step",
        lambda self, memory, *others: rows.append(len(memory.there)) or step(self, memory, *others),
    )
    return rows


def test_sources_that_are_done_are_computed_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model()
    rows = _rows_of_steps(monkeypatch)
    beam_decode(model, SOURCE, LENGTHS, Beam(5), torch.tensor([2, 3, 6]))
    assert (rows[0], rows[-1]) == (3, 1)
    assert rows == sorted(rows, reverse=True)


def test_a_source_is_done_as_soon_as_as_many_targets_have_ended_as_the_beam_is_wide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = _model()
    model.output_bias.data[model.end] = 30.0  # each beginning is ended at once
    rows = _rows_of_steps(monkeypatch)
    found = beam_decode(model, SOURCE, LENGTHS, Beam(2), torch.tensor([40, 40, 40]))
    assert rows == [3, 3], "the first step ends one target of each source, the second one those that were left"
    assert [len(each) for each in found] == [2, 2, 2]


def test_drawn_targets_have_the_probabilities_of_the_model() -> None:
    model = _model()
    count, most = 20_000, torch.tensor([3])
    drawn = zip(
        *sample_decode(model, SOURCE[:4, :1].expand(4, count), LENGTHS[:1].expand(count), most=most.expand(count))
    )
    texts = [tuple(token for token in each if token is not None) for each in drawn]
    memory = model.read(SOURCE[:, :1], LENGTHS[:1])
    for token in range(3):
        logs = model.log_probabilities(model(memory, torch.tensor([[3]])).features)[0, 0]
        share = sum(text[:1] == (token,) for text in texts) / count
        assert share == pytest.approx(logs[token].exp().item(), abs=0.015)
    assert max(map(len, texts)) <= 3


def test_drawing_at_temperature_zero_is_a_beam_of_one() -> None:
    model = _model()
    steps = zip(*sample_decode(model, SOURCE, LENGTHS, Sampling(temperature=0)))
    drawn = [[token for token in each if token is not None] for each in steps]
    limit = limits(LENGTHS).tolist()
    found = [each[0].tokens for each in beam_decode(model, SOURCE, LENGTHS, Beam(1))]
    assert [one[: most - 1] for one, most in zip(drawn, limit)] == found


@pytest.mark.parametrize("first", [1, 2, 5])
def test_only_the_first_tokens_are_spoken_against(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, nothing, text = _model(), torch.tensor([3, 0]), [0, 1, 2, 0, 2, 1, 1]
    met: list[torch.Tensor] = []

    def next_of_text(logs: torch.Tensor, *_: object) -> torch.Tensor:
        met.append(logs[0])
        return torch.tensor([text[len(met) - 1]])

    monkeypatch.setattr("holdfast.models.seq2seq_search.choose", next_of_text)
    against = Against(nothing, 0.5, first)
    steps = sample_decode(model, SOURCE[:, :1], LENGTHS[:1], most=torch.tensor([len(text)]), against=against)
    assert [token for (token,) in steps] == text
    before = torch.tensor([model.end, *text[:-1]])[:, None]
    logs, plain = (
        model.log_probabilities(model(model.read(source, torch.tensor([len(source)])), before).features)[:, 0]
        for source in (SOURCE[:, :1], nothing[:, None])
    )
    wanted = torch.cat([(logs - 0.5 * plain).log_softmax(-1)[:first], logs[first:]])
    torch.testing.assert_close(torch.stack(met), wanted)


def test_by_default_the_first_five_tokens_are_spoken_against() -> None:
    assert Against(torch.tensor([0]), 0.3).first == 5


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"width": 0}, "width must be at least 1"),
        ({"length_penalty": -1}, "length_penalty must be a number from 0 to 100; got -1"),
        ({"coverage_penalty": float("inf")}, "coverage_penalty must be a number from 0 to 100; got inf"),
    ],
)
def test_a_beam_that_makes_no_sense_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Beam(**wrong)  # type: ignore[arg-type]


def test_a_coverage_penalty_needs_attention() -> None:
    with pytest.raises(ValueError, match="attention"):
        beam_decode(_model("none"), SOURCE, LENGTHS, Beam(2, 1.0, 0.5))
