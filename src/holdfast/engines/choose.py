"""Which engine runs a call, and why."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch

from holdfast.language import parse

from . import llvm, vendor
from .compiling import constant

ENGINES = ("auto", "reference", "llvm", "vendor")

STEPWISE = "PyTorch operations, step by step, which can take ten times as long as a fused kernel"

CUDNN = (
    "cuDNN's kernel for this plain cell, which has no second derivatives; calls with lengths, reset or trace run in "
    + STEPWISE
)


class Choice(NamedTuple):
    """An engine and the reason for it."""

    engine: str
    reason: str


def check_name(asked: str) -> None:
    """Refuse what is no engine's name."""
    if asked not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}; got {asked!r}")


def choose(
    asked: str,
    program: str,
    device: torch.device,
    dtype: torch.dtype,
    *,
    traced: bool = False,
    lengths: bool = False,
    reset: bool = False,
) -> Choice:
    """The engine for a call of a layer.

    >>> from holdfast import cells, language
    >>> choose("auto", language.trace(cells.LSTM()).text(), torch.device("cpu"), torch.float32).engine
    'llvm'

    Args:
        asked: what the layer was asked to use: an engine by name, or "auto".
        program: the traced cell as text.
        device, dtype: those of the input, after autocast.
        traced: whether the states and the shown values of every step are wanted.
        lengths: whether lengths are given.
        reset: whether boundaries are given.

    Raises:
        NotImplementedError: an engine was asked for by name that cannot serve this call.
    """
    choice = _constant(asked, program, device, dtype, traced, lengths, reset)
    if isinstance(choice, str):
        raise NotImplementedError(choice)
    return choice


@constant  # of what torch.compile has guards for: no shape is among it
def _constant(*call: object) -> Choice | str:
    return _chosen(*call)


@functools.lru_cache(maxsize=1024)
def _chosen(
    asked: str, program: str, device: torch.device, dtype: torch.dtype, traced: bool, lengths: bool, reset: bool
) -> Choice | str:
    """The choice, or why there is none; asked anew in every call, so it is remembered."""
    check_name(asked)
    if asked == "reference":
        return Choice("reference", "asked for by name")
    if asked == "llvm" or (asked == "auto" and device.type == "cpu"):
        refusal = llvm.refusal(device, dtype)
        served = Choice("llvm", "compiled for this machine from the equations above")
    else:
        refusal = vendor.refusal(parse(program), device, dtype, traced, lengths, reset)
        served = Choice("vendor", CUDNN)
    if refusal is None:
        return served if asked == "auto" else served._replace(reason="asked for by name")
    if asked == "auto":
        return Choice("reference", f"{STEPWISE}; {served.engine} cannot serve this call: {refusal}")
    return f"engine={asked!r} cannot serve this call: {refusal}"
