"""Peak extra memory of a training step, each in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.report import Column, Row, Table, one_decimal, text, times
from benchmarks.settings import Settings
from benchmarks.shapes import LARGE, MIDDLE, Shape

from .common import probe

SHAPES = (MIDDLE, LARGE, Shape(100, 64, 512, 512), Shape(784, 64, 1, 128))


def run(settings: Settings) -> Table:
    """An LSTM at four shapes."""
    columns = [
        Column("shape", "(T, B, I, H)", text, 20, names=True),
        Column("own", f"{settings.engine} MiB", one_decimal, 14, compared=True),
        Column("torch", "nn.LSTM MiB", one_decimal, 12),
        Column("ratio", "of nn.LSTM", times, 11, compared=True),
        Column("auto_ratio", "auto", times, 8),
        Column("engine", "auto took", text, 12),
    ]
    title = "peak resident memory of an LSTM's training step above what was there before; times nn.LSTM's"
    note = "each in a fresh process after a first step at that shape; the median of three steps"
    table = Table("memory", title, columns, note)
    if not Path("/proc/self/clear_refs").exists():
        print("only Linux tells the highest resident size since a moment")
        return table
    for shape in SHAPES:
        found = {}
        for who in ("torch", settings.engine, "auto"):
            arguments = (who, ",".join(map(str, shape)), settings.threads, int(settings.input_gradient))
            found[who] = probe("memory", *arguments, environment=os.environ)
        peer, own, auto = (found[who]["bytes"] for who in ("torch", settings.engine, "auto"))
        row: Row = {
            "shape": str(shape),
            "own": own / 2**20,
            "torch": peer / 2**20,
            "auto_mib": auto / 2**20,
            "ratio": own / peer,
            "auto_ratio": auto / peer,
            "engine": found["auto"]["engine"],
        }
        table.add(row)
    table.require_at_most(f"{settings.engine}, peak extra memory, of nn.LSTM", 1.1, "ratio")
    table.require_at_most("auto, peak extra memory, of nn.LSTM", 1.1, "auto_ratio")
    return table
