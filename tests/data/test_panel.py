"""Panels from messy tables: against a slow loop over rows, and what is said of every row that is left out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from holdfast.data import Columns, DataError, Frequency, Panel, build_panel, read_table

NAN = float("nan")


def messy_parts(draw: np.random.Generator, parts: int, future: bool) -> list[pd.DataFrame]:
    """Tables with gaps, missing values, repeated rows, series that begin late, and no order."""
    found: list[list[dict[str, Any]]] = [[] for _ in range(parts)]
    for k in range(int(draw.integers(2, 6))):
        hour = int(draw.integers(0, 50))
        for part in range(parts):
            if draw.random() < 0.2 and (k, part) != (0, 0):
                continue
            length = int(draw.integers(30, 60)) if k == 0 else int(draw.integers(1, 40))
            for _ in range(length):
                row = {
                    "series": f"s{k}",
                    "date": pd.Timestamp("2024-01-01 00:10") + pd.Timedelta(hours=hour),
                    "y": NAN if draw.random() < 0.2 else float(draw.integers(0, 9)),
                    "p": NAN if draw.random() < 0.1 else float(draw.integers(0, 9)),
                }
                if future:
                    row["f"] = NAN if draw.random() < 0.1 else float(draw.integers(0, 9))
                found[part] += [row] * (1 if draw.random() > 0.1 else 2)
                hour += 1 if draw.random() > 0.1 else 4
    return [pd.DataFrame(rows).sample(frac=1, random_state=int(draw.integers(99))) for rows in found if rows]


def slowly(parts: Sequence[pd.DataFrame], future: bool) -> dict[str, Any]:
    """For each series its first time, its rows hour by hour as (y, p, f), and its steps up to the end of each part."""
    rows: dict[str, dict[pd.Timestamp, tuple[float, float, float]]] = {}
    last_known: dict[tuple[str, int], pd.Timestamp] = {}
    for part, table in enumerate(parts):
        for row in table.sort_values("date").to_dict("records"):
            series = rows.setdefault(row["series"], {})
            series[row["date"]] = (row["y"], row["p"], row.get("f", NAN))
            if row["y"] == row["y"]:
                last_known[row["series"], part] = row["date"]
    found = {}
    for name, series in rows.items():
        known = [when for (of, _), when in last_known.items() if of == name]
        if not known:
            continue
        end, hour = max(known), pd.Timedelta(hours=1)
        while future and end + hour in series and series[end + hour][2] == series[end + hour][2]:
            end += hour
        first = min(series)
        grid = [series.get(first + k * hour, (NAN, NAN, NAN)) for k in range((end - first) // hour + 1)]
        ends = []
        for part in range(len(parts)):
            before = [when for (of, p), when in last_known.items() if of == name and p <= part]
            ends.append((max(before) - first) // hour + 1 if before else 0)
        found[name] = (first, grid, ends)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_a_messy_table_becomes_what_a_slow_loop_makes_of_it(seed: int) -> None:
    draw = np.random.default_rng(seed)
    future = bool(seed % 2)
    parts = messy_parts(draw, 1 + seed % 3, future)
    columns = Columns(past=["p"], future=["f"] if future else [])
    panel = build_panel(parts, columns)
    expected = slowly(parts, future)
    assert {*panel.names} == {*expected}
    for k, name in enumerate(panel.names):
        first, grid, ends = expected[name]
        assert panel.times(k)[0] == first.to_datetime64()
        here = slice(panel.starts[k], panel.starts[k + 1])
        found = [panel.values[here], panel.past[here, 0]] + ([panel.future[here, 0]] if future else [])
        np.testing.assert_array_equal(np.stack(found, 1), np.array(grid)[:, : 2 + future])
        assert panel.ends[:, k].tolist() == ends
    assert (panel.known == panel.ends[-1]).all()
    # Not a row is lost without a word: what is on the grid, repeated, of empty series, or after the last known value.
    frame = panel.to_frame()
    assert len(frame) == len(panel.values)
    said = " ".join(panel.notes)
    rows = pd.concat(parts)
    if rows.duplicated().any():
        assert f"{int(rows.duplicated().sum()):,} row" in said
    left = [name for name in rows["series"].unique() if name not in panel.names]
    assert all(repr(name) in said for name in left[:3])


def long_table(**columns: Any) -> pd.DataFrame:
    """Two series of five days."""
    days = pd.date_range("2024-01-01", periods=5)
    table = pd.DataFrame({"id": ["a"] * 5 + ["b"] * 5, "ds": [*days, *days], "y": np.arange(10.0)})
    return table.assign(**columns)


def message(*tables: Any, columns: Columns | None = None, frequency: str = "") -> str:
    with pytest.raises(DataError) as error:
        build_panel(tables, columns, frequency)
    assert "\n" not in str(error.value)
    return str(error.value)


def noted(panel: Panel, words: str) -> bool:
    return any(words in note for note in panel.notes)


def test_wide_tables_hold_a_series_in_each_column() -> None:
    table = pd.DataFrame(
        {"Date": ["2024-01", "2024-02", "2024-03"], "b": ["1", "2", ""], "a": ["4", "", "6"], "t": "x"}
    )
    panel = build_panel([table])
    assert panel.names == ("b", "a")
    assert [panel.of(k).tolist() for k in (0, 1)] == [[1.0, 2.0], [4.0, pytest.approx(NAN, nan_ok=True), 6.0]]
    assert panel.known.tolist() == [2, 3]
    assert noted(panel, "taken: 'Date' for the time, each of 'b', 'a' for a series")
    assert noted(panel, "not used: the column 't'")
    assert noted(panel, "1 row after the last known value of a series left out")


def test_wide_tables_may_have_columns_beside_their_series() -> None:
    table = pd.DataFrame({"ds": [1, 2, 3], "a": [1.0, 2, 3], "b": [4.0, 5, 6], "price": [7, 8, 9]})
    panel = build_panel([table], Columns(future=["price"]))
    assert panel.names == ("a", "b")
    assert panel.future[:, 0].tolist() == [7, 8, 9, 7, 8, 9]


def test_a_named_target_without_series_is_one_series() -> None:
    table = pd.DataFrame({"when": pd.date_range("2024", periods=3), "a": [1, 2, 3], "b": [4, 5, 6], "c": [7, 8, 9]})
    panel = build_panel([table], Columns(target="b", past=["a"]))
    assert panel.names == ("b",)
    assert panel.past[:, 0].tolist() == [1, 2, 3]
    assert noted(panel, "not used: the column 'c'")
    assert panel.columns == Columns(time="when", target="b", past=["a"])


def test_rows_may_be_series_whose_steps_go_on_in_the_next_part(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text('"V1","V2","V3","V4"\n"H1","1","2","3"\n"H2","4",,\n"H3","","5",""\n')
    (tmp_path / "test.csv").write_text('"V1","V2","V3"\n"H2","6","7"\n"H1","8",""\n"H4","9",""\n')
    panel = build_panel([str(tmp_path / "train.csv"), str(tmp_path / "test.csv")])
    assert panel.names == ("H1", "H2", "H3", "H4")
    np.testing.assert_array_equal(panel.of(0), [1, 2, 3, 8])
    np.testing.assert_array_equal(panel.of(1), [4, 6, 7])
    np.testing.assert_array_equal(panel.of(2), [NAN, 5])
    assert panel.ends.tolist() == [[3, 1, 2, 0], [4, 3, 2, 1]]
    assert panel.times(1).tolist() == [1, 2, 3]


def test_text_in_a_column_of_numbers_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    for cell, said in [
        ("abc", "y is 'abc', which is not a number"),
        ("inf", "y is 'inf', which is not finite"),
        ("1e60", "y is '1e60', which is too large for a number of 32 bits"),
    ]:
        long_table(y=["1"] * 8 + [cell, "2"]).to_csv(path, index=False, sep=";")
        assert message(str(path)) == f"{path}, line 10, series 'b': {said}"
    long_table(y=["1.5"] * 8 + ["1,5", "2"]).to_csv(path, index=False, sep=";")  # decimals of both kinds: which is it?
    assert message(str(path)) == (
        f"{path}, line 10, series 'b': y is '1,5', which is not a number: the decimals of a number must follow a point"
    )
    (tmp_path / "rows.csv").write_text("V1,V2,V3\nH1,1,2\nH2,3,x\n")
    assert message(str(tmp_path / "rows.csv")) == (
        f"{tmp_path}/rows.csv, line 3, series 'H2': V3 is 'x', which is not a number"
    )
    assert message(long_table(p=[0.0] * 9 + [np.inf]), columns=Columns(past=["p"])) == (
        "the data frame, row 10, series 'b': p is inf, which is not finite"
    )


def test_truth_is_a_number_and_words_for_nothing_are_missing() -> None:
    table = long_table(
        y=["1", "NA", "nan", "null", "2", "3", "", "None", "N/A", "4"], p=[True, False] * 5, q=["True"] * 10
    )
    panel = build_panel([table], Columns(past=["p", "q"]))
    assert panel.past[:2].tolist() == [[1, 1], [0, 1]]
    assert np.isnan(panel.values).sum() == 6
    assert noted(panel, "6 rows without a value: missing")


def test_a_repeated_row_is_left_out_and_a_contradiction_is_an_error() -> None:
    table = long_table()
    again = pd.concat([table, table.iloc[[3, 7]]])
    panel = build_panel([again])
    assert panel.digest == build_panel([table]).digest
    assert noted(panel, "2 rows left out that repeat another one (the first is the data frame, row 11)")
    assert message(pd.concat([table, table.iloc[[3]].assign(y=77.0)])) == (
        "the data frame, row 11: series 'a', 2024-01-04 is there twice with other values, first in the data frame, "
        "row 4"
    )
    assert "name the column that tells them apart" in message(table.drop(columns="id"))


def test_order_does_not_matter_and_is_noted() -> None:
    panel = build_panel([long_table().iloc[::-1]])
    assert {*panel.names} == {"a", "b"}
    assert panel.only(["a", "b"]).digest == build_panel([long_table()]).digest
    assert noted(panel, "8 rows stood before an earlier one of the same series: sorted by time")
    by_day = build_panel([long_table().sort_values(["ds", "id"])])
    assert by_day.digest == build_panel([long_table()]).digest
    assert not noted(by_day, "sorted")


def test_gaps_are_counted() -> None:
    panel = build_panel([long_table().drop(index=[2, 3, 6])])
    assert noted(panel, "3 steps in 2 series have no row")
    assert np.isnan(panel.values).sum() == 3


def test_a_row_without_time_or_series_is_an_error() -> None:
    assert message(long_table(ds=[None, *long_table()["ds"][1:]])) == (
        "the data frame, row 1: ds is missing, which must say when"
    )
    assert message(long_table(id=["a"] * 9 + [""])) == (
        "the data frame, row 10: id is missing, which must name the series"
    )


def test_a_mistyped_year_is_told() -> None:
    days = [*pd.date_range("2024-01-05", periods=4).astype(str), "2204-01-09"]
    assert message(long_table(ds=days * 2)).startswith(
        "the data frame, row 5: series 'a', 2204-01-09 comes 65,744 steps after the row before it"
    )


def test_a_series_without_a_value_is_left_out_and_one_with_one_value_kept() -> None:
    panel = build_panel([long_table(y=[NAN] * 5 + [3.0] * 5)])
    assert panel.names == ("b",)
    assert noted(panel, "1 series ('a') without a known value left out (5 rows)")
    assert noted(panel, "1 series ('b') with one value throughout")
    assert "not one known value" in message(long_table(y=[NAN] * 10))


def test_rows_after_the_last_value_speak_of_the_future_while_it_is_known() -> None:
    table = long_table(y=[0, 1, NAN, NAN, NAN, 5, NAN, 7, NAN, NAN], f=[1.0, 2, 3, 4, NAN, 6, 7, 8, 9, 10])
    panel = build_panel([table], Columns(future=["f"]))
    assert panel.known.tolist() == [2, 3]
    assert panel.lengths.tolist() == [4, 5]
    assert panel.future[:, 0].tolist() == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert noted(
        panel, "1 row after the last known value of a series left out: a column that speaks of the future ends"
    )
    assert noted(panel, "4 rows after the last known value speak of the future")
    plain = build_panel([table.drop(columns="f")])
    assert plain.lengths.tolist() == [2, 3]
    assert noted(plain, "5 rows after the last known value of a series left out: nothing else is known of the future")


def test_the_future_must_be_known_in_all_its_columns() -> None:
    table = pd.DataFrame({"ds": [1, 2, 3], "y": [1, NAN, NAN], "f": [1, 2, 3], "g": [1, 2, NAN]})
    panel = build_panel([table], Columns(target="y", future=["f", "g"]))
    assert (panel.known.tolist(), panel.lengths.tolist()) == ([1], [2])
    assert panel.future_names == ("f", "g")


def test_a_later_part_takes_the_place_of_what_was_the_future() -> None:
    early = pd.DataFrame({"ds": [1, 2, 3, 4], "y": [1.0, 2, NAN, NAN], "f": [1.0, 2, 3, 4]})
    late = pd.DataFrame({"ds": [3, 4, 5], "y": [7.0, 8, NAN], "f": [30.0, 40, 50]})
    panel = build_panel([early, late], Columns(future=["f"]))
    np.testing.assert_array_equal(panel.of(0), [1, 2, 7, 8, NAN])
    assert panel.ends.tolist() == [[2], [4]]
    assert noted(panel, "2 rows without a value at the end of a part are left out")


def test_parts_follow_each_other_and_a_series_may_begin_late() -> None:
    first, second = long_table().query("id == 'a'"), long_table()
    second = second.assign(ds=second["ds"] + pd.Timedelta(days=5))
    panel = build_panel([first, second])
    assert panel.ends.tolist() == [[5, 0], [10, 5]]
    assert message(second, first).endswith(
        "series 'a', 2024-01-01 must come after all of an earlier part, which goes on to 2024-01-10 (the data frame, "
        "row 5)"
    )
    assert "must come after all of an earlier part" in message(long_table(), long_table())


def test_static_columns_are_one_value_a_series() -> None:
    table = long_table(size=[1, 1, 1, 1, 1, 2, 2, 2, 2, 2], kind=["x"] * 4 + [None] + ["y"] * 5)
    panel = build_panel([table], Columns(static=["size", "kind"]))
    assert panel.static["size"].tolist() == [1, 2]
    assert panel.static["kind"].tolist() == ["x", "y"]
    table.loc[3, "kind"] = "z"
    assert message(table, columns=Columns(static=["kind"])) == (
        "the data frame, row 4, series 'a': kind is 'z', but 'x' in the data frame, row 1: it must not change within a "
        "series"
    )


def test_times_with_a_zone_are_kept_in_utc() -> None:
    local = pd.date_range("2024-03-30", periods=48, freq="h", tz="Europe/Berlin")  # with a change of the clock
    frame = pd.DataFrame({"ds": local, "y": np.arange(48.0)})
    panel = build_panel([frame])
    assert panel.frequency.zone == "Europe/Berlin"
    assert (panel.times(0) == local.tz_convert("UTC").tz_localize(None).to_numpy()).all()
    text = frame.assign(ds=frame["ds"].astype(str))
    mixed = build_panel([text])
    assert (mixed.frequency.zone, mixed.times(0).tolist()) == ("UTC", panel.times(0).tolist())
    assert noted(mixed, "times differ in their distance from UTC")
    assert build_panel([text.head(20)]).frequency.zone == "UTC+01:00"
    naive = frame.assign(ds=frame["ds"].dt.tz_localize(None))
    assert "all parts must have the same" in message(frame, naive)
    text.loc[5, "ds"] = "2024-03-30 05:00:00"
    assert message(text).startswith("the data frame, row 1: ds has a time zone, the data frame, row 6 has none")


@pytest.mark.parametrize(
    ("cells", "first", "second"),
    [
        (["2024-01", "2024-02", "2024-03"], "2024-01-01", "2024-02-01"),
        (["2024-01-31", "2024-02-29 00:00", "2024-03-31T00:00:00"], "2024-01-31", "2024-02-29"),
        (["31.01.2024", "01.02.2024", "02.02.2024"], "2024-01-31", "2024-02-01"),
        (["01.02.2024", "02.02.2024", "03.02.2024"], "2024-02-01", "2024-02-02"),
        (["01/31/2024", "02/01/2024", "02/02/2024"], "2024-01-31", "2024-02-01"),
        (["12/01/2024", "13/01/2024", "14/01/2024"], "2024-01-12", "2024-01-13"),
        (["2024Q1", "2024Q2", "2024Q3"], "2024-01-01", "2024-04-01"),
        (["20240101", "20240102", "20240103"], "2024-01-01", "2024-01-02"),
        ([20240101, 20240102, 20240103], "2024-01-01", "2024-01-02"),
        (pd.period_range("2024", periods=3, freq="M"), "2024-01-01", "2024-02-01"),
        ([pd.Timestamp("2024-01-01").date(), "2024-01-02", "2024-01-03"], "2024-01-01", "2024-01-02"),
    ],
)
def test_dates_are_read_as_they_are_written(cells: Any, first: str, second: str) -> None:
    panel = build_panel([pd.DataFrame({"ds": cells, "y": [1.0, 2, 3]})])
    assert [str(each)[:10] for each in panel.times(0)[:2]] == [first, second]


def test_dates_that_could_be_read_otherwise_are_noted() -> None:
    panel = build_panel([pd.DataFrame({"ds": ["01/02/2024", "01/03/2024", "01/04/2024"], "y": [1, 2, 3]})])
    assert noted(panel, "ds: times were read so that one is 2024-01-02, not 2024-02-01")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("soon", "row 2: ds is 'soon', which is not a date"),
        ("2024-13-01", "row 2: ds is '2024-13-01', which is not a date"),
        ("9999-12-31", "row 2: ds is 9999-12-31; years must be 1678 to 2261"),
    ],
)
def test_what_is_not_a_date_is_told(cell: str, said: str) -> None:
    assert message(pd.DataFrame({"ds": ["2024-01-01", cell], "y": [1, 2]})) == f"the data frame, {said}"


def test_steps_between_whole_numbers_are_told() -> None:
    assert message(pd.DataFrame({"ds": [1, 2.5, 3], "y": [1, 2, 3]})) == (
        "the data frame, row 2: ds is 2.5; steps must be whole numbers, or dates"
    )


def test_a_time_off_the_steps_is_told_with_its_row() -> None:
    days = [*pd.date_range("2024-01-01", periods=40)]
    days[20] += pd.Timedelta(hours=12)
    table = pd.DataFrame({"ds": days, "y": np.arange(40.0)})
    assert message(table).startswith("the data frame, row 21: series 'y', 2024-01-21 12:00:00: comes 36h after")
    assert message(table, frequency="D") == (
        "the data frame, row 21: series 'y', 2024-01-21 12:00:00 is not on the steps of D that its series begins at "
        "2024-01-01"
    )
    assert build_panel([table], frequency="12h").lengths.tolist() == [39 * 2 + 1]
    assert message(table, frequency="5") == "frequency 5 is of whole numbers, but the times are dates"


def test_columns_that_are_not_there_are_told_with_the_nearest() -> None:
    assert message(long_table(), columns=Columns(time="dss")) == (
        "the data frame has no column 'dss'; did you mean ds?; its columns are 'id', 'ds', 'y'"
    )
    assert "has no column 'y'" in message(long_table(), long_table().rename(columns={"y": "z"}))
    assert message(long_table().drop(columns="ds")).startswith(
        "the data frame: no column looks like times; name it, of"
    )
    assert message(long_table(z=1.0).rename(columns={"y": "x"})).endswith("name the target, which is one of 'x', 'z'")
    assert message(long_table(y="text")).startswith("the data frame, row 1, series 'a': y is 'text'")
    assert message(pd.DataFrame({"ds": [1, 2], "name": ["a", "b"], "x": ["1,5", "2,5"]})).endswith(
        "no column of numbers is left to forecast; it has 'ds', 'name', 'x': x is '1,5', but the decimals of a number "
        "must follow a point"
    )
    with pytest.raises(DataError, match="the column 'y' must have one role, got 2"):
        Columns(target="y", past=["y"])
    with pytest.raises(DataError, match="past must be a list of columns, got 'y'"):
        Columns(past="y")
    with pytest.raises(DataError, match="tables must be a list"):
        build_panel(long_table())  # type: ignore[arg-type]


def test_only_takes_series_by_name_or_number() -> None:
    panel = build_panel([long_table(k=["x"] * 5 + ["y"] * 5)], Columns(static=["k"]))
    one = panel.only(["b"])
    assert one.names == ("b",)
    assert one.of(0).tolist() == [5, 6, 7, 8, 9]
    assert (one.starts.tolist(), one.known.tolist(), one.static["k"].tolist()) == ([0, 5], [5], ["y"])
    assert panel.only([1, 0]).names == ("b", "a")
    assert panel.only([0, 1]).digest == panel.digest
    with pytest.raises(DataError, match="there is no series 'bb'; did you mean b"):
        panel.only(["bb"])
    with pytest.raises(DataError, match="there is no series 7; there are 2"):
        panel.only([7])


def test_the_last_steps_of_a_panel_are_in_their_places() -> None:
    table = pd.DataFrame(
        {"id": [*"aaaabb"], "ds": [1, 2, 3, 4, 2, 3], "y": [1.0, 2, 3, NAN, 5, 6], "f": np.arange(6.0)}
    )
    panel = build_panel([table], Columns(future=["f"]))
    last = panel.last(2)
    assert (last.of(0)[:2].tolist(), last.of(1).tolist()) == ([2, 3], [5, 6])
    assert (last.times(0).tolist(), last.times(1).tolist()) == ([2, 3, 4], [2, 3])  # with what is known of the future
    assert (last.known.tolist(), last.cut.tolist(), last.future[:, 0].tolist()) == ([2, 2], [1, 0], [1, 2, 3, 4, 5])
    shorter = last.last(np.array([0, 1]))
    assert (shorter.known.tolist(), shorter.cut.tolist(), shorter.times(0).tolist()) == ([0, 1], [3, 1], [4])
    assert panel.last(9).digest == panel.digest


def test_a_gap_before_new_rows_is_judged_by_all_that_was_before() -> None:
    panel = build_panel([pd.DataFrame({"ds": np.arange(400), "y": np.arange(400.0)})])
    new = build_panel([pd.DataFrame({"ds": [3000], "y": [1.0]})], frequency=panel.frequency)
    assert panel.joined(new).last(5).known.tolist() == panel.last(5).joined(new).last(5).known.tolist() == [5]
    with pytest.raises(DataError, match="6 rows would take 2,606 steps"):
        build_panel([pd.DataFrame({"ds": np.arange(395, 400), "y": 1.0})]).joined(new)


@pytest.mark.parametrize("seed", range(12))
def test_rows_that_come_later_join_as_if_they_had_been_a_further_part(seed: int) -> None:
    draw = np.random.default_rng(100 + seed)
    future = bool(seed % 2)
    columns = Columns(past=["p"], future=["f"] if future else [])
    parts = messy_parts(draw, 2, future)
    whole = build_panel(parts, columns)
    names = [*build_panel(parts[:1], columns).names]
    later = build_panel(parts[1:], columns, whole.frequency)
    joined = build_panel(parts[:1], columns).joined(later)
    for name in {*names, *later.names}:
        one, two = whole.only([name]), joined.only([name])
        start = int(two.first[0] - one.first[0])  # rows without a value before a series' first part that has one
        np.testing.assert_array_equal(one.of(0)[start : one.known[0]], two.of(0)[: two.known[0]])
        # What stood beside missing values at the end of the first panel was left out of it, and noted there.
        wanted, found = one.past[start : one.known[0], 0], two.past[: two.known[0], 0]
        there = ~np.isnan(found) | ~np.isnan(two.of(0)[: two.known[0]])
        np.testing.assert_array_equal(wanted[there], found[there])
        assert one.known[0] - start == two.known[0]


def test_a_row_of_the_future_gives_way_to_its_value() -> None:
    table = pd.DataFrame({"ds": [1, 2, 3, 4], "y": [1.0, 2, NAN, NAN], "f": [1.0, 2, 3, 4]})
    columns = Columns(future=["f"])
    panel = build_panel([table], columns)
    new = build_panel([pd.DataFrame({"ds": [3], "y": [9.0], "f": [33.0]})], columns, panel.frequency)
    joined = panel.joined(new)
    np.testing.assert_array_equal(joined.of(0), [1, 2, 9, NAN])
    assert joined.future[:, 0].tolist() == [1, 2, 33, 4]
    assert joined.ends.tolist() == [[2], [3]]
    with pytest.raises(DataError, match="series 'y': the new rows begin at 3, but must come after 3"):
        joined.joined(new)
    far = build_panel([pd.DataFrame({"ds": [5000], "y": [9.0], "f": [3.0]})], columns, panel.frequency)
    with pytest.raises(DataError, match="series 'y': the new rows begin at 5000, and 5 rows would take 5,000 steps"):
        panel.joined(far)


def test_new_rows_of_a_month_keep_its_day() -> None:
    def monthly(days: list[str], frequency: str | Frequency = "") -> Panel:
        return build_panel([pd.DataFrame({"ds": days, "y": np.arange(len(days)) + 1.0})], frequency=frequency)

    panel = monthly(["2024-12-28", "2025-01-28"])
    joined = panel.joined(monthly(["2025-02-28"], panel.frequency)).joined(monthly(["2025-03-28"], panel.frequency))
    assert [str(each)[:10] for each in joined.times(0)] == ["2024-12-28", "2025-01-28", "2025-02-28", "2025-03-28"]
    assert joined.ends.tolist() == [[2], [3], [4]]


def test_new_rows_must_fit() -> None:
    panel = build_panel([long_table()])
    late = long_table().assign(ds=long_table()["ds"] + pd.Timedelta(days=5, hours=3))
    with pytest.raises(DataError, match="the new rows are not on its steps of D"):
        panel.joined(build_panel([late], frequency="D"))
    with pytest.raises(DataError, match="the frequency of the new rows must be D, got 3h"):
        panel.joined(build_panel([late], frequency="3h"))
    with pytest.raises(DataError, match="past_names"):
        panel.joined(build_panel([late.assign(p=1)], Columns(past=["p"])))


def test_the_digest_is_that_of_the_contents() -> None:
    digests = {
        build_panel([table]).digest
        for table in (
            long_table(),
            long_table(y=np.arange(10.0)),
            long_table(y=np.arange(1.0, 11)),
            long_table(id=["a"] * 5 + ["c"] * 5),
            long_table(ds=long_table()["ds"] + pd.Timedelta(days=1)),
        )
    }
    assert len(digests) == 4


def test_a_panel_has_a_calendar_and_a_frame() -> None:
    panel = build_panel([long_table()])
    assert panel.calendar().shape == (10, 4)
    assert (panel.calendar()[5:] == panel.calendar()[:5]).all()
    frame = panel.to_frame()
    expected = long_table().rename(columns={"id": "series", "ds": "time"})
    assert frame["series"].tolist() == expected["series"].tolist()
    assert (frame["time"] == expected["time"]).all()
    assert frame["y"].tolist() == expected["y"].tolist()


def test_a_panel_made_by_hand_lies_where_its_frequency_does() -> None:
    frequency = Frequency.parse("ME")
    none = np.zeros((2, 0), np.float32)
    starts, first = np.array([0, 2]), frequency.ordinals(np.array(["2024-01-31"], "M8[ns]"))
    panel = Panel(("a",), starts, first, frequency, np.ones(2, np.float32), none, none)
    assert [str(each)[:10] for each in panel.times(0)] == ["2024-01-31", "2024-02-29"]


def test_many_series_do_not_cost_a_loop_over_rows() -> None:
    def seconds(series: int) -> float:
        days = pd.date_range("2020-01-01", periods=100)
        table = read_table(
            pd.DataFrame(
                {
                    "id": np.repeat([f"s{k}" for k in range(series)], 100),
                    "ds": np.tile(days, series),
                    "y": np.tile(np.arange(100.0), series),
                }
            )
        )
        began = time.process_time()
        assert len(build_panel([table])) == series
        return time.process_time() - began

    seconds(10)
    assert seconds(2000) < 5
