"""Simple methods that learned from the same recordings."""

from __future__ import annotations

from collections import Counter
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.data.audio import Mel, Recordings, Speech
from holdfast.models import STRIDE

from ..lengths import drawn
from ..task import Compared
from .batches import Batch, numbers_of, side_by_side
from .measures import error_rates
from .options import TranscribeOptions
from .reading import written_of

_AROUND = 17  # frames on each side of a step that the linear map sees: a third of a second in all
_LEARNED, _TOGETHER, _RATE = 300, 16, 0.003  # steps of its training, recordings in each, and how fast it learns
_LONGEST = 20.0  # seconds of a recording that it reads


def baselines(training: Speech, part: Recordings, options: TranscribeOptions) -> Compared:
    """The text that is said most often, and a linear map of a third of a second of sound, which has no memory.

    Args:
        training: what they learn from.
        part: what they are measured on.
        options: of the training.
    """
    said = [part.text(k) for k in range(len(part))]
    train = training.parts["train"]
    commonest = Counter(train.text(k) for k in range(len(train))).most_common(1)[0][0]
    linear = _learned(training, Mel(rate=training.rate, bands=options.bands), options.seed)
    return Compared(
        {
            "the commonest text": error_rates(said, [commonest] * len(said)),
            "without memory, a third of a second": error_rates(said, linear.written(part, training.symbols)),
        }
    )


class _Linear(nn.Module):
    """A linear map of the frames around each step."""

    def __init__(self, mel: Mel, symbols: int) -> None:
        super().__init__()
        self.mel = mel
        self.scale = nn.BatchNorm1d(mel.bands)
        self.map = nn.Conv1d(mel.bands, symbols + 1, 2 * _AROUND + 1, STRIDE, _AROUND)

    def forward(self, frames: Tensor) -> Tensor:
        """(T, B, C) to (T', B, 1 + symbols)."""
        said = self.map(self.scale(frames.permute(1, 2, 0)))  # (B, 1 + symbols, T')
        return cast(Tensor, said.permute(2, 0, 1).log_softmax(-1))

    @torch.no_grad()
    def written(self, part: Recordings, symbols: tuple[str, ...]) -> list[str]:
        """What it writes of each recording."""
        self.eval()
        return [written_of(self(_frames(part, k, self.mel)[:, None])[:, 0], symbols) for k in range(len(part))]


def _learned(training: Speech, mel: Mel, seed: int) -> _Linear:
    """The linear map after some steps."""
    train = training.parts["train"]
    numbers = {symbol: k for k, symbol in enumerate(training.symbols, 1)}
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = _Linear(mel, len(numbers))
    optimiser = torch.optim.Adam(model.parameters(), _RATE)
    steps, epoch = 0, 0
    while steps < _LEARNED:
        for which in drawn(train.lengths, _TOGETHER, seed + epoch)[: _LEARNED - steps]:
            batch = side_by_side(
                [_frames(train, int(k), mel) for k in which], [numbers_of(train.text(int(k)), numbers) for k in which]
            )
            optimiser.zero_grad()
            _loss(model, batch).backward()
            optimiser.step()
            steps += 1
        epoch += 1
    return model


def _loss(model: _Linear, batch: Batch) -> Tensor:
    steps = (batch.lengths + STRIDE - 1) // STRIDE
    nats = F.ctc_loss(model(batch.frames), batch.said, steps, batch.said_lengths, reduction="none", zero_infinity=True)
    return nats.sum() / batch.said_lengths.sum()


def _frames(part: Recordings, k: int, mel: Mel) -> Tensor:
    """The frames of a recording, of a long one those of its beginning; (T, C)."""
    return mel(torch.from_numpy(part.of(k)[: int(_LONGEST * mel.rate)]))
