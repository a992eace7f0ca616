"""Sounds from files and pipes."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import soundfile
from fsspec import AbstractFileSystem

from holdfast.data import DataError, Fault
from holdfast.data.audio import common_rate, pcm_blocks, rate_of, sound, sound_blocks

from .helpers import Array, strength, tone, written


def _fault(path: str, rate: int = 8000) -> str:
    with pytest.raises(Fault) as fault:
        sound(path, rate)
    return str(fault.value)


def test_only_reading_needs_the_packages_of_sounds(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['soundfile'] = sys.modules['soxr'] = None\n"
        "import holdfast.data, holdfast.data.audio as audio\n"
        "try: audio.rate_of(sys.argv[1])\n"
        "except ImportError as error: print(error)"
    )
    path = written(tmp_path / "a.wav", np.zeros(9), 8000)
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout == "this needs soundfile: pip install 'holdfast[speech]'\n"


def test_a_wav_that_python_writes_is_read_as_it_is(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 1000)
    found = sound(written(tmp_path / "a.wav", samples, 8000), 8000)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (np.round(samples * 32767) / 32768).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "kind", "tolerance"),
    [
        ("a.wav", "PCM_U8", 1e-2),
        ("a.wav", "PCM_16", 1e-4),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "PCM_32", 1e-6),
        ("a.wav", "FLOAT", 1e-7),
        ("a.wav", "DOUBLE", 1e-7),
        ("a.flac", "PCM_16", 1e-4),
        ("a.flac", "PCM_24", 1e-6),
        ("a.ogg", "VORBIS", 5e-2),
    ],
)
def test_channels_of_every_kind_of_file_are_averaged(name: str, kind: str, tolerance: float, tmp_path: Path) -> None:
    rate = 22050
    left, right, third = tone(300, 0.5, rate), tone(500, 0.5, rate), tone(700, 0.5, rate)
    soundfile.write(tmp_path / name, np.stack([left, right, third], 1), rate, subtype=kind)
    assert rate_of(str(tmp_path / name)) == rate
    np.testing.assert_allclose(sound(str(tmp_path / name), rate), (left + right + third) / 3, atol=tolerance)


@pytest.mark.parametrize(("rate_in", "rate"), [(8000, 16000), (44100, 16000), (48000, 8000), (96000, 16000)])
def test_a_resampled_tone_is_the_same_tone(rate_in: int, rate: int, tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", tone(1000, 1, rate_in), rate_in)
    found = sound(path, rate)
    assert len(found) == rate
    inner = slice(rate // 10, -rate // 10)
    np.testing.assert_allclose(found[inner], tone(1000, 1, rate)[inner], atol=1e-3)


def test_what_is_above_half_the_rate_does_not_fold_back(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", tone(5000, 1, 16000), 16000)
    assert strength(sound(path, 8000), 3000, 8000) < 1e-4


@pytest.mark.parametrize("rate", [8000, 6000])
def test_blocks_together_are_the_sound(rate: int, tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 30011), 8000)
    for seconds in (0.01, 0.3, 100):
        blocks = [*sound_blocks(path, rate, seconds)]
        assert all(len(block) > 0 for block in blocks)
        np.testing.assert_array_equal(np.concatenate(blocks), sound(path, rate))


def test_what_is_louder_than_full_scale_is_cut_there(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.5, 1.5, -2.0]), 8000, subtype="FLOAT")
    assert sound(str(tmp_path / "a.wav"), 8000).tolist() == [0.5, 1.0, -1.0]


def test_silence_is_a_sound(tmp_path: Path) -> None:
    assert not sound(written(tmp_path / "a.wav", np.zeros(100), 16000), 8000).any()


def test_a_packed_file_and_one_in_an_archive_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", tone(400, 0.1, 8000), 8000)
    (tmp_path / "a.wav.gz").write_bytes(gzip.compress(Path(path).read_bytes()))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "deep/a.wav")
    for other in (f"{path}.gz", f"zip://deep/a.wav::{tmp_path}/a.zip", f"file://{path}"):
        np.testing.assert_array_equal(sound(other, 8000), sound(path, 8000))


@pytest.mark.parametrize("content", [b"", b"no sound at all, but a text", b"RIFF\x10\0\0\0WAVEfmt ", b"fLaC\0\0"])
def test_what_is_no_sound_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    assert _fault(str(tmp_path / "a.wav")).startswith("it is not a sound in WAV, FLAC or Ogg: ")
    with pytest.raises(Fault, match="it is not a sound"):
        rate_of(str(tmp_path / "a.wav"))


def _noise(path: Path, seconds: float = 5.0) -> bytes:
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * 8000)), 8000)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "cut", "said"),
    [
        ("a.wav", 44 + 30000, "the sound is cut short: it has 15,000 samples of 40,000"),
        ("a.wav", 44, "the sound is cut short: it has 0 samples of 40,000"),
        ("a.flac", -1, "the sound is cut short before the 40,000 samples that its header promises"),
        ("a.flac", 20000, "the sound is cut short before the 40,000 samples that its header promises"),
        ("a.ogg", -1, "the sound is cut short: the file ends before its last page"),
        ("a.ogg", 9000, "the sound is cut short: the file ends before its last page"),
    ],
)
def test_a_file_that_ends_early_is_told(name: str, cut: int, said: str, tmp_path: Path) -> None:
    whole = _noise(tmp_path / name)
    assert len(sound(str(tmp_path / name), 8000)) == 40000
    (tmp_path / name).write_bytes(whole[:cut])
    assert _fault(str(tmp_path / name)) == said


def test_a_wav_whose_length_was_not_known_when_it_was_begun_is_whole(tmp_path: Path) -> None:
    whole = bytearray(_noise(tmp_path / "a.wav"))
    at = whole.index(b"data") + 4
    whole[at : at + 4] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(whole)
    assert len(sound(str(tmp_path / "a.wav"), 8000)) == 40000


def test_a_file_without_samples_is_told(tmp_path: Path) -> None:
    assert _fault(written(tmp_path / "a.wav", np.zeros(0), 8000)) == "the sound has no samples"
    assert _fault(written(tmp_path / "b.wav", np.zeros(1), 96000)) == "the sound has no samples"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.nan, "a sample that is not a number, or infinite"),
        (np.inf, "a sample that is not a number, or infinite"),
        (-32768, "a sample of 32768, but they must be from -1 to 1"),
    ],
)
def test_samples_that_mean_nothing_are_told(value: float, said: str, tmp_path: Path) -> None:
    samples = np.zeros(100)
    samples[50] = value
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    assert _fault(str(tmp_path / "a.wav")) == said


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    written(tmp_path / "first.wav", np.zeros(9), 8000)
    with pytest.raises(DataError, match=r"there is no .*/fist\.wav; did you mean .*/first\.wav\?"):
        sound(str(tmp_path / "fist.wav"), 8000)


class _Broken(AbstractFileSystem):
    """Files that can be read up to their first kilobyte, as from a server that goes away."""

    protocol = "broken"

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        class File(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                if self.tell() + (size or 0) > 1000:
                    raise OSError("the server is gone")
                return super().read(size)

        return File(Path(path).read_bytes())


def test_a_file_that_cannot_be_read_to_its_end_is_told(tmp_path: Path) -> None:
    fsspec.register_implementation("broken", _Broken, clobber=True)
    path = written(tmp_path / "a.wav", np.zeros(4000), 8000)
    with pytest.raises(DataError, match=r"broken://.*/a\.wav cannot be read: the server is gone"):
        sound(f"broken://{path}", 8000)


def test_the_commonest_rate_is_found(tmp_path: Path) -> None:
    def paths(*rates: int) -> list[str]:
        return [written(tmp_path / f"{k}.wav", np.zeros(9), rate) for k, rate in enumerate(rates)]

    assert common_rate(paths(8000, 11025, 11025)) == 11025
    assert common_rate(paths(44100, 8000, 44100)) == 16000
    assert common_rate(paths(*[8000] * 100, *[11025] * 101)) == 8000
    (tmp_path / "none.wav").write_bytes(b"none")
    (tmp_path / "packed.wav.gz").write_bytes(b"not packed at all")
    bad = [str(tmp_path / name) for name in ("none.wav", "packed.wav.gz", "nowhere.wav")]
    assert common_rate(bad) == 16000
    assert common_rate([*bad, *paths(8000)]) == 8000


class _Pipe(io.RawIOBase):
    """Gives what it holds in pieces of some length, whatever is asked for."""

    def __init__(self, data: bytes, piece: int) -> None:
        self._data, self._piece = io.BytesIO(data), piece

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        block = self._data.read(min(len(buffer), self._piece))
        buffer[: len(block)] = block
        return len(block)


def _pcm(samples: Array) -> bytes:
    return np.round(samples * 32768).astype("<i2").tobytes()


@pytest.mark.parametrize("piece", [1, 3, 1000, 100_000])
@pytest.mark.parametrize("rate", [16000, 8000])
def test_a_pipe_gives_the_same_however_it_is_cut(piece: int, rate: int, tmp_path: Path) -> None:
    samples = tone(440, 0.2, 16000)
    path = written(tmp_path / "a.wav", samples * 32768 / 32767, 16000)
    for end in (b"", b"\x7f"):  # half of a sample
        data = _pcm(samples) + end
        for stream in (_Pipe(data, piece), io.BufferedReader(_Pipe(data, piece))):
            found = np.concatenate([*pcm_blocks(stream, 16000, rate, seconds=0.05)])  # type: ignore[arg-type]
            np.testing.assert_array_equal(found, sound(path, rate))


def test_a_pipe_is_answered_before_it_ends() -> None:
    asked = []

    class Live(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:
            asked.append(len(buffer))
            buffer[:200] = b"\x01\x02" * 100
            return 200

    stream = io.BufferedReader(Live())
    assert len(next(pcm_blocks(stream, 8000, 8000))) == 100
    assert len(asked) == 1


def test_an_empty_pipe_is_told() -> None:
    for data in (b"", b"\x01"):
        with pytest.raises(Fault, match="the sound has no samples"):
            [*pcm_blocks(io.BytesIO(data), 8000, 8000)]


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_a_file_with_a_header_is_not_taken_for_raw_samples(kind: str) -> None:
    held = io.BytesIO()
    soundfile.write(held, np.zeros(800), 8000, format=kind)
    with pytest.raises(Fault, match="not raw samples"):
        [*pcm_blocks(io.BytesIO(held.getvalue()), 8000, 8000)]


@pytest.mark.full  # 20 minutes of sound
def test_a_long_sound_needs_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    program = (
        "import resource, sys; from holdfast.data.audio import sound_blocks\n"
        "for path in sys.argv[1:]:\n"
        "    samples = sum(map(len, sound_blocks(path, 8000)))\n"
        "    print(samples, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    lengths = (1, 20)  # minutes; the longer one as float32 has 77 MB at its own rate
    paths = [written(tmp_path / f"{k}.wav", np.zeros(k * 60 * 16000), 16000) for k in lengths]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
    found = [[*map(int, line.split())] for line in done.stdout.splitlines()]
    assert [samples for samples, _ in found] == [minutes * 60 * 8000 for minutes in lengths]
    assert found[1][1] - found[0][1] < 20e6
