"""A look inside a model, as a section of its report: gates, time constants, the memory horizon, saturation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.layers import LayerTrace
from holdfast.microscope import (
    Horizon,
    Recording,
    dead_units,
    heat_map,
    line_chart,
    memory_horizon,
    record,
    saturation,
    time_constants,
)
from holdfast.microscope.colours import suited
from holdfast.microscope.figures import numbered
from holdfast.microscope.horizon import SHARES, horizon_chart
from holdfast.microscope.page import figure, pair, section, table
from holdfast.microscope.units import keeping_gate

STEPS, SEQUENCES = 160, 4  # that are looked at: enough for the picture, and a few seconds for a model of three layers
_ROWS = 60  # units of a heat map
_POINTS = 100  # of the curve of time constants
# At every distance a large model would take minutes; between these the curve is as good as straight.
_LAGS = sorted({round(1.2**k) for k in range(40)})

_MEANINGS = {  # of what our cells name
    "gate i": "how much each unit writes",
    "gate f": "how much of its memory each unit keeps",
    "gate g": "what each unit would write",
    "gate o": "how much of its memory each unit shows",
    "gate r": "how much of the past the new values see",
    "gate z": "how much each unit keeps of its value",
    "gate n": "the new values",
    "state h": "what each unit shows to the rest of the model",
    "state c": "what each unit keeps in memory",
    "state n": "the weight of all that is in a unit's memory",
    "state m": "the scale of the memory, as a logarithm",
}


def inside(model: nn.Module, inputs: Tensor, read: Callable[[Any], Tensor], step: str, text: str) -> str:
    """The section "Inside the model".

    Args:
        model: any with recurrent layers in one direction.
        inputs: some sequences, (T, B) or (T, B, I); some hundred steps will do.
        read: from what the model returns to the number of which the horizon is the gradient: the last step's loss.
        step: what a step is: "character".
        text: what the first sequence says.
    """
    seen = record(model, inputs)
    horizon = memory_horizon(model, inputs, read=read, lags=_LAGS)
    words = (
        f"What the recurrent layers do while the model reads validation data, {inputs.shape[1]} × {inputs.shape[0]} "
        f"{step}s. The pictures of gates and states are of the first layer, while it reads:"
    )
    return section(
        "Inside the model",
        f"<p>{escape(words)}</p>\n<pre>{escape(text)}</pre>\n"
        + pair(_pictures(next(iter(seen.layers.values())), step))
        + pair([_reach(horizon, step), *_keeping(seen, step)])
        + _saturated(seen)
        + _still(seen),
    )


def _pictures(layer: LayerTrace, step: str) -> Iterator[str]:
    """Heat maps of the gates and states of a layer in the first sequence."""
    units = next(iter(layer.states.values())).shape[-1]
    sorted_by = "in the order of their numbers"
    order = torch.arange(units)
    if keeping_gate(layer):
        order = time_constants(layer).argsort(descending=True)
        sorted_by = "those that keep their memory longest at the top"
    rows = order[torch.linspace(0, units - 1, min(units, _ROWS)).round().long()]
    which = f"{units} units" if len(rows) == units else f"{len(rows)} of {units} units"
    for name, values in {**layer.gates, **layer.states}.items():
        what = f"{'state' if name in layer.states else 'gate'} {name}"
        cells = values[:, 0, rows].double().T.numpy(force=True)  # (rows, T)
        palette, limits = suited(cells)
        chart = heat_map(
            cells, title=f"The {what}", x_label=step, y_label="unit", palette=palette, limits=limits, height=230
        )
        meaning = f", {_MEANINGS[what]}" if what in _MEANINGS else ""
        yield figure(chart, f"The {what}{meaning}: {which}, {sorted_by}.")


def _reach(horizon: Horizon, step: str) -> str:
    """How far back the loss depends on the states, as a chart and a table."""
    places = list(horizon.states)
    names = [_layer(k) for k in range(len(places))]
    rows = []
    for name, place in zip(names, places):
        found = [horizon.lag(share, place) for share in SHARES]
        rows.append((name, ["farther" if lag is None else str(lag) for lag in found]))
    chart = horizon_chart(horizon, step, names)
    caption = (
        f"The memory horizon: how much the loss at the last {step} would change with the state of a layer so many "
        f"{step}s before. The table has the {step}s after which 50, 90 and 99 % of it are gone, in the median of the "
        "sequences; it was looked for at distances of which each is a fifth larger than the one before."
    )
    gone = [f"{share:.0%} gone" for share in SHARES]
    return f"<div>\n{figure(chart, caption)}\n{table(gone, rows)}\n</div>"


def _keeping(seen: Recording, step: str) -> Iterator[str]:
    """The time constants of all units that have any."""
    lines = []
    for k, layer in enumerate(seen.layers.values()):
        if keeping_gate(layer):
            found = time_constants(layer).sort(descending=True).values
            ranks = torch.linspace(0, len(found) - 1, min(len(found), _POINTS)).round().long()
            places = (100 * ranks / max(1, len(found) - 1)).tolist()
            lines.append(numbered(k, _layer(k), places, found[ranks].tolist()))
    if lines:
        chart = line_chart(
            lines,
            title="The time constants of the units, the longest first",
            x_label="% of the units",
            y_label=f"{step}s until 1/e is left",
            log_y=True,
        )
        caption = (
            f"Time constants: after how many {step}s a part 1/e of a unit's memory is left, by the mean of its forget "
            "gate. Half of the units keep theirs for longer than the curve shows at 50 %."
        )
        yield figure(chart, caption)


def _saturated(seen: Recording) -> str:
    """How often the gates are shut and open."""
    rows = [
        (f"{_layer(k)}, gate {name}", [f"{shares.low.mean():.1%}", f"{shares.high.mean():.1%}"])
        for k, layer in enumerate(seen.layers.values())
        for name, shares in saturation(layer).items()
    ]
    if not rows:
        return ""
    words = "How often a gate is as good as shut, and how often as good as open, over all units and steps:"
    return f"<p>{words}</p>\n" + table(["under 0.1", "over 0.9"], rows)


def _still(seen: Recording) -> str:
    """The units that do nothing."""
    counts = [(k, len(dead_units(layer))) for k, layer in enumerate(seen.layers.values())]
    found = "; ".join(f"{count} of {_layer(k)}" for k, count in counts if count)
    return f"<p>Units whose output never moves: {found or 'none'}.</p>"


def _layer(k: int) -> str:
    return f"layer {k + 1}"
