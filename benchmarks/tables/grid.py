"""Plain layers against PyTorch's, in inference and in training, over the grid of shapes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import geometric_mean

from benchmarks import calls, check
from benchmarks.measure import in_turns
from benchmarks.peers import CELLS, drawn_input, ours, theirs
from benchmarks.report import OTHERS, Column, Row, Table, milliseconds, share, text, times
from benchmarks.settings import Settings
from benchmarks.shapes import Shape

from .common import seeded

SLOWER = 0.97  # a ratio below this counts as slower


def inference_table(settings: Settings) -> Table:
    """Inference, float32."""
    table = Table("inference", "float32, inference mode; × = times as fast as PyTorch's layer", _columns(settings))
    _measure(table, settings, training=False)
    _require(table, settings, mean=1.5)
    one = [row for row in table.rows if row["batch"] == 1]
    if one:
        mean = geometric_mean(_ratios(one))
        each = ", ".join(f"{row['cell']} H={row['hidden']} {times(row['ratio'])}" for row in one)
        figure = f"geometric mean {times(mean)} ({each})"
        table.require(f"{settings.engine}, batch 1", "≥ 2.5", figure, mean >= 2.5)
    return table


def training_table(settings: Settings) -> Table:
    """A training step, float32."""
    note = "forward, and backward to the weights" + (" and x" if settings.input_gradient else "; x needs no gradient")
    title = "float32, a training step; × = times as fast as PyTorch's layer"
    table = Table("training", title, _columns(settings), note)
    _measure(table, settings, training=True)
    _require(table, settings, mean=1.6)
    return table


def _columns(settings: Settings) -> list[Column]:
    return [
        Column("shape", "(T, B, I, H)", text, 20, names=True),
        Column("cell", "cell", text, 5, names=True),
        Column("own_ms", f"{settings.engine} ms", milliseconds, 12, compared=True),
        Column("of_peak", "of peak", share, 8),
        Column("peer_ms", "torch ms", milliseconds),
        Column("ratio", f"{settings.engine} ×", times, 12, compared=True),
        Column("spread", "spread", share, 7),
        Column("auto_ratio", "auto ×", times, 8, compared=True),
        Column("auto_spread", "spread", share, 7),
        Column("auto", "auto took", text, 9),
        OTHERS,
    ]


def _measure(table: Table, settings: Settings, training: bool) -> None:
    for shape in settings.shapes:
        for cell in settings.cells:
            _measure_row(table, settings, shape, cell, training)


def _measure_row(table: Table, settings: Settings, shape: Shape, cell: str, training: bool) -> None:
    seeded()
    peer = theirs(cell, shape).train(training)
    own, auto = (ours(cell, shape, engine, peer).train(training) for engine in (settings.engine, "auto"))
    x, gradient = drawn_input(shape, requires_grad=training and settings.input_gradient)
    timed = {
        name: calls.call(layer, x, gradient)
        for name, layer in (("torch", peer), (settings.engine, own), ("auto", auto))
    }
    row: Row = {
        "shape": str(shape),
        "batch": shape.batch,
        "hidden": shape.hidden,
        "cell": cell,
        "auto": calls.engine_of(auto, x),
    }
    who, off = check.furthest(timed["torch"](), {name: timed[name]() for name in timed if name != "torch"})
    if not off <= check.TOLERANCE:
        table.refuse(row, who, off)
        return
    taken = in_turns(timed, settings.seconds)
    by_engine, by_auto = taken.ratio("torch", settings.engine), taken.ratio("torch", "auto")
    work = operations(shape, cell, training, x.requires_grad)
    table.add(
        {
            **row,
            "own_ms": 1e3 * taken.median(settings.engine),
            "of_peak": work / taken.median(settings.engine) / settings.peak,
            "peer_ms": 1e3 * taken.median("torch"),
            "auto_ms": 1e3 * taken.median("auto"),
            "ratio": by_engine.value,
            "spread": by_engine.spread,
            "auto_ratio": by_auto.value,
            "auto_spread": by_auto.spread,
            "rounds": taken.rounds,
            "others": taken.others,
            "error": off,
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
        table.require_at_least(f"auto nowhere slower than nn.{cell}", SLOWER, "auto_ratio", rows)
    found = geometric_mean(_ratios(table.rows))
    each = ", ".join(f"{cell} {times(geometric_mean(_ratios(rows)))}" for cell, rows in by_cell.items() if rows)
    figure = f"{times(found)} over {len(table.rows)} rows ({each})"
    table.require(f"{settings.engine}, geometric mean", f"≥ {mean:g}", figure, found >= mean)


def _ratios(rows: Sequence[Row]) -> list[float]:
    return [row["ratio"] for row in rows]
