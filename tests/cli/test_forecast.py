"""The forecaster's commands on tiny tables."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from holdfast.training import Run
from tests.cli.test_text import invoked
from tests.reports import reports

TINY = ["--horizon", "6", "--steps", "40", "--hidden", "8", "--batch-size", "16", "--evaluations", "2"]


def _table(length: int = 150, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    steps = np.arange(length)
    parts = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range("2024-01-01", periods=length, freq="h"),
                "y": level + np.sin(steps * 2 * np.pi / 24) + 0.1 * draw.normal(size=length),
            }
        )
        for name, level in (("north", 5.0), ("south", 9.0))
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "sales.csv"
    _table().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    with reports(True):
        done = invoked("fit", "forecast", table, "--out", folder, *TINY, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["task"] == "forecast"
    assert {"repeat last", "seasonal naive, 24", "ridge on lags"} <= found["baselines"].keys()
    return folder


def test_what_was_settled_stands_in_the_run(run: Path) -> None:
    config = tomllib.loads((run / "config.toml").read_text())
    assert config["options"]["season"] == [24]
    assert config["options"]["patch"] == 24
    assert config["options"]["base"] in ("last", "mixture", "linear")
    assert config["settled"]["chosen"] in config["settled"]["crps after a short trial"]


def test_the_report_has_its_pictures(run: Path) -> None:
    report = (run / "report.html").read_text()
    assert report.count("<svg") >= 6
    assert "Inside the model" in report


def test_a_forecast_is_a_table(run: Path, tmp_path: Path) -> None:
    done = invoked("forecast", run, "--out", tmp_path / "forecast.csv", "--picture", tmp_path / "fan.svg")
    assert done.exit_code == 0, done.output
    found = pd.read_csv(tmp_path / "forecast.csv")
    assert list(found.columns[:3]) == ["unique_id", "ds", "forecast"]
    assert len(found) == 12
    assert found["ds"].iloc[0] == "2024-01-07 06:00:00"
    assert (tmp_path / "fan.svg").read_text().startswith("<svg")


def test_a_forecast_without_a_file_goes_to_the_terminal(run: Path) -> None:
    done = invoked("forecast", run, "--horizon", "2")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("unique_id,ds,forecast,forecast-lo-50")
    assert len(done.stdout.splitlines()) == 5
    rows = json.loads(invoked("forecast", run, "--horizon", "2", "--json").stdout)["rows"]
    assert [row["unique_id"] for row in rows] == ["north", "north", "south", "south"]


def test_a_forecast_of_another_table_begins_where_that_ends(run: Path, tmp_path: Path) -> None:
    _table(170, seed=1).query("unique_id == 'south'").to_parquet(tmp_path / "other.parquet")
    done = invoked("forecast", run, tmp_path / "other.parquet", "--out", tmp_path / "forecast.parquet")
    assert done.exit_code == 0, done.output
    found = pd.read_parquet(tmp_path / "forecast.parquet")
    assert found["ds"].iloc[0] == pd.Timestamp("2024-01-01") + pd.Timedelta(hours=170)


def test_a_backtest_prints_the_model_beside_the_baselines(run: Path, tmp_path: Path) -> None:
    done = invoked("backtest", run, "--windows", "2", "--out", tmp_path / "past.csv")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(("The model beats", "The model does not pay: on these windows", "The model wins"))
    assert "this model" in done.stdout
    assert "ridge on lags" in done.stdout
    assert "coverage" not in done.stdout, "the main measures only"
    assert len(pd.read_csv(tmp_path / "past.csv")) == 2 * 2 * 6
    found = json.loads(invoked("backtest", run, "--windows", "1", "--json").stdout)
    assert found["this model"]["windows"] == 2


def test_strange_points_are_told(run: Path, tmp_path: Path) -> None:
    strange = _table(seed=2)
    strange.loc[120, "y"] = 50.0
    strange.to_csv(tmp_path / "strange.csv", index=False)
    done = invoked("detect", run, tmp_path / "strange.csv", "--out", tmp_path / "found.csv")
    assert done.exit_code == 0, done.output
    found = pd.read_csv(tmp_path / "found.csv")
    assert found["anomaly"].all()
    assert "2024-01-06 00:00:00" in found["ds"].tolist()
    assert "points are unusual at a level of 99 %" in done.stderr
    every = json.loads(invoked("detect", run, tmp_path / "strange.csv", "--all", "--json").stdout)["rows"]
    assert len(every) > len(found)


def test_strange_points_are_found_by_default_where_few_points_were_validated_on(tmp_path: Path) -> None:
    _table(60).to_csv(tmp_path / "short.csv", index=False)
    done = invoked("fit", "forecast", tmp_path / "short.csv", "--out", tmp_path / "run", *TINY, "--quiet")
    assert done.exit_code == 0, done.stderr
    done = invoked("detect", tmp_path / "run", "--all")
    assert done.exit_code == 0, done.stderr
    assert re.search(r"points are unusual at a level of 9\d\.\d %", done.stderr)
    refused = invoked("detect", tmp_path / "run", "--level", "99")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "level must be at most 9" in refused.stderr


def test_it_is_evaluated_and_described_as_other_runs_are(run: Path) -> None:
    assert json.loads(invoked("evaluate", run, "--json", "--no-baselines").stdout)["split"] == "valid"
    assert "PatchForecaster" in invoked("info", run).stdout


def test_without_data_it_learns_the_sunspots(tmp_path: Path) -> None:
    done = invoked("fit", "forecast", "--out", tmp_path / "run", "--steps", "20", "--hidden", "8", "--model", "patches")
    assert done.exit_code == 0, done.output
    assert "sunspots that statsmodels carries" in done.stderr
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text())["options"]["season"] in ([10], [11])


REFUSED = {
    "no such column": (["--target", "sale"], "'sale'"),
    "no such season": (["--season", "1"], "a season must have 2 steps at least; got 1"),
    "an interval of everything": (["--intervals", "100"], "intervals must be per cents from 1 to 99; got 100"),
    "past and future": (["--past", "y", "--future", "y"], "it is one of them"),
    "too long a horizon": (["--horizon", "100"], "no series is long enough"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_argument_ends_with_one_line(case: str, table: Path, tmp_path: Path) -> None:
    arguments, message = REFUSED[case]
    done = invoked("fit", "forecast", table, "--out", tmp_path / "run", *TINY, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def _broken(name: str) -> pd.DataFrame:
    table = _table().astype({"y": object})
    if name == "a text":
        table.loc[7, "y"] = "n/k"
    elif name == "an infinite value":
        table.loc[7, "y"] = np.inf
    elif name == "a doubled time":
        table.loc[8, "ds"] = table.loc[7, "ds"]
    elif name == "mixed steps":
        table.loc[8, "ds"] += pd.Timedelta(minutes=7)
    elif name == "nothing known":
        table["y"] = np.nan
    return table


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a text", r"broken.csv, line 9, series 'north': y is 'n/k', which is not a number"),
        ("an infinite value", r"broken.csv, line 9, series 'north'"),
        ("a doubled time", r"line 10: series 'north'"),
        ("mixed steps", r"series 'north'"),
        ("nothing known", r"broken.csv"),
    ],
)
def test_a_broken_table_names_its_series_and_row(name: str, message: str, tmp_path: Path) -> None:
    _broken(name).to_csv(tmp_path / "broken.csv", index=False)
    done = invoked("fit", "forecast", tmp_path / "broken.csv", "--out", tmp_path / "run", *TINY)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("reported")
def test_rows_that_are_left_out_are_counted(tmp_path: Path) -> None:
    table = _table()
    table = pd.concat([table.drop(index=[20, 21]), table.iloc[[3]]], ignore_index=True)
    table.loc[50, "y"] = np.nan
    constant = table[table["unique_id"] == "north"].assign(unique_id="flat", y=2.0)
    empty = table[table["unique_id"] == "north"].assign(unique_id="empty", y=np.nan)
    pd.concat([table, constant, empty]).to_csv(tmp_path / "messy.csv", index=False)
    arguments = ["--model", "patches", "--base", "last"]
    done = invoked("fit", "forecast", tmp_path / "messy.csv", "--out", tmp_path / "run", *TINY, *arguments)
    assert done.exit_code == 0, done.output
    said = done.stderr + (tmp_path / "run" / "report.html").read_text()
    for part in ("repeat another one", "'empty'", "'flat'", "have no row"):
        assert part in said


def test_wrong_uses_end_with_one_line(run: Path, table: Path, tmp_path: Path) -> None:
    cases = {
        ("forecast", run, "--horizon", "7"): "h must be from 1 to 6",
        ("forecast", run, "--out", tmp_path / "x.xlsx"): "--out must end in .csv or .parquet",
        ("forecast", run, "--out", tmp_path / "no" / "x.csv"): "there is no folder",
        ("forecast", tmp_path / "none"): "does not exist",
        ("detect", run, "--level", "100"): "level must be a per cent between 0 and 100",
        ("forecast", run, tmp_path / "none.csv"): "none.csv",
        ("generate", run): "generate needs a run of the task text",
        ("look", run): "cannot be looked at",
    }
    for arguments, message in cases.items():
        done = invoked(*arguments)
        assert done.exit_code == 2, arguments
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_killed_run_goes_on_to_the_same_model(run: Path, table: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    Run.open(run).copied_to(half)
    for checkpoint in sorted((half / "checkpoints").glob("step-*"))[1:]:
        checkpoint.unlink()
    config = (half / "config.toml").read_text()
    done = invoked("fit", "--resume", half, "--json")
    assert done.exit_code == 0, done.output
    assert (half / "config.toml").read_text() == config
    assert (half / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
