"""What tasks share that read one text and write another: batches, the loss, and measuring it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.data import DataError, Told, untold
from holdfast.data.pairs import Pairs, TextPairs
from holdfast.models import EncoderDecoder
from holdfast.training import Devices, Loss, TrainingOptions, option

from .lengths import drawn, in_order

Array = np.ndarray[Any, Any]
Measured = Callable[[nn.Module], Mapping[str, float]]

P = TypeVar("P", bound="PairedOptions")

_STEPS = 8192  # tokens of sources and targets with their padding that are measured at a time


@dataclass(frozen=True, kw_only=True)
class PairedOptions(TrainingOptions):
    """What the model is made of, and what it does not learn from."""

    longest: int = option(200, "Tokens; pairs in which a side has more are not learned from.", least=1)
    smoothing: float = option(0.1, "Of the target, the share that is spread over all tokens.", least=0.0, most=0.9)
    cell: Literal["lstm", "gru", "rnn", "slstm"] = option("lstm", "The recurrent layers' cell.")
    attention: Literal["general", "additive", "none"] = option("general", "How the decoder looks at the source.")
    embedding: int = option(0, "Numbers that stand for a token; 0: 256, of a character 128.", least=0)
    hidden: int = option(
        0, "Units of a layer of the decoder, half of them each direction of the encoder; 0: 512, of char 256.", least=0
    )
    layers: int = option(2, "Of the encoder, and of the decoder.", least=1)
    dropout: float = option(0.3, "Between layers, on the embedded tokens, and before the output.", least=0.0, most=0.95)
    weight_drop: float = option(0.0, "Of the recurrent weights.", least=0.0, most=0.95)


def settled(options: P, data: Pairs) -> P:
    """The options with the sizes of the model that suit the tokens."""
    hidden = 256 if data.encodings[1].level == "char" else 512
    return replace(options, hidden=options.hidden or hidden, embedding=options.embedding or hidden // 2)


class Batch(NamedTuple):
    """Pairs side by side.

    Attributes:
        source: tokens, (S, B); past a length 0.
        lengths: of the sources, (B,).
        before: each target after an end, (T, B).
        after: each target with the end after it, (T, B).
        there: where those are, (T, B).
    """

    source: Tensor
    lengths: Tensor
    before: Tensor
    after: Tensor
    there: Tensor


def side_by_side(sources: Sequence[Array], targets: Sequence[Array], end: int) -> Batch:
    """A batch of pairs of tokens; the number of the end is that of no token."""
    lengths = torch.tensor([len(each) + 1 for each in targets])
    before = sources_together([np.concatenate([[end], each]) for each in targets])[0]
    after, _ = sources_together([np.concatenate([each, [end]]) for each in targets])
    source, source_lengths = sources_together(sources)
    return Batch(source, source_lengths, before, after, torch.arange(len(before))[:, None] < lengths)


def sources_together(sources: Sequence[Array]) -> tuple[Tensor, Tensor]:
    """Sequences side by side, (S, B), and their lengths, (B,).

    >>> sources_together([np.array([3, 1]), np.array([2])])[0].tolist()
    [[3, 2], [1, 0]]
    """
    found = [torch.from_numpy(np.asarray(each, np.int64)) for each in sources]
    return torch.nn.utils.rnn.pad_sequence(found), torch.tensor([len(each) for each in found])


class Epoch(Sequence[Batch]):
    """The batches of an epoch, made when they are asked for; each process takes its own columns.

    Args:
        part: what is learned from.
        which: the pairs of it that are, (S,).
        end: the token that ends a target.
        batch_size: for each process.
        seed: of the order.
        rank, size: of this process.
    """

    def __init__(
        self, part: TextPairs, which: Array, end: int, batch_size: int, seed: int, rank: int = 0, size: int = 1
    ) -> None:
        self._part, self._end = part, end
        ours, theirs = part.lengths
        rows = which[drawn((ours + theirs)[which], batch_size * size, seed)]
        self._rows = rows[:, rank * batch_size : (rank + 1) * batch_size]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, k: Any) -> Any:
        return batch_of(self._part, self._rows[k], self._end)


def batch_of(part: TextPairs, which: Sequence[int] | Array, end: int) -> Batch:
    """Some pairs side by side."""
    return side_by_side([part.source(int(k)) for k in which], [part.target(int(k)) for k in which], end)


def learnable(part: TextPairs, longest: int) -> Array:
    """Which pairs are not too long on either side, (S,)."""
    ours, theirs = part.lengths
    found: Array = np.flatnonzero(np.maximum(ours, theirs) <= longest)
    return found


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
            each[batch.there] = losses(model, batch)[1].double()
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
        if not len(self._which):
            raise DataError(f"in all pairs a side has more than {options.longest:,} tokens (--longest)")

    def epoch(self, number: int) -> Sequence[Batch]:
        """All pairs once, in an order of this epoch."""
        seed = self._options.seed * 1_000_003 + number
        given = (self._train, self._which, self._end, self._options.batch_size, seed)
        return Epoch(*given, self._place.rank, self._place.size)

    def carry(self) -> Sequence[Tensor]:
        """Nothing: each pair begins anew."""
        return ()

    def loss(self, model: nn.Module, batch: Batch, carry: Sequence[Tensor]) -> Loss:
        """The mean over all tokens; what is shown is without the smoothing."""
        on_device = Batch(*(tensor.to(self._place.device) for tensor in batch))
        value, nats = losses(cast(EncoderDecoder, model), on_device, self._options.smoothing)
        return Loss(value.mean(), nats.mean(), ())

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """The measures on the validation data."""
        return self._measured(model)
