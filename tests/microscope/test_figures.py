import base64
import re
import struct
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest

from holdfast.microscope import Band, Series, colour_map, heat_map, line_chart
from holdfast.microscope.figures import numbered
from holdfast.microscope.svg import stacked

NAN = float("nan")
SVG = "{http://www.w3.org/2000/svg}"
LABELS = {"title": "Title", "x_label": "step", "y_label": "error"}


def parsed(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    return root


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in parsed(svg).iter(f"{SVG}text")]


def lines(svg: str) -> list[list[tuple[float, float]]]:
    """The points of each piece of a line."""
    return [
        [tuple(map(float, point.split(","))) for point in element.get("points", "").split()]  # type: ignore[misc]
        for element in parsed(svg).iter(f"{SVG}polyline")
    ]


def areas(svg: str) -> list[list[tuple[float, float]]]:
    """The corners of each piece of a band."""
    return [
        [tuple(map(float, point.split(","))) for point in element.get("points", "").split()]  # type: ignore[misc]
        for element in parsed(svg).iter(f"{SVG}polygon")
    ]


def image(svg: str) -> np.ndarray:
    """The pixels of the first image, decoded."""
    found = re.search(r"data:image/png;base64,([^\"]+)", svg)
    assert found is not None
    data = base64.b64decode(found[1])
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    columns, rows = struct.unpack(">II", data[16:24])
    size = struct.unpack(">I", data[33:37])[0]
    assert data[37:41] == b"IDAT"
    raw = np.frombuffer(zlib.decompress(data[41 : 41 + size]), np.uint8).reshape(rows, 1 + 4 * columns)
    return raw[:, 1:].reshape(rows, columns, 4)


def test_text_is_escaped_everywhere() -> None:
    nasty = "<b>&\"'"
    chart = line_chart([Series(nasty, [0, 1], [1, 2])], title=nasty, x_label=nasty, y_label=nasty, reference=(1, nasty))
    assert texts(chart).count(nasty) == 4
    assert parsed(chart).findtext(f"{SVG}title") == nasty
    picture = heat_map([[1.0, 2.0]], title=nasty, x_label=nasty, y_label=nasty, marks={0: nasty})
    assert texts(picture).count(nasty) == 3
    assert parsed(picture).findtext(f"{SVG}title") == nasty


def test_a_line_goes_through_its_points_in_proportion() -> None:
    [[a, b, c]] = lines(line_chart([Series("a", [0, 1, 4], [0, 10, 5])], **LABELS))
    assert (b[0] - a[0]) / (c[0] - a[0]) == pytest.approx(1 / 4, abs=0.01)
    assert (c[1] - a[1]) / (b[1] - a[1]) == pytest.approx(1 / 2, abs=0.01)
    assert b[1] < a[1], "larger values are higher up"


def test_equal_ratios_are_equally_far_apart_on_a_logarithmic_axis() -> None:
    chart = line_chart([Series("a", [0, 1, 2], [1.0, 0.1, 0.001])], log_y=True, **LABELS)
    [[a, b, c]] = lines(chart)
    assert (b[1] - a[1]) / (c[1] - a[1]) == pytest.approx(1 / 3, abs=0.01)
    assert {"0.001", "0.01", "0.1", "1"} <= set(texts(chart))


def test_the_horizontal_axis_can_be_logarithmic_too() -> None:
    chart = line_chart([Series("a", [10, 100, 1000], [0, 1, 2])], log_x=True, **LABELS)
    [[a, b, c]] = lines(chart)
    assert b[0] - a[0] == pytest.approx(c[0] - b[0], abs=0.2)
    assert {"10", "100", "1000"} <= set(texts(chart))


def test_the_ends_of_the_vertical_axis_can_be_given() -> None:
    [[a, b]] = lines(line_chart([Series("a", [0, 1], [0.25, 0.5])], y_limits=(0, 1), **LABELS))
    [[low, high]] = lines(line_chart([Series("a", [0, 1], [0, 1])], **LABELS))
    assert a[1] == pytest.approx(low[1] + (high[1] - low[1]) / 4, abs=0.2)
    assert b[1] == pytest.approx((low[1] + high[1]) / 2, abs=0.2)


def test_a_line_breaks_where_a_value_is_missing() -> None:
    x, y = [0, 1, 2, 3, 4, 5], [1.0, 2.0, NAN, 3.0, float("inf"), 4.0]
    chart = line_chart([Series("a", x, y)], **LABELS)
    assert [len(piece) for piece in lines(chart)] == [2, 2, 2]
    single = lines(chart)[1]
    assert single[0] == single[1], "a point alone is a dot"
    assert "nan" not in chart
    assert "inf" not in chart


def test_what_is_not_positive_has_no_place_on_a_logarithmic_axis() -> None:
    chart = line_chart([Series("a", [0, 1, 2, 3], [1.0, 0.1, 0.0, -1.0])], log_y=True, **LABELS)
    assert [len(piece) for piece in lines(chart)] == [2]


@pytest.mark.parametrize("log_y", [False, True])
def test_a_chart_of_nothing_is_still_a_chart(log_y: bool) -> None:
    assert lines(line_chart([Series("a", [0, 1], [NAN, NAN])], log_y=log_y, **LABELS)) == []
    assert lines(line_chart([], log_y=log_y, **LABELS)) == []


def test_the_reference_line_is_inside_the_frame_even_if_no_value_is_near() -> None:
    chart = line_chart([Series("a", [0, 1], [1.0, 2.0])], reference=(30.0, "far"), **LABELS)
    [level] = [float(e.get("y1", "nan")) for e in parsed(chart).iter(f"{SVG}line") if e.get("class") == "reference"]
    assert 0 < level < lines(chart)[0][0][1]
    assert "far" in texts(chart)


def test_the_legend_names_each_line_with_its_own_stroke() -> None:
    chart = line_chart(
        [Series(f"a long name {k}", [0, 1], [k, k + 1], colour=k, dashed=k == 2) for k in (1, 2, 3)], **LABELS
    )
    samples = [e.get("class") for e in parsed(chart).iter(f"{SVG}line") if "line-" in e.get("class", "")]
    assert samples == ["line line-1", "line line-2 dashed", "line line-3"]
    assert {"a long name 1", "a long name 2", "a long name 3"} <= set(texts(chart))


def test_a_long_legend_stays_inside_the_figure() -> None:
    chart = line_chart([Series(f"quite a long name {k}", [0, 1], [1, 2]) for k in range(5)], **LABELS)
    names = [e for e in parsed(chart).iter(f"{SVG}text") if (e.text or "").startswith("quite")]
    places = [(float(e.get("x", "nan")), float(e.get("y", "nan"))) for e in names]
    assert len(set(places)) == 5
    assert max(x for x, _ in places) < 300
    assert max(y for _, y in places) < min(y for piece in lines(chart) for _, y in piece)


def test_a_band_lies_between_its_ends_and_both_are_inside_the_frame() -> None:
    x, low, high = [0, 1, 2], [-10.0, 0.0, 1.0], [2.0, 4.0, 30.0]
    chart = line_chart([Series("a", x, [0.0, 1.0, 2.0])], bands=[Band("b", x, low, high)], **LABELS)
    [upper_and_lower] = areas(chart)
    [lower_line, upper_line] = lines(line_chart([Series("l", x, low), Series("h", x, high)], **LABELS))
    places = [place for place, _ in lines(chart)[0]]
    assert [place for place, _ in upper_and_lower] == [*places, *reversed(places)]
    above, below = upper_and_lower[:3], upper_and_lower[:2:-1]
    span = upper_line[2][1] - lower_line[0][1]
    for ends, expected in ((above, upper_line), (below, lower_line)):
        shares = [(y - below[0][1]) / (above[2][1] - below[0][1]) for _, y in ends]
        assert shares == pytest.approx([(y - lower_line[0][1]) / span for _, y in expected], abs=0.01)


def test_a_band_breaks_where_an_end_is_missing_and_a_single_place_is_a_bar() -> None:
    x, low, high = [0, 1, 2, 3, 4], [0.0, 0.0, NAN, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0, float("inf")]
    chart = line_chart([], bands=[Band("b", x, low, high)], **LABELS)
    first, bar = areas(chart)
    assert len(first) == len(bar) == 4
    assert 2 < bar[1][0] - bar[0][0] < 20
    assert "nan" not in chart
    assert "inf" not in chart


def test_a_sample_of_a_band_is_as_dark_as_the_band_over_those_before_it() -> None:
    x, ones = [0, 1], [1.0, 1.0]
    bands = [Band(name, x, [0.0, 0.0], ones, k) for name, k in (("wide", 1), ("other", 2), ("narrow", 1))]
    chart = line_chart([Series("a", x, ones)], bands=bands, **LABELS)
    kinds = [element.get("class") for element in parsed(chart).iter(f"{SVG}rect")]
    assert kinds == ["band band-1", "band band-2", "band band-1", "band band-1"]
    assert {"a", "wide", "other", "narrow"} <= set(texts(chart))


def test_a_line_by_its_number_differs_from_the_seven_before_it() -> None:
    looks = [(one.colour, one.dashed) for one in (numbered(k, "a", [0], [1]) for k in range(8))]
    assert len(set(looks)) == 8
    assert not any(dashed for _, dashed in looks[:4])


def test_figures_are_stacked_without_an_overlap() -> None:
    charts = [line_chart([Series("a", [0, 1], [1, 2])], height=h, **LABELS | {"title": f"<{h}>"}) for h in (200, 300)]
    root = parsed(stacked("both", charts))
    assert root.get("viewBox") == "0 0 420 500"
    inner = [element for element in root if element.tag == f"{SVG}svg"]
    places = [(e.get("y"), e.get("width"), e.get("height")) for e in inner]
    assert places == [
        ("0", "420", "200"),
        ("200", "420", "300"),
    ]
    assert [e.findtext(f"{SVG}title") for e in (root, *inner)] == ["both", "<200>", "<300>"]
    with pytest.raises(ValueError, match="such as line_chart returns; got 'text'"):
        stacked("none", ["text"])


def test_a_band_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="band 'a' needs as many x as low and high; got 1, 2 and 1"):
        Band("a", [0], [1, 2], [1])
    with pytest.raises(ValueError, match="colour must be 1, 2, 3 or 4; got 0"):
        Band("a", [0], [1], [1], 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": [0], "y": [1, 2]}, "as many x as y; got 1 and 2"),
        ({"x": [0], "y": [1], "colour": 5}, "colour must be 1, 2, 3 or 4; got 5"),
    ],
)
def test_a_series_that_makes_no_sense_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Series("a", **arguments)  # type: ignore[arg-type]


def test_a_heat_map_holds_one_pixel_a_cell_in_its_colour() -> None:
    matrix = np.array([[0.0, 0.5, 1.0], [NAN, 1.0, 0.0]])
    pixels = image(heat_map(matrix, limits=(0, 1), **LABELS))
    assert (pixels == colour_map(matrix)).all()
    assert pixels[1, 0, 3] == 0, "what is missing is transparent"


def test_the_colour_scale_spans_the_matrix_if_no_limits_are_given() -> None:
    pixels = image(heat_map([[2.0, 3.0, 4.0]], **LABELS))
    assert (pixels[0] == colour_map([0.0, 0.5, 1.0])).all()
    assert {"2", "3", "4"} <= set(texts(heat_map([[2.0, 4.0]], **LABELS)))


def test_the_diverging_scale_is_neutral_at_zero() -> None:
    picture = heat_map([[-1.0, 0.0, 4.0]], palette="diverging", **LABELS)
    assert (image(picture)[0] == colour_map([0.375, 0.5, 1.0], "diverging")).all()
    assert {"−4", "0", "4"} <= set(texts(picture))


def test_a_strip_has_a_cell_beneath_each_step_neutral_at_zero() -> None:
    steps = [1, 2, 3, 4]
    picture = line_chart([Series("a", steps, [0.0, 2.0, 1.0, 1.0])], strip=[2.0, 0.0, -1.0, NAN], **LABELS)
    assert (image(picture)[0] == colour_map([1.0, 0.5, 0.25, NAN], "diverging")).all()
    box = next(parsed(picture).iter(f"{SVG}image"))
    left, top, width = (float(box.get(name, "nan")) for name in ("x", "y", "width"))
    (line,) = lines(picture)
    assert [x for x, _ in line] == pytest.approx([left + (k - 0.5) / 4 * width for k in steps], abs=0.1)
    assert max(y for _, y in line) < top


@pytest.mark.parametrize("palette", ["sequential", "diverging"])
@pytest.mark.parametrize("value", [0.0, 7.0, NAN])
def test_a_heat_map_of_one_value_or_none_is_still_a_heat_map(value: float, palette: str) -> None:
    picture = heat_map([[value, value]], palette=palette, **LABELS)
    assert image(picture).shape == (1, 2, 4)
    assert "nan" not in picture


def test_marks_point_at_their_columns() -> None:
    picture = heat_map(np.zeros((3, 10)), limits=(0, 1), marks={0: "first", 9: "last"}, **LABELS)
    box = next(parsed(picture).iter(f"{SVG}image"))
    left, width = float(box.get("x", "nan")), float(box.get("width", "nan"))
    tips = [float(p.get("d", "").split()[0][1:]) for p in parsed(picture).iter(f"{SVG}path")]
    assert tips == pytest.approx([left + 0.05 * width, left + 0.95 * width], abs=0.1)
    assert {"first", "last"} <= set(texts(picture))


def test_marks_close_together_share_one_text() -> None:
    picture = heat_map(np.zeros((3, 100)), limits=(0, 1), marks={50: "marked", 49: "marked"}, **LABELS)
    assert len(list(parsed(picture).iter(f"{SVG}path"))) == 2
    assert texts(picture).count("marked") == 1


@pytest.mark.parametrize(
    ("matrix", "options", "message"),
    [
        (np.zeros(3), {}, r"two axes, rows and columns.*got \(3,\)"),
        (np.zeros((0, 3)), {}, r"at least one cell; got \(0, 3\)"),
        (np.zeros((2, 3)), {"limits": (1, 1)}, r"the lower first; got \(1, 1\)"),
        (np.zeros((2, 3)), {"marks": {3: "x"}}, "columns from 0 to 2; got 3"),
    ],
)
def test_a_heat_map_that_makes_no_sense_is_refused(
    matrix: np.ndarray, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        heat_map(matrix, **LABELS, **options)  # type: ignore[arg-type]
