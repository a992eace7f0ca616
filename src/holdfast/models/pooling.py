"""From what layers say of each step to what they say of a sequence: at its end, or so far after each step."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor, nn

from holdfast.naming import nearest


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
        scores = self.score(h)  # (T, B, 1)
        weights = (scores - scores.max(0, keepdim=True).values).exp()
        return (weights * h).cumsum(0) / weights.cumsum(0)


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
