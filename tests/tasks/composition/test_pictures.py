import re
from xml.etree import ElementTree

import numpy as np
import pytest

from holdfast.tasks.composition.pictures import Array, bar_pairs, piano_roll

SVG = "{http://www.w3.org/2000/svg}"
COMPOSED, GIVEN = "fill-1", "fill-2"
LABELS = {"title": "Title", "x_label": "tone", "y_label": "share"}


def played(frames: int, *notes: tuple[int, int, int]) -> Array:
    """A roll from (MIDI note, first frame, frame after the last)."""
    roll = np.zeros((frames, 88), np.uint8)
    for note, start, stop in notes:
        roll[start:stop, note - 21] = 1
    return roll


def drawn(roll: Array, *, grid: int = 4, meter: tuple[int, int] = (4, 4), **options: object) -> ElementTree.Element:
    return ElementTree.fromstring(piano_roll(roll, grid=grid, meter=meter, title="Title", **options))  # type: ignore[arg-type]


def boxes(root: ElementTree.Element, fill: str = "") -> list[tuple[float, float, float, float]]:
    """x, y, width and height of the notes or bars, samples of the legend left out, from left to right."""
    sample = {"y": "5.0", "height": "10.00"}
    return sorted(
        (float(e.get("x", "")), float(e.get("y", "")), float(e.get("width", "")), float(e.get("height", "")))
        for e in root.iter(f"{SVG}rect")
        if fill in e.get("class", "") and sample.items() - e.attrib.items()
    )


def bars(root: ElementTree.Element) -> list[tuple[float, float]]:
    """Where the bar lines are, from left to right, and where they begin, from top to bottom."""
    found = [each for each in root.iter(f"{SVG}line") if each.get("class") == "bar"]
    return sorted(((float(e.get("x1", "")), float(e.get("y1", ""))) for e in found), key=lambda place: place[::-1])


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]


def test_each_note_is_one_rectangle_as_long_as_it_sounds() -> None:
    root = drawn(played(32, (60, 0, 4), (60, 5, 6), (64, 0, 8), (67, 3, 32)))
    across = bars(root)[1][0] - bars(root)[0][0]  # a bar of 16 frames
    widths = sorted(width for _, _, width, _ in boxes(root))
    assert widths == pytest.approx([across * frames / 16 for frames in (1, 4, 8, 29)], abs=0.1)


def test_a_higher_note_stands_higher_a_semitone_a_key() -> None:
    root = drawn(played(4, (60, 0, 1), (61, 1, 2), (72, 2, 3)))
    [one, next_one, octave] = [y for _, y, _, _ in boxes(root)]
    assert one - octave == pytest.approx(12 * (one - next_one))
    assert octave < one


def test_there_are_as_many_rectangles_as_notes() -> None:
    random = np.random.default_rng(0)
    roll = (random.random((48, 88)) < 0.2).astype(np.uint8)
    notes = int(roll[0].sum() + (roll[1:] > roll[:-1]).sum())
    assert len(boxes(drawn(roll))) == notes


@pytest.mark.parametrize(
    ("grid", "meter", "frames"),
    [(4, (4, 4), 16), (4, (3, 4), 12), (12, (6, 8), 36), (1, (7, 8), 3.5), (4, (2, 2), 16)],
)
def test_bar_lines_are_a_bar_apart_and_have_numbers(grid: int, meter: tuple[int, int], frames: float) -> None:
    root = drawn(played(int(4 * frames), (60, 0, 1), (62, 1, 2)), grid=grid, meter=meter)
    places = [x for x, _ in bars(root)]
    first, second = [x for x, *_ in boxes(root)]
    assert len(places) == 5
    np.testing.assert_allclose(np.diff(places), frames * (second - first), atol=0.06 * frames)
    assert places[0] == first
    assert [name for name in texts(root) if name.isdigit()] == ["1", "2", "3", "4"]


def test_each_c_is_named_on_the_height_of_its_key() -> None:
    root = drawn(played(8, (60, 0, 1), (72, 0, 1), (79, 0, 1)))
    names = [name for name in texts(root) if name.startswith("C")]
    levels = [float(e.get("y1", "")) for e in root.iter(f"{SVG}line") if e.get("class") == "octave"]
    middles = sorted((y + height / 2 for _, y, _, height in boxes(root)), reverse=True)
    assert names == ["C4", "C5"]
    assert levels == pytest.approx(middles[:2], abs=0.1)


def test_there_is_a_c_even_if_none_is_near() -> None:
    assert [name for name in texts(drawn(played(4, (65, 0, 4)))) if name.startswith("C")] == ["C4"]
    assert [name for name in texts(drawn(played(4, (21, 0, 4)))) if name.startswith("C")] == ["C1"]
    assert [name for name in texts(drawn(played(4, (108, 0, 4)))) if name.startswith("C")] == ["C8"]


def test_only_the_keys_that_are_used_are_drawn_and_two_around_them() -> None:
    root = drawn(played(4, (60, 0, 4), (64, 0, 4)))
    [high, low] = sorted(y for _, y, _, _ in boxes(root))
    [(top, bottom)] = {(e.get("y1"), e.get("y2")) for e in root.iter(f"{SVG}line") if e.get("class") == "bar"}
    key = (low - high) / 4
    assert float(bottom or "") - float(top or "") == pytest.approx(9 * key, abs=0.1)


def test_a_long_piece_takes_several_rows() -> None:
    root = drawn(played(64 * 16, (60, 0, 1), (60, 20 * 16, 20 * 16 + 4), (60, 63 * 16, 64 * 16)))
    rows = sorted({y for _, y in bars(root)})
    assert [sum(y == top for _, y in bars(root)) for top in rows] == [17] * 4
    assert [name for name in texts(root) if name.isdigit()] == [str(number) for number in range(1, 65)]
    found = {round(y): x for x, y, _, _ in boxes(root)}
    assert len(found) == 3, "each stands in a row of its own"
    lines = [x for x, y in bars(root) if y == rows[1]]
    assert sorted(found.items())[1][1] == pytest.approx(lines[4], abs=0.1), "bar 21 is the fifth of the second row"


def test_rows_are_about_as_long_as_each_other() -> None:
    root = drawn(played(17 * 16, (60, 0, 1)))
    counts = [sum(y == top for _, y in bars(root)) for top in sorted({y for _, y in bars(root)})]
    assert counts == [10, 9]


def test_a_note_that_goes_on_in_the_next_row_is_drawn_in_both() -> None:
    root = drawn(played(32 * 16, (60, 15 * 16, 17 * 16)))
    [begun, ended] = sorted(boxes(root), key=lambda box: box[1])
    assert begun[0] + begun[2] == pytest.approx(bars(root)[16][0], abs=0.1)
    assert ended[0] == bars(root)[0][0]
    assert begun[2] == pytest.approx(ended[2], abs=0.1)


def test_a_bar_that_ends_within_a_frame_is_drawn_as_long_as_it_is() -> None:
    root = drawn(played(20 * 7 // 2 - 1, (60, 0, 69)), grid=1, meter=(7, 8))
    [first, second] = sorted(boxes(root), key=lambda box: box[1])
    assert first[2] / second[2] == pytest.approx(35 / 34, abs=0.001)


def test_what_is_given_has_another_colour_and_a_name() -> None:
    roll = played(16, (60, 0, 4), (62, 4, 8), (64, 0, 8))
    root = drawn(roll, given=4)
    assert len(boxes(root, GIVEN)) == 2
    assert len(boxes(root, COMPOSED)) == 2, "a note that goes on is in two pieces"
    assert {"given", "composed"} <= set(texts(root))
    plain = drawn(roll)
    assert not boxes(plain, GIVEN)
    assert "composed" not in texts(plain)


def test_the_highest_note_of_each_frame_can_be_the_given_one() -> None:
    root = drawn(played(8, (72, 0, 4), (60, 0, 8), (67, 4, 6), (48, 0, 8)), top_given=True)
    given, composed = boxes(root, GIVEN), boxes(root, COMPOSED)
    assert len(given) == 3
    assert sorted(x for x, *_ in given) == [x for x, *_ in given]
    assert [y for _, y, _, _ in given] == sorted(y for _, y, _, _ in given), "72, then 67, then 60"
    assert sum(width for *_, width, _ in composed) == pytest.approx(
        sum(width for *_, width, _ in given) * 14 / 8, abs=0.1
    )


def test_a_piece_without_notes_is_a_picture_without_notes() -> None:
    for frames in (0, 40):
        root = drawn(played(frames), given=8, top_given=True)
        assert boxes(root) == []
        assert {"1", "C4", "C5"} <= set(texts(root))


def test_a_single_frame_is_a_piece_of_one_bar() -> None:
    root = drawn(played(1, (60, 0, 1)), given=1)
    [(x, _, width, _)] = boxes(root, GIVEN)
    [start, end] = [place for place, _ in bars(root)]
    assert x == start
    assert width == pytest.approx((end - start) / 16, abs=0.1)


def test_text_is_escaped_in_both_pictures() -> None:
    nasty = "<b>&\"'"
    roll = ElementTree.fromstring(piano_roll(played(4), grid=4, meter=(4, 4), title=nasty, given=1))
    assert roll.findtext(f"{SVG}title") == nasty
    chart = ElementTree.fromstring(bar_pairs([nasty], [1], [1], title=nasty, x_label=nasty, y_label=nasty))
    assert chart.findtext(f"{SVG}title") == nasty
    assert texts(chart).count(nasty) == 3


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("(T, 88), frames by the keys of a piano; got (4, 12)")):
        piano_roll(np.zeros((4, 12)), grid=4, meter=(4, 4), title="")
    with pytest.raises(ValueError, match=re.escape("got 0 and (4, 4)")):
        piano_roll(played(4), grid=0, meter=(4, 4), title="")
    with pytest.raises(ValueError, match="got 1 for 2 and 2"):
        bar_pairs(["a"], [1, 2], [1, 2], **LABELS)


def test_bars_are_as_high_as_their_numbers_and_stand_in_pairs() -> None:
    root = ElementTree.fromstring(bar_pairs(["a", "b", "c"], [0.5, 0.25, 0.0], [0.4, 0.1, 1.0], **LABELS))
    data, samples = boxes(root, COMPOSED), boxes(root, GIVEN)
    assert [height / samples[2][3] for *_, height in data] == pytest.approx([0.5, 0.25, 0], abs=0.001)
    assert [height / samples[2][3] for *_, height in samples] == pytest.approx([0.4, 0.1, 1], abs=0.001)
    floors = [y + height for _, y, _, height in (*data, *samples)]
    assert floors == pytest.approx([floors[0]] * 6, abs=0.1)
    for (x, _, width, _), (other, *_) in zip(data, samples):
        assert other == pytest.approx(x + width, abs=0.1)
    assert {"a", "b", "c", "data", "samples", "tone", "share", "0.2"} <= set(texts(root))


def test_names_of_places_are_left_out_where_there_is_no_room() -> None:
    names = [f"−{number}00" for number in range(25)]
    root = ElementTree.fromstring(bar_pairs(names, [0.1] * 25, [0.2] * 25, **LABELS))
    shown = [name for name in texts(root) if name in names]
    assert shown == names[::3]
    assert len(boxes(root)) == 50


def test_a_chart_of_nothing_is_still_a_chart() -> None:
    assert len(boxes(ElementTree.fromstring(bar_pairs(["a"], [0], [0], **LABELS)))) == 2
    assert boxes(ElementTree.fromstring(bar_pairs([], [], [], **LABELS))) == []
