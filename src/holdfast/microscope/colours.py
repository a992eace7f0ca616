"""Colour maps for heat maps: a few anchor colours, and straight lines between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

# Viridis (Smith and van der Walt 2015) at nine even places: lightness grows evenly, also for colour-blind eyes.
_SEQUENTIAL = "440154 472d7b 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725"
# ColorBrewer's blue-white-red (Brewer 2003): lightness falls evenly to both sides, also for colour-blind eyes.
_DIVERGING = "2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b"

_ANCHORS = {
    name: np.array([[int(colour[k : k + 2], 16) for k in (0, 2, 4)] for colour in colours.split()], dtype=np.float64)
    for name, colours in (("sequential", _SEQUENTIAL), ("diverging", _DIVERGING))
}


def suited(values: Matrix) -> tuple[str, tuple[float, float]]:
    """The palette and the ends of the scale that suit what is drawn: from 0 to 1 for gates, else evenly around 0.

    >>> suited(np.array([0.2, 0.7])), suited(np.array([-3.0, 1.0]))
    (('sequential', (0.0, 1.0)), ('diverging', (-3.0, 3.0)))
    """
    finite = values[np.isfinite(values)]
    if finite.min(initial=0) >= 0 and finite.max(initial=0) <= 1:
        return "sequential", (0.0, 1.0)
    largest = float(np.abs(finite).max())
    return "diverging", (-largest, largest)


def colour_map(values: Matrix | Sequence[float], palette: str = "sequential") -> NDArray[np.uint8]:
    """The colours of numbers between 0 and 1, as red, green, blue and opacity in 0 … 255.

    Numbers outside are drawn as the nearest end; NaN is transparent.

    >>> colour_map([0.0, 1.0, float("nan")]).tolist()
    [[68, 1, 84, 255], [253, 231, 37, 255], [0, 0, 0, 0]]

    Args:
        values: an array of any shape.
        palette: "sequential" for amounts, or "diverging" for signed numbers, 0.5 being the neutral middle.

    Returns:
        An array with one axis more, of length 4.
    """
    if palette not in _ANCHORS:
        raise ValueError(f"palette must be one of {sorted(_ANCHORS)}; got {palette!r}")
    anchors = _ANCHORS[palette]
    given = np.asarray(values, dtype=np.float64)
    places = np.clip(np.nan_to_num(given), 0, 1) * (len(anchors) - 1)
    rgb = np.stack([np.interp(places, np.arange(len(anchors)), anchors[:, k]) for k in range(3)], axis=-1)
    rgba = np.concatenate([rgb.round(), np.full((*given.shape, 1), 255.0)], axis=-1).astype(np.uint8)
    rgba[np.isnan(given)] = 0
    return rgba
