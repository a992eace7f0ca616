"""Memory for long sequences, in huge pages where the system gives them: touching fresh small ones costs a third of a
training step."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LARGE = 32 << 20  # bytes; below, the allocator hands out pages that are in use already
HUGE_PAGE = 2 << 20
_HUGE_PAGES = 14  # MADV_HUGEPAGE


@functools.cache
def _advise() -> Callable[[int, int, int], int] | None:
    """The system's madvise, where there is one that knows huge pages."""
    if not sys.platform.startswith("linux"):
        return None
    function = ctypes.CDLL(None).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    advise: Callable[[int, int, int], int] = function
    return advise


def empty(dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """A tensor with nothing in it yet."""
    found = torch.empty(shape, dtype=dtype)
    size = found.numel() * found.element_size()
    if size >= LARGE:
        advise = _advise()
        if advise is not None:
            begin = -(-found.data_ptr() // HUGE_PAGE) * HUGE_PAGE
            end = (found.data_ptr() + size) // HUGE_PAGE * HUGE_PAGE
            advise(begin, end - begin, _HUGE_PAGES)  # advice: where it is refused, small pages do
    return found
