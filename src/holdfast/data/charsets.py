"""The character encodings of text files: which one they are read as, and which one bytes look like.

What files are read as holds for everything that is read while a context lasts, however deep in a reader: a file is
opened in many places, and all of them decode it in one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

UTF_8 = "utf-8"
_current: ContextVar[str] = ContextVar("charset", default=UTF_8)
_MARKS = {  # how a file begins that is text, but not UTF-8; the longer mark first, because it begins with the shorter
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_LOOKED_AT = 1 << 16  # bytes from which an encoding is told
_HIGH = re.compile(rb"[\x80-\xff]+")
_TOGETHER = 3  # bytes beyond ASCII that hardly ever follow each other where a letter here and there has an accent
_CONTROLS = re.compile(rb"[\x80-\x9f]")  # no characters in latin-1, and quotation marks and dashes in cp1252
# Of encodings in which words are of bytes beyond ASCII: usual characters, and what share of them a text has at least.
_WORDS = {
    "cp1251": ("[\u0430-\u044f\u0451]", 0.75),  # small letters, which are capitals in the other
    "koi8_r": ("[\u0430-\u044f\u0451]", 0.75),
    "shift_jis": ("[\u3040-\u30ff]", 0.3),
    "euc_jp": ("[\u3040-\u30ff]", 0.3),
    "euc_kr": ("[\uac00-\ud7a3]", 0.5),
    "gb18030": ("[\u4e00-\u9fff\u3000-\u303f\uff00-\uffef]", 0.5),
    "big5": ("[\u4e00-\u9fff\u3000-\u303f\uff00-\uffef]", 0.5),
}


class UnknownCharset(ValueError):
    """A name that is of no character encoding."""


@contextmanager
def reading_as(name: str) -> Iterator[None]:
    """Read text files as of an encoding while the context lasts.

    >>> with reading_as("latin-1"):
    ...     charset()
    'iso8859-1'

    Args:
        name: as Python knows it; empty: UTF-8.

    Raises:
        UnknownCharset: there is no such encoding.
    """
    before = _current.set(known_charset(name))
    try:
        yield
    finally:
        _current.reset(before)


def charset() -> str:
    """What text files are read as now.

    >>> charset()
    'utf-8'
    """
    return _current.get()


def known_charset(name: str) -> str:
    """An encoding by the name that Python gives it.

    >>> known_charset("UTF8"), known_charset("Latin-1"), known_charset("")
    ('utf-8', 'iso8859-1', 'utf-8')

    Raises:
        UnknownCharset: there is none of that name.
    """
    try:
        found = codecs.lookup(name or UTF_8)
        if found.incrementaldecoder is None or not isinstance(found.incrementaldecoder().decode(b""), str):
            raise LookupError
    except (LookupError, ValueError):  # none, one that is not of text (base64), or a name with a NUL in it
        raise UnknownCharset(
            f"there is no encoding {name!r}; others than UTF-8 are for example cp1252, latin-1, utf-16, shift_jis"
        ) from None
    return UTF_8 if found.name == "utf-8-sig" else found.name


def mark_of(beginning: bytes) -> str:
    """The encoding that a file's first bytes name, if that is not UTF-8; else nothing.

    >>> mark_of("to be".encode("utf-16"))
    'utf-16'
    """
    return next((name for mark, name in _MARKS.items() if beginning.startswith(mark)), "")


def looks_like(content: bytes) -> str:
    """The encoding that bytes look like which are not UTF-8; empty where nothing can be told.

    >>> looks_like("na\u00efve, \u201cquoted\u201d".encode("cp1252")), looks_like("na\u00efve".encode("latin-1"))
    ('cp1252', 'latin-1')
    >>> looks_like("\u043f\u0440\u0438\u0432\u0435\u0442".encode("cp1251")), looks_like("to be".encode("utf-16-le"))
    ('cp1251', 'utf-16-le')
    """
    seen = content[:_LOOKED_AT]
    if found := mark_of(seen):
        return found
    if b"\0" in seen:
        return _of_two_bytes(seen)
    runs = [len(run) for run in _HIGH.findall(seen)]
    text = seen.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if not runs or len(re.findall(r"[^\0-\x7f\ufffd]", text)) > broken:  # UTF-8 after all, in which something is broken
        return ""
    if 2 * sum(run for run in runs if run >= _TOGETHER) < sum(runs):
        return "cp1252" if _CONTROLS.search(seen) else "latin-1"
    return next((name for name, (usual, share) in _WORDS.items() if _share(seen, name, usual) >= share), "")


def _of_two_bytes(seen: bytes) -> str:
    """UTF-16 without a mark, which has a NUL beside each Latin letter; or nothing."""
    even, odd = seen[::2].count(0), seen[1::2].count(0)
    if 4 * max(even, odd) < len(seen) or 8 * min(even, odd) > max(even, odd):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _share(seen: bytes, name: str, usual: str) -> float:
    """The share of the characters beyond ASCII that are usual ones, if these bytes can be read as such; else 0."""
    try:
        text = codecs.getincrementaldecoder(name)().decode(seen)  # what is cut off at the end is no fault
    except UnicodeDecodeError:
        return 0.0
    beyond = [character for character in text if not character.isascii()]
    return len(re.findall(usual, text)) / len(beyond) if beyond else 0.0
