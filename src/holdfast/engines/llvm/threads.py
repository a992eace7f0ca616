"""A team of threads of PyTorch's own OpenMP pool, so that two pools do not fight for the processors."""

from __future__ import annotations

import ctypes
import functools
import glob
import os

import torch

SMALL = 200_000  # multiplications below which a second thread costs more than it gives
SMALL_STEP = 40_000  # the same of each step, where threads share the units and meet in every step


@functools.cache
def runtime() -> ctypes.CDLL | None:
    """The OpenMP runtime that PyTorch brings and has loaded, or None where it brings none."""
    folder = os.path.join(os.path.dirname(torch.__file__), "lib")
    for path in sorted(glob.glob(os.path.join(folder, "libgomp*"))):
        library = ctypes.CDLL(path)
        if hasattr(library, "GOMP_parallel"):
            return library
    return None


def count() -> int:
    """How many threads there may be."""
    return torch.get_num_threads() if runtime() is not None else 1


def team(multiplications: int, least: int) -> int:
    """How many threads are worth it for so many multiplications, if fewer than `least` are not worth a second one."""
    return count() if multiplications >= least else 1


def symbols() -> dict[str, int]:
    """What kernels call of the runtime, by name; empty where there is none."""
    library = runtime()
    names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads") if library is not None else ()
    return {name: ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in names}
