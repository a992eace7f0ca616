"""A layer whose weights no processor's own cache holds, against large matrix products of the same turns."""

from __future__ import annotations

import functools

import torch

from benchmarks import calls, check
from benchmarks.measure import in_turns
from benchmarks.peers import drawn_input, ours, theirs
from benchmarks.report import OTHERS, Column, Row, Table, milliseconds, share, text, times
from benchmarks.settings import Settings
from benchmarks.shapes import Shape

from .common import seeded
from .grid import operations

SHAPE = Shape(256, 64, 1024, 1024)
PRODUCTS = (1024, 2048, 4096)  # the fastest of these counts
AT_LEAST = {False: 0.85, True: 0.8}
TURNS = 5.0  # times the seconds of other rows


def run(settings: Settings) -> Table:
    """Inference and a training step."""
    columns = [
        Column("shape", "(T, B, I, H)", text, 22, names=True),
        Column("phase", "phase", text, 10, names=True),
        Column("own_ms", f"{settings.engine} ms", milliseconds, 10, compared=True),
        Column("of_peak", "of peak", share, 8, compared=True),
        Column("peer_ms", "nn.LSTM ms", milliseconds, 11),
        Column("peer_of_peak", "of peak", share, 8),
        Column("ratio", "×", times, 8, compared=True),
        Column("spread", "spread", share, 7),
        Column("peak", "products GFLOP/s", lambda value: f"{value / 1e9:.0f}", 17),
        OTHERS,
    ]
    title = (
        "large weights, float32; × = times as fast as nn.LSTM; the peak is that of matrix products in the same turns"
    )
    table = Table("large", title, columns)
    for training in (False, True):
        _measure(table, settings, SHAPE, training)
        rows = [row for row in table.rows if row["phase"] == calls.phase_of(training)]
        if rows:
            figure, wanted = rows[0]["of_peak"], AT_LEAST[training]
            table.require(f"of peak, {calls.phase_of(training)}", f"≥ {wanted:g}", share(figure), figure >= wanted)
    return table


def _measure(table: Table, settings: Settings, shape: Shape, training: bool) -> None:
    seeded()
    peer = theirs("LSTM", shape).train(training)
    own = ours("LSTM", shape, settings.engine, peer).train(training)
    x, gradient = drawn_input(shape, requires_grad=training and settings.input_gradient)
    row: Row = {"shape": str(shape), "phase": calls.phase_of(training)}
    timed = {"torch": calls.call(peer, x, gradient), settings.engine: calls.call(own, x, gradient)}
    who, off = check.furthest(timed["torch"](), {settings.engine: timed[settings.engine]()})
    if not off <= check.TOLERANCE:
        table.refuse(row, who, off)
        return
    products = {}
    for size in PRODUCTS:
        a, b = torch.randn(size, size), torch.randn(size, size)
        products[f"{size}"] = functools.partial(torch.mm, a, b, out=torch.empty(size, size))
    taken = in_turns({**timed, **products}, TURNS * settings.seconds, least=5)
    peak = max(2 * size**3 / taken.median(f"{size}") for size in PRODUCTS)
    ratio = taken.ratio("torch", settings.engine)
    work = operations(shape, "LSTM", training, x.requires_grad)
    table.add(
        {
            **row,
            "own_ms": 1e3 * taken.median(settings.engine),
            "of_peak": work / taken.median(settings.engine) / peak,
            "peer_ms": 1e3 * taken.median("torch"),
            "peer_of_peak": work / taken.median("torch") / peak,
            "ratio": ratio.value,
            "spread": ratio.spread,
            "peak": peak,
            "rounds": taken.rounds,
            "others": taken.others,
            "error": off,
        }
    )
