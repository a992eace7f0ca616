"""Calibrated intervals: what they cover, and the textbook written out as a loop."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from holdfast.tasks.forecasting.conformal import Calibration, residual_quantiles, step_groups

Floats = np.ndarray[Any, np.dtype[np.float64]]
LEVELS = [0.025, 0.1, 0.5, 0.9, 0.975]
INTERVALS = [0.8, 0.95]
ENDS = {0.8: (1, 3), 0.95: (0, 4)}
NORMAL = np.array([-1.96, -1.2816, 0.0, 1.2816, 1.96])


def drawn(windows: int, horizon: int, width: float, seed: int, missing: float = 0.0) -> tuple[Floats, Floats, Floats]:
    """Quantiles, truths and scales; the noise grows with the step and with the window's scale."""
    draw = np.random.default_rng(seed)
    scale = draw.uniform(0.1, 10, windows)
    level = draw.normal(size=(windows, 1)) * 20
    spread = scale[:, None] * np.sqrt(np.arange(1, horizon + 1))  # (W, H)
    truth = level + spread * draw.normal(size=(windows, horizon))
    truth[draw.random(truth.shape) < missing] = np.nan
    quantiles = level[..., None] + width * scale[:, None, None] * NORMAL * np.ones((1, horizon, 1))
    return quantiles, truth, scale


def bounds(share: float, trials: int, learned: int) -> tuple[float, float]:
    """Four standard deviations around a coverage, of counting and of what the calibration was learned from."""
    deviation = math.sqrt(share * (1 - share) * (1 / trials + 1 / learned))
    return share - 4 * deviation, share + 4 * deviation + 1 / learned


@pytest.mark.parametrize("width", [0.1, 1.0, 5.0])
def test_calibrated_intervals_cover_what_they_say_at_every_step(width: float) -> None:
    quantiles, truth, scale = drawn(6000, 4, width, seed=0)
    calibration = Calibration.fit(quantiles[:2000], truth[:2000], scale[:2000], LEVELS, INTERVALS)
    calibrated = calibration.apply(quantiles[2000:], scale[2000:])
    assert calibration.unsure == ()
    for interval, (low, high) in ENDS.items():
        inside = (calibrated[..., low] <= truth[2000:]) & (truth[2000:] <= calibrated[..., high])
        least, most = bounds(interval, 4000, 2000)
        for share in inside.mean(0):
            assert least < share < most


def test_windows_that_vary_more_get_wider_intervals() -> None:
    quantiles, truth, scale = drawn(8000, 1, 0.5, seed=1)
    calibration = Calibration.fit(quantiles[:4000], truth[:4000], scale[:4000], LEVELS, INTERVALS)
    calibrated = calibration.apply(quantiles[4000:], scale[4000:])
    inside = ((calibrated[..., 1] <= truth[4000:]) & (truth[4000:] <= calibrated[..., 3]))[:, 0]
    for group in np.array_split(np.argsort(scale[4000:]), 4):  # from calm to wild, each covered as it says
        least, most = bounds(0.8, len(group), 4000)
        assert least < inside[group].mean() < most


def test_coverage_is_met_on_average_over_small_calibration_sets() -> None:
    shares = []
    for seed in range(400):
        quantiles, truth, scale = drawn(69, 1, 0.3, seed=seed)
        calibration = Calibration.fit(quantiles[:19], truth[:19], scale[:19], LEVELS, INTERVALS)
        calibrated = calibration.apply(quantiles[19:], scale[19:])
        shares.append(np.mean((calibrated[..., 0] <= truth[19:]) & (truth[19:] <= calibrated[..., 4])))
    deviation = np.std(shares) / math.sqrt(len(shares))
    assert 0.95 - 4 * deviation < np.mean(shares) < 0.95 + 4 * deviation  # ⌈0.95 · 20⌉ = 19: exact, not just at least


def textbook(c: tuple[Floats, Floats, Floats], groups: list[list[int]], interval: float) -> list[float]:
    """The correction of each group of steps, score by score."""
    quantiles, truth, scale = c
    low, high = ENDS[interval]
    found = []
    for steps in groups:
        scores = []
        for w in range(len(truth)):
            for h in steps:
                y = truth[w, h]
                if not math.isnan(y):
                    scores.append(max(quantiles[w, h, low] - y, y - quantiles[w, h, high]) / scale[w])
        n = len(scores)
        rank = -(-round(interval * 1000) * (n + 1) // 1000)  # ⌈(1 − α)(n + 1)⌉ in whole numbers
        found.append(sorted(scores)[min(rank, n) - 1])
    return found


@pytest.mark.parametrize(("windows", "groups"), [(400, [[0], [1], [2], [3], [4]]), (80, [[0, 1], [2, 3, 4]])])
def test_the_calibration_is_the_textbooks(windows: int, groups: list[list[int]]) -> None:
    c = drawn(windows, 5, 0.6, seed=2, missing=0.3)
    quantiles, _, scale = c
    calibration = Calibration.fit(*c, LEVELS, INTERVALS)
    assert [[int(h) for h in np.flatnonzero(calibration.groups == g)] for g in range(len(groups))] == groups
    calibrated = calibration.apply(quantiles, scale)
    for i, (interval, (low, high)) in enumerate(ENDS.items()):
        expected = textbook(c, groups, interval)
        np.testing.assert_allclose(calibration.corrections[i], expected, rtol=1e-12)
        for correction, steps in zip(expected, groups):
            by = correction * scale[:, None]
            np.testing.assert_allclose(calibrated[:, steps, low], quantiles[:, steps, low] - by, rtol=1e-12)
            np.testing.assert_allclose(calibrated[:, steps, high], quantiles[:, steps, high] + by, rtol=1e-12)
    np.testing.assert_array_equal(calibrated[..., 2], quantiles[..., 2])  # the median stays


@pytest.mark.parametrize("levels", [LEVELS, [0.025, 0.1, 0.9, 0.975]])
def test_no_end_crosses_the_middle_and_the_quantiles_rise(levels: list[float]) -> None:
    quantiles, truth, scale = drawn(500, 2, 1.0, seed=3)
    if len(levels) == 4:
        quantiles = quantiles[..., [0, 1, 3, 4]]
    middle = (quantiles[..., 1] + quantiles[..., -2]) / 2
    truth = middle + 1e-6 * (truth - middle)  # far too wide, and far too unsure: every end moves inwards
    narrow = quantiles.copy()
    narrow[::2] = middle[::2, :, None] + 1e-3 * (narrow[::2] - middle[::2, :, None])
    calibration = Calibration.fit(quantiles, truth, scale, levels, INTERVALS)
    assert (calibration.corrections < 0).all()
    found = calibration.apply(narrow, scale)
    assert (np.diff(found, axis=-1) >= 0).all()
    assert (found[..., 1] <= middle + 1e-9).all()
    assert (found[..., -2] >= middle - 1e-9).all()
    np.testing.assert_allclose(found[::2], middle[::2, :, None] * np.ones(len(levels)), atol=1e-9)


def test_an_inner_interval_that_grows_beyond_the_outer_one_is_put_in_order() -> None:
    quantiles, truth, scale = drawn(3000, 1, 1.0, seed=16)
    middle = quantiles[..., 2]
    narrow = quantiles.copy()
    for end in (1, 3):  # on every other window the model says far too narrow an interval of 0.8
        narrow[::2, :, end] = middle[::2]
    calibration = Calibration.fit(narrow, truth, scale, LEVELS, INTERVALS)
    found = calibration.apply(quantiles, scale)
    by = calibration.corrections[:, 0, None] * scale  # (I, W)
    assert (quantiles[:, 0, 1] - by[0] < quantiles[:, 0, 0] - by[1]).any()
    assert (np.diff(found, axis=-1) >= 0).all()


def test_too_few_scores_are_said_to_be() -> None:
    for windows, expected in ((4, (0.8, 0.95)), (5, (0.95,)), (19, (0.95,)), (20, ())):
        quantiles, truth, scale = drawn(windows, 1, 1.0, seed=4)
        calibration = Calibration.fit(quantiles, truth, scale, LEVELS, INTERVALS)
        assert calibration.unsure == expected
    quantiles, truth, scale = drawn(4, 1, 1.0, seed=4)
    calibration = Calibration.fit(quantiles, truth, scale, LEVELS, INTERVALS)
    np.testing.assert_allclose(calibration.corrections[1], textbook((quantiles, truth, scale), [[0]], 0.95))


def test_a_p_value_is_a_rank_among_the_scores() -> None:
    quantiles, truth, scale = drawn(150, 2, 0.5, seed=5, missing=0.1)
    calibration = Calibration.fit(quantiles, truth, scale, LEVELS, INTERVALS)
    new_quantiles, new_truth, new_scale = drawn(100, 2, 0.5, seed=6, missing=0.1)
    new_truth[0] = truth[0]
    new_quantiles[0], new_scale[0] = quantiles[0], scale[0]  # a tie with itself
    found = calibration.p_values(new_truth, new_quantiles, new_scale)

    def score(q: Floats, y: float, s: float) -> float:
        return max(q[0] - y, y - q[4]) / s

    for h in range(2):
        learned = [score(quantiles[w, h], truth[w, h], scale[w]) for w in range(150) if not math.isnan(truth[w, h])]
        for w in range(100):
            if math.isnan(new_truth[w, h]):
                assert math.isnan(found[w, h])
                continue
            own = score(new_quantiles[w, h], new_truth[w, h], new_scale[w])
            assert found[w, h] == (1 + sum(other >= own for other in learned)) / (len(learned) + 1)


def test_p_values_of_many_scores_are_kept_closely_and_never_too_small() -> None:
    quantiles, truth, scale = drawn(50_000, 1, 0.5, seed=7)
    calibration = Calibration.fit(quantiles, truth, scale, LEVELS, INTERVALS)
    assert len(calibration.tails[0][0]) < 800
    new_quantiles, new_truth, new_scale = drawn(3000, 1, 0.5, seed=8)
    found = calibration.p_values(new_truth, new_quantiles, new_scale)[:, 0]

    def scores(q: Floats, y: Floats, s: Floats) -> Floats:
        return np.maximum(q[:, 0, 0] - y[:, 0], y[:, 0] - q[:, 0, 4]) / s

    learned = np.sort(scores(quantiles, truth, scale))
    own = scores(new_quantiles, new_truth, new_scale)
    exact = (1 + len(learned) - np.searchsorted(learned, own)) / (len(learned) + 1)
    assert (found >= exact).all()
    assert (found <= 1.03 * exact).all()
    tail = exact < 200 / 50_000
    assert tail.any()
    np.testing.assert_array_equal(found[tail], exact[tail])
    for alpha in (0.01, 0.1, 0.5):  # as often as they say
        assert abs((found <= alpha).mean() - alpha) < 4 * math.sqrt(alpha / 3000)


def test_a_value_is_outside_its_interval_where_its_p_value_says_so() -> None:
    quantiles, truth, scale = drawn(300, 3, 0.5, seed=9)
    calibration = Calibration.fit(quantiles, truth, scale, LEVELS, INTERVALS)
    quantiles, truth, scale = drawn(2000, 3, 0.5, seed=10)
    calibrated = calibration.apply(quantiles, scale)
    outside = (truth < calibrated[..., 0]) | (truth > calibrated[..., 4])
    assert outside.any()
    np.testing.assert_array_equal(calibration.p_values(truth, quantiles, scale) <= 0.05, outside)


def test_a_calibration_survives_being_written_as_json() -> None:
    quantiles, truth, scale = drawn(300, 3, 0.5, seed=11, missing=0.2)
    calibration = Calibration.fit(quantiles, truth, scale, LEVELS, INTERVALS)
    again = Calibration.from_dict(json.loads(json.dumps(calibration.to_dict())))
    np.testing.assert_array_equal(again.apply(quantiles, scale), calibration.apply(quantiles, scale))
    np.testing.assert_array_equal(
        again.p_values(truth, quantiles, scale), calibration.p_values(truth, quantiles, scale)
    )
    assert again.unsure == calibration.unsure
    assert again.to_dict() == calibration.to_dict()


def test_fewer_steps_than_were_learned_from_can_be_calibrated() -> None:
    quantiles, truth, scale = drawn(300, 3, 0.5, seed=12)
    calibration = Calibration.fit(quantiles, truth, scale, LEVELS, INTERVALS)
    np.testing.assert_array_equal(
        calibration.apply(quantiles[:, :2], scale), calibration.apply(quantiles, scale)[:, :2]
    )


def test_steps_are_pooled_until_there_are_enough_scores() -> None:
    assert step_groups(np.array([100, 100])).tolist() == [0, 1]
    assert step_groups(np.array([99, 1, 100, 0])).tolist() == [0, 0, 1, 1]
    assert step_groups(np.array([0, 3, 0])).tolist() == [0, 0, 0]
    assert step_groups(np.array([40] * 7)).tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_the_quantiles_of_residuals_are_ranks_of_a_sorted_list() -> None:
    draw = np.random.default_rng(13)
    forecasts, scale = draw.normal(size=(130, 2)), draw.uniform(0.5, 2, 130)
    truth = forecasts + draw.exponential(size=(130, 2)) * scale[:, None]
    truth[draw.random(truth.shape) < 0.1] = np.nan
    found = residual_quantiles(forecasts, truth, scale, LEVELS)
    for h in range(2):
        ordered = sorted((y - f) / s for y, f, s in zip(truth[:, h], forecasts[:, h], scale) if not math.isnan(y))
        n = len(ordered)
        expected = [ordered[math.floor(level * (n + 1)) - 1] for level in LEVELS[:2]]
        expected += [(ordered[(n - 1) // 2] + ordered[n // 2]) / 2]
        expected += [ordered[math.ceil(level * (n + 1)) - 1] for level in LEVELS[3:]]
        np.testing.assert_allclose(found[h], expected, rtol=1e-12)


def test_intervals_from_residuals_cover_what_they_say() -> None:
    draw = np.random.default_rng(14)
    scale = draw.uniform(0.5, 2, 6000)
    forecasts = draw.normal(size=(6000, 3))
    truth = forecasts + draw.exponential(size=(6000, 3)) * scale[:, None]  # lopsided: signed quantiles are needed
    added = residual_quantiles(forecasts[:2000], truth[:2000], scale[:2000], LEVELS)
    quantiles = forecasts[2000:, :, None] + scale[2000:, None, None] * added
    least, most = bounds(0.8, 4000, 2000)
    inside = (quantiles[..., 1] <= truth[2000:]) & (truth[2000:] <= quantiles[..., 3])
    assert all(least < share < most for share in inside.mean(0))


def test_with_few_residuals_the_outer_quantiles_are_the_smallest_and_the_largest() -> None:
    found = residual_quantiles(np.zeros((3, 1)), np.array([[5.0], [-2.0], [1.0]]), np.ones(3), LEVELS)
    assert found.tolist() == [[-2, -2, 1, 5, 5]]


def test_what_a_calibration_does_not_accept() -> None:
    quantiles, truth, scale = drawn(50, 2, 1.0, seed=15)
    with pytest.raises(ValueError, match=r"lies between the levels 0\.25 and 0\.75, which are not both among"):
        Calibration.fit(quantiles, truth, scale, LEVELS, [0.5])
    with pytest.raises(ValueError, match="intervals must be at least one number between 0 and 1; got"):
        Calibration.fit(quantiles, truth, scale, LEVELS, [])
    with pytest.raises(ValueError, match="there is nothing to calibrate on: no truth is known"):
        Calibration.fit(quantiles, np.full_like(truth, np.nan), scale, LEVELS, INTERVALS)
    with pytest.raises(ValueError, match=r"forecasts must be of shape \(50, 2, 5\); got \(50, 2, 4\)"):
        Calibration.fit(quantiles[..., :4], truth, scale, LEVELS, INTERVALS)
    with pytest.raises(ValueError, match=r"scale must be of shape \(50,\), one a window; got \(49,\)"):
        Calibration.fit(quantiles, truth, scale[1:], LEVELS, INTERVALS)
    with pytest.raises(ValueError, match="scale must be numbers above 0 for every window that counts"):
        Calibration.fit(quantiles, truth, scale * 0, LEVELS, INTERVALS)
    with pytest.raises(ValueError, match="forecasts must be numbers for every step that counts"):
        Calibration.fit(quantiles * np.nan, truth, scale, LEVELS, INTERVALS)
    calibration = Calibration.fit(quantiles, truth, scale, LEVELS, INTERVALS)
    with pytest.raises(ValueError, match="quantiles must be of at most 2 steps, as learned from; got 4"):
        calibration.apply(np.concatenate([quantiles, quantiles], axis=1), scale)
