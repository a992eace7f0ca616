"""Tables laid out as data sets are published, and as a spreadsheet saves them: small, with made-up numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from holdfast.data import Columns, Panel, build_panel

M4 = {"Yearly": "Y", "Quarterly": "Q", "Monthly": "M", "Weekly": "W", "Daily": "D", "Hourly": "H"}
# Before the columns of the steps: what the sheets of M3 say of each series. Two of the last sheet's have no name.
M3 = {
    "M3Year": ["Series", "N", "NF", "Category", "Starting Year", ""],
    "M3Quart": ["Series", "N", "NF", "Category", "Starting Year", "Starting Quarter"],
    "M3Month": ["Series", "N", "NF", "Category", "Starting Year", "Starting Month"],
    "M3Other": ["Series", "N", "NF", "Category", "", ""],
}
TOLD = ["14", "6", "MICRO       ", "1975", "1"]


def _values(count: int, begin: float = 1234.5) -> list[str]:
    return [str(begin + 2.25 * step) for step in range(count)]


def _m4(path: Path, letter: str, lengths: Sequence[int], quoted: bool = True) -> Path:
    """Rows of unlike lengths below V1, V2, …, each cell between quotation marks; short rows end in empty cells."""
    width = max(lengths)
    rows = [[f"V{k + 1}" for k in range(width + 1)]]
    rows += [[f"{letter}{k + 1}", *_values(n), *[""] * (width - n)] for k, n in enumerate(lengths)]
    path.write_text("".join(",".join(f'"{cell}"' if quoted else cell for cell in row) + "\n" for row in rows))
    return path


def _m3(path: Path, head: Sequence[str], separator: str = ",", comma: bool = False, begin: str = "") -> Path:
    """As a sheet is saved: metadata, then the steps from 1 on, blank where a series has ended."""
    rows = [[*head, *(str(k + 1) for k in range(14))]]
    for k, length in enumerate((14, 11)):
        told = [one if name else "" for one, name in zip(TOLD, head[1:])]
        numbers = [value.replace(".", ",") if comma else value for value in _values(length)]
        rows.append([f"N {k + 1:4}", *told, *numbers, *[""] * (14 - length)])
    path.write_bytes((begin + "".join(separator.join(row) + "\r\n" for row in rows)).encode())
    return path


def _is_read(panel: Panel, names: Sequence[str], lengths: Sequence[int]) -> None:
    assert panel.names == tuple(names)
    for k, length in enumerate(lengths):
        np.testing.assert_array_equal(panel.of(k), np.array(_values(length), np.float32))


@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize("name", M4)
def test_m4_is_a_series_a_row_although_its_numbers_begin_like_dates(name: str, quoted: bool, tmp_path: Path) -> None:
    path = _m4(tmp_path / f"{name}-train.csv", M4[name], [9, 14, 6], quoted)
    panel = build_panel([str(path)])
    _is_read(panel, [f"{M4[name]}{k}" for k in (1, 2, 3)], [9, 14, 6])
    assert "each row was taken for a series, of steps 1, 2, …" in panel.notes


def test_the_test_part_of_m4_goes_on_where_the_training_part_ends(tmp_path: Path) -> None:
    train = _m4(tmp_path / "Weekly-train.csv", "W", [9, 14])
    test = _m4(tmp_path / "Weekly-test.csv", "W", [4, 4])
    panel = build_panel([str(train), str(test)])
    assert panel.ends.tolist() == [[9, 14], [13, 18]]


def test_m4_in_a_data_frame_is_the_same(tmp_path: Path) -> None:
    path = _m4(tmp_path / "Weekly-train.csv", "W", [9, 14, 6])
    _is_read(build_panel([pd.read_csv(path)]), ["W1", "W2", "W3"], [9, 14, 6])


@pytest.mark.parametrize("sheet", M3)
def test_a_sheet_of_m3_is_a_series_a_row_after_what_it_says_of_each(sheet: str, tmp_path: Path) -> None:
    panel = build_panel([str(_m3(tmp_path / f"{sheet}.csv", M3[sheet]))])
    _is_read(panel, ["N    1", "N    2"], [14, 11])
    assert any(note.startswith("not used: the columns 'N', 'NF', 'Category'") for note in panel.notes)


def test_what_a_sheet_says_of_each_series_can_be_used(tmp_path: Path) -> None:
    path = _m3(tmp_path / "M3Month.csv", M3["M3Month"])
    panel = build_panel([str(path)], Columns(series="Series", static=["Category"]))
    assert panel.static["Category"].tolist() == ["MICRO", "MICRO"]
    _is_read(panel, ["N    1", "N    2"], [14, 11])


def test_a_sheet_with_semicolons_decimal_commas_and_a_mark_is_read_as_it_is_shown(tmp_path: Path) -> None:
    path = _m3(tmp_path / "M3Month.csv", M3["M3Month"], ";", comma=True, begin="\ufeff")
    panel = build_panel([str(path)])
    _is_read(panel, ["N    1", "N    2"], [14, 11])
    assert any("decimal commas were read as points" in note for note in panel.notes)


def test_a_long_sheet_with_decimal_commas_and_points_between_thousands_is_read(tmp_path: Path) -> None:
    rows = ["Datum;Umsatz;Menge", "01.02.2024;1.234,50;7", "02.02.2024;987,25;8", "03.02.2024;-1.000.000,5;9"]
    (tmp_path / "sales.csv").write_bytes(("\ufeff" + "\r\n".join(rows) + "\r\n").encode())
    panel = build_panel([str(tmp_path / "sales.csv")], Columns(target="Umsatz"))
    assert panel.of(0).tolist() == [1234.5, 987.25, -1000000.5]
    assert str(panel.times(0)[0]).startswith("2024-02-01")


def test_ett_is_a_column_a_series(tmp_path: Path) -> None:
    names = ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
    days = pd.date_range("2016-07-01", periods=12, freq="h")
    rows = [f"{day},{','.join(['5.827000141143799', *_values(6, 1.5)])}" for day in days]
    (tmp_path / "ETTh1.csv").write_text("\n".join(["date," + ",".join(names), *rows]) + "\n")
    panel = build_panel([str(tmp_path / "ETTh1.csv")])
    assert panel.names == tuple(names)
    assert panel.frequency.alias == "h"
    assert panel.of(6).tolist() == [12.75] * 12


@pytest.mark.parametrize("cells", [["1234.5", "1235.2"], ["10.5", "11.25"], ["2024.01", "2024.02"], [" 1.5", "2.5 "]])
def test_numbers_are_no_dates_unasked(cells: list[str], tmp_path: Path) -> None:
    rows = [f"{name},{cell},{number}" for name, (cell, number) in zip("ab", zip(cells, "34"))]
    (tmp_path / "t.csv").write_text("\n".join(["what,price,size", *rows]) + "\n")
    with pytest.raises(ValueError, match="no column looks like times; name it"):
        build_panel([str(tmp_path / "t.csv")])


def test_a_column_of_dates_before_numbered_columns_says_when(tmp_path: Path) -> None:
    rows = [f"2024-01-0{k},{k},{k + 1}" for k in range(1, 6)]
    (tmp_path / "wells.csv").write_text("\n".join(["measured,1,2", *rows]) + "\n")
    panel = build_panel([str(tmp_path / "wells.csv")])
    assert panel.names == ("1", "2")
    assert panel.of(1).tolist() == [2, 3, 4, 5, 6]
