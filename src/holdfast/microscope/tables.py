"""What was seen as pandas tables, of the extra `plot`.

Lists of `Match` and of `Probe` need no help: `pandas.DataFrame(traces.find(…))` has a column for each attribute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from holdfast.extras import require
from holdfast.layers import LayerTrace

from .probes import rank_units
from .recording import Recording
from .store import Traces
from .units import dead_units, keeping_gate, saturation, time_constants

if TYPE_CHECKING:
    from pandas import DataFrame


def units_table(seen: Recording) -> DataFrame:
    """A row for each unit of each layer: how long it keeps, how often its gates are shut or open, whether it is dead.

    >>> import torch, holdfast
    >>> from holdfast import microscope
    >>> table = units_table(microscope.record(holdfast.LSTM(3, 4), torch.randn(7, 2, 3)))
    >>> list(table.columns[:3]), list(table.columns[3:6]), len(table)
    (['layer', 'unit', 'time_constant'], ['i_low', 'i_high', 'f_low'], 4)

    Args:
        seen: what was recorded.

    Returns:
        The columns layer, unit, time_constant (in steps; NaN in a layer without a gate that keeps), of each gate the
        share of steps under 0.1 and over 0.9, such as f_low and f_high, and dead.
    """
    pandas = require("pandas", "plot")
    table: DataFrame = pandas.concat(
        [pandas.DataFrame(_columns(place, layer)) for place, layer in seen.layers.items()], ignore_index=True
    )
    return table


def probe_table(traces: Traces, signal: Tensor, share: float = 0.5, most: int = 1) -> DataFrame:
    """The units of each series that track a signal best, the best of all first.

    Memory holds one series at a time, a byte a value.

    >>> import tempfile, torch, holdfast
    >>> from holdfast import microscope
    >>> layer, x = holdfast.LSTM(3, 4), torch.randn(100, 1, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     traces = microscope.write_traces(folder, [microscope.record(layer, x)], 100, ("h", "c"))
    ...     table = probe_table(traces, x[:, 0, 0] > 0)
    >>> list(table.columns), sorted(table.series)
    (['series', 'unit', 'sign', 'chosen', 'score', 'measure'], ['l0.c', 'l0.h'])

    Args:
        traces: of a corpus.
        signal: what is to be tracked, (steps,): True and False, or numbers.
        share: the share of the steps, from the first on, that the units are chosen on; they are scored on the rest.
        most: how many units of each series at most.

    Returns:
        The attributes of `Probe` as columns, and before them the name of the series.
    """
    pandas = require("pandas", "plot")
    rows: list[dict[str, Any]] = []
    for name in traces.series:
        # Bytes have the same order and correlations as the values; a tensor must not share what cannot be written to.
        units = torch.from_numpy(traces.raw(name).copy()).T  # (steps, units)
        rows += [{"series": name, **vars(found)} for found in rank_units(units, signal, share, most)]
    table: DataFrame = pandas.DataFrame(rows).sort_values("chosen", ascending=False, ignore_index=True)
    return table


def _columns(place: str, layer: LayerTrace) -> dict[str, Any]:
    """The columns of one layer."""
    count = next(iter(layer.states.values())).shape[-1]
    dead = set(dead_units(layer))
    columns: dict[str, Any] = {
        "layer": place,
        "unit": range(count),
        "time_constant": time_constants(layer).numpy(force=True) if keeping_gate(layer) else float("nan"),
    }
    for gate, shares in saturation(layer).items():
        columns[f"{gate}_low"] = shares.low.numpy(force=True)
        columns[f"{gate}_high"] = shares.high.numpy(force=True)
    return columns | {"dead": [unit in dead for unit in range(count)]}
