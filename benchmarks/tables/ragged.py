"""Ragged lengths against the padded run, ours and PyTorch's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks import calls, check
from benchmarks.measure import in_turns
from benchmarks.peers import drawn_input, ours, theirs
from benchmarks.report import OTHERS, Column, Row, Table, milliseconds, share, text, times
from benchmarks.settings import Settings
from benchmarks.shapes import LARGE, MIDDLE, Shape

from .common import seeded


def run(settings: Settings) -> Table:
    """A training step at two shapes."""
    columns = [
        Column("shape", "(T, B, I, H)", text, 20, names=True),
        Column("own_ms", f"{settings.engine} ms", milliseconds, 12, compared=True),
        Column("padded_ms", "padded ms", milliseconds),
        Column("cost", "of padded", times, compared=True),
        Column("spread", "spread", share, 7),
        Column("packed_ms", "torch: packed ms", milliseconds, 18),
        Column("torch_padded_ms", "padded ms", milliseconds),
        Column("torch_cost", "of padded", times),
        Column("torch_spread", "spread", share, 7),
        OTHERS,
    ]
    title = "an LSTM's training step with lengths spread evenly from 1 to T; times the padded run's time"
    note = "torch: nn.LSTM with a PackedSequence, from packing to padding, against nn.LSTM without"
    table = Table("ragged", title, columns, note)
    for shape in (MIDDLE, LARGE):
        _measure(table, settings, shape)
    table.require_at_most("ragged, training, of padded", 0.7, "cost")
    return table


def even_lengths(steps: int, batch: int) -> Tensor:
    """Lengths spread evenly from 1 to T, in random order.

    >>> sorted(even_lengths(10, 4).tolist())
    [1, 4, 7, 10]
    """
    return torch.linspace(1, steps, batch).round().long()[torch.randperm(batch)]


def _measure(table: Table, settings: Settings, shape: Shape) -> None:
    seeded()
    peer = theirs("LSTM", shape)
    layer = ours("LSTM", shape, settings.engine, peer)
    lengths = even_lengths(shape.steps, shape.batch)
    x, gradient = drawn_input(shape, requires_grad=settings.input_gradient)

    def packed() -> Tensor:
        output, _ = peer(pack_padded_sequence(x, lengths, enforce_sorted=False))
        padded: Tensor = pad_packed_sequence(output, total_length=shape.steps)[0]
        return padded

    own = {
        "ragged": calls.call(layer, x, gradient, lambda: layer(x, lengths=lengths)[0]),
        "padded": calls.call(layer, x, gradient),
    }
    torchs = {"packed": calls.call(peer, x, gradient, packed), "padded": calls.call(peer, x, gradient)}
    row: Row = {"shape": str(shape), "mean_length": lengths.double().mean().item()}
    who, off = check.furthest(torchs["packed"](), {settings.engine: own["ragged"]()})
    if not off <= check.TOLERANCE:
        table.refuse(row, who, off)
        return
    taken = in_turns(own, settings.seconds)
    slow = in_turns(torchs, settings.seconds, least=3, warm_up=1)
    cost, torch_cost = taken.ratio("ragged", "padded"), slow.ratio("packed", "padded")
    table.add(
        {
            **row,
            "own_ms": 1e3 * taken.median("ragged"),
            "padded_ms": 1e3 * taken.median("padded"),
            "cost": cost.value,
            "spread": cost.spread,
            "packed_ms": 1e3 * slow.median("packed"),
            "torch_padded_ms": 1e3 * slow.median("padded"),
            "torch_cost": torch_cost.value,
            "torch_spread": torch_cost.spread,
            "rounds": taken.rounds,
            "others": taken.others,
            "error": off,
        }
    )
