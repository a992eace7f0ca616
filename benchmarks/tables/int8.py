"""A step of a stream with int8 weights against one with the layer's own."""

from __future__ import annotations

import torch

import holdfast
from benchmarks.measure import in_turns
from benchmarks.peers import ours
from benchmarks.report import OTHERS, Column, Row, Table, one_decimal, share, text, times
from benchmarks.settings import Settings
from benchmarks.shapes import Shape

from .common import seeded
from .stream import STEPS, batch_of_steps

SIZES = (64, 128, 256, 512)
WIDE = 256  # units from which a ratio is asked for
TOLERANCE = 0.02  # of the largest output: weights are off by up to a 254th of their row's largest


def run(settings: Settings) -> Table:
    """All sizes, I = H."""
    columns = [
        Column("size", "I = H", text, 6, names=True),
        Column("int8_us", "int8 µs", one_decimal, 9, compared=True),
        Column("exact_us", "float32 µs", one_decimal, 11),
        Column("ratio", "×", times, 8, compared=True),
        Column("spread", "spread", share, 7),
        Column("deviation", "outputs off by", lambda value: f"{value:.2%}", 15),
        OTHERS,
    ]
    title = "stream.step with int8 weights, one LSTM layer, batch 1; × = times as fast as with float32 weights"
    table = Table("stream-int8", title, columns, f"batches of {STEPS} steps, a fresh NumPy array each")
    for size in SIZES:
        _measure(table, settings, size)
    wide = [row for row in table.rows if row["size"] >= WIDE]
    table.require_at_least(f"× float32, I = H ≥ {WIDE}", 2.0, "ratio", wide)
    return table


def _measure(table: Table, settings: Settings, size: int) -> None:
    seeded()
    layer = ours("LSTM", Shape(1, 1, size, size), settings.engine).eval()
    row: Row = {"size": size}
    deviation = holdfast.explain(layer.stream(int8=True)).deviation
    assert deviation is not None
    if not deviation <= TOLERANCE:
        table.refuse(row, "int8", deviation, TOLERANCE)
        return
    x = torch.randn(1, size).numpy()
    timed = {name: batch_of_steps(layer.stream(int8=name == "int8").step, x) for name in ("int8", "exact")}
    taken = in_turns(timed, settings.seconds / 2)
    ratio = taken.ratio("exact", "int8")
    table.add(
        {
            **row,
            **{f"{name}_us": 1e6 / STEPS * taken.median(name) for name in timed},
            "ratio": ratio.value,
            "spread": ratio.spread,
            "deviation": deviation,
            "rounds": taken.rounds,
            "others": taken.others,
        }
    )
