"""What the command line chose."""

from __future__ import annotations

from dataclasses import dataclass

from .shapes import GRID, Shape


@dataclass(frozen=True)
class Settings:
    """What holds for all tables.

    Attributes:
        engine: the engine that is measured.
        threads: PyTorch's threads.
        seconds: about how long a row is timed.
        input_gradient: whether a training step also yields the gradient of x.
        shapes: those of the grid that are measured.
        cells: those of the grid that are measured.
        peak: floating-point operations a second of a large matrix product.
    """

    engine: str = "auto"
    threads: int = 2
    seconds: float = 2.0
    input_gradient: bool = True
    shapes: tuple[Shape, ...] = GRID
    cells: tuple[str, ...] = ("LSTM", "GRU", "RNN")
    peak: float = 1e11
