"""Gates computed again on the way back: what it saves of a training step's memory, and what it costs in time."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks import calls, check
from benchmarks.measure import in_turns
from benchmarks.peers import drawn_input, ours
from benchmarks.report import OTHERS, Column, Row, Table, milliseconds, one_decimal, share, text, times
from benchmarks.settings import Settings
from benchmarks.shapes import Shape

from .common import probe, seeded
from .memory import SHAPES


def run(settings: Settings) -> Table:
    """An LSTM at the shapes of the table of memory."""
    columns = [
        Column("shape", "(T, B, I, H)", text, 20, names=True),
        Column("own", "MiB", one_decimal, 8, compared=True),
        Column("torch", "nn.LSTM MiB", one_decimal, 12),
        Column("memory", "of nn.LSTM", times, 11, compared=True),
        Column("own_ms", "ms", milliseconds, 8, compared=True),
        Column("kept_ms", "kept, ms", milliseconds, 9),
        Column("time", "of kept", times, 8, compared=True),
        Column("spread", "spread", share, 7),
        OTHERS,
    ]
    title = (
        f"{settings.engine} with recompute=True; peak extra memory of a training step, and its time beside that without"
    )
    table = Table("recompute", title, columns)
    if not Path("/proc/self/clear_refs").exists():
        print("only Linux tells the highest resident size since a moment")
        return table
    for shape in SHAPES:
        _measure(table, settings, shape)
    table.require_at_most("peak extra memory, of nn.LSTM", 0.5, "memory")
    table.require_at_most("time, of a step that keeps the gates", 1.4, "time")
    return table


def _measure(table: Table, settings: Settings, shape: Shape) -> None:
    seeded()
    layers = {name: ours("LSTM", shape, settings.engine, recompute=name == "again") for name in ("kept", "again")}
    layers["again"].load_state_dict(layers["kept"].state_dict())
    x, gradient = drawn_input(shape, requires_grad=settings.input_gradient)
    timed = {name: calls.call(layer, x, gradient) for name, layer in layers.items()}
    row: Row = {"shape": str(shape)}
    who, off = check.furthest(timed["kept"](), {"again": timed["again"]()})
    if not off <= check.TOLERANCE:
        table.refuse(row, who, off)
        return
    taken = in_turns(timed, settings.seconds)
    ratio = taken.ratio("again", "kept")
    own, peer = (
        probe("memory", who, ",".join(map(str, shape)), settings.threads, int(settings.input_gradient), again,
              environment=os.environ)["bytes"]
        for who, again in ((settings.engine, 1), ("torch", 0))
    )  # fmt: skip
    table.add(
        {
            **row,
            "own": own / 2**20,
            "torch": peer / 2**20,
            "memory": own / peer,
            "own_ms": 1e3 * taken.median("again"),
            "kept_ms": 1e3 * taken.median("kept"),
            "time": ratio.value,
            "spread": ratio.spread,
            "rounds": taken.rounds,
            "others": taken.others,
            "error": off,
        }
    )
