"""Sequences and labels as a person has them in memory: what they are, and how a run keeps them as files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.data import Content, DataError, Fault, Reading, content_of, label_of

Array = np.ndarray[Any, Any]

ORDERS = ("NT", "NTC", "TNC", "NCT")
"""Of the axes of an array that holds several series."""

_NO_SEQUENCES = (str, bytes, Path, AbstractSet, Mapping)  # but they too have a length
_SHOWN = 60  # characters of a thing that a message shows


def contents_of(x: Any, order: str = "", name: str = "X") -> list[Content]:
    """The sequences: texts, or float32 (T, C), all of as many channels.

    >>> contents_of(["a fine film"])
    ['a fine film']
    >>> [one.shape for one in contents_of([np.zeros((5, 2)), np.zeros((3, 2))])]
    [(5, 2), (3, 2)]
    >>> [one.shape for one in contents_of(np.zeros((3, 7, 2)), "NTC")]
    [(7, 2), (7, 2), (7, 2)]

    Args:
        x: texts or series, each (T,) or (T, C), in a list, an array or a column; or an array of numbers with 2 or 3
            axes.
        order: of these axes, one of `ORDERS`; empty: such an array is refused.
        name: what x is called in a message.

    Raises:
        DataError: it is something else, or there is none, or one cannot be used; the message names it.
    """
    if order and order not in ORDERS:
        raise DataError(f"order must be one of {', '.join(ORDERS)}, or empty; got {order!r}")
    found = [_content(one, f"{name}[{k}]") for k, one in enumerate(_each(x, order, name))]
    if not found:
        raise DataError(f"{name} is empty: there is not one sequence")
    first = _what(found[0])
    for k, one in enumerate(found):
        if _what(one) != first:
            raise DataError(f"{name}[{k}] is {_what(one)}, but {name}[0] is {first}: all must be of one kind")
    return found


def _each(x: Any, order: str, name: str) -> Sequence[Any]:
    """The sequences, one after the other, as they are given."""
    if hasattr(x, "toarray"):
        raise DataError(f"{name} is a sparse matrix, but a sequence has a value at each step: give X.toarray()")
    if isinstance(x, _NO_SEQUENCES) or not (hasattr(x, "__len__") or hasattr(x, "__array__")):
        raise DataError(f"{name} must be a list of sequences, or an array; got {_shown(x)}")
    array = np.asarray(x) if hasattr(x, "__array__") else None
    if array is None or array.ndim == 1:
        return [*x] if array is None else [*array]
    fitting = [one for one in ORDERS if len(one) == array.ndim]
    if not fitting:
        raise DataError(f"{name} must be a list of sequences, or an array of 2 or 3 axes; got {array.shape}")
    if order not in fitting:
        known = " or ".join(f"order={one!r}" for one in fitting)
        meant = "N series, T steps" + (", C channels" if array.ndim == 3 else "")
        raise DataError(
            f"{name} is an array {array.shape}: say what its axes are with {known} ({meant}), or give a list of texts "
            f"or of series, each (T,) or (T, C); got order={order!r}"
        )
    array = _numbers(array, name)
    return [*(array if array.ndim == 2 else array.transpose([order.index(axis) for axis in "NTC"]))]


def _content(held: Any, name: str) -> Content:
    """A text, or a series as float32 (T, C)."""
    try:
        if isinstance(held, str):
            return content_of(str(held))  # NumPy's strings too
        if held is None or (isinstance(held, float) and np.isnan(held)):
            raise Fault("nothing, where a text or a series should be")
        series = _numbers(_array(held), name)
        if series.ndim not in (1, 2):
            raise Fault(f"{_shown(held)}, but a sequence is a text, or a series (T,) or (T, C)")
        return content_of(series[:, None] if series.ndim == 1 else series)
    except Fault as fault:
        raise DataError(f"{name}: {fault}") from None


def _array(held: Any) -> Array:
    try:
        return np.asarray(held)
    except ValueError:
        raise Fault("lists of unlike lengths, but each step of a series has a value of each channel") from None


def _numbers(array: Array, name: str) -> Array:
    """An array of real numbers.

    Raises:
        DataError: it holds something else.
    """
    if array.dtype.kind == "c":
        raise DataError(f"{name}: Complex data not supported, only real numbers")
    if array.dtype.kind == "O":
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{name} must hold numbers: {error}") from None
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} must hold numbers; got an array {array.shape} of {array.dtype}")
    return array


def _what(content: Content) -> str:
    return "a text" if isinstance(content, str) else f"a series of {content.shape[1]} channels"


# Labels.


def labels_of(y: Any, count: int, name: str = "y") -> Array:
    """One label for each sequence, (N,), as it was given.

    Raises:
        DataError: there are more or fewer, or one is missing.
    """
    if isinstance(y, str) or not (hasattr(y, "__len__") or hasattr(y, "__array__")):
        raise DataError(f"{name} must be a list or an array of labels; got {_shown(y)}")
    array = np.asarray(y)
    if array.ndim != 1:
        raise DataError(f"{name} must have one axis, a label for each sequence; got {array.shape}")
    if len(array) != count:
        raise DataError(f"X and {name} must be as many; got {count:,} sequences and {len(array):,} labels")
    if (
        array.dtype.kind in "US"
        and not isinstance(y, np.ndarray)
        and not all(isinstance(one, (str, bytes)) for one in y)
    ):
        array = np.array([*y], object)  # NumPy makes texts of numbers that stand beside texts
    if array.dtype.kind == "c":
        raise DataError(f"{name}: Complex data not supported, only real numbers")
    return array


def numbers_of(y: Any, count: int, name: str = "y") -> Array:
    """One finite number for each sequence, float64 (N,).

    Raises:
        DataError: there are more or fewer, or one is none.
    """
    array = labels_of(y, count, name)
    try:
        numbers = array.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{name} must hold numbers; got {_shown(array.tolist()[0])} (SequenceClassifier learns classes)"
        ) from None
    _refuse(~np.isfinite(numbers), numbers, name)
    return numbers


def classes_of(y: Any, count: int, name: str = "y") -> tuple[Array, list[str], Array]:
    """The different labels in their order, what a file calls each, and which one each sequence has, (N,).

    >>> classes, names, which = classes_of([True, False, True], 3)
    >>> classes.tolist(), names, which.tolist()
    ([False, True], ['false', 'true'], [1, 0, 1])

    Raises:
        DataError: there are more or fewer, one is missing or names no class, or there is one class only.
    """
    array = labels_of(y, count, name)
    _refuse(np.array([*map(_is_missing, array.tolist())], bool), array, name)
    if array.dtype.kind == "f" and (array % 1 != 0).any():
        some = array[array % 1 != 0][0]
        raise DataError(
            f"Unknown label type: {name} holds continuous numbers such as {some}; classes are named by whole numbers, "
            "texts or bools (SequenceRegressor learns numbers)"
        )
    try:
        classes, which = np.unique(array, return_inverse=True)
    except TypeError:
        raise DataError(f"{name} must hold labels of one kind: some cannot be compared with others") from None
    names = [_class_name(one, name) for one in classes.tolist()]
    if len(names) < 2:
        raise DataError(f"{name} holds one class only, {_shown(classes.tolist()[0])}: there must be two at least")
    if len({*names}) < len(names):
        double = next(one for k, one in enumerate(names) if one in names[:k])
        raise DataError(f"{name} has two labels that are both called {double!r} in a file")
    return classes, names, which


def which_of(y: Any, count: int, classes: Array, name: str) -> Array:
    """Which of the classes each sequence has, (N,).

    Raises:
        DataError: one is of another.
    """
    known = {label: k for k, label in enumerate(classes.tolist())}
    found = labels_of(y, count, name).tolist()
    for k, label in enumerate(found):
        if label not in known:
            raise DataError(f"{name}[{k}] is {_shown(label)}, a class of which none was learned from")
    return np.array([known[label] for label in found])


def _class_name(label: Any, name: str) -> str:
    """What a file calls a class."""
    try:
        found = label_of(label, Reading())
    except Fault as fault:
        raise DataError(f"{name}: {fault}") from None
    return str(found)


def _is_missing(label: Any) -> bool:
    """Whether it is none: None, NaN, or what pandas writes for nothing, which is not even equal to itself."""
    try:
        return label is None or bool(label != label)
    except (TypeError, ValueError):
        return True


def _refuse(which: Array, values: Array, name: str) -> None:
    """Refuse labels that are marked."""
    if which.any():
        k = int(which.argmax())
        raise DataError(f"{name}[{k}] is {values[k]}: each sequence must have a finite number or a class")


# Files.


def keep(path: Path, contents: Sequence[Content], labels: Sequence[str] | Sequence[float]) -> Path:
    """Write sequences with their labels into a file: texts as JSON lines, series as arrays.

    Args:
        path: the file, but for the end of its name.

    Returns:
        the whole path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(contents[0], str):
        whole = path.with_suffix(".jsonl")
        with whole.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text, "label": said}) + "\n" for text, said in zip(contents, labels))
    else:
        whole = path.with_suffix(".npz")
        lengths = np.array([len(series) for series in contents])
        np.savez(whole, x=np.concatenate(contents), lengths=lengths, y=np.array(labels))
    return whole


def keep_classes(path: Path, names: Sequence[str], classes: Array) -> None:
    """Write what the labels are whose classes a run knows by name."""
    path.write_text(json.dumps([*zip(names, classes.tolist())]), encoding="ascii")


def kept_classes(path: Path, names: Sequence[str]) -> tuple[Array, list[str]]:
    """The labels and their names in a run, in their order; where none were kept, the names are the labels."""
    if not path.is_file():
        return np.array(names), [*names]
    pairs = json.loads(path.read_bytes())
    return np.array([label for _, label in pairs]), [name for name, _ in pairs]


def _shown(held: Any) -> str:
    text = f"an array {held.shape}" if isinstance(held, np.ndarray) and held.ndim else repr(held)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
