"""Pages and tables of HTML."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

from holdfast.microscope.page import figure, page, pair, section, shaded_table, table, tint


def test_cells_have_the_background_of_their_shade() -> None:
    tree = ElementTree.fromstring(shaded_table(["a", "b<"], [("row", ["1", "2 & 3"])], [[-1.0, 0.5]]))
    assert [cell.text for cell in tree.iter("th")] == ["a", "b<", "row"]
    cells = [cell for cell in tree.iter("td") if cell.text]
    assert [(cell.text, cell.get("style")) for cell in cells] == [("1", tint(-1.0)), ("2 & 3", tint(0.5))]


def test_a_tint_is_the_stronger_the_farther_from_0_and_red_only_above() -> None:
    opacities = [float(tint(value).split()[-1].rstrip(")")) for value in (0.0, 0.1, 0.5, 1.0, 7.0)]
    assert opacities[:4] == sorted(set(opacities[:4]))
    assert opacities[3] == opacities[4] < 0.6
    assert tint(-0.3).split(",")[:3] == tint(-1).split(",")[:3] != tint(0.3).split(",")[:3]


def test_a_page_of_wide_tables_and_long_names_is_no_wider_than_a_phone(fits_a_phone: Callable[[str], None]) -> None:
    long, columns = "a_name_without_any_blanks_" * 6, [f"column {k}" for k in range(12)]
    rows = [(long, ["123.4567"] * 12), ("two words", ["–"] * 12)]
    parts = [table(columns, rows), table([], [(long, [long])]), table([long, long], [(long, [long, long])])]
    parts.append(shaded_table(columns, rows, [[0.5] * 12] * 2))
    fits_a_phone(
        page(long, [f"<p>{long}</p>", section(long, "".join(parts)), figure("<svg></svg>", long), pair(parts)])
    )


def test_parts_stand_side_by_side() -> None:
    tree = ElementTree.fromstring(pair([table([], [("a", ["1"])]), table([], [("b", ["2"])])]))
    assert [part.find("table") is not None for part in tree] == [True, True]
