"""How the sequences of a batch lie one after the other, and the spans of steps that are run at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SPAN_BYTES = 4 << 20  # of the gates in a span of steps: a part of the processor's last cache
SPAN_ROWS = 1024  # and never fewer rows: a matrix product must be worth what it costs once, as adding to its result
SPAN_ROWS_LIBRARY = 2048  # the same of PyTorch's products, which pack both factors first


class Span(NamedTuple):
    """Some steps: the first one, the one after the last, and likewise their packed rows."""

    first: int
    last: int
    begin: int
    end: int

    @property
    def rows(self) -> slice:
        """Its packed rows."""
        return slice(self.begin, self.end)


def longest(spans: Sequence[Span]) -> int:
    """How many rows the longest span has."""
    return max([span.end - span.begin for span in spans], default=0)


class Rows:
    """How the sequences of a batch lie one after the other: packed, the longest first.

    Attributes:
        count: how many steps there are in all.
        steps: how many steps the longest has.
    """

    def __init__(self, steps: int, batch: int, lengths: Tensor | None) -> None:
        self.steps, self.batch = steps, batch
        self.count = steps * batch
        self.ragged = lengths is not None
        if lengths is not None:
            self.lengths, self.order = torch.sort(lengths, descending=True, stable=True)
            running = self.lengths.unsqueeze(0) > torch.arange(self.steps).unsqueeze(1)  # (T, B)
            self.start = F.pad(running.sum(1).cumsum(0), (1, 0))  # (T + 1,)
            self.starts = self.start.tolist()
            time, place = running.nonzero(as_tuple=True)
            self.index = time * self.batch + self.order[place]  # the caller's row of each packed one
            self.count = self.starts[-1]
            self.steps = int(self.lengths[0]) if self.batch else 0

    def packed(self, series: Tensor) -> Tensor:
        """(T, B, ·) as (count, ·), without the padding."""
        flat = series.reshape(-1, series.shape[-1])
        return flat.index_select(0, self.index) if self.ragged else flat.contiguous()

    def padded(self, packed: Tensor, shape: Sequence[int]) -> Tensor:
        """(count, ·) as (T, B, ·), zero in the padding."""
        if not self.ragged:
            return packed.view(shape)
        series = packed.new_zeros(shape)
        series.view(-1, shape[-1]).index_copy_(0, self.index, packed)
        return series

    def cached(self, width: int, size: int, library: bool) -> int:
        """Steps of a span whose rows should stay in the cache; the spans of a run are about equally long.

        Args:
            width, size: how many numbers a row has, of how many bytes.
            library: whether PyTorch's products go over it.
        """
        rows = max(SPAN_ROWS_LIBRARY if library else SPAN_ROWS, SPAN_BYTES // (width * size))
        most = max(1, rows // max(1, self.batch))
        spans = -(-self.steps // most)
        return -(-self.steps // max(1, spans))

    def spans(self, steps: int, back: bool) -> list[Span]:
        """Spans of so many steps, in the order of the run.

        Args:
            steps: of each, at most.
            back: whether time runs backwards.
        """
        firsts = range(0, self.steps, steps)
        pairs = ((first, min(first + steps, self.steps)) for first in (reversed(firsts) if back else firsts))
        if self.ragged:
            return [Span(first, last, self.starts[first], self.starts[last]) for first, last in pairs]
        return [Span(first, last, first * self.batch, last * self.batch) for first, last in pairs]
