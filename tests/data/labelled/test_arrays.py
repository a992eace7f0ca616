"""Series in `.npz` files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .helpers import message, pairs, read, written

X = np.arange(12.0).reshape(2, 3, 2)


def saved(path: Path, **arrays: Any) -> str:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return written(path, buffer.getvalue())


@pytest.mark.parametrize("name", ["a.npz", "a.npz.gz"])
def test_series_of_one_length_are_one_array(name: str, tmp_path: Path) -> None:
    found = read(saved(tmp_path / name, x=X, y=np.array(["walk", "run"])))
    assert pairs(found) == [(X[0].tolist(), "walk"), (X[1].tolist(), "run")]
    assert found[1].where == f"{tmp_path / name}, row 2"
    assert found[1].content.dtype == np.float32


@pytest.mark.parametrize("flat", [False, True])
def test_lengths_tell_where_series_end(flat: bool, tmp_path: Path) -> None:
    x = np.concatenate([X[0, :1], X[1]]) if flat else X
    found = read(saved(tmp_path / "a.npz", x=x.astype(np.int16), lengths=np.array([1, 3]), y=np.array([0, 1])))
    assert pairs(found) == [(X[0, :1].tolist(), "0"), (X[1].tolist(), "1")]


def test_what_lies_behind_the_end_of_a_series_is_not_looked_at(tmp_path: Path) -> None:
    x = X.copy()
    x[0, 1:] = np.inf
    assert [one.fault for one in read(saved(tmp_path / "a.npz", x=x, lengths=[1, 3], y=[0, 1]))] == ["", ""]


def test_labels_may_be_numbers_or_lack(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", x=X, y=np.array([1.5, np.nan]))
    assert [one.label for one in read(path, numeric=True, labelled=False)] == [1.5, None]
    assert [one.fault for one in read(path, numeric=True)] == ["", "the label is missing"]
    without = saved(tmp_path / "b.npz", x=X)
    assert [one.label for one in read(without, labelled=False)] == [None, None]


def test_a_series_that_cannot_be_used_is_told_and_others_stay(tmp_path: Path) -> None:
    x = np.array([[[1.0]], [[np.inf]], [[np.nan]]])
    found = read(saved(tmp_path / "a.npz", x=x, lengths=[0, 1, 1], y=[1, 2, 3]))
    assert [one.fault for one in found] == ["the series has no steps", "an infinite value", ""]


def test_series_without_channels_are_no_texts(tmp_path: Path) -> None:
    found = read(saved(tmp_path / "a.npz", x=np.empty((2, 3, 0)), y=[1, 2]))
    assert [one.fault for one in found] == ["the series has no channels"] * 2


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"data": X}, "{} must hold an array x, but its arrays are 'data'"),
        ({"x": X}, "{} has no labels: there must be an array y, but its arrays are 'x'"),
        ({"x": np.array(["a"])}, "{}: x must hold numbers, got <U1"),
        ({"x": X, "y": [1]}, "{}: y must be (2,), numbers or texts, got int64 (1,)"),
        ({"x": X, "y": np.array([b"a", b"b"])}, "{}: y must be (2,), numbers or texts, got |S1 (2,)"),
        ({"x": X, "lengths": [1.0, 2.0]}, "{}: lengths must be (N,), whole numbers from 0 on, got float64 (2,)"),
        ({"x": X, "lengths": [1, -1]}, "{}: lengths must be (N,), whole numbers from 0 on, got int64 (2,)"),
        ({"x": X, "lengths": [1, 4]}, "{}: lengths must be at most 3, as x is (2, 3, 2), got 4"),
        ({"x": X[:0]}, "{} holds no series"),
        ({"x": X[0, :0], "lengths": np.empty(0, np.int64)}, "{} holds no series"),
    ],
)
def test_arrays_that_do_not_fit_are_told(arrays: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", **arrays)
    assert message(path) == said.format(path)


@pytest.mark.parametrize(
    ("arrays", "got"),
    [
        ({"x": X[0]}, "(3, 2) and no lengths"),
        ({"x": X[0], "lengths": [1, 1]}, "(3, 2) and lengths (2,) with the sum 2"),
        ({"x": X, "lengths": [1]}, "(2, 3, 2) and lengths (1,) with the sum 1"),
    ],
)
def test_shapes_that_do_not_fit_are_told(arrays: dict[str, Any], got: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", **arrays)
    expected = "x must be (N, T, C), alone or with lengths (N,), or (the sum of lengths, C), got"
    assert message(path) == f"{path}: {expected} {got}"


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", x=np.array([[1], [2, 3]], object))
    said = message(path)
    assert said.startswith(f"{path} is not a .npz file of numbers and texts: ")
    assert "allow_pickle" in said


def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.npz", "x,y\n1,2\n")
    assert message(path) == f"{path} is not a .npz file"
