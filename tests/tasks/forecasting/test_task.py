"""Forecasting from a table to a run: training, going on, measuring."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from holdfast.data import DataError, untold
from holdfast.models import CELLS
from holdfast.models.forecasting import BASES
from holdfast.models.likelihoods import LIKELIHOODS
from holdfast.tasks import Result, Sources, resume
from holdfast.tasks.fitting import fit
from holdfast.tasks.forecasting import Forecast
from holdfast.tasks.forecasting.options import ForecastOptions
from holdfast.tasks.forecasting.task import SUNSPOTS, ForecastRun
from holdfast.training import Devices, OptionError, Quiet, Run, TrainingOptions, make, options_of

HORIZON, LENGTH, SEASON = 6, 260, 8
VALID = 105  # steps of each series: more windows than statistical models are fitted to
TINY: dict[str, Any] = {
    "horizon": HORIZON,
    "valid_steps": VALID,
    "hidden": 6,
    "batch_size": 32,
    "steps": 6,
    "evaluations": 2,
    "warm_up": 2,
}
PLAIN = {"model": "patches", "base": "mixture", "season": (SEASON,)}  # nothing is left to a trial


def wide(length: int = LENGTH, begin: int = 0, seed: int = 0) -> pd.DataFrame:
    """Six series in columns."""
    draw, t = np.random.default_rng(seed), np.arange(begin, begin + length)
    columns = {
        f"s{k}": 30 + 10 * k + (k + 1) * np.sin(2 * np.pi * t / SEASON + k) + 0.2 * draw.normal(size=length)
        for k in range(6)
    }
    return pd.DataFrame({"ds": t, **columns})


def long(table: pd.DataFrame) -> pd.DataFrame:
    """The same with a row for each value."""
    return table.melt("ds", var_name="unique_id", value_name="y")


def across(table: pd.DataFrame) -> pd.DataFrame:
    """The same with a series in each row."""
    values = table.drop(columns="ds").T.reset_index(names="id")
    return values.set_axis(["id", *(f"V{k + 1}" for k in range(values.shape[1] - 1))], axis=1)


def written(folder: Path, table: pd.DataFrame, name: str = "table.csv") -> str:
    table.to_csv(folder / name, index=False)
    return str(folder / name)


def trained(folder: Path, table: pd.DataFrame, **given: Any) -> ForecastRun:
    """A run, and it loaded again."""
    fit(Forecast(), Sources((written(folder, table),)), folder / "run", {**TINY, **PLAIN, **given})
    return ForecastRun(Forecast(), Run.open(folder / "run"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ForecastRun:
    return trained(tmp_path_factory.mktemp("run"), wide(), steps=60, learning_rate=0.01, dropout=0.0)


@pytest.mark.usefixtures("reported")
@pytest.mark.parametrize("layout", [wide, long, across])
def test_a_table_of_any_layout_is_learned_from(layout: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    table = wide() if layout is wide else layout(wide())
    told: list[str] = []

    class Watcher(Quiet):
        def busy(self, what: str) -> None:
            told.append(what)

    given = {**TINY, "season": (SEASON,)}
    result = fit(Forecast(), Sources((written(tmp_path, table),)), tmp_path / "run", given, Watcher())
    assert isinstance(result, Result)
    assert result.split == "valid"
    names = [*result.measures]
    assert names[:5] == ["crps", "mase", "smape", "mse", "mae"]
    assert {"coverage_80", "interval_score_80"} < set(names)
    assert result.measures["windows"] == 6 * (VALID - HORIZON + 1)
    for name in ("repeat last", f"seasonal naive, {SEASON}", "ridge on lags"):
        assert result.baselines[name].keys() == result.measures.keys()
    assert any("ets is left out" in note for note in result.notes)
    assert any("calibrated on these validation data" in note for note in result.notes)
    assert result.measures["coverage_80"] == pytest.approx(0.8, abs=0.03)
    assert told[0] == "reading the table"
    assert sum(what.startswith("trying ") for what in told) == 3
    json.dumps(result.to_dict(), allow_nan=False)
    config = Run(tmp_path / "run").config()
    assert config["settled"]["chosen"] in config["settled"]["crps after a short trial"]
    assert config["options"]["model"] == "patches"
    assert config["options"]["base"] in BASES
    assert (tmp_path / "run" / "report.html").stat().st_size > 5_000


def test_a_model_that_has_learned_beats_what_is_simplest(run: ForecastRun) -> None:
    result = run.evaluate()
    assert result.split == "valid"
    assert result.measures["crps"] < 0.5 * result.baselines["repeat last"]["crps"]
    assert result.measures == pytest.approx(run.saved["valid"])


def test_the_measures_are_those_of_the_forecasts(run: ForecastRun) -> None:
    data = run.data()
    history = run.task.history(run.facts, data, run.options)
    errors = []
    for k in range(len(data)):
        deviation = np.std(data.of(k)[: LENGTH - VALID], dtype=np.float64)
        for origin in range(LENGTH - VALID, LENGTH - HORIZON + 1):
            at = torch.tensor([origin])
            window, targets = history.cut(torch.tensor([k]), at, at + HORIZON)
            with torch.no_grad():
                median = run.model.quantiles(window, (0.5,))[0, :, 0]
            errors.append(((median - targets[0]) / deviation).square().mean().item())
    assert run.evaluate(baselines=False).measures["mse"] == pytest.approx(np.mean(errors), rel=1e-4)


def test_repeat_last_is_measured_on_the_same_windows(run: ForecastRun) -> None:
    data = run.data()
    errors = []
    for k in range(len(data)):
        values = data.of(k).astype(np.float64)
        deviation = np.std(values[: LENGTH - VALID])
        origins = range(LENGTH - VALID, LENGTH - HORIZON + 1)
        errors += [np.abs(values[o : o + HORIZON] - values[o - 1]).mean() / deviation for o in origins]
    assert run.evaluate().baselines["repeat last"]["mae"] == pytest.approx(np.mean(errors), rel=1e-5)


def test_a_test_part_is_measured_alone_and_another_table_as_a_whole(tmp_path: Path) -> None:
    names = [written(tmp_path, part, f"{k}.csv") for k, part in enumerate((wide(100), wide(110, 100), wide(120, 210)))]
    task = Forecast()
    fit(task, Sources(*((name,) for name in names)), tmp_path / "run", {**TINY, **PLAIN})
    found = ForecastRun(task, Run.open(tmp_path / "run"))
    assert found.task.splits(found.data()) == ["valid", "test"]
    results = {split: found.evaluate(split=split) for split in ("", "valid", "test")}
    assert results[""].split == "test"
    assert results[""] == results["test"]
    assert results["valid"].measures["windows"] == 6 * (110 - HORIZON + 1)
    assert results["test"].measures["windows"] == 6 * (120 - HORIZON + 1)
    assert task.describe(found.data()) | {"digest": ""} == {
        "digest": "",
        "series": 6,
        "frequency": "1",
        "train values": 600,
        "valid values": 660,
        "test values": 720,
        "missing values": 0,
    }
    other = wide(150, 500, seed=3).rename(columns={"s0": "new"})
    given = found.evaluate(written(tmp_path, other, "other.csv"))
    assert given.split == "given"
    assert given.measures["windows"] == 6 * (150 - found.options.context - HORIZON + 1)
    assert given.baselines["repeat last"]["windows"] == given.measures["windows"]
    assert not any("calibrated on these validation data" in note for note in given.notes)


class _Stopping(Quiet):
    """Breaks a training off after some steps; keeps what is being done."""

    def __init__(self, step: int = 0) -> None:
        self.last, self.told = step, list[str]()

    def step(self, position: Any, loss: float, units: int, seconds: float) -> None:
        if position.step == self.last:
            raise InterruptedError

    def busy(self, what: str) -> None:
        self.told.append(what)


@pytest.mark.full
def test_a_run_that_broke_off_goes_on_to_the_same_bits_without_another_trial(tmp_path: Path) -> None:
    given = {**TINY, "season": (SEASON,), "steps": 10, "checkpoint_every": 4, "evaluations": 3, "layers": 2}
    sources = Sources((written(tmp_path, wide()),))
    fit(Forecast(), sources, tmp_path / "whole", given)
    with pytest.raises(InterruptedError):
        fit(Forecast(), sources, tmp_path / "parts", given, _Stopping(7))
    config = Run(tmp_path / "parts").config()
    watcher = _Stopping()
    result = resume(Forecast(), tmp_path / "parts", watcher)
    assert not any(what.startswith("trying") for what in watcher.told)
    assert Run(tmp_path / "parts").config() == config == Run(tmp_path / "whole").config()
    whole, parts = (ForecastRun(Forecast(), Run.open(tmp_path / name)) for name in ("whole", "parts"))
    assert result is not None
    assert result.measures == whole.saved["valid"] == parts.saved["valid"]
    assert whole.saved["step"] == parts.saved["step"]
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, parts.model.state_dict()[name]), name
    assert whole.model.calibration == parts.model.calibration
    assert whole.model.calibration is not None
    losses = [[line["loss"] for line in found.run.metrics()] for found in (whole, parts)]
    assert losses[0] == losses[1]


def test_the_model_card_has_a_command_with_options_of_several_values(tmp_path: Path) -> None:
    table = long(wide()).assign(rain=1.5, sun=lambda t: t["ds"] % 5)
    found = trained(tmp_path, table, past=("rain", "sun"), intervals=(50, 90), context=16)
    command = shlex.split((found.folder / "README.md").read_text().split("```sh\n")[1].split("\n```")[0])
    pairs = dict(command[k + 1].split("=") for k, word in enumerate(command) if word == "--set")
    assert (pairs["past"], pairs["intervals"], pairs["season"]) == ("rain,sun", "50,90", f"{SEASON}")
    assert "future" not in pairs
    assert make(ForecastOptions, pairs) == found.options


def test_a_constant_series_is_left_out_of_the_measures_that_its_change_is_the_unit_of(tmp_path: Path) -> None:
    found = trained(tmp_path, wide().assign(s5=7.0)).evaluate()
    windows = VALID - HORIZON + 1
    for measures in (found.measures, *found.baselines.values()):
        assert measures["windows"] == 6 * windows
        assert measures["mase_left_out"] == measures["standardised_left_out"] == windows
        assert all(np.isfinite(value) for value in measures.values())


def test_series_that_are_all_constant_are_refused(tmp_path: Path) -> None:
    table = wide()[["ds"]].assign(a=1.0, b=2.0)
    with pytest.raises(DataError, match="there is nothing to forecast: no series with validation data changes"):
        trained(tmp_path, table)
    table.loc[table["ds"] >= LENGTH - VALID, "a"] = np.arange(VALID)
    with pytest.raises(DataError, match="no series with validation data changes in its training part"):
        trained(tmp_path, table)
    assert not (tmp_path / "run").exists()


def test_a_series_may_begin_after_the_others_were_learned_from(tmp_path: Path) -> None:
    train, valid = wide(150), wide(110, 150)
    late = [written(tmp_path, t, f"{k}.csv") for k, t in enumerate((train.drop(columns="s5"), valid))]
    late[1] = written(tmp_path, long(valid), "1.csv")
    late[0] = written(tmp_path, long(train.drop(columns="s5")), "0.csv")
    result = fit(Forecast(), Sources((late[0],), (late[1],)), tmp_path / "run", {**TINY, **PLAIN})
    assert result is not None
    assert result.measures["windows"] == 5 * (110 - HORIZON + 1) + (109 - HORIZON + 1)
    assert result.baselines["repeat last"]["windows"] == result.measures["windows"]


def test_a_gap_longer_than_the_context_is_not_forecast_from(tmp_path: Path) -> None:
    table = wide()
    table.loc[(table["ds"] > 80) & (table["ds"] < 120), "s0"] = np.nan
    table.loc[(table["ds"] > 190) & (table["ds"] < 230), "s0"] = np.nan
    found = trained(tmp_path, table, context=16)
    result = found.evaluate()
    assert all(np.isfinite(value) for value in result.measures.values())
    assert result.measures["windows"] < 6 * (VALID - HORIZON + 1)
    assert result.baselines["repeat last"]["windows"] == result.measures["windows"]


def test_without_a_value_before_the_validation_part_there_is_nothing_to_choose_on(tmp_path: Path) -> None:
    names = [written(tmp_path, long(part), f"{k}.csv") for k, part in enumerate((wide(100), wide(1, 100)))]
    other = long(wide(1, 100)).assign(unique_id=lambda t: "new " + t["unique_id"])
    names[1] = written(tmp_path, other, "1.csv")
    with pytest.raises(DataError, match="there is no window to choose on: no series has a value to read before"):
        fit(Forecast(), Sources((names[0],), (names[1],)), tmp_path / "run", {**TINY, **PLAIN})
    assert not (tmp_path / "run").exists()


def test_an_epoch_has_every_window_once_in_an_order_of_its_own(run: ForecastRun) -> None:
    problem = run.task.problem(run.data(), make(ForecastOptions, {**vars(run.options), "batch_size": 1}), CPU)
    orders = []
    for number in (0, 1, 0):
        batches = problem.epoch(number)
        orders.append([tuple(batches[k][1][0].tolist()) for k in range(0, len(batches), 97)])
    assert orders[0] == orders[2] != orders[1]
    context = run.options.context
    assert len(batches) == 6 * (LENGTH - VALID - context - HORIZON + 1)
    targets = [(int(w.series), t[0].tolist()) for w, t in (batches[k] for k in range(len(batches)))]
    assert len({(series, *values) for series, values in targets}) == len(batches)
    kept = {(1 + k, float(v)) for k in range(6) for v in run.data().of(k)[LENGTH - VALID :]}
    assert not kept & {(series, value) for series, values in targets for value in values}


CPU = Devices(torch.device("cpu"))


def test_fewer_windows_than_a_batch_stand_in_it_more_than_once(tmp_path: Path) -> None:
    table = wide(40)[["ds", "s0"]]
    options = make(ForecastOptions, {**TINY, **PLAIN, "valid_steps": 8, "context": 16, "batch_size": 64, "patch": 8})
    task = Forecast()
    data = task.read(Sources((written(tmp_path, table),)), options, untold)
    batches = task.problem(data, options, CPU).epoch(0)
    assert len(batches) == 1
    assert len(batches[0][1]) == 64
    assert len({tuple(row) for row in batches[0][1].tolist()}) == 40 - 8 - 16 - HORIZON + 1 + 3


def test_without_a_table_sunspots_are_forecast() -> None:
    panel = Forecast().read(Sources(), ForecastOptions(), untold)
    assert panel.known.tolist() == [309]
    assert panel.notes[0].startswith(f"{SUNSPOTS}: the yearly number of sunspots")


def test_every_option_of_the_model_reaches_it() -> None:
    given: dict[str, Any] = {
        "horizon": 5,
        "season": (4,),
        "context": 12,
        "base": "linear",
        "likelihood": "student-t",
        "intervals": (60,),
        "patch": 3,
        "cell": "gru",
        "hidden": 20,
        "layers": 3,
        "dropout": 0.1,
    }
    elsewhere = {
        "time",
        "target",
        "series",
        "past",
        "future",
        "static",
        "frequency",
        "valid_steps",
        "model",
        "calendar",
    }
    of_the_loop = {field.name for field in fields(TrainingOptions)}
    assert {field.name for field in fields(ForecastOptions)} == {*given, *elsewhere, *of_the_loop}
    defaults = ForecastOptions()
    assert all(getattr(defaults, name) != value for name, value in given.items())
    known = {"columns": {}, "frequency": {}, "names": ["a", "b"], "season": 4, "past": [[0, 1]], "future": [[0, 1]] * 2}
    known |= {"numbers": {"n": [0, 1]}, "texts": {"t": ["u", "v"]}, "calendar": [0, 1], "gaps": True}
    known |= {"deviations": [1, 1], "scales": [1, 1], "mase_scales": [1, 1]}
    model: Any = Forecast().build({"known": known}, make(ForecastOptions, {**given, "model": "patches"}))
    assert (model.horizon, model.context, model.seasons, model.patch) == (5, 12, (4,), 3)
    assert model.linear is not None
    assert type(model.likelihood) is LIKELIHOODS["student-t"]
    assert model.levels == (0.2, 0.5, 0.8)
    assert (model.rnn.hidden_size, model.rnn.num_layers, model.rnn.dropout, model.drop.p) == (20, 3, 0.1, 0.1)
    assert type(model.rnn).__name__ == "GRU"
    assert model.told == {"past": 1, "future": 2, "calendar": 2, "static": 3}
    assert model.gaps
    assert len(model.series.weight) == 3
    alone: Any = Forecast().build({"known": {**known, "names": ["a"]}}, make(ForecastOptions, given))
    assert alone.series is None
    drawn: Any = Forecast().build({"known": known}, make(ForecastOptions, {**given, "model": "autoregressive"}))
    assert type(drawn).__name__ == "AutoregressiveForecaster"


def test_the_options_name_every_likelihood_base_and_cell() -> None:
    choices = {option.name: option.choices for option in options_of(ForecastOptions)}
    assert choices["likelihood"] == tuple(LIKELIHOODS)
    assert choices["base"] == ("auto", *BASES)
    assert choices["cell"] == tuple(CELLS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"intervals": (0, 80)}, "intervals must be per cents from 1 to 99; got 0"),
        ({"intervals": ()}, "intervals must name one at least, such as 90"),
        ({"season": (1,)}, "a season must have 2 steps at least; got 1"),
        ({"past": ("a", "b"), "future": ("b",)}, "b is named both as past and as future: it is one of them"),
        ({"horizon": -1}, "horizon must be at least 0; got -1"),
        ({"model": "patch"}, "model must be one of patches, steps, autoregressive; got 'patch'"),
    ],
)
def test_options_that_cannot_be_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make(ForecastOptions, given)


def test_levels_are_the_ends_of_the_intervals_and_the_median() -> None:
    assert ForecastOptions(intervals=(90, 50, 80)).levels == (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
