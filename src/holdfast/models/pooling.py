"""From what layers say of each step to what they say of a sequence: at its end, or so far after each step."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor, nn

from holdfast.naming import nearest

State = tuple[Tensor, ...]  # of a way, between two steps; each tensor (B, …)


class Pool(Protocol):
    """A way to make one vector of many."""

    def __call__(self, h: Tensor, lengths: Tensor) -> Tensor:
        """The vector of each sequence.

        Args:
            h: of each step, (T, B, H); 0 past a length.
            lengths: at least 1, (B,).

        Returns:
            (B, H)
        """

    def running(self, h: Tensor) -> Tensor:
        """The vector of each beginning of the sequences: row t is that of the first t + 1 steps, (T, B, H)."""

    def step(self, h: Tensor, before: State | None) -> tuple[Tensor, State]:
        """The vector of all steps so far, (B, H), and what must be known of them when the next one comes.

        Args:
            h: of this step, (B, H).
            before: what must be known of those before it; None: it is the first.
        """


class Last(nn.Module):
    """What is said of the last step; in the backward direction of bidirectional layers, of the first.

    Args:
        width: H.
        bidirectional: whether the second half of H is of the backward direction.
    """

    def __init__(self, width: int, bidirectional: bool) -> None:
        super().__init__()
        self.forward_width = width // 2 if bidirectional else width

    def forward(self, h: Tensor, lengths: Tensor) -> Tensor:
        """(B, H)"""
        last = h[lengths - 1, torch.arange(h.shape[1], device=h.device)]  # (B, H)
        return torch.cat([last[:, : self.forward_width], h[0, :, self.forward_width :]], -1)

    def running(self, h: Tensor) -> Tensor:
        """(T, B, H)"""
        return h

    def step(self, h: Tensor, before: State | None) -> tuple[Tensor, State]:
        """(B, H), and nothing."""
        return h, ()


class Mean(nn.Module):
    """The mean over the steps."""

    def __init__(self, width: int, bidirectional: bool) -> None:
        super().__init__()

    def forward(self, h: Tensor, lengths: Tensor) -> Tensor:
        """(B, H)"""
        return h.sum(0) / lengths[:, None]

    def running(self, h: Tensor) -> Tensor:
        """(T, B, H)"""
        return h.cumsum(0) / torch.arange(1, len(h) + 1, device=h.device)[:, None, None]

    def step(self, h: Tensor, before: State | None) -> tuple[Tensor, State]:
        """(B, H); the sum and the number of the steps."""
        total, count = before or (torch.zeros_like(h), h.new_zeros(len(h), 1))
        total, count = total + h, count + 1
        return total / count, (total, count)


class Max(nn.Module):
    """The largest value of each unit."""

    def __init__(self, width: int, bidirectional: bool) -> None:
        super().__init__()

    def forward(self, h: Tensor, lengths: Tensor) -> Tensor:
        """(B, H)"""
        return h.masked_fill(~_within(h, lengths), -torch.inf).max(0).values

    def running(self, h: Tensor) -> Tensor:
        """(T, B, H)"""
        return h.cummax(0).values

    def step(self, h: Tensor, before: State | None) -> tuple[Tensor, State]:
        """(B, H), which is all that must be known."""
        highest = torch.maximum(before[0], h) if before else h
        return highest, (highest,)


class Attention(nn.Module):
    """A mean over the steps in which each counts as much as its own vector says (Yang 2016, with one layer)."""

    def __init__(self, width: int, bidirectional: bool) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.score.weight)  # at first all count alike

    def forward(self, h: Tensor, lengths: Tensor) -> Tensor:
        """(B, H)"""
        scores = self.score(h).masked_fill(~_within(h, lengths), -torch.inf)  # (T, B, 1)
        return (scores.softmax(0) * h).sum(0)

    def running(self, h: Tensor) -> Tensor:
        """(T, B, H)"""
        found: list[Tensor] = []
        state: State | None = None
        for each in h:  # in one go the weights of the first steps would vanish beside a much higher one that comes late
            pooled, state = self.step(each, state)
            found.append(pooled)
        return torch.stack(found)

    def step(self, h: Tensor, before: State | None) -> tuple[Tensor, State]:
        """(B, H); the highest score, and in units of its weight the sums of the weighted steps and of the weights."""
        score = self.score(h)  # (B, 1)
        if before is None:
            return h, (score, h, torch.ones_like(score))
        highest, total, weights = before
        now = torch.maximum(highest, score)
        old, new = (highest - now).exp(), (score - now).exp()
        total, weights = old * total + new * h, old * weights + new
        return total / weights, (now, total, weights)


def _within(h: Tensor, lengths: Tensor) -> Tensor:
    """Which steps are within a length, (T, B, 1)."""
    return (torch.arange(len(h), device=h.device)[:, None] < lengths)[..., None]


POOLS = MappingProxyType({"last": Last, "mean": Mean, "max": Max, "attention": Attention})
"""The ways, by name."""


class Pooling(nn.Module):
    """Several ways side by side.

    >>> pooling = Pooling(("mean", "max"), width=3)
    >>> h, lengths = torch.randn(5, 2, 3), torch.tensor([5, 5])
    >>> pooling(h, lengths).shape, torch.allclose(pooling.running(h)[-1], pooling(h, lengths))
    (torch.Size([2, 6]), True)

    Args:
        names: of the ways.
        width: H.
        bidirectional: whether the second half of H is of a backward direction.
    """

    def __init__(self, names: Sequence[str], width: int, bidirectional: bool = False) -> None:
        super().__init__()
        if not names:
            raise ValueError(f"pooling must name at least one of {', '.join(POOLS)}")
        for name in names:
            if name not in POOLS:
                raise ValueError(
                    f"pooling must be of {', '.join(POOLS)}; got {name!r}{nearest(str(name), list(POOLS))}"
                )
        self.ways = nn.ModuleList(POOLS[name](width, bidirectional) for name in names)
        self.width = width * len(names)

    def forward(self, h: Tensor, lengths: Tensor) -> Tensor:
        """The vector of each sequence, (B, H · ways), from those of its steps, (T, B, H)."""
        return torch.cat([way(h, lengths) for way in self.ways], -1)

    def running(self, h: Tensor) -> Tensor:
        """The vectors after each step, (T, B, H · ways)."""
        return torch.cat([way.running(h) for way in self.ways], -1)  # type: ignore[operator]

    def step(self, h: Tensor, before: Sequence[State] | None) -> tuple[Tensor, list[State]]:
        """The vectors of all steps so far, (B, H · ways), from that of one more, (B, H); and what `before` is then."""
        found = [
            way.step(h, before and before[k])  # type: ignore[operator]
            for k, way in enumerate(self.ways)
        ]
        return torch.cat([vector for vector, _ in found], -1), [state for _, state in found]
