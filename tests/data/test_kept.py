"""What is kept of files: it is known by its contents, does not grow for ever, and nothing half-made stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.data import kept as module
from holdfast.data.kept import is_running, kept, make_room, size_of
from holdfast.data.labelled import Reading
from holdfast.data.pairs import PairManner, PairReading, build_pairs
from holdfast.data.sequences import Manner, build_labelled

KILLED = """
import os, pathlib, signal, sys
from holdfast.data.kept import kept

def write(place):
    (place / "half.bin").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

kept(pathlib.Path(sys.argv[1]), {"a": 1}, write)
"""


def _nothing(place: Path) -> dict[str, Any]:
    return {"arrays": {}}


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_what_a_killed_process_had_begun_is_removed_by_the_next_one(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert len([*tmp_path.glob(".building-*/half.bin")]) == 1
    kept(tmp_path, {"a": 2}, _nothing)
    assert not [*tmp_path.glob(".building-*")]


def test_what_is_there_already_removes_it_too(tmp_path: Path) -> None:
    place, _ = kept(tmp_path, {"a": 1}, _nothing)
    (tmp_path / ".building-4194304999-abc").mkdir()  # no process has such a number
    (tmp_path / ".building-abcdefgh").mkdir()  # without one, as they were once
    assert kept(tmp_path, {"a": 1}, _nothing)[0] == place
    assert not [*tmp_path.glob(".building-*")]


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    other = tmp_path / f".building-{os.getppid()}-abc"
    other.mkdir()
    kept(tmp_path, {"a": 1}, lambda place: (kept(tmp_path, {"a": 2}, _nothing), _nothing(place))[1])
    assert [*tmp_path.glob(".building-*")] == [other]


def test_a_process_that_is_not_there_is_not_running() -> None:
    assert is_running(os.getpid())
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert not is_running(done.pid)
    assert not is_running(1 << 40)


def _write(size: int) -> Any:
    def write(place: Path) -> dict[str, Any]:
        (place / "a.bin").write_bytes(bytes(size))
        return {"arrays": {"a": {"sha256": module.sha256(place / "a.bin")}}}

    return write


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [kept(tmp_path, {"k": k}, _write(1000))[0] for k in range(3)]
    for age, place in enumerate(places):
        os.utime(place, (100 + age, 100 + age))
    kept(tmp_path, {"k": 0}, _write(1000))  # is used again
    make_room(tmp_path, places[2], most=size_of(tmp_path) - 1)
    assert [place.exists() for place in places] == [True, False, True]
    make_room(tmp_path, places[2], most=0)
    assert [place.exists() for place in places] == [False, False, True]  # what is in use stays, however large
    assert (kept(tmp_path, {"k": 1}, _write(1000))[0] / "a.bin").stat().st_size == 1000


def test_what_is_made_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.make_room, "__defaults__", (2500,))
    for k in range(4):
        place, _ = kept(tmp_path, {"k": k}, _write(1000))
        os.utime(place, (100 + k, 100 + k))
    assert len([*tmp_path.iterdir()]) <= 2
    assert place.exists()


def test_foreign_files_in_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "large.bin").write_bytes(bytes(5000))
    place, _ = kept(tmp_path, {}, _write(10))
    make_room(tmp_path, place, most=0)
    assert (tmp_path / "mine" / "large.bin").exists()


def test_the_same_sequences_are_kept_once_wherever_they_lie(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        lines = [{"text": f"{'good' if k % 2 else 'bad'} {k}", "label": str(k % 2)} for k in range(30)]
        lines.append({"text": 7.5, "label": "0"})
        path = tmp_path / place / "train.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        found = build_labelled({"train": [str(path)]}, Manner(Reading(), skip=True), cache)
        assert len([*cache.iterdir()]) == 1
        assert any(str(path) in note for note in found.notes), found.notes
        assert not any(str(tmp_path / "a") in note for note in found.notes) or place == "a"


def test_folders_of_other_classes_are_not_taken_for_the_same(tmp_path: Path) -> None:
    found = []
    for place, classes in (("a", ("pos", "neg")), ("b", ("up", "down")), ("c", ("pos", "neg"))):
        for name in classes:
            (tmp_path / place / name).mkdir(parents=True)
            for k in range(4):
                (tmp_path / place / name / f"{k}.txt").write_text(f"a text {k} {classes.index(name)}")
        found.append(build_labelled({"train": [str(tmp_path / place)]}, Manner(Reading()), tmp_path / "cache").classes)
    assert found == [("neg", "pos"), ("down", "up"), ("neg", "pos")]
    assert len([*(tmp_path / "cache").iterdir()]) == 2


def test_the_same_pairs_are_kept_once_wherever_they_lie(tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        paths = [tmp_path / place / name for name in ("x.de", "x.en")]
        for path in paths:
            path.write_text("".join(f"word {k}\n" for k in range(30)))
        build_pairs({"train": [*map(str, paths)]}, PairManner(PairReading()), tmp_path / "cache")
    assert len([*(tmp_path / "cache").iterdir()]) == 1
