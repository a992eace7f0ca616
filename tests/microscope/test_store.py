"""Traces on the disk, against the recordings they come from and a search by hand."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import holdfast
from holdfast.layers import LayerTrace
from holdfast.microscope import MicroscopeError, Recording, Traces, record, write_traces


def recorded(rows: torch.Tensor) -> Recording:
    """A recording of one layer whose h is (steps, units)."""
    return Recording(None, {"l0": LayerTrace("l0", {}, {"h": rows[:, None]})})


def test_what_is_read_is_what_was_recorded_to_a_byte(tmp_path: Path) -> None:
    layer = holdfast.LSTM(3, 5, num_layers=2)
    parts = [record(layer, torch.randn(steps, 2, 3)) for steps in (7, 4, 9)]
    traces = write_traces(tmp_path / "traces", parts, 40, ("h", "f", "c"))
    assert traces.steps == 40
    assert list(traces.series) == ["l0.h", "l0.f", "l0.c", "l1.h", "l1.f", "l1.c"]
    for place in ("l0", "l1"):
        for name in ("h", "f", "c"):
            series = [{**part[place].gates, **part[place].states}[name] for part in parts]
            wanted = torch.cat([one[:, b] for one in series for b in (0, 1)]).T.numpy()
            found = Traces(tmp_path / "traces").values(f"{place}.{name}", slice(None), 0, 40)
            span = 1 if name == "f" else 2 * max(1, 1.5 * np.abs(wanted).max())
            assert np.abs(found - wanted).max() <= span / 255 * 0.51
    some = traces.values("l0.h", [4, 1], 3, 8)
    assert np.array_equal(some, traces.values("l0.h", slice(None), 0, 40)[[4, 1], 3:8])


def test_find_gives_the_places_where_the_same_units_are_on(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.rand(1000, 8, generator=draw) * 0.2
    for start, units in ((100, [2, 5, 6]), (400, [2, 5, 6]), (700, [2, 5]), (850, [1, 3])):
        rows[start : start + 10, units] = 0.8
    traces = write_traces(tmp_path, [recorded(rows)], 1000)
    assert traces.on("l0.h", 100, 110, 0.3) == [2, 5, 6]
    first, second, *rest = traces.find("l0.h", 100, 110)
    assert (first.start, first.stop, first.score) == (400, 410, 1.0)
    assert (second.start, second.stop) == (700, 710)
    assert second.score == pytest.approx(2 / 3)
    assert all(match.score < 2 / 3 for match in rest)
    assert not any(90 < match.start < 110 for match in (first, second, *rest)), "the range itself is no find"
    only = traces.find("l0.h", 100, 110, units=[1, 3], most=1)
    assert [(match.start, match.score) for match in only] == [(850, 1.0)]


def test_places_do_not_overlap_and_are_no_more_than_asked_for(tmp_path: Path) -> None:
    rows = torch.ones(200, 2)
    traces = write_traces(tmp_path, [recorded(rows)], 200)
    found = traces.find("l0.h", 50, 60, most=7)
    assert len(found) == 7
    spans = sorted((match.start, match.stop) for match in found)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))
    assert all(stop <= 50 or start >= 60 for start, stop in spans)


def test_scores_are_those_of_a_search_by_hand(tmp_path: Path) -> None:
    rows = torch.rand(300, 6, generator=torch.Generator().manual_seed(1))
    rows[20:24, :3] = 0.9
    traces = write_traces(tmp_path, [recorded(rows)], 300)
    units = traces.on("l0.h", 20, 24, 0.6)
    on = traces.values("l0.h", units, 0, 300) > 0.6
    by_hand = max(on[:, k : k + 4].mean() for k in range(297) if not 16 < k < 24)
    assert traces.find("l0.h", 20, 24, threshold=0.6, most=1)[0].score == pytest.approx(by_hand)


def test_a_long_corpus_of_many_units_is_counted_like_a_short_one(tmp_path: Path) -> None:
    steps, units = 300_000, 300  # more than are counted together, and more units than a byte can count
    draw = np.random.default_rng(0)
    rows = np.zeros((steps, units), np.uint8)
    rows[:, :290] = draw.random((steps, 1)) < 0.5  # most units go together
    rows[70:80] = 1
    rows[200_000:200_010, :299] = 1
    chunks = (recorded(torch.from_numpy(rows[k : k + 50_000]).float() * 2 - 1) for k in range(0, steps, 50_000))
    traces = write_traces(tmp_path, chunks, steps)
    (found,) = traces.find("l0.h", 70, 80, threshold=0.0, most=1)
    assert (found.start, found.stop) == (200_000, 200_010)
    assert found.score == pytest.approx(299 / 300)


@pytest.mark.parametrize(("threshold", "on"), [(-2.5, [0, 1, 2]), (-1.4, [1, 2]), (0.1, [2]), (2.5, [])])
def test_a_threshold_may_lie_anywhere_even_beyond_what_can_be_kept(
    threshold: float, on: list[int], tmp_path: Path
) -> None:
    traces = write_traces(tmp_path, [recorded(torch.tensor([-1.5, 0.0, 1.5]).expand(30, 3))], 30)
    assert traces.on("l0.h", 3, 9, threshold) == on
    found = traces.find("l0.h", 3, 9, threshold, units=[0, 1, 2], most=1)
    assert [match.score for match in found] == ([pytest.approx(len(on) / 3)] if on else [])


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    rows = torch.rand(30, 2) * 0.1
    traces = write_traces(tmp_path / "traces", [recorded(rows)], 30)
    with pytest.raises(MicroscopeError, match=r"there is no series 'l0\.c'; there are l0\.h"):
        traces.raw("l0.c")
    with pytest.raises(MicroscopeError, match="the range must lie within the 30 steps; got 25 to 31"):
        traces.find("l0.h", 25, 31)
    with pytest.raises(MicroscopeError, match="the range must lie within the 30 steps; got -2 to 5"):
        traces.find("l0.h", -2, 5, units=[0])
    with pytest.raises(MicroscopeError, match=r"no unit is above 0\.5 all through 3 to 9; lower the threshold"):
        traces.find("l0.h", 3, 9, threshold=0.5)
    with pytest.raises(MicroscopeError, match=r"there is no series 'f' in l0; there are h"):
        write_traces(tmp_path / "other", [recorded(rows)], 30, ("f",))
    with pytest.raises(MicroscopeError, match="there are 30 steps, not the 31 that were said"):
        write_traces(tmp_path / "other", [recorded(rows)], 31)
    with pytest.raises(MicroscopeError, match="there are more steps than the 29 that were said"):
        write_traces(tmp_path / "other", [recorded(rows)], 29)
    with pytest.raises(MicroscopeError, match="other holds no traces"):
        Traces(tmp_path / "other")


def test_a_damaged_file_is_said_to_be(tmp_path: Path) -> None:
    write_traces(tmp_path, [recorded(torch.rand(30, 2))], 30)
    with (tmp_path / "l0.h.u8").open("ab") as file:
        file.write(b"x")
    with pytest.raises(MicroscopeError, match=r"l0\.h\.u8 must hold 60 bytes; it holds 61"):
        Traces(tmp_path)
    about = json.loads((tmp_path / "traces.json").read_text())
    (tmp_path / "traces.json").write_text(json.dumps({**about, "format": "other"}))
    with pytest.raises(MicroscopeError, match="must say 'holdfast-traces 1'; got 'other'"):
        Traces(tmp_path)
