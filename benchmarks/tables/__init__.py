"""The tables, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.report import Table
from benchmarks.settings import Settings

from . import compilation, grid, memory, options, own_cell, ragged, stream, text

TABLES: Mapping[str, Callable[[Settings], Table]] = {
    "compile": compilation.run,
    "inference": grid.inference_table,
    "training": grid.training_table,
    "options": options.run,
    "own-cell": own_cell.run,
    "ragged": ragged.run,
    "stream": stream.run,
    "memory": memory.run,
    "text": text.run,
}
