"""Each option alone: against our own plain LSTM, and against a loop written by hand that has the option too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

import holdfast
from benchmarks import calls, check, loops
from benchmarks.drawn import recorded
from benchmarks.measure import in_turns
from benchmarks.peers import drawn_input, ours
from benchmarks.report import OTHERS, Column, Row, Table, milliseconds, share, text, times
from benchmarks.settings import Settings
from benchmarks.shapes import LARGE, MIDDLE, Shape

from .common import seeded

PROBABILITY = 0.1  # of everything random
BOUND = 0.3  # small enough to bite

EACH, LAYER_NORM = 1.3, 1.6  # how many times the plain layer's time an option may take


@dataclass(frozen=True)
class Option:
    """An option of ours, and how the loop does the same.

    Attributes:
        layer: arguments of the layer.
        loop: what the loop does, whatever is drawn.
        reset: whether a tenth of all positions are resets.
        trace: whether the layer is traced.
        limit: how many times the plain layer's time it may take; None where nothing is required.
    """

    layer: Mapping[str, Any] = field(default_factory=dict)
    loop: loops.Options = field(default_factory=loops.Options)
    reset: bool = False
    trace: bool = False
    limit: float | None = EACH


OPTIONS = {
    "none": Option(limit=None),
    "peephole": Option({"peephole": True}, loops.Options(peephole=True)),
    "coupled": Option({"coupled": True}, loops.Options(coupled=True)),
    "zoneout": Option({"zoneout": (PROBABILITY, PROBABILITY)}, loops.Options(zoneout=(PROBABILITY, PROBABILITY))),
    "recurrent dropout": Option({"recurrent_dropout": PROBABILITY}),
    "resets": Option(reset=True),
    "cell_clip": Option({"cell_clip": BOUND}, loops.Options(cell_clip=BOUND)),
    "grad_clip": Option({"grad_clip": BOUND}, loops.Options(grad_clip=BOUND)),
    "learned state": Option({"learn_state": True}),
    "trace": Option(loop=loops.Options(trace=True), trace=True),
    "layer norm": Option({"layer_norm": True}, loops.Options(layer_norm=True), limit=LAYER_NORM),
}


def run(settings: Settings) -> Table:
    """All options, training and inference, at two shapes; the loop in training at the first."""
    columns = [
        Column("option", "option", text, 18, names=True),
        Column("shape", "(T, B, I, H)", text, 20, names=True),
        Column("phase", "phase", text, 10, names=True),
        Column("own_ms", f"{settings.engine} ms", milliseconds, 12, compared=True),
        Column("plain_ms", "plain ms", milliseconds),
        Column("cost", "of plain", times, 9, compared=True),
        Column("spread", "spread", share, 7),
        Column("loop_ms", "loop ms", milliseconds),
        Column("faster", "loop ×", times, 8, compared=True),
        Column("faster_spread", "spread", share, 7),
        OTHERS,
    ]
    title = "an LSTM with one option; of plain = times the plain layer's time; × = times as fast as a loop with it"
    table = Table("options", title, columns, "what is random is drawn anew in each call, by the layer as by the loop")
    for name, option in OPTIONS.items():
        for shape in (MIDDLE, LARGE):
            for training in (True, False):
                _measure(table, settings, name, option, shape, training)
    for phase in ("training", "inference"):
        for which, limit in (("each option", EACH), ("layer norm", LAYER_NORM)):
            rows = [row for row in table.rows if row["phase"] == phase and row["limit"] == limit]
            table.require_at_most(f"{which}, {phase}, of plain", limit, "cost", rows)
    rows = [row for row in table.rows if row["limit"] is not None]
    table.require_at_least(f"each option, training at {MIDDLE}, × the loop", 5, "faster", rows)
    return table


def _measure(table: Table, settings: Settings, name: str, option: Option, shape: Shape, training: bool) -> None:
    seeded()
    plain = ours("LSTM", shape, settings.engine).train(training)
    layer = ours("LSTM", shape, settings.engine, **option.layer).train(training)
    with torch.no_grad():
        for parameter, weight in layer.named_parameters():
            if parameter.endswith("_0"):
                weight.normal_(0, 0.1)  # a learned state starts from zero
            if parameter.startswith("weight_ln"):
                weight.fill_(0.5)  # with gains of 1 long sequences are chaotic: no two float32 runs agree
    x, gradient = drawn_input(shape, requires_grad=training and settings.input_gradient)
    reset = torch.rand(shape[:2]) < 0.1 if option.reset else None

    def own() -> list[Tensor]:
        if option.trace:
            traced = layer.trace(x, reset=reset)
            record = traced.layers[0]
            return [traced.output, *(record.gates[gate] for gate in "ifgo"), record.states["c"]]
        return [layer(x, reset=reset)[0]]

    def loop(masks: list[Tensor]) -> list[Tensor]:
        return _loop(layer, x, _with_drawn(layer, replace(option.loop, reset=reset), masks))

    row: Row = {
        "option": name,
        "shape": str(shape),
        "phase": calls.phase_of(training),
        "limit": option.limit,
    }
    with recorded() as masks:
        got = calls.call(layer, x, gradient, own)()
    wanted = calls.call(layer, x, gradient, lambda: loop(masks))()
    who, off = check.furthest(wanted, {name: got})
    if not off <= check.TOLERANCE:
        table.refuse(row, who, off)
        return
    timed = {"own": calls.call(layer, x, gradient, own), "plain": calls.call(plain, x, gradient)}
    against_loop = training and shape == MIDDLE
    if against_loop:
        timed["loop"] = calls.call(layer, x, gradient, lambda: loop(_draw(layer, shape)))
    taken = in_turns(timed, settings.seconds)
    cost = taken.ratio("own", "plain")
    row |= {
        "own_ms": 1e3 * taken.median("own"),
        "plain_ms": 1e3 * taken.median("plain"),
        "cost": cost.value,
        "spread": cost.spread,
        "rounds": taken.rounds,
        "others": taken.others,
        "error": off,
    }
    if against_loop:
        faster = taken.ratio("loop", "own")
        row |= {
            "loop_ms": 1e3 * taken.median("loop"),
            "faster": faster.value,
            "faster_spread": faster.spread,
        }
    table.add(row)


def _loop(layer: holdfast.Recurrent, x: Tensor, options: loops.Options) -> list[Tensor]:
    weights = dict(layer.named_parameters())
    if layer.learn_state:
        h, c = (weights[name].expand(x.shape[1], -1) for name in ("h_0", "c_0"))
    else:
        h = c = x.new_zeros(x.shape[1], layer.hidden_size)
    return loops.lstm_loop(x, h, c, weights, options)


def _with_drawn(layer: holdfast.Recurrent, options: loops.Options, drawn: list[Tensor]) -> loops.Options:
    """The loop's options with the masks that it is to use."""
    masks = dict(zip((mask.name for mask in layer.program.masks), drawn))
    if "zoneout_h" in masks:
        options = replace(options, zoneout=(masks["zoneout_h"], masks["zoneout_c"]))
    if "recurrent_dropout" in masks:
        options = replace(options, recurrent_dropout=masks["recurrent_dropout"] / (1 - PROBABILITY))
    return options


def _draw(layer: holdfast.Recurrent, shape: Shape) -> list[Tensor]:
    """Masks like the layer's, drawn the quickest way PyTorch has."""
    full = (shape.steps, shape.batch, shape.hidden)
    return [
        torch.empty(full if mask.per == "step" else full[1:]).bernoulli_(mask.probability)
        for mask in layer.program.masks
    ]
