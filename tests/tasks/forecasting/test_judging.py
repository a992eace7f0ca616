"""Which windows are judged, and on which intervals are calibrated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from holdfast.tasks.forecasting.judging import latest, some

HORIZON = 10


def _history(lengths: list[int], parts: list[int]) -> Any:
    """Series that learn from so many steps, and choose on so many."""
    begins = torch.tensor(lengths)
    return SimpleNamespace(ends=torch.stack([begins, begins + torch.tensor(parts)]), horizon=HORIZON)


def _windows(history: Any) -> tuple[torch.Tensor, torch.Tensor]:
    series, origins = [], []
    for k, (begin, end) in enumerate(history.ends.T.tolist()):
        found = torch.arange(begin, end - HORIZON + 1)
        origins.append(found)
        series.append(torch.full_like(found, k))
    return torch.cat(series), torch.cat(origins)


def _latest(history: Any) -> tuple[torch.Tensor, torch.Tensor]:
    series, origins = _windows(history)
    which = latest(history, (series, origins))
    return series[which], origins[which]


def test_intervals_are_calibrated_on_the_last_quarter_of_the_windows_of_each_series() -> None:
    history = _history([500, 30], [2010, 1010])
    series, origins = _latest(history)
    assert len(series) == 751  # of 2,001 and 1,001
    for k, most in enumerate((2500, 1030)):
        mine = origins[series == k].sort().values
        windows = most - int(history.ends[0, k]) + 1
        assert mine[-1] == most
        assert mine.tolist() == list(range(int(mine[0]), most + 1))
        assert abs(len(mine) / windows - 0.25) < 0.01


def test_few_windows_calibrate_all_of_them_and_a_few_more_some_hundred() -> None:
    few, more = _history([50], [60]), _history([50], [1009])
    assert len(_latest(few)[0]) == 51
    series, origins = _latest(more)
    assert (len(series), int(origins.min())) == (500, 1049 - 499)


def test_some_windows_are_spread_evenly() -> None:
    windows = torch.zeros(100, dtype=torch.long), torch.arange(100)
    assert some(windows, 5)[1].tolist() == [0, 25, 50, 74, 99]
    assert some(windows, 100) is windows
