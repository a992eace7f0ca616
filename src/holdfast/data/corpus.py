"""A text, encoded once and kept on the disk: what to learn from, what to validate on, what to test on.

The tokens are written to a folder as raw little-endian arrays and mapped, so that a text may be larger than the memory.
What a folder of them was made from stands beside them in `corpus.json`, with the digest of each array: what does not
agree is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .encodings import Encoding, build_encoding, encoding_from, first_end_of_a_word
from .sources import DataError, Told, counted, digests_so_far, files, text_of_files, untold

_FORMAT = 1  # goes up when the same text would be written otherwise
_FACTS = "corpus.json"


@dataclass(frozen=True)
class Tokens:
    """A text as tokens.

    Attributes:
        ids: the tokens, (N,), mapped from the disk, read-only.
        characters: how many characters they stand for.
        sources: the files that they come from.
    """

    ids: np.ndarray[Any, Any]
    characters: int
    sources: tuple[str, ...]


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
    encoding: Encoding | None = None,
    share: float = 0.9,
    told: Told = untold,
) -> Corpus:
    """Encode files, or take what an earlier call has made of the same contents with the same options.

    Without files for validation the first `share` of the characters are learned from and the rest is validated on: text
    of n characters is cut at int(share * n), at the levels of words and byte pairs at the end of the word there. The
    encoding is made of what is learned from alone.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as cache:
    ...     corpus = build_corpus(["builtin:python-docs"], level="char", folder=Path(cache))
    >>> corpus.train.ids.dtype, corpus.encoding.decode(corpus.train.ids[:22])
    (dtype('uint8'), 'The "assert" statement')

    Args:
        train, valid, test: paths, folders, globs or URLs; see `files`.
        level: "char", "byte", "bpe" or "word".
        vocabulary_size: of "bpe" and "word"; see `build_encoding`.
        folder: where the tokens are kept; it may hold those of other texts.
        encoding: an encoding to use instead of a new one.
        share: how much of the text is learned from where there are no files for validation.
        told: who is told what is being done.

    Raises:
        DataError: a file cannot be read, there is too little text, or an argument does not fit the others.
    """
    if not 0 < share < 1:
        raise DataError(f"share must lie between 0 and 1, got {share}")
    if encoding is not None and encoding.level != level:
        raise DataError(f"level must be the encoding's, {encoding.level}, got {level!r}")
    if encoding is not None and vocabulary_size is not None:
        raise DataError("vocabulary_size cannot be given with an encoding, which has its own")
    named = {"train": files(train), "valid": files(valid), "test": files(test)}
    if not named["train"]:
        raise DataError("train must name at least one file")
    digests = digests_so_far(named.values(), told)

    def write(place: Path) -> dict[str, Any]:
        texts = {name: _Text(paths) for name, paths in named.items() if paths}
        if "valid" not in texts:
            texts["train"], texts["valid"] = _split(texts["train"], share, level, told)
        learned = counted(texts["train"], "collecting the vocabulary", "characters", told)
        chosen = encoding or build_encoding(level, learned, vocabulary_size)
        arrays = {name: _write(place, name, text, chosen, told) for name, text in texts.items()}
        return {"encoding": chosen.to_dict(), "arrays": arrays}

    key = {
        "digests": digests,
        "level": level,
        "vocabulary_size": vocabulary_size,
        "encoding": None if encoding is None else _fingerprint(encoding.to_dict()),
        "share": None if valid else share,
    }
    place, facts = _kept(folder, key, write)
    own = encoding or encoding_from(facts["encoding"])
    sources = {**named, "valid": named["valid"] or named["train"]}
    parts = {name: _mapped(place / f"{name}.bin", about, own, sources[name]) for name, about in facts["arrays"].items()}
    return Corpus(parts["train"], parts["valid"], parts.get("test"), own, digests[-1])


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
        return {"arrays": {"text": _write(place, "text", _Text(named), encoding, told)}}

    key = {"digests": digests_so_far([named], told), "encoding": _fingerprint(encoding.to_dict())}
    place, facts = _kept(folder, key, write)
    return _mapped(place / "text.bin", facts["arrays"]["text"], encoding, named)


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
    if cut and level in ("word", "bpe"):
        cut = cut - 1 + (first_end_of_a_word(_Text(text.paths, cut - 1)) or 1)
    if not 0 < cut < total:
        raise DataError(
            f"the text in {text.paths[0]} has {total} characters, too few to learn from {share:.0%} of them and "
            "validate on the rest: give more text, or valid"
        )
    return _Text(text.paths, 0, cut), _Text(text.paths, cut)


def _write(folder: Path, name: str, text: Iterable[str], encoding: Encoding, told: Told) -> dict[str, Any]:
    """Write the tokens of a text, and tell what was written."""
    sha, count, characters = hashlib.sha256(), 0, 0
    with (folder / f"{name}.bin").open("wb") as file:
        for ids in encoding.encode_pieces(counted(text, f"encoding {name}", "characters", told)):
            data = ids.astype(encoding.dtype.newbyteorder("<")).tobytes()
            file.write(data)
            sha.update(data)
            count += len(ids)
            characters += encoding.characters_of(ids)
    if count == 0:
        raise DataError(f"there are no tokens for {name}: its text is nothing but spaces")
    return {"tokens": count, "characters": characters, "sha256": sha.hexdigest()}


def _mapped(path: Path, about: Mapping[str, Any], encoding: Encoding, sources: Sequence[str]) -> Tokens:
    ids = np.memmap(path, dtype=encoding.dtype.newbyteorder("<"), mode="r")  # (N,)
    return Tokens(ids, about["characters"], tuple(sources))


def _kept(folder: Path, key: Mapping[str, Any], write: Callable[[Path], dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """The place in a folder for what a key describes, and the facts that stand there; written if they are not there.

    Several processes may write at once: the same key has the same contents, each file is put in place in one go, and
    the facts come last.
    """
    key = {"format": _FORMAT, **key}
    place = folder / _fingerprint(key)[:16]
    facts = _facts(place, key)
    if facts is not None:
        return place, facts
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as beside:
        building = Path(beside)
        facts = {"key": key, **write(building)}
        (building / _FACTS).write_text(json.dumps({**facts, "sha256": _fingerprint(facts)}), encoding="ascii")
        for name in [*(f"{array}.bin" for array in facts["arrays"]), _FACTS]:
            os.replace(building / name, place / name)
    return place, facts


def _facts(place: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The facts that stand in a place, if they are about this key and all arrays are as they were written."""
    try:
        facts = json.loads((place / _FACTS).read_bytes())
        if facts.pop("sha256") != _fingerprint(facts) or facts["key"] != key:
            return None
        agree = all(about["sha256"] == _sha256(place / f"{name}.bin") for name, about in facts["arrays"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # torn, or somebody else's: not to be trusted
        return None
    return facts if agree else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fingerprint(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
