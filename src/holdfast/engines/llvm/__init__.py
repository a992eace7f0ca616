"""The CPU engine: a program compiled in the process, by LLVM through llvmlite, to fused kernels."""

from __future__ import annotations

import torch

from . import machine, threads
from .run import backward, forward, saved_shapes

__all__ = ["backward", "describe", "forward", "refusal", "saved_shapes"]


def refusal(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why this engine cannot serve such tensors; None if it can."""
    if device.type != "cpu":
        return f"it runs on the CPU, the input is on {device}"
    if dtype not in (torch.float32, torch.float64):
        return f"it computes in float32 and float64, the input is {str(dtype).removeprefix('torch.')}"
    return None


def describe() -> str:
    """What kernels are compiled for, and how many threads run them."""
    names = {"avx512": "AVX-512", "avx2": "AVX2", "portable": "portable vectors"}
    count = threads.count()
    why = "" if threads.runtime() is not None else " (PyTorch brings no OpenMP runtime here)"
    return f"{names[machine.current().name]}, {count} thread{'s' if count != 1 else ''}{why}"
