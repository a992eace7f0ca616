"""Texts that are kept one after the other."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Strings(NamedTuple):
    """Texts, one after the other in UTF-8.

    >>> Strings(np.frombuffer(b"tobe", np.uint8), np.array([0, 2, 4])).of(1)
    'be'

    Attributes:
        letters: the bytes of all.
        starts: where each begins, and where the last one ends.
    """

    letters: Array
    starts: Array

    def of(self, k: int) -> str:
        """Text k."""
        return bytes(self.letters[self.starts[k] : self.starts[k + 1]]).decode("utf-8", "surrogatepass")
