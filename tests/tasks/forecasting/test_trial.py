"""The short trial: what it chooses is what is better on the data at hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from holdfast.data import Panel, build_panel, untold
from holdfast.tasks.forecasting import Forecast
from holdfast.tasks.forecasting.options import ForecastOptions
from holdfast.tasks.forecasting.settling import split
from holdfast.tasks.forecasting.trial import _best
from holdfast.training import Devices

LAST, MIXTURE, LINEAR = (
    "patches on the last value",
    "patches on a mixture of seasons",
    "patches on a linear forecast",
)
TINY: dict[str, Any] = {"horizon": 12, "steps": 200, "hidden": 8, "batch_size": 64, "learning_rate": 0.01, "warm_up": 3}


def series_of(kind: str, seed: int) -> Panel:
    """Six series that differ in level and size: of a season and nothing else, or walks of first or second order."""
    draw, t = np.random.default_rng(seed), np.arange(240)
    makers = {
        "season": lambda k: 20 * k + (k + 1) * draw.normal(size=12)[t % 12] + 0.02 * draw.normal(size=240),
        "walk": lambda k: np.cumsum(draw.normal(size=240)),
        "momentum": lambda k: np.cumsum(np.cumsum(draw.normal(size=240))),
    }
    return build_panel([pd.DataFrame({"ds": t, **{f"s{k}": makers[kind](k) for k in range(6)}})])


def settled(panel: Panel, told: Any = untold, **given: Any) -> tuple[ForecastOptions, dict[str, Any]]:
    options = ForecastOptions(**{**TINY, **given})
    return Forecast().settle(split(panel, options), options, Devices(torch.device("cpu")), told)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("kind", "base", "better"),
    [("season", "mixture", 1.3), ("momentum", "linear", 1.3), ("walk", "", 1.0)],  # on a walk none is better by much
)
def test_the_base_that_suits_the_series_is_chosen(kind: str, base: str, better: float, seed: int) -> None:
    options, found = settled(series_of(kind, seed), season=(12,))
    crps = found["crps after a short trial"]
    assert set(crps) == {LAST, MIXTURE, LINEAR}
    best, second, worst = sorted(crps.values())
    assert second >= better * best
    if base:
        assert options.base == base
    else:
        assert worst < 1.2 * best
    assert options.model == "patches"
    assert crps[found["chosen"]] <= 1.1 * best
    assert found["chosen"] == {"last": LAST, "mixture": MIXTURE, "linear": LINEAR}[options.base]


def test_a_calendar_is_tried_without_too() -> None:
    draw, days = np.random.default_rng(0), pd.date_range("2024-01-01", periods=240)
    values = draw.normal(size=(240, 3)) + 3 * np.asarray(days.day_of_week >= 5)[:, None]
    panel = build_panel([pd.DataFrame({"ds": days, **{f"s{k}": v for k, v in enumerate(values.T)}})])
    told: list[str] = []
    options, found = settled(panel, told.append, season=(7,))
    crps = found["crps after a short trial"]
    *before, last = crps
    assert before == [MIXTURE, LAST, LINEAR]
    assert last.removesuffix(", without the calendar") in before
    assert told[-1] == f"trying {last}"
    assert found["chosen"] == min(
        (last.removesuffix(", without the calendar"), last), key=lambda name: float(crps[name])
    )
    assert options.calendar == (found["chosen"] != last)
    _, without = settled(panel, season=(7,), calendar=False)
    assert list(without["crps after a short trial"]) == before


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({"usual": 1.09, "other": 1.0}, "usual"),
        ({"usual": 1.11, "other": 1.0}, "other"),
        ({"usual": 0.9, "other": 1.0}, "usual"),
        ({"usual": 2.0, "other": 1.5, "third": 1.4}, "third"),
    ],
)
def test_what_is_usual_stays_unless_another_is_better_by_a_tenth(found: dict[str, float], chosen: str) -> None:
    assert _best(found, "usual") == chosen


@pytest.mark.parametrize("given", [{}, {"average": 0.1}])
def test_all_that_is_not_chosen_stays_as_it_was_asked_for(given: dict[str, Any]) -> None:
    panel = series_of("walk", 0)
    options, _ = settled(panel, season=(12,), **given)
    asked = ForecastOptions(**{**TINY, "season": (12,), **given})
    changed = {name for name in vars(asked) if getattr(asked, name) != getattr(options, name)}
    assert changed == {"base", "context", "patch"}


def test_a_trial_comes_out_alike_each_time() -> None:
    torch.manual_seed(1)
    first = settled(series_of("walk", 0), season=(12,))
    torch.manual_seed(2)
    assert settled(series_of("walk", 0), season=(12,)) == first


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"season": (12,)}, [MIXTURE, LAST, LINEAR]),
        ({}, [LAST, LINEAR]),  # a walk has no season
        ({"model": "steps", "season": (12,)}, [name.replace("patches", "steps") for name in (MIXTURE, LAST, LINEAR)]),
    ],
)
def test_what_is_left_open_is_tried(given: dict[str, Any], names: list[str]) -> None:
    told: list[str] = []
    options, found = settled(series_of("walk", 1), told.append, **given)
    assert list(found["crps after a short trial"]) == names
    assert told == [f"trying {name}" for name in names]
    assert (options.model, options.patch == 1) == (
        ("steps", True) if given.get("model") == "steps" else ("patches", False)
    )


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({"model": "patches", "base": "linear"}, ("patches", "linear")),
        ({"base": "last"}, ("patches", "last")),
        ({"model": "steps", "base": "mixture"}, ("steps", "mixture")),
        ({"model": "autoregressive"}, ("autoregressive", "mixture")),
    ],
)
def test_where_nothing_is_open_nothing_is_tried(given: dict[str, Any], chosen: tuple[str, str]) -> None:
    told: list[str] = []
    options, found = settled(series_of("walk", 1), told.append, season=(12,), **given)
    assert (options.model, options.base) == chosen
    assert found == {}
    assert told == []
