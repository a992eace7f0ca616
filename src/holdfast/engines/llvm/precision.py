"""In which numbers a kernel computes, and in which it keeps them."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Precision:
    """What a kernel computes in and what its series are kept in.

    Attributes:
        size: bytes of a number that is computed with: a float32 or a float64.
        half: whether the series and the factors of matrix products are kept in bfloat16. Sums, states and everything
            elementwise are float32 all the same.
        int8: whether the weights of a single step are kept in int8.
    """

    size: int
    half: bool = False
    int8: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """What is computed with."""
        return torch.float64 if self.size == 8 else torch.float32

    @property
    def stored(self) -> torch.dtype:
        """What series are kept in."""
        return torch.bfloat16 if self.half else self.dtype

    def pitch(self, width: int, heads: int = 1) -> int:
        """The room of so many numbers that a matrix product reads as its factor.

        In bfloat16 they are read in pieces of `DEPTH`, and what is beyond them is zero; where each head reads a part
        of them, the last one too reads whole pieces.
        """
        if not self.half:
            return width
        beyond = DEPTH if heads > 1 and width // heads % DEPTH else 0
        return -(-width // DEPTH) * DEPTH + beyond


SINGLE, DOUBLE, HALF, INT8 = Precision(4), Precision(8), Precision(4, half=True), Precision(4, int8=True)
DEPTH = 32  # bfloat16 numbers of a row of a tile


def of(dtype: torch.dtype) -> Precision:
    """The precision of an input's dtype.

    >>> of(torch.bfloat16).dtype
    torch.float32
    """
    return {torch.float32: SINGLE, torch.float64: DOUBLE, torch.bfloat16: HALF}[dtype]
