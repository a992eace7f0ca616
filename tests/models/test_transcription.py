"""The model that transcribes: padding, normalising, the two halvings, and streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.models import Transcriber, halved
from holdfast.models.transcription import running_mean

BANDS = 17


def make(bidirectional: bool, **options: object) -> Transcriber:
    torch.manual_seed(0)
    model = Transcriber(symbols=5, bands=BANDS, hidden=8, layers=2, bidirectional=bidirectional, **options)  # type: ignore[arg-type]
    model.means.normal_()
    model.deviations.uniform_(0.5, 2)
    return model.eval()


def frames(steps: int, seed: int = 0) -> Tensor:
    return torch.randn(steps, BANDS, generator=torch.Generator().manual_seed(seed)) * 3 - 5


@pytest.mark.parametrize("bidirectional", [True, False])
def test_padding_is_never_read(bidirectional: bool) -> None:
    model = make(bidirectional)
    lengths = torch.tensor([30, 9, 25, 1])
    alone = [frames(int(n), k) for k, n in enumerate(lengths)]
    together = torch.full((33, 4, BANDS), float("nan"))
    for column, each in enumerate(alone):
        together[: len(each), column] = each
    logs, steps = model(together, lengths)
    assert steps.tolist() == [8, 3, 7, 1]
    for column, each in enumerate(alone):
        single, count = model(each[:, None], torch.tensor([len(each)]))
        assert torch.allclose(logs[: steps[column], column], single[:, 0], atol=1e-5)
        assert count.item() == steps[column].item()


def test_said_are_log_probabilities() -> None:
    logs, _ = make(True)(frames(20)[:, None], torch.tensor([20]))
    assert torch.allclose(logs.exp().sum(-1), torch.ones(5, 1), atol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("steps", [*range(1, 14), 700])
def test_a_stream_says_what_is_said_of_the_whole_however_it_is_cut(steps: int, cell: str) -> None:
    model = make(False, cell=cell)
    x = frames(steps)
    whole, _ = model(x[:, None], torch.tensor([steps]))
    stream = model.stream()
    for size in (1, 2, 3, 5, 64):
        said = torch.cat([*(stream.push(piece) for piece in x.split(size)), stream.finish()])
        assert said.shape == whole[:, 0].shape
        assert torch.allclose(said, whole[:, 0], atol=1e-4), size


def test_a_stream_lags_by_three_frames_at_most() -> None:
    stream = make(False).stream()
    said = 0
    for heard, frame in enumerate(frames(40), 1):
        said += len(stream.push(frame[None]))
        assert said == heard // 4


def test_a_stream_of_nothing_says_nothing_and_one_of_two_directions_is_refused() -> None:
    assert make(False).stream().finish().shape == (0, 6)
    with pytest.raises(ValueError, match="--streaming"):
        make(True).stream()


def test_a_stream_leaves_the_model_in_its_mode() -> None:
    model = make(False, dropout=0.5).train()
    stream = model.stream()
    said = [stream.push(frames(12)) for _ in range(2) if stream.reset() is None]
    assert torch.equal(*said)
    assert model.training


def test_the_loudness_of_a_whole_sound_does_not_matter_to_two_directions() -> None:
    model, x, length = make(True), frames(40), torch.tensor([40])
    quiet, loud = (model(each[:, None], length)[0] for each in (x, x + torch.linspace(1, 4, BANDS)))
    assert torch.allclose(quiet, loud, atol=1e-4)


def test_the_running_mean_is_that_of_a_loop() -> None:
    draw = np.random.default_rng(0)
    x, mean = draw.normal(size=(1500, 2, 3)), draw.normal(size=(2, 3))
    found, last = running_mean(torch.tensor(x), torch.tensor(mean))
    for step, frame in enumerate(x):
        mean = mean + (frame - mean) / 300
        assert np.abs(found[step].numpy() - mean).max() < 1e-9
    assert np.abs(last.numpy() - mean).max() < 1e-9


def test_the_convolutions_are_those_of_two_paddings_a_side() -> None:
    model, x = make(True), frames(11)
    found = ((x - x.mean(0)) / model.deviations)[None, None]  # (1, 1, T, C)
    for k in range(2):
        weight, bias = (dict(model.front.named_parameters())[f"{k}.conv.{name}"] for name in ("weight", "bias"))
        found = F.relu(F.conv2d(found, weight, bias, stride=2, padding=1))
    assert found.shape[2:] == (3, halved(halved(BANDS)))
    h = found[0].permute(1, 0, 2).flatten(1)[:, None]  # (T', 1, width)
    first, second = model.layers
    h, _ = first(h)
    h = h + second(F.layer_norm(h, h.shape[-1:]))[0]
    said, _ = model(x[:, None], torch.tensor([11]))
    assert torch.allclose(model.output(h).log_softmax(-1), said, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"symbols": 0}, {"bands": 3}, {"hidden": 0}, {"layers": 0}, {"channels": 0}])
def test_sizes_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Transcriber(**{"symbols": 3, **wrong})
