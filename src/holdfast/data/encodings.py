"""How text becomes numbers: characters, bytes, byte pairs, words or prose, behind one interface."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Any, ClassVar

import numpy as np

from holdfast.extras import require

from .sources import DataError

Ids = np.ndarray[Any, np.dtype[Any]]

_CODE_POINTS = 0x110000
_UNKNOWN_CHARACTER = "\ufffd"
_UNKNOWN_WORD = "<unk>"
_END_OF_LINE = "<eos>"
_PAIRS = 4096  # the default size of a byte-pair vocabulary: three to four characters a token in English
_TRAINED_ON = 32_000_000  # characters that byte pairs are learned from: the counts of what is common no longer change
_LONGEST = 1 << 20  # characters without a space after which a text is cut all the same, so that memory stays bounded
_TOGETHER = 1 << 19  # characters that are encoded together: byte pairs need about a hundred bytes for each
_SHARE = 1 << 14  # characters that byte pairs are learned from at a time
# Words whose byte pairs are remembered, and the most characters of one. As many of the longest take 25 MB in English
# letters, 65 MB in Chinese ones and 85 MB where a character has four bytes.
_REMEMBERED, _SHORT = 1 << 17, 32
# A word with the spaces before it. It begins at a space or newline that follows something else, where byte pairs never
# reach across (see `whole_words`), so that it can be encoded for itself.
_WORD = re.compile(r"\s*\S+(?:[^\S \n]\s*\S+)*|\s+")
# A token of prose, the first of these that fits. Every one, alone between spaces, is found as itself again.
_PROSE = re.compile(
    r"""
      \n | <br[ ]?/?>                # the ends of lines, those of HTML too
    | <unk> | <eos>
    | can(?=not(?:n['’]t)?\b)       # can not
    | n['’]t\b | \w+?(?=n['’]t\b)   # do n't
    | ['’](?:s|re|ll|ve|m|d)\b      # it 's
    | \d+(?:[.,]\d+)+              # 3.5 and 1,000
    | \w+
    | ([^\w\s])\1*                 # any other mark, as often as it is repeated
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LONG_RUN = re.compile(r"([^\w\s])\1{3,}")
_VISIBLE = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥"})
_IS_SPACE = np.array([chr(point).isspace() for point in range(0x3002)])  # by code point; no space lies above these


class Encoding(ABC):
    """Text as whole numbers, and back.

    Attributes:
        level: "char", "byte", "bpe", "word" or "prose".
        size: V, the number of different tokens.
        unknown: the token for what the vocabulary does not have; None where everything can be written.
        spans_vary: whether a token takes more characters in one place than in another, as an unknown word does.
    """

    level: ClassVar[str]
    size: int
    unknown: int | None = None
    spans_vary: ClassVar[bool] = False
    _cuts_anywhere: ClassVar[bool] = True  # whether two halves of a text encode to the halves of its encoding
    _lengths: Ids  # characters that each token stands for, (V,)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest type that holds every token: uint8, uint16 or uint32."""
        return np.dtype(np.uint8 if self.size <= 1 << 8 else np.uint16 if self.size <= 1 << 16 else np.uint32)

    @abstractmethod
    def encode(self, text: str) -> Ids:
        """The tokens of a text, (N,), int64."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text that tokens stand for."""

    @abstractmethod
    def text_of(self, token: int) -> str:
        """One token as a report shows it, with signs for what cannot be seen."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """All that `encoding_from` needs, fit for JSON."""

    def characters_of(self, ids: Iterable[int]) -> int:
        """How many characters tokens stand for; a word with the space after it, an end of line for its newline.

        What an unknown word was, its token does not tell: `spans` counts in the text itself.
        """
        return int(self._lengths[self._checked(ids)].sum())

    def spans(self, text: str) -> Ids:
        """How many characters of a text each of its tokens takes, (N,)."""
        return self._lengths[self.encode(text)]

    def unknown_in(self, text: str) -> list[str]:
        """The different characters or words of a text that the vocabulary does not have, in their order.

        >>> CharacterEncoding("abn").unknown_in("a bun, a ban")
        [' ', 'u', ',']
        """
        if self.unknown is None:
            return []
        ends = np.cumsum(spans := self.spans(text))
        places = np.flatnonzero(self.encode(text) == self.unknown)
        pieces = (text[ends[k] - spans[k] : ends[k]] for k in places.tolist())
        return list(dict.fromkeys(piece.strip() or piece for piece in pieces))

    def pieces_of(self, pieces: Iterable[str]) -> Iterable[str]:
        """The same text in pieces whose tokens, taken together, are those of the whole text."""
        return pieces if self._cuts_anywhere else whole_words(pieces, _TOGETHER)

    def _checked(self, ids: Iterable[int]) -> Ids:
        """Tokens as an array, if the vocabulary has them all."""
        array = ids if isinstance(ids, np.ndarray) else np.fromiter(ids, dtype=np.int64)
        if array.size and not (array.min() >= 0 and array.max() < self.size):
            raise DataError(f"ids must lie from 0 to {self.size - 1}, got some from {array.min()} to {array.max()}")
        return array


class CharacterEncoding(Encoding):
    """One token a character; 0 is the unknown one, U+FFFD.

    >>> encoding = CharacterEncoding("abn")
    >>> encoding.encode("banana!").tolist()
    [2, 1, 3, 1, 3, 1, 0]
    >>> encoding.decode([2, 1, 3, 0])
    'ban�'

    Args:
        characters: the characters that are known, in the order of their numbers, which begin at 1.
    """

    level = "char"
    unknown = 0

    def __init__(self, characters: str) -> None:
        self._characters = _UNKNOWN_CHARACTER + characters.replace(_UNKNOWN_CHARACTER, "")
        self._points = _points(self._characters)
        self.size = len(self._points)
        _all_different("characters", self._characters)
        # One entry more than the highest character: everything above it is looked up there, and is unknown.
        self._ids = np.zeros(int(self._points.max()) + 2, dtype=np.int64)
        self._ids[self._points] = np.arange(self.size)
        self._lengths = np.ones(self.size, dtype=np.int64)

    def encode(self, text: str) -> Ids:
        """The tokens of a text, (N,), int64."""
        return self._ids[np.minimum(_points(text), len(self._ids) - 1)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text that tokens stand for."""
        return self._points[self._checked(ids)].tobytes().decode("utf-32-le", "surrogatepass")

    def text_of(self, token: int) -> str:
        """One token as a report shows it, with signs for what cannot be seen."""
        return _shown(self.decode([token]))

    def to_dict(self) -> dict[str, Any]:
        """All that `encoding_from` needs, fit for JSON."""
        return {"level": self.level, "characters": self._characters[1:]}


class _BytesEncoding(Encoding):
    """An encoding whose tokens are strings of bytes."""

    _bytes: Sequence[bytes]

    def _know(self, tokens: Sequence[bytes]) -> None:
        """Take up the tokens' bytes; each character is counted where its first byte is."""
        self._bytes = tokens
        self.size = len(tokens)
        self._lengths = np.array([sum(byte & 0xC0 != 0x80 for byte in token) for token in tokens], dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """The text that tokens stand for, with U+FFFD where they do not make up a character."""
        return b"".join([self._bytes[k] for k in self._checked(ids).tolist()]).decode("utf-8", "replace")

    def text_of(self, token: int) -> str:
        """One token as a report shows it, with signs for what cannot be seen."""
        self._checked([token])
        return _shown(self._bytes[token].decode("utf-8", "backslashreplace"))


class ByteEncoding(_BytesEncoding):
    """One token a byte of UTF-8: 256 of them, whatever the text.

    >>> encoding = ByteEncoding()
    >>> encoding.encode("né").tolist()
    [110, 195, 169]
    >>> encoding.decode([110, 195])
    'n�'
    """

    level = "byte"

    def __init__(self) -> None:
        self._know([bytes([k]) for k in range(256)])

    def encode(self, text: str) -> Ids:
        """The tokens of a text, (N,), int64."""
        return np.frombuffer(_utf8(text), dtype=np.uint8).astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """All that `encoding_from` needs, fit for JSON."""
        return {"level": self.level}


class PairEncoding(_BytesEncoding):
    """Byte-level byte-pair encoding: whatever is common becomes one token, and every text can be written.

    >>> encoding = build_encoding("bpe", ["the theme of the thesis"] * 9, 260)
    >>> encoding.decode(encoding.encode("their thé"))
    'their thé'

    Args:
        merges: the pairs that become one token, in order, written as the `tokenizers` library writes them.
    """

    level = "bpe"
    _cuts_anywhere = False

    def __init__(self, merges: Sequence[Sequence[str]]) -> None:
        self._merges = [(left, right) for left, right in merges]
        self._tokenizer = _tokenizer(self._merges)
        self._known: dict[str, bytes] = {}  # the tokens of words that were met: they come again and again
        byte_of = {letter: byte for byte, letter in enumerate(_byte_letters())}
        self._know([bytes(byte_of[letter] for letter in token) for token in _spelled(self._merges)])

    def encode(self, text: str) -> Ids:
        """The tokens of a text, (N,), int64."""
        _utf8(text)  # the library's own error does not say where half a character is
        words = _WORD.findall(text)
        known = self._known
        new = list({word for word in words if word not in known})
        for word, found in zip(new, self._tokenizer.encode_batch_fast(new), strict=True):
            known[word] = np.array(found.ids, dtype=self.dtype).tobytes()
        ids = np.frombuffer(b"".join(map(known.__getitem__, words)), dtype=self.dtype)
        for word in new:
            if len(word) > _SHORT:  # it will hardly come again, and may be a million characters
                del known[word]
        if len(known) > _REMEMBERED:
            known.clear()
        return ids.astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """All that `encoding_from` needs, fit for JSON."""
        return {"level": self.level, "merges": [list(pair) for pair in self._merges]}


class WordEncoding(Encoding):
    """One token a word, as whitespace separates them, and `<eos>` for every newline; 0 is `<unk>`, the unknown word.

    >>> encoding = WordEncoding(["the", "cat", "sat"])
    >>> ids = encoding.encode("the  dog sat\\nthe cat")
    >>> ids.tolist()
    [2, 0, 4, 1, 2, 3]
    >>> encoding.decode(ids)
    'the <unk> sat\\nthe cat'

    Args:
        words: the words that are known, in the order of their numbers, which begin at 2.
    """

    level = "word"
    unknown = 0
    spans_vary = True
    _cuts_anywhere = False

    def __init__(self, words: Iterable[str]) -> None:
        own = (word for word in words if word not in (_UNKNOWN_WORD, _END_OF_LINE))
        self._words = [_UNKNOWN_WORD, _END_OF_LINE, *own]
        self._ids = {word: k for k, word in enumerate(self._words)}
        self.size = len(self._words)
        _all_different("words", self._words)
        self._lengths = np.array([1 if word == _END_OF_LINE else len(word) + 1 for word in self._words])

    @staticmethod
    def words_in(text: str) -> Iterable[str]:
        """The words of a text as the vocabulary has them, and `<eos>` for every end of a line."""
        return text.replace("\n", f" {_END_OF_LINE} ").split()

    def encode(self, text: str) -> Ids:
        """The tokens of a text, (N,), int64."""
        return np.fromiter(map(self._ids.get, self.words_in(text), repeat(self.unknown)), dtype=np.int64)

    def spans(self, text: str) -> Ids:
        """How many characters of a text each of its tokens takes, with the spaces before it, (N,)."""
        points = _points(text)
        space = _IS_SPACE[np.minimum(points, len(_IS_SPACE) - 1)]
        last = ~space & np.append(space[1:], True)  # of a word
        return np.diff(np.flatnonzero(last | (points == ord("\n"))), prepend=-1)

    def decode(self, ids: Iterable[int]) -> str:
        """The words with spaces between them, and a newline for each `<eos>`."""
        words = [self._words[k] for k in self._checked(ids).tolist()]
        spaced = " ".join(["\n" if word == _END_OF_LINE else word for word in words])
        return spaced.replace(" \n", "\n").replace("\n ", "\n")

    def text_of(self, token: int) -> str:
        """One token as a report shows it."""
        self._checked([token])
        return self._words[token]

    def to_dict(self) -> dict[str, Any]:
        """All that `encoding_from` needs, fit for JSON."""
        return {"level": self.level, "words": self._words[2:]}


class ProseEncoding(WordEncoding):
    """One token a word or a mark, in lower case, and `<eos>` for every newline and `<br />`; 0 is `<unk>`.

    English contractions come apart as treebanks write them, so that plain text and text whose tokens are separated
    already are the same. Words end at a hyphen, which is a mark; numbers like 3.5 and 1,000 are one token; so is a mark
    that is repeated, of which at most three are kept. The apostrophe ’ counts as '. Marks are not otherwise translated:
    the quotes `` and " are different tokens.

    >>> encoding = build_encoding("prose", ["I can't, it's GREAT!!!!"])
    >>> encoding.decode(encoding.encode("It's GREAT!!!!<br />I can’t"))
    "it 's great !!!\\ni ca n't"
    >>> encoding.encode("it 's great !").tolist() == encoding.encode("It's GREAT!").tolist()
    True

    Args:
        words: the words and marks that are known, in the order of their numbers, which begin at 2.
    """

    level = "prose"

    @staticmethod
    def words_in(text: str) -> Iterable[str]:
        """The words and marks of a text as the vocabulary has them, and `<eos>` for every end of a line."""
        found = [match[0] for match in _PROSE.finditer(text)]
        written = {token: _written(token) for token in set(found)}  # each once: there are far fewer of them
        return map(written.__getitem__, found)

    def spans(self, text: str) -> Ids:
        """How many characters of a text each of its tokens takes, with the spaces before it, (N,)."""
        ends = np.array([match.end() for match in _PROSE.finditer(text)], dtype=np.int64)
        return np.diff(ends, prepend=0)


def build_encoding(level: str, pieces: Iterable[str], vocabulary_size: int | None = None) -> Encoding:
    """The encoding of a text that comes in pieces, of which one is held at a time.

    Byte pairs are learned from the first 32 million characters; a word's number tells how frequent it is.

    >>> build_encoding("char", ["to be ", "or not"]).size
    8

    Args:
        level: "char", "byte", "bpe", "word" or "prose".
        pieces: the text.
        vocabulary_size: the most tokens that there may be: for "bpe" by default 4096, for "word" and "prose" as many as
            there are, otherwise the least frequent ones become unknown. Characters and bytes have as many as they have.

    Raises:
        DataError: there is no such level, no text, or no such vocabulary.
    """
    if level not in _BUILDERS:
        raise DataError(f"level must be one of {', '.join(_BUILDERS)}, got {level!r}")
    build, least = _BUILDERS[level]
    if vocabulary_size is not None and least is None:
        raise DataError(f"vocabulary_size is for bpe, word and prose, but level is {level}: leave it out")
    if vocabulary_size is not None and (not isinstance(vocabulary_size, int) or vocabulary_size < (least or 0)):
        raise DataError(f"vocabulary_size must be a whole number from {least} on for {level}, got {vocabulary_size!r}")
    return build(_not_empty(pieces), vocabulary_size)


def encoding_from(description: Mapping[str, Any]) -> Encoding:
    """The encoding that `to_dict` has described.

    >>> encoding_from({"level": "char", "characters": "ab"}).encode("ba").tolist()
    [2, 1]

    Raises:
        DataError: it is not such a description.
    """
    readers: dict[Any, Callable[[], Encoding]] = {
        "char": lambda: CharacterEncoding(description["characters"]),
        "byte": lambda: ByteEncoding(),
        "bpe": lambda: PairEncoding(description["merges"]),
        "word": lambda: WordEncoding(description["words"]),
        "prose": lambda: ProseEncoding(description["words"]),
    }
    level = description.get("level")
    if level not in readers:
        raise DataError(f"an encoding's level must be one of {', '.join(readers)}, got {level!r}")
    try:
        return readers[level]()
    except KeyError as error:
        raise DataError(f"the description of a {level} encoding lacks {error.args[0]!r}") from None


def whole_words(pieces: Iterable[str], size: int) -> Iterator[str]:
    """The same text in pieces that begin where a word has ended, with the space or newline that ends it.

    Words, `<br />` and byte pairs never reach across such a place, so each piece can be encoded for itself. Where there
    is no space for a million characters, the text is cut all the same.

    >>> [*whole_words(["to be or n", "ot to", " be"], 10)]
    ['to be or', ' not', ' to', ' be']

    Args:
        pieces: the text.
        size: about how many characters a piece has at most.
    """
    rest = ""
    for piece in pieces:
        for start in range(0, len(piece), size):
            rest += piece[start : start + size]
            cut = _last_end_of_a_word(rest)
            if not cut and len(rest) >= _LONGEST:
                cut = len(rest)
            if cut:
                yield rest[:cut]
                rest = rest[cut:]
    if rest:
        yield rest


def first_end_of_a_word(pieces: Iterable[str], least: int = 1) -> int:
    """How many characters stand before the first space or newline that ends a word; 0 if there is none for long.

    >>> first_end_of_a_word(["  to", " be or"])
    4
    >>> first_end_of_a_word(["  to", " be or"], least=5)
    7

    Args:
        pieces: the text.
        least: so many characters stand before it at least, 1 or more.
    """
    text = "".join(_at_most(pieces, _LONGEST))
    spaces = re.compile(r"[ \n]").finditer(text, least)
    return next((space.start() for space in spaces if _ends_a_word(text, space.start())), 0)


def _last_end_of_a_word(text: str) -> int:
    """Where the last word ends that a space or a newline follows; 0 if there is none."""
    at = len(text)
    while (at := max(text.rfind(" ", 0, at), text.rfind("\n", 0, at))) > 0:
        if _ends_a_word(text, at):
            return at
    return 0


def _ends_a_word(text: str, at: int) -> bool:
    """Whether the space or newline at a place ends a word, and does not stand in a `<br />`."""
    return not text[at - 1].isspace() and text[max(0, at - 3) : at].lower() != "<br"


def _of_characters(pieces: Iterator[str], _: int | None) -> Encoding:
    seen = np.zeros(_CODE_POINTS, dtype=bool)
    for piece in pieces:
        seen[_points(piece)] = True
    return CharacterEncoding(np.flatnonzero(seen).astype("<u4").tobytes().decode("utf-32-le", "surrogatepass"))


def _of_bytes(pieces: Iterator[str], _: int | None) -> Encoding:
    return ByteEncoding()


def _of_pairs(pieces: Iterator[str], vocabulary_size: int | None) -> Encoding:
    trainers = require("tokenizers", "text").trainers
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size or _PAIRS, initial_alphabet=_byte_letters(), show_progress=False
    )
    tokenizer = _tokenizer([])
    tokenizer.train_from_iterator(whole_words(_at_most(pieces, _TRAINED_ON), _SHARE), trainer)
    return PairEncoding(json.loads(tokenizer.to_str())["model"]["merges"])


def _of_words(kind: type[WordEncoding], pieces: Iterator[str], vocabulary_size: int | None) -> Encoding:
    counts: Counter[str] = Counter()
    for piece in whole_words(pieces, _TOGETHER):
        counts.update(kind.words_in(piece))
    for own in (_UNKNOWN_WORD, _END_OF_LINE):
        counts.pop(own, None)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return kind(ranked if vocabulary_size is None else ranked[: vocabulary_size - 2])


# How each level is built, and the smallest vocabulary that one may ask for.
_BUILDERS: dict[str, tuple[Callable[[Iterator[str], int | None], Encoding], int | None]] = {
    "char": (_of_characters, None),
    "byte": (_of_bytes, None),
    "bpe": (_of_pairs, 256),
    "word": (partial(_of_words, WordEncoding), 3),
    "prose": (partial(_of_words, ProseEncoding), 3),
}
LEVELS = tuple(_BUILDERS)


def _not_empty(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces, if there is a character in them."""
    found = iter(pieces)
    first = next((piece for piece in found if piece), None)
    if first is None:
        raise DataError("an encoding cannot be made of no text: not one character")

    def again() -> Iterator[str]:
        yield first
        yield from found

    return again()


def _at_most(pieces: Iterable[str], count: int) -> Iterator[str]:
    """The first `count` characters."""
    for piece in pieces:
        yield piece[:count]
        count -= len(piece)
        if count <= 0:
            return


def _points(text: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """The code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _all_different(name: str, tokens: Sequence[str]) -> None:
    token, count = Counter(tokens).most_common(1)[0]
    if count > 1:
        raise DataError(f"{name} must differ from each other, but {token!r} is there {count} times")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"text must be Unicode, but character {error.start} is half a surrogate pair") from None


def _written(token: str) -> str:
    """A token of prose as the vocabulary has it."""
    if token == "\n" or token[:3].lower() == "<br":
        return _END_OF_LINE
    # The lower case of İ is two characters, of which the second would be a mark.
    word = token.replace("İ", "i").replace("’", "'").lower()
    return word if word.isalnum() else _LONG_RUN.sub(r"\1\1\1", word)  # most are words, without marks


def _shown(text: str) -> str:
    visible = text.translate(_VISIBLE)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in visible)


def _byte_letters() -> list[str]:
    """The letter that byte-level encodings write for each byte.

    A byte that Latin-1 prints is written as itself, every other by the next letter above Latin-1.
    """
    printed = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printed else next(others)) for byte in range(256)]


def _spelled(merges: Iterable[tuple[str, str]]) -> list[str]:
    """The tokens in the order of their numbers; two pairs may make the same one."""
    return [*dict.fromkeys([*_byte_letters(), *(left + right for left, right in merges)])]


def _tokenizer(merges: Sequence[tuple[str, str]]) -> Any:
    """The library's byte-pair encoder."""
    library = require("tokenizers", "text")
    model = library.models.BPE({token: k for k, token in enumerate(_spelled(merges))}, list(merges))
    found = library.Tokenizer(model)
    found.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return found
