"""The sizes that are measured."""

from __future__ import annotations

from typing import NamedTuple


class Shape(NamedTuple):
    """Sizes of a call.

    >>> Shape.parse("100,32,128,128")
    Shape(steps=100, batch=32, inputs=128, hidden=128)
    """

    steps: int
    batch: int
    inputs: int
    hidden: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        """A shape as it is written on the command line: T,B,I,H."""
        return cls(*(int(size) for size in text.split(",")))

    def __str__(self) -> str:
        return str(tuple(self))


MIDDLE = Shape(100, 32, 128, 128)
LARGE = Shape(100, 64, 256, 256)
GRID = (
    Shape(100, 1, 64, 64),
    Shape(100, 1, 128, 128),
    Shape(100, 1, 256, 256),
    Shape(100, 16, 64, 64),
    MIDDLE,
    LARGE,
    Shape(100, 64, 512, 512),
    Shape(35, 20, 200, 200),
    Shape(35, 20, 650, 650),
    Shape(1000, 32, 1, 64),
    Shape(784, 64, 1, 128),
)
