"""The GPU engine: a program compiled by Triton, which PyTorch's GPU builds bring along, to fused kernels."""

from __future__ import annotations

import importlib.metadata
import importlib.util

import torch

from .kernels import alone, interpreted
from .run import backward, forward, saved_shapes

__all__ = ["alone", "backward", "describe", "forward", "refusal", "saved_shapes"]


def refusal(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why this engine cannot serve such tensors; None if it can."""
    if importlib.util.find_spec("triton") is None:
        return "it needs Triton, which comes with PyTorch's GPU builds and cannot be imported here (pip install triton)"
    if device.type != "cuda" and not (device.type == "cpu" and interpreted()):
        return f"it runs on a GPU, or on the CPU with TRITON_INTERPRET=1; the input is on {device}"
    if dtype not in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        return (
            f"it computes in float32, float64, bfloat16 and float16, the input is {str(dtype).removeprefix('torch.')}"
        )
    return None


def describe() -> str:
    """What runs the kernels."""
    version = importlib.metadata.version("triton")
    return f"Triton {version}{', in its interpreter' if interpreted() else ''}"
