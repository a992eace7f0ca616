"""What the data settle: seasons, how far to look ahead and back, and how many steps to take at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from holdfast.data import DataError, Panel

from .options import ForecastOptions

Array = np.ndarray[Any, Any]

_HORIZON = 12  # where there is no season
_SEASONS_READ = 4  # of the longest one
_LONGEST_CONTEXT = 4096  # steps
_LARGEST_PATCH = 128  # steps
_SERIES_LOOKED_AT, _VALUES_LOOKED_AT = 200, 4096  # for seasons that no frequency tells
_CLEAR = 0.3  # the autocorrelation at a season
_NEARLY = 0.7  # as high as the highest
_LONGER = 0.01  # by how much at least that at a longer season must be higher than at the multiple before
_BY_CHANCE = 5.0  # times the deviation that it would have by chance
_SHARE_OF_VALIDATION = 10  # a tenth


def settled(panel: Panel, options: ForecastOptions) -> ForecastOptions:
    """The options with all that was left to the data, but for the model and its base.

    Args:
        panel: with a part to choose on.
        options: as they were given.

    Raises:
        DataError: values are not what the likelihood is for.
    """
    if options.likelihood == "negative-binomial":
        _check_counts(panel)
    season = options.season or seasons_of(panel, 1)
    horizon = horizon_of(panel, options, 1)
    typical = int(np.median(panel.ends[0][panel.ends[0] > 0]))
    patch = options.patch or _patch(season, horizon)
    if options.model != "patches":
        patch = 1
    context = options.context
    if not context:
        wanted = min(max(_SEASONS_READ * max(season, default=0), _SEASONS_READ * horizon), _LONGEST_CONTEXT)
        context = max(1, min(wanted, typical // 2))
    patch = min(patch, context)
    context = max(patch, context // patch * patch)
    seen = tuple(length for length in season if length <= context)
    return replace(options, season=seen, horizon=horizon, patch=patch, context=context)


def horizon_of(panel: Panel, options: ForecastOptions, part: int) -> int:
    """How many steps are forecast: where nobody says it, two of the shortest season up to the end of a part."""
    if options.horizon:
        return options.horizon
    season = options.season or seasons_of(panel, part)
    return 2 * min(season) if season else _HORIZON


def split(panel: Panel, options: ForecastOptions) -> Panel:
    """The panel with a part to choose on, taken from the end of what there is to learn from.

    It is as long as what is forecast, by the seasons up to its end: they are the same before and after the split.

    Raises:
        DataError: no series is long enough.
    """
    horizon = horizon_of(panel, options, 0)
    whole = panel.ends[0]
    steps = np.maximum(horizon, whole // _SHARE_OF_VALIDATION) if not options.valid_steps else options.valid_steps
    learned = np.where(whole - steps > horizon, whole - steps, 0)  # something must be left to learn from
    short = learned == 0
    if short.all():
        raise DataError(
            f"no series is long enough: to forecast {horizon} steps and to choose on the last "
            f"{int(np.max(steps))}, one needs more than {int(np.min(np.asarray(steps))) + horizon}; the longest has "
            f"{int(whole.max())}. A smaller horizon may do"
        )
    learned = np.where(short, whole, learned)  # short ones are learned from, and not chosen on
    ends = np.concatenate([learned[None], panel.ends])
    notes = [*panel.notes]
    if short.any():
        names = [panel.names[k] for k in np.flatnonzero(short)[:3]]
        notes.append(
            f"{int(short.sum()):,} series are too short to choose on and are learned from as a whole, "
            f"such as {', '.join(map(repr, names))}"
        )
    return replace(panel, ends=ends, notes=tuple(notes))


def seasons_of(panel: Panel, part: int) -> tuple[int, ...]:
    """The seasons by the frequency, or where that tells none, those that the values show up to the end of a part.

    A season is the smallest lag at which the autocorrelation, the mean over the series, peaks nearly as high as
    anywhere. A multiple of it is a longer season if the values are more alike there than at the multiples beside it, by
    more than chance.
    """
    if panel.frequency.seasons:
        return tuple(panel.frequency.seasons)
    correlation, count = _autocorrelation(panel, panel.ends[part])

    def peaks(lags: range) -> list[int]:
        around = [(k, correlation[k - lags.step], correlation[k], correlation[k + lags.step]) for k in lags]
        return [k for k, before, here, after in around if here > max(_CLEAR, before) and here > after]

    found = peaks(range(2, len(correlation) - 1))
    if not found:
        return ()
    highest = max(correlation[k] for k in found)
    near = next(k for k in found if correlation[k] > _NEARLY * highest)
    # By a peak alone it is a step too long or too short now and then: at its multiples that adds up.
    short = max((k for k in (near, near - 1, near + 1) if k > 1), key=lambda k: float(correlation[k::k].mean()))
    multiples = peaks(range(2 * short, len(correlation) - short, short))
    by_chance = _BY_CHANCE * float(np.sqrt(max(0.0, 1 - highest**2) / count))
    higher = max(_LONGER, by_chance)
    clear = [k for k in multiples if correlation[k] > correlation[k - short] + higher]
    best = max((correlation[k] for k in clear), default=0.0)
    return (short, *[k for k in clear if correlation[k] > best - higher][:1])


def _check_counts(panel: Panel) -> None:
    wrong = np.flatnonzero((panel.values < 0) | (panel.values % 1 > 0))
    if len(wrong):
        name = panel.names[int(np.searchsorted(panel.starts, wrong[0], "right")) - 1]
        raise DataError(
            f"the likelihood negative-binomial is for counts, whole numbers from 0 on; series {name!r} has "
            f"{panel.values[wrong[0]]:g}"
        )


def _autocorrelation(panel: Panel, lengths: Array) -> tuple[Array, int]:
    """Of the series up to some lengths, without their trend; the mean over some of them, and of how many values."""
    usable = np.flatnonzero(lengths >= max(8, int(np.median(lengths)) // 2))
    if not len(usable):
        return np.zeros(1), 0
    chosen = usable[np.linspace(0, len(usable) - 1, min(len(usable), _SERIES_LOOKED_AT)).astype(int)]
    longest = int(min(lengths[chosen].min(), _VALUES_LOOKED_AT)) // 3
    total, count, looked_at = np.zeros(longest + 1), 0, 0
    for k in chosen:
        values = panel.of(int(k))[: lengths[k]][-_VALUES_LOOKED_AT:].astype(np.float64)
        places = np.flatnonzero(~np.isnan(values))
        if len(places) < 8:
            continue
        values = np.interp(np.arange(len(values)), places, values[places])
        values -= np.polyval(np.polyfit(np.arange(len(values)), values, 1), np.arange(len(values)))
        energy = float(values @ values)
        if energy <= 1e-12 * max(1.0, len(values)):
            continue
        size = 1 << (2 * len(values)).bit_length()
        spectrum = np.fft.rfft(values, size)
        found = np.fft.irfft(spectrum * spectrum.conj(), size)[: longest + 1]
        total += found / energy * len(values) / np.arange(len(values), len(values) - longest - 1, -1)
        count, looked_at = count + 1, looked_at + len(places)
    return total / max(1, count), looked_at


def _patch(season: tuple[int, ...], horizon: int) -> int:
    """The shortest season if that is a handy number of steps."""
    short = min(season, default=0)
    return short if 2 <= short <= _LARGEST_PATCH else max(1, min(24, horizon // 2))
