"""Coloured text, decoded from its SVG."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest

from holdfast.microscope import coloured_text

SVG = "{http://www.w3.org/2000/svg}"


def rows(svg: str) -> list[str]:
    """The rows of letters, from the top."""
    return [e.text or "" for e in ElementTree.fromstring(svg).iter(f"{SVG}text") if e.get("textLength")]


def images(svg: str) -> list[np.ndarray]:
    """The pixels of all images after the colour scale's, each (columns, 4)."""
    found = []
    for coded in re.findall(r"data:image/png;base64,([^\"]+)", svg)[1:]:
        data = base64.b64decode(coded)
        columns, height = struct.unpack(">II", data[16:24])
        size = struct.unpack(">I", data[33:37])[0]
        assert height == 1
        found.append(np.frombuffer(zlib.decompress(data[41 : 41 + size]), np.uint8)[1:].reshape(columns, 4))
    return found


def test_a_row_ends_with_its_line_or_where_it_is_full() -> None:
    svg = coloured_text("abcdefg\n\nhi <j>", np.zeros(15), title="t", columns=5)
    assert rows(svg) == ["abcde", "fg ", " ", "hi <j", ">"]
    assert [len(image) for image in images(svg)] == [5, 3, 1, 5, 1]


def test_each_letter_lies_on_the_colour_of_its_number() -> None:
    [row] = images(coloured_text("abc", [-2.0, 0.0, 2.0], title="t"))
    low, middle, high = (row[k, :3].astype(int) for k in range(3))
    assert low[2] > low[0] + 40, "blue"
    assert high[0] > high[2] + 40, "red"
    assert middle.min() > 240, "0 is neutral"
    assert row[:, 3].tolist() == [255] * 3
    luminance = row[:, :3] @ [0.21, 0.72, 0.07]
    assert luminance.min() > 100, "black letters can be read on it"


def test_the_limits_of_the_colours_can_be_given() -> None:
    [narrow] = images(coloured_text("ab", [0.0, 1.0], title="t", limits=(0, 1)))
    [wide] = images(coloured_text("ab", [0.0, 1.0], title="t", limits=(0, 100)))
    assert not np.array_equal(narrow[1], wide[1])
    assert np.abs(wide[0].astype(int) - wide[1]).max() < 5


def test_the_signal_is_a_bar_beneath_the_darker_the_larger() -> None:
    svg = coloured_text("ab\ncd", np.zeros(5), title="t", signal=[1, 3, 1, 5, 2])
    _, first, _, second = images(svg)
    assert first[:, 3].tolist() == [0, 127, 0]
    assert second[:, 3].tolist() == [255, 63]
    flat = images(coloured_text("ab", [0, 1], title="t", signal=[True, True]))[1]
    assert flat[:, 3].tolist() == [0, 0]


def test_what_cannot_be_printed_is_a_blank() -> None:
    assert rows(coloured_text("a\tb\x00\x1bc", range(6), title="t")) == ["a b  c"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("abc", [1, 2]), r"values must be one number for each of 3 characters; got \(2,\)"),
        (("", []), r"values must be one number for each of 0 characters; got \(0,\)"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: tuple[str, list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        coloured_text(*arguments, title="t")
    with pytest.raises(ValueError, match=r"signal must be one number for each of 2 characters; got \(3,\)"):
        coloured_text("ab", [1, 2], title="t", signal=[1, 2, 3])
    with pytest.raises(ValueError, match="limits must be two numbers, the lower first; got"):
        coloured_text("ab", [1, 2], title="t", limits=(1, 1))
