"""Frequencies against pandas' date ranges and Python's calendar: steps, gaps, phases, seasons and what is refused."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from holdfast.data import DataError, Frequency

ALIASES = ["30s", "15min", "h", "6h", "D", "2D", "B", "W", "2W", "MS", "ME", "2MS", "QS", "QE", "YS", "YE"]


def range_of(alias: str, start: str = "2019-12-01", periods: int = 400) -> Any:
    return pd.date_range(start, periods=periods, freq=alias).to_numpy().astype("M8[ns]")


def gappy(times: Any, seed: int) -> Any:
    """The times without a third of them, but with the first and the last."""
    draw = np.random.default_rng(seed)
    kept = draw.random(len(times)) > 0.3
    kept[[0, -1]] = True
    return times[kept]


@pytest.mark.parametrize("alias", ALIASES)
def test_steps_of_a_name_are_those_of_pandas(alias: str) -> None:
    times = range_of(alias, "1969-11-25", 120)  # across the epoch
    frequency = Frequency.parse(alias).with_phase(times, np.array([0]))
    ordinals, phases, off = frequency.place(times, np.array([0]))
    assert not off.any()
    assert np.diff(ordinals).tolist() == [1] * 119
    assert (frequency.ordinals(times) == ordinals).all()
    assert (frequency.times(ordinals, phases[0]) == times).all()
    assert (frequency.times(np.arange(ordinals[0], ordinals[0] + 120)) == times).all()


@pytest.mark.parametrize("alias", ["h", "D", "B", "W", "MS", "ME", "QS", "QE", "YS", "YE"])
def test_without_data_a_name_lies_where_it_does_in_pandas(alias: str) -> None:
    times = range_of(alias, "2020-01-01", 50)
    frequency = Frequency.parse(alias)
    assert (frequency.times(frequency.ordinals(times)) == times).all()


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("seed", range(3))
def test_a_frequency_is_found_whatever_the_gaps(alias: str, seed: int) -> None:
    times = range_of(alias, "2001-03-05", 90 if alias[0] in "YQ" else 400)
    found = Frequency.infer([gappy(times, seed)])
    assert found.alias == alias
    ordinals, _, off = found.place(gappy(times, seed), np.array([0]))
    assert not off.any()
    assert (ordinals - ordinals[0] == np.searchsorted(times, gappy(times, seed))).all()


@pytest.mark.parametrize("step", [1, 5, 7])
def test_whole_numbers_are_steps_too(step: int) -> None:
    times = gappy(np.arange(3, 3 + 100 * step, step), 0)
    found = Frequency.infer([times, times + 1])
    assert (found.kind, found.step, found.alias) == ("steps", step, str(step))
    assert found.seasons == ()
    assert found.calendar(np.arange(4)).shape == (4, 0)
    ordinals, phases, off = found.place(np.concatenate([times, times + 1]), np.array([0, len(times)]))
    assert not off.any()
    assert found.times(ordinals, np.repeat(phases, len(times))).tolist() == [*times, *(times + 1)]


def test_series_may_lie_at_different_places_within_a_step() -> None:
    full, half = range_of("h", "2020-01-01 00:00", 30), range_of("h", "2020-01-01 00:30", 50)
    found = Frequency.infer([full, half])
    ordinals, phases, off = found.place(np.concatenate([full, half]), np.array([0, 30]))
    assert found.alias == "h"
    assert not off.any()
    assert (phases / 60e9).tolist() == [0, 30]
    assert ordinals[0] == ordinals[30]


@pytest.mark.parametrize(
    ("day", "days"),
    [
        (15, ["2020-01-15", "2020-02-15", "2020-03-15"]),
        (30, ["2019-01-30", "2019-02-28", "2019-03-30"]),
        (31, ["2019-02-28", "2019-04-30", "2019-06-30", "2019-07-31"]),
        (28, ["2019-01-28", "2019-02-28", "2019-03-28"]),
    ],
)
def test_months_keep_their_day_or_end(day: int, days: list[str]) -> None:
    times = np.array(days, "M8[ns]") + np.timedelta64(6, "h")
    found = Frequency.infer([times])
    assert (found.kind, found.step) == ("months", 1)
    after = found.times(found.ordinals(times[-1:]) + np.arange(1, 25))
    for k, time in enumerate(after):
        month = pd.Period(days[-1], "M") + k + 1
        expected = pd.Timestamp(month.year, month.month, min(day, month.days_in_month), 6)
        assert pd.Timestamp(time) == expected


def test_days_that_all_end_a_month_are_ends() -> None:
    found = Frequency.infer([np.array(["2021-02-28", "2021-04-30", "2021-06-30"], "M8[ns]")])
    assert found.alias == "2ME"
    assert found.times(found.ordinals(np.array(["2021-08-15"], "M8[ns]")))[0] == np.datetime64("2021-08-31")


def test_a_week_without_a_weekend_in_it_is_of_days() -> None:
    assert Frequency.infer([range_of("D", "2024-01-01", 5)]).alias == "D"
    assert Frequency.infer([range_of("B", "2024-01-01", 6)]).alias == "B"


@pytest.mark.parametrize("alias", ["D", "h", "MS", "B", "W"])
def test_days_follow_the_local_clock_and_hours_that_of_utc(alias: str) -> None:
    local = pd.date_range("2021-01-04", periods=400 if alias != "h" else 9000, freq=alias, tz="Europe/Berlin")
    utc = local.tz_convert("UTC").tz_localize(None).to_numpy().astype("M8[ns]")
    found = Frequency.infer([utc], "Europe/Berlin")
    assert found.alias == alias
    ordinals, _, off = found.place(utc, np.array([0]))
    assert not off.any()
    assert (np.diff(ordinals) == 1).all()
    assert (found.times(ordinals) == utc).all()
    calendar = dict(zip(found.calendar_names, found.calendar(ordinals).T))
    if alias == "h":  # the local hour
        angle = np.arctan2(calendar["day sine"], calendar["day cosine"]) % (2 * np.pi)
        assert (np.round(angle / 2 / np.pi * 24) % 24 == local.hour).all()


@pytest.mark.parametrize(
    ("alias", "seasons"),
    [
        ("h", (24, 168)),
        ("30min", (48, 336)),
        ("15min", (96, 672)),
        ("7h", (24,)),
        ("D", (7, 365)),
        ("B", (5, 261)),
        ("W", (52,)),
        ("MS", (12,)),
        ("ME", (12,)),
        ("QS", (4,)),
        ("YE", ()),
        ("1", ()),
    ],
)
def test_the_natural_seasons(alias: str, seasons: tuple[int, ...]) -> None:
    assert Frequency.parse(alias).seasons == seasons


@pytest.mark.parametrize("alias", ["15min", "h", "D", "B", "W", "MS", "QE"])
def test_the_calendar_is_that_of_a_slow_loop(alias: str) -> None:
    times = range_of(alias, "2019-12-20", 60)
    frequency = Frequency.parse(alias)
    expected = []
    for stamp in pd.DatetimeIndex(times):
        time = stamp.to_pydatetime()
        midnight = datetime(time.year, time.month, time.day)
        year, after = datetime(time.year, 1, 1), datetime(time.year + 1, 1, 1)
        positions = {
            "day": (time - midnight) / timedelta(days=1),
            "week": time.weekday() / 7 + (time - midnight) / timedelta(days=7),
            "year": (time - year) / (after - year),
        }
        named = {
            f"{cycle} {wave}": turn(2 * math.pi * position)
            for cycle, position in positions.items()
            for wave, turn in (("sine", math.sin), ("cosine", math.cos))
        }
        expected.append([named[name] for name in frequency.calendar_names])
    found = frequency.calendar(frequency.ordinals(times))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_only_what_varies_is_in_the_calendar() -> None:
    def cycles(alias: str) -> list[str]:
        return [name.removesuffix(" sine") for name in Frequency.parse(alias).calendar_names[::2]]

    assert cycles("h") == ["day", "week", "year"]
    assert cycles("D") == cycles("B") == ["week", "year"]
    assert cycles("W") == cycles("QS") == ["year"]
    assert cycles("YS") == cycles("3") == []


@pytest.mark.parametrize("alias", [*ALIASES, "12"])
def test_a_frequency_survives_json(alias: str) -> None:
    frequency = Frequency.parse(alias)
    assert Frequency.from_dict(json.loads(json.dumps(frequency.to_dict()))) == frequency
    assert frequency.alias == alias


@pytest.mark.parametrize("alias", ["", "M", "H", "0h", "2B", "hour", "-1", "MS2", "W-MON", "fortnight"])
def test_a_name_that_nobody_knows_is_refused_with_a_list(alias: str) -> None:
    with pytest.raises(DataError, match=r"^frequency must be s, min, h, D, B .* got " + repr(alias)):
        Frequency.parse(alias)


def test_a_time_between_two_steps_is_told() -> None:
    times = np.sort(np.append(range_of("h", periods=100), np.datetime64("2019-12-02T05:30", "ns")))
    with pytest.raises(DataError, match=r"^series 0, time 31: comes 30min after the one before, but most .* take 1h:"):
        Frequency.infer([times])


def test_series_of_different_steps_are_told() -> None:
    with pytest.raises(DataError, match=r"^series 1, time 2: the steps of this series take 1h, those of others 15min"):
        Frequency.infer([range_of("15min"), range_of("h")])


def test_months_that_are_mixed_are_told_as_months() -> None:
    quarters = range_of("QS", "2000-01-01", 40)
    times = np.sort(np.append(quarters, np.datetime64("2002-05-01", "ns")))
    with pytest.raises(DataError, match=r"comes 1 months after the one before, but most steps take 3 months"):
        Frequency.infer([times])


def test_a_single_time_has_no_frequency() -> None:
    with pytest.raises(DataError, match=r"^every series has a single time"):
        Frequency.infer([range_of("h", periods=1), range_of("h", periods=1)])


def test_what_is_off_the_grid_is_found() -> None:
    times = range_of("D", periods=20)
    times[7] += np.timedelta64(1, "h")
    assert np.flatnonzero(Frequency.parse("D").place(times, np.array([0]))[2]).tolist() == [7]
    weekend = range_of("D", "2024-01-01", 7)
    assert np.flatnonzero(Frequency.parse("B").place(weekend, np.array([0]))[2]).tolist() == [5, 6]
