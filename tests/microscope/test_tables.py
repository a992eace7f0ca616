"""Tables, against the functions that measure one thing at a time."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas
import pytest
import torch
from torch import nn

import holdfast
from holdfast.extras import MissingExtra
from holdfast.layers import LayerTrace
from holdfast.microscope import (
    Recording,
    Traces,
    probe,
    probe_table,
    rank_units,
    record,
    units_table,
    write_traces,
)


def recorded(**series: torch.Tensor) -> Recording:
    """A recording of one layer with states of (steps, units)."""
    return Recording(None, {"l0": LayerTrace("l0", {}, {name: rows[:, None] for name, rows in series.items()})})


def test_the_table_of_units_has_each_unit_of_each_layer() -> None:
    f = torch.tensor([[0.05, 0.95], [0.5, 0.95], [0.5, 0.95], [0.5, 0.5]]).view(4, 1, 2)
    h = torch.tensor([[0.1, 0.3], [0.1, 0.1], [0.1, 0.2], [0.1, 0.1]]).view(4, 1, 2)
    table = units_table(Recording(None, {"a": LayerTrace("a", {"f": f}, {"h": h}), "b": LayerTrace("b", {}, {"h": h})}))
    assert list(table.columns) == ["layer", "unit", "time_constant", "f_low", "f_high", "dead"]
    assert table.layer.tolist() == ["a", "a", "b", "b"]
    assert table.unit.tolist() == [0, 1, 0, 1]
    assert table.dead.tolist() == [True, False, True, False]
    assert table.f_low[:2].tolist() == [0.25, 0.0]
    assert table.f_high[:2].tolist() == [0.0, 0.75]
    by_hand = [-1 / f[:, 0, k].double().log().mean().item() for k in (0, 1)]
    assert table.time_constant[:2].tolist() == pytest.approx(by_hand)
    assert table.loc[2:, ["time_constant", "f_low", "f_high"]].isna().all(axis=None)


def test_layers_of_different_kinds_stand_in_one_table() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LSTM(3, 4), holdfast.GRU(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.second(self.first(x)[0])[0]
            return output

    table = units_table(record(Both(), torch.randn(6, 2, 3)))
    assert table.groupby("layer").size().to_dict() == {"first.l0": 4, "second.l0": 5}
    assert table.time_constant.notna().all()
    assert table[table.layer == "first.l0"].z_low.isna().all()


def test_the_table_of_probes_has_the_best_units_of_each_series_and_the_best_series_first(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    signal = torch.rand(600, generator=draw) < 0.4
    h, c = torch.randn(2, 600, 5, generator=draw)
    h[:, 3] += 0.7 * signal
    c[:, 1] -= 3.0 * signal
    c[:, 2] += 1.0 * signal
    traces = write_traces(tmp_path, [recorded(h=h, c=c)], 600, ("h", "c"))
    table = probe_table(traces, signal)
    assert table[["series", "unit", "sign"]].values.tolist() == [["l0.c", 1, -1], ["l0.h", 3, 1]]
    found = probe(c, signal)
    assert table.chosen[0] == pytest.approx(found.chosen, abs=0.01)
    assert table.score[0] == pytest.approx(found.score, abs=0.01)
    more = probe_table(traces, signal, share=0.3, most=2)
    assert more.series.value_counts().to_dict() == {"l0.c": 2, "l0.h": 2}
    assert more.chosen.is_monotonic_decreasing
    assert more.unit[:2].tolist() == [1, 2]


def test_lists_of_what_was_found_are_tables_as_they_are(tmp_path: Path) -> None:
    rows = torch.zeros(90, 2)
    for start in (10, 40, 70):
        rows[start : start + 5] = 0.9
    write_traces(tmp_path, [recorded(h=rows)], 90)
    table = pandas.DataFrame(Traces(tmp_path).find("l0.h", 10, 15, most=2))
    assert list(table.columns) == ["start", "stop", "score"]
    assert sorted(table.start) == [40, 70]
    assert list(pandas.DataFrame(rank_units(torch.randn(50, 3), torch.arange(50) % 7)).columns[:2]) == ["unit", "sign"]


def test_without_pandas_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"this needs pandas: pip install 'holdfast\[plot\]'"):
        units_table(recorded(h=torch.rand(4, 2)))
