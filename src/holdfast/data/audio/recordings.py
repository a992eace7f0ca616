"""Recordings and what is said in them, kept on the disk: what to learn from, choose on and test on."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..kept import fingerprint, kept, mapped, sha256
from ..labelled.example import Fault, shown
from ..labelled.roles import usual_column
from ..labelled.rows import KINDS
from ..labelled.sieve import Sieve
from ..sources import DataError, Told, digests_so_far, each_counted, files, suffix, untold
from ..strings import Strings
from . import keypad
from .manifest import Entry, entries, present, unheard
from .sound import common_rate, resampled, sound_blocks

Array = np.ndarray[Any, Any]

_FORMAT = 1  # goes up when the same files would be written otherwise
_TEXTS = ("text", "sentence", "transcript", "transcription")
_SCALE = 32768  # of samples of 16 bits
_KEYPAD = {"train": (2000, 0), "valid": (200, 1), "test": (200, 2), "given": (200, 2)}
"""Of each part how many recordings come with holdfast, and their seed."""


@dataclass(frozen=True)
class Recordings:
    """Sounds, one after the other in a flat array, and what is said in each.

    Attributes:
        flat: samples of 16 bits, (N,).
        starts: where each sound begins, and where the last one ends.
        which: those that belong to this part, in its order, (S,).
        texts: what is said in each.
        names: the path of each, or what it is called.
    """

    flat: Array
    starts: Array
    which: Array
    texts: Strings
    names: Strings

    def __len__(self) -> int:
        return len(self.which)

    @property
    def lengths(self) -> Array:
        """How many samples each has, (S,)."""
        found: Array = self.starts[self.which + 1] - self.starts[self.which]
        return found

    def of(self, k: int) -> Array:
        """Sound k, float32 from −1 to 1, (N,)."""
        at = self.which[k]
        found: Array = self.flat[self.starts[at] : self.starts[at + 1]].astype(np.float32) / _SCALE
        return found

    def text(self, k: int) -> str:
        """What is said in sound k."""
        return self.texts.of(self.which[k])

    def name(self, k: int) -> str:
        """The path of sound k, or what it is called."""
        return self.names.of(self.which[k])


@dataclass(frozen=True)
class Speech:
    """Recordings in their parts.

    Attributes:
        parts: "train", "valid" and perhaps "test"; or "given" alone.
        symbols: the characters of the texts, sorted.
        rate: samples per second of all.
        digest: the SHA-256 of all tables and all recordings.
        notes: what was left out, and why.
    """

    parts: Mapping[str, Recordings]
    symbols: tuple[str, ...]
    rate: int
    digest: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SpeechManner:
    """How tables of recordings are read.

    Attributes:
        audio: the column of paths, which are relative to the table's folder; else the one that is called `path`,
            `file`, `audio`, `wav` or `filename`.
        text: the column of what is said; else the one that is called `text`, `sentence`, `transcript` or
            `transcription`.
        case: whether large letters stay; otherwise all become small ones.
        rate: samples per second that recordings are brought to; 0: the commonest of the first 100, at most 16,000.
        skip_bad: whether what cannot be used is left out and counted; otherwise it is an error.
        share: of the recordings that are put aside to choose on, where there are no files for that.
        seed: of the choice of these.

    Raises:
        DataError: one column has both roles, or the rate is below 0.
    """

    audio: str = ""
    text: str = ""
    case: bool = False
    rate: int = 0
    skip_bad: bool = False
    share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.audio and self.audio == self.text:
            raise DataError(f"the column {self.audio!r} must have one role, got 2")
        if self.rate < 0:
            raise DataError(f"rate must be 0 or samples per second, got {self.rate}")

    @property
    def named(self) -> tuple[str, ...]:
        """All columns that are named."""
        return tuple(name for name in (self.audio, self.text) if name)


def build_speech(
    sources: Mapping[str, Sequence[str]],
    manner: SpeechManner,
    folder: Path,
    symbols: Sequence[str] = (),
    rate: int = 0,
    told: Told = untold,
) -> Speech:
    """Read recordings that tables list, or take what an earlier call has made of the same contents in the same manner.

    `builtin:keypad` in place of tables is dialled numbers, which are synthesised: see `holdfast.data.audio.keypad`. Who
    learns from it and names no other parts chooses and tests on other ones.

    Args:
        sources: paths, globs or URLs of tables of the parts "train", "valid" and "test", or of "given" alone.
        manner: how they are read.
        folder: where the recordings are kept; it may hold those of other tables.
        symbols: characters of the texts; by default those of what is learned from.
        rate: samples per second; by default the manner's.
        told: who is told what is being done.

    Raises:
        DataError: something is not as it must be; the message names the file and the line. Recordings that are not
            there are named all at once.
    """
    given = _with_builtin({name: tuple(paths) for name, paths in sources.items() if paths})
    if not given:
        raise DataError("name at least one table of recordings")
    tables = {name: _tables(paths) for name, paths in given.items()}
    listed = {name: (one for path in paths for one in _listed(path, manner)) for name, paths in tables.items()}
    found = present(listed, manner.skip_bad)
    parts = {name: _part(name, tables[name], found[name], manner) for name in given}
    digests = digests_so_far((part.files for part in parts.values()), told)
    # A rate that was found here is named in a later call for the same recordings.
    manner = replace(manner, rate=rate or manner.rate or next(iter(parts.values())).rate())
    key = {
        "format": _FORMAT,
        "digests": digests,
        "paths": {name: list(paths) for name, paths in given.items()},
        "manner": asdict(manner),
        "symbols": list(symbols),
    }
    place, facts = kept(folder, key, lambda where: _write(where, parts, manner, symbols, told))

    def read(name: str, stored: str) -> Recordings:
        starts, which = _array(place, stored, "starts"), _array(place, name, "which")
        texts, names = (
            Strings(mapped(place / f"{stored}-{what}.bin", np.dtype("u1")), _array(place, stored, f"{what}-starts"))
            for what in ("texts", "names")
        )
        return Recordings(mapped(place / f"{stored}.bin", np.dtype("<i2")), starts, which, texts, names)

    builtin = {name: _KEYPAD[name] for name in given if not tables[name]}
    return Speech(
        {name: read(name, stored) for name, stored in facts["parts"].items()},
        tuple(facts["symbols"]),
        manner.rate,
        fingerprint({"files": digests[-1], **builtin}) if builtin else digests[-1],
        tuple(facts["notes"]),
    )


def spoken(held: Any, case: bool) -> str:
    r"""The text of a recording from what a table holds: composed (NFC), with one blank for whatever is white.

    >>> spoken(" Le\u0301on  sah\n3 ", case=False)
    'léon sah 3'

    Raises:
        Fault: it is no text.
    """
    if held is None or (isinstance(held, float) and math.isnan(held)):
        return ""
    if not isinstance(held, str | int) or isinstance(held, bool):
        raise Fault(f"{shown(held)} is not a text")
    text = " ".join(str(held).split())
    return unicodedata.normalize("NFC", text if case else text.lower())


class _Item(NamedTuple):
    """A recording that is to be written.

    Attributes:
        where: where it stands, or is listed.
        name: its path, or what it is called.
        text: what is said in it.
        blocks: its sound, at a rate, which may raise a fault.
        fault: why it cannot be used; empty if it can.
    """

    where: str
    name: str
    text: str
    blocks: Callable[[int], Iterator[Array]]
    fault: str = ""


class _Part(NamedTuple):
    """What is known of a part before its sounds are read.

    Attributes:
        files: its tables and recordings.
        rate: finds the commonest rate of its sounds.
        items: gives what is to be written, once.
    """

    files: list[str]
    rate: Callable[[], int]
    items: Callable[[], Iterator[_Item]]


def _with_builtin(given: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The same, what is learned from first; who learns from what comes with holdfast gets its other parts too."""
    for paths in given.values():
        if keypad.NAME in paths and len(paths) > 1:
            raise DataError(f"{keypad.NAME} is all that a part holds: name it without other files")
    more = dict.fromkeys(("valid", "test"), (keypad.NAME,)) if given.get("train") == (keypad.NAME,) else {}
    found = {**more, **given}
    return {name: found[name] for name in _KEYPAD if name in found}


def _tables(paths: tuple[str, ...]) -> list[str]:
    """The tables of a part; none of what comes with holdfast."""
    found = [] if paths == (keypad.NAME,) else files(paths)
    for path in found:
        if suffix(path) not in KINDS:
            raise DataError(f"{path} is no table of recordings: {', '.join(KINDS)}, each with .gz or without")
    return found


def _part(name: str, tables: list[str], found: list[Entry], manner: SpeechManner) -> _Part:
    if not tables:
        return _Part([], lambda: keypad.RATE, partial(_dialled, *_KEYPAD[name]))
    recordings = [*dict.fromkeys(one.path for one in found if not one.fault)]
    return _Part([*tables, *recordings], partial(common_rate, recordings), partial(_items, found, name, manner))


def _listed(path: str, manner: SpeechManner) -> Iterator[Entry]:
    def text(names: Sequence[str]) -> str:
        return usual_column(path, names, manner.text, _TEXTS, manner.named, "text", "--text")

    return entries(path, manner.audio, manner.named, text)


def _dialled(count: int, seed: int) -> Iterator[_Item]:
    for k, (samples, digits) in enumerate(keypad.keypad(count, seed), 1):
        blocks = partial(resampled, [samples], keypad.RATE)
        yield _Item(f"{keypad.NAME}, recording {k}", f"keypad-{seed}-{k:04}", digits, blocks)


def _items(found: Iterable[Entry], part: str, manner: SpeechManner) -> Iterator[_Item]:
    """What tables list; in a text that is learned from or chosen on something must be said."""
    for one in found:
        item = _Item(one.where, one.path, "", partial(sound_blocks, one.path), one.fault)
        if not one.fault:
            try:
                item = item._replace(text=spoken(one.said, manner.case))
                if not item.text and part in ("train", "valid"):
                    raise Fault("the text is empty")
            except Fault as fault:
                item = item._replace(fault=str(fault))
        yield item


def _write(
    place: Path,
    parts: Mapping[str, _Part],
    manner: SpeechManner,
    symbols: Sequence[str],
    told: Told,
) -> dict[str, Any]:
    """Write all arrays; the facts about them."""
    notes: list[str] = []
    known = [*symbols]
    which: dict[str, Array] = {}
    for name, part in parts.items():
        sieve = Sieve(manner.skip_bad)
        items = each_counted(part.items(), f"reading {name}", "recordings", told)
        found = _store(place, name, manner.rate, items, sieve, {*known})
        if not found:
            raise DataError(f"there is not one recording{' left' if sieve.notes else ''} of the part {name}")
        if not any(found):
            raise DataError(f"nothing is said in any recording of the part {name}: all texts are empty")
        which[name] = np.arange(len(found))
        notes += sieve.notes
        known = known or sorted(set().union(*found))
    stored = {name: name for name in parts}
    if "train" in which and "valid" not in which:
        which["train"], which["valid"] = _split(len(which["train"]), manner)
        stored = {"train": "train", "valid": "train", **stored}
    for name, chosen in which.items():
        _save(place, name, "which", chosen)
    arrays = {path.stem: {"sha256": sha256(path)} for path in sorted(place.glob("*.bin"))}
    return {"arrays": arrays, "parts": stored, "symbols": known, "notes": notes}


def _store(
    place: Path, name: str, rate: int, items: Iterable[_Item], sieve: Sieve, known: AbstractSet[str]
) -> list[str]:
    """Write sounds as they come, and what is said of them; the texts."""
    texts: list[str] = []
    names: list[str] = []
    ends = [0]
    with (place / f"{name}.bin").open("wb") as file:
        for item in sieve.through(_heard(item, file, rate, known) for item in items):
            texts.append(item.text)
            names.append(item.name)
            ends.append(file.tell() // 2)
    _save(place, name, "starts", np.array(ends))
    for what, strings in (("texts", texts), ("names", names)):
        encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
        (place / f"{name}-{what}.bin").write_bytes(b"".join(encoded))
        _save(place, name, f"{what}-starts", np.cumsum([0, *map(len, encoded)]))
    return texts


def _heard(item: _Item, file: BinaryIO, rate: int, known: AbstractSet[str]) -> _Item:
    """The same, whose sound is written now; nothing is if it has a fault."""
    strange = [symbol for symbol in item.text if known and symbol not in known]
    if strange and not item.fault:
        item = item._replace(fault=f"the symbol {strange[0]!r}, which is in no text that was learned from")
    if item.fault:
        return item
    begin = file.tell()
    try:
        for block in item.blocks(rate):
            samples = np.clip(np.round(block * _SCALE), -_SCALE, _SCALE - 1)
            file.write(samples.astype("<i2").tobytes())
    except (Fault, DataError) as error:
        file.seek(begin)
        file.truncate()
        return item._replace(fault=unheard(item.name, error))
    return item


def _split(count: int, manner: SpeechManner) -> tuple[Array, Array]:
    """What to learn from and what to choose on, one at least."""
    aside = max(1, round(manner.share * count))
    if aside >= count:
        raise DataError(f"of {count:,} recordings {aside:,} cannot be put aside to choose on: give more, or --valid")
    order = np.random.default_rng(manner.seed).permutation(count)
    return np.sort(order[aside:]), np.sort(order[:aside])


def _save(place: Path, name: str, what: str, array: Array) -> None:
    (place / f"{name}-{what}.bin").write_bytes(array.astype("<i8").tobytes())


def _array(place: Path, name: str, what: str) -> Array:
    return mapped(place / f"{name}-{what}.bin", np.dtype("<i8"))
