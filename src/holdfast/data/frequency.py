"""How far apart the steps of a series are: times to whole numbers and back, seasons, and where in the calendar."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from holdfast.extras import require

from .sources import DataError

Array = np.ndarray[Any, Any]

_DAY = 86_400_000_000_000  # nanoseconds
_WEEK = 7 * _DAY
_MONTH = 31 * _DAY  # what a month counts in a phase: no month is longer
_FIXED = {
    "W": _WEEK,
    "D": _DAY,
    "h": _DAY // 24,
    "min": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
_MONTHS = {"Y": 12, "Q": 3, "M": 1}
_ACCEPTED = "s, min, h, D, B (business days), W, MS, QS, YS (starts), ME, QE, YE (ends), or a whole number"
_FEW = 10  # gaps that a series must have before its own step counts against that of the others


@dataclass(frozen=True)
class Frequency:
    """The distance from one step to the next, and how a time becomes a step's number (its ordinal).

    Series of one frequency may begin at different places within a step: one at each full hour, another at each half.
    The place is the phase. It is what remains of a time when its ordinal is taken off, so that ordinals of all series
    compare, and `times(ordinals(t), phase)` is t. In calendar months a phase counts 31 days a month, and a day that a
    month does not have is its last one: day 31 is the month's end.

    Times are whole numbers, or nanoseconds without a time zone; where there is a zone they are in UTC. Steps of whole
    days and more follow the clock of the zone, shorter ones UTC.

    >>> monthly = Frequency.parse("MS")
    >>> monthly.ordinals(np.array(["2020-11-01", "2020-12-01", "2021-01-01"], "M8[ns]")).tolist()
    [610, 611, 612]
    >>> monthly.times(np.array([612])).astype("M8[D]").tolist()
    [datetime.date(2021, 1, 1)]

    Attributes:
        kind: "steps" of whole numbers, "span" of time, "business" days, or calendar "months".
        step: how many numbers, nanoseconds, days or months a step takes.
        phase: where in a step most series lie: of whole numbers, or nanoseconds.
        zone: the time zone, if times have one.
    """

    kind: str
    step: int
    phase: int = 0
    zone: str = ""

    @classmethod
    def parse(cls, alias: str, zone: str = "") -> Frequency:
        """A frequency from its name.

        >>> Frequency.parse("15min").seasons
        (96, 672)

        Args:
            alias: s, min, h, D, B, W, MS, ME, QS, QE, YS or YE, with a number before it for a multiple; or a number.
            zone: the time zone, if times have one.

        Raises:
            DataError: it is none of these.
        """
        found = re.fullmatch(r"(\d*)([A-Za-z]*)", alias)
        count = int(found[1] or 1) if found else 0
        unit = found[2] if found else ""
        if count and alias.isdigit():
            return cls("steps", count)
        if count and unit in _FIXED:
            return cls("span", count * _FIXED[unit], 3 * _DAY if unit == "W" else 0, zone)  # weeks end on a Sunday
        if alias in ("B", "1B"):
            return cls("business", 1, 0, zone)
        if count and len(unit) == 2 and unit[0] in _MONTHS and unit[1] in "SE":
            months = _MONTHS[unit[0]]
            end = (months - 1) * _MONTH + 30 * _DAY
            return cls("months", count * months, end if unit[1] == "E" else 0, zone)
        raise DataError(f"frequency must be {_ACCEPTED}, with a number before it for a multiple; got {alias!r}")

    @classmethod
    def infer(cls, times: Sequence[Array], zone: str = "", where: Callable[[int, int], str] | None = None) -> Frequency:
        """The frequency of several series, whatever gaps they have.

        The step is the most common difference if all are multiples of it, or their greatest common divisor if one in
        ten of them is that.

        >>> hours = np.array(["2020-01-01 00:30", "2020-01-01 01:30", "2020-01-01 04:30"], "M8[ns]")
        >>> Frequency.infer([hours]).alias
        'h'

        Args:
            times: of each series, sorted, each once; whole numbers or datetime64.
            zone: the time zone, if times have one; they are in UTC.
            where: names an element for a message, from the numbers of its series and of its place there.

        Raises:
            DataError: steps are mixed, or there is none.
        """
        place = where or (lambda series, row: f"series {series}, time {row + 1}")
        owner = np.repeat(np.arange(len(times)), [len(each) for each in times])
        flat = np.concatenate([np.zeros(0, np.int64), *map(_whole, times)])
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        within = np.ones(len(owner), bool)
        within[starts] = False
        if not within.any():
            raise DataError(
                "every series has a single time, so that nothing says how far apart steps are: give frequency, "
                f"which is {_ACCEPTED}"
            )
        dated = any(np.issubdtype(each.dtype, np.datetime64) for each in times)

        def step_of(units: Array, told: Callable[[int], str]) -> int:
            """The step of times in some unit, whole numbers."""
            gaps = np.diff(units, prepend=0)[within]
            rows = np.flatnonzero(within)

            def at(row: int) -> str:
                return place(int(owner[row]), int(row - np.searchsorted(owner, owner[row])))

            return _common_step(gaps, owner[within], lambda gap: at(rows[gap]), told)

        if not dated:
            return cls("steps", step_of(flat, str)).with_phase(flat, starts)
        wall = _to_local(flat, zone)
        shortest = np.diff(wall, prepend=0)[within].min()
        of_day = wall % _DAY
        whole_days = bool((of_day == np.repeat(of_day[starts], np.diff([*starts, len(of_day)]))).all())
        if whole_days and shortest >= 28 * _DAY:
            months = cls("months", 1, 0, zone)
            if not months.place(flat, starts)[2].any():
                return replace(months, step=step_of(_month(wall), "{} months".format)).with_phase(flat, starts)
        clock = wall if whole_days and shortest >= _DAY else flat
        span = cls("span", step_of(clock, _duration), 0, zone)
        if span.step == _DAY:
            day = wall // _DAY + 3  # counted from a Monday
            over_a_weekend = (np.diff(day // 7, prepend=0)[within] > 0).any()
            if over_a_weekend and (day % 7 < 5).all():
                span = cls("business", 1, 0, zone)
        return span.with_phase(flat, starts)

    @property
    def alias(self) -> str:
        """The name that `parse` takes, of the step without its phase.

        >>> Frequency("span", 7_200_000_000_000).alias
        '2h'
        """
        if self.kind == "steps":
            return str(self.step)
        if self.kind == "business":
            return "B"
        if self.kind == "months":
            unit = next(unit for unit, months in _MONTHS.items() if self.step % months == 0)
            count, end = self.step // _MONTHS[unit], "E" if self.phase % _MONTH // _DAY == 30 else "S"
            return f"{count if count > 1 else ''}{unit}{end}"
        unit = next(unit for unit, span in _FIXED.items() if self.step % span == 0)
        count = self.step // _FIXED[unit]
        return f"{count if count > 1 else ''}{unit}"

    @property
    def dated(self) -> bool:
        """Whether times are dates, not whole numbers."""
        return self.kind != "steps"

    @property
    def seasons(self) -> tuple[int, ...]:
        """How many steps the natural seasons take: a day and a week, a week and a year, or a year.

        >>> Frequency.parse("D").seasons
        (7, 365)
        """
        if self.kind == "steps":
            return ()
        if self.kind == "business":
            return (5, 261)
        if self.kind == "months":
            return (12 // self.step,) if 12 % self.step == 0 and self.step < 12 else ()
        if self.step < _DAY:
            return tuple(whole // self.step for whole in (_DAY, _WEEK) if whole % self.step == 0)
        week = (_WEEK // self.step,) if _WEEK % self.step == 0 and self.step < _WEEK else ()
        year = 365.25 * _DAY / self.step
        return (*week, int(year)) if year >= 2 else week

    @property
    def calendar_names(self) -> tuple[str, ...]:
        """What the columns of `calendar` are.

        >>> Frequency.parse("D").calendar_names
        ('week sine', 'week cosine', 'year sine', 'year cosine')
        """
        return tuple(f"{cycle} {wave}" for cycle in self._cycles for wave in ("sine", "cosine"))

    def same_steps(self, other: Frequency) -> bool:
        """Whether ordinals of both mean the same, whatever the phase.

        >>> Frequency.parse("MS").same_steps(Frequency.parse("ME"))
        True
        """
        return (self.kind, self.step, self.zone) == (other.kind, other.step, other.zone)

    def with_phase(self, times: Array, starts: Array) -> Frequency:
        """The same with the phase that most series have.

        >>> Frequency.parse("5").with_phase(np.array([2, 7, 12]), np.array([0])).phase
        2

        Args:
            times: as for `place`.
            starts: as for `place`.
        """
        phases, counts = np.unique(self.place(times, starts)[1], return_counts=True)
        return replace(self, phase=int(phases[counts.argmax()]))

    def ordinals(self, times: Array) -> Array:
        """The numbers of steps that times lie in, from one to the next 1 more; (N,), int64.

        >>> Frequency.parse("5").ordinals(np.array([0, 5, 10])).tolist()
        [0, 1, 2]

        Args:
            times: whole numbers, or datetime64; in UTC where there is a zone.
        """
        return self._ordinals(self._clock(_whole(times)))

    def times(self, ordinals: Array, phase: Array | int | None = None) -> Array:
        """The times of steps: datetime64[ns], in UTC where there is a zone, or int64; (N,).

        >>> Frequency.parse("h").times(np.array([24])).astype("M8[m]").tolist()
        [datetime.datetime(1970, 1, 2, 0, 0)]

        Args:
            ordinals: the steps' numbers.
            phase: where in a step, for all or for each; that of most series if none is given.
        """
        clock = self._at(np.asarray(ordinals, np.int64), self.phase if phase is None else phase)
        if not self.dated:
            return clock
        return (_to_utc(clock, self.zone) if self._local else clock).view("M8[ns]")

    def place(self, times: Array, starts: Array) -> tuple[Array, Array, Array]:
        """The ordinal of each time, the phase of each series, and which times are on no step of their series' grid.

        >>> hours = np.array(["2020-01-01 00:30", "2020-01-01 01:30", "2020-01-01 02:00"], "M8[ns]")
        >>> ordinals, phases, off = Frequency.parse("h").place(hours, np.array([0]))
        >>> (phases // 60_000_000_000).tolist(), off.tolist()
        ([30], [False, False, True])

        Args:
            times: of all series, one after the other; (N,).
            starts: where each series begins; each has at least one; (S,).
        """
        if len(times) == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool)
        clock = self._clock(_whole(times))
        ordinals = self._ordinals(clock)
        phases = self._phases(clock, ordinals, starts)
        lengths = np.diff(starts, append=len(clock))
        return ordinals, phases, self._at(ordinals, np.repeat(phases, lengths)) != clock

    def calendar(self, ordinals: Array, phase: Array | int | None = None) -> Array:
        """Sine and cosine of the positions in the day, the week and the year that vary from step to step; (N, C).

        By the local clock where there is a zone. `calendar_names` says what the columns are.

        >>> Frequency.parse("QS").calendar(np.array([0, 4])).tolist()  # the first days of two years
        [[0.0, 1.0], [0.0, 1.0]]

        Args:
            ordinals: the steps' numbers; (N,).
            phase: as for `times`.
        """
        ordinals = np.asarray(ordinals, np.int64)
        found = np.zeros((len(ordinals), 2 * len(self._cycles)), np.float32)
        if not self._cycles:
            return found
        wall = self._at(ordinals, self.phase if phase is None else phase)
        if not self._local:
            wall = _to_local(wall, self.zone)
        for column, cycle in enumerate(self._cycles):
            angle = 2 * np.pi * _POSITIONS[cycle](wall)
            found[:, 2 * column], found[:, 2 * column + 1] = np.sin(angle), np.cos(angle)
        return found

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` makes the frequency from; goes into JSON.

        >>> Frequency.parse("5").to_dict()
        {'kind': 'steps', 'step': 5, 'phase': 0, 'zone': ''}
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Frequency:
        """The frequency that `to_dict` has kept.

        >>> Frequency.from_dict(Frequency.parse("B").to_dict()) == Frequency.parse("B")
        True
        """
        return cls(**kept)

    @property
    def _local(self) -> bool:
        """Whether steps follow the local clock, on which every day is as long."""
        whole_days = self.kind in ("business", "months") or (self.kind == "span" and self.step % _DAY == 0)
        return bool(self.zone) and whole_days

    @property
    def _cycles(self) -> tuple[str, ...]:
        """The parts of the calendar in which the position varies."""
        if self.kind == "steps":
            return ()
        if self.kind == "business":
            return ("week", "year")
        if self.kind == "months":
            return ("year",) if self.step % 12 else ()
        varies = {"day": self.step % _DAY != 0, "week": self.step % _WEEK != 0, "year": self.step < 365 * _DAY}
        return tuple(cycle for cycle, does in varies.items() if does)

    def _clock(self, times: Array) -> Array:
        """The times on the clock that steps follow."""
        return _to_local(times, self.zone) if self._local else times

    def _ordinals(self, clock: Array) -> Array:
        if self.kind == "business":
            day = clock // _DAY + 3  # counted from a Monday
            return day // 7 * 5 + np.minimum(day % 7, 4)  # a weekend belongs to its Friday
        return (_month(clock) if self.kind == "months" else clock) // self.step

    def _at(self, ordinals: Array, phase: Array | int) -> Array:
        """What the clock says at steps."""
        if self.kind == "business":
            return (ordinals // 5 * 7 + ordinals % 5 - 3) * _DAY + phase
        if self.kind == "months":
            months, rest = np.divmod(phase, _MONTH)
            month = ordinals * self.step + months
            first = _first_day(month)
            day = np.minimum(rest // _DAY, _first_day(month + 1) - first - 1)
            return (first + day) * _DAY + rest % _DAY
        return ordinals * self.step + phase

    def _phases(self, clock: Array, ordinals: Array, starts: Array) -> Array:
        """The phase of each series: of its first time, and in months that of the latest day of a month it has."""
        if self.kind != "months":
            return clock[starts] - self._at(ordinals[starts], 0)
        month = _month(clock)
        day = clock // _DAY - _first_day(month)
        last = np.logical_and.reduceat(day == _first_day(month + 1) - _first_day(month) - 1, starts)
        day_of_all = np.where(last, 30, np.maximum.reduceat(day, starts))
        return month[starts] % self.step * _MONTH + day_of_all * _DAY + clock[starts] % _DAY


def _common_step(gaps: Array, owner: Array, at: Callable[[int], str], told: Callable[[int], str]) -> int:
    """The step of which all gaps are multiples; `at` names the row after a gap, `told` says how long one is."""
    values, counts = np.unique(gaps, return_counts=True)
    usual = int(values[counts.argmax()])
    step = int(np.gcd.reduce(values))
    if step != usual and counts[values == step].sum() * 10 < len(gaps):
        odd = int(np.flatnonzero(gaps % usual)[0])
        raise DataError(
            f"{at(odd)}: comes {told(int(gaps[odd]))} after the one before, but most steps take {told(usual)}: steps "
            f"must be equal; give frequency if a shorter step is meant"
        )
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    own = np.gcd.reduceat(gaps, starts)
    other = np.flatnonzero((own != step) & (np.diff(starts, append=len(gaps)) >= _FEW))
    if len(other):
        first = other[0]
        raise DataError(
            f"{at(starts[first])}: the steps of this series take {told(int(own[first]))}, those of others "
            f"{told(step)}: steps must be equal; give frequency if the shorter step is meant"
        )
    return step


def _duration(gap: int) -> str:
    """Nanoseconds in the largest unit of which they are a multiple."""
    unit = next(unit for unit, span in _FIXED.items() if gap % span == 0)
    return f"{gap // _FIXED[unit]}{unit}"


def _whole(times: Array) -> Array:
    """Times as whole numbers: of nanoseconds, if they are dates."""
    times = np.asarray(times)
    return times.astype("M8[ns]").view(np.int64) if times.dtype.kind == "M" else times.astype(np.int64)


def _to_local(utc: Array, zone: str) -> Array:
    if not zone:
        return utc
    index = require("pandas", "forecast").DatetimeIndex(utc.view("M8[ns]"), tz="UTC").tz_convert(zone)
    return _whole(index.tz_localize(None).to_numpy())


def _to_utc(local: Array, zone: str) -> Array:
    index = require("pandas", "forecast").DatetimeIndex(local.view("M8[ns]"))
    # A time that a zone has twice is the earlier one; a time that it leaves out is the first one after.
    index = index.tz_localize(zone, ambiguous=np.ones(len(index), bool), nonexistent="shift_forward")
    return _whole(index.tz_convert("UTC").tz_localize(None).to_numpy())


def _month(clock: Array) -> Array:
    """The months since January 1970 that times lie in."""
    return clock.view("M8[ns]").astype("M8[M]").astype(np.int64)


def _first_day(month: Array) -> Array:
    """The days since 1970 on which months begin."""
    return month.astype("M8[M]").astype("M8[D]").astype(np.int64)


def _position_in_year(wall: Array) -> Array:
    year = wall.view("M8[ns]").astype("M8[Y]").astype(np.int64)
    begin, end = (first.astype("M8[Y]").astype("M8[D]").astype(np.int64) * _DAY for first in (year, year + 1))
    return (wall - begin) / (end - begin)


_POSITIONS: dict[str, Callable[[Array], Array]] = {
    "day": lambda wall: wall % _DAY / _DAY,
    "week": lambda wall: (wall + 3 * _DAY) % _WEEK / _WEEK,  # from Monday on
    "year": _position_in_year,
}
