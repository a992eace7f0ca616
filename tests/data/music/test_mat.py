"""Piano rolls in MATLAB files: their parts, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from holdfast.data import DataError
from holdfast.data.music import read_mat

from .helpers import mat_of, rolls


def _parts(**more: Any) -> dict[str, Any]:
    return {"traindata": rolls(5), "validdata": rolls(2, 1), "testdata": rolls(3, 2), **more}


def test_parts_and_rolls_are_those_of_the_file(tmp_path: Path) -> None:
    path = mat_of(tmp_path / "a.mat", **_parts())
    found = read_mat(path)
    assert [*found] == ["train", "valid", "test"]
    for part, given in found.items():
        for ours, theirs in zip(given, _parts()[f"{part}data"], strict=True):
            assert ours.dtype == np.uint8
            np.testing.assert_array_equal(ours, theirs)
    (tmp_path / "b.mat.gz").write_bytes(gzip.compress(Path(path).read_bytes()))
    assert len(read_mat(f"{tmp_path}/b.mat.gz")["train"]) == 5


def test_values_may_be_of_any_kind(tmp_path: Path) -> None:
    train = [rolls(1)[0].astype(kind) for kind in (np.float64, np.int16, bool)]
    found = read_mat(mat_of(tmp_path / "a.mat", **_parts(traindata=train)))["train"]
    for one in found:
        np.testing.assert_array_equal(one, rolls(1)[0])


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ([rolls(1)[0], np.zeros((3, 87))], r"traindata, piece 2 must have 88 columns, a key each, got 3 × 87"),
        ([np.zeros((88, 88, 1))[:, :, 0].T[:3].T, rolls(1)[0]], "traindata, piece 1 must have 88 columns, .* 88 × 3"),
        ([rolls(1)[0] * 2, rolls(1)[0]], "traindata, piece 1 must hold 0 and 1 only"),
        ([rolls(1)[0], np.full((3, 88), np.nan)], "traindata, piece 2 must hold 0 and 1 only"),
        ([rolls(1)[0], np.full((3, 88), 1j)], "traindata, piece 2 must hold 0 and 1 only"),
        (["abc", rolls(1)[0]], "traindata, piece 1 must have 88 columns"),
    ],
)
def test_what_is_no_roll_is_named(train: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"^{tmp_path}/a\.mat: {said}"):
        read_mat(mat_of(tmp_path / "a.mat", **_parts(traindata=train)))


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    parts = _parts()
    del parts["validdata"]
    with pytest.raises(DataError, match=r"it has no validdata, but testdata, traindata$"):
        read_mat(mat_of(tmp_path / "a.mat", **parts))
    scipy.io.savemat(tmp_path / "b.mat", {})
    with pytest.raises(DataError, match=r"b\.mat must hold .*: it has no traindata, but nothing$"):
        read_mat(f"{tmp_path}/b.mat")
    scipy.io.savemat(tmp_path / "c.mat", {f"{name}data": np.zeros((4, 88)) for name in ("train", "valid", "test")})
    with pytest.raises(DataError, match=r"c\.mat: traindata must be a row of cells, one a piece"):
        read_mat(f"{tmp_path}/c.mat")


def test_what_is_no_matlab_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    whole = Path(mat_of(tmp_path / "b.mat", **_parts())).read_bytes()
    for content in (b"", b"not a file of MATLAB's " * 20, whole[:200], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.mat (is not a MATLAB file that can be read: .|must hold traindata)"):
            read_mat(str(path))
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512, b" ") + b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(DataError, match=r"a\.mat is of MATLAB's version 7\.3 \(HDF5\): save it with -v7"):
        read_mat(str(path))
    with pytest.raises(DataError, match="there is no"):
        read_mat(str(tmp_path / "c.mat"))
