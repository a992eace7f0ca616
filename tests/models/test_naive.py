"""Simple forecasts against loops over single windows."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

from holdfast.models import Ridge, repeat_last, seasonal_naive, statistical, window_scales

Floats = np.ndarray[Any, np.dtype[np.float64]]


def windows_of(count: int, length: int, missing: float, seed: int = 0) -> Floats:
    """Random contexts, some values missing, some windows begun late."""
    draw = np.random.default_rng(seed)
    contexts = draw.normal(size=(count, length)).cumsum(1)
    contexts[draw.random(contexts.shape) < missing] = np.nan
    for window in contexts[::3]:
        window[: draw.integers(0, length)] = np.nan
    return contexts


def last_of(window: list[float]) -> float:
    known = [value for value in window if not math.isnan(value)]
    return known[-1] if known else math.nan


def season_before(window: list[float], step: int, season: int) -> float:
    """What the definition says, one value at a time; step counts from 0."""
    at = len(window) + step
    while at >= 0:
        if at < len(window) and not math.isnan(window[at]):
            return window[at]
        at -= season
    return last_of(window)


@pytest.mark.parametrize("season", [1, 3, 7, 20, 21, 50])
@pytest.mark.parametrize("horizon", [1, 5, 18])
def test_the_seasonal_naive_looks_back_season_by_season(season: int, horizon: int) -> None:
    contexts = windows_of(60, 20, missing=0.4)
    found = seasonal_naive(contexts, horizon, season)
    expected = [[season_before(list(window), step, season) for step in range(horizon)] for window in contexts]
    np.testing.assert_array_equal(found, expected)


def test_the_last_known_value_is_repeated() -> None:
    contexts = windows_of(60, 20, missing=0.4)
    np.testing.assert_array_equal(repeat_last(contexts, 3), [[last_of(list(window))] * 3 for window in contexts])


def test_a_context_of_which_nothing_is_known_is_forecast_as_missing() -> None:
    contexts = np.array([[np.nan] * 10, [1.0, *[np.nan] * 9]])
    model = Ridge.from_arrays({"weights": np.ones((10, 2)), "intercept": np.ones(2), "penalty": np.ones(1)})
    for found in (
        repeat_last(contexts, 2),
        seasonal_naive(contexts, 2, 3),
        model.forecast(contexts),
        statistical(contexts, 2, 3, ["theta"])["theta"],
    ):
        np.testing.assert_array_equal(np.isnan(found), [[True, True], [False, False]])


def test_a_windows_scale_is_its_standard_deviation() -> None:
    contexts = windows_of(60, 20, missing=0.4)
    for window, found in zip(contexts, window_scales(contexts)):
        known = [value for value in window if not math.isnan(value)]
        if not known:
            assert math.isnan(found)
            continue
        least = 1e-3 * sum(abs(value) for value in known) / len(known)
        mean = sum(known) / len(known)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in known) / len(known))
        assert found == pytest.approx(max(deviation, least), rel=1e-12)


def test_a_scale_is_never_zero() -> None:
    assert window_scales(np.array([[0.0, 0.0], [-4.0, -4.0]])).tolist() == [1.0, 0.004]


def ridge_by_lstsq(contexts: Floats, targets: Floats, penalty: float, intercept: bool) -> tuple[Floats, Floats]:
    """Ridge regression as least squares with a row more for each weight; complete windows only."""
    last, scale = contexts[:, -1:], contexts.std(1, keepdims=True)
    x, y = (contexts - last) / scale, (targets - last) / scale
    lags = x.shape[1]
    ones = np.full((len(x), 1), float(intercept))
    rows = np.block([[x, ones], [math.sqrt(penalty) * np.eye(lags), np.zeros((lags, 1))]])
    right = np.concatenate([y, np.zeros((lags, y.shape[1]))])
    solution = np.linalg.lstsq(rows, right, rcond=None)[0]
    return solution[:-1], solution[-1] if intercept else np.zeros(y.shape[1])


def autoregressive(count: int, length: int, drift: float, seed: int) -> Floats:
    draw = np.random.default_rng(seed)
    series = np.zeros((count, length + 50))
    for t in range(2, length + 50):
        series[:, t] = drift + 1.2 * series[:, t - 1] - 0.4 * series[:, t - 2] + draw.normal(size=count)
    return series[:, 50:] * draw.uniform(0.1, 100, (count, 1))


@pytest.mark.parametrize("drift", [0.0, 1.0])
def test_the_map_is_that_of_least_squares_with_the_better_of_the_choices(drift: float) -> None:
    windows = autoregressive(700, 12, drift, seed=0)
    windows[:, 9:] += drift * windows[:, :9].std(1, keepdims=True)  # a step up that only an intercept can forecast
    x, y = windows[:, :9], windows[:, 9:]
    chunks = [(x[i : i + 100], y[i : i + 100]) for i in range(0, 400, 100)]
    model = Ridge(9, 3, penalties=[1.0, 1e3]).fit(chunks).choose([(x[400:500], y[400:500]), (x[500:], y[500:])])

    errors = {}
    for penalty in (1.0, 1e3):
        for intercept in (False, True):
            weights, constant = ridge_by_lstsq(x[:400], y[:400], penalty, intercept)
            last, scale = x[400:, -1:], x[400:].std(1, keepdims=True)
            error = ((x[400:] - last) / scale) @ weights + constant - (y[400:] - last) / scale
            errors[penalty, intercept] = ((error**2).mean(), weights, constant)
    best = min(errors, key=lambda choice: errors[choice][0])
    _, weights, constant = errors[best]
    assert best == (1.0, drift > 0)
    assert model.penalty == best[0]
    arrays = model.to_arrays()
    np.testing.assert_allclose(arrays["weights"], weights, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(arrays["intercept"], constant, rtol=1e-8, atol=1e-10)
    last, scale = x[400:, -1:], x[400:].std(1, keepdims=True)
    np.testing.assert_allclose(
        model.forecast(x[400:]), last + scale * (((x[400:] - last) / scale) @ weights + constant), rtol=1e-8
    )


def test_how_windows_are_chunked_does_not_matter() -> None:
    windows = autoregressive(300, 12, 0.5, seed=1)
    x, y = windows[:, :9], windows[:, 9:]
    whole = Ridge(9, 3).fit([(x, y)]).choose([(x, y)])
    parts = Ridge(9, 3).fit([(x[:1], y[:1]), (x[1:], y[1:])]).choose([(x[:250], y[:250]), (x[250:], y[250:])])
    np.testing.assert_allclose(whole.forecast(x), parts.forecast(x), rtol=1e-8)


def test_the_unit_of_a_window_does_not_matter() -> None:
    windows = autoregressive(300, 12, 0.5, seed=1)
    x, y = windows[:, :9], windows[:, 9:]
    model = Ridge(9, 3).fit([(x, y)]).choose([(x, y)])
    factor = np.random.default_rng(0).uniform(0.01, 100, (300, 1))
    np.testing.assert_allclose(model.forecast(x * factor), model.forecast(x) * factor, rtol=1e-8)


def test_a_missing_value_counts_as_the_one_before_it() -> None:
    arrays = {"weights": np.random.default_rng(0).normal(size=(5, 2)), "intercept": np.zeros(2), "penalty": np.ones(1)}
    model = Ridge.from_arrays(arrays)
    gaps = np.array([[np.nan, 2.0, np.nan, 5.0, np.nan]])
    filled = np.array([[2.0, 2.0, 2.0, 5.0, 5.0]])
    np.testing.assert_allclose(model.forecast(gaps), model.forecast(filled), rtol=1e-12)


def test_of_a_longer_context_the_last_values_are_read_and_a_shorter_one_is_filled() -> None:
    windows = autoregressive(100, 12, 0.5, seed=1)
    model = Ridge(9, 3).fit([(windows[:, :9], windows[:, 9:])]).choose([(windows[:, :9], windows[:, 9:])])
    np.testing.assert_array_equal(model.forecast(windows), model.forecast(windows[:, 3:]))
    padded = np.concatenate([np.full((100, 4), np.nan), windows[:, :5]], axis=1)
    np.testing.assert_array_equal(model.forecast(windows[:, :5]), model.forecast(padded))


def test_windows_that_teach_nothing_are_left_out() -> None:
    windows = autoregressive(200, 12, 0.5, seed=1)
    x, y = windows[:, :9], windows[:, 9:]
    constant = (np.full((1, 9), 3.0), np.array([[1e6, 1e6, 1e6]]))
    unknown = (np.full((1, 9), np.nan), np.ones((1, 3)))
    beyond = (x[:1], np.array([[1e6, 1e6, np.nan]]))
    model = Ridge(9, 3).fit([(x, y), constant, unknown, beyond]).choose([(x, y)])
    np.testing.assert_array_equal(model.forecast(x), Ridge(9, 3).fit([(x, y)]).choose([(x, y)]).forecast(x))
    with pytest.raises(ValueError, match="there is no window to learn from"):
        Ridge(9, 3).fit([constant, unknown, beyond])


def test_a_gap_among_the_targets_is_filled_forward() -> None:
    windows = autoregressive(200, 12, 0.5, seed=1)
    x, y = windows[:, :9], windows[:, 9:]
    gaps, filled = y.copy(), y.copy()
    gaps[:50, 0], filled[:50, 0] = np.nan, x[:50, -1]
    gaps[50:80, 1], filled[50:80, 1] = np.nan, y[50:80, 0]
    models = [Ridge(9, 3).fit([(x, targets)]).choose([(x, y)]) for targets in (gaps, filled)]
    np.testing.assert_array_equal(models[0].forecast(x), models[1].forecast(x))


def test_missing_steps_do_not_count_in_the_choice() -> None:
    windows = autoregressive(200, 12, 0.5, seed=1)
    x, y = windows[:, :9], windows[:, 9:]
    model = Ridge(9, 3).fit([(x, y)])
    with pytest.raises(ValueError, match="there is no known step to choose by"):
        model.choose([(x, np.full_like(y, np.nan))])
    some = y.copy()
    some[100:] = np.nan
    constant = (np.full((1, 9), 3.0), np.full((1, 3), 1e6))
    chosen = model.choose([(x, some), constant]).forecast(x)
    np.testing.assert_array_equal(chosen, model.choose([(x[:100], y[:100])]).forecast(x))


def test_a_ridge_regression_survives_being_written_to_arrays() -> None:
    windows = autoregressive(200, 12, 0.5, seed=1)
    x, y = windows[:, :9], windows[:, 9:]
    model = Ridge(9, 3).fit([(x, y)]).choose([(x, y)])
    again = Ridge.from_arrays(model.to_arrays())
    np.testing.assert_array_equal(again.forecast(x), model.forecast(x))
    assert (again.lags, again.horizon, again.penalty) == (9, 3, model.penalty)


def test_fitting_takes_little_memory() -> None:
    series = np.random.default_rng(0).normal(size=100_000)
    windows = np.lib.stride_tricks.sliding_window_view(series, 60)
    chunks = ((windows[i : i + 1000, :50], windows[i : i + 1000, 50:]) for i in range(0, len(windows), 1000))
    tracemalloc.start()
    try:
        Ridge(50, 10).fit(chunks)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8e6  # the windows together would take 48 MB


def test_statistical_models_follow_trend_and_season() -> None:
    draw = np.random.default_rng(0)
    t = np.arange(72 + 12)
    series = 50 + 0.5 * t + 10 * np.sin(2 * np.pi * t / 12) + 0.3 * draw.normal(size=len(t))
    context = series[None, :72].copy()
    context[0, [0, 1, 30]] = np.nan
    naive = np.abs(seasonal_naive(context, 12, 12) - series[72:]).mean()
    found = statistical(context, 12, 12)
    assert list(found) == ["ets", "theta"]
    for forecast in found.values():
        assert forecast.shape == (1, 12)
        assert np.abs(forecast - series[72:]).mean() < 0.5 * naive


def test_a_window_that_is_too_short_for_a_statistical_model_is_forecast_by_the_seasonal_naive() -> None:
    contexts = np.random.default_rng(0).normal(size=(2, 12))
    contexts[0, :5] = np.nan  # seven steps are left
    contexts[1, :4] = np.nan
    naive = seasonal_naive(contexts, 3, 4)
    for found in statistical(contexts, 3, 4).values():
        np.testing.assert_array_equal(found[0], naive[0])
        assert (found[1] != naive[1]).any()


def test_statistical_models_do_not_see_what_stands_before_a_series_begins() -> None:
    series = np.random.default_rng(0).normal(size=(1, 30)).cumsum(1)
    padded = np.concatenate([np.full((1, 25), np.nan), series], axis=1)
    expected = statistical(series, 3, 4)
    for name, found in statistical(padded, 3, 4).items():
        np.testing.assert_array_equal(found, expected[name])


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_constant_window_is_forecast_as_constant(value: float) -> None:
    contexts = np.full((1, 30), value)
    for found in statistical(contexts, 3, 4).values():
        np.testing.assert_allclose(found, value, atol=1e-6)


def test_what_simple_forecasts_do_not_accept() -> None:
    contexts = np.ones((2, 5))
    with pytest.raises(ValueError, match="horizon must be a whole number of at least 1; got 0"):
        repeat_last(contexts, 0)
    with pytest.raises(ValueError, match=r"season must be a whole number of at least 1; got 1\.5"):
        seasonal_naive(contexts, 2, 1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"contexts must be of shape \(W, L\), L at least 1; got \(5,\)"):
        repeat_last(contexts[0], 2)
    with pytest.raises(ValueError, match="which must be among ets, theta; got arima"):
        statistical(contexts, 2, 1, ["arima"])
    with pytest.raises(ValueError, match="penalties must be numbers above 0, at least one"):
        Ridge(5, 2, penalties=[0.0])
    with pytest.raises(ValueError, match=r"targets must be of shape \(2, 2\); got \(2, 3\)"):
        Ridge(5, 2).fit([(contexts, np.ones((2, 3)))])
    with pytest.raises(RuntimeError, match="must be fitted to windows first"):
        Ridge(5, 2).forecast(contexts)
    with pytest.raises(RuntimeError, match="must be chosen on validation windows"):
        Ridge(5, 2).fit([(np.arange(10.0).reshape(2, 5), np.ones((2, 2)))]).forecast(contexts)
