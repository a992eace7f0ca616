"""The model of whole sequences: padding is never read, steps add up, options act in training only."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from holdfast.models import LanguageModel, SequenceModel
from holdfast.models.pooling import POOLS

LENGTHS = torch.tensor([6, 1, 4])
KINDS: dict[str, dict[str, Any]] = {
    "tokens": {"vocabulary": 11, "embedding": 5},
    "series": {"channels": 2},
    "series with gaps": {"channels": 2, "gaps": True},
    "tokens above a language model": {"vocabulary": 11, "embedding": 5, "below": (6, 7)},
    "two layers of another cell": {"vocabulary": 11, "embedding": 5, "layers": 2, "cell": "gru"},
}


def _model(kind: str, **changed: Any) -> SequenceModel:
    torch.manual_seed(0)
    return SequenceModel(outputs=3, hidden=4, **{**KINDS[kind], **changed}).double().eval()


def _input(model: SequenceModel) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    if model.vocabulary:
        return torch.randint(11, (6, 3), generator=draw)
    x = torch.randn(6, 3, 2, generator=draw).double()
    if model.gaps:
        x[2, 0, 1] = torch.nan
    return x


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_side_by_side_are_read_as_each_alone(kind: str) -> None:
    model = _model(kind)
    x = _input(model)
    together = model(x, LENGTHS)
    for k, length in enumerate(LENGTHS.tolist()):
        alone = model(x[:length, k : k + 1], LENGTHS[k : k + 1])
        torch.testing.assert_close(together[k], alone[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_never_read(kind: str) -> None:
    model = _model(kind)
    x = _input(model)
    other = x.clone()
    for k, length in enumerate(LENGTHS.tolist()):
        other[length:, k] = 7 if model.vocabulary else torch.nan
    torch.testing.assert_close(model(x, LENGTHS), model(other, LENGTHS), rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_after_a_step_is_what_is_said_of_the_beginning(kind: str) -> None:
    model = _model(kind, bidirectional=False, pooling=("mean", "max", "last", "attention"))
    x = _input(model)
    found = model.after_each_step(x, LENGTHS)
    for k, length in enumerate(LENGTHS.tolist()):
        for t in range(6):
            until = min(t + 1, length)
            expected = model(x[:until, k : k + 1], torch.tensor([until]))[0]
            torch.testing.assert_close(found[t, k], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("pooling", [*((name,) for name in POOLS), tuple(POOLS)], ids="+".join)
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_says_the_same_step_by_step(kind: str, pooling: tuple[str, ...]) -> None:
    disturbed = {"dropout": 0.5, "input_dropout": 0.5, "word_dropout": 0.5, "noise": 0.5, "weight_drop": 0.5}
    model = _model(kind, bidirectional=False, pooling=pooling, **disturbed)
    for way in model.pooling.ways:
        for parameter in way.parameters():
            torch.nn.init.normal_(parameter)
    x, whole = _input(model), torch.tensor([6, 6, 6])
    stream = model.train().stream(3)
    said = torch.stack([stream.step(each) for each in x])  # as in evaluation, whatever the mode
    model.eval()
    torch.testing.assert_close(said, model.after_each_step(x, whole), rtol=0, atol=1e-9)
    torch.testing.assert_close(said[-1], model(x, whole), rtol=0, atol=1e-9)


def test_a_stream_that_is_reset_begins_anew() -> None:
    model = _model("series", bidirectional=False, pooling=tuple(POOLS), layers=2)
    stream = model.stream(3)
    first = [stream.step(each) for each in _input(model)]
    stream.reset()
    assert all(map(torch.equal, first, [stream.step(each) for each in _input(model)]))


def test_a_step_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x must be a step of each sequence, \(3, 2\); got \(3,\)"):
        _model("series", bidirectional=False).stream(3).step(torch.zeros(3))
    with pytest.raises(ValueError, match=r"x must be a step of each sequence, \(1,\); got \(2,\)"):
        _model("tokens", bidirectional=False).stream().step(torch.zeros(2, dtype=torch.long))


def test_a_model_of_both_directions_says_nothing_before_the_end() -> None:
    model = _model("tokens")
    for says in (model.stream, lambda: model.after_each_step(_input(model), LENGTHS)):
        with pytest.raises(ValueError, match="says nothing before it has read the end: train one with --no-bidirect"):
            says()


def test_series_are_scaled_by_their_channels() -> None:
    model, moved = _model("series"), _model("series")
    x = _input(model)
    moved.means.copy_(torch.tensor([3.0, -1.0]))
    moved.deviations.copy_(torch.tensor([2.0, 0.5]))
    torch.testing.assert_close(model(x, LENGTHS), moved(x * moved.deviations + moved.means, LENGTHS))


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("tokens", "dropout"),
        ("tokens", "input_dropout"),
        ("tokens", "word_dropout"),
        ("tokens", "weight_drop"),
        ("series", "noise"),
    ],
)
def test_what_regularises_acts_in_training_only(kind: str, option: str) -> None:
    plain, regular = _model(kind), _model(kind, **{option: 0.5})
    x = _input(plain)
    torch.testing.assert_close(plain(x, LENGTHS), regular(x, LENGTHS))
    regular.train()
    assert not torch.allclose(plain(x, LENGTHS), regular(x, LENGTHS))
    plain.train()
    torch.testing.assert_close(plain(x, LENGTHS), plain(x, LENGTHS))


def test_the_layers_of_a_language_model_are_taken_over() -> None:
    language = LanguageModel(vocabulary=11, embedding=5, hidden=6, layers=2).double().eval()
    model = SequenceModel(outputs=2, vocabulary=11, embedding=5, below=(6, 6), hidden=4).double().eval()
    model.take_over(language)
    x = _input(model)
    h = model.embedding(x)
    for layer in model.below:
        h, _ = layer(h, lengths=torch.tensor([6, 6, 6]))
    torch.testing.assert_close(h, language(x).raw)


def test_a_temperature_softens_the_probabilities() -> None:
    model = _model("tokens")
    said = model(_input(model), LENGTHS)
    sure = model.probabilities(said)
    model.temperature.fill_(4.0)
    soft = model.probabilities(said)
    torch.testing.assert_close(soft, (said / 4).softmax(-1))
    assert (soft.max(1).values < sure.max(1).values).all()


@pytest.mark.parametrize("given", [{}, {"vocabulary": 3, "channels": 2}])
def test_a_model_reads_texts_or_series(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="give vocabulary or channels"):
        SequenceModel(outputs=2, **given)
