"""Pieces of music as frames or as events, kept on the disk: what to learn from, choose on and test on."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..kept import fingerprint, kept, mapped, sha256
from ..labelled.example import Fault
from ..labelled.sieve import Sieve
from ..sources import DataError, Told, digests_so_far, each_counted, files, is_folder, suffix, untold
from ..strings import Strings
from . import chorales, rules
from .events import events_of
from .mat import read_mat
from .midi import read_midi
from .roll import KEYS, on_the_piano, roll_of
from .tune import Tune

Array = np.ndarray[Any, Any]

_FORMAT = 1  # goes up when the same files would be written otherwise
_PARTS = ("train", "valid", "test", "given")
_MIDI, _MAT = (".mid", ".midi", ".kar"), ".mat"
_BUILTIN = (chorales.NAME, rules.NAME)
_TUNES = {"train": (400, 0), "valid": (50, 1), "test": (50, 2)}  # how many are made by rules, and their seed
_CHORALES = 20_120_626  # the seed of the order in which chorales belong to parts
_ASIDE = 10  # of them each part but the first has one in so many
_GRIDS = {"frames": 4, "events": 12}
_TYPES: Mapping[str, np.dtype[Any]] = {"frames": np.dtype("u1"), "events": np.dtype("<u2")}
_TEMPO, _METER = 120.0, (4, 4)  # where no piece says one
_COUNT = re.compile(r"(.*): (\d+)")  # a remark that counts


@dataclass(frozen=True)
class Pieces:
    """Pieces of one part.

    >>> flat = np.zeros((5, 88), np.uint8)
    >>> names = Strings(np.frombuffer(b"ab", np.uint8), np.array([0, 1, 2]))
    >>> part = Pieces(flat, np.array([0, 2, 5]), np.array([1]), names)
    >>> len(part), part.of(0).shape, part.name(0)
    (1, (3, 88), 'b')

    Attributes:
        flat: frames, (N, 88) in uint8, or events, (N,) in uint16, of one piece after the other.
        starts: where each piece begins, and where the last one ends.
        which: those that belong to this part, in its order, (S,).
        names: the path of each, or what it is called.
    """

    flat: Array
    starts: Array
    which: Array
    names: Strings

    def __len__(self) -> int:
        return len(self.which)

    @property
    def lengths(self) -> Array:
        """How many frames or events each has, (S,)."""
        found: Array = self.starts[self.which + 1] - self.starts[self.which]
        return found

    def of(self, k: int) -> Array:
        """Piece k: frames, (T, 88) in uint8, or events, (T,) in int64."""
        at = self.which[k]
        found: Array = self.flat[self.starts[at] : self.starts[at + 1]]
        return found.astype(np.uint8 if found.ndim == 2 else np.int64)

    def name(self, k: int) -> str:
        """The path of piece k, or what it is called."""
        return self.names.of(self.which[k])


@dataclass(frozen=True)
class Music:
    """Pieces in their parts.

    Attributes:
        parts: "train", "valid" and perhaps "test"; or "given" alone.
        form: "frames" or "events".
        grid: frames, or steps of a shift, a beat.
        meter: of most pieces that are learned from.
        tempo: beats a minute, the median of what is learned from.
        digest: the SHA-256 of all files.
        notes: what was left out, and why, and what is special.
    """

    parts: Mapping[str, Pieces]
    form: str
    grid: int
    meter: tuple[int, int]
    tempo: float
    digest: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MusicManner:
    """How files become sequences.

    >>> MusicManner(meter="6/8").beats_and_unit
    (6, 8)

    Attributes:
        form: "frames" (which keys are down) or "events" (what a player does, with loudness).
        grid: frames, or steps of a shift, a beat; 0: of frames 4, but 1 of .mat files, and 12 steps.
        meter: "3/4"; empty: that of most pieces, 4/4 of .mat files.
        skip_bad: whether what cannot be used is left out and counted; otherwise it is an error.
        share: of the pieces that are put aside to choose on, where there are no files for that.
        seed: of the choice of these.

    Raises:
        DataError: the form, the grid or the meter is none.
    """

    form: str = "frames"
    grid: int = 0
    meter: str = ""
    skip_bad: bool = False
    share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.form not in _GRIDS:
            raise DataError(f"form must be {' or '.join(map(repr, _GRIDS))}, got {self.form!r}")
        if not 0 <= self.grid <= 480:
            raise DataError(f"grid must be 0, or 1 to 480 parts of a beat, got {self.grid}")
        _ = self.beats_and_unit

    @property
    def beats_and_unit(self) -> tuple[int, int] | None:
        """The meter as numbers, if one is named."""
        if not self.meter:
            return None
        found = re.fullmatch(r"([1-9]\d{0,2})/(1|2|4|8|16|32|64)", self.meter)
        if not found:
            raise DataError(f"meter must be beats of a bar and their unit, as 4/4, 3/4 or 6/8, got {self.meter!r}")
        return int(found[1]), int(found[2])


def default_source() -> str:
    """What is learned from where nothing is named: the chorales that music21 brings, else pieces made by rules.

    >>> default_source().startswith("builtin:")
    True
    """
    return chorales.NAME if chorales.available() else rules.NAME


def build_music(sources: Mapping[str, Sequence[str]], manner: MusicManner, folder: Path, told: Told = untold) -> Music:
    """Read music, or take what an earlier call has made of the same contents in the same manner.

    A source is a MIDI file (.mid, .midi, .kar), a `.mat` file of piano rolls, a folder, glob or URL of such, or alone
    in its part `builtin:chorales` or `builtin:tunes`. Of a `.mat` file, and of what comes with holdfast, a part has
    what belongs to it there, and who learns from it and names no other parts chooses and tests on its other ones.

    Args:
        sources: of the parts "train", "valid" and "test", or of "given" alone, which stands for a test part.
        manner: how they are read.
        folder: where the pieces are kept; it may hold those of other files.
        told: who is told what is being done.

    Raises:
        DataError: something is not as it must be; the message names the file.
    """
    notes: list[str] = []
    named = {part: _files(sources[part], notes) for part in _PARTS if sources.get(part)}
    if not named:
        raise DataError("name at least one file of music")
    plan = _plan(named)
    manner = replace(manner, grid=_grid(manner, [path for wanted in plan.values() for path, _ in wanted]))
    builtin = {part: paths[0] for part, paths in named.items() if paths[0] in _BUILTIN}
    digests = digests_so_far(([path] for paths in named.values() for path in paths if path not in _BUILTIN), told)
    versions = {"music21": chorales.version()} if chorales.NAME in builtin.values() else {}
    key = {
        "format": _FORMAT,
        "plan": plan,  # whose names stand in what is kept
        "digests": digests,
        "versions": versions,
        "manner": asdict(manner),
    }
    place, facts = kept(folder, key, lambda where: _write(where, plan, manner, told))
    digest = digests[-1] if digests else hashlib.sha256().hexdigest()
    if builtin:
        digest = fingerprint({"files": digest, "builtin": builtin, **versions})
    return Music(
        {part: _pieces(place, part, stored, manner.form) for part, stored in facts["parts"].items()},
        manner.form,
        manner.grid,
        (facts["meter"][0], facts["meter"][1]),
        facts["tempo"],
        digest,
        (*notes, *facts["notes"]),
    )


_Plan = Mapping[str, Sequence[tuple[str, str]]]
"""Of each part its files, and which of their own parts is meant where they have some."""


class _Item(NamedTuple):
    """A piece that is to be written.

    Attributes:
        where: what it is called in a message.
        content: its frames or events.
        tune: the piece, if it was not a roll from the beginning.
        fault: why it cannot be used; empty if it can.
    """

    where: str
    content: Array = np.zeros(0)
    tune: Tune | None = None
    fault: str = ""


def _files(patterns: Sequence[str], notes: list[str]) -> list[str]:
    """The files of a part; what a folder holds beside music is passed over and noted."""
    if isinstance(patterns, str):
        raise DataError(f"the files of a part must be a list, got {patterns!r}")
    found: list[str] = []
    for pattern in patterns:
        if pattern in _BUILTIN:
            if len(patterns) > 1:
                raise DataError(f"{pattern} is all that a part holds: name it without other files")
            return [pattern]
        if pattern.startswith("builtin:"):
            raise DataError(f"there is no {pattern}: what comes with holdfast is {' and '.join(_BUILTIN)}")
        matched = files([pattern])
        music = [path for path in matched if suffix(path) in (*_MIDI, _MAT)]
        others = [path for path in matched if suffix(path) not in (*_MIDI, _MAT)]
        kinds = f"{', '.join(_MIDI)} and {_MAT}"
        if is_folder(pattern):
            if not music:
                raise DataError(f"there is no music in the folder {pattern}: {kinds}, each with .gz or without")
            if others:
                count = f"1 file in {pattern} is" if len(others) == 1 else f"{len(others):,} files in {pattern} are"
                notes.append(f"{count} no music and not read")
        elif others:
            raise DataError(f"{others[0]} is no file of music: {kinds}, each with .gz or without")
        found += music
    return [*dict.fromkeys(found)]


def _plan(named: Mapping[str, Sequence[str]]) -> dict[str, list[tuple[str, str]]]:
    """What each part reads; where valid and test files are not named, these parts of what is learned from."""
    plan = {part: [(path, "test" if part == "given" else part) for path in paths] for part, paths in named.items()}
    for part in ("valid", "test"):
        own = [(path, part) for path in named.get("train", ()) if path in _BUILTIN or suffix(path) == _MAT]
        if own and part not in plan:
            plan[part] = own
    return {part: plan[part] for part in _PARTS if part in plan}


def _grid(manner: MusicManner, paths: Sequence[str]) -> int:
    """Frames or steps a beat, for these files."""
    rolls = [path for path in paths if suffix(path) == _MAT]
    if rolls and manner.form == "events":
        raise DataError(f"{rolls[0]}: a {_MAT} file holds frames, which are no events: read it as frames")
    if rolls and not manner.grid and len(rolls) < len(paths):
        raise DataError(f"{rolls[0]} is read together with other files: name a grid, the frames of its beats")
    return manner.grid or (1 if rolls else _GRIDS[manner.form])


def _pieces(place: Path, part: str, stored: str, form: str) -> Pieces:
    flat = mapped(place / f"{stored}.bin", _TYPES[form])
    letters = mapped(place / f"{stored}-names.bin", np.dtype("u1"))
    return Pieces(
        flat.reshape(-1, KEYS) if form == "frames" else flat,
        _array(place, f"{stored}-starts"),
        _array(place, f"{part}-which"),
        Strings(letters, _array(place, f"{stored}-names-starts")),
    )


class _Reader:
    """Reads pieces in a manner; files that have several parts once."""

    def __init__(self, manner: MusicManner, told: Told) -> None:
        self._manner = manner
        self._mat: Callable[[str], dict[str, list[Array]]] = cache(read_mat)
        self._chorales: Callable[[], list[Tune]] = cache(
            lambda: [*each_counted(chorales.chorales(), "reading Bach's chorales", "pieces", told)]
        )

    def items(self, wanted: Iterable[tuple[str, str]]) -> Iterator[_Item]:
        """The pieces of files, of which one part is meant."""
        for path, part in wanted:
            if path == rules.NAME:
                yield from self._builtin(path, rules.tunes(*_TUNES[part]))
            elif path == chorales.NAME:
                yield from self._builtin(path, _share(self._chorales(), part))
            elif suffix(path) == _MAT:
                yield from self._rolls(path, part)
            else:
                yield self._file(path)

    def _builtin(self, name: str, tunes: Iterable[Tune]) -> Iterator[_Item]:
        for k, tune in enumerate(tunes, 1):
            yield self._item(f"{name}, piece {k}" + f" ({tune.name})" * bool(tune.name), tune)

    def _rolls(self, path: str, part: str) -> Iterator[_Item]:
        try:
            rolls = self._mat(path)[part]
        except DataError as error:
            yield _Item(path, fault=_said(path, error))
            return
        for k, roll in enumerate(rolls, 1):
            fault = "" if len(roll) > 1 else "it has fewer than 2 frames"
            yield _Item(f"{path}, {part} piece {k}", roll, fault=fault)

    def _file(self, path: str) -> _Item:
        try:
            return self._item(path, read_midi(path))
        except (Fault, DataError) as error:
            return _Item(path, fault=_said(path, error))

    def _item(self, where: str, tune: Tune) -> _Item:
        heard = on_the_piano(tune)
        if not heard.notes:
            return _Item(where, fault=f"none of its notes is on the piano's {KEYS} keys")
        grid = self._manner.grid
        content = roll_of(heard, grid)[0] if self._manner.form == "frames" else events_of(heard, grid)
        fault = "" if len(content) > 1 else f"it has fewer than 2 {self._manner.form}"
        return _Item(where, content, heard, fault)


def _share(all: Sequence[Tune], part: str) -> list[Tune]:
    """The chorales of a part, which an order that is drawn once says."""
    order = np.random.default_rng(_CHORALES).permutation(len(all))
    aside = len(all) // _ASIDE
    begin, end = {"test": (0, aside), "valid": (aside, 2 * aside), "train": (2 * aside, len(all))}[part]
    return [all[k] for k in sorted(order[begin:end])]


def _said(path: str, error: Exception) -> str:
    """What is wrong with a file that is named before it is said."""
    said = str(error)
    return f"it {said.removeprefix(f'{path} ')}" if said.startswith(f"{path} ") else said.removeprefix(f"{path}: ")


def _write(place: Path, plan: _Plan, manner: MusicManner, told: Told) -> dict[str, Any]:
    """Write all arrays; the facts about them."""
    reader = _Reader(manner, told)
    notes: list[str] = []
    which: dict[str, Array] = {}
    said: dict[str, tuple[Sequence[float], Sequence[tuple[int, int]]]] = {}
    for part, wanted in plan.items():
        sieve, remarks = Sieve(manner.skip_bad, "piece"), _Remarks()
        items = sieve.through(each_counted(reader.items(wanted), f"reading {part}", "pieces", told))
        count, said[part] = _store(place, part, _TYPES[manner.form], items, remarks)
        if not count:
            raise DataError(f"there is not one piece{' left' if sieve.notes else ''} of the part {part}")
        which[part] = np.arange(count)
        notes += [*sieve.notes, *remarks.notes]
    stored = {part: part for part in plan}
    if "train" in which and "valid" not in which:
        which["train"], which["valid"] = _split(len(which["train"]), manner)
        stored = {"train": "train", "valid": "train", **stored}
    for part, chosen in which.items():
        _save(place, f"{part}-which", chosen)
    tempi, meters = said[next(iter(plan))]
    arrays = {path.stem: {"sha256": sha256(path)} for path in sorted(place.glob("*.bin"))}
    return {
        "arrays": arrays,
        "parts": stored,
        "tempo": float(np.median(tempi)) if tempi else _TEMPO,
        "meter": manner.beats_and_unit or (Counter(meters).most_common(1)[0][0] if meters else _METER),
        "notes": notes,
    }


class _Remarks:
    """Remarks on pieces, summed."""

    def __init__(self) -> None:
        self._pieces: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()

    def add(self, remarks: Iterable[str]) -> None:
        """Add those on one piece."""
        for remark in remarks:
            counted = _COUNT.fullmatch(remark)
            kind = counted[1] if counted else remark
            self._pieces[kind] += 1
            self._counts[kind] += int(counted[2]) if counted else 0

    @property
    def notes(self) -> list[str]:
        """One line for each kind."""
        return [
            f"{kind}{f': {self._counts[kind]:,}' * bool(self._counts[kind])} ({count:,} piece{'s' * (count > 1)})"
            for kind, count in self._pieces.items()
        ]


def _store(
    place: Path, part: str, dtype: np.dtype[Any], items: Iterable[_Item], remarks: _Remarks
) -> tuple[int, tuple[list[float], list[tuple[int, int]]]]:
    """Write pieces as they come; how many, and the tempi and the meters of those that say some."""
    names: list[bytes] = []
    ends = [0]
    tempi: list[float] = []
    meters: list[tuple[int, int]] = []
    with (place / f"{part}.bin").open("wb") as file:
        for item in items:
            file.write(item.content.astype(dtype).tobytes())
            ends.append(ends[-1] + len(item.content))
            names.append(item.where.encode("utf-8", "surrogatepass"))
            if item.tune:
                tempi.append(item.tune.tempo)
                meters.append(item.tune.meter)
                remarks.add(item.tune.remarks)
    (place / f"{part}-names.bin").write_bytes(b"".join(names))
    _save(place, f"{part}-names-starts", np.cumsum([0, *map(len, names)]))
    _save(place, f"{part}-starts", np.array(ends))
    return len(names), (tempi, meters)


def _split(count: int, manner: MusicManner) -> tuple[Array, Array]:
    """What to learn from and what to choose on, one at least."""
    aside = max(1, round(manner.share * count))
    if aside >= count:
        pieces = f"{count:,} piece{'s' * (count > 1)}"
        raise DataError(f"of {pieces} {aside:,} cannot be put aside to choose on: give more, or --valid")
    order = np.random.default_rng(manner.seed).permutation(count)
    return np.sort(order[aside:]), np.sort(order[:aside])


def _save(place: Path, name: str, array: Array) -> None:
    (place / f"{name}.bin").write_bytes(array.astype("<i8").tobytes())


def _array(place: Path, name: str) -> Array:
    return mapped(place / f"{name}.bin", np.dtype("<i8"))
