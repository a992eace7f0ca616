"""A corpus: its parts, what is kept of it on the disk, and what is not trusted."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from holdfast.data import (
    BUILTIN,
    LEVELS,
    Corpus,
    DataError,
    Encoding,
    Told,
    build_corpus,
    build_encoding,
    builtin_text,
    encode_files,
    kept,
)
from holdfast.data import corpus as module

ROOT = Path(__file__).parents[2]
TEXT = "".join(f"{k} times {k} is {k * k}, söß\n" for k in range(1500))


@pytest.fixture
def text(tmp_path: Path) -> str:
    return written(tmp_path / "text.txt", TEXT)


def written(path: Path, content: str) -> str:
    path.write_bytes(content.encode())
    return str(path)


def decoded(corpus: Corpus) -> tuple[str, str]:
    return corpus.encoding.decode(corpus.train.ids), corpus.encoding.decode(corpus.valid.ids)


def built(text: str, cache: Path, level: str = "char") -> Corpus:
    return build_corpus([text], level=level, vocabulary_size=400 if level == "bpe" else None, folder=cache)


def no_encoding(*_: object) -> None:
    raise AssertionError("the text is encoded anew")


@pytest.mark.parametrize("level", ["char", "byte"])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.3333])
def test_a_text_is_split_at_exactly_this_character(level: str, share: float, text: str, tmp_path: Path) -> None:
    corpus = build_corpus([text], level=level, folder=tmp_path / "cache", share=share)
    cut = int(share * len(TEXT))
    assert decoded(corpus) == (TEXT[:cut], TEXT[cut:])
    assert (corpus.train.characters, corpus.valid.characters) == (cut, len(TEXT) - cut)
    assert corpus.test is None


@pytest.mark.parametrize("level", ["bpe", "word", "prose"])
def test_words_stay_whole_where_a_text_is_split(level: str, tmp_path: Path) -> None:
    for length in range(40, 60):
        text = written(tmp_path / "text.txt", "ab cde  fghi\n" * 9 + "x" * length)
        content = Path(text).read_text()
        corpus = build_corpus([text], level=level, folder=tmp_path / "cache", share=0.5)
        cut = int(0.5 * len(content))
        while content[cut] not in " \n" or content[cut - 1].isspace():
            cut += 1
        train = corpus.encoding.decode(corpus.train.ids)
        assert train.split() == content[:cut].split()
        if level == "bpe":
            assert decoded(corpus) == (content[:cut], content[cut:])


@pytest.mark.parametrize("length", range(40, 60))
def test_a_line_break_of_html_stays_whole_where_a_text_is_split(length: int, tmp_path: Path) -> None:
    text = written(tmp_path / "text.txt", "It's so<br /><BR />" * 3 + " " + "x" * length)
    corpus = build_corpus([text], level="prose", folder=tmp_path / "cache", share=0.5)
    tokens = [*corpus.train.ids.tolist(), *corpus.valid.ids.tolist()]
    assert [corpus.encoding.text_of(k) for k in tokens[:15]] == ["it", "'s", "so", "<eos>", "<eos>"] * 3
    assert len(tokens) == 16


def test_a_text_without_spaces_is_split_all_the_same(tmp_path: Path) -> None:
    text = written(tmp_path / "text.txt", "日本語" * 100)
    assert decoded(built(text, tmp_path, "bpe")) == ("日本語" * 90, "日本語" * 10)


def test_several_files_are_one_text(tmp_path: Path) -> None:
    for k in range(10):
        written(tmp_path / f"{k}.txt", TEXT[k * 3000 : (k + 1) * 3000])
    corpus = built(str(tmp_path / "*.txt"), tmp_path / "cache")
    assert decoded(corpus) == (TEXT[:27000], TEXT[27000:30000])
    assert corpus.train.sources == corpus.valid.sources == tuple(str(tmp_path / f"{k}.txt") for k in range(10))
    assert corpus.digest == hashlib.sha256(TEXT[:30000].encode()).hexdigest()


def test_files_for_each_part_are_taken_as_they_are(tmp_path: Path) -> None:
    paths = {name: written(tmp_path / name, f"{name} text") for name in ("train", "valid", "test")}
    corpus = build_corpus(*([path] for path in paths.values()), level="byte", folder=tmp_path / "cache")
    assert corpus.test is not None
    for name, part in (("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)):
        assert bytes(part.ids) == f"{name} text".encode()
        assert part.sources == (paths[name],)
        assert part.characters == len(f"{name} text")
    assert corpus.digest == hashlib.sha256(b"train textvalid texttest text").hexdigest()


def test_a_test_part_may_come_without_a_validation_part(text: str, tmp_path: Path) -> None:
    corpus = build_corpus([text], test=[written(tmp_path / "t", "9 times")], level="char", folder=tmp_path / "cache")
    assert corpus.test is not None
    assert corpus.encoding.decode(corpus.test.ids) == "9 times"
    assert decoded(corpus)[0] == TEXT[: int(0.9 * len(TEXT))]


def test_the_encoding_knows_the_training_part_alone(tmp_path: Path) -> None:
    text = written(tmp_path / "text.txt", "a" * 90 + "z" * 10)
    assert decoded(built(text, tmp_path)) == ("a" * 90, "�" * 10)
    valid = written(tmp_path / "valid.txt", "an apple")
    corpus = build_corpus([text], [valid], level="word", folder=tmp_path)
    assert corpus.encoding.decode(corpus.valid.ids) == "<unk> <unk>"


@pytest.mark.parametrize("level", LEVELS)
def test_tokens_are_little_endian_and_read_only(level: str, text: str, tmp_path: Path) -> None:
    corpus = built(text, tmp_path / "cache", level)
    ids = corpus.train.ids
    assert isinstance(ids, np.memmap)
    assert ids.dtype == corpus.encoding.dtype
    assert ids.dtype.str[0] in "<|"
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1
    part = TEXT[: int(0.9 * len(TEXT))]
    expected = corpus.encoding.encode(part)
    if level in ("char", "byte"):
        assert ids.tolist() == expected.tolist()
    else:  # there the part ends with a whole word
        assert ids[: len(expected) - 4].tolist() == expected[:-4].tolist()


def test_the_text_of_python_is_a_corpus_like_any(tmp_path: Path) -> None:
    corpus = built(BUILTIN, tmp_path)
    assert "".join(decoded(corpus)) == builtin_text()
    assert corpus.train.sources == (BUILTIN,)
    assert corpus.digest == hashlib.sha256(builtin_text().encode()).hexdigest()


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_kept_is_used_again(level: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = built(text, tmp_path / "cache", level)
    monkeypatch.setattr(module, "_write", no_encoding)
    monkeypatch.setattr(module, "build_encoding", no_encoding)
    again = built(text, tmp_path / "cache", level)
    assert decoded(again) == decoded(first)
    assert again.encoding.to_dict() == first.encoding.to_dict()
    assert (again.digest, again.train.characters, again.valid.sources) == (
        first.digest,
        first.train.characters,
        first.valid.sources,
    )
    moved = written(tmp_path / "moved.txt", TEXT)
    assert built(moved, tmp_path / "cache", level).train.sources == (moved,)


def test_another_text_or_option_is_kept_beside(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    other = written(tmp_path / "other.txt", TEXT + "more")
    third = written(tmp_path / "third.txt", TEXT)

    def all_kinds() -> list[list[int]]:
        asked = [
            build_corpus([text], level="char", folder=cache),
            build_corpus([other], level="char", folder=cache),
            build_corpus([text], level="byte", folder=cache),
            build_corpus([text], level="char", folder=cache, share=0.5),
            build_corpus([text], [other], level="char", folder=cache),
            build_corpus([text, other], level="char", folder=cache),
            build_corpus([text, other], [third], level="char", folder=cache),
            build_corpus([text], [other, third], level="char", folder=cache),
            build_corpus([text], level="word", folder=cache),
            build_corpus([text], level="word", vocabulary_size=9, folder=cache),
        ]
        return [[*corpus.train.ids.tolist(), -1, *corpus.valid.ids.tolist()] for corpus in asked]

    found = all_kinds()
    assert len({str(ids) for ids in found}) == len(found)
    monkeypatch.setattr(module, "_write", no_encoding)
    assert all_kinds() == found


def test_a_text_that_has_changed_is_encoded_anew(text: str, tmp_path: Path) -> None:
    built(text, tmp_path / "cache")
    stamp = os.stat(text)
    written(Path(text), TEXT[::-1])
    os.utime(text, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert "".join(decoded(built(text, tmp_path / "cache"))) == TEXT[::-1]


def _cut_short(place: Path) -> None:
    path = place / "train.bin"
    path.write_bytes(path.read_bytes()[:-1])


def _flipped(place: Path) -> None:
    path = place / "valid.bin"
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)


def _without_an_array(place: Path) -> None:
    (place / "train.bin").unlink()


def _without_facts(place: Path) -> None:
    (place / "corpus.json").unlink()


def _facts_cut_short(place: Path) -> None:
    path = place / "corpus.json"
    path.write_bytes(path.read_bytes()[:-9])


def _facts_of_another_text(place: Path) -> None:
    path = place / "corpus.json"
    facts = json.loads(path.read_text())
    facts["key"]["digests"] = ["0" * 64] * 3
    del facts["sha256"]
    path.write_text(json.dumps({**facts, "sha256": kept.fingerprint(facts)}))


def _facts_that_were_changed(place: Path) -> None:
    path = place / "corpus.json"
    path.write_text(path.read_text().replace('"characters": "', '"characters": "Q'))


def _facts_of_another_kind(place: Path) -> None:
    (place / "corpus.json").write_text("[1, 2]")


DAMAGES = [
    _cut_short,
    _flipped,
    _without_an_array,
    _without_facts,
    _facts_cut_short,
    _facts_of_another_text,
    _facts_that_were_changed,
    _facts_of_another_kind,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
def test_what_is_torn_or_foreign_is_made_anew(damage: Callable[[Path], None], text: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    built(text, cache)
    (place,) = cache.iterdir()
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    damage(place)
    assert {path.name: path.read_bytes() for path in place.iterdir()} != before
    assert "".join(decoded(built(text, cache))) == TEXT
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_a_run_that_is_stopped_while_it_writes_leaves_nothing_that_counts(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, replace = tmp_path / "cache", os.replace

    def stopped(source: Path, target: Path) -> None:
        if target.name == "corpus.json":
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            built(text, cache)
    (place,) = cache.iterdir()
    assert sorted(path.name for path in place.iterdir()) == ["train.bin", "valid.bin"]
    assert "".join(decoded(built(text, cache))) == TEXT


def fingerprint(corpus: Corpus) -> str:
    """All that there is in a corpus, as a short text."""
    content = [json.dumps(corpus.encoding.to_dict()).encode(), corpus.train.ids.tobytes(), corpus.valid.ids.tobytes()]
    return hashlib.sha256(b"".join(content)).hexdigest()


def test_processes_that_write_the_same_at_once_get_the_same(text: str, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.data.test_corpus import built, fingerprint\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for k in range(5): print(fingerprint(built(sys.argv[1], Path(sys.argv[2]) / str(k), 'bpe')))\n"
    )
    command = [sys.executable, "-c", program, text, str(tmp_path / "cache")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        own = [fingerprint(built(text, tmp_path / "cache" / str(k), "bpe")) for k in range(5)]
        others, errors = other.communicate()
    assert others.split() == own
    assert errors == ""
    assert len(set(own)) == 1
    assert not [path.name for path in (tmp_path / "cache").glob("*/.*")]


def test_one_that_is_overtaken_while_it_writes_leaves_the_others_files_alone(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, found = module._write, []

    def overtaken(folder: Path, name: str, pieces: Iterable[str], encoding: Encoding, told: Told) -> object:
        with monkeypatch.context() as patch:
            patch.setattr(module, "_write", write)
            found.append(built(text, tmp_path / "cache"))
        (theirs,) = (tmp_path / "cache").glob(f"[!.]*/{name}.bin")
        content = theirs.read_bytes()

        def watched() -> Iterator[str]:
            for piece in pieces:
                assert theirs.read_bytes() == content
                yield piece

        return write(folder, name, watched(), encoding, told)

    monkeypatch.setattr(module, "_write", overtaken)
    found.append(built(text, tmp_path / "cache"))
    assert len(found) == 3
    assert all("".join(decoded(corpus)) == TEXT for corpus in found)


@pytest.mark.parametrize("level", LEVELS)
def test_the_characters_of_the_first_tokens_are_those_of_their_text(level: str, tmp_path: Path) -> None:
    content = "to  be or\nnot to söß, thât is unheard of \n" * 30
    tokens = encode_files([written(tmp_path / "t", content)], build_encoding(level, ["to be or\n"]), tmp_path / "cache")
    assert tokens.characters == len(content)
    assert tokens.first(len(tokens.ids)) is tokens
    end = "\nnot to söß, thât"
    for text in ("to  be or", content[:42], content[: content.index(end) + len(end)], content * 2):
        part = tokens.first(len(tokens.encoding.encode(text)))
        assert part.characters == min(len(text), len(content))
        assert part.ids.tolist() == tokens.ids[: len(part.ids)].tolist()
        assert part.first(1).characters == tokens.first(1).characters == (2 if level in ("bpe", "word", "prose") else 1)


def test_spans_that_were_changed_are_made_anew(tmp_path: Path) -> None:
    text, encoding = written(tmp_path / "t", "to be unheard"), build_encoding("word", ["to be"])
    assert encode_files([text], encoding, tmp_path / "cache").first(2).characters == 5
    (path,) = (tmp_path / "cache").glob("*/text-spans.bin")
    path.write_bytes(bytes(12))
    assert encode_files([text], encoding, tmp_path / "cache").first(2).characters == 5


@pytest.mark.parametrize("level", LEVELS)
def test_files_are_encoded_with_an_encoding_that_is_there(
    level: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding = build_encoding(level, ["9 times 9 is\n"])
    expected = encoding.encode(TEXT)
    tokens = encode_files([text], encoding, tmp_path / "cache")
    assert tokens.ids.tolist() == expected.tolist()
    assert tokens.characters == len(TEXT)
    assert tokens.sources == (text,)
    other = encode_files([text], build_encoding("char", ["9"]), tmp_path / "cache")
    assert other.ids.tolist() != tokens.ids.tolist()
    monkeypatch.setattr(module, "_write", no_encoding)
    assert encode_files([text], encoding, tmp_path / "cache").ids.tolist() == expected.tolist()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 1.5, float("nan")])
def test_a_share_must_lie_between_0_and_1(share: float, text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"share must lie between 0 and 1, got {share}"):
        build_corpus([text], level="char", folder=tmp_path, share=share)


def test_a_text_too_short_to_split_is_an_error(tmp_path: Path) -> None:
    text = written(tmp_path / "text.txt", "a")
    for level in LEVELS:
        with pytest.raises(DataError) as error:
            built(text, tmp_path / "cache", level)
        assert str(error.value) == (
            f"the text in {text} has 1 characters, too few to learn from 90% of them and validate on the rest: "
            "give more text, or valid"
        )


def test_arguments_that_do_not_fit_each_other_are_errors(text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train must name at least one file"):
        build_corpus([], level="char", folder=tmp_path)
    with pytest.raises(DataError, match="level must be one of char, byte, bpe, word, prose, got 'letter'"):
        build_corpus([text], level="letter", folder=tmp_path)


def test_text_without_tokens_is_an_error(text: str, tmp_path: Path) -> None:
    blank, empty = written(tmp_path / "blank", "   "), written(tmp_path / "empty", "")
    with pytest.raises(DataError, match="there are no tokens for valid: its text is nothing but spaces"):
        build_corpus([text], [blank], level="word", folder=tmp_path / "cache")
    with pytest.raises(DataError, match=r"there is no text in .*empty: not one character"):
        build_corpus([text], [empty], level="char", folder=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")]


MEMORY = """
import sys, threading, time
from pathlib import Path
from holdfast.data import build_corpus

def megabytes():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024

before = megabytes()
for level in ("char", "word"):
    most, done = 0.0, threading.Event()

    def watch():
        global most
        while not done.wait(0.01):
            most = max(most, megabytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    corpus = build_corpus([sys.argv[1]], level=level, folder=Path(sys.argv[2]))
    done.set()
    watcher.join()
    print(len(corpus.train.ids) + len(corpus.valid.ids), most - before)
"""


@pytest.mark.full  # tests/data/labelled/test_rows.py shows it of a smaller file
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc")
def test_a_text_is_never_held_as_a_whole(tmp_path: Path) -> None:
    megabytes, limit = 40, 32  # what it takes is about 16 for characters and 22 for words
    line = "".join(f"{k} times söß\n" for k in range(1000))
    text = written(tmp_path / "text.txt", line * (megabytes * 1_000_000 // len(line) + 1))
    command = [sys.executable, "-c", MEMORY, text, str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for result in done.stdout.splitlines():
        tokens, most = result.split()
        assert int(tokens) > 6_000_000
        assert 1 < float(most) < limit
