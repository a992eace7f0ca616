"""Which engine runs a call, and why."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import torch

from holdfast.language import parse

from . import llvm, triton, vendor
from .compiling import constant

ENGINES = ("auto", "reference", "llvm", "triton", "vendor")

STEPWISE = "PyTorch operations, step by step, which can take ten times as long as a fused kernel"

CUDNN = (
    "cuDNN's kernel for this plain cell, which has no second derivatives; "
    "calls with lengths, reset or trace run in {others}"
)
TRITON = "Triton's kernels, compiled for this GPU from the equations above"
UNTRIED = (
    'engine="triton" is there to be tried: at this size its programs wait for each other, which has passed no test on '
    "a GPU yet"
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
    hidden: int,
    *,
    traced: bool = False,
    lengths: bool = False,
    reset: bool = False,
) -> Choice:
    """The engine for a call of a layer.

    >>> from holdfast import cells, language
    >>> choose("auto", language.trace(cells.LSTM()).text(), torch.device("cpu"), torch.float32, 5).engine
    'llvm'

    Args:
        asked: what the layer was asked to use: an engine by name, or "auto".
        program: the traced cell as text.
        device, dtype: those of the input, after autocast.
        hidden: H, the layer's units. The sizes of a call, T and B, do not count: they may be symbols to torch.compile,
            and one exported program serves them all.
        traced: whether the states and the shown values of every step are wanted.
        lengths: whether lengths are given.
        reset: whether boundaries are given.

    Raises:
        NotImplementedError: an engine was asked for by name that cannot serve this call.
    """
    choice = _constant(asked, program, device, dtype, hidden, traced, lengths, reset)
    if isinstance(choice, str):
        raise NotImplementedError(choice)
    return choice


@constant  # of what torch.compile has guards for: no shape of a call is among it
def _constant(*call: object) -> Choice | str:
    return _chosen(*call)


@functools.lru_cache(maxsize=1024)
def _chosen(
    asked: str,
    program: str,
    device: torch.device,
    dtype: torch.dtype,
    hidden: int,
    traced: bool,
    lengths: bool,
    reset: bool,
) -> Choice | str:
    """The choice, or why there is none; asked anew in every call, so it is remembered."""
    check_name(asked)
    if asked == "reference":
        return Choice("reference", "asked for by name")
    objections: list[str] = []
    for choice, objection in _candidates(asked, program, device, dtype, hidden, traced, lengths, reset):
        if objection is None:
            return choice if asked == "auto" else choice._replace(reason="asked for by name")
        objections.append(objection)
    if asked == "auto":
        return Choice("reference", "; ".join((STEPWISE, *objections)))
    return f"engine={asked!r} {objections[0].removeprefix(asked + ' ')}"


def _candidates(
    asked: str,
    program: str,
    device: torch.device,
    dtype: torch.dtype,
    hidden: int,
    traced: bool,
    lengths: bool,
    reset: bool,
) -> Iterator[tuple[Choice, str | None]]:
    """The engines in question, the preferred one first, each with what speaks against it, or None.

    On a GPU cuDNN comes first for what it can do: nobody has measured Triton's kernels against it yet. Triton's are
    taken without being asked for only where their programs do not wait for each other.
    """
    if asked == "llvm" or (asked == "auto" and device.type == "cpu"):
        objection = _cannot("llvm", llvm.refusal(device, dtype))
        yield Choice("llvm", "compiled for this machine from the equations above"), objection
    if asked == "vendor" or (asked == "auto" and device.type != "cpu"):
        others = "Triton's kernels"
        if triton.refusal(device, dtype):
            others = STEPWISE
        elif not triton.alone(parse(program), hidden):
            others = f"{STEPWISE}; {UNTRIED}"
        objection = _cannot("vendor", vendor.refusal(parse(program), device, dtype, traced, lengths, reset))
        yield Choice("vendor", CUDNN.format(others=others)), objection
    if asked == "triton" or (asked == "auto" and device.type == "cuda"):
        objection = _cannot("triton", triton.refusal(device, dtype))
        if objection is None and asked == "auto" and not triton.alone(parse(program), hidden):
            objection = UNTRIED
        yield Choice("triton", TRITON), objection


def _cannot(engine: str, refusal: str | None) -> str | None:
    return None if refusal is None else f"{engine} cannot serve this call: {refusal}"
