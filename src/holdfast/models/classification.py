"""The model that reads a whole sequence and says one thing of it: a class, or a number.

Sequences are time first and ragged: tokens (T, B), whole numbers, or series (T, B, C), NaN where a value is missing.
What lies past a length is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.layers import Recurrent, checks

from .language import LanguageModel, layer_class
from .pooling import Pooling, State
from .stepping import steps_of

_FIRST = 0.1  # deviation of the first draw of an embedding
_UNKNOWN = 0  # the token that stands for words that are not known


class SequenceModel(nn.Module):
    """An embedding or scaled channels, recurrent layers, pooling over the steps, and a linear map.

    >>> model = SequenceModel(outputs=3, vocabulary=11, embedding=8, hidden=16)
    >>> tokens, lengths = torch.randint(11, (6, 2)), torch.tensor([6, 4])
    >>> model(tokens, lengths).shape
    torch.Size([2, 3])

    Args:
        outputs: K, how many numbers are said of a sequence.
        vocabulary: V, the number of tokens; 0: sequences are series.
        channels: C, the number of channels of a series.
        gaps: whether values of series may be missing; the model is then told which are.
        cell: which layers, a name in `CELLS`.
        embedding: E, how many numbers stand for a token.
        hidden: H, units of a layer and direction.
        layers: how many are stacked.
        bidirectional: whether they read from the end too.
        below: widths of layers of one direction below them, which are those of a language model; see `take_over`. The
            first layer reads what each of them says, and the embedding.
        below_cell: their cell.
        pooling: names in `POOLS`.
        dropout: between the layers, and before the linear map.
        input_dropout: on what goes into the first layer.
        word_dropout: the share of tokens that are made unknown in training.
        noise: what is added to series in training, in units of each channel's deviation.
        weight_drop: on the recurrent weights.

    Attributes:
        temperature: what the outputs are divided by before they become probabilities; set after training.
    """

    temperature: Tensor
    means: Tensor
    deviations: Tensor

    def __init__(
        self,
        *,
        outputs: int,
        vocabulary: int = 0,
        channels: int = 0,
        gaps: bool = False,
        cell: str = "lstm",
        embedding: int = 128,
        hidden: int = 128,
        layers: int = 1,
        bidirectional: bool = True,
        below: Sequence[int] = (),
        below_cell: str = "lstm",
        pooling: Sequence[str] = ("mean", "max"),
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        word_dropout: float = 0.0,
        noise: float = 0.0,
        weight_drop: float = 0.0,
    ) -> None:
        super().__init__()
        for name, size in (("outputs", outputs), ("hidden", hidden), ("layers", layers)):
            checks.whole(name, size)
        if bool(vocabulary) == bool(channels):
            raise ValueError(f"give vocabulary or channels; got {vocabulary} and {channels}")
        make = layer_class(cell)
        self.vocabulary, self.gaps, self.bidirectional = vocabulary, gaps, bidirectional
        self.dropout, self.input_dropout, self.word_dropout = dropout, input_dropout, word_dropout
        self.noise = noise
        self.embedding: nn.Embedding | None = None
        if vocabulary:
            self.embedding = nn.Embedding(vocabulary, embedding)
            nn.init.normal_(self.embedding.weight, std=_FIRST)
            width = embedding
        else:
            width = channels * (1 + gaps)
        self.register_buffer("means", torch.zeros(channels))
        self.register_buffer("deviations", torch.ones(channels))
        self.register_buffer("temperature", torch.ones(()))
        widths = [width, *below]
        self.below = nn.ModuleList(layer_class(below_cell)(a, b, weight_drop=weight_drop) for a, b in pairwise(widths))
        self.layers = nn.ModuleList(
            make(width, hidden, bidirectional=bidirectional, weight_drop=weight_drop)
            for width in [sum(widths), *[hidden * (1 + bidirectional)] * (layers - 1)]
        )
        self.pooling = Pooling(pooling, hidden * (1 + bidirectional), bidirectional)
        self.output = nn.Linear(self.pooling.width, outputs)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """What is said of each sequence, (B, K).

        Args:
            x: tokens (T, B), or series (T, B, C).
            lengths: at least 1, (B,).
        """
        return self.from_inputs(self.inputs(self.disturbed(x)), lengths)

    def from_inputs(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """The same from what the first layer reads, (T, B, …)."""
        pooled = self.pooling(self._over(inputs, lengths), lengths)  # (B, P)
        return cast(Tensor, self.output(F.dropout(pooled, self.dropout, self.training)))

    def after_each_step(self, x: Tensor, lengths: Tensor) -> Tensor:
        """What would be said if the sequence ended with a step, (T, B, K), in one go; past a length the last of it.

        Raises:
            ValueError: the layers read from the end too.
        """
        self.refuse_both_directions()
        said = self.output(self.pooling.running(self.read(x, lengths)))  # (T, B, K)
        steps = torch.minimum(torch.arange(len(said), device=x.device)[:, None], lengths - 1)
        return said.gather(0, steps[..., None].expand_as(said))

    def stream(self, batch_size: int = 1) -> SequenceStream:
        """A stream that runs this model one step at a time; see `SequenceStream`.

        Args:
            batch_size: how many sequences run side by side.

        Raises:
            ValueError: the layers read from the end too.
        """
        self.refuse_both_directions()
        return SequenceStream(self, batch_size)

    def refuse_both_directions(self) -> None:
        """Refuse to say anything of the beginning of a sequence.

        Raises:
            ValueError: the layers read from the end too.
        """
        if self.bidirectional:
            raise ValueError(
                "a bidirectional model says nothing before it has read the end: train one with --no-bidirectional "
                "(bidirectional=False)"
            )

    def read(self, x: Tensor, lengths: Tensor) -> Tensor:
        """What the last layer says of each step, (T, B, H · directions), 0 past a length."""
        return self._over(self.inputs(self.disturbed(x)), lengths)

    def _over(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """What the last layer says of each step."""
        return self.through(inputs, lambda layer, h: layer(h, lengths=lengths)[0], self.training)

    def through(self, inputs: Tensor, run: Callable[[Recurrent, Tensor], Tensor], training: bool = False) -> Tensor:
        """The layers, one over the other; above those of a language model the first reads its embedding and them all.

        Args:
            inputs: what the first layer reads, (…, E).
            run: runs a layer.
            training: whether there is dropout.
        """
        h = F.dropout(inputs, self.input_dropout, training)
        read = [h]
        for layer in cast(Sequence[Recurrent], self.below):
            h = F.dropout(run(layer, h), self.dropout, training)
            read.append(h)
        h = torch.cat(read, -1)
        for k, layer in enumerate(cast(Sequence[Recurrent], self.layers)):
            h = run(layer, F.dropout(h, self.dropout, training) if k else h)
        return h

    def inputs(self, x: Tensor) -> Tensor:
        """What the first layer reads, (…, E): of tokens (…), or of rows (…, C)."""
        if self.embedding is not None:
            return cast(Tensor, self.embedding(x))
        scaled = (x - self.means) / self.deviations
        if not self.gaps:
            return scaled
        return torch.cat([scaled.nan_to_num(0.0), x.isnan().to(x.dtype)], -1)

    def disturbed(self, x: Tensor) -> Tensor:
        """What is read in training instead: some tokens are unknown, numbers are inexact."""
        if self.training and self.vocabulary and self.word_dropout:
            return x.masked_fill(torch.rand(x.shape, device=x.device) < self.word_dropout, _UNKNOWN)
        if self.training and not self.vocabulary and self.noise:
            return x + self.noise * self.deviations * torch.randn_like(x)
        return x

    def probabilities(self, said: Tensor) -> Tensor:
        """Those of the classes, (…, K)."""
        return (said / self.temperature.to(said.device)).softmax(-1)

    @torch.no_grad()
    def take_over(self, language: LanguageModel) -> None:
        """The embedding and the layers of a language model, in place of those below.

        Raises:
            ValueError: they are of other sizes.
        """
        assert self.embedding is not None
        theirs = [language.embedding, *language.layers]
        for mine, its in zip([self.embedding, *self.below], theirs, strict=True):
            mine.load_state_dict(its.state_dict())


class SequenceStream:
    """A model that reads one step at a time, and says after each what it would say if the sequence ended there.

    It computes what `after_each_step` computes in evaluation, whatever mode the model is in, by the compiled streams of
    its layers, and records no gradients. A step takes as long whatever has been before.

    >>> model = SequenceModel(outputs=3, vocabulary=11, embedding=8, hidden=16, bidirectional=False)
    >>> tokens, stream = torch.randint(11, (6, 2)), model.stream(2)
    >>> said = [stream.step(row) for row in tokens]
    >>> torch.allclose(said[-1], model(tokens, torch.tensor([6, 6])), atol=1e-5)
    True

    Args:
        model: the model; on the CPU in float32 or float64, where the streams are compiled.
        batch_size: how many sequences run side by side.
    """

    def __init__(self, model: SequenceModel, batch_size: int = 1) -> None:
        self._model = model
        self._streams = {layer: steps_of(layer, batch_size) for layer in (*model.below, *model.layers)}
        self._pooled: list[State] | None = None
        self.batch_size = batch_size

    @torch.no_grad()
    def step(self, x: Tensor) -> Tensor:
        """What is said after this step, (B, K).

        Args:
            x: a token of each sequence, (B,); or a row of each, (B, C), NaN where a value is missing.
        """
        model = self._model
        wanted = (self.batch_size,) if model.vocabulary else (self.batch_size, len(model.means))
        if x.shape != wanted:
            raise ValueError(f"x must be a step of each sequence, {wanted}; got {tuple(x.shape)}")
        h = model.through(
            model.inputs(x.to(model.means.device)), lambda layer, h: self._streams[layer].step(h)
        )  # (B, H)
        pooled, self._pooled = model.pooling.step(h, self._pooled)
        return cast(Tensor, model.output(pooled))

    def reset(self) -> None:
        """Begin new sequences."""
        for stream in self._streams.values():
            stream.reset()
        self._pooled = None
