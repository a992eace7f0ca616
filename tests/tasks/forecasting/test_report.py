"""A forecaster's report, by what it says and draws."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch

from holdfast.data import Panel, build_panel, untold
from holdfast.models import PatchForecaster
from holdfast.tasks import TASKS, Sources, fit
from holdfast.tasks.fitting import Fitted
from holdfast.tasks.forecasting.history import History
from holdfast.tasks.forecasting.judging import Forecasts, forecast_windows, windows_of
from holdfast.tasks.forecasting.report import Fan, fan_chart, fan_picture, sections
from holdfast.tasks.forecasting.sensitivity import sensitivity
from holdfast.tasks.forecasting.settling import split
from holdfast.tasks.task import Compared
from holdfast.training import Run

REPORTS = True
SVG = "{http://www.w3.org/2000/svg}"
HORIZON, VALID, SERIES = 6, 110, 5  # more than 500 windows: nothing is fitted to each of them anew
OPTIONS: dict[str, Any] = {
    "steps": 4,
    "hidden": 8,
    "batch_size": 32,
    "evaluations": 1,
    "horizon": HORIZON,
    "context": 24,
    "season": (8,),
    "valid_steps": VALID,
    "intervals": (50, 80),
    "past": ("wind",),
    "future": ("promo",),
    "static": ("kind", "size"),
}
KINDS: dict[str, dict[str, Any]] = {
    "patches": {"model": "patches", "base": "mixture", "patch": 4},
    "autoregressive": {"model": "autoregressive", "likelihood": "student-t", "layers": 2},
}
HEADINGS = [
    "In plain words",
    "Forecasts",
    "Window after window",
    "The error by step",
    "What is left unexplained",
    "Which inputs mattered",
    "Inside the model",
]
NOTHING = Compared({"repeat last": {"crps": 9.0, "mase": 9.0}})


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw, steps, frames = np.random.default_rng(0), 260, []
    for k in range(SERIES):
        promo = (draw.random(steps) < 0.2).astype(float)
        noise = draw.normal(size=steps) * (0.2 + 0.3 * ((k * 3) % SERIES))  # not in the order of the series
        y = (k + 1) * (10 + 3 * np.sin(2 * np.pi * np.arange(steps) / 8) + promo + noise)
        y[100:103] = np.nan
        y[-30] = np.nan
        known = {"promo": promo, "wind": draw.normal(size=steps), "kind": "ab"[k % 2], "size": k}
        when = pd.date_range("2024-01-01", periods=steps, freq="h")
        frames.append(pd.DataFrame({"unique_id": f"shop <{k}>", "ds": when, "y": y, **known}))
    path: Path = tmp_path_factory.mktemp("data") / "shops.csv"
    pd.concat(frames).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def runs(table: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Fitted, Panel]]:
    found = {}
    for name, kind in KINDS.items():
        folder = tmp_path_factory.mktemp("runs") / name
        fit(TASKS["forecast"], Sources((str(table),)), folder, OPTIONS | kind)
        fitted = Fitted(TASKS["forecast"], Run.open(folder))
        found[name] = fitted, fitted.data()
    return found


@pytest.fixture
def run(runs: dict[str, tuple[Fitted, Panel]]) -> tuple[Fitted, Panel]:
    return runs["patches"]


def parts(run: tuple[Fitted, Panel], compared: Compared = NOTHING) -> dict[str, str]:
    """The sections by their headings."""
    found = {}
    for html in sections(TASKS["forecast"], *run, compared):  # type: ignore[arg-type]
        heading = ElementTree.fromstring(html).findtext("h2")
        assert heading is not None
        found[heading] = html
    return found


def said(run: tuple[Fitted, Panel], baselines: Mapping[str, Mapping[str, float]]) -> str:
    html = next(sections(TASKS["forecast"], *run, Compared(baselines)))  # type: ignore[arg-type]
    return ElementTree.fromstring(html).findtext("p/strong") or ""


def rows(html: str) -> dict[str, list[str]]:
    tree = ElementTree.fromstring(html)
    return {row.findtext("th") or "": [cell.text or "" for cell in row.iter("td")] for row in tree.iter("tr")}


def charts(html: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(html).iter(f"{SVG}svg"))


def points(chart: ElementTree.Element, kind: str) -> list[list[tuple[float, ...]]]:
    """The points of each piece of the lines or bands of a look."""
    return [
        [tuple(map(float, point.split(","))) for point in element.get("points", "").split()]
        for element in chart.iter()
        if element.get("class") == kind and element.get("points")
    ]


def history_of(run: tuple[Fitted, Panel]) -> History:
    fitted, data = run
    found: History = TASKS["forecast"].history(fitted.facts, data, fitted.options)  # type: ignore[attr-defined]
    return found


def judged(run: tuple[Fitted, Panel]) -> tuple[Forecasts, np.ndarray[Any, Any]]:
    """The forecasts of all validation windows, and of which series each is."""
    history = history_of(run)
    windows = windows_of(history, "valid")
    return forecast_windows(run[0].model, history, *windows, "valid"), windows[0].numpy()  # type: ignore[arg-type]


def errors_of(one: Forecasts) -> list[list[float]]:
    """|truth − median| / deviation of each window and step."""
    return [
        [abs(y - f) / unit for y, f in zip(truth, median)]
        for truth, median, unit in zip(one.truth.tolist(), one.median.tolist(), one.deviations.tolist())
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_is_there_and_draws_only_numbers(runs: dict[str, tuple[Fitted, Panel]], kind: str) -> None:
    found = parts(runs[kind], Compared({"repeat last": {"crps": 1.0}}, (), {"repeat last": [1.0] * HORIZON}))
    assert list(found) == HEADINGS
    for html in found.values():
        assert not re.search(r"\b(nan|inf)\b", html), "a text or a place is no number"


def test_the_report_is_no_wider_than_a_phone(run: tuple[Fitted, Panel], fits_a_phone: Callable[[str], None]) -> None:
    fits_a_phone((run[0].folder / "report.html").read_text())


def test_the_report_of_a_run_has_them_all(run: tuple[Fitted, Panel]) -> None:
    html = (run[0].folder / "report.html").read_text()
    places = [html.index(f"<h2>{heading}</h2>") for heading in ["On validation data", *HEADINGS, "The run"]]
    assert places == sorted(places)
    assert "ridge on lags" in parts_of_error_chart(html)


def parts_of_error_chart(html: str) -> str:
    return html[html.index("The error by step") : html.index("What is left unexplained")]


def test_a_model_that_wins_is_said_to_with_the_best_method_of_each_measure(run: tuple[Fitted, Panel]) -> None:
    crps, mase = run[0].saved["valid"]["crps"], run[0].saved["valid"]["mase"]
    text = said(
        run,
        {"a": {"crps": crps / 0.8, "mase": 9 * mase}, "b": {"crps": 9 * crps, "mase": mase / 0.9}, "c": {"mase": 99}},
    )
    assert text.startswith(
        "The model beats every simple method on the validation data: it has a CRPS that is 20.0% lower"
    )
    assert "best simple method, a (" in text
    assert "a MASE that is 10.0% lower than that of the best simple method, b (" in text
    assert "better choice" not in text


def test_a_model_that_loses_is_said_to_and_the_simple_method_recommended(run: tuple[Fitted, Panel]) -> None:
    crps, mase = run[0].saved["valid"]["crps"], run[0].saved["valid"]["mase"]
    text = said(run, {"a": {"crps": crps / 1.25, "mase": mase}, "b": {"crps": crps, "mase": 2 * mase}})
    assert text.startswith("The model does not pay")
    assert "CRPS that is 25.0% higher than that of the best simple method, a (" in text
    assert "MASE that equals that of the best simple method, a (" in text
    assert text.endswith("So far the simple method is the better choice.")


def test_a_simple_method_without_an_error_is_said_to_be_one(run: tuple[Fitted, Panel]) -> None:
    text = said(run, {"a": {"crps": 0.0, "mase": 0.0}})
    assert text.startswith("The model does not pay")
    assert "CRPS above 0, where the best simple method, a, makes no error (" in text


def test_a_model_that_wins_once_and_loses_once_is_said_to(run: tuple[Fitted, Panel]) -> None:
    crps, mase = run[0].saved["valid"]["crps"], run[0].saved["valid"]["mase"]
    text = said(run, {"a": {"crps": 2 * crps, "mase": 0.5 * mase}})
    assert text.startswith("The model wins by one measure and loses by the other: it has a CRPS that is 50.0% lower")
    assert "but a MASE that is 100.0% higher" in text
    assert text.endswith("Where MASE is what counts, the simple method is the better choice.")


FAN = Fan(
    name="a <b>",
    when="days",
    history=np.array([1.0, 2.0, np.nan, 3.0, 4.0]),
    quantiles=np.array([[0.0, 1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 5.0, 9.0]]),
    levels=(0.05, 0.25, 0.5, 0.75, 0.95),
    intervals=(0.5, 0.9),
    truth=np.array([2.0, np.nan, 2.5]),
)


def test_a_fan_has_its_history_its_median_and_bands_between_its_quantiles() -> None:
    chart = ElementTree.fromstring(fan_chart(FAN))
    before, after = points(chart, "line line-3")
    (median,) = points(chart, "line line-1")
    came = points(chart, "line line-3 dashed")
    wide, narrow = points(chart, "band band-1")
    assert (len(before), len(after), len(median)) == (2, 2, 3), "the history breaks where it is missing"
    assert came[0][0] == after[-1], "what came goes on from the last value"
    unit = before[0][1] - before[1][1]  # the height of 1

    def level(y: float) -> float:
        return before[0][1] - (y - 1.0) * unit

    for band, low, high in ((wide, 0, 4), (narrow, 1, 3)):
        expected = [*FAN.quantiles[:, high], *FAN.quantiles[::-1, low]]
        assert [y for _, y in band] == pytest.approx([level(y) for y in expected], abs=1)
        assert [x for x, _ in band[:3]] == [x for x, _ in median]
    assert [y for _, y in median] == pytest.approx([level(y) for y in (2, 3, 3)], abs=0.2)
    assert {"90%", "50%", "what came"} <= {t.text for t in chart.iter(f"{SVG}text")}


def test_a_forecast_of_one_step_whose_truth_nobody_knows_is_drawn() -> None:
    chart = fan_chart(replace(FAN, quantiles=FAN.quantiles[:1], truth=None))
    assert "what came" not in chart
    assert len(points(ElementTree.fromstring(chart), "band band-1")) == 2


def test_a_picture_has_the_fans_below_each_other() -> None:
    picture = ElementTree.fromstring(fan_picture([FAN, replace(FAN, name="c")]))
    names = [inner.findtext(f"{SVG}title") for inner in picture.iter(f"{SVG}svg")]
    assert names == ["Forecasts", "a <b>: a forecast with its intervals", "c: a forecast with its intervals"]


def test_the_series_that_are_drawn_are_the_first_the_best_the_middle_and_the_worst(run: tuple[Fitted, Panel]) -> None:
    one, series = judged(run)
    means = {}
    for k in range(SERIES):
        mine = [e for errors, s in zip(errors_of(one), series) if s == k for e in errors if not math.isnan(e)]
        means[k] = sum(mine) / len(mine)
    best, _, middle, _, worst = sorted(means, key=lambda k: means[k])
    assert len({0, best, middle, worst}) >= 3, "the case can tell them apart"
    wanted: dict[int, list[str]] = {}
    for what, k in (("first", 0), ("smallest", best), ("median", middle), ("largest", worst)):
        wanted.setdefault(k, []).append(what)
    captions = [f.findtext("figcaption") or "" for f in ElementTree.fromstring(parts(run)["Forecasts"]).iter("figure")]
    assert len(captions) == len(wanted)
    for caption, (k, words) in zip(captions, wanted.items()):
        assert caption.startswith(f"shop <{k}>: ")
        assert all(word in caption for word in words)


def test_the_overlay_has_the_medians_of_windows_that_follow_each_other(run: tuple[Fitted, Panel]) -> None:
    (chart,) = charts(parts(run)["Window after window"])
    pieces = points(chart, "line line-1")
    assert [len(piece) for piece in pieces] == [HORIZON] * (VALID // HORIZON)
    apart = pieces[0][1][0] - pieces[0][0][0]
    places = [x for piece in pieces for x, _ in piece]
    assert np.diff(places) == pytest.approx(apart, abs=0.2), "no step is forecast twice, and none is left out"
    truth = points(chart, "line line-3")
    assert sum(map(len, truth)) == VALID // HORIZON * HORIZON - 1, "one value is missing"


def test_the_error_by_step_is_that_of_all_validation_windows(run: tuple[Fitted, Panel]) -> None:
    columns = zip(*errors_of(judged(run)[0]))
    expected = [float(np.mean([e for e in column if not math.isnan(e)])) for column in columns]
    html = parts(run, Compared({}, (), {"the same": expected, "twice": [2 * e for e in expected]}))["The error by step"]
    (chart,) = charts(html)
    (model,), (same,), (twice,) = (points(chart, f"line line-{k}") for k in (1, 2, 3))
    assert np.array(model) == pytest.approx(np.array(same), abs=0.11)
    assert all(other[1] < mine[1] for other, mine in zip(twice, model))


def test_the_coverage_is_that_of_all_validation_windows(run: tuple[Fitted, Panel]) -> None:
    one, _ = judged(run)
    found = rows(parts(run)["What is left unexplained"])
    for column, (low, high) in enumerate(((1, 3), (0, 4))):
        held = [
            [q[low] <= y <= q[high] for y, q in zip(truth, quantiles) if not math.isnan(y)]
            for truth, quantiles in zip(one.truth.T, one.quantiles.transpose(1, 0, 2))
        ]
        assert found["all steps"][column] == f"{np.mean(np.concatenate(held)):.1%}"
        assert [found[f"step {k}"][column] for k in range(1, 7)] == [f"{np.mean(step):.1%}" for step in held]


def test_intervals_that_rest_on_too_few_data_are_named(run: tuple[Fitted, Panel]) -> None:
    said = "too few validation data to calibrate the interval of"
    assert said not in parts(run)["What is left unexplained"]
    calibration = run[0].model.calibration
    try:
        run[0].model.calibration = {**calibration, "counts": [4 for _ in calibration["counts"]]}
        assert f"{said} 80 %:" in parts(run)["What is left unexplained"]
    finally:
        run[0].model.calibration = calibration


def test_the_residuals_are_a_histogram_whose_bars_add_up_to_what_is_shown(run: tuple[Fitted, Panel]) -> None:
    (chart,) = charts(parts(run)["What is left unexplained"])
    (corners,) = points(chart, "band band-1")
    tops, floor = corners[: len(corners) // 2 : 2], corners[-1][1]
    ticks = [t for t in chart.iter(f"{SVG}text") if t.get("class") == "quiet" and t.get("text-anchor") == "end"]
    (low, bottom), *_, (high, top) = [(float(t.text or ""), float(t.get("y", "")) - 4) for t in ticks]
    percent = sum((floor - y) * (high - low) / (bottom - top) for _, y in tops)
    assert percent == pytest.approx(99, abs=1)


def test_what_was_tried_stands_with_the_best_first(run: tuple[Fitted, Panel]) -> None:
    fitted = run[0]
    fitted.config["settled"] = {"chosen": "b", "crps after a short trial": {"a": 0.5, "b": 0.25, "c": 0.375}}
    try:
        html = parts(run)["What was tried"]
    finally:
        del fitted.config["settled"]
    assert list(rows(html).items())[1:] == [("b", ["0.2500", "taken"]), ("c", ["0.3750", ""]), ("a", ["0.5000", ""])]


def test_the_gradient_is_that_of_a_linear_forecast() -> None:
    history, model = linear_case()
    series, origins = windows_of(history, "valid")
    weights = model.linear.weight.mean(0)  # type: ignore[union-attr]
    expected = weights.clone()
    expected[-1] = 1 - weights[:-1].sum()  # a forecast moves with its last value
    found = sensitivity(model, history, series, origins)
    assert found.lags[::-1] == pytest.approx(expected.abs().detach().numpy(), abs=1e-5)
    assert found.parts["the values"] == pytest.approx(expected.abs().sum().item(), abs=1e-4)


def linear_case() -> tuple[History, PatchForecaster]:
    """A model whose layers say nothing, so that its forecast is linear."""
    task, table = TASKS["forecast"], pd.DataFrame({"ds": range(80), "y": np.random.default_rng(1).normal(size=80)})
    given = {"horizon": 3, "context": 8, "season": (4,), "model": "patches", "base": "linear", "patch": 4, "hidden": 4}
    options = task.options(**given)  # type: ignore[arg-type]
    panel = split(build_panel([table]), options)  # type: ignore[arg-type]
    facts = task.facts(panel, options)
    model = task.build(facts, options).eval()
    assert isinstance(model, PatchForecaster)
    assert model.linear is not None
    with torch.no_grad():
        model.out.weight.zero_()
        model.out.bias.zero_()
        model.linear.weight.normal_()
    return task.history(facts, panel, options), model  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_column_does_is_that_of_small_changes_of_it(runs: dict[str, tuple[Fitted, Panel]], kind: str) -> None:
    history, model = history_of(runs[kind]), runs[kind][0].model.double()
    for name in ("values", "past", "future", "calendar", "static", "scales"):
        setattr(history, name, getattr(history, name).double())
    series, origins = (t[::40] for t in windows_of(history, "valid"))
    window, _ = history.cut(series, origins, history.ends[1][series])
    found = sensitivity(model, history, series, origins)  # type: ignore[arg-type]
    for name, label in (("past", "wind"), ("future", "promo")):
        column = getattr(window, name)
        sizes = torch.zeros(len(series), dtype=torch.float64)
        for step in range(column.shape[1]):
            small = torch.zeros_like(column)
            small[:, step] = 1e-6
            with torch.no_grad():
                ends = [model.middle(window._replace(**{name: column + sign * small})).mean(1) for sign in (1, -1)]  # type: ignore[operator]
            sizes += (ends[0] - ends[1]).abs() / 2e-6
        expected = (sizes.numpy() * column.numpy().std() / history.deviations[series.numpy()]).mean()
        assert expected > 1e-6, "the column counts"
        assert found.parts[label] == pytest.approx(expected, rel=1e-3)
    model.float()
    assert {"the values", "wind", "promo", "size", "kind", "the place in the day"} == set(found.parts)


@pytest.mark.parametrize(("kind", "steps", "word"), [("patches", 8, "piece"), ("autoregressive", 29, "step")])
def test_the_look_inside_goes_over_what_is_read_and_what_is_said(
    runs: dict[str, tuple[Fitted, Panel]], kind: str, steps: int, word: str
) -> None:
    html = parts(runs[kind])["Inside the model"]
    assert f"4 × {steps} {word}s" in html, "24 steps that are read and 6 that are said, by the patch of 4 or one by one"
    assert "The gate f" in html
    assert ("layer 2" in html) == (kind == "autoregressive")
    gone = rows(html)["layer 1"]
    assert all(lag == "farther" or 0 < int(lag) < steps for lag in gone)


def test_where_no_last_step_is_known_the_look_inside_says_so(run: tuple[Fitted, Panel]) -> None:
    fitted, data = run
    ends = data.ends.copy()
    ends[1:] = ends[0] + HORIZON - 1
    found = parts((fitted, replace(data, ends=ends)))
    assert "there is no loss to look at" in found["Inside the model"]
    assert len(found) == len(HEADINGS)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_test_part_stands_in_the_report(
    runs: dict[str, tuple[Fitted, Panel]], kind: str, table: Path, tmp_path: Path
) -> None:
    """Where the validation part is shorter than the horizon, its windows reach into the test part."""
    fitted, _ = runs[kind]
    options = replace(fitted.options, valid_steps=HORIZON // 2)
    whole = pd.read_csv(table)
    late = whole["ds"] >= whole["ds"].unique()[-30]
    found = []
    for factor in (1.0, 100.0):
        paths = [tmp_path / f"{name}-{factor:g}.csv" for name in ("data", "test")]
        whole[~late].to_csv(paths[0], index=False)
        whole[late].assign(y=factor * whole["y"]).to_csv(paths[1], index=False)
        data = TASKS["forecast"].read(Sources((str(paths[0]),), test=(str(paths[1]),)), options, untold)
        assert int(data.ends[1][0] - data.ends[0][0]) < HORIZON < int(data.ends[2][0] - data.ends[1][0])
        found.append(parts((fitted, data)))
    for heading, html in found[0].items():
        assert html == found[1][heading], heading
