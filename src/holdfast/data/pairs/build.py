"""Pairs of texts as tokens, kept on the disk: what to learn from, choose on and test on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..encodings import Encoding, build_encoding, encoding_from
from ..kept import fingerprint, kept, mapped, name_of, renamed, sha256
from ..labelled.rows import KINDS
from ..labelled.sieve import Sieve
from ..sources import DataError, Told, digests_so_far, each_counted, untold
from ..strings import Strings
from . import dates
from .dialogues import DialogueReading
from .read import Pair, PairReading, is_table

Array = np.ndarray[Any, Any]

_FORMAT = 3  # goes up when the same files would be written otherwise
_SELDOM = 10_000  # texts between two times that somebody is told of them
_SIDES = ("source", "target")
_DATES = {"train": (30_000, 1), "valid": (1_000, 2), "test": (1_000, 3), "given": (1_000, 4)}  # how many, and the seed
_PER_PAIR = 500  # characters that are learned from for each token of the vocabulary that is settled by them …
_LEAST, _MOST = 300, 8000  # … within these


class Ragged(NamedTuple):
    """Sequences of tokens, one after the other.

    >>> Ragged(np.array([3, 1, 2]), np.array([0, 2, 3])).of(1).tolist()
    [2]

    Attributes:
        flat: all tokens, (N,).
        starts: where each sequence begins, and where the last one ends.
    """

    flat: Array
    starts: Array

    def of(self, k: int) -> Array:
        """Sequence k, (T,)."""
        found: Array = self.flat[self.starts[k] : self.starts[k + 1]].astype(np.int64)
        return found


@dataclass(frozen=True)
class TextPairs:
    """Pairs of texts.

    Attributes:
        tokens: of the sources and of the targets.
        texts: the texts themselves, likewise.
        which: those that belong to this part, in its order, (S,).
    """

    tokens: tuple[Ragged, Ragged]
    texts: tuple[Strings, Strings]
    which: Array

    def __len__(self) -> int:
        return len(self.which)

    def source(self, k: int) -> Array:
        """The tokens of source k, (S,)."""
        return self.tokens[0].of(self.which[k])

    def target(self, k: int) -> Array:
        """The tokens of target k, without an end, (T,)."""
        return self.tokens[1].of(self.which[k])

    def source_text(self, k: int) -> str:
        """Source k as it was read."""
        return self.texts[0].of(self.which[k])

    def target_text(self, k: int) -> str:
        """Target k as it was read."""
        return self.texts[1].of(self.which[k])

    @property
    def lengths(self) -> tuple[Array, Array]:
        """How many tokens each source and each target has, (S,)."""
        ours, theirs = (side.starts[self.which + 1] - side.starts[self.which] for side in self.tokens)
        return ours, theirs


@dataclass(frozen=True)
class Pairs:
    """Pairs in their parts.

    Attributes:
        parts: "train", "valid" and perhaps "test"; or "given" alone.
        encodings: of the sources and of the targets; the same one where they share it.
        digest: the SHA-256 of all files.
        notes: what was left out, and why.
    """

    parts: Mapping[str, TextPairs]
    encodings: tuple[Encoding, Encoding]
    digest: str
    notes: tuple[str, ...] = ()

    @property
    def shared(self) -> bool:
        """Whether sources and targets have one vocabulary."""
        return self.encodings[0] is self.encodings[1]


@dataclass(frozen=True)
class PairManner:
    """How files become pairs of sequences.

    Attributes:
        reading: what of the files is read.
        skip_bad: whether what cannot be used is left out and counted; otherwise it is an error.
        level: "bpe", "char", "word", …; see `build_encoding`. Empty: "char" where targets have fewer than two words on
            average, as dates and single words have, else "bpe".
        vocabulary: tokens of a vocabulary at most; 0: one for each 500 characters that are learned from, 300 to 8000.
        shared: whether sources and targets have one vocabulary.
        share: of the pairs that are put aside to choose on, where there are no files for that.
        seed: of the choice of these.
    """

    reading: PairReading | DialogueReading = field(default_factory=PairReading)
    skip_bad: bool = False
    level: str = ""
    vocabulary: int = 0
    shared: bool = True
    share: float = 0.1
    seed: int = 0


def build_pairs(
    sources: Mapping[str, Sequence[str]],
    manner: PairManner,
    folder: Path,
    encodings: tuple[Encoding, Encoding] | None = None,
    told: Told = untold,
) -> Pairs:
    """Read pairs, or take what an earlier call has made of the same files in the same manner.

    `builtin:dates` in place of files is dates in many languages; see `holdfast.data.pairs.dates`. Who learns from it
    and names no other parts chooses and tests on other days.

    Args:
        sources: paths, globs or URLs of the parts "train", "valid" and "test", or of "given" alone; see `read_pairs`.
        manner: how they are read.
        folder: where the pairs are kept; it may hold those of other files.
        encodings: by default they are made of what is learned from.
        told: who is told what is being done.

    Raises:
        DataError: something is not as it must be; the message names the file and the line.
    """
    given = _with_builtin({name: tuple(paths) for name, paths in sources.items() if paths})
    if not given:
        raise DataError("name at least one file of pairs")
    builtin = {name: _DATES[name] for name, paths in given.items() if paths == (dates.NAME,)}
    named = {name: [] if name in builtin else manner.reading.files(paths) for name, paths in given.items()}
    if "given" not in given:  # files that are measured need not be of the kind that was learned from
        _refuse_unread_columns(manner.reading, [*chain(*named.values())] or [dates.NAME])
    # After each file, so that a line that moves from one to the next makes a difference.
    digests = digests_so_far(([path] for paths in named.values() for path in paths), told)
    key = {
        "format": _FORMAT,
        "names": {name: [name_of(path) for path in paths] for name, paths in named.items()},  # they tell the kind
        "digests": digests,
        "builtin": builtin,
        "babel": dates.version() if builtin else "",
        "manner": asdict(manner),
        "encodings": encodings and [fingerprint(one.to_dict()) for one in encodings],
    }

    def read(name: str) -> Iterator[Pair]:
        return _dates(name) if name in builtin else manner.reading.pairs(given[name])

    place, facts = kept(folder, key, lambda where: _write(where, named, read, manner, encodings, told))
    ours = encoding_from(facts["encodings"][0])
    both = (ours, ours) if len(facts["encodings"]) == 1 else (ours, encoding_from(facts["encodings"][1]))

    def part(name: str, stored: str) -> TextPairs:
        tokens = [
            Ragged(mapped(place / f"{stored}-{side}.bin", _dtype(own)), _array(place, f"{stored}-{side}-starts"))
            for side, own in zip(_SIDES, both)
        ]
        texts = [_texts(place, stored, side) for side in _SIDES]
        return TextPairs((tokens[0], tokens[1]), (texts[0], texts[1]), _array(place, f"{name}-which"))

    digest = digests[-1] if digests else hashlib.sha256().hexdigest()
    if builtin:
        digest = fingerprint({"files": digest, **builtin})
    parts = {name: part(name, stored) for name, stored in facts["parts"].items()}
    notes = renamed(facts["notes"], facts["paths"], chain(*named.values()))
    return Pairs(parts, both, digest, tuple(notes))


def _with_builtin(given: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The same, what is learned from first; who learns from what comes with holdfast gets its other parts too."""
    for paths in given.values():
        if dates.NAME in paths and len(paths) > 1:
            raise DataError(f"{dates.NAME} is all that a part holds: name it without other files")
    more = dict.fromkeys(("valid", "test"), (dates.NAME,)) if given.get("train") == (dates.NAME,) else {}
    found = {**more, **given}
    return {name: found[name] for name in _DATES if name in found}


def _refuse_unread_columns(reading: PairReading | DialogueReading, names: Sequence[str]) -> None:
    """Refuse columns that are named where no file is a table."""
    if isinstance(reading, PairReading) and reading.named and not any(is_table(name) for name in names):
        flags = {"--source-column": reading.source, "--target-column": reading.target}
        said = " and ".join(f"{flag} {name}" for flag, name in flags.items() if name)
        raise DataError(f"{said}: only tables have columns ({', '.join(KINDS)}), and {names[0]} is none")


def _dates(name: str) -> Iterator[Pair]:
    count, seed = _DATES[name]
    for k, (written, iso) in enumerate(dates.dates("test" if name == "given" else name, count, seed)):
        yield Pair(f"{dates.NAME}, pair {k + 1}", written, iso, group=k)


def _write(
    place: Path,
    named: Mapping[str, Sequence[str]],
    read: Callable[[str], Iterator[Pair]],
    manner: PairManner,
    encodings: tuple[Encoding, Encoding] | None,
    told: Told,
) -> dict[str, Any]:
    """Write all arrays of the parts, whose files are named; the facts about them."""
    notes: list[str] = []
    which: dict[str, Array] = {}
    stored = {name: name for name in named}
    for name, paths in named.items():
        sieve = Sieve(manner.skip_bad)
        groups = _store(place, name, sieve.through(each_counted(read(name), f"reading {name}", "pairs", told)))
        if not len(groups):
            unit, left = manner.reading.unit, " left" if sieve.notes else ""
            raise DataError(f"there is not one {unit}{left} of the part {name}")
        notes += [*manner.reading.passed_over(paths), *sieve.notes]
        which[name] = np.arange(len(groups))
        if name == "train" and "valid" not in named:
            which["train"], which["valid"] = _split(groups, manner)
            stored = {"train": "train", "valid": "train", **stored}
    for name, chosen in which.items():
        _save(place, f"{name}-which", chosen)
    found = [*encodings] if encodings else _encodings(place, which["train"], manner, told)
    own = [found[0], found[-1]]
    for name in named:
        for side, encoding in zip(_SIDES, own):
            _encode(place, name, side, encoding, told)
    arrays = {path.stem: {"sha256": sha256(path)} for path in sorted(place.glob("*.bin"))}
    same = own[0] is own[1]
    return {
        "arrays": arrays,
        "parts": stored,
        "encodings": [one.to_dict() for one in (own[:1] if same else own)],
        "notes": notes,
        "paths": [*chain(*named.values())],
    }


def _store(place: Path, name: str, pairs: Iterable[Pair]) -> Array:
    """Write the texts as they come; the group of each pair, (S,)."""
    groups: list[int] = []
    ends: tuple[list[int], list[int]] = ([0], [0])
    with (
        (place / f"{name}-source-texts.bin").open("wb") as sources,
        (place / f"{name}-target-texts.bin").open("wb") as targets,
    ):
        for pair in pairs:
            groups.append(pair.group)
            for file, text, its in ((sources, pair.source, ends[0]), (targets, pair.target, ends[1])):
                its.append(its[-1] + file.write(text.encode()))
    for side, its in zip(_SIDES, ends):
        _save(place, f"{name}-{side}-text-starts", np.array(its))
    return np.array(groups, np.int64)


def _split(groups: Array, manner: PairManner) -> tuple[Array, Array]:
    """What to learn from and what to choose on, whole groups; one at least."""
    numbers = np.unique(groups)
    aside = max(1, round(manner.share * len(numbers)))
    if aside >= len(numbers):
        count = f"{len(numbers):,} {manner.reading.unit}{'s' if len(numbers) > 1 else ''}"
        raise DataError(f"of {count} {aside:,} cannot be put aside to choose on: give more, or --valid")
    chosen = np.isin(groups, np.random.default_rng(manner.seed).permutation(numbers)[:aside])
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _encodings(place: Path, which: Array, manner: PairManner, told: Told) -> list[Encoding]:
    """One for both sides or one for each, made of what is learned from."""
    told("collecting the vocabulary")
    texts = [_texts(place, "train", side) for side in _SIDES]
    words = sum(len(texts[1].of(k).split()) for k in which) / len(which)
    level = manner.level or ("char" if words < 2 else "bpe")

    def made(sides: Sequence[Strings]) -> Encoding:
        size = manner.vocabulary
        if level == "bpe" and not size:
            characters = sum(len(side.of(k)) for side in sides for k in which)
            size = min(max(characters // _PER_PAIR, _LEAST), _MOST)
        pieces = (spaced(side.of(k), level) + "\n" for side in sides for k in which)
        return build_encoding(level, pieces, size or None)

    if manner.shared:
        return [made(texts[1:] if manner.reading.targets_say_all else texts)]
    return [made(texts[:1]), made(texts[1:])]


def spaced(text: str, level: str) -> str:
    """A text as it is encoded: for byte pairs with a blank before it, so that its first word is as any other.

    >>> spaced("to be", "bpe"), spaced("to be", "char")
    (' to be', 'to be')
    """
    return f" {text}" if level == "bpe" else text


def _encode(place: Path, name: str, side: str, encoding: Encoding, told: Told) -> None:
    """Write the tokens of texts."""
    texts = _texts(place, name, side)
    ends = [0]
    with (place / f"{name}-{side}.bin").open("wb") as file:
        for k in range(count := len(texts.starts) - 1):
            if k % _SELDOM == 0:
                told(f"encoding {name}: {k:,} of {count:,} texts")
            ids = encoding.encode(spaced(texts.of(k), encoding.level))
            file.write(ids.astype(_dtype(encoding)).tobytes())
            ends.append(ends[-1] + len(ids))
    _save(place, f"{name}-{side}-starts", np.array(ends))


def _texts(place: Path, name: str, side: str) -> Strings:
    letters = mapped(place / f"{name}-{side}-texts.bin", np.dtype("u1"))
    return Strings(letters, _array(place, f"{name}-{side}-text-starts"))


def _dtype(encoding: Encoding) -> np.dtype[Any]:
    return encoding.dtype.newbyteorder("<")


def _save(place: Path, name: str, array: Array) -> None:
    (place / f"{name}.bin").write_bytes(array.astype("<i8").tobytes())


def _array(place: Path, name: str) -> Array:
    return mapped(place / f"{name}.bin", np.dtype("<i8"))
