"""A model reads many sequences."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from holdfast.data import Sequences, Told
from holdfast.models import SequenceModel

from .batches import read_together, side_by_side


@torch.no_grad()
def said_of(model: SequenceModel, data: Sequences, longest: int, told: Told | None = None) -> Tensor:
    """What a model says of each sequence, in their order, (N, K), on the CPU."""
    device = next(model.parameters()).device
    found = torch.empty(len(data), model.output.out_features)
    done = 0
    for which in read_together(data, longest):
        batch = side_by_side([data.of(k) for k in which], np.zeros(len(which)), longest)
        found[torch.from_numpy(which)] = model(batch.x.to(device), batch.lengths.to(device)).float().cpu()
        done += len(which)
        if told is not None:
            told(f"reading: {done:,} of {len(data):,} sequences")
    return found
