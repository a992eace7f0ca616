"""The command that transcribes, on tones of a telephone's keys."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from holdfast.cli.commands import commands
from holdfast.cli.transcribe import _show
from holdfast.data.audio import sound
from tests.cli.test_text import invoked
from tests.support import own_cache
from tests.tasks.transcription import tones

TINY = ["--steps", "150", "--hidden", "16", "--layers", "1", "--channels", "4", "--bands", "24", "--batch-size", "8"]
MORE = ["--learning-rate", "0.01", "--dropout", "0", "--average", "0.05", "--no-augment", "--json"]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        own_cache(patch, tmp_path_factory.mktemp("cache"))
        patch.setattr("holdfast.tasks.transcription.baselines._LEARNED", 20)
        yield


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones.write(tmp_path_factory.mktemp("tones"), 40, seed=1)


@pytest.fixture(scope="module")
def run(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = invoked("fit", "transcribe", manifest, "--out", folder, "--streaming", *TINY, *MORE)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def sounds(manifest: Path) -> list[Path]:
    with manifest.open(newline="") as file:
        return [manifest.parent / row["path"] for row in csv.DictReader(file)]


def test_one_recording_is_its_text_and_several_are_lines_with_their_names(run: Path, sounds: list[Path]) -> None:
    one = invoked("transcribe", run, sounds[0])
    several = invoked("transcribe", run, *sounds[:3])
    assert one.exit_code == several.exit_code == 0
    lines = [line.split("\t") for line in several.stdout.splitlines()]
    assert [name for name, _ in lines] == [str(path) for path in sounds[:3]]
    assert "".join(one.stdout.split()) == lines[0][1]


def test_a_folder_is_all_that_it_holds_as_a_table(run: Path, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "texts.csv"
    done = invoked("transcribe", run, manifest.parent, "--out", out)
    assert done.exit_code == 0, done.output
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    assert list(rows[0]) == ["path", "text", "seconds", "confidence"]
    assert all(0 < float(row["confidence"]) <= 1 for row in rows)


def test_words_and_subtitles_have_times(run: Path, sounds: list[Path], tmp_path: Path) -> None:
    rows = [json.loads(line) for line in invoked("transcribe", run, sounds[0], "--words", "--json").stdout.splitlines()]
    text = invoked("transcribe", run, sounds[0]).stdout.strip()
    assert "".join(row["word"] for row in rows) == text
    assert all(row["start"] < row["end"] for row in rows)
    done = invoked("transcribe", run, sounds[0], "--out", tmp_path / "a.srt")
    assert done.exit_code == 0, done.output
    assert (" --> " in (tmp_path / "a.srt").read_text()) == bool(text)


def _piped(run: Path, samples: bytes, *options: str) -> Result:
    return CliRunner().invoke(commands, ["transcribe", str(run), "-", *options], input=samples)


def test_raw_samples_from_a_pipe_are_written_as_those_of_the_file(run: Path, sounds: list[Path]) -> None:
    samples, rate = soundfile.read(sounds[1], dtype="int16")
    done = _piped(run, samples.tobytes(), "--rate", str(rate))
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == invoked("transcribe", run, sounds[1]).stdout.strip()
    words = _piped(run, samples.tobytes(), "--json").stdout.splitlines()
    assert json.loads(words[-1])["end"] == pytest.approx(len(samples) / rate, abs=0.1)


def test_what_was_heard_until_ctrl_c_is_printed(run: Path, sounds: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*given: object) -> Iterator[np.ndarray]:
        yield sound(str(sounds[1]), tones.RATE)
        raise KeyboardInterrupt

    monkeypatch.setattr("holdfast.cli.transcribe.pcm_blocks", stopped)
    done = invoked("transcribe", run, "-")
    assert done.exit_code == 130
    assert done.stdout == invoked("transcribe", run, sounds[1]).stdout != ""
    assert done.stderr == "holdfast: stopped\n"


def test_a_terminal_shows_what_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((8, 24)))
    shown = ""
    for text in ("one", "one two", "one two three", "日本語だ", "no"):
        shown = _show(text, shown)
    lines = ["", "one", "one two", "o three", "本語だ ", "no    "]
    assert capsys.readouterr().out == "\r".join(lines)


def test_bad_files_are_named_and_with_skip_bad_the_others_are_read(
    run: Path, sounds: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("no sound at all")
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 8000)
    soundfile.write(tmp_path / "silence.wav", np.zeros(8000), 8000)
    soundfile.write(tmp_path / "wide.wav", np.zeros((96_000, 2)), 96_000, "PCM_24")
    (tmp_path / "cut.wav").write_bytes(sounds[0].read_bytes()[:3000])
    (tmp_path / "packed.wav.gz").write_bytes(b"not packed at all")
    bad = [tmp_path / name for name in ("text.wav", "empty.wav", "none.wav", "cut.wav", "packed.wav.gz")]
    for path in bad:
        done = invoked("transcribe", run, path)
        assert done.exit_code == 2
        assert done.stderr.count("\n") == 1
        assert path.name in done.stderr
    good = [tmp_path / "silence.wav", tmp_path / "wide.wav", sounds[0]]
    out = tmp_path / "all.jsonl"
    done = invoked("transcribe", run, *bad, *good, "--skip-bad", "--out", out)
    assert done.exit_code == 0
    assert "5 of 8 recordings could not be read" in done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [bool(row.get("fault")) for row in rows] == [True] * 5 + [False] * 3
    assert [row["path"] for row in rows] == [str(path) for path in [*bad, *good]]
    assert rows[4]["fault"].startswith("cannot be unpacked: ")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["a.wav", "b.wav"], "a.wav.*b.wav"),
        (["-", "a.wav"], "- is all that is read"),
        (["a.wav", "--out", "a.txt"], "--out must end in"),
        (["SOUND", "SOUND2", "--out", "a.srt"], "subtitles are of one recording"),
        (["SOUND", "--words", "--out", "a.srt"], "leave out --words, --json and --skip-bad"),
        (["SOUND", "--rate", "8000"], "--rate is for -"),
        (["SOUND", "--beam", "1", "--language", "lm"], "a language model needs a beam"),
        (["SOUND", "--language", "nowhere"], "nowhere"),
        (["SOUND", "--language-weight", "1"], "name one with --language"),
        (["SOUND", "--insertion", "1"], "insertion needs a beam"),
        (["SOUND", "--beam", "4", "--insertion", "nan"], "insertion must be a number; got nan"),
        (["SOUND", "--language", "lm", "--language-weight", "inf"], "language_weight must be a number"),
    ],
)
def test_mistakes_are_one_line(
    run: Path, sounds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    named = {"SOUND": str(sounds[0]), "SOUND2": str(sounds[1])}
    done = invoked("transcribe", run, *(named.get(word, word) for word in given))
    assert done.exit_code == 2
    assert done.stderr.startswith("holdfast: ")
    assert done.stderr.count("\n") == 1
    assert re.search(said, done.stderr), done.stderr
