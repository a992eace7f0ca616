"""Memory for long sequences: in huge pages where the system gives them, and lent again once it was given back.

A system clears each page before a process may touch it. For what a training step keeps that takes up to a third of the
step, again in every step, if the memory goes back to the system in between.
"""

from __future__ import annotations

import functools
import math
import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

LENT = 1 << 20  # bytes from which memory is lent; less than that PyTorch's allocator keeps at hand itself
SHARE = 16  # of the machine's memory, the part that may wait to be lent again
WASTE = 1.25  # how many times as large as what is asked for a block may be
HUGE_PAGE = 2 << 20


def empty(dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """A tensor with nothing in it yet; when nobody uses it any more, its memory waits in this process for the next.

    >>> empty(torch.float32, (3, 4)).shape
    torch.Size([3, 4])
    """
    size = math.prod(shape) * dtype.itemsize
    if size < LENT or _is_filled():
        return torch.empty(shape, dtype=dtype)
    storage = torch.from_numpy(_lend(size)).untyped_storage()
    loan: Any = torch.empty(0, dtype=dtype)  # no view, which must not be changed in place
    found: Tensor = loan.set_(storage, 0, tuple(shape))
    return found


def _is_filled() -> bool:
    """Whether PyTorch is to fill what nobody has written to."""
    deterministic: Any = torch.utils.deterministic
    return torch.are_deterministic_algorithms_enabled() and deterministic.fill_uninitialized_memory


class _Loan(np.ndarray[Any, Any]):
    """Bytes of a block, which goes back to the store when nobody uses them any more."""

    block: _Block | None = None  # only of the loan itself, not of views of it

    def __del__(self) -> None:
        if self.block is not None:
            _give_back(self.block)


class _Block:
    """A piece of memory of the system's."""

    def __init__(self, size: int) -> None:
        self.size = -(-size // HUGE_PAGE) * HUGE_PAGE if size >= HUGE_PAGE else size
        private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if os.name == "posix" else {}
        self.memory = mmap.mmap(-1, self.size + HUGE_PAGE, **private)  # a child that is forked has its own
        address = np.frombuffer(self.memory, dtype=np.uint8, count=1).ctypes.data
        self.begin = -address % HUGE_PAGE
        if hasattr(mmap, "MADV_HUGEPAGE") and size >= HUGE_PAGE:
            self.memory.madvise(mmap.MADV_HUGEPAGE)


@functools.cache
def most_waiting() -> int:
    """Bytes that may wait to be lent again; where the system does not tell what it has, as of 16 GiB."""
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names:
        return (16 << 30) // SHARE
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // SHARE


_waiting: list[_Block] = []  # the one that waits longest first; only what is atomic in Python is done to it


def _lend(size: int) -> _Loan:
    """So many bytes, in the smallest block that waits and fits, or in a new one."""
    fitting = [block for block in _waiting if size <= block.size <= max(WASTE * size, size + HUGE_PAGE)]
    for block in sorted(fitting, key=lambda block: block.size):
        try:
            _waiting.remove(block)
        except ValueError:  # another thread was faster
            continue
        break
    else:
        block = _Block(size)
    loan = np.frombuffer(block.memory, dtype=np.uint8, count=size, offset=block.begin).view(_Loan)
    loan.block = block
    return loan


def _give_back(block: _Block) -> None:
    """Let a block wait; the system gets back what has waited longest, if it is too much."""
    _waiting.append(block)
    while sum(waiting.size for waiting in _waiting[:]) > most_waiting():
        try:
            _waiting.pop(0)
        except IndexError:  # another thread was faster
            return


def release() -> None:
    """Give all that waits to be lent again back to the system.

    >>> release()
    """
    _waiting.clear()
