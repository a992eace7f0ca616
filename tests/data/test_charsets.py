"""Text files that are not UTF-8: what they look like, and what they are read as."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.data import DataError, UnknownCharset, chunks, known_charset, reading_as
from holdfast.data.charsets import looks_like
from holdfast.data.kept import kept

TEXTS = {
    "latin-1": "Die größte Straße führt über Köln nach Süden.\nEl niño comió.\n",
    "cp1252": "He said \u201cno\u201d \u2013 na\u00efve caf\u00e9s.\n",
    "cp1251": "\u042d\u0442\u043e \u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u0442\u0435\u043a\u0441\u0442.\n",
    "koi8_r": "\u042d\u0442\u043e \u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u0442\u0435\u043a\u0441\u0442.\n",
    "shift_jis": "\u3053\u308c\u306f\u65e5\u672c\u8a9e\u306e\u6587\u3067\u3059\u3002\n",
    "euc_jp": "\u3053\u308c\u306f\u65e5\u672c\u8a9e\u306e\u6587\u3067\u3059\u3002\n",
    "euc_kr": "\uc774\uac83\uc740 \ud55c\uad6d\uc5b4 \ubb38\uc7a5\uc785\ub2c8\ub2e4.\n",
    "gb18030": "\u8fd9\u662f\u4e00\u4e2a\u4e2d\u6587\u53e5\u5b50\u3002\n",
    "utf-16-le": "to be or not to be\n",
    "utf-16-be": "to be or not to be\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_bytes_look_like_what_they_are(name: str) -> None:
    assert looks_like(TEXTS[name].encode(name)) == name


@pytest.mark.parametrize(
    "content", [b"", b"plain", b"PK\x03\x04\0\0", bytes(range(256)), "\u00e9\u20ac".encode() + b"\xff"]
)
def test_what_cannot_be_told_is_not_guessed_at(content: bytes) -> None:
    assert looks_like(content) == ""


@pytest.mark.parametrize("name", [*TEXTS, "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("size", [3, 1 << 18])
def test_text_is_read_as_the_encoding_that_is_named(name: str, size: int, tmp_path: Path) -> None:
    text = TEXTS.get(name, "na\u00efve\n")
    (tmp_path / "a.txt").write_bytes(text.encode(name))
    with reading_as(name):
        assert "".join(chunks(str(tmp_path / "a.txt"), size)) == text
    if name != "utf-8-sig":
        with pytest.raises(DataError, match=f"must be UTF-8 text, but .* --encoding {name} reads"):
            [*chunks(str(tmp_path / "a.txt"))]


def test_text_that_is_of_another_encoding_than_is_named_is_told_by_the_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("one\ntwo\n".encode("shift_jis") + b"\xff\xff\n")
    with reading_as("shift_jis"), pytest.raises(DataError, match=r"a\.txt must be SHIFT_JIS text, but line 3 is not$"):
        [*chunks(str(tmp_path / "a.txt"))]


@pytest.mark.parametrize("name", ["klingon", "base64", "utf-8\0", "\u00e9"])
def test_a_name_of_no_encoding_is_refused(name: str) -> None:
    with pytest.raises(UnknownCharset, match="there is no encoding"):
        known_charset(name)


def test_what_was_made_of_a_file_in_another_encoding_is_not_taken(tmp_path: Path) -> None:
    def write(place: Path) -> dict[str, object]:
        return {"arrays": {}}

    plain = kept(tmp_path, {"a": 1}, write)[0]
    with reading_as("latin-1"):
        latin = kept(tmp_path, {"a": 1}, write)[0]
    with reading_as("cp1252"):
        assert len({plain, latin, kept(tmp_path, {"a": 1}, write)[0]}) == 3
