"""The measures of forecasts against loops over single values."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

from holdfast.tasks.forecasting.measures import Measures, mase_scale, pinball_weights

Floats = np.ndarray[Any, np.dtype[np.float64]]
LEVELS = [0.025, 0.1, 0.3, 0.5, 0.7, 0.9, 0.975]
INTERVALS = [0.8, 0.95]


def case(windows: int, horizon: int, seed: int = 0) -> dict[str, Floats]:
    """Random forecasts and truths, some missing, some series without a scale."""
    draw = np.random.default_rng(seed)
    truth = draw.normal(size=(windows, horizon)) * 3
    truth[draw.random(truth.shape) < 0.3] = np.nan
    truth[1] = np.nan
    forecasts = draw.normal(size=truth.shape)
    quantiles = np.sort(draw.normal(size=(*truth.shape, len(LEVELS))) * 2, axis=-1)
    mase, deviation = draw.uniform(0.5, 2, windows), draw.uniform(0.5, 2, windows)
    mase[[1, 3]], mase[4] = 0, np.nan
    deviation[5], deviation[6] = 0, np.nan
    truth[0, :2] = forecasts[0, 0] = 0  # 0/0
    return {"truth": truth, "forecasts": forecasts, "quantiles": quantiles, "mase_scale": mase, "deviation": deviation}


def by_the_definition(c: dict[str, Floats]) -> dict[str, float]:
    values: dict[str, list[float]] = {name: [] for name in ("smape", "mase", "mse", "mae", "crps")}
    values |= {f"{kind}_{name}": [] for kind in ("coverage", "interval_score") for name in ("80", "95")}
    windows = mase_left_out = standardised_left_out = 0
    ends = [0.0, *LEVELS, 1.0]
    for w, row in enumerate(c["truth"]):
        smape, scaled = [], []
        m, s = c["mase_scale"][w], c["deviation"][w]
        for h, y in enumerate(row):
            if math.isnan(y):
                continue
            f, q = c["forecasts"][w, h], c["quantiles"][w, h]
            smape.append(200 * abs(y - f) / (abs(y) + abs(f)) if abs(y) + abs(f) else 0.0)
            scaled.append(abs(y - f))
            for name, low, high in (("80", q[1], q[5]), ("95", q[0], q[6])):
                values[f"coverage_{name}"].append(float(low <= y <= high))
            if not s > 0:
                continue
            values["mse"].append((y / s - f / s) ** 2)
            values["mae"].append(abs(y / s - f / s))
            losses = [0.0]
            losses += [t * (y - z) / s if y >= z else (1 - t) * (z - y) / s for t, z in zip(LEVELS, q)]
            losses += [0.0]
            areas = [(b - a) * (u + v) / 2 for a, b, u, v in zip(ends, ends[1:], losses, losses[1:])]
            values["crps"].append(2 * sum(areas))
            for name, alpha, low, high in (("80", 0.2, q[1], q[5]), ("95", 0.05, q[0], q[6])):
                score = high - low
                score += 2 / alpha * (low - y) if y < low else 0
                score += 2 / alpha * (y - high) if y > high else 0
                values[f"interval_score_{name}"].append(score / s)
        if not smape:
            continue
        windows += 1
        values["smape"].append(sum(smape) / len(smape))
        mase_left_out += not m > 0
        standardised_left_out += not s > 0
        if m > 0:
            values["mase"].append(sum(scaled) / len(scaled) / m)
    found = {name: sum(many) / len(many) for name, many in values.items()}
    counts = {"windows": windows, "mase_left_out": mase_left_out, "standardised_left_out": standardised_left_out}
    return found | {name: float(count) for name, count in counts.items()}


@pytest.mark.parametrize("chunk", [1, 7, 40])
def test_the_measures_are_those_of_the_definitions_however_they_are_chunked(chunk: int) -> None:
    c = case(40, 6)
    measures = Measures(LEVELS, INTERVALS)
    for i in range(0, 40, chunk):
        measures.add(**{name: values[i : i + chunk] for name, values in c.items()})
    expected = by_the_definition(c)
    found = measures.result()
    assert found.keys() == expected.keys()
    assert expected["mase_left_out"] == 2
    assert expected["standardised_left_out"] == 2
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12), name


def test_point_forecasts_alone_have_no_measures_of_quantiles() -> None:
    c = case(10, 3)
    del c["quantiles"]
    measures = Measures()
    measures.add(**c)
    names = {"smape", "mase", "mse", "mae", "windows", "mase_left_out", "standardised_left_out"}
    assert set(measures.result()) == names


def test_smape_lies_between_0_and_200() -> None:
    for truth, forecast, expected in ((3.0, -3.0, 200), (0.0, 5.0, 200), (0.0, 0.0, 0), (2.0, 2.0, 0), (1.0, 3.0, 100)):
        measures = Measures()
        measures.add(np.array([[truth]]), np.array([[forecast]]), mase_scale=[1], deviation=[1])
        assert measures.result()["smape"] == expected


def test_a_measure_that_nothing_is_known_for_is_not_there() -> None:
    measures = Measures()
    measures.add(np.ones((1, 2)), np.ones((1, 2)), mase_scale=[0], deviation=[np.nan])
    assert measures.result() == {"smape": 0, "windows": 1, "mase_left_out": 1, "standardised_left_out": 1}


def test_the_score_of_the_right_quantiles_of_a_normal_distribution_is_its_own() -> None:
    y = np.random.default_rng(0).normal(size=(20_000, 1))
    levels = np.arange(1, 40) / 40
    quantiles = np.quantile(np.random.default_rng(1).normal(size=200_000), levels)
    measures = Measures(levels)
    ones = np.ones(len(y))
    measures.add(y, np.zeros_like(y), np.tile(quantiles, (len(y), 1, 1)), mase_scale=ones, deviation=ones)
    assert measures.result()["crps"] == pytest.approx(1 / math.sqrt(math.pi), rel=0.015)


def test_levels_at_equal_distances_weigh_the_same() -> None:
    np.testing.assert_allclose(pinball_weights(np.arange(1, 10) / 10), 0.1, rtol=1e-12)


def test_the_unit_of_mase_is_the_mean_difference_a_season_apart() -> None:
    draw = np.random.default_rng(0)
    series = draw.normal(size=50)
    series[draw.random(50) < 0.3] = np.nan
    for season in (1, 7, 24):
        differences = [abs(series[t] - series[t - season]) for t in range(season, 50)]
        known = [difference for difference in differences if not math.isnan(difference)]
        assert mase_scale(series, season) == pytest.approx(sum(known) / len(known), rel=1e-12)
    assert math.isnan(mase_scale(series, 50))
    assert mase_scale(np.full(10, 2.0), 3) == 0
    assert mase_scale(np.sin(np.arange(70) * 2 * np.pi / 7), 7) == 0  # but for rounding


def test_many_windows_take_little_memory() -> None:
    draw = np.random.default_rng(0)
    truth, quantiles, ones = draw.normal(size=(1000, 24)), np.sort(draw.normal(size=(1000, 24, 7))), np.ones(1000)
    measures = Measures(LEVELS, INTERVALS)
    tracemalloc.start()
    try:
        for _ in range(50):
            measures.add(truth, truth + 1, quantiles, mase_scale=ones, deviation=ones)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4e6
    assert measures.result()["windows"] == 50_000


def test_what_measures_do_not_accept() -> None:
    one = np.ones((2, 3))
    scales: dict[str, Any] = {"mase_scale": [1, 1], "deviation": [1, 1]}
    with pytest.raises(RuntimeError, match="there is nothing to measure"):
        Measures().result()
    with pytest.raises(ValueError, match=r"forecasts must be of the shape \(2, 3\) that the truth asks for; got \(2,"):
        Measures().add(one, one[:, :2], **scales)
    wrong = one.copy()
    wrong[1, 2] = np.nan
    with pytest.raises(ValueError, match="forecasts must be numbers where the truth is known; got nan in window 1, st"):
        Measures().add(one, wrong, **scales)
    Measures().add(wrong, wrong, **scales)  # where the truth is missing anything goes
    with pytest.raises(ValueError, match="quantiles must be given if there are levels, and only then"):
        Measures([0.5]).add(one, one, **scales)
    with pytest.raises(ValueError, match=r"deviation must be of shape \(2,\), one a window; got \(1,\)"):
        Measures().add(one, one, mase_scale=[1, 1], deviation=[1])
    with pytest.raises(ValueError, match=r"mase_scale must be at least 0; got -1\.0"):
        Measures().add(one, one, mase_scale=[1, -1], deviation=[1, 1])
    with pytest.raises(ValueError, match="levels must be numbers between 0 and 1 that rise"):
        Measures([0.5, 0.1])
    with pytest.raises(ValueError, match=r"0\.8 lies between the levels 0\.1 and 0\.9, which are not both among"):
        Measures([0.1, 0.5], [0.8])
    with pytest.raises(ValueError, match=r"intervals must be numbers between 0 and 1; got 80\.0"):
        Measures([0.1, 0.9], [80])
    with pytest.raises(ValueError, match="season must be a whole number of at least 1; got 0"):
        mase_scale(np.ones(3), 0)


def test_errors_by_step_are_means_over_windows_however_they_come_in() -> None:
    c = case(12, 5)
    c["truth"][:, 3] = np.nan
    sums: list[list[float]] = [[] for _ in range(5)]
    for w, row in enumerate(c["truth"]):
        for h, y in enumerate(row):
            if not math.isnan(y) and c["deviation"][w] > 0:
                sums[h].append(abs(y - c["forecasts"][w, h]) / c["deviation"][w])
    measures = Measures(LEVELS, INTERVALS)
    for part in (slice(0, 4), slice(4, 12)):
        measures.add(**{name: values[part] for name, values in c.items()})
    found = measures.errors_by_step()
    assert found == pytest.approx([sum(s) / len(s) if s else math.nan for s in sums], nan_ok=True)
    assert math.isnan(found[3])
    assert not math.isnan(found[4])
