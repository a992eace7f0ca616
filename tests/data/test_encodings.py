"""Text as numbers and back, at every level."""

from __future__ import annotations

import json
import random
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from holdfast.data import LEVELS, DataError, Encoding, build_encoding, builtin_text, encoding_from
from holdfast.data import encodings as module
from holdfast.extras import MissingExtra

BEYOND_BMP = [0x1F600, 0x1D11E, 0x10FFFF]
SPACES = [9, 10, 11, 13, 32, 32, 32, 0x85, 0xA0, 0x2028, 0x3000, 0x1C, 0x200B]
ANYTHING = [*range(1, 0x250), 0x301, 0x20AC, 0x65E5, 0xFFFF, *BEYOND_BMP, *SPACES * 10]
SAMPLE = builtin_text()[:60_000]


def random_text(seed: int, length: int = 3000) -> str:
    """Characters of all kinds, with many spaces among them."""
    draw = random.Random(seed)
    return "".join(chr(draw.choice(ANYTHING)) for _ in range(length))


def cut(text: str, seed: int) -> list[str]:
    """A text in pieces of random lengths, empty ones among them."""
    draw, pieces = random.Random(seed), []
    while text:
        k = draw.choice([0, 1, 2, 5, 100, 1000])
        pieces.append(text[:k])
        text = text[k:]
    return pieces


def built(level: str, text: str = SAMPLE) -> Encoding:
    return build_encoding(level, [text], 600 if level == "bpe" else None)


@pytest.mark.parametrize("level", ["char", "byte", "bpe"])
@pytest.mark.parametrize("seed", range(3))
def test_text_comes_back_as_it_was(level: str, seed: int) -> None:
    text = random_text(seed)
    encoding = built(level, text)
    ids = encoding.encode(text)
    assert ids.ndim == 1
    assert ids.dtype == np.int64
    assert 0 <= ids.min() <= ids.max() < encoding.size
    assert encoding.decode(ids) == text
    assert encoding.decode(ids.tolist()) == text
    assert encoding.characters_of(ids) == len(text)


@pytest.mark.parametrize("level", ["byte", "bpe"])
def test_bytes_and_pairs_can_write_what_they_have_never_seen(level: str) -> None:
    encoding = built(level, "plain text")
    text = random_text(8) + "�"
    assert encoding.unknown is None
    assert encoding.decode(encoding.encode(text)) == text


@pytest.mark.parametrize("level", LEVELS)
def test_no_text_is_no_tokens(level: str) -> None:
    encoding = built(level)
    assert encoding.encode("").shape == (0,)
    assert encoding.encode("").dtype == np.int64
    assert encoding.decode([]) == ""
    assert encoding.characters_of([]) == 0


@pytest.mark.parametrize("level", LEVELS)
def test_pieces_encode_to_what_the_whole_text_does(level: str) -> None:
    text = random_text(4) + SAMPLE + random_text(5)
    encoding = built(level, text)
    for seed in range(3):
        found = np.concatenate([*map(encoding.encode, encoding.pieces_of(cut(text, seed)))])
        assert np.array_equal(found, encoding.encode(text))


@pytest.mark.parametrize("level", LEVELS)
def test_an_encoding_built_of_pieces_is_that_of_the_whole(level: str) -> None:
    text = random_text(6) + SAMPLE
    size = 500 if level == "bpe" else None
    assert build_encoding(level, cut(text, 1), size).to_dict() == build_encoding(level, [text], size).to_dict()


@pytest.mark.parametrize("level", LEVELS)
def test_an_encoding_goes_through_json(level: str) -> None:
    encoding = built(level, SAMPLE + random_text(7))
    again = encoding_from(json.loads(json.dumps(encoding.to_dict())))
    text = "unseen ж " + SAMPLE[:2000] + random_text(7)
    assert (again.level, again.size, again.unknown) == (level, encoding.size, encoding.unknown)
    assert again.encode(text).tolist() == encoding.encode(text).tolist()
    assert again.to_dict() == encoding.to_dict()


def test_characters_are_numbered_by_their_code_points() -> None:
    encoding = build_encoding("char", ["b😀a", "\nb"])
    assert encoding.encode("\nab😀").tolist() == [1, 2, 3, 4]
    assert encoding.size == 5


@pytest.mark.parametrize("unseen", ["c", " ", "é", "日", "\U0010ffff", "\ud800", "\0"])
def test_a_character_never_seen_becomes_the_unknown_one(unseen: str) -> None:
    encoding = build_encoding("char", ["abd"])
    assert encoding.unknown == 0
    assert encoding.encode(f"a{unseen}b").tolist() == [1, 0, 2]
    assert encoding.decode([1, 0, 2]) == "a�b"


@pytest.mark.parametrize("known", ["a", "a😀"])
def test_a_character_above_all_known_ones_is_unknown(known: str) -> None:
    encoding = build_encoding("char", [known])
    highest = max(0xFFFD, *map(ord, known))  # the unknown character is among them
    for unseen in (highest + 1, highest + 2, highest + 3, ord("a") + highest + 1, ord("a") + highest + 2):
        assert encoding.encode(chr(unseen)).tolist() == [0]


def test_a_replacement_character_in_the_text_is_the_unknown_one() -> None:
    encoding = build_encoding("char", ["a�\uffff"])
    assert encoding.size == 3
    assert encoding.encode("a�\uffff").tolist() == [1, 0, 2]


def test_broken_bytes_are_shown_as_such() -> None:
    encoding = build_encoding("byte", ["any"])
    assert encoding.size == 256
    assert encoding.decode([0xE2, 0x82, 0x61, 0xFF]) == b"\xe2\x82a\xff".decode("utf-8", "replace")
    assert encoding.encode("aé€").tolist() == [*"aé€".encode()]


def test_byte_pairs_are_those_of_the_library() -> None:
    encoding = built("bpe")
    pairs = encoding.to_dict()["merges"]
    letters = module._byte_letters()
    assert sorted(letters) == sorted(pre_tokenizers.ByteLevel.alphabet())
    spelled = dict.fromkeys([*letters, *("".join(pair) for pair in pairs)])
    model = models.BPE({token: k for k, token in enumerate(spelled)}, [tuple(pair) for pair in pairs])
    library = Tokenizer(model)
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    for text in (SAMPLE, random_text(9), "  two\n\n \n spaces  \n"):
        ids = library.encode(text).ids
        assert encoding.encode(text).tolist() == ids
        assert encoding.decode(ids) == library.decode(ids) == text


def test_byte_pairs_of_words_encoded_one_by_one_are_those_of_the_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    encoding = built("bpe")
    monkeypatch.setattr(module, "_REMEMBERED", 50)  # so that what is remembered is forgotten now and then
    draw = random.Random(3)
    letters = "ab.'s1é \n\t\r\x0b\x0c\x1c\x85\xa0\u2003\u3000\u200b\u2028😀中"
    for _ in range(3000):
        text = "".join(draw.choices(letters, k=draw.randint(1, 12)))
        assert encoding.encode(text).tolist() == encoding._tokenizer.encode(text).ids, repr(text)  # type: ignore[attr-defined]


def test_long_words_are_not_remembered_and_short_ones_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    encoding = built("bpe")
    assert isinstance(encoding, module.PairEncoding)
    monkeypatch.setattr(module, "_REMEMBERED", 100)
    draw = random.Random(4)
    for _ in range(20):
        text = " ".join("".join(draw.choices("abc中文", k=draw.choice([3, 4, 31, 40, 5_000]))) for _ in range(20))
        assert encoding.encode(text).tolist() == encoding._tokenizer.encode(text).ids
        assert len(encoding._known) <= 100
        assert max(map(len, encoding._known), default=0) <= 32
    encoding.encode("abc" * 20_000 + " short")
    assert " short" in encoding._known


@pytest.mark.full  # a million characters
def test_the_memory_for_what_is_remembered_is_bounded() -> None:
    encoding = built("bpe")
    draw = random.Random(5)
    tracemalloc.start()
    try:
        for _ in range(4):  # of each a quarter of a megabyte, which would stay
            encoding.encode("".join(draw.choices("abcdefgh", k=250_000)))
        for _ in range(2):
            encoding.encode(" ".join("".join(draw.choices("abcdefgh", k=1000)) for _ in range(300)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 200_000


def test_byte_pairs_are_learned_from_what_is_common() -> None:
    encoding = build_encoding("bpe", ["hello there, hello world. " * 50], 300)
    assert encoding.size <= 300
    assert len(encoding.encode(" hello")) == 1
    assert len(encoding.encode(" xyzzy")) == 6
    assert built("bpe").size == 600


def test_two_pairs_that_make_one_token_are_one() -> None:
    encoding = encoding_from(
        {"level": "bpe", "merges": [["a", "b"], ["b", "c"], ["ab", "c"], ["a", "bc"], ["abc", "d"]]}
    )
    assert encoding.size == 256 + 4
    assert encoding.decode(encoding.encode("abcd abc bc")) == "abcd abc bc"
    assert encoding.encode("abcd").tolist() == [259]


def test_byte_pairs_are_learned_from_the_beginning_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TRAINED_ON", 1000)
    taken: list[int] = []

    def pieces(text: str) -> list[str]:
        return [text[:700], text[700:1400], text[1400:]]

    def counted(text: str) -> object:
        for piece in pieces(text):
            taken.append(len(piece))
            yield piece

    beginning, end = "the cat sat on the mat; " * 42, "zq zq zq " * 1000
    one = build_encoding("bpe", counted(beginning[:1000] + end), 300)  # type: ignore[arg-type]
    assert taken == [700, 700]
    assert one.to_dict() == build_encoding("bpe", [beginning[:1000]], 300).to_dict()


def test_words_are_ranked_by_how_frequent_they_are() -> None:
    encoding = build_encoding("word", ["b a b\nc a", "b\n\nd <unk> <eos>"])
    assert [encoding.text_of(k) for k in range(encoding.size)] == ["<unk>", "<eos>", "b", "a", "ab", "c", "d"]
    assert encoding.unknown == 0


def test_an_end_of_line_is_a_token_and_an_empty_line_is_one() -> None:
    encoding = build_encoding("word", ["a b"])
    assert encoding.encode("a b\n\n b\r\n").tolist() == [2, 3, 1, 1, 3, 1]
    assert encoding.decode([2, 3, 1, 1, 3, 1]) == "a b\n\nb\n"


def test_words_come_back_with_single_spaces() -> None:
    draw = random.Random(2)
    text = "\n".join(" ".join(draw.choices(["to", "be", "or", "nöt", "😀"], k=draw.randrange(5))) for _ in range(200))
    encoding = build_encoding("word", [text])
    assert encoding.decode(encoding.encode(text)) == text
    assert encoding.decode(encoding.encode(text.replace(" ", " \t "))) == text


def test_a_word_never_seen_becomes_the_unknown_one() -> None:
    encoding = build_encoding("word", ["to be"])
    assert encoding.encode("be to see <unk>").tolist() == [2, 3, 0, 0]
    assert encoding.decode([2, 0]) == "be <unk>"


def test_a_limit_keeps_the_most_frequent_words() -> None:
    text = "one three two three two three\n"
    encoding = build_encoding("word", [text], 4)
    assert encoding.size == 4
    assert encoding.decode(encoding.encode(text)) == "<unk> three two three two three\n"
    assert build_encoding("word", [text], 100).size == 5
    assert build_encoding("word", ["<unk> <unk> a b\n\n\n"], 4).size == 4


def test_words_are_counted_as_a_dictionary_counts_them() -> None:
    text = SAMPLE + random_text(3)
    expected = Counter(word for line in text.split("\n") for word in line.split())
    encoding = build_encoding("word", cut(text, 5))
    ranks = [expected[encoding.text_of(k)] for k in range(2, encoding.size)]
    assert ranks == sorted(expected.values(), reverse=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I can't — it's GREAT!", "i ca n't — it 's great !"),
        ("i ca n't — it 's great !", "i ca n't — it 's great !"),
        ("They’d said we’ll, YOU'RE; I’m, I've", "they 'd said we 'll , you 're ; i 'm , i 've"),
        ("Don’t shouldn't've CANNOT cannot", "do n't should n't 've can not can not"),
        ("n't n’t nn't don'ts o'clock 'tis 'sad", "n't n't n n't don ' ts o ' clock ' tis ' sad"),
        ("cannots cannotn't scannot", "cannots can not n't scannot"),
        ("the dogs' 'bone' ’ ''", "the dogs ' ' bone ' ' ''"),
        ("$3.5 or 1,000,000. v1.5 .5 35mm 3.5x 1.", "$ 3.5 or 1,000,000 . v1 . 5 . 5 35mm 3.5 x 1 ."),
        ("straight-faced snake_case ___", "straight - faced snake_case ___"),
        ("No!!!!! well... -- ?! ;-)) .... ““", "no !!! well ... -- ? ! ; - )) ... ““"),
        ("one<br /><br />two<BR>three<br/>four\nfive", "one\n\ntwo\nthree\nfour\nfive"),
        ("< br / > <br  /> <b>", "< br / > < br / > < b >"),
        ("a<<br /> b", "a << br / > b"),
        ("<UNK> x<unk>y <eos>", "<unk> x <unk> y\n"),
        ("ΟΔΟΣ ÉTÉ İstanbul ǅ 日本語。", "οδος été istanbul ǆ 日本語 。"),
        ("  \t spaces\u3000\n\n here\r\n ", "spaces\n\nhere\n"),
    ],
)
def test_prose_is_words_and_marks(text: str, expected: str) -> None:
    encoding = build_encoding("prose", [text])
    assert encoding.decode(encoding.encode(text)) == expected
    assert encoding.encode(expected).tolist() == encoding.encode(text).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_prose_comes_back_as_the_same_tokens(seed: int) -> None:
    every = " ".join(chr(point) for point in range(0x20000) if chr(point).isprintable())
    text = random_text(seed, 20_000) + SAMPLE if seed else every
    draw = random.Random(seed)
    marks = ["n't", "’S", "'", "'ll", "can", "not", "n", "t", "3", ".", ",", "<br", " />", "<", ">", " ", "Σ", "İ", "_"]
    text += "".join(draw.choices(marks, k=50_000))
    encoding = build_encoding("prose", [text])
    ids = encoding.encode(text)
    assert encoding.encode(encoding.decode(ids)).tolist() == ids.tolist()


def test_words_and_marks_of_prose_are_ranked_by_how_frequent_they_are() -> None:
    encoding = build_encoding("prose", ["B, a b\nA, c? b<br /><u", "nk> !!!!"])
    assert [encoding.text_of(k) for k in range(encoding.size)] == ["<unk>", "<eos>", "b", ",", "a", "!!!", "?", "c"]
    assert build_encoding("prose", ["B, a b\nA, c? b"], 4).to_dict() == {"level": "prose", "words": ["b", ","]}


def test_a_token_of_prose_spans_the_spaces_before_it_and_itself_known_or_not() -> None:
    encoding = build_encoding("prose", ["to be"])
    text = " To  don’t\u3000\n!!!!!<br /> <br>be "
    #       to, do, n't, newline, marks, line breaks, be
    assert encoding.spans(text).tolist() == [3, 4, 3, 2, 5, 6, 5, 2]
    assert encoding.encode(text).tolist() == [3, 0, 0, 1, 0, 1, 1, 2]
    assert encoding.spans("").tolist() == encoding.spans(" \t ").tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_a_line_break_of_html_is_never_cut(seed: int) -> None:
    draw = random.Random(seed)
    text = "".join(draw.choices(["<br />", "<br", " ", " />", "<BR />", "word", "\n", "can't "], k=3000))
    encoding = build_encoding("prose", cut(text, seed))
    assert encoding.to_dict() == build_encoding("prose", [text]).to_dict()
    for size in (1, 7, 500):
        pieces = [*module.whole_words(cut(text, seed), size)]
        assert np.concatenate([*map(encoding.encode, pieces)]).tolist() == encoding.encode(text).tolist()
        assert np.concatenate([*map(encoding.spans, pieces)]).tolist() == encoding.spans(text).tolist()
        assert len(pieces) > 20


@pytest.mark.parametrize(
    ("least", "expected"), [(1, 3), (3, 3), (4, 16), (8, 16), (9, 16), (16, 16), (17, 19), (19, 19), (20, 0), (99, 0)]
)
def test_the_first_end_of_a_word_is_not_inside_a_line_break(least: int, expected: int) -> None:
    assert module.first_end_of_a_word(["one  <b", "r /><br/>", " it\n  it"], least) == expected


@pytest.mark.parametrize(
    ("level", "text", "expected"),
    [
        ("char", "a�\n", 3),
        ("byte", "né😀", 3),
        ("bpe", "né😀 né", 6),
        ("word", "to  be\n", 3 + 3 + 1),
        ("word", "to see\n", 3 + 6 + 1),
        ("prose", "To  bE\nsee", 3 + 3 + 1 + 6),
    ],
)
def test_characters_are_counted(level: str, text: str, expected: int) -> None:
    encoding = build_encoding(level, ["to be né"])
    assert encoding.characters_of(encoding.encode(text)) == expected


@pytest.mark.parametrize("level", LEVELS)
def test_the_spans_of_tokens_are_the_text(level: str) -> None:
    encoding = built(level, "plain text\n")
    text = random_text(13) + SAMPLE[:5000] + "end"
    spans = encoding.spans(text)
    assert len(spans) == len(encoding.encode(text))
    assert spans.sum() == len(text)


def test_a_word_spans_the_spaces_before_it_and_itself_known_or_not() -> None:
    encoding = build_encoding("word", ["to be"])
    assert encoding.spans("to  unheard\u3000\n\n be ").tolist() == [2, 9, 2, 1, 3]
    assert encoding.spans("").tolist() == []


def test_a_character_of_several_tokens_counts_once() -> None:
    encoding = build_encoding("byte", ["any"])
    ids = encoding.encode("é😀")
    assert [encoding.characters_of(ids[k : k + 1]) for k in range(len(ids))] == [1, 0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("size", "expected"), [(256, np.uint8), (257, np.uint16), (65536, np.uint16), (65537, np.uint32)]
)
def test_tokens_are_kept_in_the_smallest_type(size: int, expected: type) -> None:
    encoding = encoding_from({"level": "word", "words": [f"w{k}" for k in range(size - 2)]})
    assert encoding.size == size
    assert encoding.dtype == expected
    assert encoding.encode(f"w{size - 3}").astype(encoding.dtype)[0] == size - 1


@pytest.mark.parametrize(
    ("level", "text", "expected"),
    [
        ("char", " ", "␣"),
        ("char", "\n", "⏎"),
        ("char", "\t", "⇥"),
        ("char", "\0", "\\x00"),
        ("char", "\u2028", "\\u2028"),
        ("char", "é", "é"),
        ("byte", "\n", "⏎"),
        ("byte", "a", "a"),
        ("byte", "é", "\\xc3"),
        ("word", "\n", "<eos>"),
        ("word", "unheard", "<unk>"),
        ("prose", "<BR />", "<eos>"),
        ("prose", "unheard", "<unk>"),
        ("prose", "The", "the"),
        ("bpe", " the", "␣the"),
    ],
)
def test_a_token_is_shown_so_that_it_can_be_seen(level: str, text: str, expected: str) -> None:
    encoding = built(level, SAMPLE + "\0\t\u2028é")
    assert encoding.text_of(int(encoding.encode(text)[0])) == expected


@pytest.mark.parametrize("limit", [30, 1 << 20])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_whole_words_are_the_same_text_cut_after_words(size: int, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST", limit)
    text = random_text(11) + "x" * 100 + random_text(12)
    pieces = [*module.whole_words(cut(text, 2), size)]
    assert "".join(pieces) == text
    for before, after in pairwise(pieces):
        whole = after[0] in " \n" and not before[-1].isspace()
        assert whole or len(before) >= limit
    assert max(map(len, pieces)) < limit + size


@pytest.mark.parametrize("token", [-1, 5])
@pytest.mark.parametrize(
    "ask", [lambda e, k: e.decode([k]), lambda e, k: e.text_of(k), lambda e, k: e.characters_of([k])]
)
def test_a_token_outside_the_vocabulary_is_an_error(token: int, ask: Callable[[Encoding, int], object]) -> None:
    for encoding in (build_encoding("char", ["abcd"]), build_encoding("word", ["a b c"])):
        with pytest.raises(DataError, match=f"ids must lie from 0 to 4, got some from {token} to {token}"):
            ask(encoding, token)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("letter", ["a"]), "level must be one of char, byte, bpe, word, prose, got 'letter'"),
        (("char", ["", ""]), "an encoding cannot be made of no text: not one character"),
        (("byte", []), "an encoding cannot be made of no text: not one character"),
        (("char", ["a"], 9), "vocabulary_size is for bpe, word and prose, but level is char: leave it out"),
        (("bpe", ["a"], 255), "vocabulary_size must be a whole number from 256 on for bpe, got 255"),
        (("word", ["a"], 2), "vocabulary_size must be a whole number from 3 on for word, got 2"),
        (("prose", ["a"], 2), "vocabulary_size must be a whole number from 3 on for prose, got 2"),
        (("word", ["a"], 9.5), "vocabulary_size must be a whole number from 3 on for word, got 9.5"),
    ],
)
def test_an_encoding_that_cannot_be_is_an_error(arguments: tuple[str, list[str], int], text: str) -> None:
    with pytest.raises(DataError) as error:
        build_encoding(*arguments)
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("description", "text"),
    [
        ({"level": "letter"}, "an encoding's level must be one of char, byte, bpe, word, prose, got 'letter'"),
        ({}, "an encoding's level must be one of char, byte, bpe, word, prose, got None"),
        ({"level": "word"}, "the description of a word encoding lacks 'words'"),
        ({"level": "prose"}, "the description of a prose encoding lacks 'words'"),
        ({"level": "char", "characters": "aba"}, "characters must differ from each other, but 'a' is there 2 times"),
        ({"level": "word", "words": ["a", "a"]}, "words must differ from each other, but 'a' is there 2 times"),
    ],
)
def test_a_description_that_is_none_is_an_error(description: dict[str, object], text: str) -> None:
    with pytest.raises(DataError) as error:
        encoding_from(description)
    assert str(error.value) == text


@pytest.mark.parametrize("level", ["byte", "bpe"])
def test_half_a_character_cannot_be_written_as_bytes(level: str) -> None:
    with pytest.raises(DataError, match="text must be Unicode, but character 2 is half a surrogate pair"):
        built(level).encode("ab\udc80")


def test_pairs_without_their_package_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtra, match=r"this needs tokenizers: pip install 'holdfast\[text\]'"):
        build_encoding("bpe", ["a"])
