"""A user's own cell of the size of an LSTM, against our own LSTM."""

from __future__ import annotations

import holdfast
from benchmarks import calls, check
from benchmarks.measure import in_turns
from benchmarks.own_cell import MovingAverage
from benchmarks.peers import drawn_input, ours
from benchmarks.report import OTHERS, Column, Row, Table, milliseconds, share, text, times
from benchmarks.settings import Settings
from benchmarks.shapes import LARGE, MIDDLE, Shape

from .common import seeded


def run(settings: Settings) -> Table:
    """Training and inference at three shapes."""
    columns = [
        Column("shape", "(T, B, I, H)", text, 20, names=True),
        Column("phase", "phase", text, 10, names=True),
        Column("own_ms", "own cell ms", milliseconds, 12, compared=True),
        Column("plain_ms", "LSTM ms", milliseconds),
        Column("cost", "of LSTM", times, 9, compared=True),
        Column("spread", "spread", share, 7),
        OTHERS,
    ]
    title = f"{MovingAverage.__name__} of benchmarks/own_cell.py by {settings.engine}; times our own LSTM's time"
    note = "checked against the reference engine"
    table = Table("own-cell", title, columns, note)
    for shape in (Shape(100, 1, 128, 128), MIDDLE, LARGE):
        for training in (True, False):
            _measure(table, settings, shape, training)
    for phase in ("training", "inference"):
        rows = [row for row in table.rows if row["phase"] == phase]
        table.require_at_most(f"a user's own cell, {phase}, of our LSTM", 1.2, "cost", rows)
    return table


def _measure(table: Table, settings: Settings, shape: Shape, training: bool) -> None:
    seeded()
    lstm = ours("LSTM", shape, settings.engine)
    own = holdfast.Recurrent(MovingAverage(), shape.inputs, shape.hidden, engine=settings.engine)
    stepwise = holdfast.Recurrent(MovingAverage(), shape.inputs, shape.hidden, engine="reference")
    stepwise.load_state_dict(own.state_dict())
    x, gradient = drawn_input(shape, requires_grad=training and settings.input_gradient)

    row: Row = {"shape": str(shape), "phase": calls.phase_of(training)}
    expected, *timed = (calls.call(layer.train(training), x, gradient) for layer in (stepwise, own, lstm))
    who, off = check.furthest(expected(), {"the cell": timed[0]()})
    if not off <= check.TOLERANCE:
        table.refuse(row, who, off)
        return
    taken = in_turns(dict(zip(("own", "lstm"), timed)), settings.seconds)
    cost = taken.ratio("own", "lstm")
    table.add(
        {
            **row,
            "own_ms": 1e3 * taken.median("own"),
            "plain_ms": 1e3 * taken.median("lstm"),
            "cost": cost.value,
            "spread": cost.spread,
            "rounds": taken.rounds,
            "others": taken.others,
            "error": off,
        }
    )
