"""Examples from `.npz` files: arrays of many series, with their lengths and labels."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..delimited import listed
from ..sources import DataError, seekable
from .example import Example, Reading, example

Array = np.ndarray[Any, Any]


def from_arrays(path: str, reading: Reading) -> Iterator[Example]:
    """The series of a `.npz` file.

    `x` is (N, T, C), with `lengths` (N,) if series are shorter, or (all steps, C) with `lengths`, which tell series
    apart; `y`, (N,), holds labels. All are in memory at once, as NumPy reads them.

    Raises:
        DataError: the file cannot be read, or an array is missing or of another shape or kind.
    """
    arrays, names = _loaded(path)
    if "x" not in arrays:
        raise DataError(f"{path} must hold an array x, but its arrays are {listed(names)}")
    x, lengths, y = arrays["x"], arrays.get("lengths"), arrays.get("y")
    if x.dtype.kind not in "biuf":
        raise DataError(f"{path}: x must hold numbers, got {x.dtype}")
    if lengths is not None and (lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 0).any()):
        raise DataError(f"{path}: lengths must be (N,), whole numbers from 0 on, got {lengths.dtype} {lengths.shape}")
    series = _series(path, x, lengths)
    if not series:
        raise DataError(f"{path} holds no series")
    if y is None and reading.labelled:
        raise DataError(f"{path} has no labels: there must be an array y, but its arrays are {listed(names)}")
    if y is not None and (y.shape != (len(series),) or y.dtype.kind not in "biufU"):
        raise DataError(f"{path}: y must be ({len(series)},), numbers or texts, got {y.dtype} {y.shape}")
    for k, content in enumerate(series):
        yield example(f"{path}, row {k + 1}", content, None if y is None else y[k].item(), reading)


def _loaded(path: str) -> tuple[dict[str, Array], list[str]]:
    """The arrays that mean something, and the names of all."""
    with seekable(path) as file:
        if not zipfile.is_zipfile(file):
            raise DataError(f"{path} is not a .npz file")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in ("x", "lengths", "y") if name in arrays}, [*arrays]
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{path} is not a .npz file of numbers and texts: {str(error).splitlines()[0]}") from None


def _series(path: str, x: Array, lengths: Array | None) -> list[Array]:
    """The series within x; each (steps, channels)."""
    if x.ndim == 3 and (lengths is None or lengths.shape == (len(x),)):
        steps = x.shape[1]
        if lengths is None:
            return [*x]
        if (lengths > steps).any():
            raise DataError(f"{path}: lengths must be at most {steps}, as x is {x.shape}, got {lengths.max()}")
        return [series[:length] for series, length in zip(x, lengths)]
    if x.ndim == 2 and lengths is not None and lengths.sum() == len(x):
        return np.split(x, np.cumsum(lengths)[:-1])[: len(lengths)]
    beside = "no lengths" if lengths is None else f"lengths {lengths.shape} with the sum {lengths.sum()}"
    raise DataError(
        f"{path}: x must be (N, T, C), alone or with lengths (N,), or (the sum of lengths, C), "
        f"got {x.shape} and {beside}"
    )
