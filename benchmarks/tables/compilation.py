"""What the first call of a fresh cell costs."""

from __future__ import annotations

import os
import tempfile

from benchmarks.probes.compilation import LAYERS
from benchmarks.report import Column, Row, Table, milliseconds, text
from benchmarks.settings import Settings

from .common import probe


def run(settings: Settings) -> Table:
    """Several cells, each with an empty cache of compiled code and with a filled one."""
    columns = [
        Column("layer", "layer", text, 24, names=True),
        Column("cold", "cold ms", milliseconds, 10, compared=True),
        Column("cold_cpu", "of the CPU", milliseconds, 10),
        Column("warm", "warm ms", milliseconds, 10, compared=True),
        Column("make", "making it ms", milliseconds, 14),
        Column("second", "second call ms", milliseconds, 15),
    ]
    title = "the first call (forward and backward) of a fresh layer less the second, in ms; cold and warm cache on disk"
    note = "each in a fresh process in which PyTorch has already trained a layer of its own; making it comes on top"
    table = Table("compile", title, columns, note)
    for name in LAYERS:
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "XDG_CACHE_HOME": folder}
            cold, warm = (
                probe("compilation", name, settings.engine, settings.threads, environment=environment) for _ in range(2)
            )
        row: Row = {
            "layer": name,
            "cold": 1e3 * cold["first"],
            "cold_cpu": 1e3 * cold["first_cpu"],
            "warm": 1e3 * warm["first"],
            "make": 1e3 * cold["make"],
            "second": 1e3 * cold["second"],
        }
        table.add(row)
    table.require_at_most("first call, cold cache, ms", 500, "cold")
    return table
