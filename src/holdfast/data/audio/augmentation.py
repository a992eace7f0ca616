"""Sounds and frames changed at random, so that a model learns what does not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from holdfast.extras import require

from ..sources import DataError

Array = np.ndarray[Any, Any]

_SLOWEST, _FASTEST = 0.9, 1.1
_LOUDEST_NOISE, _SOFTEST_NOISE = 5.0, 40.0  # dB that the sound is above it
_NOISY = 0.5  # share of the sounds that noise is added to
_BROWN = 2.0
_GAIN = 6.0  # dB up or down

_BAND_MASKS, _OF_BANDS = 2, 0.15
_TIME_MASKS, _FRAMES_A_MASK = 2, 100  # so many, and another for every hundred frames
_OF_FRAMES, _MOST_FRAMES = 0.05, 20


def faster(samples: Array, factor: float) -> Array:
    """A sound that is played faster, or slower where the factor is less than 1: pitch and tempo together.

    >>> len(faster(np.zeros(1000, np.float32), 1.25))
    800

    Args:
        samples: (N,), N > 0.
        factor: how many times as fast.

    Returns:
        (N / factor,), one sample at least.

    Raises:
        DataError: the factor is not above 0.
    """
    if not factor > 0:
        raise DataError(f"factor must be above 0, got {factor}")
    found: Array = require("soxr", "speech").resample(samples, factor, 1.0)
    return found if len(found) else samples[:1]


def noise(count: int, colour: float, draw: np.random.Generator) -> Array:
    """Noise of mean square 1 whose power falls with frequency f as f to the power of −colour, float32.

    >>> noise(5, 1.0, np.random.default_rng(0)).shape
    (5,)

    Args:
        count: samples.
        colour: 0: white; 1: pink; 2: brown.
        draw: where it comes from.
    """
    spectrum = np.fft.rfft(draw.standard_normal(count))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1) ** (-colour / 2)
    found = np.fft.irfft(spectrum, count)
    result: Array = (found / np.sqrt(np.mean(found**2))).astype(np.float32)
    return result


def noisy(samples: Array, snr_db: float, colour: float, draw: np.random.Generator) -> Array:
    """A sound with noise, which is so many dB below it, measured over the whole; silence stays silent.

    Args:
        samples: (N,), N > 0.
        snr_db: dB of the sound above the noise.
        colour: of the noise, as of `noise`.
        draw: where it comes from.
    """
    level = np.sqrt(np.mean(np.square(samples, dtype=np.float64))) * 10 ** (-snr_db / 20)
    found: Array = samples + np.float32(level) * noise(len(samples), colour, draw)
    return found


def louder(samples: Array, db: float) -> Array:
    """A sound so many dB louder, but never so that it goes beyond −1 to 1.

    >>> louder(np.array([0.1, -0.2], np.float32), 20.0).tolist()
    [0.5, -1.0]
    """
    peak = float(np.abs(samples).max())
    gain = 10 ** (db / 20)
    return samples * np.float32(min(gain, 1 / peak) if peak else gain)


def disturbed(samples: Array, draw: np.random.Generator) -> Array:
    """A sound as somebody else might have recorded it: its speed, its noise and its level are drawn.

    Played 0.9 to 1.1 times as fast; with probability one half under noise from white to brown, 5 to 40 dB below it;
    up to 6 dB louder or softer, but within −1 to 1.

    Args:
        samples: (N,), N > 0.
        draw: where all is drawn from.

    Returns:
        float32, one sample at least.
    """
    found = faster(samples, draw.uniform(_SLOWEST, _FASTEST))
    if draw.random() < _NOISY:
        found = noisy(found, draw.uniform(_LOUDEST_NOISE, _SOFTEST_NOISE), draw.uniform(0, _BROWN), draw)
    return louder(found, draw.uniform(-_GAIN, _GAIN))


def masked(frames: Tensor, lengths: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Frames with some bands and some stretches of time made unknown (SpecAugment, Park et al. 2019).

    Of each sequence, what is in two stretches of up to 15 % of the bands, and in stretches of up to 5 % of its frames
    or 20, of which there are two and one more for every 100 frames, becomes the sequence's mean of that band.

    Args:
        frames: (T, B, C).
        lengths: how many frames each sequence has, (B,); what is beyond is neither read nor changed.
        generator: where it is drawn from, on the device of the frames; by default PyTorch's own.

    Returns:
        (T, B, C).
    """
    steps, _, bands = frames.shape
    lengths = lengths.to(frames.device)
    step = torch.arange(steps, device=frames.device)[:, None]  # (T, 1)
    band = torch.arange(bands, device=frames.device)[:, None]  # (C, 1)
    valid = step < lengths  # (T, B)

    all_bands = torch.full_like(lengths, bands)
    widest = (_OF_BANDS * all_bands).long()
    of_bands = torch.zeros(bands, len(lengths), dtype=torch.bool, device=frames.device)  # (C, B)
    for _ in range(_BAND_MASKS):
        of_bands |= _stretch(band, all_bands, widest, generator)

    longest = (_OF_FRAMES * lengths).long().clamp(max=_MOST_FRAMES)
    masks = _TIME_MASKS + lengths // _FRAMES_A_MASK
    of_time = torch.zeros_like(valid)  # (T, B)
    for k in range(_TIME_MASKS + steps // _FRAMES_A_MASK):
        of_time |= _stretch(step, lengths, longest, generator) & (k < masks)

    unknown = (of_time[:, :, None] | of_bands.T) & valid[:, :, None]  # (T, B, C)
    exact = torch.promote_types(frames.dtype, torch.float32)  # so that a sum of half precision is right
    means = torch.where(valid[:, :, None], frames, 0).sum(0, dtype=exact) / lengths.clamp(min=1)[:, None]  # (B, C)
    return torch.where(unknown, means.to(frames.dtype), frames)


def _stretch(at: Tensor, ends: Tensor, widest: Tensor, generator: torch.Generator | None) -> Tensor:
    """Whether each place lies in a stretch that is drawn for each sequence, (places, B).

    Args:
        at: the places, (places, 1).
        ends: where those of a sequence end, (B,).
        widest: how wide the stretch is at most, (B,).
        generator: where it is drawn from.
    """
    width, begin = torch.rand(2, len(ends), generator=generator, device=ends.device)
    widths = (width * (widest + 1)).long()
    begins = (begin * (ends - widths + 1)).long()
    return (begins <= at) & (at < begins + widths)
