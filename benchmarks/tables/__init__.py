"""The tables, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.report import Table
from benchmarks.settings import Settings

from . import compilation, grid, half, int8, large, memory, options, own_cell, ragged, recompute, stream, text

TABLES: Mapping[str, Callable[[Settings], Table]] = {
    "compile": compilation.run,
    "inference": grid.inference_table,
    "training": grid.training_table,
    "inference-bfloat16": half.inference_table,
    "training-bfloat16": half.training_table,
    "large": large.run,
    "options": options.run,
    "own-cell": own_cell.run,
    "ragged": ragged.run,
    "stream": stream.run,
    "stream-int8": int8.run,
    "memory": memory.run,
    "recompute": recompute.run,
    "text": text.run,
}
