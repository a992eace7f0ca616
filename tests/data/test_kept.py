"""What is kept of files: what a killed process leaves behind goes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.data.kept import is_running, kept

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
