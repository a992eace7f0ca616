"""Sounds and frames that are changed at random."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from holdfast.data import DataError
from holdfast.data.audio import disturbed, masked
from holdfast.data.audio.augmentation import faster, louder, noise, noisy

from .helpers import Array, strength, tone


def _drawn(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("factor", [0.8, 0.93, 1.07, 1.3])
def test_a_faster_tone_is_higher_and_shorter(factor: float) -> None:
    samples = tone(600, 1, 8000).astype(np.float32)
    found = faster(samples, factor)
    assert abs(len(found) - 8000 / factor) <= 1
    assert found.dtype == np.float32
    assert strength(found, 600 * factor, 8000) == pytest.approx(0.5, rel=0.01)
    assert strength(found, 600, 8000) < 0.01


def test_a_factor_that_is_none_is_told() -> None:
    with pytest.raises(DataError, match="factor must be above 0, got 0"):
        faster(np.zeros(9, np.float32), 0)


@pytest.mark.parametrize("colour", [0.0, 1.0, 2.0])
def test_the_power_of_noise_falls_as_its_colour_says(colour: float) -> None:
    found = noise(1 << 16, colour, _drawn())
    assert np.mean(found.astype(np.float64) ** 2) == pytest.approx(1, rel=1e-5)
    power = np.abs(np.fft.rfft(found)) ** 2
    octaves = [power[1 << k : 2 << k].mean() for k in range(6, 14)]
    assert np.polyfit(range(8), np.log2(octaves), 1)[0] == pytest.approx(-colour, abs=0.1)


@pytest.mark.parametrize("snr", [-3.0, 0.0, 20.0])
def test_noise_is_as_far_below_the_sound_as_is_said(snr: float) -> None:
    samples = tone(440, 0.5, 8000, 0.1).astype(np.float32)
    added = noisy(samples, snr, 1.0, _drawn()) - samples
    assert 10 * math.log10(np.mean(samples**2) / np.mean(added**2)) == pytest.approx(snr, abs=0.01)


def test_silence_stays_silent() -> None:
    assert not noisy(np.zeros(100, np.float32), 0, 1, _drawn()).any()
    assert not disturbed(np.zeros(100, np.float32), _drawn()).any()


def test_a_gain_ends_at_full_scale() -> None:
    samples = np.array([0.25, -0.5], np.float32)
    np.testing.assert_allclose(louder(samples, -20), [0.025, -0.05], rtol=1e-6)
    np.testing.assert_allclose(louder(samples, 60), [0.5, -1], rtol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 3, 100, 8000])
def test_a_disturbed_sound_is_a_sound(length: int) -> None:
    samples = _drawn(length).uniform(-1, 1, length).astype(np.float32)
    for seed in range(40):
        found = disturbed(samples, _drawn(seed))
        assert found.dtype == np.float32
        assert max(1, length / 1.1 - 1) <= len(found) <= length / 0.9 + 1
        assert np.isfinite(found).all()
        assert np.abs(found).max() <= 1


def test_what_is_disturbed_depends_on_the_draw_alone() -> None:
    samples = tone(440, 0.2, 8000).astype(np.float32)
    np.testing.assert_array_equal(disturbed(samples, _drawn(3)), disturbed(samples, _drawn(3)))
    assert len(disturbed(samples, _drawn(3))) != len(disturbed(samples, _drawn(4)))


def test_speed_noise_and_level_are_spread_over_their_ranges() -> None:
    samples = tone(1000, 0.25, 8000, 0.1).astype(np.float32)
    drawn = [disturbed(samples, _drawn(seed)) for seed in range(300)]
    speeds = [2000 / len(one) for one in drawn]
    assert min(speeds) < 0.91
    assert max(speeds) > 1.09
    tones = [strength(one, 1000 * 2000 / len(one), 8000) for one in drawn]
    assert 0.1 * 10 ** (-6 / 20) * 0.95 < min(tones) < 0.055
    assert 0.18 < max(tones) < 0.1 * 10 ** (6 / 20) * 1.05
    rests = [np.mean(one**2) / (level**2 / 2) - 1 for one, level in zip(drawn, tones)]  # the noise, over the tone
    # Half of the sounds have noise, 20 of these 35 dB more than what the ends of a tone leave here
    assert 0.2 < np.mean(np.array(rests) > 10 ** (-25 / 10)) < 0.37
    assert max(rests) < 10 ** (-5 / 10) * 1.3


def _stretches(column: Array) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], column.astype(int), [0]])))
    return [*zip(edges[::2].tolist(), edges[1::2].tolist())]


def test_masks_become_the_mean_of_their_band_and_nothing_else_changes() -> None:
    lengths = torch.tensor([150, 0, 1, 420, 37])
    frames = torch.randn(450, 5, 40)
    for b, length in enumerate(lengths):
        frames[length:, b] = math.nan
    seen = np.zeros(2, bool)
    for seed in range(30):
        found = masked(frames, lengths, torch.Generator().manual_seed(seed))
        for b, length in enumerate(lengths.tolist()):
            assert found[length:, b].isnan().all()
            before, after = frames[:length, b].numpy(), found[:length, b].numpy()
            changed = before != after
            np.testing.assert_allclose(
                after[changed], np.broadcast_to(before.mean(0) if length else 0, before.shape)[changed], atol=1e-5
            )
            if length < 2:
                continue
            bands, times = changed.all(0), changed.all(1)
            assert np.array_equal(changed, bands[None] | times[:, None])
            assert len(_stretches(bands)) <= 2
            assert bands.sum() <= 2 * int(0.15 * 40)
            assert times.sum() <= (2 + length // 100) * min(20, int(0.05 * length))
            seen |= [bands.any(), times.any()]
    assert seen.all()


def test_a_mean_of_many_frames_is_right_in_half_precision() -> None:
    frames, lengths = torch.rand(4000, 1, 40, generator=torch.Generator().manual_seed(0)) + 1, torch.tensor([4000])
    half = masked(frames.bfloat16(), lengths, torch.Generator().manual_seed(1))
    whole = masked(frames.bfloat16().float(), lengths, torch.Generator().manual_seed(1))
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, whole.bfloat16())


def test_masks_differ_between_the_sequences_of_a_batch() -> None:
    frames = torch.randn(300, 1, 40).expand(300, 6, 40)
    found = masked(frames, torch.full((6,), 300))
    assert len({(found[:, b] != frames[:, b]).numpy().tobytes() for b in range(6)}) == 6


def test_masks_come_from_the_generator_or_from_pytorchs_own() -> None:
    frames, lengths = torch.randn(100, 3, 40), torch.tensor([100, 80, 60])
    assert torch.equal(*(masked(frames, lengths, torch.Generator().manual_seed(5)) for _ in range(2)))
    torch.manual_seed(5)
    assert torch.equal(masked(frames, lengths), masked(frames, lengths, torch.Generator().manual_seed(5)))
