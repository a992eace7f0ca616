"""All randomness of the layers' forward pass, from PyTorch's generators."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def bernoulli(probability: float, shape: Sequence[int], like: Tensor) -> Tensor:
    """Ones with the given probability and zeros, with dtype and device of another tensor.

    >>> bernoulli(1.0, (2,), torch.zeros(1)).tolist()
    [1.0, 1.0]
    """
    if probability <= 0:
        return like.new_zeros(tuple(shape))
    count = math.prod(shape)
    # Whole numbers of 64 bits, each read as two of 32, take half the time of torch.bernoulli.
    drawn = torch.randint(-(1 << 63), (1 << 63) - 1, ((count + 1) // 2,), device=like.device).view(torch.int32)
    below = round(probability * (1 << 32)) - (1 << 31)  # so many of the 2^32 values lie below it
    return (drawn[:count] <= below - 1).to(like.dtype).view(tuple(shape))


def dropout(x: Tensor, probability: float) -> Tensor:
    """PyTorch's dropout, in training.

    >>> dropout(torch.ones(2), 0.0).tolist()
    [1.0, 1.0]
    """
    return F.dropout(x, probability, training=True)
