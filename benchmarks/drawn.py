"""What a layer draws, kept, so that another run can use the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from torch import Tensor

from holdfast.layers import noise


@contextlib.contextmanager
def recorded() -> Iterator[list[Tensor]]:
    """The masks that layers draw, in the order in which they draw them."""
    drawn: list[Tensor] = []
    bernoulli = noise.bernoulli

    def record(*args: Any, **kwargs: Any) -> Tensor:
        drawn.append(bernoulli(*args, **kwargs))
        return drawn[-1]

    with mock.patch.object(noise, "bernoulli", record):
        yield drawn
