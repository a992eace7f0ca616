"""Recurrent layers as people write them by hand in PyTorch: the peer that every engine is measured against.

The input projection is hoisted out of the loop; a step is one addmm and one chunk.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def lstm_loop(
    x: Tensor, h: Tensor, c: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """An LSTM over x, (T, B, I), from h and c, (B, H)."""
    projected = F.linear(x, weight_ih, bias_ih + bias_hh)  # (T, B, 4H)
    recurrent = weight_hh.t()
    outputs = []
    for row in projected.unbind(0):
        i, f, g, o = torch.addmm(row, h, recurrent).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs), (h, c)
