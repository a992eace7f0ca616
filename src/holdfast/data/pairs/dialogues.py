"""Dialogues from files, as pairs of what was said before and what was replied."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar, NamedTuple

from ..labelled.example import shown
from ..sources import DataError, below, files, numbered, suffix, text_within, unpacked
from .read import Pair, sentence

_TURN_ENDS = "__eou__"
_TURNS = ("turns", "dialog", "dialogue", "utterances", "messages", "conversation")
_TEXTS, _SPEAKERS = ("text", "content", "utterance", "value"), ("speaker", "role", "from", "name")
_NAMED = re.compile(r"([^\s:][^:]{0,40}?) ?:(?: (.*))?")  # a line of a play: who, and what
_WORDS = 3  # that a name has at most
_OFTEN = 2  # lines of a file that begin with a name at least
_OF_TEN = 9  # lines of a dialogue that begin as if with names, of each ten
_OBJECTS, _TEXT, _ZIP = (".jsonl", ".ndjson", ".json"), (".txt", ""), ".zip"


class _Turn(NamedTuple):
    """What somebody says; nobody, where speakers are not named and take turns."""

    speaker: str
    text: str


@dataclass(frozen=True)
class DialogueReading:
    """How dialogues become pairs.

    Attributes:
        context: how many turns before a reply are read.

    Raises:
        DataError: there must be one at least.
    """

    context: int = 3
    unit: ClassVar[str] = "dialogue"  # what is put aside whole
    targets_say_all: ClassVar[bool] = True  # the first turn of a dialogue is a reply to nothing

    def __post_init__(self) -> None:
        if self.context < 1:
            raise DataError(f"context must be at least 1; got {self.context}")

    def files(self, patterns: Sequence[str]) -> list[str]:
        """The files that paths, folders, globs and URLs stand for, each once."""
        return files(patterns)

    def passed_over(self, paths: Sequence[str]) -> list[str]:
        """A note for each `.zip` of which files are not read that dialogues could be read from."""
        found = []
        for path in files(paths):
            over = _of_zip(path)[1] if suffix(path) == _ZIP else []
            if over:
                said = f"{over[0]} was" if len(over) == 1 else f"{len(over):,} files were"
                which = "" if len(over) == 1 else f" (the first is {over[0]})"
                found.append(f"{path}: {said} passed over, without {_TURN_ENDS}{which}")
        return found

    def pairs(self, paths: Sequence[str]) -> Iterator[Pair]:
        """Each turn with those before it, the first of a dialogue with none; a dialogue is a group.

        Files may be JSON lines with a list of turns in each, texts or objects that name their speakers; text with
        `__eou__` after each turn and a dialogue in each line; or text with a turn in each line, with or without
        "NAME: " before it, and an empty line between dialogues. They may be packed (`.gz`), or lie in a `.zip`, of
        which text without `__eou__` is passed over if there is a file with it, or one of JSON lines.

        What begins a line like "NAME: ", with three words at most that are not of digits alone, is a name if it begins
        another line of the file too, if nine of ten lines of the dialogue begin like that, and if for half of them
        that is a name. All other lines are turns as they stand.

        Raises:
            DataError: a file is not there, is empty, or of no such kind.
        """
        number = count()
        for path in _members(paths):
            found = _from_objects(path) if suffix(path) in _OBJECTS else _from_text(path)
            for where, turns, fault in found:
                group = next(number)
                if fault:
                    yield Pair(where, "", "", fault, group)
                    continue
                said = [turn.text for turn in turns]
                for k, reply in enumerate(said):
                    yield Pair(where, context_of(said[max(0, k - self.context) : k]), reply, group=group)


def context_of(turns: Sequence[str]) -> str:
    r"""Turns as one source.

    >>> context_of(["Hi .", "Hello !"])
    'Hi .\n Hello !'
    """
    return "\n ".join(turns)


_Found = tuple[str, list[_Turn], str]  # where it stands, its turns, and why it cannot be used


def _members(paths: Sequence[str]) -> Iterator[str]:
    """The files that hold dialogues."""
    for path in files(paths):
        if suffix(path) != _ZIP:
            if suffix(path) not in (*_OBJECTS, *_TEXT):
                kinds = ", ".join(kind for kind in (*_OBJECTS, *_TEXT, _ZIP) if kind)
                raise DataError(f"{path} is of no kind that dialogues are read from: {kinds}")
            yield path
            continue
        yield from _of_zip(path)[0]


def _of_zip(path: str) -> tuple[list[str], list[str]]:
    """The files of a `.zip` that hold dialogues, and what those are called there that are passed over for them."""
    inside = {name: file for name, file in below(f"zip://::{path}") if suffix(file) in (*_OBJECTS, *_TEXT)}
    if not inside:
        raise DataError(f"{path} has no text or JSON lines in it")
    marked = {name: file for name, file in inside.items() if suffix(file) in _OBJECTS or _marked(file)}
    taken = marked or inside
    return [*taken.values()], [name for name in inside if name not in taken]


def _marked(path: str) -> bool:
    """Whether a file, of any encoding, has the end of a turn near its beginning."""
    return _TURN_ENDS.encode() in next(unpacked(path), b"")


def _from_text(path: str) -> Iterator[_Found]:
    """Dialogues of a text file."""
    names = _names(path)
    block: list[str] = []
    begin, empty = 0, True
    for number, line in numbered(text_within(path)):
        if _TURN_ENDS in line:
            *turns, rest = (sentence(part) for part in line.split(_TURN_ENDS))
            yield _judged(f"{path}, line {number}", [_Turn("", turn) for turn in (*turns, *filter(None, [rest]))])
            empty = False
        elif line.strip():
            block.append(sentence(line))
            begin, empty = begin or number, False
        elif block:
            yield _judged(f"{path}, line {begin}", _spoken(block, names))
            block, begin = [], 0
    if block:
        yield _judged(f"{path}, line {begin}", _spoken(block, names))
    if empty:
        raise DataError(f"{path} is empty")


def _names(path: str) -> set[str]:
    """What begins several lines of a text file as a name does."""
    lines = (sentence(line) for _, line in numbered(text_within(path)) if _TURN_ENDS not in line)
    found = Counter(turn.speaker for line in lines if (turn := _named(line)))
    return {name for name, times in found.items() if times >= _OFTEN}


def _named(line: str) -> _Turn | None:
    """The turn of a line that begins as if with a name."""
    found = _NAMED.fullmatch(line)
    if not found or len(found[1].split()) > _WORDS or found[1].replace(" ", "").isdecimal():
        return None
    return _Turn(found[1], found[2] or "")


def _spoken(block: Sequence[str], names: set[str]) -> list[_Turn]:
    """The turns of a dialogue with one in each line: without their names, if those are names."""
    read = [_named(line) for line in block]
    alike = sum(turn is not None for turn in read)
    known = sum(turn is not None and turn.speaker in names for turn in read)
    played = 10 * alike >= _OF_TEN * len(block) and 2 * known >= len(block)
    return [turn if played and turn and turn.speaker in names else _Turn("", line) for turn, line in zip(read, block)]


def _from_objects(path: str) -> Iterator[_Found]:
    """Dialogues of JSON lines."""
    empty = True
    for number, line in numbered(text_within(path)):
        if not line.strip():
            continue
        empty, where = False, f"{path}, line {number}"
        try:
            held = json.loads(line)
            if "\\u" in line:
                json.dumps(held, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            yield where, [], "half of a pair of surrogates, which is no character"
            continue
        except (ValueError, RecursionError) as error:
            yield where, [], f"not JSON: {error}"
            continue
        turns = held if isinstance(held, list) else _held(held, _TURNS)
        if not isinstance(turns, list):
            yield where, [], f"{shown(line.strip())} has no list of turns: {', '.join(_TURNS)}"
            continue
        read = [_turn(each) for each in turns]
        wrong = [each for each, turn in zip(turns, read) if turn is None]
        if wrong:
            yield where, [], f"{shown(wrong[0])} is no turn: a text, or an object with {', '.join(_TEXTS)}"
        else:
            yield _judged(where, [turn for turn in read if turn is not None])
    if empty:
        raise DataError(f"{path} is empty")


def _turn(held: Any) -> _Turn | None:
    if isinstance(held, str):
        return _Turn("", sentence(held))
    text, speaker = _held(held, _TEXTS), _held(held, _SPEAKERS)
    return _Turn("" if speaker is None else str(speaker), sentence(text)) if isinstance(text, str) else None


def _held(held: Any, names: Sequence[str]) -> Any:
    """What an object holds under the first of some names that it has; None of something else."""
    return next((held[name] for name in names if name in held), None) if isinstance(held, dict) else None


def _judged(where: str, turns: list[_Turn]) -> _Found:
    """A dialogue whose turns are those of different speakers, and why it cannot be used, if so."""
    empty = next((k for k, turn in enumerate(turns, 1) if not turn.text), 0)
    if empty:
        return where, turns, f"turn {empty} is empty"
    together = _together(turns)
    return where, together, "" if len(together) > 1 else f"a dialogue needs two turns, and has {len(together)}"


def _together(turns: Sequence[_Turn]) -> list[_Turn]:
    """The same, where what one speaker says in a row is one turn."""
    found: list[_Turn] = []
    for turn in turns:
        if found and turn.speaker and turn.speaker == found[-1].speaker:
            found[-1] = _Turn(turn.speaker, f"{found[-1].text} {turn.text}")
        else:
            found.append(turn)
    return found
