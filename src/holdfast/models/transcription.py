"""The model that reads the sound of speech and says, after each 40 milliseconds or so, which symbol has been spoken.

Sound comes as frames of band energies, time first and ragged: (T, B, C). What lies past a length is never read. After
each `STRIDE` frames a symbol is told or none, which is the blank, whose number is 0: connectionist temporal
classification (Graves 2006).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.layers import Recurrent, checks
from holdfast.layers.tracing import State

from .language import layer_class

N = TypeVar("N", int, Tensor)

STRIDE = 4  # frames to a step
_KERNEL, _HALVED = 3, 2  # frames and bands that a convolution sees at a time, and what it makes one of
_FORGOTTEN = 1 / 300  # of the running mean at each frame, so that it is of the last three seconds or so
_BLOCK = 512  # frames over which the running mean is made at a time


class Transcriber(nn.Module):
    """Two convolutions that halve time and bands, recurrent layers, and a linear map.

    Layers above the first read what is below them normalised (Ba 2016), and add to it. Without both, a stack of one
    direction that learns from changed sounds says nothing but blanks for long.

    >>> model = Transcriber(symbols=10, bands=16, hidden=8)
    >>> logs, lengths = model(torch.randn(21, 2, 16), torch.tensor([21, 9]))
    >>> logs.shape, lengths.tolist()
    (torch.Size([6, 2, 11]), [6, 3])

    Args:
        symbols: how many there are, without the blank.
        bands: C, of a frame.
        cell: which layers, a name in `CELLS`.
        hidden: H, units of a layer and direction.
        layers: how many are stacked.
        bidirectional: whether they read from the end too. If not, the model can be streamed, and frames are measured
            against the running mean of those before; otherwise against that of the whole sound.
        channels: of the convolutions.
        dropout: below each layer and above the last.
        weight_drop: on the recurrent weights.

    Attributes:
        means, deviations: of each band, (C,), over what was learned from; set before training.
    """

    means: Tensor
    deviations: Tensor

    def __init__(
        self,
        *,
        symbols: int,
        bands: int = 64,
        cell: str = "lstm",
        hidden: int = 256,
        layers: int = 2,
        bidirectional: bool = True,
        channels: int = 32,
        dropout: float = 0.0,
        weight_drop: float = 0.0,
    ) -> None:
        super().__init__()
        for name, size in (("symbols", symbols), ("hidden", hidden), ("layers", layers), ("channels", channels)):
            checks.whole(name, size)
        if bands < STRIDE:
            raise ValueError(f"bands must be at least {STRIDE}; got {bands}")
        make = layer_class(cell)
        self.bidirectional, self.dropout = bidirectional, dropout
        self.register_buffer("means", torch.zeros(bands))
        self.register_buffer("deviations", torch.ones(bands))
        self.front = nn.ModuleList([_Halving(1, channels), _Halving(channels, channels)])
        width = channels * halved(halved(bands))
        widths = [width] + [hidden * (1 + bidirectional)] * layers
        self.layers = nn.ModuleList(
            make(width, hidden, bidirectional=bidirectional, weight_drop=weight_drop) for width in widths[:-1]
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths[1:-1])
        self.output = nn.Linear(widths[-1], symbols + 1)

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithms of the probabilities of blank and symbols, (T', B, 1 + symbols), and how many steps each has.

        Args:
            frames: band energies, (T, B, C).
            lengths: of each sequence, at least 1, (B,).
        """
        there = torch.arange(len(frames), device=frames.device)[:, None] < lengths  # (T, B)
        frames = frames.masked_fill(~there[..., None], 0.0)
        if self.bidirectional:
            mean = frames.sum(0) / lengths[:, None]  # (B, C)
        else:
            mean, _ = running_mean(frames, self.means.expand(frames.shape[1:]))
        x = (frames - mean) / self.deviations
        x = x.masked_fill(~there[..., None], 0.0)[:, :, None]  # (T, B, 1, C)
        for conv in self.front:
            lengths = halved(lengths)
            x = conv(F.pad(x, (0, 0, 0, 0, 0, 0, 1, 1)))  # (T, B, channels, C)
            there = torch.arange(len(x), device=x.device)[:, None] < lengths
            x = x.masked_fill(~there[..., None, None], 0.0)
        return self._said(self._through(x.flatten(2), lambda k, layer, h: layer(h, lengths=lengths)[0])), lengths

    def _through(self, h: Tensor, run: Callable[[int, Recurrent, Tensor], Tensor]) -> Tensor:
        """The layers, one over the other, (T, B, H · directions); by what runs the layer of a number."""
        first, *above = cast(Sequence[Recurrent], self.layers)
        h = run(0, first, F.dropout(h, self.dropout, self.training))
        for k, (norm, layer) in enumerate(zip(self.norms, above), 1):
            h = h + run(k, layer, F.dropout(norm(h), self.dropout, self.training))
        return h

    def _said(self, h: Tensor) -> Tensor:
        return cast(Tensor, self.output(F.dropout(h, self.dropout, self.training)).log_softmax(-1))

    def stream(self) -> TranscriberStream:
        """A stream that runs this model as the frames come; see `TranscriberStream`.

        Raises:
            ValueError: the layers read from the end too.
        """
        if self.bidirectional:
            raise ValueError(
                "a bidirectional model says nothing before it has read the end: train one with --streaming "
                "(streaming=True)"
            )
        return TranscriberStream(self)


class TranscriberStream:
    """A model that reads one sound as its frames come, some at a time, and says the same as of the whole.

    It is in evaluation, whatever mode the model is in, and records no gradients.

    >>> model = Transcriber(symbols=10, bands=16, hidden=8, bidirectional=False).eval()
    >>> frames, stream = torch.randn(21, 16), model.stream()
    >>> logs = torch.cat([stream.push(frames[:10]), stream.push(frames[10:]), stream.finish()])
    >>> whole, _ = model(frames[:, None], torch.tensor([21]))
    >>> torch.allclose(logs, whole[:, 0], atol=1e-5)
    True

    Args:
        model: one that reads in one direction.
    """

    def __init__(self, model: Transcriber) -> None:
        self._model = model
        self.reset()

    def reset(self) -> None:
        """Begin a new sound."""
        model = self._model
        self._mean = model.means[None]  # (1, C)
        self._waiting: list[Tensor | None] = [None] * len(model.front)  # rows of which no step was made yet
        self._states: list[State | None] = [None] * len(model.layers)

    def push(self, frames: Tensor) -> Tensor:
        """What is said after some more frames, (T', 1 + symbols): as many steps as they complete, perhaps none.

        Args:
            frames: (T, C).
        """
        return self._pushed(frames, last=False)

    def finish(self) -> Tensor:
        """What is said of the rest, (T', 1 + symbols), now that there is no more; the stream begins anew."""
        logs = self._pushed(self._model.means.new_zeros(0, len(self._model.means)), last=True)
        self.reset()
        return logs

    @torch.no_grad()
    def _pushed(self, frames: Tensor, last: bool) -> Tensor:
        model, training = self._model, self._model.training
        model.eval()
        try:
            x = frames[:, None]  # (T, 1, C)
            mean, self._mean = running_mean(x, self._mean)
            x = ((x - mean) / model.deviations)[:, :, None]  # (T, 1, 1, C)
            for k, conv in enumerate(model.front):
                x = self._halve(k, cast(_Halving, conv), x, last)
            return model._said(model._through(x.flatten(2), self._layer))[:, 0]
        finally:
            model.train(training)

    def _layer(self, k: int, layer: Recurrent, h: Tensor) -> Tensor:
        if not len(h):
            return h.new_zeros(0, 1, layer.hidden_size)
        h, self._states[k] = layer(h, self._states[k])
        return h

    def _halve(self, k: int, conv: _Halving, x: Tensor, last: bool) -> Tensor:
        """A convolution over the rows that are there, (T, 1, channels, C); those that the next step needs are kept."""
        waiting = self._waiting[k]
        edge = x.new_zeros(1, *x.shape[1:])
        rows = torch.cat([edge if waiting is None else waiting, x, *([edge] if last else [])])
        steps = max(0, (len(rows) - _KERNEL) // _HALVED + 1)
        self._waiting[k] = rows[steps * _HALVED :]
        return cast(Tensor, conv(rows)) if steps else x.new_zeros(0, 1, conv.channels, halved(x.shape[-1]))


class _Halving(nn.Module):
    """A convolution over time and bands that makes one of two, with ReLU; time is padded by who calls."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.channels = outputs
        self.conv = nn.Conv2d(inputs, outputs, _KERNEL, _HALVED, (0, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, inputs, C) to (T', B, outputs, C')."""
        return F.relu(self.conv(x.permute(1, 2, 0, 3))).permute(2, 0, 1, 3)


def halved(length: N) -> N:
    """How many there are of so many when two become one.

    >>> halved(5)
    3
    """
    return (length + 1) // 2


def running_mean(frames: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of what has been heard up to each frame, of which the past is slowly forgotten.

    >>> mean, last = running_mean(torch.full((900, 1, 1), 2.0), torch.zeros(1, 1))
    >>> round(mean[299].item(), 2), round(last.item(), 2)
    (1.27, 1.9)

    Args:
        frames: (T, B, C).
        before: the mean before the first of them, (B, C).

    Returns:
        (T, B, C), and the last of them, (B, C).
    """
    found = []
    for block in frames.split(_BLOCK):
        # m[t] = k m[t-1] + (1 - k) x[t], which is a running sum if both sides are divided by k^t
        powers = (1 - _FORGOTTEN) ** torch.arange(1, len(block) + 1, dtype=frames.dtype, device=frames.device)
        powers = powers[:, None, None]
        means = powers * (before + (_FORGOTTEN * block / powers).cumsum(0))
        found.append(means)
        before = torch.cat([before[None], means])[-1]
    return torch.cat(found), before
