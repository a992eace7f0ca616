"""Pictures by matplotlib, of the extra `plot`: each function draws into the axes it is given, or new ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from holdfast.extras import require
from holdfast.layers import LayerTrace

from .colours import suited
from .horizon import SHARES, Horizon
from .probes import Probe
from .recording import MicroscopeError, series
from .units import keeping_gate, saturation, time_constants

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOUR_MAPS = {"sequential": "viridis", "diverging": "RdBu_r"}
_BINS = 30  # of a histogram


def plot_heat_map(
    seen: LayerTrace, name: str, units: Sequence[int] | None = None, sequence: int = 0, ax: Axes | None = None
) -> Axes:
    """A gate or state over time as colours: a row a unit, a column a step.

    >>> import torch, holdfast
    >>> from holdfast import microscope
    >>> from matplotlib.figure import Figure
    >>> seen = microscope.record(holdfast.LSTM(3, 4), torch.randn(7, 2, 3))
    >>> ax = plot_heat_map(seen["l0"], "f", ax=Figure().subplots())
    >>> ax.get_xlabel(), ax.get_ylabel(), ax.get_title()
    ('step', 'unit', 'l0.f')

    Args:
        seen: a layer of a recording.
        name: of the gate or state.
        units: which, from the top; by default all, in their order. `time_constants(seen).argsort()` sorts them.
        sequence: which of the batch.
        ax: where to draw.
    """
    values = _of_sequence(seen, name, sequence)  # (T, H)
    rows = values if units is None else values[:, _whole(units)]
    palette, (low, high) = suited(rows)
    ax = _axes(ax)
    image = ax.imshow(rows.T, aspect="auto", interpolation="nearest", cmap=_COLOUR_MAPS[palette], vmin=low, vmax=high)
    ax.figure.colorbar(image, ax=ax)
    ax.set(xlabel="step", ylabel="unit" if units is None else "unit, in the order given", title=f"{seen.name}.{name}")
    return ax


def plot_units(seen: LayerTrace, name: str, units: Sequence[int], sequence: int = 0, ax: Axes | None = None) -> Axes:
    """A gate or state of a few units over time as lines.

    >>> import torch, holdfast
    >>> from holdfast import microscope
    >>> from matplotlib.figure import Figure
    >>> seen = microscope.record(holdfast.LSTM(3, 4), torch.randn(7, 2, 3))
    >>> len(plot_units(seen["l0"], "c", [0, 3], ax=Figure().subplots()).lines)
    2

    Args:
        seen: a layer of a recording.
        name: of the gate or state.
        units: which.
        sequence: which of the batch.
        ax: where to draw.
    """
    values = _of_sequence(seen, name, sequence)  # (T, H)
    ax = _axes(ax)
    for unit in _whole(units):
        ax.plot(values[:, unit], label=f"unit {unit}")
    ax.legend()
    ax.set(xlabel="step", ylabel=name, title=f"{seen.name}.{name}")
    return ax


def plot_horizon(horizon: Horizon, ax: Axes | None = None) -> Axes:
    """The length of the gradient by the distance to the end, a line a layer; dots where 50, 90 and 99 % are gone.

    >>> import torch, holdfast
    >>> from holdfast import microscope
    >>> from matplotlib.figure import Figure
    >>> layer, x = holdfast.LSTM(3, 5), torch.randn(40, 2, 3)
    >>> horizon = microscope.memory_horizon(layer, x, read=lambda output: output[0][-1].sum())
    >>> plot_horizon(horizon, ax=Figure().subplots()).get_yscale()
    'log'

    Args:
        horizon: of a model.
        ax: where to draw.
    """
    ax = _axes(ax)
    for place, lengths in horizon.states.items():
        middle = lengths.median(1).values
        shown = middle.where(middle > 0, np.nan).numpy(force=True)
        (drawn,) = ax.plot(horizon.lags[: len(shown)], shown, label=place or "model")
        for share in SHARES:
            lag = horizon.lag(share, place)
            if lag is not None and (length := float(middle[horizon.lags.index(lag)])) > 0:
                spot = (lag, length)
                ax.plot(*spot, "o", color=drawn.get_color())
                ax.annotate(f"{share:.0%}", spot, textcoords="offset points", xytext=(4, 4))
    ax.legend()
    ax.set(yscale="log", xlabel="steps before the end", ylabel="length of the gradient")
    return ax


def plot_time_constants(seen: LayerTrace, gate: str = "", ax: Axes | None = None) -> Axes:
    """How many units keep their memory for how long; units that forget nothing at all are counted in the title.

    >>> import torch, holdfast
    >>> from holdfast import microscope
    >>> from matplotlib.figure import Figure
    >>> seen = microscope.record(holdfast.LSTM(3, 40), torch.randn(7, 2, 3))
    >>> plot_time_constants(seen["l0"], ax=Figure().subplots()).get_xscale()
    'log'

    Args:
        seen: a layer of a recording.
        gate: the gate that says how much is kept; by default f, or a GRU's z.
        ax: where to draw.
    """
    found = time_constants(seen, gate).numpy(force=True)
    drawn = found[np.isfinite(found) & (found > 0)]
    title = f"{seen.name}: time constants by {gate or keeping_gate(seen)}"
    if len(drawn) < len(found):
        title += f"; {len(found) - len(drawn)} of {len(found)} units forget nothing"
    low, high = (drawn.min(), drawn.max()) if len(drawn) else (1.0, 1.0)
    ax = _axes(ax)
    # Rounding must leave the least and the largest inside.
    ax.hist(drawn, bins=np.geomspace(low * 0.999, high * 1.001, _BINS + 1).tolist())
    ax.set(xscale="log", xlabel="steps until 1/e is left", ylabel="units", title=title)
    return ax


def plot_saturation(seen: LayerTrace, ax: Axes | None = None) -> Axes:
    """How often each gate of each unit was shut, against how often it was open: the farther out, the more saturated.

    >>> import torch, holdfast
    >>> from holdfast import microscope
    >>> from matplotlib.figure import Figure
    >>> seen = microscope.record(holdfast.LSTM(3, 4), torch.randn(7, 2, 3))
    >>> [text.get_text() for text in plot_saturation(seen["l0"], ax=Figure().subplots()).get_legend().texts]
    ['i', 'f', 'o']

    Args:
        seen: a layer of a recording.
        ax: where to draw.
    """
    gates = saturation(seen)
    if not gates:
        raise MicroscopeError(f"{seen.name} has no gate between 0 and 1")
    ax = _axes(ax)
    for name, shares in gates.items():
        ax.scatter(shares.high.numpy(force=True), shares.low.numpy(force=True), s=12, alpha=0.6, label=name)
    ax.plot([0, 1], [1, 0], color="grey", linestyle=":")  # on it a gate was never in between
    ax.legend()
    ax.set(xlabel="share of steps over 0.9", ylabel="share of steps under 0.1", title=f"{seen.name}: saturation")
    return ax


def plot_probe(
    found: Probe, units: Tensor, signal: Tensor, start: int = 0, stop: int | None = None, ax: Axes | None = None
) -> Axes:
    """The unit that a probe found, over a stretch, beside the signal: shaded where it is true, or as a dashed line.

    >>> import torch
    >>> from holdfast import microscope
    >>> from matplotlib.figure import Figure
    >>> units, signal = torch.randn(400, 5), torch.arange(400) % 14 < 7
    >>> ax = plot_probe(microscope.probe(units, signal), units, signal, 200, 300, ax=Figure().subplots())
    >>> len(ax.lines[0].get_xdata())
    100

    Args:
        found: what `probe` returned.
        units, signal: what it was given.
        start, stop: the stretch; by default all.
        ax: where to draw.
    """
    stretch = slice(start, stop)
    steps = np.arange(len(units))[stretch]
    if len(steps) == 0:
        raise MicroscopeError(f"the stretch must lie within the {len(units):,} steps; got {start} to {stop}")
    shown = signal[stretch].numpy(force=True)
    ax = _axes(ax)
    ax.plot(steps, units[stretch, found.unit].numpy(force=True), label=f"unit {found.unit}")
    ax.set(xlabel="step", ylabel=f"unit {found.unit}", title=f"{found.measure} {found.score:.3f}")
    if found.measure == "AUC":
        across = ax.get_xaxis_transform()  # the whole height, whatever the unit's values are
        on = shown == signal.max().item()
        ax.fill_between(steps, 0, 1, where=on, step="mid", transform=across, alpha=0.2, label="signal")
        ax.legend()
        return ax
    beside = ax.twinx()
    beside.plot(steps, shown, color="grey", linestyle="--")
    beside.set_ylabel("signal (dashed)")
    return ax


def _axes(ax: Axes | None) -> Any:
    """The axes to draw into: those given, or those of a new figure."""
    return require("matplotlib.pyplot", "plot").subplots()[1] if ax is None else ax


def _of_sequence(seen: LayerTrace, name: str, sequence: int) -> Any:
    """A gate or state of one sequence, (T, H)."""
    values = series(seen, name)
    if sequence not in range(values.shape[1]):
        raise MicroscopeError(f"sequence must be from 0 to {values.shape[1] - 1}; got {sequence!r}")
    return values[:, sequence].detach().float().numpy(force=True)


def _whole(units: Sequence[int]) -> list[int]:
    """Numbers of units as plain ones: from a list, an array or a tensor."""
    return [int(unit) for unit in units]
