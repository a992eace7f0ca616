"""Log-mel energies: how much of a sound there is, a hundred times a second, in bands as wide as an ear tells apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..sources import DataError

Array = np.ndarray[Any, Any]

_FLOOR = 1e-10  # added to energies; the noise of rounding to 16 bits has 2⁻³⁰ / 12 ≈ 0.8e-10
_DOUBLINGS = 2  # of the transform, beyond which bands are narrower than the window can tell apart


@dataclass(frozen=True)
class Mel:
    """How sounds become frames of log-mel energies.

    Frame t is of the samples from t·hop up to t·hop + window, under a Hann window; a sound that is shorter than a
    window has one frame, as if zeros followed, and what is left after the last whole window is in none. The energy of a
    band is the mean power of what its filter lets through: white noise of variance v has v in each. Filters are
    triangles on the mel scale, 2595 log₁₀(1 + Hz / 700), each reaching from the centre of the one below to that of the
    one above (Young et al., The HTK Book).

    >>> mel = Mel(rate=8000, bands=40)
    >>> mel(torch.zeros(8000)).shape, mel.frames(8000)
    (torch.Size([98, 40]), 98)

    Attributes:
        rate: samples per second.
        bands: how many there are, C.
        window: seconds of sound in a frame.
        hop: seconds from one frame to the next.
        lowest: Hz where the lowest band begins.
        highest: Hz where the highest ends; 0: half the rate.

    Raises:
        DataError: one is out of its range, or the bands are too many for the window.
    """

    rate: int
    bands: int = 64
    window: float = 0.025
    hop: float = 0.010
    lowest: float = 20.0
    highest: float = 0.0

    def __post_init__(self) -> None:
        if self.rate < 1:
            raise DataError(f"rate must be 1 sample per second at least, got {self.rate}")
        if self.bands < 1:
            raise DataError(f"bands must be 1 at least, got {self.bands}")
        if not 1 <= self.hop_samples <= self.window_samples:
            raise DataError(
                f"hop must be one sample at least and at most the window, {self.window} seconds; "
                f"got {self.hop} at {self.rate:,} samples per second"
            )
        if not 0 <= self.lowest < self._top <= self.rate / 2:
            raise DataError(
                f"bands must lie between 0 and {self.rate / 2:g} Hz, half the rate; "
                f"got lowest {self.lowest:g} and highest {self._top:g}"
            )
        _ = self.filters  # which says if bands are too many

    @property
    def window_samples(self) -> int:
        """Samples in a frame."""
        return round(self.window * self.rate)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return round(self.hop * self.rate)

    @property
    def _top(self) -> float:
        return self.highest or self.rate / 2

    @cached_property
    def filters(self) -> Array:
        """What each band takes of each frequency of the transform, float64, (F, C); what it takes adds up to 1."""
        points = _hertz(np.linspace(_mel(self.lowest), _mel(self._top), self.bands + 2))
        size = 1 << (self.window_samples - 1).bit_length()
        for _ in range(_DOUBLINGS + 1):
            found = _triangles(points, np.arange(size // 2 + 1) * self.rate / size)
            if (found.max(0) >= 0.5).all():  # each band sees a frequency near its centre
                return found / found.sum(0)
            size *= 2
        raise DataError(
            f"{self.bands} bands from {self.lowest:g} to {self._top:g} Hz are too many: a window of {self.window} "
            "seconds cannot tell the lowest apart"
        )

    def frames(self, samples: int) -> int:
        """How many frames a sound of so many samples has."""
        if samples < self.window_samples:
            return min(samples, 1)
        return 1 + (samples - self.window_samples) // self.hop_samples

    def __call__(self, samples: Tensor) -> Tensor:
        """The frames of a sound, (N,): the logarithms of the energies, of the same type, (T, C)."""
        length, filters = len(samples), torch.from_numpy(self.filters).to(samples)
        if length == 0:
            return samples.new_zeros(0, self.bands)
        size = 2 * (len(filters) - 1)
        window = torch.hann_window(self.window_samples, dtype=samples.dtype, device=samples.device)
        window = window / window.square().sum().sqrt()
        # torch would put a window that is shorter than the transform into its middle: its zeros are put after it here
        window = torch.nn.functional.pad(window, (0, size - self.window_samples))
        samples = torch.nn.functional.pad(
            samples, (0, max(0, self.window_samples - length) + size - self.window_samples)
        )
        found = torch.stft(samples, size, self.hop_samples, window=window, center=False, return_complex=True)  # (F, T)
        return torch.log(found.abs().square().T @ filters + _FLOOR)


class MelStream:
    """The frames of a sound that comes in blocks: together the same as of the whole.

    >>> stream = MelStream(Mel(8000))
    >>> [stream.push(torch.zeros(150)).shape[0] for _ in range(4)], stream.finish().shape[0]
    ([0, 2, 2, 2], 0)

    Args:
        mel: how sounds become frames.
    """

    def __init__(self, mel: Mel) -> None:
        self.mel = mel
        self._held = torch.zeros(0)  # from the beginning of the next frame on
        self._begun = False  # whether there was a frame

    def push(self, samples: Tensor | Array) -> Tensor:
        """The frames that a block completes, (T, C), where T may be 0."""
        samples = torch.as_tensor(samples)
        self._held = torch.cat([self._held.to(samples), samples])
        if len(self._held) < self.mel.window_samples:
            return samples.new_zeros(0, self.mel.bands)
        found = self.mel(self._held)
        self._held = self._held[len(found) * self.mel.hop_samples :].clone()
        self._begun = True
        return found

    def finish(self) -> Tensor:
        """The frame of a sound that is shorter than a window; otherwise none, (0, C)."""
        return self._held.new_zeros(0, self.mel.bands) if self._begun else self.mel(self._held)


def _mel(hertz: float) -> float:
    return 2595 * float(np.log10(1 + hertz / 700))


def _hertz(mel: Array) -> Array:
    found: Array = 700 * (10 ** (mel / 2595) - 1)
    return found


def _triangles(points: Array, frequencies: Array) -> Array:
    """Triangles between points, which are in Hz, at frequencies, straight on the mel scale, (F, C)."""
    marks, at = np.log1p(points / 700), np.log1p(frequencies / 700)[:, None]
    up = (at - marks[:-2]) / (marks[1:-1] - marks[:-2])
    down = (marks[2:] - at) / (marks[2:] - marks[1:-1])
    return np.maximum(np.minimum(up, down), 0)
