"""Where text comes from: files, folders, globs and URLs, read piece by piece, and the text every Python brings."""

from __future__ import annotations

import codecs
import difflib
import gzip
import hashlib
import io
import os
import posixpath
import stat
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import chain
from typing import Any, BinaryIO, cast

from holdfast.extras import MissingExtra, require

from .charsets import UTF_8, charset, looks_like, mark_of

BUILTIN = "builtin:python-docs"
_PACKED = ".gz"
_PIECE = 1 << 18  # bytes read at a time: small enough for the processor's cache, large enough that a call costs nothing
_BEFORE = 1 << 10  # bytes before one that does not fit which help to tell the encoding
_within: ContextVar[tuple[str, ...]] = ContextVar("within", default=())  # folders beside which nothing is opened


class DataError(ValueError):
    """Data that is not there, cannot be read, or is not what it is taken for."""


def files(patterns: Sequence[str]) -> list[str]:
    """The files that paths, folders, globs and URLs stand for, each once.

    A folder stands for all files in it and below, a glob for the files it matches; both sorted, without hidden ones.

    >>> files(["builtin:python-docs"])
    ['builtin:python-docs']

    Args:
        patterns: local paths, or URLs that fsspec knows.

    Raises:
        DataError: something is not there, or stands for no file.
    """
    if isinstance(patterns, str | os.PathLike):
        raise DataError(f"patterns must be a list of paths, got one path, {os.fspath(patterns)!r}")
    found = list(dict.fromkeys(name for pattern in patterns for name in _matched(pattern)))
    for name in found:
        _refuse_unwritable(name)
    return found


@contextmanager
def within(*folders: str | os.PathLike[str]) -> Iterator[None]:
    """Open nothing but files of some folders while the context lasts: no path outside, no URL, no archive.

    >>> with within("data"):
    ...     is_file("/etc/passwd")
    Traceback (most recent call last):
        ...
    holdfast.data.sources.DataError: /etc/passwd lies outside of data

    Args:
        folders: what lies in them or below, links followed, may be opened.
    """
    before = _within.set(tuple(os.fspath(folder) for folder in folders))
    try:
        yield
    finally:
        _within.reset(before)


def chunks(path: str, size: int = _PIECE) -> Iterator[str]:
    """The text of a file in pieces: newlines as they are, without a byte order mark.

    >>> next(chunks("builtin:python-docs", 18))
    'The "assert" state'

    Args:
        path: the file, as `files` names it.
        size: how many bytes are read at a time.

    Raises:
        DataError: the file cannot be read, or is not UTF-8 text.
    """
    return decoded(path, blocks(path, size))


def decoded(path: str, contents: Iterable[bytes]) -> Iterator[str]:
    """The text that bytes of a file are, in pieces.

    >>> [*decoded("a.txt", ["naïve".encode()[:3], "naïve".encode()[3:]])]
    ['na', 'ïve']

    Args:
        path: what the file is called in a message.
        contents: its bytes, in pieces.

    Raises:
        DataError: they are not text of the encoding that is read, UTF-8 or another (see `reading_as`).
    """
    kind = charset()
    decoder = codecs.getincrementaldecoder(kind)()
    done, line, started = 0, 1, False
    for block in chain(contents, [b""]):  # and then the end
        if done == 0 and kind == UTF_8 and (other := mark_of(block)):
            raise _not_text(path, kind, f"it begins like {other.upper()}: --encoding {other} reads it")
        if b"\0" in block and kind == UTF_8:
            raise _not_text(path, kind, f"byte {done + block.index(0)} is NUL{_hint(block)}")
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            if not block:
                raise _not_text(path, kind, "it ends within a character") from None
            line += error.object[: error.start].decode(kind, "ignore").count("\n")
            hint = _hint(error.object[max(0, error.start - _BEFORE) :]) if kind == UTF_8 else ""
            raise _not_text(path, kind, f"line {line:,} is not{hint}") from None
        if kind != UTF_8 and "\0" in text:
            raise _not_text(path, kind, f"line {line + text[: text.index(chr(0))].count(chr(10)):,} has a NUL")
        done += len(block)
        line += text.count("\n")
        if text and not started:
            text, started = text.removeprefix("\ufeff"), True
        if text:
            yield text


def text_of_files(paths: Sequence[str]) -> Iterator[str]:
    """The text of files in pieces, one file after the other with nothing between them.

    >>> sum(len(piece) for piece in text_of_files(["builtin:python-docs"])) == len(builtin_text())
    True

    Raises:
        DataError: a file cannot be read, is not UTF-8 text, or they are all empty.
    """
    empty = True
    for path in paths:
        for piece in chunks(path):
            yield piece
            empty = False
    if empty:
        raise _empty(paths)


def lines(paths: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    """The lines of files: the file's name, the line's number from 1 on, and its text without the newline.

    A carriage return before the newline stays, as in all text that is read.

    >>> name, number, text = next(lines(["builtin:python-docs"]))
    >>> number, text
    (1, 'The "assert" statement')

    Raises:
        DataError: as for `text_of_files`.
    """
    empty = True
    for path in paths:
        for number, line in numbered(chunks(path)):
            yield path, number, line
            empty = False
    if empty:
        raise _empty(paths)


def numbered(pieces: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The lines of a text that comes in pieces: their numbers from 1 on, and their text without the newline.

    >>> [*numbered(["to be\\nor n", "ot to be"])]
    [(1, 'to be'), (2, 'or not to be')]
    """
    number, begun = 1, [""]
    for piece in pieces:
        head, *others = piece.split("\n")
        begun.append(head)
        for other in others:
            yield number, "".join(begun)
            number, begun = number + 1, [other]
    last = "".join(begun)
    if last:
        yield number, last


def blocks(path: str, size: int = _PIECE) -> Iterator[bytes]:
    """The bytes of a file in blocks.

    >>> next(blocks("builtin:python-docs", 12))
    b'The "assert"'

    Raises:
        DataError: the file cannot be read.
    """
    with opened(path) as file:
        while block := file.read(size):
            yield block


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """An open file, to be read while the context lasts.

    >>> with opened("builtin:python-docs") as file:
    ...     file.read(12)
    b'The "assert"'

    Raises:
        DataError: the file cannot be read.
    """
    try:
        if path == BUILTIN:
            yield io.BytesIO(builtin_text().encode())
        else:
            system, own = _system(path)  # kept until the end: an archive is closed with its file system
            _refuse_pipe(path, system, own)
            with system.open(own, "rb") as file:
                yield file
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or _one_line(error)}") from None
    except zipfile.BadZipFile as error:  # of a file within: its place or its checksum
        raise DataError(f"{path} cannot be read: {_one_line(error)}") from None


def suffix(path: str) -> str:
    """What a file's name says of its kind, in small letters; a packed one is of the kind that it holds.

    >>> suffix("Reviews.CSV.gz"), suffix("https://example.org/reviews.tsv")
    ('.csv', '.tsv')
    """
    return os.path.splitext(_file_name(path).removesuffix(_PACKED))[1]


def unpacked(path: str, size: int = _PIECE) -> Iterator[bytes]:
    """The bytes of a file in blocks: of a file that ends in `.gz` those that it holds.

    >>> next(unpacked("builtin:python-docs", 12))
    b'The "assert"'

    Raises:
        DataError: the file cannot be read, or cannot be unpacked.
    """
    if not _file_name(path).endswith(_PACKED):
        yield from blocks(path, size)
        return
    with opened(path) as file:
        try:
            with gzip.GzipFile(fileobj=file) as contents:
                while block := contents.read(size):
                    yield block
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{path} cannot be unpacked: {error}") from None


@contextmanager
def seekable(path: str) -> Iterator[BinaryIO]:
    """An open file that can be read in any order; one that ends in `.gz` is unpacked into memory.

    >>> with seekable("builtin:python-docs") as file:
    ...     file.seek(4), file.read(8)
    (4, b'"assert"')

    Raises:
        DataError: the file cannot be read, or cannot be unpacked.
    """
    if _file_name(path).endswith(_PACKED):
        yield io.BytesIO(b"".join(unpacked(path)))
    else:
        with opened(path) as file:
            yield file


def text_within(path: str) -> Iterator[str]:
    """The text of a file in pieces, unpacked where its name ends in `.gz`.

    >>> next(text_within("builtin:python-docs"))[:12]
    'The "assert"'

    Raises:
        DataError: the file cannot be read or unpacked, or is not UTF-8 text.
    """
    return decoded(path, unpacked(path))


def is_folder(path: str) -> bool:
    """Whether a path or URL is that of a folder.

    >>> is_folder("builtin:python-docs"), is_folder(".")
    (False, True)

    Raises:
        DataError: there is no such file system.
    """
    if path.startswith("builtin:"):
        return False
    system, own = _system(path)
    return bool(system.isdir(own))


def is_file(path: str) -> bool:
    """Whether a path or URL is that of a file.

    >>> is_file("no such file"), is_file(".")
    (False, False)

    Raises:
        DataError: there is no such file system.
    """
    system, own = _system(path)
    return bool(system.isfile(own))


def below(folder: str) -> list[tuple[str, str]]:
    """The files in a folder and below that are not hidden, sorted: what each is called there, and as `files` names it.

    >>> below("no such folder")
    []
    """
    system, own = _system(folder)
    found = sorted(name for name in system.find(own) if not _hidden(name, own))
    return [(posixpath.relpath("/" + name, "/" + own), _as_given(folder, system, name)) for name in found]


Told = Callable[[str], object]  # is told what is being done, in a few words, while it takes long
_SELDOM = 1 << 24  # bytes or characters between two times that somebody is told of them


_PAUSE = 0.5  # seconds between two times that somebody is told of items


def untold(what: str) -> None:
    """Tell nobody.

    >>> untold("reading: 3 MB")
    """


def counted(pieces: Iterable[Any], what: str, unit: str, told: Told) -> Iterator[Any]:
    """The same pieces, while somebody is told how much has gone through.

    >>> [*counted(["to be", " or not"], "reading", "characters", print)]
    reading
    ['to be', ' or not']

    Args:
        pieces: strings or bytes.
        what: what is done with them.
        unit: what their length counts.
        told: who is told, at the beginning and after every 17 million.
    """
    told(what)
    done = shown = 0
    for piece in pieces:
        yield piece
        done += len(piece)
        if done - shown >= _SELDOM:
            told(f"{what}: {done / 1e6:,.0f} million {unit}")
            shown = done


def each_counted(items: Iterable[Any], what: str, unit: str, told: Told) -> Iterator[Any]:
    """The same items, while somebody is told how many there were.

    >>> [*each_counted("ab", "reading train", "pieces", print)]
    reading train
    ['a', 'b']

    Args:
        items: anything, of which one may take long.
        what: what is done with them.
        unit: what they are.
        told: who is told, at the beginning and with each item that comes half a second or more after the last time.
    """
    told(what)
    last = time.monotonic()
    for number, item in enumerate(items, 1):
        if (now := time.monotonic()) - last >= _PAUSE:
            told(f"{what}: {number:,} {unit}")
            last = now
        yield item


def digests_so_far(parts: Iterable[Sequence[str]], told: Told = untold) -> list[str]:
    """For each of several groups of files, the SHA-256 of all contents up to its end: what `cat … | sha256sum` prints.

    >>> first, second = digests_so_far([["builtin:python-docs"], []])
    >>> first == second
    True
    """
    found, sha = [], hashlib.sha256()
    for paths in parts:
        for path in paths:
            for block in counted(blocks(path, _PIECE), f"reading {path}", "bytes", told):
                sha.update(block)
        found.append(sha.hexdigest())
    return found


@cache
def builtin_text() -> str:
    """The documentation of Python's language that every Python brings: all its topics, in the order of their names.

    >>> len(builtin_text()) > 400_000
    True
    """
    from pydoc_data.topics import topics  # half a megabyte, for those who train without a file of their own

    return "".join(topics[name] for name in sorted(topics))


def _matched(pattern: str) -> list[str]:
    """The files that one pattern stands for."""
    if pattern.startswith("builtin:"):
        if pattern != BUILTIN:
            raise DataError(f"there is no {pattern}: the only text that comes with Python is {BUILTIN}")
        return [pattern]
    system, path = _system(pattern)
    if system.isfile(path):  # first of all, because a name may hold brackets
        return [pattern]
    if system.isdir(path):
        inside = [name for _, name in below(pattern)]
        if not inside:
            raise DataError(f"the folder {pattern} has no files in it")
        return sorted(inside)
    if require("fsspec.core", "train").has_magic(path):
        fixed = path[: min(path.index(mark) for mark in "*?[" if mark in path)]
        matches = system.glob(path, detail=True)
        found = [
            name
            for name, about in matches.items()
            if about["type"] == "file" and not _hidden(name, posixpath.dirname(fixed))
        ]
        if not found:
            raise DataError(f"no file matches {pattern}")
        return sorted(_as_given(pattern, system, name) for name in found)
    raise _missing(pattern)


def _file_name(path: str) -> str:
    """A path in small letters; of a file within an archive, its path there."""
    return path.partition("::")[0].lower()


def _system(path: str) -> tuple[Any, str]:
    """The file system that a path belongs to, and what the path is called there."""
    _refuse_unwritable(path)
    if _within.get():
        _refuse_outside(path, _within.get())
    try:
        return cast(tuple[Any, str], require("fsspec.core", "train").url_to_fs(path))
    except MissingExtra:
        raise
    except (ValueError, ImportError, OSError) as error:  # an unknown protocol, or one whose package is missing
        raise DataError(f"{path} cannot be read: {_one_line(error)}") from None
    except zipfile.BadZipFile as error:
        raise DataError(f"{path.rpartition('::')[2]} cannot be read: {_one_line(error)}") from None


def _hidden(name: str, folder: str) -> bool:
    """Whether a name below a folder, or a folder on the way to it, begins with a dot."""
    return any(part.startswith(".") for part in posixpath.relpath("/" + name, "/" + folder).split("/"))


def _as_given(pattern: str, system: Any, name: str) -> str:
    """What a file is called by one who named it by a pattern: relative if the pattern was, else with its protocol."""
    if isinstance(system, require("fsspec.implementations.local", "train").LocalFileSystem):
        absolute = "://" in pattern or os.path.isabs(os.path.expanduser(pattern))
        return name if absolute else os.path.relpath(name)
    _, chain, outer = pattern.partition("::")  # a file within an archive: zip://*.txt::texts.zip
    return cast(str, system.unstrip_protocol(name)) + chain + outer


def _missing(path: str) -> DataError:
    system, own = _system(path)
    folder, name = posixpath.split(own)
    try:
        beside = [posixpath.basename(other.rstrip("/")) for other in system.ls(folder, detail=False)]
    except OSError:
        return DataError(f"there is no {path}, nor the folder it should be in")
    near = difflib.get_close_matches(name, sorted(beside), n=1)
    hint = f"; did you mean {path.removesuffix(name)}{near[0]}?" if near and path.endswith(name) else ""
    return DataError(f"there is no {path}{hint}")


def _hint(content: bytes) -> str:
    """What is said of bytes that are not UTF-8."""
    name = looks_like(content)
    return f": it looks like {name}, which --encoding {name} reads" if name else ""


def _refuse_unwritable(path: str) -> None:
    """Refuse a name that cannot be written down: into a configuration, a report, a table."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(f"the name {os.fsencode(path)!r} is not UTF-8 text: rename the file") from None


def _refuse_pipe(path: str, system: Any, own: str) -> None:
    """Refuse a pipe or a device: one that nobody writes to would be waited for without an end."""
    if isinstance(system, require("fsspec.implementations.local", "train").LocalFileSystem):
        kind = os.stat(own).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise DataError(f"{path} is a pipe or a device, and no file")


def _refuse_outside(path: str, folders: Sequence[str]) -> None:
    inside = any(os.path.realpath(path).startswith(os.path.join(os.path.realpath(one), "")) for one in folders)
    if not inside or "://" in path or "::" in path:
        raise DataError(f"{path} lies outside of {folders[0]}")


def _empty(paths: Sequence[str]) -> DataError:
    if not paths:
        return DataError("there are no files to read")
    which = paths[0] if len(paths) == 1 else f"the {len(paths)} files from {paths[0]} to {paths[-1]}"
    return DataError(f"there is no text in {which}: not one character")


def _not_text(path: str, kind: str, why: str) -> DataError:
    return DataError(f"{path} must be {kind.upper()} text, but {why}")


def _one_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
