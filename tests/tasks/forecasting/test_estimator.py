"""The estimator: scikit-learn's manner, forecasts against a slow loop, streams against reading in one go."""

from __future__ import annotations

import copy
import gc
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

import holdfast
from holdfast import Forecaster
from holdfast.data import DataError
from holdfast.models import Window
from holdfast.models.forecasting import Forecasting
from holdfast.tasks.forecasting.conformal import Calibration
from holdfast.training import OptionError, RunError

TINY: dict[str, Any] = {"horizon": 5, "steps": 25, "hidden": 8, "batch_size": 16, "evaluations": 2, "season": (7,)}
KINDS: dict[str, dict[str, Any]] = {
    "patches on the last value": {"model": "patches", "base": "last"},
    "patches on a mixture": {"model": "patches", "base": "mixture"},
    "patches on a linear forecast": {"model": "patches", "base": "linear"},
    "steps": {"model": "steps", "base": "mixture"},
    "autoregressive": {"model": "autoregressive"},
}


def _table(lengths: tuple[int, ...] = (90, 104, 97), seed: int = 0, begin: str = "2024-01-01") -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    parts = []
    for k, length in enumerate(lengths):
        days = np.arange(length)
        values = 10 * k + (k + 1) * np.sin(days * 2 * np.pi / 7) + 0.1 * draw.normal(size=length)
        parts.append(pd.DataFrame({"shop": f"s{k}", "day": pd.date_range(begin, periods=length), "sales": values}))
    return pd.concat(parts, ignore_index=True)


def _made(**changed: Any) -> Forecaster:
    return Forecaster(**{**TINY, "series": "shop", "time": "day", "target": "sales", **changed})


@pytest.fixture(scope="module", params=list(KINDS))
def fitted(request: pytest.FixtureRequest) -> Forecaster:
    return _made(**KINDS[request.param]).fit(_table())


@pytest.fixture(scope="module")
def quick() -> Forecaster:
    return _made(**KINDS["patches on a mixture"]).fit(_table())


def test_a_forecast_goes_on_where_each_series_ends(fitted: Forecaster) -> None:
    found = fitted.predict()
    assert list(found.columns[:3]) == ["shop", "day", "forecast"]
    table = _table()
    for name, part in found.groupby("shop"):
        last = table[table["shop"] == name]["day"].max()
        assert part["day"].tolist() == pd.date_range(last, periods=6)[1:].tolist()
    bounds = found[
        [f"forecast-lo-{k}" for k in (90, 80, 50)] + ["forecast"] + [f"forecast-hi-{k}" for k in (50, 80, 90)]
    ]
    assert (np.diff(bounds.to_numpy(), axis=1) >= 0).all()


def test_fewer_steps_are_the_first_of_all(fitted: Forecaster) -> None:
    whole = fitted.predict()
    pd.testing.assert_frame_equal(
        fitted.predict(2), whole.groupby("shop").head(2).reset_index(drop=True), check_exact=False, rtol=1e-6
    )


@pytest.mark.parametrize("h", [0, 6, -1])
def test_more_steps_than_were_learned_are_refused(quick: Forecaster, h: int) -> None:
    with pytest.raises(ValueError, match=f"h must be from 1 to 5, the steps that the model has learned.*got {h}"):
        quick.predict(h)


def test_a_saved_forecaster_is_the_same_wherever_it_stands(quick: Forecaster, tmp_path: Path) -> None:
    expected = quick.predict()
    copy = holdfast.load(quick.run.folder)
    assert isinstance(copy, Forecaster)
    copy.save(tmp_path / "saved")
    shutil.move(tmp_path / "saved", tmp_path / "moved")
    moved = holdfast.load(tmp_path / "moved")
    pd.testing.assert_frame_equal(moved.predict(), expected)
    assert moved.get_params() == {**moved.get_params(), "horizon": 5, "series": "shop", "base": "mixture"}


def test_a_folder_that_is_in_use_is_not_saved_to(quick: Forecaster) -> None:
    with pytest.raises(RunError, match="holds a run already"):
        quick.save(quick.run.folder)


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_a_copy_outlives_the_forecaster(copied: Callable[[Forecaster], Forecaster]) -> None:
    made = _made(**KINDS["patches on a mixture"], steps=5).fit(_table((90,)))
    made.update(_table((2,), 1, "2024-03-31"))
    folder, expected, windows = made.run.folder, made.predict(), made.backtest(n_windows=2)[0]
    other = copied(made)
    del made
    gc.collect()
    assert not folder.exists()
    pd.testing.assert_frame_equal(other.predict(), expected)
    pd.testing.assert_frame_equal(other.backtest(n_windows=2)[0], windows)
    folder = other.run.folder
    del other
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize("table", [None, []])
def test_nothing_is_learned_from_no_table(table: Any) -> None:
    with pytest.raises(DataError, match="a table must be paths or a data frame, got"):
        Forecaster(**TINY).fit(table)


def test_a_table_in_memory_is_kept_in_the_run_s_folder(tmp_path: Path) -> None:
    made = _made(**KINDS["patches on the last value"]).fit(_table(), out=tmp_path / "run")
    assert (tmp_path / "run" / "data" / "table.parquet").is_file()
    assert made.run.config["data"]["data"] == ["run:data/table.parquet"]


def test_a_table_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    table = _table().astype({"sales": object})
    table.loc[3, "sales"] = "many"
    with pytest.raises(DataError, match=r"series 's0'.*'many'"):
        _made().fit(table, out=tmp_path / "run")
    assert not (tmp_path / "run" / "data").exists()


def test_what_comes_later_does_not_change_a_forecast(fitted: Forecaster) -> None:
    table = _table()
    cut = table.groupby("shop").head(60)
    later = table.copy()
    later.loc[later.groupby("shop").cumcount() >= 60, "sales"] = 1e6
    found = fitted.backtest(later, n_windows=0, step_size=1)[0]
    expected = fitted.predict(df=cut)
    at = found[found["cutoff"] == pd.Timestamp("2024-01-01") + pd.Timedelta(days=59)].reset_index(drop=True)
    assert len(at) == len(expected)
    columns = [c for c in expected.columns if c.startswith("forecast")]
    np.testing.assert_allclose(at[columns].to_numpy(), expected[columns].to_numpy(), rtol=1e-5, atol=1e-5)


def test_cross_validation_is_what_a_slow_loop_gives() -> None:
    table = _table((80, 85))
    made = _made(**KINDS["patches on a mixture"])
    found = made.cross_validation(table, n_windows=2, step_size=4, refit=True)
    for number, back in enumerate((9, 5)):  # each window: all rows but the last so many
        parts = [part.iloc[:-back] for _, part in table.groupby("shop")]
        expected = clone(made).fit(pd.concat(parts, ignore_index=True)).predict()
        one = pd.concat([part.iloc[number * 5 : number * 5 + 5] for _, part in _by_cutoff(found)], ignore_index=True)
        columns = [c for c in expected.columns if c.startswith("forecast")]
        np.testing.assert_allclose(one[columns].to_numpy(), expected[columns].to_numpy(), rtol=1e-4, atol=1e-4)
        assert one["day"].tolist() == expected["day"].tolist()
        truth = pd.concat([part["sales"].iloc[len(part) - back :].head(5) for _, part in table.groupby("shop")])
        np.testing.assert_allclose(one["sales"].to_numpy(), truth.to_numpy(), rtol=1e-6)
        assert set(one["cutoff"]) == {part["day"].iloc[-1] for part in parts}


def _by_cutoff(found: pd.DataFrame) -> Any:
    return found.sort_values(["shop", "cutoff", "day"]).groupby("shop")


def test_cross_validation_without_refitting_learns_once() -> None:
    table = _table((80,))
    made = _made(**KINDS["patches on a mixture"])
    found = made.cross_validation(table, n_windows=2, step_size=5)
    once = clone(made).fit(table.iloc[:-10])
    for number, back in enumerate((10, 5)):
        expected = once.predict(df=table.iloc[:-back])
        one = found.iloc[5 * number : 5 * number + 5]
        np.testing.assert_allclose(one["forecast"], expected["forecast"], rtol=1e-4, atol=1e-4)
    with pytest.raises(RunError, match="has learned nothing yet"):
        made.predict()


def test_cross_validation_names_a_series_that_is_too_short() -> None:
    with pytest.raises(
        DataError, match=r"series 's1' has 9 steps, but 2 windows of 5 steps, 5 apart, need more than 10"
    ):
        _made().cross_validation(_table((90, 9)), n_windows=2)


def test_an_update_is_as_reading_all_in_one_go(fitted: Forecaster) -> None:
    stream = holdfast.load(fitted.run.folder)
    new = pd.concat([_table((13,), 1, "2024-03-31"), _table((90, 6), 2, "2024-04-14").query("shop == 's1'")])
    for _, some in new.groupby(new.groupby("shop").cumcount()):  # row by row
        stream.update(some)
    found = stream.predict()
    for name, rows in new.groupby("shop"):
        values = np.concatenate([_table().query("shop == @name")["sales"], rows["sales"]])
        expected = _read_in_one_go(fitted, name, values, len(rows))
        one = found[found["shop"] == name]
        columns = [c for c in one.columns if c.startswith("forecast")]
        order = [f"forecast-lo-{k}" for k in (90, 80, 50)] + ["forecast"] + [f"forecast-hi-{k}" for k in (50, 80, 90)]
        assert set(columns) == set(order)
        np.testing.assert_allclose(one[order].to_numpy(), expected, rtol=2e-3, atol=2e-3)


def _read_in_one_go(fitted: Forecaster, name: str, values: np.ndarray[Any, Any], since: int) -> np.ndarray[Any, Any]:
    """The forecast of a window that begins where the stream began to read, and is longer than those of training."""
    model, options = fitted.run.model, fitted.run.options
    assert isinstance(model, Forecasting)
    patch = options.patch
    length = (options.context + since) // patch * patch
    history = fitted._history(fitted._known_panel())
    k = list(history.panel.names).index(name)
    begin = pd.Timestamp("2024-01-01") + pd.Timedelta(days=len(values) - length)
    ordinals = history.panel.first[k] + len(values) - length + np.arange(length + options.horizon)
    calendar = history.panel.frequency.calendar(ordinals)[:, history.known.calendar]
    assert begin >= pd.Timestamp("2024-01-01")
    nothing = torch.zeros(1, length + options.horizon, 0)
    window = Window(
        torch.tensor(values[-length:], dtype=torch.float32)[None],
        nothing[:, :length],
        nothing,
        torch.from_numpy(calendar)[None],
        nothing[:, 0],
        history.numbers[k : k + 1],
        history.scales[k : k + 1],
    )
    with torch.no_grad():
        raw = model.quantiles(window, model.levels).double().numpy()
    calibration = Calibration.from_dict(model.calibration or {})
    found: np.ndarray[Any, Any] = calibration.apply(raw, values[-options.context :].std(keepdims=True))[0]
    return found


def test_a_new_series_that_comes_row_by_row_is_forecast_as_in_one_go(fitted: Forecaster) -> None:
    stream = holdfast.load(fitted.run.folder)
    rows = _table((fitted.run.options.context,), 6).assign(shop="new")
    rows["sales"] += 30
    for k in range(len(rows)):
        stream.update(rows.iloc[[k]])
    found = stream.predict().query("shop == 'new'").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, fitted.predict(df=rows), check_exact=False, rtol=1e-4)


def test_an_update_does_not_look_at_what_was_before(quick: Forecaster) -> None:
    rows = pd.DataFrame({"shop": "s0", "day": pd.date_range("2024-03-31", periods=2), "sales": [0.4, 0.9]})
    one, other = (holdfast.load(quick.run.folder) for _ in range(2))
    for each in (one, other):
        each.update(rows.iloc[:1])
    context = quick.run.options.context
    assert (other._recent.lengths <= context + 1).all()
    assert other._panel is None  # what was before is not even read
    for k, start in enumerate(other._recent.starts[:-1]):
        other._recent.values[start : other._recent.starts[k + 1] - 1] = np.nan
    for each in (one, other):
        each.update(rows.iloc[1:])
    of_one, of_other = (each.predict().query("shop == 's0'")["forecast"] for each in (one, other))
    np.testing.assert_array_equal(of_one, of_other)


def test_many_updates_keep_a_short_memory_and_a_whole_history(quick: Forecaster) -> None:
    """Of three series, one goes on for long, one a little, and one that is new."""
    stream = holdfast.load(quick.run.folder)
    new = pd.concat([_table((150, 0, 2), 3, "2024-04-14"), _table((80,), 4).replace("s0", "new")])
    new["step"] = new.groupby("shop").cumcount()
    longest = 0
    for step, some in new.groupby("step"):
        stream.update(some.drop(columns="step"))
        longest = max(longest, int(stream._recent.lengths.max()))
        if step in (0, 9, 40):
            there = np.isfinite(stream._known_panel().values).sum()
            assert there == len(_table()) + (new["step"] <= step).sum()
    assert longest <= 4 * 2 * (quick.run.options.context + 5)  # of the series together
    whole = pd.concat([_table(), new.drop(columns="step")], ignore_index=True)
    found = stream._known_panel()
    assert found.names == ("s0", "s1", "s2", "new")
    for k, name in enumerate(found.names):
        values = found.of(k)
        np.testing.assert_allclose(
            values[np.isfinite(values)], whole[whole["shop"] == name]["sales"].astype(np.float32)
        )
    tables = [stream.backtest(n_windows=1)[0], quick.backtest(whole, n_windows=1)[0]]
    pd.testing.assert_frame_equal(*tables, check_exact=False, rtol=1e-5)
    ends = {name: times.max() + pd.Timedelta(days=1) for name, times in whole.groupby("shop")["day"]}
    assert stream.predict().groupby("shop")["day"].min().to_dict() == ends
    assert stream.picture().count("new") > 0


def test_an_update_with_rows_of_the_past_is_refused(quick: Forecaster) -> None:
    with pytest.raises(DataError, match="s0"):
        holdfast.load(quick.run.folder).update(_table((3,)))


def test_a_series_that_was_not_learned_from_is_forecast_too(quick: Forecaster) -> None:
    new = _table((70,), seed=3).replace("s0", "new")
    found = quick.predict(df=new)
    assert found["shop"].unique().tolist() == ["new"]
    phase = np.sin((70 + np.arange(5)) * 2 * np.pi / 7)
    last = new["sales"].iloc[-1]
    assert np.abs(found["forecast"] - phase).mean() < 0.75 * np.abs(last - phase).mean()


def test_a_series_of_a_single_value_is_forecast(quick: Forecaster) -> None:
    found = quick.predict(df=pd.DataFrame({"shop": ["x"], "day": [pd.Timestamp("2024-05-01")], "sales": [3.0]}))
    assert np.isfinite(found["forecast"]).all()


def test_a_backtest_measures_the_model_beside_simple_methods(quick: Forecaster) -> None:
    frame, measures = quick.backtest(n_windows=2)
    assert len(frame) == 2 * 3 * 5
    error = (frame["forecast"] - frame["sales"]).abs()
    size = frame["forecast"].abs() + frame["sales"].abs()
    assert measures["this model"]["smape"] == pytest.approx((200 * error / size).mean(), rel=1e-6)
    assert {"repeat last", "seasonal naive, 7", "ridge on lags"} <= measures.keys()


@pytest.mark.parametrize(("name", "least"), [("n_windows", 0), ("step_size", 0)])
def test_a_backtest_of_fewer_than_no_windows_or_steps_is_refused(quick: Forecaster, name: str, least: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least {least}; got -1"):
        quick.backtest(**{name: -1})


@pytest.mark.parametrize(("name", "least"), [("n_windows", 1), ("step_size", 0)])
def test_a_cross_validation_of_fewer_is_refused(name: str, least: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least {least}; got -1"):
        _made().cross_validation(_table((90,)), **{name: -1})


def test_a_series_that_is_too_short_is_not_looked_back_at(quick: Forecaster) -> None:
    frame, _ = quick.backtest(_table((90, 4, 97)), n_windows=2)
    assert frame.groupby("shop").size().to_dict() == {"s0": 10, "s2": 10}
    with pytest.raises(DataError, match="no series is long enough to look back"):
        quick.backtest(_table((4,)))


def test_a_score_is_of_the_series_that_go_on_for_a_horizon(quick: Forecaster) -> None:
    both = pd.concat([_table((10,), 1, "2024-03-31"), _table((0, 2), 1, "2024-04-14")])
    assert quick.score(both) == quick.score(_table((10,), 1, "2024-03-31")) < 0
    with pytest.raises(DataError, match="no series goes on for 5 steps"):
        quick.score(_table((4,), 1, "2024-03-31"))


def test_points_that_do_not_belong_are_found() -> None:
    made = _made(**KINDS["patches on a mixture"], steps=120).fit(_table((300,)))
    strange = _table((300,), seed=5)
    strange.loc[[150, 200, 222], "sales"] += [4.0, -4.0, 5.0]
    found = made.detect(strange)
    flagged = found[found["anomaly"]]["day"].tolist()
    assert set(strange.loc[[150, 200, 222], "day"]) <= set(flagged)
    assert len(flagged) < 20  # of some 280; what follows a strange point is strange to the model
    assert (found["anomaly"] == (found["p_value"] <= 1 - 0.99)).all()
    assert made.detect(strange, level=90.0)["anomaly"].sum() > len(flagged)


def test_a_level_that_too_few_points_could_tell_is_refused() -> None:
    made = _made(**KINDS["patches on a mixture"]).fit(_table((90,)))
    strange = _table((90,), seed=5)
    strange.loc[80, "sales"] += 1000.0
    with pytest.raises(ValueError, match=r"at most 96\.\d; got 99: there were 2\d validation points, .* 1 in 2\d"):
        made.detect(strange, level=99.0)
    assert strange["day"][80] in made.detect(strange, level=96.0).query("anomaly")["day"].tolist()


def test_by_default_the_level_is_one_that_the_validation_points_can_tell() -> None:
    made = _made(**KINDS["patches on a mixture"]).fit(_table((90,)))
    strange = _table((90,), seed=5)
    strange.loc[80, "sales"] += 1000.0
    assert 96 <= made.detected_level() < 97
    assert strange["day"][80] in made.detect(strange).query("anomaly")["day"].tolist()
    with pytest.raises(ValueError, match="level must be at most"):
        made.detect(strange, level=made.detected_level() + 0.1)


def test_columns_of_the_future_must_be_known() -> None:
    table = _table((90,))
    table["promotion"] = (np.arange(90) % 10 == 0).astype(float)
    table.loc[table["promotion"] > 0, "sales"] += 3
    made = _made(**KINDS["patches on a mixture"], future=("promotion",)).fit(table)
    with pytest.raises(DataError, match=r"series 's0' has no 'promotion' at 2024-03-31: it must be known of the 5"):
        made.predict()
    days = pd.date_range("2024-03-31", periods=5)
    ahead = pd.DataFrame({"shop": "s0", "day": days, "sales": np.nan, "promotion": [1.0, 0, 0, 0, 0]})
    with_it = made.predict(df=pd.concat([table, ahead], ignore_index=True))
    without = made.predict(df=pd.concat([table, ahead.assign(promotion=0.0)], ignore_index=True))
    assert len(with_it) == 5
    assert not np.allclose(with_it["forecast"], without["forecast"])


def test_it_is_cloned_with_its_parameters() -> None:
    made = Forecaster(horizon=3, minutes=0.5, past=("a", "b"))
    other = clone(made)
    assert other.get_params() == made.get_params()
    assert other is not made
    assert repr(made) == "Forecaster(minutes=0.5, past=('a', 'b'), horizon=3)"
    assert made.set_params(horizon=4).get_params()["horizon"] == 4
    with pytest.raises(ValueError, match=r"no parameter 'horizn'; did you mean horizon\?"):
        made.set_params(horizn=4)
    with pytest.raises(TypeError, match=r"no option 'hiden'; did you mean hidden\?"):
        Forecaster(hiden=4)


def test_a_grid_search_finds_the_better_base() -> None:
    table = _table((140,)).drop(columns="shop")
    search = GridSearchCV(
        Forecaster(**{**TINY, "target": "sales"}, model="patches"),
        {"base": ["last", "mixture"]},
        cv=TimeSeriesSplit(2, test_size=20),
    ).fit(table)
    assert search.best_params_ == {"base": "mixture"}
    assert len(search.best_estimator_.predict()) == 5


def test_a_wrong_parameter_is_refused_when_it_learns() -> None:
    with pytest.raises(OptionError, match="horizon must be at least 0; got -3"):
        _made(horizon=-3).fit(_table())


def test_nothing_is_forecast_before_something_was_learned() -> None:
    with pytest.raises(RunError, match="has learned nothing yet: call fit first"):
        Forecaster().predict()
