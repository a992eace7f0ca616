"""All randomness of the layers' forward pass, from PyTorch's generators."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def bernoulli(probability: float, shape: Sequence[int], like: Tensor) -> Tensor:
    """Ones with the given probability and zeros, with dtype and device of another tensor.

    >>> bernoulli(1.0, (2,), torch.zeros(1)).tolist()
    [1.0, 1.0]
    """
    exact = torch.promote_types(like.dtype, torch.float32)  # half precision would round the probability
    # Comparing uniform numbers takes less than half the time of torch.bernoulli.
    return (torch.rand(tuple(shape), dtype=exact, device=like.device) < probability).to(like.dtype)


def dropout(x: Tensor, probability: float) -> Tensor:
    """PyTorch's dropout, in training.

    >>> dropout(torch.ones(2), 0.0).tolist()
    [1.0, 1.0]
    """
    return F.dropout(x, probability, training=True)
