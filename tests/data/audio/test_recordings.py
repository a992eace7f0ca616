"""Recordings with their texts: parts, symbols, what is kept, and what is refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from holdfast.data import DataError
from holdfast.data.audio import Recordings, SpeechManner, build_speech, sound
from holdfast.data.audio import recordings as module
from holdfast.data.audio.keypad import keypad

from ...support import peak_memory
from .helpers import tone, written

TEXTS = ["one two", "Two", "three  one\n", "two one", "ONE", "three"]


def _manifest(folder: Path, texts: list[str] = TEXTS, rate: int = 8000, name: str = "list.jsonl") -> str:
    """A table and its recordings, each of another tone and length."""
    lines = []
    for k, text in enumerate(texts):
        written(folder / f"wavs/{k}.wav", tone(300 + 50 * k, 0.1 + 0.01 * k, rate), rate)
        lines.append(json.dumps({"path": f"wavs/{k}.wav", "text": text}))
    (folder / name).write_text("\n".join(lines))
    return str(folder / name)


def _build(tmp_path: Path, symbols: str = "", rate: int = 0, manner: Any = None, **sources: str) -> Any:
    return build_speech(
        {name: [path] for name, path in sources.items()},
        SpeechManner(**(manner or {})),
        tmp_path / "kept",
        tuple(symbols),
        rate,
    )


def _texts(part: Recordings) -> list[str]:
    return [part.text(k) for k in range(len(part))]


def test_parts_keep_their_sounds_texts_and_names(tmp_path: Path) -> None:
    train, test = _manifest(tmp_path / "a"), _manifest(tmp_path / "b", ["one", "two"])
    found = _build(tmp_path, train=train, valid=test, test=test)
    assert (found.rate, found.notes, [*found.parts]) == (8000, (), ["train", "valid", "test"])
    part = found.parts["train"]
    assert _texts(part) == ["one two", "two", "three one", "two one", "one", "three"]
    assert "".join(found.symbols) == " ehnortw"
    assert part.lengths.tolist() == [800, 880, 960, 1040, 1120, 1200]
    for k in range(6):
        assert part.name(k) == f"{tmp_path}/a/wavs/{k}.wav"
        assert part.of(k).dtype == np.float32
        np.testing.assert_array_equal(part.of(k), sound(part.name(k), 8000))
    assert _texts(found.parts["test"]) == ["one", "two"]


def test_a_tenth_is_put_aside_to_choose_on(tmp_path: Path) -> None:
    train = _manifest(tmp_path / "a", [f"text {k}" for k in range(20)])
    found = _build(tmp_path, train=train)
    parts = {name: {part.name(k) for k in range(len(part))} for name, part in found.parts.items()}
    assert {name: len(names) for name, names in parts.items()} == {"train": 18, "valid": 2}
    assert not parts["train"] & parts["valid"]
    assert set("0123456789") < set(found.symbols)
    other = _build(tmp_path, train=train, manner={"seed": 1}).parts["valid"]
    assert {other.name(k) for k in range(2)} != parts["valid"]
    assert len(_build(tmp_path, train=train, manner={"share": 0.001}).parts["valid"]) == 1
    with pytest.raises(DataError, match="of 1 recordings 1 cannot be put aside to choose on"):
        _build(tmp_path, train=_manifest(tmp_path / "b", ["one"]))


def test_the_symbols_are_those_of_what_is_learned_from_in_whatever_order_parts_are_named(tmp_path: Path) -> None:
    train, test = _manifest(tmp_path / "a"), _manifest(tmp_path / "b", ["one"])
    found = _build(tmp_path, test=test, valid=test, train=train)
    assert "".join(found.symbols) == " ehnortw"


def test_large_letters_stay_where_that_is_wanted(tmp_path: Path) -> None:
    train = _manifest(tmp_path / "a", ["Ja", "cafe\u0301", "É"])
    assert _texts(_build(tmp_path, train=train, valid=train).parts["train"]) == ["ja", "café", "é"]
    found = _build(tmp_path, train=train, valid=train, manner={"case": True})
    assert "".join(found.symbols) == "JacfÉé"
    assert _texts(found.parts["train"]) == ["Ja", "café", "É"]


def test_sounds_are_brought_to_one_rate(tmp_path: Path) -> None:
    train = _manifest(tmp_path / "a", rate=11025)
    written(tmp_path / "a/wavs/0.wav", tone(300, 0.1, 44100)[:4410], 44100)
    found = _build(tmp_path, train=train)
    assert found.rate == 11025
    parts = {part.name(k): part.of(k) for part in found.parts.values() for k in range(len(part))}
    assert len(parts[f"{tmp_path}/a/wavs/0.wav"]) == 1103
    assert _build(tmp_path, train=train, manner={"rate": 6000}).rate == 6000
    assert _build(tmp_path, train=_manifest(tmp_path / "b", rate=48000)).rate == 16000
    assert _build(tmp_path, given=train, symbols="ehnortw ", rate=4000).rate == 4000


def test_what_was_made_once_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = _manifest(tmp_path / "a")
    first = _build(tmp_path, train=train)

    def never(*given: object) -> None:
        raise AssertionError("made anew")

    monkeypatch.setattr(module, "_write", never)
    again = _build(tmp_path, train=train, manner={"rate": first.rate})
    assert (first.digest, first.symbols, first.rate) == (again.digest, again.symbols, again.rate)
    assert _texts(first.parts["valid"]) == _texts(again.parts["valid"])
    np.testing.assert_array_equal(first.parts["train"].of(2), again.parts["train"].of(2))
    for manner in ({"seed": 1}, {"case": True}, {"rate": 4000}):
        with pytest.raises(AssertionError, match="made anew"):
            _build(tmp_path, train=train, manner=manner)
    written(tmp_path / "a/wavs/3.wav", tone(350, 0.1, 8000), 8000)
    with pytest.raises(AssertionError, match="made anew"):
        _build(tmp_path, train=train)


def test_the_digest_is_that_of_the_tables_and_the_recordings(tmp_path: Path) -> None:
    train = _manifest(tmp_path / "a", ["one", "two"])
    names = ["list.jsonl", "wavs/0.wav", "wavs/1.wav"]
    together = b"".join((tmp_path / "a" / name).read_bytes() for name in names)
    assert _build(tmp_path, train=train).digest == hashlib.sha256(together).hexdigest()


def test_other_recordings_are_read_with_what_was_learned(tmp_path: Path) -> None:
    given = _manifest(tmp_path / "a", ["two", "", "one"])
    found = _build(tmp_path, given=given, symbols="zweontz", rate=4000)
    assert _texts(found.parts["given"]) == ["two", "", "one"]
    assert "".join(found.symbols) == "zweontz"
    assert found.parts["given"].lengths.tolist() == [400, 440, 480]


def test_recordings_in_none_of_which_anything_is_said_are_refused(tmp_path: Path) -> None:
    given = _manifest(tmp_path / "a", ["", " "])
    with pytest.raises(DataError, match="nothing is said in any recording of the part given"):
        _build(tmp_path, given=given, symbols="one")


def test_a_manifest_may_be_within_an_archive(tmp_path: Path) -> None:
    train = _manifest(tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in sorted((tmp_path / "a").rglob("*.*")):
            archive.write(path, f"deep/{path.relative_to(tmp_path / 'a')}")
    found = _build(tmp_path, train=f"zip://deep/list.jsonl::{tmp_path}/a.zip")
    assert _texts(found.parts["train"]) == _texts(_build(tmp_path, train=train).parts["train"])


@pytest.mark.parametrize(
    ("part", "text", "said"),
    [
        ("train", " ", "the text is empty"),
        ("valid", "", "the text is empty"),
        ("valid", "six", "the symbol 's', which is in no text that was learned from"),
        ("test", "one?", r"the symbol '\?', which is in no text that was learned from"),
    ],
)
def test_a_text_that_cannot_be_used_is_named_with_its_line(part: str, text: str, said: str, tmp_path: Path) -> None:
    sources = {"train": _manifest(tmp_path / "a"), "valid": _manifest(tmp_path / "b")}
    sources[part] = _manifest(tmp_path / "c", ["one", text, "two"])
    with pytest.raises(DataError, match=rf"c/list\.jsonl, line 2: {said}; fit with --skip-bad"):
        _build(tmp_path, **sources)
    found = _build(tmp_path, **sources, manner={"skip_bad": True})
    assert _texts(found.parts[part]) == ["one", "two"]
    assert found.notes[0].startswith("1 row left out: the ")
    assert found.notes[0].endswith(f"(the first is {tmp_path}/c/list.jsonl, line 2)")


def test_recordings_that_cannot_be_heard_are_named_or_left_out(tmp_path: Path) -> None:
    train = _manifest(tmp_path / "a", ["one", "two", "three", "one", "two"])
    wavs = tmp_path / "a/wavs"
    (wavs / "1.wav").write_bytes((wavs / "1.wav").read_bytes()[:-100])
    with pytest.raises(DataError, match=r"list\.jsonl, line 2: the recording '.*/1\.wav': the sound is cut short: it"):
        _build(tmp_path, train=train)
    (wavs / "2.wav").write_bytes(b"")
    written(wavs / "3.wav", np.zeros(0), 8000)
    (wavs / "0.wav").unlink()
    found = _build(tmp_path, train=train, valid=_manifest(tmp_path / "b", ["two"]), manner={"skip_bad": True})
    assert _texts(found.parts["train"]) == ["two"]
    np.testing.assert_array_equal(found.parts["train"].of(0), sound(str(wavs / "4.wav"), 8000))
    assert "".join(found.symbols) == "otw"
    assert [note.partition(" (")[0] for note in found.notes] == [
        f"1 row left out: there is no recording '{wavs}/0.wav'",
        f"1 row left out: the recording '{wavs}/1.wav': the sound is cut short: it has 830 samples of 880",
        f"1 row left out: the recording '{wavs}/2.wav': it is not a sound in WAV, FLAC or Ogg: Format not recognised",
        f"1 row left out: the recording '{wavs}/3.wav': the sound has no samples",
    ]
    for wav in wavs.iterdir():
        wav.unlink()
    with pytest.raises(DataError, match="5 recordings are not there: "):
        _build(tmp_path, train=train)
    with pytest.raises(DataError, match="10 recordings are not there: "):
        _build(tmp_path, train=train, test=train)
    with pytest.raises(DataError, match="there is not one recording left of the part train"):
        _build(tmp_path, train=train, manner={"skip_bad": True})


def test_what_was_half_written_of_a_bad_recording_is_taken_back(tmp_path: Path) -> None:
    train = _manifest(tmp_path / "a", ["one", "two", "one"])
    long = tmp_path / "a/wavs/1.flac"
    soundfile.write(long, np.random.default_rng(0).uniform(-0.5, 0.5, 30 * 8000), 8000)
    long.write_bytes(long.read_bytes()[:-50_000])  # more than its first ten seconds are there
    Path(train).write_text(Path(train).read_text().replace("1.wav", "1.flac"))
    found = _build(tmp_path, train=train, valid=train, manner={"skip_bad": True})
    assert found.parts["train"].lengths.tolist() == [800, 960]
    np.testing.assert_array_equal(found.parts["train"].of(1), sound(str(tmp_path / "a/wavs/2.wav"), 8000))


def test_what_is_no_table_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", np.zeros(9), 8000)
    with pytest.raises(DataError, match=r"a\.wav is no table of recordings: \.csv, \.tsv"):
        _build(tmp_path, train=path)
    with pytest.raises(DataError, match="name at least one table of recordings"):
        _build(tmp_path)
    with pytest.raises(DataError, match="the column 'x' must have one role, got 2"):
        SpeechManner(audio="x", text="x")
    with pytest.raises(DataError, match="rate must be 0 or samples per second, got -1"):
        SpeechManner(rate=-1)


@pytest.mark.full  # tests/data/test_corpus.py has it of texts, kept in the same way
def test_several_processes_may_build_at_once(tmp_path: Path) -> None:
    train = _manifest(tmp_path / "a")
    program = (
        "import sys; from pathlib import Path; from holdfast.data.audio import *\n"
        "found = build_speech({'train': [sys.argv[1]]}, SpeechManner(), Path(sys.argv[2]))\n"
        "print(found.digest, found.parts['train'].of(0).sum())"
    )
    command = [sys.executable, "-c", program, train, str(tmp_path / "kept")]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    printed = {child.communicate()[0] for child in children}
    assert len(printed) == 1
    assert not any(child.returncode for child in children)


def test_the_builtin_brings_its_own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"train": (30, 0), "valid": (3, 1), "test": (4, 2), "given": (4, 2)}
    monkeypatch.setattr(module, "_KEYPAD", few)
    found = _build(tmp_path, train="builtin:keypad")
    assert {name: len(part) for name, part in found.parts.items()} == {"train": 30, "valid": 3, "test": 4}
    assert found.rate == 8000
    assert "".join(found.symbols) == "0123456789"
    for name, part in found.parts.items():
        for k, (samples, digits) in enumerate(keypad(*few[name])):
            assert part.text(k) == digits
            np.testing.assert_allclose(part.of(k), samples, atol=2e-5)
    other = _manifest(tmp_path / "a", ["1", "2"])
    mixed = _build(tmp_path, train="builtin:keypad", valid=other)
    assert _texts(mixed.parts["valid"]) == ["1", "2"]
    assert mixed.digest != found.digest
    with pytest.raises(DataError, match="builtin:keypad is all that a part holds: name it without other files"):
        build_speech({"train": ["builtin:keypad", other]}, SpeechManner(), tmp_path / "kept")


@pytest.mark.full  # 20 minutes of sound
def test_long_recordings_need_little_memory(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from holdfast.data.audio import *\n"
        "found = build_speech({'given': [sys.argv[1]]}, SpeechManner(rate=8000), Path(sys.argv[2]))\n"
        "print(found.parts['given'].lengths.sum())"
    )
    most = {}
    for minutes in (1, 15):
        folder = tmp_path / str(minutes)
        table = _manifest(folder, ["one"])
        written(folder / "wavs/0.wav", np.zeros(minutes * 60 * 16000), 16000)
        most[minutes], printed = peak_memory([sys.executable, "-c", program, table, str(tmp_path / "kept")])
        assert int(printed) == minutes * 60 * 8000
    assert most[15] - most[1] < 20e6
