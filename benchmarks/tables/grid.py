"""Plain layers against PyTorch's, in inference and in training, over the grid of shapes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from statistics import geometric_mean
from typing import Any

import torch

from benchmarks import calls, check
from benchmarks.measure import in_turns
from benchmarks.multiply_adds import MultiplyAdds
from benchmarks.peers import CELLS, drawn_input, ours, theirs
from benchmarks.report import OTHERS, Column, Row, Table, interval, milliseconds, share, text, times
from benchmarks.settings import Settings
from benchmarks.shapes import Shape
from holdfast.engines.llvm.machine import current

from .common import seeded

SLOWER = 0.97  # a ratio below this counts as slower
PRODUCT = 768  # of the square matrices whose product is timed in the turns of each row
NOT_LOWERED = 1.05  # of the multiply-adds' peak: a library that exceeds it uses wider vectors than our kernels
PEAKS = "of peak, products: of the multiply-adds' peak at our vectors, by us and by a PyTorch product in the same turns"


def inference_table(settings: Settings) -> Table:
    """Inference, float32."""
    table = Table("inference", "float32, inference mode; × = times as fast as PyTorch's layer", _columns(), PEAKS)
    _measure(table, settings, training=False)
    _require(table, settings, mean=1.5 if _wide() else 1.15)
    one = [row for row in table.rows if row["batch"] == 1]
    if one:
        mean = geometric_mean(_ratios(one))
        each = ", ".join(f"{row['cell']} H={row['hidden']} {times(row['ratio'])}" for row in one)
        figure = f"geometric mean {times(mean)} ({each})"
        least = 2.5 if _wide() else 1.15
        table.require(f"{settings.engine}, batch 1", f"≥ {least:g}", figure, mean >= least)
    return table


def training_table(settings: Settings) -> Table:
    """A training step, float32."""
    note = "forward, and backward to the weights" + (" and x" if settings.input_gradient else "; x needs no gradient")
    title = "float32, a training step; × = times as fast as PyTorch's layer"
    table = Table("training", title, _columns(), f"{note}; {PEAKS}")
    _measure(table, settings, training=True)
    _require(table, settings, mean=1.6 if _wide() else 1.15)
    return table


def _wide() -> bool:
    """Whether kernels have AVX-512, with which more is asked."""
    return current().name == "avx512"


def _columns() -> list[Column]:
    return [
        Column("shape", "(T, B, I, H)", text, 20, names=True),
        Column("cell", "cell", text, 5, names=True),
        Column("engine", "engine", text, 8),
        Column("own_ms", "ms", milliseconds, 8, compared=True),
        Column("of_peak", "of peak", share, 8),
        Column("peer_ms", "torch ms", milliseconds),
        Column("ratio", "×", times, 6, compared=True),
        Column("interval", "95 %", interval, 11),
        Column("llvm_ratio", "llvm ×", times, 7, compared=True),
        Column("llvm_interval", "95 %", interval, 11),
        Column("product_of_peak", "products", share, 8),
        OTHERS,
        Column("mark", "", text),
    ]


def _measure(table: Table, settings: Settings, training: bool) -> None:
    for shape in settings.shapes:
        for cell in settings.cells:
            _measure_row(table, settings, shape, cell, training)


def _measure_row(table: Table, settings: Settings, shape: Shape, cell: str, training: bool) -> None:
    seeded()
    peer = theirs(cell, shape).train(training)
    own = ours(cell, shape, settings.engine, peer).train(training)
    x, gradient = drawn_input(shape, requires_grad=training and settings.input_gradient)
    layers = {"torch": peer, "own": own}
    engine = calls.engine_of(own, x)
    if settings.engine == "auto" and engine != "llvm":
        layers["llvm"] = ours(cell, shape, "llvm", peer).train(training)
    timed: dict[str, Callable[[], Any]] = {name: calls.call(layer, x, gradient) for name, layer in layers.items()}
    row: Row = {"shape": str(shape), "batch": shape.batch, "hidden": shape.hidden, "cell": cell, "engine": engine}
    who, off = check.furthest(timed["torch"](), {name: timed[name]() for name in timed if name != "torch"})
    if not off <= check.TOLERANCE:
        table.refuse(row, who, off)
        return
    multiply_adds = MultiplyAdds(settings.threads)
    square = torch.randn(PRODUCT, PRODUCT)
    timed |= {"multiply-adds": multiply_adds, "product": functools.partial(torch.mm, square, square)}
    taken = in_turns(timed, settings.seconds)
    ratio = taken.ratio("torch", "own")
    by_llvm = taken.ratio("torch", "llvm") if "llvm" in timed else ratio if engine == "llvm" else None
    work = operations(shape, cell, training, x.requires_grad)
    peak = multiply_adds.operations / taken.median("multiply-adds")
    of_peak = 2 * PRODUCT**3 / taken.median("product") / peak
    table.add(
        {
            **row,
            "own_ms": 1e3 * taken.median("own"),
            "of_peak": work / taken.median("own") / peak,
            "peer_ms": 1e3 * taken.median("torch"),
            "ratio": ratio.value,
            "interval": (ratio.low, ratio.high),
            "llvm_ratio": by_llvm and by_llvm.value,
            "llvm_interval": by_llvm and (by_llvm.low, by_llvm.high),
            "peak": peak,
            "product_of_peak": of_peak,
            "rounds": taken.rounds,
            "others": taken.others,
            "error": off,
            "mark": "peer not lowered" if of_peak > NOT_LOWERED else "",
        }
    )


def operations(shape: Shape, cell: str, training: bool, input_gradient: bool) -> float:
    """Multiplications and additions of the matrix products."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[cell]
    from_x, from_h = shape.inputs, shape.hidden
    if training:
        from_x, from_h = from_x * (3 if input_gradient else 2), from_h * 3
    return 2.0 * shape.steps * shape.batch * gates * shape.hidden * (from_x + from_h)


def _require(table: Table, settings: Settings, mean: float) -> None:
    if not table.rows:
        return
    by_cell = {cell: [row for row in table.rows if row["cell"] == cell] for cell in CELLS}
    for cell, rows in by_cell.items():
        table.require_at_least(f"{settings.engine} nowhere slower than nn.{cell}", SLOWER, "ratio", rows)
    below = [row for row in table.rows if row["interval"][1] < 1]
    figure = "; ".join(f"{table.label(row)} {times(row['ratio'])}" for row in below) or f"of {len(table.rows)} rows"
    table.require(
        f"{settings.engine}, rows whose 95 % interval lies below 1", "0", f"{len(below)}: {figure}", not below
    )
    found = geometric_mean(_ratios(table.rows))
    each = ", ".join(f"{cell} {times(geometric_mean(_ratios(rows)))}" for cell, rows in by_cell.items() if rows)
    figure = f"{times(found)} over {len(table.rows)} rows ({each})"
    table.require(f"{settings.engine}, geometric mean", f"≥ {mean:g}", figure, found >= mean)


def _ratios(rows: Sequence[Row]) -> list[float]:
    return [row["ratio"] for row in rows]
