"""Nothing is timed that is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

TOLERANCE = 4e-5  # of max|a - b| / max|b|: twice that of the tests, because here both sides are float32 runs


def error(got: Tensor, expected: Tensor) -> float:
    """max|a - b| / max|b|; whatever cannot be compared is infinitely wrong.

    >>> import torch
    >>> error(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0]))
    0.25
    >>> error(torch.tensor([float("nan")]), torch.tensor([1.0]))
    inf
    """
    if got.shape != expected.shape:
        return float("inf")
    difference, scale = (got - expected).abs().max().item(), expected.abs().max().item()
    found = difference / scale if scale else difference
    return found if found == found else float("inf")


def furthest(expected: Sequence[Tensor], results: Mapping[str, Sequence[Tensor]]) -> tuple[str, float]:
    """Which of several runs is furthest from the expected one, and by how much."""
    errors = {
        name: max(error(a, b) for a, b in zip(got, expected)) if len(got) == len(expected) else float("inf")
        for name, got in results.items()
    }
    worst = max(errors, key=lambda name: errors[name])
    return worst, errors[worst]
