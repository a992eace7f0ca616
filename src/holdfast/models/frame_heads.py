"""What keys sound together in a frame: two distributions over all sets of keys, given the features of what came before.

Each head gives the nats of frames and draws frames. The highest key may be told to a draw, which then says how likely
that key was: so a melody is harmonised.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from holdfast.layers import LSTM

from .generation import Sampling, choose
from .stepping import steps_of

_RARE = -3.0  # the first logit of a key: few of them sound


class Drawn(NamedTuple):
    """Frames that were drawn.

    Attributes:
        frames: (B, K), 0 and 1.
        nats: of the highest key, where it was told: minus the logarithm of its probability; otherwise 0; (B,).
    """

    frames: Tensor
    nats: Tensor


class Draw(Protocol):
    """Draws frames, one for each sequence."""

    def __call__(
        self,
        features: Tensor,
        before: Tensor,
        sampling: Sampling,
        generator: Generator | None = None,
        top: Tensor | None = None,
    ) -> Drawn:
        """Frames.

        Args:
            features: of what came before, (B, H).
            before: the frame before, (B, K).
            sampling: how.
            generator: what draws; by default PyTorch's global one.
            top: of each frame the highest key, or -1 where nothing is to sound, (B,).
        """


class Head(Protocol):
    """A distribution over frames."""

    def nats(self, features: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Minus the logarithm of the probability of each frame, (N,).

        Args:
            features: of what came before, (N, H).
            before: the frame before, (N, K).
            after: the frame, (N, K).
        """

    def drawing(self, count: int) -> Draw:
        """What draws so many frames at a time."""


class IndependentHead(nn.Module):
    """Each key sounds or not, whatever the others do.

    >>> head = IndependentHead(keys=3, features=4)
    >>> head.nats(torch.randn(2, 4), torch.zeros(2, 3), torch.ones(2, 3)).shape
    torch.Size([2])

    Args:
        keys: K.
        features: H.
    """

    def __init__(self, *, keys: int, features: int) -> None:
        super().__init__()
        self.output = nn.Linear(features, keys)
        self.persistence = nn.Linear(keys, keys, bias=False)
        nn.init.zeros_(self.persistence.weight)
        nn.init.constant_(self.output.bias, _RARE)

    def _logits(self, features: Tensor, before: Tensor) -> Tensor:
        return self.output(features) + self.persistence(before)  # (N, K)

    def nats(self, features: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Minus the logarithm of the probability of each frame; see `Head`."""
        logits = self._logits(features, before)
        return F.binary_cross_entropy_with_logits(logits, after, reduction="none").sum(-1)

    def drawing(self, count: int) -> Draw:
        """What draws so many frames at a time."""
        return self._draw

    def _draw(
        self,
        features: Tensor,
        before: Tensor,
        sampling: Sampling,
        generator: Generator | None = None,
        top: Tensor | None = None,
    ) -> Drawn:
        logits = self._logits(features, before)  # (B, K)
        both = torch.stack([F.logsigmoid(-logits), F.logsigmoid(logits)], -1)  # (B, K, 2)
        drawn = choose(both.view(-1, 2), sampling, generator=generator).view(logits.shape)
        if top is None:
            return Drawn(drawn.to(features.dtype), features.new_zeros(len(features)))
        keys = torch.arange(logits.shape[-1], device=logits.device)
        at, above = keys == top[:, None], keys > top[:, None]
        frames = torch.where(at, 1, torch.where(above, 0, drawn)).to(features.dtype)
        nats = -torch.where(at, both[..., 1], torch.where(above, both[..., 0], 0)).sum(-1)
        return Drawn(frames, nats)


class ChordHead(nn.Module):
    """The keys that sound are told one after the other, from the highest down, each given those above it; then the end.

    A small LSTM reads the keys that were told. Of the keys only those below the last one may follow, so the
    probabilities of all sets of keys sum to one.

    >>> head = ChordHead(keys=3, features=4, embedding=5, hidden=6)
    >>> head.nats(torch.randn(2, 4), torch.zeros(2, 3), torch.ones(2, 3)).shape
    torch.Size([2])

    Args:
        keys: K.
        features: H.
        embedding: how many numbers stand for a key.
        hidden: units of the small LSTM.
        dropout: on what it reads and says.
    """

    def __init__(self, *, keys: int, features: int, embedding: int = 128, hidden: int = 128, dropout: float = 0.0):
        super().__init__()
        self.keys, self.dropout = keys, dropout
        self.embedding = nn.Embedding(keys + 1, embedding)  # the last one stands for the beginning
        self.context = nn.Linear(features, embedding)
        self.layer = LSTM(embedding, hidden, forget_bias=1.0)
        self.output = nn.Linear(hidden, keys + 1)  # the last one is the end
        self.direct = nn.Linear(features, keys + 1, bias=False)
        self.persistence = nn.Linear(keys, keys + 1, bias=False)

    def nats(self, features: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Minus the logarithm of the probability of each frame; see `Head`."""
        said, counts = self._from_the_top(after)  # (M, N), (N,)
        last = torch.cat([said.new_full((1, len(counts)), self.keys), said[:-1]])  # (M, N)
        read = F.dropout(self.embedding(last) + self.context(features), self.dropout, self.training)  # (M, N, E)
        states, _ = self.layer(read, lengths=counts + 1)
        states = F.dropout(states, self.dropout, self.training)
        logs = self._log_probabilities(states, self._fixed(features, before), last)  # (M, N, K + 1)
        nats = -logs.gather(-1, said[..., None])[..., 0]  # (M, N)
        there = torch.arange(len(said), device=counts.device)[:, None] <= counts
        return torch.where(there, nats, 0).sum(0)

    def _from_the_top(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """The keys of each frame from the highest down and then the end, as often as the fullest needs, (M, N)."""
        counts = frames.sum(-1).long()
        most = int(counts.max()) if len(counts) else 0
        numbers = torch.arange(1, self.keys + 1, device=frames.device)
        ranked = (frames * numbers).topk(most, -1).values.long() - 1  # (N, M - 1), those that do not sound are -1
        said = F.pad(ranked.masked_fill(ranked < 0, self.keys), (0, 1), value=self.keys)  # (N, M)
        return said.T, counts

    def _fixed(self, features: Tensor, before: Tensor) -> Tensor:
        """What adds to the logits of all keys of a frame, (N, K + 1)."""
        return self.direct(features) + self.persistence(before)

    def _log_probabilities(self, states: Tensor, fixed: Tensor, last: Tensor) -> Tensor:
        """Of each key and the end, given the key before, (…, K + 1)."""
        numbers = torch.arange(self.keys + 1, device=last.device)
        allowed = (numbers < last[..., None]) | (numbers == self.keys)
        return (self.output(states) + fixed).masked_fill(~allowed, float("-inf")).log_softmax(-1)

    def drawing(self, count: int) -> Draw:
        """What draws so many frames at a time."""
        stream = steps_of(self.layer, count)

        def draw(
            features: Tensor,
            before: Tensor,
            sampling: Sampling,
            generator: Generator | None = None,
            top: Tensor | None = None,
        ) -> Drawn:
            stream.reset()
            fixed, context = self._fixed(features, before), self.context(features)
            frames, nats = torch.zeros_like(before), features.new_zeros(count)
            last = torch.full((count,), self.keys, device=before.device)
            going = torch.ones(count, dtype=torch.bool, device=before.device)
            first = top is not None
            while going.any():
                logs = self._log_probabilities(stream.step(self.embedding(last) + context), fixed, last)
                if first:
                    told = torch.where(top < 0, self.keys, top)  # type: ignore[operator, arg-type]
                    nats = -logs.gather(-1, told[:, None])[:, 0]
                else:
                    told = choose(logs, sampling, generator=generator)
                told, first = torch.where(going, told, self.keys), False
                going = going & (told < self.keys)
                frames[going, told[going]] = 1
                last = torch.where(going, told, 0)  # below the lowest key there is the end alone
            return Drawn(frames, nats)

        return draw


HEADS = ("chord", "independent")


def make_head(name: str, *, keys: int, features: int, dropout: float) -> ChordHead | IndependentHead:
    """A head, by its name in `HEADS`; the features come with their dropout.

    >>> make_head("independent", keys=3, features=4, dropout=0.1)
    IndependentHead(
      (output): Linear(in_features=4, out_features=3, bias=True)
      (persistence): Linear(in_features=3, out_features=3, bias=False)
    )
    """
    if name == "chord":
        return ChordHead(keys=keys, features=features, dropout=dropout)
    if name == "independent":
        return IndependentHead(keys=keys, features=features)
    raise ValueError(f"head must be one of {', '.join(HEADS)}; got {name!r}")
