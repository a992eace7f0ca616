"""Which steps of a sequence moved what a model says of it."""

from __future__ import annotations

from collections.abc import Sequence as Several
from typing import Any

import numpy as np
import torch

from holdfast.models import SequenceModel

from .batches import side_by_side

Array = np.ndarray[Any, Any]


def influence(model: SequenceModel, sequence: Array, output: int = 0) -> Array:
    """By how much each step pushes an output up, to first order, (T,).

    The gradient times what the first layer reads, summed over its entries: what leaving the step empty would take away
    if the model were linear. Empty is a word that stands for nothing, or a value that is the mean of its channel. Of
    several outputs, it is the influence on how far one lies above the mean of the others: probabilities depend on
    nothing else.

    >>> model = SequenceModel(outputs=3, vocabulary=11, embedding=8, hidden=16).eval()
    >>> influence(model, np.array([1, 5, 5, 2]), output=2).shape
    (4,)

    Args:
        model: in evaluation mode.
        sequence: tokens (T,), or a series (T, C).
        output: the number of the output.
    """
    found: Array = contributions(model, [sequence], [output])[0].sum(1)
    return found


def contributions(model: SequenceModel, sequences: Several[Array], outputs: Several[int]) -> list[Array]:
    """The same of many sequences, each with its output, and apart for each entry that is read; of each (T, I).

    Entries are those of what stands for a token, or the channels; that a value is missing counts as its channel's.
    """
    longest = max(map(len, sequences))
    batch = side_by_side(sequences, np.zeros(len(sequences)), longest)
    device = next(model.parameters()).device
    with torch.enable_grad():
        inputs = model.inputs(batch.x.to(device)).detach().requires_grad_()  # (T, B, I)
        said = model.from_inputs(inputs, batch.lengths.to(device))  # (B, K)
        chosen = said[torch.arange(len(said)), torch.tensor(outputs)]
        others = said.shape[1] - 1
        above = chosen - (said.sum(1) - chosen) / others if others else chosen
        (gradient,) = torch.autograd.grad(above.sum(), inputs)
    found = (gradient * inputs).double().numpy(force=True)
    if model.gaps:
        values, missing = np.split(found, 2, -1)
        found = values + missing
    return [found[: len(each), k] for k, each in enumerate(sequences)]
