import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from holdfast import cells
from holdfast.language import Cell, trace
from holdfast.language.outline import outline
from holdfast.microscope.diagram import diagram

SVG = "{http://www.w3.org/2000/svg}"
CELLS = [cells.LSTM(), cells.LSTM(peephole=True), cells.GRU(), cells.GRU(reset_after=False), cells.SLSTM(), cells.RNN()]


def rectangles(picture: str) -> dict[int, tuple[float, float, float, float]]:
    """Left, top, right and bottom of each box, by its node."""
    found = {}
    for element in ElementTree.fromstring(picture).iter(f"{SVG}rect"):
        x, y, width, height = (float(element.get(name, "nan")) for name in ("x", "y", "width", "height"))
        found[int(element.get("data-node", "-1"))] = (x, y, x + width, y + height)
    return found


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_boxes_stand_apart_inside_the_picture_and_right_of_what_they_read(cell: Cell) -> None:
    program = trace(cell, shown=True)
    picture = diagram(program)
    width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', picture).groups())  # type: ignore[union-attr]
    found = rectangles(picture)
    boxes = outline(program)
    assert set(found) == {box.node for box in boxes}
    for left, top, right, bottom in found.values():
        assert left >= 0
        assert top >= 0
        assert right <= width
        assert bottom <= height
    for (a, b, c, d), (e, f, g, h) in combinations(found.values(), 2):
        assert c <= e or g <= a or d <= f or h <= b
    for box in boxes:
        assert all(found[arg][2] < found[box.node][0] for arg in box.args)


def test_each_box_has_a_place_for_its_number_and_named_values_have_their_names() -> None:
    program = trace(cells.LSTM(), shown=True)
    root = ElementTree.fromstring(diagram(program, "An LSTM"))
    values = [e.get("data-node") for e in root.iter(f"{SVG}text") if e.get("class") == "value"]
    assert sorted(map(int, filter(None, values))) == [box.node for box in outline(program)]
    texts = {e.text for e in root.iter(f"{SVG}text")}
    assert {"i[t]", "f[t]", "g[t]", "o[t]", "c[t]", "h[t]", "c[t-1]"} <= texts
    assert root.findtext(f"{SVG}title") == "An LSTM"
