"""Music in its parts: what is read, what is left out, what is kept, and what is refused."""

from __future__ import annotations

import hashlib
import zipfile
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.data import DataError
from holdfast.data.music import (
    MusicManner,
    Note,
    Pieces,
    Tune,
    build_music,
    chorales,
    default_source,
    events_of,
    read_midi,
    roll_of,
    rules,
    write_midi,
)
from holdfast.data.music import build as module

from .helpers import drawn, file_of, mat_of, meta, off, on, rolls


def _folder(folder: Path, count: int = 10) -> str:
    """A folder of MIDI files."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        write_midi(drawn(k), folder / f"{k:02}.mid")
    return str(folder)


def _build(tmp_path: Path, manner: Any = None, **sources: str | list[str]) -> Any:
    named = {part: paths if isinstance(paths, list) else [paths] for part, paths in sources.items()}
    return build_music(named, MusicManner(**(manner or {})), tmp_path / "kept")


def _names(part: Pieces) -> list[str]:
    return [part.name(k) for k in range(len(part))]


def _mat(path: Path) -> str:
    return mat_of(path, traindata=rolls(5), validdata=rolls(2, 1), testdata=rolls(3, 2))


@pytest.mark.parametrize("form", ["frames", "events"])
def test_parts_hold_the_pieces_of_their_files(form: str, tmp_path: Path) -> None:
    train, valid, test = (_folder(tmp_path / name, count) for name, count in (("a", 4), ("b", 2), ("c", 3)))
    found = _build(tmp_path, {"form": form}, test=test, valid=valid, train=train)
    assert [*found.parts] == ["train", "valid", "test"]
    assert (found.form, found.grid, found.tempo, found.notes) == (form, {"frames": 4, "events": 12}[form], 100, ())
    part = found.parts["train"]
    assert _names(part) == [f"{train}/{k:02}.mid" for k in range(4)]
    for k in range(4):
        tune = read_midi(part.name(k))
        expected = roll_of(tune, 4)[0] if form == "frames" else events_of(tune)
        np.testing.assert_array_equal(part.of(k), expected)
        assert part.of(k).dtype == (np.uint8 if form == "frames" else np.int64)
        assert part.lengths[k] == len(expected)
    assert isinstance(part.flat, np.memmap)
    assert [len(part) for part in found.parts.values()] == [4, 2, 3]


def test_a_grid_is_followed_and_settled_where_it_is_not_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "a")
    tune = read_midi(f"{folder}/00.mid")
    assert _build(tmp_path, {"grid": 3}, given=folder).grid == 3
    np.testing.assert_array_equal(_build(tmp_path, {"grid": 3}, given=folder).parts["given"].of(0), roll_of(tune, 3)[0])
    mat = _mat(tmp_path / "a.mat")
    assert _build(tmp_path, train=mat).grid == 1
    assert _build(tmp_path, {"grid": 2}, train=[mat, folder]).grid == 2
    with pytest.raises(DataError, match=r"a\.mat is read together with other files: name a grid"):
        _build(tmp_path, train=[mat, folder])


def test_a_tenth_is_put_aside_to_choose_on(tmp_path: Path) -> None:
    train = _folder(tmp_path / "a", 20)
    found = _build(tmp_path, train=train)
    parts = {name: set(_names(part)) for name, part in found.parts.items()}
    assert {name: len(names) for name, names in parts.items()} == {"train": 18, "valid": 2}
    assert len(parts["train"] | parts["valid"]) == 20
    assert set(_names(_build(tmp_path, {"seed": 1}, train=train).parts["valid"])) != parts["valid"]
    assert len(_build(tmp_path, {"share": 0.5}, train=train).parts["valid"]) == 10
    with pytest.raises(DataError, match="of 1 piece 1 cannot be put aside to choose on: give more, or --valid"):
        _build(tmp_path, train=_folder(tmp_path / "b", 1))


def test_a_mat_file_brings_its_parts(tmp_path: Path) -> None:
    mat = _mat(tmp_path / "a.mat")
    found = _build(tmp_path, train=mat)
    assert {name: len(part) for name, part in found.parts.items()} == {"train": 5, "valid": 2, "test": 3}
    assert (found.grid, found.meter, found.tempo, found.notes) == (1, (4, 4), 120, ())
    for name, seed in (("train", 0), ("valid", 1), ("test", 2)):
        part = found.parts[name]
        for k, roll in enumerate(rolls(len(part), seed)):
            np.testing.assert_array_equal(part.of(k), roll)
            assert part.name(k) == f"{mat}, {name} piece {k + 1}"
    assert found.digest == hashlib.sha256(Path(mat).read_bytes()).hexdigest()


def test_a_mat_file_stands_for_its_part_of_the_name_it_is_given(tmp_path: Path) -> None:
    mat, other = (
        _mat(tmp_path / "a.mat"),
        mat_of(tmp_path / "b.mat", traindata=rolls(6, 6), validdata=rolls(7, 7), testdata=rolls(8, 8)),
    )
    found = _build(tmp_path, train=mat, valid=other)
    assert {name: len(part) for name, part in found.parts.items()} == {"train": 5, "valid": 7, "test": 3}
    found = _build(tmp_path, given=other)
    assert {name: len(part) for name, part in found.parts.items()} == {"given": 8}
    with pytest.raises(DataError, match=r"a\.mat: a \.mat file holds frames, which are no events: read it as frames"):
        _build(tmp_path, {"form": "events"}, train=mat)


def test_a_folder_may_hold_other_files_and_folders(tmp_path: Path) -> None:
    folder = Path(_folder(tmp_path / "a", 2))
    for name in ("deep/b.midi", "deep/c.KAR", "deep/deeper/d.mid"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_midi(drawn(5), folder / name)
    (folder / "deep/readme.txt").write_text("music")
    found = _build(tmp_path, given=str(folder))
    assert _names(found.parts["given"]) == [
        f"{folder}/{name}" for name in ("00.mid", "01.mid", "deep/b.midi", "deep/c.KAR", "deep/deeper/d.mid")
    ]
    assert found.notes == (f"1 file in {folder} is no music and not read",)
    (folder / "cover.jpg").write_bytes(b"")
    assert _build(tmp_path, given=str(folder)).notes == (f"2 files in {folder} are no music and not read",)
    assert len(_build(tmp_path, given=[f"{folder}/*.mid", f"{folder}/00.mid"]).parts["given"]) == 2
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(folder / "00.mid", "in/a.mid")
        archive.write(folder / "01.mid", "in/b.mid")
    assert len(_build(tmp_path, given=f"zip://in::{tmp_path}/a.zip").parts["given"]) == 2


def test_what_is_no_music_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"the folder .*empty has no files in it"):
        _build(tmp_path, train=str(tmp_path / "empty"))
    (tmp_path / "empty/a.txt").write_text("a")
    with pytest.raises(DataError, match=r"there is no music in the folder .*empty: \.mid, \.midi, \.kar and \.mat"):
        _build(tmp_path, train=str(tmp_path / "empty"))
    with pytest.raises(DataError, match=r"a\.txt is no file of music: \.mid"):
        _build(tmp_path, train=f"{tmp_path}/empty/a.txt")
    with pytest.raises(DataError, match=r"there is no .*b\.mid"):
        _build(tmp_path, train=f"{tmp_path}/empty/b.mid")
    with pytest.raises(DataError, match="there is no builtin:fugues: what comes with holdfast is builtin:chorales and"):
        _build(tmp_path, train="builtin:fugues")
    for empty in ({}, {"train": []}):
        with pytest.raises(DataError, match="name at least one file of music"):
            build_music(empty, MusicManner(), tmp_path)
    with pytest.raises(DataError, match=r"the files of a part must be a list, got 'a\.mid'"):
        build_music({"train": "a.mid"}, MusicManner(), tmp_path)


def test_files_that_cannot_be_used_are_named_or_left_out(tmp_path: Path) -> None:
    folder = Path(_folder(tmp_path / "a", 3))
    (folder / "10.mid").write_bytes((folder / "00.mid").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"a/10\.mid: it is damaged: it is cut short; fit with --skip-bad leaves"):
        _build(tmp_path, train=str(folder))
    (folder / "11.mid").write_bytes((folder / "01.mid").read_bytes()[:-30])
    (folder / "12.mid").write_bytes(b"not music")
    file_of(folder / "13.mid", [on(36, channel=9), off(36, 10, channel=9)])
    file_of(folder / "14.mid", [meta("track_name", name="empty")])
    file_of(folder / "15.mid", [on(60), off(60, 10)])
    file_of(folder / "16.mid", [on(5), off(5, 1000)])
    (folder / "17.mid.gz").write_bytes(b"not packed")
    found = _build(tmp_path, {"skip_bad": True}, given=str(folder))
    assert len(found.parts["given"]) == 3
    assert [*found.notes] == [
        f"2 pieces left out: it is damaged: it is cut short (the first is {folder}/10.mid)",
        f"1 piece left out: it is not a MIDI file (the first is {folder}/12.mid)",
        f"1 piece left out: it holds drums only (the first is {folder}/13.mid)",
        f"1 piece left out: it holds no notes (the first is {folder}/14.mid)",
        f"1 piece left out: it has fewer than 2 frames (the first is {folder}/15.mid)",
        f"1 piece left out: none of its notes is on the piano's 88 keys (the first is {folder}/16.mid)",
        f"1 piece left out: it cannot be unpacked: Not a gzipped file (b'no') (the first is {folder}/17.mid.gz)",
    ]
    for k in range(3):
        (folder / f"0{k}.mid").unlink()
    with pytest.raises(DataError, match="there is not one piece left of the part given"):
        _build(tmp_path, {"skip_bad": True}, given=str(folder))


def test_rolls_that_cannot_be_used_are_named_or_left_out(tmp_path: Path) -> None:
    short = [*rolls(2), rolls(1)[0][:1]]
    mat = mat_of(tmp_path / "a.mat", traindata=short, validdata=rolls(1), testdata=rolls(1))
    with pytest.raises(DataError, match=r"a\.mat, train piece 3: it has fewer than 2 frames; fit with --skip-bad"):
        _build(tmp_path, train=mat)
    assert len(_build(tmp_path, {"skip_bad": True}, train=mat).parts["train"]) == 2
    (tmp_path / "b.mat").write_bytes(b"not one" * 30)
    with pytest.raises(DataError, match=r"b\.mat: it is not a MATLAB file that can be read: .*; fit with --skip-bad"):
        _build(tmp_path, train=f"{tmp_path}/b.mat")
    bad = mat_of(tmp_path / "c.mat", traindata=[rolls(1)[0] * 2, *rolls(1)], validdata=[], testdata=[])
    with pytest.raises(DataError, match=r"c\.mat: traindata, piece 1 must hold 0 and 1 only; fit"):
        _build(tmp_path, train=bad)


def test_what_is_special_is_summed(tmp_path: Path) -> None:
    drums = [on(36, channel=9), off(36, 10, channel=9)]
    file_of(tmp_path / "a/1.mid", [on(60), off(60, 960), on(60), on(127), off(127, 480)], drums)
    file_of(tmp_path / "a/2.mid", [on(60), on(61), off(65, 960)], drums)
    file_of(tmp_path / "a/3.mid", [on(60), off(60, 960), *[one for n in range(9) for one in (on(n), off(n, 9))]])
    assert _build(tmp_path, given=str(tmp_path / "a")).notes == (
        "drums were left out (2 pieces)",
        "notes without an end: 3 (2 pieces)",
        "notes outside of the piano's 88 keys: 10 (2 pieces)",
    )


def test_the_meter_is_the_commonest_and_the_tempo_the_median(tmp_path: Path) -> None:
    for k, (meter, tempo) in enumerate([((4, 4), 60), ((3, 4), 90), ((3, 4), 100), ((6, 8), 240), ((2, 2), 80)]):
        (tmp_path / "a").mkdir(exist_ok=True)
        write_midi(Tune((Note(0, 960, 60, 80),), tempo=tempo, meter=meter), tmp_path / f"a/{k}.mid")
    write_midi(Tune((Note(0, 960, 60, 80),), tempo=30, meter=(5, 4)), tmp_path / "b.mid")
    train, other = str(tmp_path / "a"), [f"{tmp_path}/b.mid"]
    found = _build(tmp_path, train=train, valid=other, test=other)
    assert (found.meter, found.tempo) == ((3, 4), pytest.approx(90, abs=1e-3))
    assert _build(tmp_path, {"meter": "12/8"}, train=train).meter == (12, 8)
    write_midi(Tune((Note(0, 960, 60, 80), Note(960, 960, 60, 80)), meter=(120, 4)), tmp_path / "c.mid")
    music = _build(tmp_path, train=[f"{tmp_path}/c.mid"], valid=other)
    assert MusicManner(meter="/".join(map(str, music.meter))).beats_and_unit == (120, 4)


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        ({"form": "notes"}, "form must be 'frames' or 'events', got 'notes'"),
        ({"grid": -1}, "grid must be 0, or 1 to 480 parts of a beat, got -1"),
        ({"grid": 481}, "grid must be 0, or 1 to 480"),
        *(({"meter": meter}, "meter must be beats of a bar") for meter in ("3", "0/4", "3/5", "3/4 ", "a/b", "1000/4")),
    ],
)
def test_a_manner_that_makes_no_sense_is_refused(manner: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        MusicManner(**manner)


def test_what_was_made_once_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder(tmp_path / "a", 12)
    (tmp_path / "a/readme").write_text("a")
    first = _build(tmp_path, train=folder)

    def never(*given: object) -> None:
        raise AssertionError("made anew")

    monkeypatch.setattr(module, "_write", never)
    again = _build(tmp_path, {"grid": 4}, train=folder)
    for one in ("form", "grid", "meter", "tempo", "digest", "notes"):
        assert getattr(first, one) == getattr(again, one)
    for name, part in first.parts.items():
        assert _names(part) == _names(again.parts[name])
        np.testing.assert_array_equal(part.of(0), again.parts[name].of(0))
    for manner in ({"seed": 1}, {"grid": 2}, {"form": "events"}, {"meter": "3/4"}, {"skip_bad": True}):
        with pytest.raises(AssertionError, match="made anew"):
            _build(tmp_path, manner, train=folder)
    write_midi(drawn(77), tmp_path / "a/03.mid")
    with pytest.raises(AssertionError, match="made anew"):
        _build(tmp_path, train=folder)


def test_pieces_made_by_rules_come_in_three_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._TUNES == {"train": (400, 0), "valid": (50, 1), "test": (50, 2)}
    monkeypatch.setattr(module, "_TUNES", {"train": (12, 0), "valid": (3, 1), "test": (2, 2)})
    found = _build(tmp_path, train=rules.NAME)
    assert {name: len(part) for name, part in found.parts.items()} == {"train": 12, "valid": 3, "test": 2}
    contents = [part.of(k).tobytes() for part in found.parts.values() for k in range(len(part))]
    assert len({*contents}) == 17
    np.testing.assert_array_equal(found.parts["valid"].of(0), roll_of(next(rules.tunes(1, 1)), 4)[0])
    given = _build(tmp_path, given=rules.NAME)
    np.testing.assert_array_equal(given.parts["given"].of(1), found.parts["test"].of(1))
    own = _build(tmp_path, train=rules.NAME, valid=_folder(tmp_path / "a", 4))
    assert {name: len(part) for name, part in own.parts.items()} == {"train": 12, "valid": 4, "test": 2}
    assert len({found.digest, given.digest, own.digest}) == 3
    with pytest.raises(DataError, match="builtin:tunes is all that a part holds"):
        _build(tmp_path, train=[rules.NAME, _folder(tmp_path / "a", 4)])


def test_chorales_come_in_three_parts_that_share_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = [*islice(rules.tunes(40, 5), 40)]  # in their place, as they take long to parse
    monkeypatch.setattr(chorales, "chorales", lambda: iter(first))
    found = _build(tmp_path, {"form": "events"}, train=chorales.NAME)
    assert {name: len(part) for name, part in found.parts.items()} == {"train": 32, "valid": 4, "test": 4}
    names = [name for part in found.parts.values() for name in _names(part)]
    assert len({name.partition(" (")[2] for name in names}) == 40
    given = _build(tmp_path, {"form": "events"}, given=chorales.NAME)
    assert _names(given.parts["given"]) == _names(found.parts["test"])


def test_without_music21_one_learns_from_pieces_made_by_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_source() == "builtin:chorales"
    monkeypatch.setattr(chorales, "available", lambda: False)
    assert default_source() == "builtin:tunes"


def test_who_waits_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TUNES", {"train": (210, 0), "valid": (3, 1), "test": (2, 2)})
    heard: list[str] = []
    build_music({"train": [rules.NAME]}, MusicManner(), tmp_path, heard.append)
    assert [said for said in heard if said.startswith("reading train")] == [
        "reading train",
        "reading train: 100 pieces",
        "reading train: 200 pieces",
    ]
