"""An encoder–decoder and its pairs: the loss, and what the loop trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.data import DataError, Told, untold
from holdfast.data.pairs import Pairs, TextPairs
from holdfast.models import EncoderDecoder
from holdfast.training import Devices, Loss

from ..lengths import in_order
from .batches import Batch, Epoch, batch_of, learnable
from .options import PairedOptions

Array = np.ndarray[Any, Any]
Measured = Callable[[nn.Module], Mapping[str, float]]

_STEPS = 8192  # tokens of sources and targets with their padding that are measured at a time


def losses(model: EncoderDecoder, batch: Batch, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Of each token of the targets and of their ends what is to become small, and its nats; (N,) each."""
    decoded = model(model.read(batch.source, batch.lengths), batch.before)
    return model.loss(decoded.features[batch.there], batch.after[batch.there], smoothing)


def nats_of(model: EncoderDecoder, part: TextPairs, which: Array, told: Told = untold) -> Array:
    """Minus the logarithm of the probability of each target with its end, (S,), in nats."""
    found = np.zeros(len(which))
    ours, theirs = (lengths[which] for lengths in part.lengths)
    done = 0
    with torch.no_grad():
        for some in in_order(ours + theirs, _STEPS):
            told(f"measuring: {done:,} of {len(which):,}")
            batch = batch_of(part, which[some], model.end)
            each = torch.zeros(batch.after.shape, dtype=torch.float64)
            each[batch.there] = losses(model, batch.to(model.device))[1].double().cpu()
            found[some] = each.sum(0).numpy()
            done += len(some)
    return found


class PairedProblem:
    """An encoder–decoder and its pairs, as the loop sees them.

    Args:
        objective: the measure that is to become small.
        data: the pairs.
        options: of the training.
        place: where it runs.
        measured: gives the measures on the validation data.
    """

    def __init__(self, objective: str, data: Pairs, options: PairedOptions, place: Devices, measured: Measured) -> None:
        self.objective, self._options, self._place, self._measured = objective, options, place, measured
        self._train = data.parts["train"]
        self._end = data.encodings[1].size
        self._which = learnable(self._train, options.longest)
        for name in ("train", "valid"):
            if not len(learnable(data.parts[name], options.longest)):
                raise DataError(
                    f"in all pairs of the part {name} a side has more than {options.longest:,} tokens (--longest)"
                )
        self._typical = options.batch_size * float((self._train.lengths[1][self._which] + 1).mean())

    def epoch(self, number: int) -> Sequence[Batch]:
        """All pairs once, in an order of this epoch."""
        seed = self._options.seed * 1_000_003 + number
        given = (self._train, self._which, self._end, self._options.batch_size, seed)
        return Epoch(*given, self._place.rank, self._place.size)

    def carry(self) -> Sequence[Tensor]:
        """Nothing: each pair begins anew."""
        return ()

    def loss(self, model: nn.Module, batch: Batch, carry: Sequence[Tensor]) -> Loss:
        """What is to become small of each token, over the tokens of a typical batch.

        Batches are of targets of like length: were it the mean over their own tokens, one of a short target would count
        for many of a long one. What is shown is the mean, without the smoothing.
        """
        value, nats = losses(cast(EncoderDecoder, model), batch.to(self._place.device), self._options.smoothing)
        return Loss(value.sum() / self._typical, nats.mean(), ())

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """The measures on the validation data."""
        return self._measured(model)
