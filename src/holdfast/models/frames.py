"""The model of music as frames: which keys sound next, given all frames before.

A frame is a row of 0 and 1, one for each key. Sequences are time first, (T, B, K), as everywhere in the layers. What
comes before the first frame is a silent one.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from holdfast.layers import Recurrent, checks

from .frame_heads import Drawn, Head, make_head
from .generation import Sampling
from .language import ModelState, layer_class
from .stepping import steps_of


class Framed(NamedTuple):
    """What a model makes of frames.

    Attributes:
        features: from which the frame after each is told, (T, B, H).
        state: of each layer at the end; pass it on to go on from there.
    """

    features: Tensor
    state: ModelState


class FrameModel(nn.Module):
    """A recurrent model of polyphonic music: of each frame, the distribution of the one that comes next.

    >>> import torch
    >>> model = FrameModel(keys=5, hidden=16, embedding=8)
    >>> frames = (torch.rand(6, 2, 5) < 0.3).float()
    >>> framed = model(frames[:-1])
    >>> model.nats(framed.features, frames[:-1], frames[1:]).shape
    torch.Size([5, 2])
    >>> again = FrameModel(**model.arguments)

    Args:
        keys: K.
        head: how the keys of a frame depend on each other, a name in `HEADS`: "chord", each on those above it, or
            "independent", not at all.
        cell: which layers, a name in `CELLS`.
        embedding: what a frame is brought to.
        hidden: H, units of a layer.
        layers: how many.
        dropout: on the embedded frames, between the layers, and in the head.
        weight_drop: on the recurrent weights.

    Attributes:
        arguments: what the model was made with, of plain types.
    """

    def __init__(
        self,
        *,
        keys: int = 88,
        head: str = "chord",
        cell: str = "lstm",
        embedding: int = 128,
        hidden: int = 256,
        layers: int = 1,
        dropout: float = 0.0,
        weight_drop: float = 0.0,
    ) -> None:
        super().__init__()
        for name, size in (("keys", keys), ("embedding", embedding), ("hidden", hidden), ("layers", layers)):
            checks.whole(name, size)
        for name, probability in (("dropout", dropout), ("weight_drop", weight_drop)):
            checks.probability(name, probability)
        make = layer_class(cell)
        self.arguments: dict[str, Any] = {
            "keys": keys,
            "head": head,
            "cell": cell,
            "embedding": embedding,
            "hidden": hidden,
            "layers": layers,
            "dropout": dropout,
            "weight_drop": weight_drop,
        }
        self.keys, self.dropout = keys, dropout
        self.embedding = nn.Linear(keys, embedding)
        self.layers = nn.ModuleList(
            make(below, hidden, weight_drop=weight_drop) for below in [embedding, *[hidden] * (layers - 1)]
        )
        self.head = make_head(head, keys=keys, features=hidden, dropout=dropout)

    def forward(self, frames: Tensor, state: ModelState | None = None) -> Framed:
        """Run over sequences.

        Args:
            frames: (T, B, K), 0 and 1.
            state: where to start from, as an earlier call returned it; by default from the layers' first state.
        """
        if frames.dim() != 3 or frames.shape[-1] != self.keys:
            raise ValueError(f"frames must be (T, B, {self.keys}); got {tuple(frames.shape)}")
        if state is not None and len(state) != len(self.layers):
            raise ValueError(f"state must hold one state for each of the {len(self.layers)} layers; got {len(state)}")
        features = self._dropped(self.embedding(frames))  # (T, B, E)
        states = []
        for k, layer in enumerate(self.layers):
            features, final = layer(features, None if state is None else state[k])  # (T, B, H)
            features = self._dropped(features)
            states.append(final)
        return Framed(features, tuple(states))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def nats(self, features: Tensor, before: Tensor, after: Tensor, there: Tensor | None = None) -> Tensor:
        """Minus the logarithm of the probability of each frame, (T, B).

        Args:
            features: from a call on the frames before, (T, B, H).
            before: those frames, (T, B, K).
            after: the frames that came, (T, B, K).
            there: which of them are asked for, (T, B); the others are 0.
        """
        if there is None:
            there = torch.ones(after.shape[:2], dtype=torch.bool, device=after.device)
        found = cast(Head, self.head).nats(features[there], before[there], after[there])
        return found.new_zeros(there.shape).masked_scatter(there, found)

    def stream(self, batch_size: int = 1) -> FrameStream:
        """What runs this model one frame at a time, in evaluation; see `FrameStream`."""
        return FrameStream(self, batch_size)


class FrameStream:
    """A model of frames that runs one frame at a time and remembers its state, without gradients.

    >>> import torch
    >>> model = FrameModel(keys=5, hidden=16, embedding=8).eval()
    >>> stream = model.stream(2)
    >>> stream.read(torch.zeros(2, 5))
    >>> stream.draw(Sampling()).frames.shape
    torch.Size([2, 5])

    Args:
        model: the model, in evaluation mode.
        batch_size: how many sequences run side by side.
    """

    def __init__(self, model: FrameModel, batch_size: int = 1) -> None:
        self._model = model
        self._streams = [steps_of(cast(Recurrent, layer), batch_size) for layer in model.layers]
        self._draw = cast(Head, model.head).drawing(batch_size)
        self.device = next(model.parameters()).device
        self._features = torch.zeros(batch_size, int(model.arguments["hidden"]), device=self.device)
        self._before = torch.zeros(batch_size, model.keys, device=self.device)
        self.batch_size = batch_size

    @torch.no_grad()
    def read(self, frames: Tensor) -> None:
        """Take in a frame of each sequence, (B, K)."""
        if frames.shape != (self.batch_size, self._model.keys):
            raise ValueError(f"frames must be ({self.batch_size}, {self._model.keys}); got {tuple(frames.shape)}")
        frames = frames.to(self.device)
        x = self._model.embedding(frames)
        for stream in self._streams:
            x = stream.step(x)
        self._features, self._before = x, frames

    @torch.no_grad()
    def draw(self, sampling: Sampling, generator: Generator | None = None, top: Tensor | None = None) -> Drawn:
        """A frame of each sequence that may come now; it is not taken in.

        Args:
            sampling: how.
            generator: what draws; by default PyTorch's global one.
            top: of each frame the highest key, or -1 where nothing is to sound, (B,).
        """
        return self._draw(
            self._features, self._before, sampling, generator, None if top is None else top.to(self.device)
        )

    def choose(self, rows: Tensor) -> None:
        """Go on with the sequences that stand in these rows, each as often as it is named, (B,)."""
        for stream in self._streams:
            state = stream.state
            chosen = state[:, rows] if isinstance(state, Tensor) else tuple(part[:, rows] for part in state)
            stream.state = chosen
        self._features, self._before = self._features[rows], self._before[rows]
