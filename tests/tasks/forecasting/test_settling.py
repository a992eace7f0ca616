"""What the data settle: seasons of series that were made with some and without, horizons, contexts, patches, splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from holdfast.data import DataError, Panel, build_panel
from holdfast.tasks.forecasting.options import ForecastOptions
from holdfast.tasks.forecasting.settling import horizon_of, seasons_of, settled, split

Array = np.ndarray[Any, Any]


def panel_of(*series: Array, times: Any = None) -> Panel:
    """Series in columns on whole numbers, or on some times."""
    frame = {f"s{k}": pd.Series(values) for k, values in enumerate(series)}
    longest = max(map(len, series))
    return build_panel([pd.DataFrame({"ds": np.arange(longest) if times is None else times, **frame})])


def waves(length: int, periods: Sequence[int], noise: float, seed: int = 0) -> Array:
    draw = np.random.default_rng(seed)
    t = np.arange(length)
    found = noise * draw.normal(size=length)
    for k, period in enumerate(periods):
        angle = 2 * np.pi * t / period
        found = found + (np.sin(angle) + 0.4 * np.cos(2 * angle)) / (k + 1)
    return np.asarray(found)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("period", [4, 7, 12, 24, 52])
def test_a_season_is_found(period: int, seed: int) -> None:
    assert seasons_of(panel_of(waves(600, [period], 0.3, seed)), 0) == (period,)


@pytest.mark.parametrize("seed", range(3))
def test_a_day_and_a_week_of_hours_are_found(seed: int) -> None:
    t = np.arange(24 * 7 * 8)
    weekend = (t // 24 % 7 >= 5) * 0.7
    hours = np.sin(2 * np.pi * t / 24) + weekend + 0.2 * np.random.default_rng(seed).normal(size=len(t))
    assert seasons_of(panel_of(hours), 0) == (24, 168)


def test_a_trend_and_gaps_hide_no_season() -> None:
    values = waves(500, [12], 0.2) + 0.3 * np.arange(500)
    values[np.random.default_rng(1).random(500) < 0.2] = np.nan
    assert seasons_of(panel_of(values), 0) == (12,)


def test_the_season_is_that_of_most_series() -> None:
    few = [waves(400, [12], 0.3, seed) for seed in range(5)] + [np.random.default_rng(9).normal(size=400)]
    assert seasons_of(panel_of(*few), 0) == (12,)


@pytest.mark.parametrize("seed", range(3))
def test_a_cycle_that_is_not_regular_is_found_roughly(seed: int) -> None:
    draw = np.random.default_rng(seed)
    values = np.zeros(400)
    radius, angle = 0.985, 2 * np.pi / 11
    for t in range(2, 400):
        values[t] = 2 * radius * np.cos(angle) * values[t - 1] - radius**2 * values[t - 2] + draw.normal()
    (season, *_) = seasons_of(panel_of(values), 0)
    assert season in (10, 11, 12)


@pytest.mark.parametrize("seed", range(10))
def test_white_noise_and_constants_have_no_season(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=300)
    assert seasons_of(panel_of(noise, np.full(300, 3.0)), 0) == ()


@pytest.mark.parametrize("length", range(2, 9))
def test_a_few_values_have_no_season(length: int) -> None:
    assert seasons_of(panel_of(np.arange(length) % 2 * 1.0), 0) == ()


def test_dates_tell_their_seasons() -> None:
    times = pd.date_range("2024-01-01", periods=100, freq="h")
    assert seasons_of(panel_of(np.random.default_rng(0).normal(size=100), times=times), 0) == (24, 168)


def test_what_comes_after_a_part_does_not_tell_its_season() -> None:
    values = np.concatenate([waves(400, [7], 0.1), waves(400, [12], 0.1)])
    tables = [pd.DataFrame({"ds": np.arange(a, b), "y": values[a:b]}) for a, b in ((0, 400), (400, 800))]
    assert seasons_of(build_panel(tables), 0) == (7,)


def with_valid(panel: Panel, **options: Any) -> tuple[Panel, ForecastOptions]:
    given = ForecastOptions(**options)
    return split(panel, given), given


@pytest.mark.parametrize(
    ("season", "given", "horizon", "context", "patch"),
    [
        (12, {}, 24, 96, 12),
        (12, {"horizon": 5}, 5, 48, 12),
        (12, {"horizon": 30}, 30, 120, 12),
        (12, {"context": 50}, 24, 48, 12),
        (12, {"context": 7}, 24, 7, 7),
        (12, {"patch": 5}, 24, 95, 5),
        (12, {"model": "steps"}, 24, 96, 1),
        (12, {"model": "autoregressive", "patch": 6}, 24, 96, 1),
        (0, {}, 12, 48, 6),
        (0, {"horizon": 3}, 3, 12, 1),
        (0, {"horizon": 100}, 100, 384, 24),
        (0, {"season": (7, 30)}, 14, 119, 7),
        (0, {"season": (200,), "horizon": 8}, 8, 448, 4),
    ],
)
def test_horizon_context_and_patch_follow_the_season(
    season: int, given: dict[str, Any], horizon: int, context: int, patch: int
) -> None:
    values = waves(1000, [season], 0.1) if season else np.random.default_rng(3).normal(size=1000)
    found = settled(*with_valid(panel_of(values), **given))
    assert (found.horizon, found.context, found.patch) == (horizon, context, patch)
    assert found.season == tuple(m for m in given.get("season", (season,) if season else ()) if m <= context)


def test_a_season_that_no_context_holds_is_dropped() -> None:
    found = settled(*with_valid(panel_of(np.random.default_rng(3).normal(size=300)), season=(7, 200)))
    assert found.context == 133  # of half the training part, whole patches
    assert found.season == (7,)


def test_a_context_is_half_a_usual_series_at_most() -> None:
    long, short = np.random.default_rng(0).normal(size=(2, 400))
    found = settled(*with_valid(panel_of(short[:40], short[5:45], long), horizon=12))
    assert found.context == 12  # of 28 steps to learn from a half, in patches of 6


def test_settled_options_are_settled_alike_again() -> None:
    panel, options = with_valid(panel_of(waves(600, [12], 0.2)))
    once = settled(panel, options)
    assert settled(panel, once) == once
    np.testing.assert_array_equal(split(panel_of(waves(600, [12], 0.2)), once).ends, panel.ends)


@pytest.mark.parametrize("seed", range(20))
def test_the_split_is_as_long_as_what_is_settled_to_be_forecast(seed: int) -> None:
    draw = np.random.default_rng(seed)
    length = int(draw.integers(60, 200))
    drift = np.cumsum(draw.normal(size=length)) * 0.3
    whole = panel_of(np.sin(2 * np.pi * np.arange(length) ** 1.02 / 9) + drift + 0.4 * draw.normal(size=length))
    try:
        panel, options = with_valid(whole)
    except DataError:
        return
    found = settled(panel, options)
    assert found.horizon == horizon_of(whole, options, 0)
    np.testing.assert_array_equal(split(whole, found).ends, panel.ends)


def test_the_last_tenth_is_chosen_on_or_the_horizon_or_what_was_said() -> None:
    values = np.random.default_rng(0).normal(size=(3, 200))
    panel = panel_of(values[0], values[1][:50], values[2][:23])
    assert split(panel, ForecastOptions(horizon=6)).ends.tolist() == [[180, 44, 17], [200, 50, 23]]
    assert split(panel, ForecastOptions(horizon=6, valid_steps=15)).ends.tolist() == [[185, 35, 8], [200, 50, 23]]


def test_a_short_series_is_learned_from_as_a_whole_and_it_is_said() -> None:
    values = np.random.default_rng(0).normal(size=(4, 100))
    panel = panel_of(values[0], values[1][:12], values[2][:13], values[3][:1])
    found = split(panel, ForecastOptions(horizon=6))
    assert found.ends.tolist() == [[90, 12, 7, 1], [100, 12, 13, 1]]
    assert found.notes[-1] == (
        "2 series are too short to choose on and are learned from as a whole, such as 's1', 's3'"
    )
    assert panel.ends.tolist() == [[100, 12, 13, 1]]


def test_series_that_are_all_too_short_are_refused() -> None:
    panel = panel_of(np.arange(12.0), np.arange(9.0))
    expected = (
        "no series is long enough: to forecast 6 steps and to choose on the last 6, one needs more than 12; "
        "the longest has 12. A smaller horizon may do"
    )
    with pytest.raises(DataError, match=f"^{expected}$"):
        split(panel, ForecastOptions(horizon=6))
    assert split(panel, ForecastOptions(horizon=5)).ends[0].tolist() == [7, 9]


def test_counts_are_counts() -> None:
    options = ForecastOptions(likelihood="negative-binomial", horizon=4)
    counts = np.random.default_rng(0).integers(0, 9, size=(2, 80)).astype(float)
    settled(split(panel_of(*counts), options), options)
    for wrong in (-1.0, 2.5):
        spoiled = counts.copy()
        spoiled[1, 70] = wrong
        message = f"negative-binomial is for counts, whole numbers from 0 on; series 's1' has {wrong:g}"
        with pytest.raises(DataError, match=message):
            settled(split(panel_of(*spoiled), options), options)
