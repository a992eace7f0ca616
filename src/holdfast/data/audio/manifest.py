"""Tables that list recordings: a path in each row, and what is said of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..labelled.example import shown
from ..labelled.roles import usual_column
from ..labelled.rows import open_rows
from ..sources import DataError, is_file

_PATHS = ("path", "file", "audio", "wav", "filename")
_NAMED = 10  # recordings that a message names
_NONE = "there is no recording"


class Entry(NamedTuple):
    """A recording that is listed.

    Attributes:
        where: the row that lists it: "manifest.csv, line 17".
        path: of the recording, as `files` would name it; empty if there is none.
        said: what another column holds, or None.
        fault: why it cannot be used; empty if it can.
    """

    where: str
    path: str
    said: Any = None
    fault: str = ""


def entries(manifest: str, audio: str, named: Sequence[str], said: Callable[[Sequence[str]], str]) -> Iterator[Entry]:
    """The recordings that a table lists; whether they are there is not looked at.

    Args:
        manifest: the table, of any kind that `open_rows` reads.
        audio: the column of paths, or else it is the one that is called `path`, `file`, `audio`, `wav` or `filename`.
        named: all columns that are named.
        said: from the names of the columns, that of what is said of a recording, or nothing.

    Raises:
        DataError: the table cannot be read, or the column is not there or cannot be told.
    """
    rows = open_rows(manifest, named)
    column = usual_column(manifest, rows.names, audio, _PATHS, named, "path of the recording", "--audio")
    other = said(rows.names)
    for place, cells, fault in rows.of([column, other] if other else [column]):
        where = f"{manifest}, {place}"
        path = cells[0].strip() if isinstance(cells[0], str) else ""
        if not path and not fault:
            fault = f"the path of the recording is {shown(cells[0]) if cells[0] else 'missing'}"
        yield Entry(where, beside(manifest, path) if path else "", cells[1] if other else None, fault)


def beside(manifest: str, path: str) -> str:
    """A path in a table, which is relative to the table's folder unless it is a URL or begins at the root.

    >>> beside("data/manifest.csv", "wavs/1.wav"), beside("https://example.org/a/list.tsv", "1.flac")
    ('data/wavs/1.wav', 'https://example.org/a/1.flac')
    >>> beside("zip://deep/list.csv::a.zip", "1.wav"), beside("list.csv", "https://example.org/1.wav")
    ('zip://deep/1.wav::a.zip', 'https://example.org/1.wav')
    """
    if "://" in path or os.path.isabs(path):
        return path
    if "://" not in manifest:
        return os.path.normpath(os.path.join(os.path.dirname(manifest), path))
    inner, chain, outer = manifest.partition("::")  # a table within an archive
    return f"{inner.rpartition('/')[0]}/{path}{chain}{outer}"


def sought(one: Entry) -> Entry:
    """The same, which has a fault if its recording is not there."""
    return one if one.fault or is_file(one.path) else one._replace(fault=f"{_NONE} {one.path!r}")


def present(parts: Mapping[str, Iterable[Entry]], skip: bool) -> dict[str, list[Entry]]:
    """Of each part the same, where those whose recording is not there have a fault.

    Raises:
        DataError: some are not there, and are not to be left out; the message names the first, and says how many.
    """
    found = {name: [sought(one) for one in listed] for name, listed in parts.items()}
    missing = [one for listed in found.values() for one in listed if one.fault.startswith(_NONE)]
    if missing and not skip:
        named = "; ".join(f"{one.path} ({one.where})" for one in missing[:_NAMED])
        more = f"; and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
        are = "1 recording is" if len(missing) == 1 else f"{len(missing):,} recordings are"
        raise DataError(f"{are} not there: {named}{more}; --skip-bad does without them")
    return found


def unheard(path: str, error: Exception) -> str:
    """Why a recording that is listed cannot be used.

    >>> unheard("a.wav", DataError("a.wav cannot be read: it is a folder"))
    "the recording 'a.wav' cannot be read: it is a folder"

    Args:
        path: of the recording.
        error: what came of reading it.
    """
    said = str(error)
    return f"the recording {path!r}{said.removeprefix(path) if said.startswith(path) else f': {said}'}"
