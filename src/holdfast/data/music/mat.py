"""Piano rolls in MATLAB files, as Boulanger-Lewandowski and others published them in 2012."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from holdfast.extras import require

from ..sources import DataError, unpacked
from .roll import KEYS

Array = np.ndarray[Any, Any]

_NAMES = {"train": "traindata", "valid": "validdata", "test": "testdata"}
_HDF5 = b"\x89HDF"  # within the first kilobyte of a file of version 7.3


def read_mat(path: str) -> dict[str, list[Array]]:
    """The rolls of a file, each (T, 88) in uint8, by the part that they belong to: "train", "valid" and "test".

    >>> import tempfile, scipy.io
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cells = np.empty((1, 1), object)
    ...     cells[0, 0] = np.ones((3, 88))
    ...     scipy.io.savemat(f"{folder}/a.mat", dict.fromkeys(("traindata", "validdata", "testdata"), cells))
    ...     {part: [roll.shape for roll in rolls] for part, rolls in read_mat(f"{folder}/a.mat").items()}
    {'train': [(3, 88)], 'valid': [(3, 88)], 'test': [(3, 88)]}

    Args:
        path: the file, as `files` names it.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    contents = b"".join(unpacked(path))
    if _HDF5 in contents[:1024]:
        raise DataError(f"{path} is of MATLAB's version 7.3 (HDF5): save it with -v7")
    scipy_io = require("scipy.io", "music")
    try:
        held = scipy_io.loadmat(io.BytesIO(contents))
    except Exception as error:  # scipy raises whatever bytes that mean nothing lead to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is not a MATLAB file that can be read: {reason[:100]}") from None
    missing = [name for name in _NAMES.values() if name not in held]
    if missing:
        others = ", ".join(sorted(name for name in held if not name.startswith("__"))) or "nothing"
        raise DataError(f"{path} must hold {', '.join(_NAMES.values())}: it has no {missing[0]}, but {others}")
    return {part: _rolls(path, name, held[name]) for part, name in _NAMES.items()}


def _rolls(path: str, name: str, cells: Any) -> list[Array]:
    if not isinstance(cells, np.ndarray) or cells.dtype != object or cells.ndim != 2 or 1 not in cells.shape:
        raise DataError(f"{path}: {name} must be a row of cells, one a piece")
    return [_roll(f"{path}: {name}, piece {k}", cell) for k, cell in enumerate(cells.ravel(), 1)]


def _roll(where: str, cell: Any) -> Array:
    """A roll, (T, 88), from what a cell holds."""
    if not isinstance(cell, np.ndarray) or cell.ndim != 2 or cell.shape[1] != KEYS:
        got = " × ".join(map(str, cell.shape)) if isinstance(cell, np.ndarray) else type(cell).__name__
        raise DataError(f"{where} must have {KEYS} columns, a key each, got {got}")
    if cell.dtype.kind not in "buif" or not np.isin(cell, (0, 1)).all():
        raise DataError(f"{where} must hold 0 and 1 only")
    return cell.astype(np.uint8)
