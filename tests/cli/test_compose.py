"""The command that composes, through the real entry point."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import symusic

from holdfast.data.music import Note, read_midi, write_midi
from tests.cli.test_text import invoked
from tests.support import own_cache
from tests.tasks.composition.tunes import folder, tune

TINY = [
    "--steps",
    "60",
    "--hidden",
    "32",
    "--embedding",
    "16",
    "--batch-size",
    "4",
    "--learning-rate",
    "0.01",
    "--quiet",
]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        own_cache(patch, tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def tunes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("music") / "tunes", 20)


@pytest.fixture(scope="module")
def run(tunes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    done = invoked("fit", "compose", tunes, "--out", out, *TINY)
    assert done.exit_code == 0, done.output
    return out


def test_ten_pieces_load_in_another_reader_and_end_with_a_bar(run: Path, tmp_path: Path) -> None:
    done = invoked("compose", run, "--bars", "4", "--count", "10", "--out", tmp_path / "song.mid", "--check")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == 10
    assert sorted(path.name for path in tmp_path.glob("*.mid")) == [f"song-{k:02}.mid" for k in range(1, 11)]
    for k, line in enumerate(lines, 1):
        path = tmp_path / f"song-{k:02}.mid"
        score = symusic.Score(str(path))
        notes = [note for track in score.tracks for note in track.notes]
        (meter,) = score.time_signatures
        assert (meter.numerator, meter.denominator) == (4, 4)
        assert notes
        assert all(21 <= note.pitch <= 108 for note in notes)
        assert max(note.end for note in notes) <= 4 * 4 * score.tpq
        assert line.startswith(f"{path}: 4 bars of 4/4, {len(notes)} notes, ")
        assert "stand in" in line or "stands in the training data" in line
        assert path.with_suffix(".svg").read_text().startswith("<svg")


def test_the_file_lasts_as_many_bars_as_were_asked_for(run: Path, tmp_path: Path) -> None:
    import mido

    out = tmp_path / "song.mid"
    assert invoked("compose", run, "--bars", "3", "--out", out).exit_code == 0
    file = mido.MidiFile(out)
    assert sum(message.time for message in file.tracks[0]) == 3 * 4 * file.ticks_per_beat
    rest = tmp_path / "rest.mid"  # what ends in a rest lasts as long
    write_midi(replace(tune(1), notes=tune(1).notes[:1]), rest, 0)
    assert invoked("compose", run, "--bars", "1", "--out", rest).exit_code == 0
    file = mido.MidiFile(rest)
    assert sum(message.time for message in file.tracks[0]) == 4 * file.ticks_per_beat
    rest.unlink()
    rest.with_suffix(".svg").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["song.mid", "song.svg"]


def test_sixteen_bars_are_usual_and_json_says_what_was_made(run: Path, tmp_path: Path) -> None:
    done = invoked("compose", run, "--out", tmp_path / "a.mid", "--json", "--seed", "3")
    said = json.loads(done.stdout)
    assert said["bars"] == 16
    assert said["meter"] == "4/4"
    assert said["notes"] == len(read_midi(str(tmp_path / "a.mid")).notes)
    assert "copied" not in said
    done = invoked("compose", run, "--out", tmp_path / "b.mid", "--json", "--check", "--bars", "1")
    assert "in" in json.loads(done.stdout)["copied"]
    assert 21 <= said["lowest"] <= said["highest"] <= 108


def test_a_tune_is_gone_on_with_and_a_melody_harmonised(run: Path, tmp_path: Path) -> None:
    given = tmp_path / "given.mid"
    write_midi(tune(2, root=49), given)
    done = invoked("compose", run, "--prompt", given, "--bars", "2", "--out", tmp_path / "more.mid")
    assert done.exit_code == 0, done.output
    assert ": 4 bars of 4/4" in done.stdout
    done = invoked("compose", run, "--harmonise", given, "--out", tmp_path / "voices.mid")
    assert done.exit_code == 0, done.output
    assert ": 2 bars of 4/4" in done.stdout


def test_the_seed_draws_and_the_temperature_leaves_no_chance(run: Path, tmp_path: Path) -> None:
    def notes(*more: str) -> object:
        assert invoked("compose", run, "--bars", "2", "--out", tmp_path / "a.mid", *more).exit_code == 0
        return read_midi(str(tmp_path / "a.mid")).notes

    assert notes("--seed", "1") == notes("--seed", "1")
    assert notes("--seed", "1") != notes("--seed", "2")
    assert notes("--seed", "1", "--temperature", "0") == notes("--seed", "2", "--temperature", "0")
    assert notes("--seed", "1", "--top-p", "1e-9") == notes("--seed", "2", "--top-p", "1e-9")


def test_several_pieces_do_not_replace_what_is_read(run: Path, tmp_path: Path) -> None:
    given = tmp_path / "song-1.mid"
    write_midi(tune(1), given)
    before = given.read_bytes()
    done = invoked("compose", run, "--prompt", given, "--count", "2", "--out", tmp_path / "song.mid")
    assert done.exit_code == 2
    assert f"--out: {given} is a file that is read" in done.stderr
    assert given.read_bytes() == before


def test_what_of_a_prompt_is_not_used_is_said(run: Path, tmp_path: Path) -> None:
    given = tmp_path / "given.mid"
    plain = tune(1)
    write_midi(replace(plain, notes=(*plain.notes, Note(480, 480, 120, 80))), given)
    done = invoked("compose", run, "--prompt", given, "--bars", "1", "--out", tmp_path / "more.mid")
    assert done.exit_code == 0, done.output
    assert done.stderr == f"holdfast: {given}: notes outside of the piano's 88 keys: 1\n"


def test_wrong_inputs_end_with_one_line(run: Path, tmp_path: Path) -> None:
    given, bad = tmp_path / "given.mid", tmp_path / "bad.mid"
    write_midi(tune(), given)
    bad.write_bytes(b"RIFFnonsense")
    out = tmp_path / "song.mid"
    (tmp_path / "folder.mid").mkdir()
    for arguments, said in (
        (["--out", tmp_path / "song.mp3"], "--out must end in .mid or .midi"),
        (["--out", tmp_path / "no" / "song.mid"], "there is no folder"),
        (["--out", out, "--prompt", ""], "--prompt names no file"),
        (["--out", tmp_path / "folder.mid"], "folder.mid is a folder"),
        (["--out", given, "--prompt", given], "is a file that is read"),
        (["--out", out, "--prompt", given, "--harmonise", given], "give one of them"),
        (["--out", out, "--bars", "3", "--harmonise", given], "leave out --bars"),
        (["--out", out, "--prompt", bad], f"{bad}: it is not a MIDI file"),
        (["--out", out, "--prompt", tmp_path / "none.mid"], "there is no"),
        (["--out", out, "--top-p", "0"], "top_p must be a number above 0"),
    ):
        done = invoked("compose", run, *arguments)
        assert done.exit_code == 2, arguments
        assert said in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not out.exists()


def test_a_run_of_another_task_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, " * 50)
    tiny = ["--steps", "2", "--hidden", "8", "--embedding", "4", "--batch-size", "2", "--window", "16", "--quiet"]
    assert invoked("fit", "text", text, "--out", tmp_path / "run", *tiny).exit_code == 0
    done = invoked("compose", tmp_path / "run", "--out", tmp_path / "a.mid")
    assert done.exit_code == 2
    assert "compose needs a run of the task compose" in done.stderr
