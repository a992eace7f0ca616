"""The language's elementwise operations, as PyTorch's."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.language.operations import OPERATIONS

Operand = Any  # a tensor, or a Python number for a constant


def _where(condition: Tensor, a: Operand, b: Operand) -> Tensor:
    return torch.where(condition, a, b)


def _as_tensors(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of two tensors that also takes a number for one of them."""

    def wrapped(a: Operand, b: Operand) -> Tensor:
        like = a if isinstance(a, Tensor) else b
        return function(*(v if isinstance(v, Tensor) else like.new_tensor(v) for v in (a, b)))

    return wrapped


TORCH: dict[str, Callable[..., Tensor]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "neg": torch.neg,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
    "where": _where,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "minimum": _as_tensors(torch.minimum),
    "maximum": _as_tensors(torch.maximum),
    "clip": torch.clamp,
    "hard_sigmoid": F.hardsigmoid,
    "softplus": lambda x: -F.logsigmoid(-x),  # F.softplus is an approximation above its threshold
    "mean": lambda x: x.mean(-1, keepdim=True).expand_as(x),
}
assert set(TORCH) == {*OPERATIONS, "mean"}
