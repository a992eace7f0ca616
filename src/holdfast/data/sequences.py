"""Ragged sequences with what is said of each, kept on the disk: what to learn from, choose on and test on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from .audio import Mel, common_rate
from .encodings import Encoding, build_encoding, encoding_from
from .kept import fingerprint, kept, mapped, name_of, renamed, sha256
from .labelled import Example, Kind, Reading, Sieve, examples, recordings
from .sources import DataError, Told, digests_so_far, each_counted, files, is_folder, untold
from .strings import Strings

Array = np.ndarray[Any, Any]

_FORMAT = 2  # goes up when the same files would be written otherwise
_SELDOM = 10_000  # texts between two times that somebody is told of them
_FEW = 2  # examples of a class, of which one is put aside to choose on
_TYPES = {"starts": "<i8", "text-starts": "<i8", "texts": "u1", "said": "<f8", "which": "<i8"}


@dataclass(frozen=True)
class Sequences:
    """Sequences, one after the other in a flat array.

    >>> some = Sequences(np.array([3, 1, 2]), np.array([0, 2, 3]), np.array([1.0, 0.0]), np.array([1, 0]))
    >>> len(some), some.of(0).tolist(), some.of(1).tolist(), some.said.tolist()
    (2, [2], [3, 1], [0.0, 1.0])

    Attributes:
        flat: tokens (N,), or float32 (N, C), NaN where missing.
        starts: where each begins, and where the last one ends.
        numbers: of each the number of its class, or what is said of it; NaN where nothing is.
        which: those that belong to this part, in its order, (S,).
        texts: the texts themselves; None for series.
    """

    flat: Array
    starts: Array
    numbers: Array
    which: Array
    texts: Strings | None = None

    def __len__(self) -> int:
        return len(self.which)

    @property
    def lengths(self) -> Array:
        """How many steps each has, (S,)."""
        found: Array = self.starts[self.which + 1] - self.starts[self.which]
        return found

    @property
    def said(self) -> Array:
        """Of each the number of its class, or its number, (S,)."""
        found: Array = self.numbers[self.which]
        return found

    def of(self, k: int) -> Array:
        """Sequence k, (T,) or (T, C)."""
        at = self.which[k]
        found: Array = self.flat[self.starts[at] : self.starts[at + 1]]
        return found

    def text(self, k: int) -> str:
        """Text k as it was read."""
        assert self.texts is not None
        return self.texts.of(self.which[k])


@dataclass(frozen=True)
class Labelled:
    """Sequences in their parts.

    Attributes:
        parts: "train", "valid" and perhaps "test"; or "given" alone.
        classes: their names, in the order of their numbers; none where numbers are said.
        encoding: how texts became tokens; None for series.
        channels: of series; 0 for texts.
        digest: the SHA-256 of all files.
        notes: what was left out, and why.
        mel: how recordings became series; None if there are none.
    """

    parts: Mapping[str, Sequences]
    classes: tuple[str, ...]
    encoding: Encoding | None
    channels: int
    digest: str
    notes: tuple[str, ...] = ()
    mel: Mel | None = None


@dataclass(frozen=True)
class Manner:
    """How files become sequences.

    Attributes:
        reading: what of the files is read.
        skip: whether what cannot be used is left out and counted; otherwise it is an error.
        level: of the encoding of texts; see `build_encoding`.
        vocabulary: tokens of a vocabulary at most; 0: as many as there are.
        share: of the examples of each class that are put aside to choose on, where there are no files for that.
        seed: of the choice of these.
    """

    reading: Reading
    skip: bool = False
    level: str = "prose"
    vocabulary: int = 0
    share: float = 0.1
    seed: int = 0


def build_labelled(
    sources: Mapping[str, Sequence[str]],
    manner: Manner,
    folder: Path,
    encoding: Encoding | None = None,
    classes: Sequence[str] = (),
    kind: Kind | None = None,
    told: Told = untold,
) -> Labelled:
    """Read labelled files, or take what an earlier call has made of the same contents in the same manner.

    Args:
        sources: paths, folders, globs or URLs of the parts "train", "valid" and "test", or of "given" alone.
        manner: how they are read.
        folder: where the sequences are kept; it may hold those of other files.
        encoding: of texts; by default one is made of what is learned from.
        classes: by default those of what is learned from.
        kind: of the sequences; by default that of the first part, where values may be missing.
        told: who is told what is being done.

    Raises:
        DataError: something is not as it must be; the message names the file and the line.
    """
    given = {name: tuple(paths) for name, paths in sources.items() if paths}
    heard = recordings(given, manner.reading, manner.skip)
    digests = digests_so_far(([*dict.fromkeys([*files(paths), *heard[name]])] for name, paths in given.items()), told)
    read = replace(manner, reading=_with_mel(manner.reading, heard.get("train", [])))
    key = {
        "format": _FORMAT,
        "digests": digests,
        "names": {name: _names(paths) for name, paths in given.items()},  # a folder's name may be a class
        "manner": asdict(manner),
        "encoding": encoding and fingerprint(encoding.to_dict()),
        "classes": list(classes),
        "kind": kind and asdict(kind),
    }
    place, facts = kept(folder, key, lambda where: _write(where, given, read, encoding, classes, kind, told))
    encoded = encoding_from(facts["encoding"]) if facts["encoding"] else None

    def part(name: str, stored: str) -> Sequences:
        dtype = np.dtype("<f4") if encoded is None else encoded.dtype.newbyteorder("<")
        flat = mapped(place / f"{stored}.bin", dtype)
        starts, said, which = (
            _array(place, *where) for where in ((stored, "starts"), (stored, "said"), (name, "which"))
        )
        if encoded is None:
            return Sequences(flat.reshape(-1, facts["channels"]), starts, said, which)
        return Sequences(flat, starts, said, which, _texts(place, stored))

    parts = {name: part(name, stored) for name, stored in facts["parts"].items()}
    return Labelled(
        parts,
        tuple(facts["classes"]),
        encoded,
        facts["channels"],
        digests[-1],
        tuple(renamed(facts["notes"], facts["paths"], chain(*given.values()))),
        Mel(**facts["mel"]) if facts["mel"] else None,
    )


def _names(paths: Sequence[str]) -> list[str]:
    """What the files are called, wherever they lie."""
    return [name_of(name, path if is_folder(path) else "") for path in paths for name in files([path])]


def _with_mel(reading: Reading, learned: Sequence[str]) -> Reading:
    """The same, where it is settled how the recordings that are learned from become frames."""
    return replace(reading, mel=Mel(common_rate(learned))) if learned and reading.mel is None else reading


def _write(
    place: Path,
    given: Mapping[str, tuple[str, ...]],
    manner: Manner,
    encoding: Encoding | None,
    classes: Sequence[str],
    kind: Kind | None,
    told: Told,
) -> dict[str, Any]:
    """Write all arrays; the facts about them."""
    notes: list[str] = []
    labels: dict[str, list[Any]] = {}
    numeric = manner.reading.numeric
    known = [] if numeric else list(classes)
    for name, paths in given.items():
        sieve = Sieve(manner.skip)
        fitting = sieve.through(_fitting(examples(paths, manner.reading), kind, known))
        found = each_counted(fitting, f"reading {name}", "examples", told)
        labels[name], channels = _store(place, name, found)
        if not labels[name]:
            raise DataError(f"{paths[0]}: there is not one example{' left' if sieve.notes else ''}")
        notes += sieve.notes
        kind = kind or Kind(channels)
        if not numeric and not known:
            known = _classes(labels[name])
    which = {name: np.arange(len(said)) for name, said in labels.items()}
    parts = {name: name for name in given}
    if "train" in which and "valid" not in which:
        which["train"], which["valid"] = _split(which["train"], labels["train"], manner, notes)
        parts = {"train": "train", "valid": "train", **parts}
    number = {name: k for k, name in enumerate(known)}
    for name, said in labels.items():
        numbers = [np.nan if one is None else one if numeric else number.get(one, np.nan) for one in said]
        _save(place, name, "said", np.array(numbers))
    for name, chosen in which.items():
        _save(place, name, "which", chosen)
    if not channels:
        encoding = encoding or _encoding(place, which["train"], manner, told)
        for name in given:
            _encode(place, name, encoding, told)
    else:
        encoding = None
    arrays = {path.stem: {"sha256": sha256(path)} for path in sorted(place.glob("*.bin"))}
    return {
        "arrays": arrays,
        "parts": parts,
        "classes": known,
        "channels": channels,
        "encoding": encoding and encoding.to_dict(),
        "notes": notes,
        "paths": [*chain(*given.values())],
        "mel": manner.reading.mel and asdict(manner.reading.mel),
    }


def _fitting(found: Iterable[Example], kind: Kind | None, classes: Sequence[str]) -> Iterator[Example]:
    """The same, where those that a model cannot read, or of whose class it knows nothing, have a fault."""
    known = {None, *classes}
    for one in found:
        fault = kind.fault_of(one.content) if kind and one.content is not None else ""
        if classes and one.label not in known:
            fault = fault or f"the class {one.label!r}, of which none was learned from"
        yield one._replace(content=None, fault=fault) if fault and not one.fault else one


def _store(place: Path, name: str, found: Iterator[Example]) -> tuple[list[Any], int]:
    """Write what is read as it comes; what is said of each, and how many channels there are, 0 of texts."""
    labels: list[Any] = []
    ends = [0]
    channels = 0
    with (place / f"{name}.bin").open("wb") as series, (place / f"{name}-texts.bin").open("wb") as texts:
        for one in found:
            labels.append(one.label)
            if isinstance(one.content, str):
                ends.append(ends[-1] + texts.write(one.content.encode("utf-8", "surrogatepass")))
            else:
                assert one.content is not None
                channels = one.content.shape[1]
                series.write(np.ascontiguousarray(one.content, "<f4").tobytes())
                ends.append(ends[-1] + len(one.content))
    _save(place, name, "starts" if channels else "text-starts", np.array(ends))
    (place / (f"{name}-texts.bin" if channels else f"{name}.bin")).unlink()
    return labels, channels


def _classes(labels: Sequence[Any]) -> list[str]:
    """The classes of labels: in the order of their numbers if they are numbers, else of their names."""
    found = {label for label in labels if label is not None}
    if len(found) < 2:
        only = f", {next(iter(found))!r}" if found else ""
        raise DataError(f"there must be two classes at least, but there is only one{only}")

    def order(name: str) -> tuple[bool, float, str]:
        try:
            return False, float(name), name
        except ValueError:
            return True, 0.0, name

    return sorted(found, key=order)


def _split(which: Array, labels: Sequence[Any], manner: Manner, notes: list[str]) -> tuple[Array, Array]:
    """What to learn from and what to choose on: a share of each class, one at least; of numbers, a share of all."""
    draw = np.random.default_rng(manner.seed)
    groups: dict[Any, list[int]] = {}
    for k in which:
        groups.setdefault(None if manner.reading.numeric else labels[k], []).append(int(k))
    chosen: list[int] = []
    lone = 0
    for members in groups.values():
        if len(members) < _FEW:
            lone += 1
            continue
        chosen += draw.permutation(members)[: max(1, round(manner.share * len(members)))].tolist()
    if lone:
        notes.append(f"classes with one example only, which is learned from and not chosen on: {lone:,}")
    if not chosen and lone > _FEW:
        raise DataError(
            f"each of the {lone:,} classes has one example only, the first is {next(iter(groups))!r}: such labels name "
            "no classes; numbers are learned with regress"
        )
    if not chosen:
        raise DataError("there are too few examples to put some aside to choose on: give more, or --valid")
    return np.setdiff1d(which, chosen), np.array(sorted(chosen))


def _encoding(place: Path, which: Array, manner: Manner, told: Told) -> Encoding:
    """One that is made of what is learned from."""
    told("collecting the vocabulary")
    texts = _texts(place, "train")
    pieces = (texts.of(k) + "\n" for k in which)
    return build_encoding(manner.level, pieces, manner.vocabulary or None)


def _encode(place: Path, name: str, encoding: Encoding, told: Told) -> None:
    """Write the tokens of texts."""
    texts = _texts(place, name)
    ends = [0]
    with (place / f"{name}.bin").open("wb") as file:
        for k in range(count := len(texts.starts) - 1):
            if k % _SELDOM == 0:
                told(f"encoding {name}: {k:,} of {count:,} texts")
            ids = tokens_of(texts.of(k), encoding)
            file.write(ids.astype(encoding.dtype.newbyteorder("<")).tobytes())
            ends.append(ends[-1] + len(ids))
    _save(place, name, "starts", np.array(ends))


def tokens_of(text: str, encoding: Encoding) -> Array:
    """The tokens of a text, one at least: the unknown one, or the first, where there would be none."""
    ids = encoding.encode(text)
    return ids if len(ids) else np.array([encoding.unknown or 0])


def _texts(place: Path, name: str) -> Strings:
    return Strings(_array(place, name, "texts"), _array(place, name, "text-starts"))


def _save(place: Path, name: str, what: str, array: Array) -> None:
    (place / f"{name}-{what}.bin").write_bytes(array.astype(_TYPES[what]).tobytes())


def _array(place: Path, name: str, what: str) -> Array:
    return mapped(place / f"{name}-{what}.bin", np.dtype(_TYPES[what]))
