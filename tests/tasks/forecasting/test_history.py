"""Windows against a slow loop over the table's rows; and that nothing which comes later is ever told."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from holdfast.data import Columns, DataError, Panel, build_panel
from holdfast.models.likelihoods import LIKELIHOODS
from holdfast.tasks.forecasting import Forecast
from holdfast.tasks.forecasting.history import History, Known
from holdfast.tasks.forecasting.judging import forecast_windows, windows_of
from holdfast.tasks.forecasting.options import ForecastOptions
from holdfast.training import Devices, Nowhere, Quiet, Training

NAN = float("nan")
CONTEXT, HORIZON, SEASON = 6, 4, 3
BEGIN = pd.Timestamp("2024-03-01 05:00")
HOUR = pd.Timedelta(hours=1)
COLUMNS = Columns(series="shop", past=("rain",), future=("price",), static=("kind", "size"))
KINDS: dict[str, dict[str, Any]] = {
    "last": {"model": "patches", "base": "last", "patch": 3},
    "mixture": {"model": "patches", "base": "mixture", "patch": 3},
    "linear": {"model": "patches", "base": "linear", "patch": 3},
    "steps": {"model": "steps", "base": "mixture", "patch": 1},
    "autoregressive": {"model": "autoregressive", "patch": 1},
}


def rows_of(
    name: str, begin: int, length: int, draw: np.random.Generator, kind: str = "small", gaps: float = 0.15
) -> list[dict[str, Any]]:
    """Some hours of a shop, of which a few are missing, or known without their sales."""
    rows = []
    for hour in range(begin, begin + length):
        if hour not in (begin, begin + length - 1) and draw.random() < gaps:
            continue
        known = hour in (begin, begin + length - 1) or draw.random() > gaps
        rows.append(
            {
                "shop": name,
                "ds": BEGIN + hour * HOUR,
                "y": float(draw.normal(10, 3)) if known else NAN,
                "rain": float(draw.normal(100, 20)) if draw.random() > gaps else NAN,
                "price": float(draw.normal(5, 1)),
                "kind": kind,
                "size": {"small": 10.0, "large": 30.0}.get(kind, NAN),
            }
        )
    return rows


def parts_of(*lengths: dict[str, tuple[int, int]], seed: int = 0, **more: Any) -> list[pd.DataFrame]:
    """Tables that follow each other: of each the first hour and the length of each shop."""
    draw = np.random.default_rng(seed)
    kinds = {"a": "small", "b": "large"}
    return [
        pd.DataFrame([r for k, (b, n) in part.items() for r in rows_of(k, b, n, draw, kinds.get(k, "small"), **more)])
        for part in lengths
    ]


TRAIN = {"a": (0, 30), "b": (7, 26), "c": (2, 3)}
VALID = {"a": (31, 9), "b": (33, 3), "d": (40, 8)}
TEST = {"a": (40, 6), "b": (36, 5), "d": (48, 4)}


@pytest.fixture(scope="module")
def tables() -> list[pd.DataFrame]:
    return parts_of(TRAIN, VALID, TEST)


@pytest.fixture(scope="module")
def panel(tables: list[pd.DataFrame]) -> Panel:
    return build_panel(tables, COLUMNS)


def history_of(panel: Panel, known: Known | None = None, calendar: bool = False) -> History:
    return History(panel, known or Known.of(panel, SEASON, HORIZON, calendar), CONTEXT, HORIZON)


def test_windows_are_those_of_a_slow_loop(tables: list[pd.DataFrame], panel: Panel) -> None:
    history = history_of(panel)
    table = pd.concat(tables)
    cells = {(row["shop"], row["ds"]): row for row in table.to_dict("records")}
    framed = {(s, t): y for s, t, y in panel.to_frame().itertuples(index=False)}
    train = tables[0]
    units = {name: (train[name].mean(), train[name].std(ddof=0)) for name in ("rain", "price")}

    def cell(name: str, time: pd.Timestamp, column: str) -> float:
        value = cells.get((name, time), {}).get(column, NAN)
        mean, deviation = units[column]
        return 0.0 if math.isnan(value) else (value - mean) / deviation

    draw = np.random.default_rng(1)
    for k, name in enumerate(panel.names):
        begin = table.loc[table["shop"] == name, "ds"].min()
        steps = int(panel.known[k])
        for origin in range(1, steps + 1):
            limit = int(draw.integers(0, steps + 2))
            window, targets = history.cut(torch.tensor([k]), torch.tensor([origin]), torch.tensor([limit]))
            found = torch.cat([window.values, targets], 1)[0]
            for j, at in enumerate(range(origin - CONTEXT, origin + HORIZON)):
                time = begin + at * HOUR
                expected = framed.get((name, time), NAN) if 0 <= at < min(limit, steps) else NAN
                assert found[j].item() == pytest.approx(expected, rel=1e-6, nan_ok=True)
                there = at >= 0
                assert window.future[0, j, 0].item() == pytest.approx(
                    cell(name, time, "price") if there else 0, abs=1e-5
                )
                if j < CONTEXT:
                    assert window.past[0, j, 0].item() == pytest.approx(
                        cell(name, time, "rain") if there else 0, abs=1e-5
                    )
    assert {key: value for key, value in framed.items() if value == value} == {
        key: np.float32(row["y"]) for key, row in cells.items() if row["y"] == row["y"]
    }


def test_the_future_goes_on_where_the_table_knows_it(tables: list[pd.DataFrame]) -> None:
    last = tables[2].loc[tables[2]["shop"] == "a", "ds"].max()
    more = [{"shop": "a", "ds": last + (k + 1) * HOUR, "y": NAN, "price": 5.0 + k, "kind": "small"} for k in range(2)]
    panel = build_panel([*tables[:2], pd.concat([tables[2], pd.DataFrame(more)])], COLUMNS)
    history = history_of(panel)
    origin = int(panel.known[0])
    window, targets = history.cut(torch.tensor([0]), torch.tensor([origin]), torch.tensor([origin]))
    mean, deviation = tables[0]["price"].mean(), tables[0]["price"].std(ddof=0)
    expected = [(5 - mean) / deviation, (6 - mean) / deviation, 0.0, 0.0]
    assert window.future[0, CONTEXT:, 0].tolist() == pytest.approx(expected, abs=1e-5)
    assert targets.isnan().all()
    assert history.unknown_future(0, origin, 2) is None
    assert history.unknown_future(0, origin, 3) == (origin + 2, "price")


@pytest.mark.parametrize("part", [0, 1, 2])
def test_the_windows_of_a_part_are_all_that_have_their_steps_to_come_in_it(panel: Panel, part: int) -> None:
    history = history_of(panel)
    found = {tuple(pair) for pair in torch.stack(history.origins(part), 1).tolist()}
    expected = set()
    for k, name in enumerate(panel.names):
        begin = int(panel.ends[part - 1, k]) if part else 1
        end = int(panel.ends[part, k])
        inside = [o for o in range(max(begin, 1), end) if o + HORIZON <= end]
        if not inside and end > max(begin, 1):
            inside = [max(begin, 1)]  # too short for a whole forecast
        values = panel.of(k)
        expected |= {(k, o) for o in inside if np.isfinite(values[max(0, o - CONTEXT) : o]).any()}
        assert name != "d" or part or not inside
    assert found == expected
    assert found


def test_a_window_without_a_known_value_is_left_out() -> None:
    hours = [*range(12), *range(30, 44)]
    table = pd.DataFrame({"ds": [BEGIN + h * HOUR for h in hours], "y": np.arange(26.0)})
    panel = build_panel([table])
    _, origins = history_of(panel).origins(0)
    assert set(range(1, 41)) - set(origins.tolist()) == set(range(12 + CONTEXT, 31))
    series, some = torch.zeros(3, dtype=torch.long), torch.tensor([17, 18, 31])
    assert history_of(panel).with_a_past(series, some)[1].tolist() == [17, 31]


def test_windows_for_learning_may_begin_later(panel: Panel) -> None:
    history = history_of(panel)
    series, origins = history.origins(0, torch.tensor([10, 5, 1, 1]))
    assert origins[series == 0].min() == 10
    assert origins[series == 1].min() == 5


def test_what_came_is_told_to_the_end_of_a_part_and_no_further(panel: Panel) -> None:
    history = history_of(panel)
    model = built(panel, history.known, ForecastOptions(horizon=HORIZON, context=CONTEXT, hidden=16, **KINDS["last"]))
    series, origins = windows_of(history, "valid")
    assert set(series.tolist()) == {0, 1, 3}
    found = forecast_windows(model, history, series, origins, "valid")
    for k, origin, truth in zip(series.tolist(), origins.tolist(), found.truth):
        for step, value in enumerate(truth):
            at = origin + step
            expected = panel.of(k)[at] if at < panel.ends[1, k] else NAN
            assert value == pytest.approx(expected, nan_ok=True)
    assert np.isnan(found.truth[series == 1, -1]).all()  # its part is shorter than a forecast
    assert np.isfinite(forecast_windows(model, history, series, origins, "given").truth[series == 1, -1]).any()


def test_the_calendar_is_told_as_far_as_the_data_have_seen_it_twice() -> None:
    for days, names in ((1, []), (3, ["day"]), (20, ["day", "week"])):
        times = pd.date_range(BEGIN, periods=24 * days, freq="h")
        panel = build_panel([pd.DataFrame({"ds": times, "y": np.arange(len(times)) % 7})])
        history = history_of(panel, calendar=True)
        assert [panel.frequency.calendar_names[k].split()[0] for k in history.known.calendar] == [
            name for name in names for _ in range(2)
        ]
        origin = torch.tensor([CONTEXT + 3])
        window, _ = history.cut(torch.tensor([0]), origin, origin)
        assert window.calendar.shape == (1, CONTEXT + HORIZON, 2 * len(names))
        if names:
            hours = np.array([(times[3] + k * HOUR).hour for k in range(CONTEXT + HORIZON)])
            np.testing.assert_allclose(window.calendar[0, :, 0], np.sin(2 * np.pi * hours / 24), atol=1e-6)
            np.testing.assert_allclose(window.calendar[0, :, 1], np.cos(2 * np.pi * hours / 24), atol=1e-6)
        assert history_of(panel, calendar=False).known.calendar == []


def test_what_is_static_is_numbers_whatever_another_table_holds(panel: Panel) -> None:
    known = Known.of(panel, SEASON, HORIZON, False)
    assert known.texts == {"kind": ["large", "small"]}
    mean, deviation = 50 / 3, np.std([10, 30, 10])
    assert known.numbers["size"] == pytest.approx([mean, deviation])
    other = build_panel(parts_of({"x": (0, 9), "b": (0, 9)}), COLUMNS)
    other = replace(other, static={"kind": np.array(["huge", "large"]), "size": np.array([NAN, 40.0])})
    history = history_of(other, known)
    np.testing.assert_allclose(history.static, [[0, 0, 0], [(40 - mean) / deviation, 1, 0]], rtol=1e-6)
    assert known.static_size == 3
    assert history.numbers.tolist() == [0, known.names.index("b") + 1]


def slow_units(values: Sequence[float], season: int) -> tuple[float, float, float]:
    """Deviation, scale and MASE scale by loops; of up to 8 lags all, which is what a horizon of 4 has."""
    known = [v for v in values if not math.isnan(v)]
    means = []
    for lag in range(1, min(HORIZON, len(values) - 1) + 1):
        changes = [(b - a) ** 2 for a, b in zip(values, values[lag:]) if not math.isnan(a + b)]
        means += [sum(changes) / len(changes)] if changes else []
    size = sum(map(abs, known)) / len(known)
    scale = max(math.sqrt(sum(means) / len(means)) if means else 0.0, 1e-3 * size) or 1.0
    apart = [abs(b - a) for a, b in zip(values, values[season:]) if not math.isnan(a + b)]
    mean = sum(known) / len(known)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in known) / len(known))
    return deviation, scale, sum(apart) / len(apart) if apart else NAN


def test_units_are_those_of_the_training_part(panel: Panel) -> None:
    history = history_of(panel)
    for k, name in enumerate(panel.names[:3]):
        expected = slow_units(panel.of(k)[: panel.ends[0, k]].tolist(), SEASON)
        found = history.deviations[k], history.scales[k].item(), history.mase_scales[k]
        assert found == pytest.approx(expected, rel=1e-5, nan_ok=True), name


@pytest.mark.parametrize(("value", "scale"), [(0.0, 1.0), (5.0, 0.005)])
def test_a_constant_series_has_a_scale_all_the_same(value: float, scale: float) -> None:
    times = pd.date_range(BEGIN, periods=9, freq="h")
    panel = build_panel([pd.DataFrame({"ds": times, "y": np.full(9, value)})])
    known = Known.of(panel, SEASON, HORIZON, False)
    assert known.scales == pytest.approx([scale])
    assert known.deviations == [0.0]


def test_a_new_series_is_scaled_by_each_window_and_measured_by_what_is_before_its_last_part(panel: Panel) -> None:
    history = history_of(panel)
    assert panel.names[3] == "d"
    assert history.numbers[3] == 0
    assert history.scales[3].isnan()
    deviation, _, mase = slow_units(panel.of(3)[: panel.ends[1, 3]].tolist(), SEASON)
    assert (history.deviations[3], history.mase_scales[3]) == pytest.approx((deviation, mase))
    for origin in (1, 5, 9):
        window, _ = history.cut(torch.tensor([3, 0]), torch.tensor([origin, 9]), torch.tensor([99, 99]))
        seen = panel.of(3)[max(0, origin - CONTEXT) : origin].tolist()
        assert window.scale[0].item() == pytest.approx(slow_units(seen, SEASON)[1], rel=1e-5)
        assert window.scale[1] == history.scales[0]


def test_what_is_known_goes_through_json(panel: Panel) -> None:
    known = Known.of(panel, SEASON, HORIZON, True)
    again = Known.from_dict(json.loads(json.dumps(known.to_dict())))
    assert json.dumps(again.to_dict()) == json.dumps(known.to_dict())
    assert again.panel_frequency() == panel.frequency
    assert again.panel_columns() == panel.columns


def test_a_table_without_the_columns_that_were_learned_is_refused(panel: Panel) -> None:
    known = Known.of(panel, SEASON, HORIZON, False)
    other = build_panel(parts_of({"a": (0, 9)}), replace(COLUMNS, past=()))
    with pytest.raises(
        DataError, match="the table has not the past and future columns that the model was trained with"
    ):
        history_of(other, known)


# ---------------------------------------------------------------------------------------------------------------------
# Nothing from later
# ---------------------------------------------------------------------------------------------------------------------


def built(panel: Panel, known: Known, options: ForecastOptions) -> Any:
    """A model whose weights are as if it had learned something."""
    torch.manual_seed(3)
    model = Forecast().build({"known": known.to_dict()}, replace(options, hidden=options.hidden or 16))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return model.eval()


def options_of(kind: str, **more: Any) -> ForecastOptions:
    given: dict[str, Any] = {"horizon": HORIZON, "context": CONTEXT, "season": (SEASON,), "hidden": 6, **KINDS[kind]}
    return ForecastOptions(**{**given, **more})


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_forecast_knows_nothing_of_its_origin_or_later(
    tables: list[pd.DataFrame], panel: Panel, kind: str, likelihood: str
) -> None:
    known = Known.of(panel, SEASON, HORIZON, True)
    model = built(panel, known, options_of(kind, likelihood=likelihood))
    table = pd.concat([*parts_of({"a": (50, 22), "x": (50, 22)}, seed=4)])  # a known series and a new one
    for origin in (1, 4, 13, 18):
        changed = table.copy()
        later = changed["ds"] >= BEGIN + (50 + origin) * HOUR
        changed.loc[later, "y"] = changed.loc[later, "y"] * -7 + 1000
        changed.loc[later, "rain"] = -50.0
        found = []
        for one in (table, changed):
            history = history_of(build_panel([one], COLUMNS, known.panel_frequency()), known)
            assert history.numbers.tolist() == [1, 0]
            found.append(
                forecast_windows(model, history, torch.tensor([0, 1]), torch.tensor([origin, origin]), "given")
            )
        assert np.isfinite(found[0].raw).all()
        np.testing.assert_array_equal(found[0].raw, found[1].raw)
        np.testing.assert_array_equal(found[0].scale, found[1].scale)
        assert (found[0].truth[np.isfinite(found[0].truth)] != found[1].truth[np.isfinite(found[1].truth)]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_just_before_the_origin_does_change_the_forecast(panel: Panel, kind: str) -> None:
    history = history_of(panel)
    model = built(panel, history.known, options_of(kind))
    origin = torch.tensor([9])
    before = forecast_windows(model, history, torch.tensor([0]), origin, "given").raw
    history.values[int(history.starts[0]) + 8] += 5
    assert (forecast_windows(model, history, torch.tensor([0]), origin, "given").raw != before).any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_learn_nothing_from_validation_and_test_parts(tables: list[pd.DataFrame], kind: str) -> None:
    later = [table.copy() for table in tables[1:]]
    for table in later:
        table["y"] = table["y"] * 3 + 100
        table["rain"] = 7.0
    found = []
    for parts in (tables, [tables[0], *later]):
        panel = build_panel(parts, COLUMNS)
        options = options_of(kind, steps=4, evaluations=2, batch_size=16)
        found.append(trained(panel, options))
    for name, weight in found[0].items():
        if name != "_extra_state":  # the calibration, which is learned from the validation part
            assert torch.equal(weight, found[1][name]), name
    assert not torch.equal(found[0]["_extra_state"], found[1]["_extra_state"])
    other = [tables[0].assign(y=tables[0]["y"] + (tables[0].index == len(tables[0]) - 9)), *tables[1:]]
    changed = trained(build_panel(other, COLUMNS), options)
    assert any(not torch.equal(weight, changed[name]) for name, weight in found[0].items())


def trained(panel: Panel, options: ForecastOptions) -> dict[str, Tensor]:
    """The weights after a few steps."""
    task, place = Forecast(), Devices(torch.device("cpu"))
    torch.manual_seed(1)
    model = task.build(task.facts(panel, options), options)
    Training(task.problem(panel, options, place), model, options, place, Nowhere(), Quiet()).run()
    return model.state_dict()
