"""Log-mel frames against their definition, written out."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from holdfast.data import DataError
from holdfast.data.audio import Mel, MelStream

from ...support import assert_close
from .helpers import Array, tone

ODD = {"rate": 11025, "bands": 23, "window": 0.031, "hop": 0.013, "lowest": 55.0, "highest": 4100.0}


def _oracle(samples: Array, size: int, rate: int, bands: int, window: float, hop: float, low: float, top: float) -> Any:
    """A frame after the other, a sum for each frequency, a loop for each band."""

    def mel(hertz: float) -> float:
        return 1127.0104805 * math.log(1 + hertz / 700)  # the natural logarithm's form of the scale

    width, step = round(window * rate), round(hop * rate)
    if len(samples) < width:
        samples = np.concatenate([samples, np.zeros(width - len(samples))])
    hann = np.array([math.sin(math.pi * n / width) ** 2 for n in range(width)])
    centres = [mel(low) + (mel(top) - mel(low)) * k / (bands + 1) for k in range(bands + 2)]
    frames = []
    for begin in range(0, len(samples) - width + 1, step):
        part = samples[begin : begin + width] * hann
        powers = []
        for bin in range(size // 2 + 1):
            turns = 2 * np.pi * bin * np.arange(width) / size
            powers.append(((part * np.cos(turns)).sum() ** 2 + (part * np.sin(turns)).sum() ** 2) / (hann**2).sum())
        frame = []
        for band in range(bands):
            left, centre, right = centres[band : band + 3]
            total = weights = 0.0
            for bin, power in enumerate(powers):
                at = mel(bin * rate / size)
                weight = (at - left) / (centre - left) if at <= centre else (right - at) / (right - centre)
                if weight > 0:
                    total, weights = total + weight * power, weights + weight
            frame.append(math.log(total / weights + 1e-10))
        frames.append(frame)
    return torch.tensor(frames, dtype=torch.float64)


def _sound(length: int) -> Array:
    return tone(440, 1, 11025)[:length] + np.random.default_rng(length).normal(0, 0.05, length)


@pytest.mark.parametrize("length", [1, 341, 342, 343, 485, 1000])
def test_frames_are_as_defined(length: int) -> None:
    expected = _oracle(_sound(length), 512, *ODD.values())  # type: ignore[call-arg]
    mel = Mel(**ODD)  # type: ignore[arg-type]
    assert_close(mel(torch.from_numpy(_sound(length))), expected, "float64", torch.float32)  # 1127.01… is rounded
    assert_close(mel(torch.from_numpy(_sound(length)).float()), expected, "float32")
    assert mel.frames(length) == len(expected)


def test_a_transform_is_longer_where_bands_are_narrow() -> None:
    expected = _oracle(_sound(200), 512, 8000, 64, 0.025, 0.01, 20, 4000)
    assert_close(Mel(8000)(torch.from_numpy(_sound(200))), expected, "64 bands at 8 kHz", torch.float32)


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 16000, 44100])
@pytest.mark.parametrize("bands", [1, 20, 40, 64])
def test_every_band_hears_its_middle(rate: int, bands: int) -> None:
    mel = Mel(rate, bands)
    edges = np.linspace(0, 1, bands + 2) * (math.log(1 + rate / 1400) - math.log(1 + 20 / 700)) + math.log(1 + 20 / 700)
    for band in range(bands):
        hertz = 700 * (math.exp(edges[band + 1]) - 1)
        heard = mel(torch.from_numpy(tone(hertz, 0.1, rate)))[2]
        assert abs(int(heard.argmax()) - band) <= (1 if bands == 64 else 0)
        assert heard[band] > heard.max() - 0.7


def test_white_noise_has_its_variance_in_each_band() -> None:
    noise = 0.1 * torch.randn(80000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    means = Mel(8000, 20)(noise).exp().mean(0)
    assert (means / 0.01 - 1).abs().max() < 0.15


def test_silence_is_finite_and_the_least() -> None:
    silent = Mel(8000)(torch.zeros(800))
    assert torch.equal(silent, torch.full_like(silent, math.log(1e-10)))
    rounding = torch.rand(80000, generator=torch.Generator().manual_seed(0)) - 0.5  # of 16 bits
    assert (Mel(8000)(rounding / 32768).mean() - silent.mean()) < 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_of_any_sizes_have_the_frames_of_the_whole(dtype: torch.dtype) -> None:
    draw = np.random.default_rng(1)
    for _ in range(60):
        window = draw.uniform(0.01, 0.04)
        mel = Mel(8000, 20, window, window * draw.uniform(0.1, 1))
        length = int(draw.integers(1, 4000))
        samples = torch.from_numpy(draw.normal(0, 0.1, length)).to(dtype)
        cuts = np.sort(draw.integers(0, length + 1, draw.integers(0, 20)))
        stream = MelStream(mel)
        blocks = [stream.push(block) for block in torch.tensor_split(samples, cuts.tolist())]
        found = torch.cat([*blocks, stream.finish()])
        assert_close(found, mel(samples), f"{mel}, {length} samples, cut at {cuts}")
        assert len(found) == mel.frames(length)


def test_frames_come_as_soon_as_they_are_whole() -> None:
    stream = MelStream(Mel(8000))
    assert [len(stream.push(np.zeros(1, np.float32))) for _ in range(281)] == [0] * 199 + [1] + [0] * 79 + [1, 0]


def test_no_samples_have_no_frames() -> None:
    stream = MelStream(Mel(8000))
    assert Mel(8000).frames(0) == len(Mel(8000)(torch.zeros(0))) == len(stream.finish()) == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rate": 0}, "rate must be 1 sample per second at least, got 0"),
        ({"bands": 0}, "bands must be 1 at least, got 0"),
        ({"hop": 0.03}, "hop must be one sample at least and at most the window, 0.025 seconds; got 0.03"),
        ({"hop": 0}, "got 0 at 8,000 samples per second"),
        ({"highest": 5000.0}, "between 0 and 4000 Hz, half the rate; got lowest 20 and highest 5000"),
        ({"lowest": 900.0, "highest": 800.0}, "got lowest 900 and highest 800"),
        ({"bands": 600}, "600 bands from 20 to 4000 Hz are too many: a window of 0.025 seconds cannot tell"),
    ],
)
def test_what_cannot_be_is_told(given: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as error:
        Mel(**{"rate": 8000, **given})
    assert said in str(error.value)


@pytest.mark.full  # 20 minutes of sound
def test_a_long_sound_in_blocks_needs_no_more_memory_than_a_short_one() -> None:
    program = (
        "import resource, torch; from holdfast.data.audio import Mel, MelStream\n"
        "for blocks in (3, 120):\n"  # twenty minutes
        "    stream = MelStream(Mel(16000, 40))\n"
        "    frames = sum(len(stream.push(torch.zeros(160000))) for _ in range(blocks))\n"
        "    print(blocks, frames, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    most = {}
    for line in done.stdout.splitlines():
        blocks, frames, most[blocks] = map(int, line.split())
        assert frames == 1 + (blocks * 160000 - 400) // 160
    assert most[120] - most[3] < 30e6
