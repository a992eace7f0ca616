"""Text from files: which files, their characters whatever the size of a piece, and errors that say what is wrong."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import os
import random
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from holdfast.data import BUILTIN, DataError, builtin_text, chunks, files, lines, within
from holdfast.data.sources import (
    below,
    blocks,
    digests_so_far,
    each_counted,
    is_file,
    is_folder,
    seekable,
    suffix,
    text_of_files,
    text_within,
    unpacked,
)

TEXT = "Zoë said: “naïve 日本語 𝄞 😀”\r\n\n\ttwo\u2028lines\r"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of texts, with hidden ones, a folder in it, and a file in a hidden folder."""
    for name in ("b.txt", "a.txt", "c.md", ".hidden.txt", "deep/d.txt", "deep/er/e.txt", ".git/f.txt"):
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}\n", encoding="utf-8")
    return tmp_path / "texts"


def written(path: Path, content: bytes | str) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def message(paths: list[str]) -> str:
    """What is said when files are read."""
    with pytest.raises(DataError) as error:
        "".join(text_of_files(files(paths)))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_stands_for_all_its_files_but_hidden_ones(folder: Path) -> None:
    expected = [folder / name for name in ("a.txt", "b.txt", "c.md", "deep/d.txt", "deep/er/e.txt")]
    assert files([str(folder)]) == [*map(str, expected)]
    assert files([f"{folder}/"]) == [*map(str, expected)]


def test_a_hidden_folder_that_is_named_is_read(folder: Path) -> None:
    assert files([str(folder / ".git")]) == [str(folder / ".git" / "f.txt")]
    assert files([str(folder / ".git" / "*.txt")]) == [str(folder / ".git" / "f.txt")]


def test_a_glob_stands_for_what_it_matches(folder: Path) -> None:
    assert files([f"{folder}/*.txt"]) == [f"{folder}/a.txt", f"{folder}/b.txt"]
    assert files([f"{folder}/**/?.txt"]) == [
        f"{folder}/{name}" for name in ("a.txt", "b.txt", "deep/d.txt", "deep/er/e.txt")
    ]
    assert files([f"{folder}/[bc]*"]) == [f"{folder}/b.txt", f"{folder}/c.md"]


def test_a_relative_path_stays_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert files(["texts/deep"]) == [
        os.path.join("texts", "deep", "d.txt"),
        os.path.join("texts", "deep", "er", "e.txt"),
    ]
    assert files(["texts/*.md", "texts/a.txt"]) == [os.path.join("texts", "c.md"), "texts/a.txt"]


def test_a_name_with_brackets_is_a_name_first(tmp_path: Path) -> None:
    name = written(tmp_path / "part[1].txt", "one")
    written(tmp_path / "part1.txt", "another")
    assert files([name]) == [name]


def test_a_file_counts_once_and_stands_where_it_was_first_named(folder: Path) -> None:
    assert files([f"{folder}/b.txt", f"{folder}/*.txt"]) == [f"{folder}/b.txt", f"{folder}/a.txt"]


def test_urls_are_read_as_files_are() -> None:
    MemoryFileSystem.clear_instance_cache()
    system = MemoryFileSystem()
    system.pipe({"/holdfast/x.txt": b"ex", "/holdfast/in/y.txt": b"why", "/holdfast/.z": b"no"})
    found = files(["memory://holdfast"])
    assert found == ["memory:///holdfast/in/y.txt", "memory:///holdfast/x.txt"]
    assert [*text_of_files(found)] == ["why", "ex"]
    assert files(["memory://holdfast/x.txt", "memory://holdfast/*/y*"]) == ["memory://holdfast/x.txt", found[0]]
    system.rm("/holdfast", recursive=True)


def test_files_in_an_archive_are_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        archive.writestr("one.txt", "first ")
        archive.writestr("two.txt", "second")
    found = files([f"zip://*.txt::{tmp_path}/texts.zip"])
    assert len(found) == 2
    assert "".join(text_of_files(found)) == "first second"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_a_character_may_lie_across_pieces(size: int, tmp_path: Path) -> None:
    path = written(tmp_path / "text", TEXT)
    pieces = [*chunks(path, size)]
    assert "".join(pieces) == TEXT
    assert all(pieces)
    assert max(len(piece.encode()) for piece in pieces) < size + 4


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_byte_order_mark_is_dropped_at_the_start_only(size: int, tmp_path: Path) -> None:
    path = written(tmp_path / "text", "\ufeff\ufeffa\ufeffb")
    assert "".join(chunks(path, size)) == "\ufeffa\ufeffb"


def test_random_text_comes_back_as_it_is(tmp_path: Path) -> None:
    draw = random.Random(3)
    text = "".join(chr(draw.choice([*range(1, 300), 0x20AC, 0x1F600, 0xFFFD, 0x10FFFF])) for _ in range(5000))
    path = written(tmp_path / "text", text)
    for _ in range(10):
        assert "".join(chunks(path, draw.randrange(1, 6000))) == text


def test_files_are_joined_with_nothing_between_them(tmp_path: Path) -> None:
    paths = [written(tmp_path / "1", "a b"), written(tmp_path / "2", ""), written(tmp_path / "3", "\ufeffc")]
    assert "".join(text_of_files(paths)) == "a bc"


def test_lines_have_their_file_and_number(tmp_path: Path) -> None:
    one, two = written(tmp_path / "1", "α\n\nβ\r\nlast"), written(tmp_path / "2", "only\n")
    assert [*lines([one, two])] == [(one, 1, "α"), (one, 2, ""), (one, 3, "β\r"), (one, 4, "last"), (two, 1, "only")]


def test_a_line_may_be_longer_than_a_piece(tmp_path: Path) -> None:
    long = "xé" * 900_000
    path = written(tmp_path / "1", f"{long}\n{long}\nend\n")
    assert [(number, text) for _, number, text in lines([path])] == [(1, long), (2, long), (3, "end")]


def test_the_digest_is_that_of_the_contents_in_order(tmp_path: Path) -> None:
    content = random.Random(5).randbytes(3_000_000)
    paths = [written(tmp_path / "1", content[:2_500_000]), written(tmp_path / "2", content[2_500_000:])]
    first, both, other = digests_so_far([paths[:1], paths[1:], []])
    assert first == hashlib.sha256(content[:2_500_000]).hexdigest()
    assert both == other == hashlib.sha256(content).hexdigest()


def test_the_text_that_python_brings_reads_like_a_file() -> None:
    from pydoc_data.topics import topics

    text = builtin_text()
    assert len(text) == sum(map(len, topics.values()))
    assert all(topic in text for topic in topics.values())
    assert text.startswith(topics[min(topics)])
    assert text.endswith(topics[max(topics)])
    assert files([BUILTIN]) == [BUILTIN]
    assert "".join(chunks(BUILTIN, 1000)) == text
    assert digests_so_far([[BUILTIN]])[0] == hashlib.sha256(text.encode()).hexdigest()


def test_a_file_that_is_missing_is_told_with_the_nearest_name(folder: Path) -> None:
    written(folder / "shakespeare.txt", "to be")
    assert message([f"{folder}/shakespear.txt"]) == (
        f"there is no {folder}/shakespear.txt; did you mean {folder}/shakespeare.txt?"
    )
    assert message([f"{folder}/zzzzzzzzzzz"]) == f"there is no {folder}/zzzzzzzzzzz"
    assert message([f"{folder}/none/a.txt"]) == f"there is no {folder}/none/a.txt, nor the folder it should be in"


def test_a_file_that_vanishes_is_missing(folder: Path) -> None:
    found = files([str(folder / "c.md")])
    (folder / "c.md").unlink()
    with pytest.raises(DataError, match=r"there is no .*c\.md"):
        next(chunks(found[0]))


def test_a_pattern_that_stands_for_no_file_is_an_error(folder: Path) -> None:
    (folder / "empty" / ".hidden").mkdir(parents=True)
    written(folder / "empty" / ".hidden" / "a", "a")
    assert message([f"{folder}/*.tex"]) == f"no file matches {folder}/*.tex"
    assert message([f"{folder}/emp*"]) == f"no file matches {folder}/emp*"
    assert message([f"{folder}/empty"]) == f"the folder {folder}/empty has no files in it"


def test_text_without_a_character_is_an_error(tmp_path: Path) -> None:
    one, two = written(tmp_path / "1", ""), written(tmp_path / "2", "\ufeff")
    assert message([one]) == f"there is no text in {one}: not one character"
    assert message([one, two]) == f"there is no text in the 2 files from {one} to {two}: not one character"
    assert message([]) == "there are no files to read"
    with pytest.raises(DataError, match="not one character"):
        [*lines([one, two])]
    with pytest.raises(DataError, match="there are no files"):
        [*lines([])]


LATIN = ": it looks like latin-1, which --encoding latin-1 reads"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"fine\0", "byte 4 is NUL"),
        (b"a" * 1_500_000 + b"\0", "byte 1500000 is NUL"),
        ("é\né\n".encode() + b"\xff\n", "line 3 is not"),
        (b"a\n" * 600_000 + b"\xe9\n", f"line 600,001 is not{LATIN}"),
        (b"a\n" * ((1 << 17) - 1) + b"a\xe2\x82x", f"line 131,072 is not{LATIN.replace('latin-1', 'cp1252')}"),
        ("é".encode() + b"\xe2\x82", "it ends within a character"),
        ("M\nüller".encode("latin-1"), f"line 2 is not{LATIN}"),
        (codecs.BOM_UTF16_LE + "hi".encode("utf-16-le"), "it begins like UTF-16: --encoding utf-16 reads it"),
        (codecs.BOM_UTF16_BE + "hi".encode("utf-16-be"), "it begins like UTF-16: --encoding utf-16 reads it"),
        (codecs.BOM_UTF32_LE + "hi".encode("utf-32-le"), "it begins like UTF-32: --encoding utf-32 reads it"),
    ],
)
def test_a_file_that_is_not_text_is_told_by_the_line(content: bytes, why: str, tmp_path: Path) -> None:
    path = written(tmp_path / "text", content)
    assert message([path]) == f"{path} must be UTF-8 text, but {why}"


def test_a_file_is_told_from_a_folder_and_from_nothing(tmp_path: Path) -> None:
    path = written(tmp_path / "a b", "a")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "deep/a")
    for name in (path, f"file://{path}", f"zip://deep/a::{tmp_path}/a.zip"):
        assert is_file(name)
    for name in (str(tmp_path), f"{path}c", f"zip://deep::{tmp_path}/a.zip", f"zip://b::{tmp_path}/a.zip"):
        assert not is_file(name)


def test_a_protocol_nobody_knows_is_an_error() -> None:
    assert message(["nowhere://a.txt"]) == "nowhere://a.txt cannot be read: Protocol not known: nowhere"


def test_another_builtin_text_is_an_error() -> None:
    assert message(["builtin:bible"]) == (
        "there is no builtin:bible: the only text that comes with Python is builtin:python-docs"
    )


def test_one_path_in_place_of_a_list_is_an_error() -> None:
    with pytest.raises(DataError, match=r"patterns must be a list of paths, got one path, 'a\.txt'"):
        files("a.txt")


def test_a_file_that_fails_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    with pytest.raises(DataError, match="text cannot be read: Is a directory"):
        next(chunks(str(tmp_path / "text")))


def test_a_packed_file_is_unpacked_whatever_the_size_of_a_block(tmp_path: Path) -> None:
    data = TEXT.encode() * 100
    path = written(tmp_path / "a.txt.GZ", gzip.compress(data[:777]) + gzip.compress(data[777:]) + bytes(100))
    for size in (1, 1000, 1 << 20):
        found = [*unpacked(path, size)]
        assert b"".join(found) == data
        assert max(map(len, found)) <= size
    assert "".join(text_within(path)) == TEXT * 100
    assert b"".join(unpacked(written(tmp_path / "b.txt", data))) == data


@pytest.mark.parametrize("spoiled", [b"", b"plain text"])
def test_a_file_that_cannot_be_unpacked_is_told(spoiled: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "a.gz", spoiled or gzip.compress(TEXT.encode())[:-9])
    with pytest.raises(DataError) as error:
        [*unpacked(path)]
    assert str(error.value).startswith(f"{path} cannot be unpacked: ")


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_a_file_is_read_in_any_order(name: str, tmp_path: Path) -> None:
    data = TEXT.encode()
    path = written(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)
    with seekable(path) as file:
        file.seek(-5, os.SEEK_END)
        assert file.read() == data[-5:]
        file.seek(0)
        assert file.read(3) == data[:3]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.csv", ".csv"),
        ("A.CSV.GZ", ".csv"),
        ("folder.d/name", ""),
        ("zip://a/b.tsv::https://example.org/all.zip", ".tsv"),
        ("name.gz", ""),
    ],
)
def test_the_kind_of_a_file_is_told_by_its_name(path: str, kind: str) -> None:
    assert suffix(path) == kind


def test_what_is_in_a_folder_is_named_from_there_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = ["a.txt", "b.txt", "c.md", "deep/d.txt", "deep/er/e.txt"]
    assert below(str(folder)) == [(name, f"{folder}/{name}") for name in inside]
    monkeypatch.chdir(folder.parent)
    assert below("texts/deep/") == [("d.txt", "texts/deep/d.txt"), ("er/e.txt", "texts/deep/er/e.txt")]


def test_a_folder_is_told_from_a_file(folder: Path) -> None:
    assert is_folder(str(folder))
    assert is_folder(f"{folder}/")
    assert not is_folder(f"{folder}/a.txt")
    assert not is_folder(f"{folder}/nothing")


def test_a_file_whose_name_is_not_utf_8_is_refused_by_name(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.txt")
    Path(path).write_text("to be")
    said = f"the name {os.fsencode(path)!r} is not UTF-8 text: rename the file"
    assert message([path]) == message([f"{tmp_path}/*"]) == message([str(tmp_path)]) == said


def test_nothing_outside_of_a_folder_is_opened_while_that_is_asked_for(tmp_path: Path) -> None:
    for folder in ("run", "other"):
        (tmp_path / folder).mkdir()
    inside, outside = written(tmp_path / "run" / "a.txt", "to be"), written(tmp_path / "other" / "b.txt", "or not")
    (tmp_path / "run" / "link.txt").symlink_to(outside)
    with within(tmp_path / "run"):
        assert "".join(chunks(inside)) == "to be"
        for path in (
            outside,
            str(tmp_path / "run" / "link.txt"),
            str(tmp_path / "run" / ".." / "other" / "b.txt"),
            f"file://{inside}",
            f"zip://a.txt::{inside}",
            "https://example.org/a.txt",
        ):
            for open_it in (lambda path: files([path]), lambda path: [*chunks(path)]):
                with pytest.raises(DataError, match="lies outside of"):
                    open_it(path)
    assert "".join(chunks(outside)) == "or not"


@pytest.mark.parametrize("read", [chunks, files, blocks], ids=lambda read: read.__name__)
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(read: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(DataError):
        [*read([str(tmp_path / "pipe.txt")] if read is files else str(tmp_path / "pipe.txt"))]


def test_items_that_take_long_are_counted_one_by_one_and_fast_ones_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.1, 0.7, 0.8, 1.3, 1.4])
    monkeypatch.setattr("holdfast.data.sources.time", SimpleNamespace(monotonic=lambda: next(clock)))
    told: list[str] = []
    assert [*each_counted("abcde", "reading train", "pieces", told.append)] == [*"abcde"]
    assert told == ["reading train", "reading train: 2 pieces", "reading train: 4 pieces"]
