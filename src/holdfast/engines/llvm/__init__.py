"""The CPU engine: a program compiled in the process, by LLVM through llvmlite, to fused kernels."""

from __future__ import annotations

import torch

from . import machine, threads
from .run import backward, forward, saved_shapes

__all__ = ["backward", "describe", "forward", "refusal", "saved_shapes", "vectors"]


def refusal(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why this engine cannot serve such tensors; None if it can."""
    if device.type != "cpu":
        return f"it runs on the CPU, the input is on {device}"
    if dtype not in (torch.float32, torch.float64, torch.bfloat16):
        return f"it computes in float32, float64 and bfloat16, the input is {str(dtype).removeprefix('torch.')}"
    return None


def describe(dtype: torch.dtype = torch.float32) -> str:
    """What kernels are compiled for, for some dtype, and how many threads run them."""
    count = threads.count()
    why = "" if threads.runtime() is not None else " (PyTorch brings no OpenMP runtime here)"
    return f"{vectors(dtype)}, {count} thread{'s' if count != 1 else ''}{why}"


def vectors(dtype: torch.dtype = torch.float32) -> str:
    """What kernels for some dtype are compiled for."""
    target = machine.current()
    name = {"avx512": "AVX-512", "avx2": "AVX2", "portable": "portable vectors"}[target.name]
    if dtype != torch.bfloat16:
        return name
    products = "tiles (AMX)" if target.tiles else "pairs (AVX-512-BF16)" if target.dots else "float32"
    return f"{name}, products of bfloat16 in {products}"
