"""Plain LSTMs under autocast in bfloat16 against PyTorch's, in inference and in training, over the grid of shapes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import geometric_mean

import torch
from torch import Tensor, nn

from benchmarks import calls, check
from benchmarks.measure import in_turns, matrix_product_peak
from benchmarks.peers import drawn_input, ours, theirs
from benchmarks.report import OTHERS, Column, Row, Table, milliseconds, share, text, times
from benchmarks.settings import Settings
from benchmarks.shapes import Shape

from .common import seeded
from .grid import SLOWER, operations

TOLERANCE = 2.0**-5  # of max|a - b| / max|b|, as in the tests: eight roundings to bfloat16
WIDE = 256  # units from which more is asked in training


def inference_table(settings: Settings) -> Table:
    """Inference."""
    return _measured("inference-bfloat16", settings, training=False)


def training_table(settings: Settings) -> Table:
    """A training step."""
    table = _measured("training-bfloat16", settings, training=True)
    wide = [row for row in table.rows if row["hidden"] >= WIDE]
    _require_mean(table, f"auto, geometric mean, H ≥ {WIDE}", 1.8, wide)
    return table


def _measured(name: str, settings: Settings, training: bool) -> Table:
    columns = [
        Column("shape", "(T, B, I, H)", text, 20, names=True),
        Column("auto_ms", "auto ms", milliseconds, 10, compared=True),
        Column("of_peak", "of peak", share, 8),
        Column("peer_ms", "nn.LSTM ms", milliseconds, 11),
        Column("peer_of_peak", "of peak", share, 8),
        Column("ratio", "auto ×", times, 8, compared=True),
        Column("spread", "spread", share, 7),
        Column("engine", "auto took", text, 9),
        OTHERS,
        Column("note", "note", text, 15),
    ]
    peak = matrix_product_peak(dtype=torch.bfloat16)
    what = "a training step" if training else "inference mode"
    title = f"LSTM under autocast in bfloat16, {what}; × = times as fast as nn.LSTM under the same"
    table = Table(name, title, columns, f"bfloat16 matrix products at {peak / 1e9:.0f} GFLOP/s")
    for shape in settings.shapes:
        _measure(table, settings, shape, training, peak)
    table.require_at_least("auto nowhere slower than nn.LSTM", SLOWER, "ratio")
    _require_mean(table, "auto, geometric mean", 1.5, table.rows)
    return table


def _measure(table: Table, settings: Settings, shape: Shape, training: bool, peak: float) -> None:
    seeded()
    peer = theirs("LSTM", shape).train(training)
    auto = ours("LSTM", shape, "auto", peer).train(training)
    x, gradient = drawn_input(shape, requires_grad=training and settings.input_gradient)

    def under_autocast(layer: nn.Module) -> calls.Call:
        def run() -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output: Tensor = layer(x)[0]
            return output

        return calls.call(layer, x, gradient.bfloat16(), run)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        engine = calls.engine_of(auto, x)
    row: Row = {"shape": str(shape), "hidden": shape.hidden, "engine": engine}
    timed = {"torch": under_autocast(peer), "auto": under_autocast(auto)}
    expected = calls.call(peer, x, gradient)()
    who, off = check.furthest(expected, {"auto": [t.float() for t in timed["auto"]()]})
    if not off <= TOLERANCE:
        table.refuse(row, who, off, TOLERANCE)
        return
    raised = _raised(timed["torch"])
    if raised is not None:
        del timed["torch"]
    taken = in_turns(timed, settings.seconds)
    work = operations(shape, "LSTM", training, x.requires_grad)
    row |= {
        "auto_ms": 1e3 * taken.median("auto"),
        "of_peak": work / taken.median("auto") / peak,
        "rounds": taken.rounds,
        "others": taken.others,
        "error": off,
    }
    if raised is not None:
        table.add({**row, "ratio": None, "note": "the peer raises", "raised": raised})
        return
    ratio = taken.ratio("torch", "auto")
    table.add(
        {
            **row,
            "peer_ms": 1e3 * taken.median("torch"),
            "peer_of_peak": work / taken.median("torch") / peak,
            "ratio": ratio.value,
            "spread": ratio.spread,
        }
    )


def _raised(peer: calls.Call) -> str | None:
    """What the peer raises: oneDNN has no LSTM in bfloat16 for a processor without AVX-512."""
    try:
        peer()
    except RuntimeError as error:
        return str(error)
    return None


def _require_mean(table: Table, what: str, wanted: float, rows: Sequence[Row]) -> None:
    ratios = [row["ratio"] for row in rows if row["ratio"] is not None]
    if not ratios:
        return
    found = geometric_mean(ratios)
    table.require(what, f"≥ {wanted:g}", f"{times(found)} over {len(ratios)} rows", found >= wanted)
