"""A text, encoded once and kept on the disk: what to learn from, what to validate on, what to test on.

The tokens are kept as `kept.py` says, so that a text may be larger than the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .encodings import Encoding, Ids, build_encoding, encoding_from, first_end_of_a_word
from .kept import fingerprint, kept, sha256
from .sources import DataError, Told, counted, digests_so_far, files, text_of_files, untold

_FORMAT = 3  # goes up when the same text would be written otherwise
_SPAN = np.dtype("<u4")  # of a token's length in characters: a word may have more than 65,535


@dataclass(frozen=True)
class Tokens:
    """A text as tokens.

    Attributes:
        ids: the tokens, (N,), mapped from the disk, read-only.
        characters: how many characters the text has.
        sources: the files that they come from.
        encoding: how the text became tokens.
        spans: how many characters of the text each token takes, (N,), mapped too; None where the token tells that.
    """

    ids: Ids
    characters: int
    sources: tuple[str, ...]
    encoding: Encoding
    spans: Ids | None = None

    def first(self, count: int) -> Tokens:
        """The beginning of the text, so many tokens of it; all of it if there are not more.

        >>> from holdfast.data import build_encoding
        >>> encoding = build_encoding("word", ["to be or"])
        >>> text = "to be or not to be"
        >>> tokens = Tokens(encoding.encode(text), len(text), (), encoding, encoding.spans(text))
        >>> tokens.first(4).characters  # of a word that is not known, too
        12
        """
        if count >= len(self.ids):
            return self
        ids = np.asarray(self.ids[:count])
        if self.spans is None:
            return Tokens(ids, self.encoding.characters_of(ids), self.sources, self.encoding)
        spans = np.asarray(self.spans[:count])
        return Tokens(ids, int(spans.sum(dtype=np.int64)), self.sources, self.encoding, spans)


@dataclass(frozen=True)
class Corpus:
    """A text in its parts.

    Attributes:
        train: what a model learns from.
        valid: what it is measured on meanwhile.
        test: what it is measured on in the end, if there are files for it.
        encoding: how the text became tokens.
        digest: the SHA-256 of the contents of all files, those of train, valid and test one after the other.
    """

    train: Tokens
    valid: Tokens
    test: Tokens | None
    encoding: Encoding
    digest: str


def build_corpus(
    train: Sequence[str],
    valid: Sequence[str] = (),
    test: Sequence[str] = (),
    *,
    level: str,
    vocabulary_size: int | None = None,
    folder: Path,
    share: float = 0.9,
    told: Told = untold,
) -> Corpus:
    """Encode files, or take what an earlier call has made of the same contents with the same options.

    Without files for validation the first `share` of the characters are learned from and the rest is validated on: text
    of n characters is cut at int(share * n), at the levels of words, prose and byte pairs at the end of the word there.
    The encoding is made of what is learned from alone.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as cache:
    ...     corpus = build_corpus(["builtin:python-docs"], level="char", folder=Path(cache))
    >>> corpus.train.ids.dtype, corpus.encoding.decode(corpus.train.ids[:22])
    (dtype('uint8'), 'The "assert" statement')

    Args:
        train, valid, test: paths, folders, globs or URLs; see `files`.
        level: "char", "byte", "bpe", "word" or "prose".
        vocabulary_size: of "bpe", "word" and "prose"; see `build_encoding`.
        folder: where the tokens are kept; it may hold those of other texts.
        share: how much of the text is learned from where there are no files for validation.
        told: who is told what is being done.

    Raises:
        DataError: a file cannot be read, there is too little text, or an argument does not fit the others.
    """
    if not 0 < share < 1:
        raise DataError(f"share must lie between 0 and 1, got {share}")
    named = {"train": files(train), "valid": files(valid), "test": files(test)}
    if not named["train"]:
        raise DataError("train must name at least one file")
    digests = digests_so_far(named.values(), told)

    def write(place: Path) -> dict[str, Any]:
        texts = {name: _Text(paths) for name, paths in named.items() if paths}
        if "valid" not in texts:
            texts["train"], texts["valid"] = _split(texts["train"], share, level, told)
        learned = counted(texts["train"], "collecting the vocabulary", "characters", told)
        encoding = build_encoding(level, learned, vocabulary_size)
        arrays: dict[str, Any] = {}
        for name, text in texts.items():
            arrays |= _write(place, name, text, encoding, told)
        return {"encoding": encoding.to_dict(), "arrays": arrays}

    key = {
        "format": _FORMAT,
        "digests": digests,
        "level": level,
        "vocabulary_size": vocabulary_size,
        "share": None if valid else share,
    }
    place, facts = kept(folder, key, write)
    encoding = encoding_from(facts["encoding"])

    def part(name: str) -> Tokens:
        return _mapped(place, name, facts["arrays"], encoding, named[name] or named["train"])

    return Corpus(part("train"), part("valid"), part("test") if test else None, encoding, digests[-1])


def encode_files(paths: Sequence[str], encoding: Encoding, folder: Path, told: Told = untold) -> Tokens:
    """Encode files with an encoding that is there already, or take what an earlier call has made of them.

    >>> import tempfile
    >>> from holdfast.data import build_encoding
    >>> with tempfile.TemporaryDirectory() as cache:
    ...     tokens = encode_files(["builtin:python-docs"], build_encoding("byte", ["any"]), Path(cache))
    >>> bytes(tokens.ids[:10])
    b'The "asser'

    Raises:
        DataError: a file cannot be read, or there is no text.
    """
    named = files(paths)

    def write(place: Path) -> dict[str, Any]:
        return {"arrays": _write(place, "text", _Text(named), encoding, told)}

    about = fingerprint(encoding.to_dict())
    key = {"format": _FORMAT, "digests": digests_so_far([named], told), "encoding": about}
    place, facts = kept(folder, key, write)
    return _mapped(place, "text", facts["arrays"], encoding, named)


@dataclass(frozen=True)
class _Text:
    """A stretch of the text of files, read anew by each loop over it.

    Attributes:
        paths: the files.
        start, stop: where the stretch begins and ends, in characters; None: where the text ends.
    """

    paths: Sequence[str]
    start: int = 0
    stop: int | None = None

    def __iter__(self) -> Iterator[str]:
        at = 0
        for piece in text_of_files(self.paths):
            if self.stop is not None and at >= self.stop:
                return
            part = piece[max(0, self.start - at) : None if self.stop is None else self.stop - at]
            at += len(piece)
            if part:
                yield part


def _split(text: _Text, share: float, level: str, told: Told) -> tuple[_Text, _Text]:
    """What to learn from, and what to validate on."""
    total = sum(map(len, counted(text, "counting", "characters", told)))
    cut = int(share * total)
    if cut and level not in ("char", "byte"):
        before = max(0, cut - 3)  # as far back as one must see to know a `<br />`
        end = first_end_of_a_word(_Text(text.paths, before), cut - before)
        cut = before + end if end else cut
    if not 0 < cut < total:
        raise DataError(
            f"the text in {text.paths[0]} has {total} characters, too few to learn from {share:.0%} of them and "
            "validate on the rest: give more text, or valid"
        )
    return _Text(text.paths, 0, cut), _Text(text.paths, cut)


def _write(folder: Path, name: str, text: Iterable[str], encoding: Encoding, told: Told) -> dict[str, Any]:
    """Write the tokens of a text, and their spans if they have any; tell of each array, by its name, what it holds."""
    arrays: dict[str, tuple[Callable[[str], Ids], np.dtype[Any]]] = {
        name: (encoding.encode, encoding.dtype.newbyteorder("<"))
    }
    if encoding.spans_vary:
        arrays[_spans(name)] = encoding.spans, _SPAN
    characters = 0
    for piece in encoding.pieces_of(counted(text, f"encoding {name}", "characters", told)):
        for array, (made, dtype) in arrays.items():
            with (folder / f"{array}.bin").open("ab") as file:
                file.write(made(piece).astype(dtype).tobytes())
        characters += len(piece)
    if not (folder / f"{name}.bin").stat().st_size:
        raise DataError(f"there are no tokens for {name}: its text is nothing but spaces")
    digests = {array: {"sha256": sha256(folder / f"{array}.bin")} for array in arrays}
    return {**digests, name: {**digests[name], "characters": characters}}


def _mapped(place: Path, name: str, arrays: Mapping[str, Any], encoding: Encoding, sources: Sequence[str]) -> Tokens:
    ids = np.memmap(place / f"{name}.bin", dtype=encoding.dtype.newbyteorder("<"), mode="r")  # (N,)
    spans = np.memmap(place / f"{_spans(name)}.bin", dtype=_SPAN, mode="r") if encoding.spans_vary else None  # (N,)
    return Tokens(ids, arrays[name]["characters"], tuple(sources), encoding, spans)


def _spans(name: str) -> str:
    return f"{name}-spans"
