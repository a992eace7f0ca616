"""The sizes that are measured."""

from __future__ import annotations

import random
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

MOST = 6e9  # multiplications of a drawn shape's products, forward


def drawn(seed: int, count: int = 12) -> list[Shape]:
    """Other shapes than those of the grid, drawn evenly on a logarithmic scale.

    >>> drawn(0, 2) == drawn(0, 2)
    True
    """
    rng = random.Random(seed)
    found: list[Shape] = []
    while len(found) < count:
        bounds = ((20, 500), (1, 128), (1, 512), (16, 640))
        shape = Shape(*(round(low * (high / low) ** rng.random()) for low, high in bounds))
        if shape.steps * shape.batch * 4 * shape.hidden * (shape.inputs + shape.hidden) <= MOST:
            found.append(shape)
    return found
