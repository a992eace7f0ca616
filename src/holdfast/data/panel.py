"""Many series on regular steps, as forecasting reads them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from holdfast.extras import require
from holdfast.naming import nearest

from .columns import Columns, Rows, find_layout, read_rows, static_values
from .frequency import Frequency
from .sources import DataError
from .tables import Table, read_table

Array = np.ndarray[Any, Any]

_SPARSE = 20  # steps for each row that a series may have, before a time in it must be wrong
_SHORT = 100  # steps that a series may have however few rows there are


@dataclass(frozen=True)
class Panel:
    """Series, one after the other in flat arrays: series k has the rows from starts[k] to starts[k + 1].

    A row is a step of the series' own regular grid; a step that no row of the table had is there all the same, with
    missing values. Rows after the last known value say only what is known of the future.

    Series may lie at different places within a step, one at each full hour and another at each half: `first` holds
    ordinals, which compare between series, and `phases` what must be added to come from them to times.

    >>> import pandas as pd
    >>> days = pd.date_range("2020-01-01", periods=3)
    >>> panel = build_panel([pd.DataFrame({"ds": days, "oslo": [1, 2, 3], "rome": [4, None, 6]})])
    >>> panel.names, panel.of(1).tolist(), panel.frequency.alias
    (('oslo', 'rome'), [4.0, nan, 6.0], 'D')

    Attributes:
        names: of each series.
        starts: where each begins in the flat arrays, and where the last one ends; (S + 1,).
        first: the ordinal of each series' first step; (S,).
        frequency: what turns ordinals into times and back.
        values: what is forecast, NaN where missing; (N,).
        past: what is known up to now beside it; (N, P).
        future: what is known of the future too; (N, F).
        static: what does not change, by column: numbers or texts; each (S,).
        past_names, future_names: of the columns.
        ends: for each part (to learn from, to choose on, to test on) how many steps of each series there are up to its
            end; (parts, S).
        notes: what a reader must know: rows that were left out, and why.
        phases: where in a step each series lies; that of the frequency if none are given; (S,).
        columns: the table's columns that it was read from.
        cut: how many steps of each series were before its first and have been cut off by `last`; (S,).
    """

    names: tuple[str, ...]
    starts: Array
    first: Array
    frequency: Frequency
    values: Array
    past: Array
    future: Array
    static: Mapping[str, Array] = field(default_factory=dict)
    past_names: tuple[str, ...] = ()
    future_names: tuple[str, ...] = ()
    ends: Array = field(default_factory=lambda: np.zeros((1, 0), np.int64))
    notes: Sequence[str] = ()
    phases: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    columns: Columns = field(default_factory=Columns)
    cut: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if len(self.phases) == 0:
            object.__setattr__(self, "phases", np.full(len(self.names), self.frequency.phase, np.int64))
        if len(self.cut) == 0:
            object.__setattr__(self, "cut", np.zeros(len(self.names), np.int64))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def lengths(self) -> Array:
        """How many steps each series has, with those that only speak of the future; (S,)."""
        return np.diff(self.starts)

    @property
    def known(self) -> Array:
        """How many steps each series has up to its last known value; (S,)."""
        return self.ends[-1]

    @property
    def ordinals(self) -> Array:
        """The ordinal of each row; (N,)."""
        return np.arange(len(self.values)) + np.repeat(self.first - self.starts[:-1], self.lengths)

    def of(self, k: int) -> Array:
        """The values of series k, with the rows that only speak of the future."""
        return self.values[self.starts[k] : self.starts[k + 1]]

    def times(self, k: int) -> Array:
        """The times of series k's rows: datetime64[ns], in UTC where there is a zone, or int64."""
        return self.frequency.times(self.first[k] + np.arange(self.lengths[k]), self.phases[k])

    def calendar(self) -> Array:
        """Where in the calendar each row lies, as `Frequency.calendar` says it; (N, C), float32."""
        return self.frequency.calendar(self.ordinals, np.repeat(self.phases, self.lengths))

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame of series, time and y; times as in `times`."""
        pandas = require("pandas", "forecast")
        times = self.frequency.times(self.ordinals, np.repeat(self.phases, self.lengths))
        series = np.repeat(np.array(self.names, object), self.lengths)
        return pandas.DataFrame({"series": series, "time": times, "y": self.values})

    @property
    def digest(self) -> str:
        """The SHA-256 of all names and arrays: another one wherever a value, a name or a time is."""
        sha = hashlib.sha256()
        facts = [self.names, self.past_names, self.future_names, self.frequency.to_dict(), sorted(self.static)]
        sha.update(json.dumps(facts).encode())
        arrays = (self.starts, self.first, self.phases, self.ends, self.values, self.past, self.future)
        static = [self.static[name] for name in sorted(self.static)]
        for array in (*arrays, *static):
            sha.update(f"{array.dtype.str} {array.shape}".encode())
            # Texts by their characters, so that the width of the array does not count.
            sha.update(json.dumps(array.tolist()).encode() if array.dtype.kind == "U" else array.tobytes())
        return sha.hexdigest()

    def only(self, which: Sequence[str | int]) -> Panel:
        """The panel of some series, in the order given.

        Args:
            which: names or numbers.

        Raises:
            DataError: a series is not there.
        """
        numbers = {name: k for k, name in enumerate(self.names)}
        chosen = []
        for each in which:
            k = numbers.get(each, -1) if isinstance(each, str) else int(each)
            if not 0 <= k < len(self):
                hint = nearest(each, self.names) if isinstance(each, str) else f"; there are {len(self):,}"
                raise DataError(f"there is no series {each!r}{hint}")
            chosen.append(k)
        picked = np.array(chosen, np.int64)
        return replace(
            self._rows(self.starts[picked], self.lengths[picked]),
            names=tuple(self.names[k] for k in chosen),
            first=self.first[picked],
            phases=self.phases[picked],
            static={name: cells[picked] for name, cells in self.static.items()},
            ends=self.ends[:, picked],
            cut=self.cut[picked],
        )

    def last(self, steps: int | Array) -> Panel:
        """The panel with the last known steps of each series only, and what it says of the future.

        Args:
            steps: how many; of all series, or of each, (S,).
        """
        dropped = np.maximum(self.known - steps, 0)
        return replace(
            self._rows(self.starts[:-1] + dropped, self.lengths - dropped),
            first=self.first + dropped,
            ends=np.maximum(self.ends - dropped, 0),
            cut=self.cut + dropped,
        )

    def _rows(self, begins: Array, lengths: Array) -> Panel:
        """The panel with other series, each of which has so many rows from one on; the rest stays to be told."""
        starts = _starts(lengths)
        rows = np.arange(starts[-1]) + np.repeat(begins - starts[:-1], lengths)
        arrays = {name: getattr(self, name)[rows] for name in ("values", "past", "future")}
        return replace(self, starts=starts, **arrays)

    def joined(self, other: Panel) -> Panel:
        """The panel with the rows of another after its own, as new values come in.

        Series are the same by name; new ones stand at the end. Where the panel spoke of the future, the other one's
        rows take the place of its rows. Each part of the other becomes a further part.

        Args:
            other: of the same frequency and columns; build it with this panel's `frequency`.

        Raises:
            DataError: the two do not fit, or a row of the other lies before the end of its series.
        """
        _check_alike(self, other)
        number = {name: k for k, name in enumerate(dict.fromkeys((*self.names, *other.names)))}
        count = len(number)
        mine, theirs = np.arange(len(self)), np.array([number[name] for name in other.names], np.int64)

        def spread(array: Array, places: Array, filled: Any) -> Array:
            found = np.full((*array.shape[:-1], count), filled, array.dtype)
            found[..., places] = array
            return found

        far = np.iinfo(np.int64).max
        begins = np.minimum(spread(self.first, mine, far), spread(other.first, theirs, far))
        lasts = np.maximum(
            spread(self.first + self.lengths, mine, -far), spread(other.first + other.lengths, theirs, -far)
        )
        _check_order(self, other, theirs)
        phases = spread(other.phases, theirs, 0)
        phases[mine] = self.phases  # few rows may not tell the day of a month
        starts = _starts(lasts - begins)
        result = replace(
            self,
            names=tuple(number),
            starts=starts,
            first=begins,
            phases=phases,
            static=_joined_static(self, other, theirs, count),
            cut=spread(self.cut, mine, 0),
            notes=(*self.notes, *other.notes),
        )
        places_mine, places_theirs = _places(self, mine, result), _places(other, theirs, result)

        def filled(before: Array, after: Array) -> Array:
            array = np.full((starts[-1], *before.shape[1:]), np.nan, np.float32)
            array[places_mine] = before
            array[places_theirs] = after
            return array

        further = np.where(
            spread(other.ends, theirs, 0) > 0,
            spread(other.ends, theirs, 0) + spread(other.first, theirs, far) - begins,
            0,
        )
        ends = np.maximum.accumulate(np.concatenate([spread(self.ends, mine, 0), further]))
        _check_gaps_of_joined(result, spread(self.lengths, mine, 0), other, theirs)
        return replace(
            result,
            values=filled(self.values, other.values),
            past=filled(self.past, other.past),
            future=filled(self.future, other.future),
            ends=ends,
        )


def build_panel(tables: Sequence[Any], columns: Columns | None = None, frequency: str | Frequency = "") -> Panel:
    """A panel from tables of one of three forms.

    Long: a column says of which series each row is. Wide: each column of numbers is a series, or the target alone. And
    with a series in each row: its name, then its values in numbered columns, whose steps are 1, 2, …

    >>> import pandas as pd
    >>> table = pd.DataFrame({"id": ["a", "a", "b", "b"], "ds": [1, 2, 1, 3], "y": [1, 2, 3, 4]})
    >>> build_panel([table]).of(1).tolist()
    [3.0, nan, 4.0]

    Args:
        tables: what to learn from, what to choose on, what to test on; each follows the one before in each series.
            Each is a data frame, or what `read_table` takes.
        columns: what the columns mean, where it is not plain from their names.
        frequency: as `Frequency.parse` takes it; from the times if empty.

    Raises:
        DataError: something in the tables is not as it must be; the message names the row.
    """
    if isinstance(tables, str) or not isinstance(tables, Sequence) or not tables:
        raise DataError("tables must be a list of one table or more, which follow each other")
    parts = [read_table(table) for table in tables]
    layout = find_layout(parts[0], columns or Columns())
    notes = [*(note for part in parts for note in part.notes), *layout.notes]
    rows = _all_rows([read_rows(part, layout) for part in parts], continued=layout.across)
    notes += rows.notes
    rows = _sorted(rows, notes)
    rows = _without_replaced(rows, notes)
    _check_parts(rows)
    rows = _without_doubles(rows, notes, layout.columns)
    rows = _without_empty_series(rows, notes, parts[0].names[0])
    steps = _frequency(rows, frequency)
    ordinals, phases, off = steps.place(rows.clock, rows.starts)
    _refuse_off_grid(rows, off, steps)
    kept = _kept_at_the_end(rows, ordinals, notes)
    rows, ordinals = rows.take(kept), ordinals[kept]
    return _laid_out(rows, ordinals, phases, steps, layout.columns, notes)


@dataclass(frozen=True)
class _Rows:
    """The rows of all parts, each with its series, its time, and where it was read."""

    names: tuple[str, ...]
    series: Array  # (N,)
    times: Array  # (N,)
    dated: bool
    zone: str
    values: Array  # (N,)
    past: Array  # (N, P)
    future: Array  # (N, F)
    static: dict[str, Any]
    part: Array  # (N,)
    row: Array  # (N,)
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.series)

    @property
    def known(self) -> Array:
        return ~np.isnan(self.values)

    @property
    def clock(self) -> Array:
        return self.times.view("M8[ns]") if self.dated else self.times

    @property
    def starts(self) -> Array:
        """Where each series begins, once the rows are sorted and each series has one."""
        return np.flatnonzero(np.diff(self.series, prepend=-1))

    def take(self, which: Array) -> _Rows:
        """Some of the rows, by number or by mask."""
        which = np.flatnonzero(which) if which.dtype == bool else which
        return replace(
            self,
            series=self.series[which],
            times=self.times[which],
            values=self.values[which],
            past=self.past[which],
            future=self.future[which],
            static={name: cells.take(which) for name, cells in self.static.items()},
            part=self.part[which],
            row=self.row[which],
        )

    def where(self, i: int) -> str:
        return self.tables[self.part[i]].where(int(self.row[i]))

    def told(self, i: int) -> str:
        """Where a row stands, its series and its time."""
        return f"{self.where(i)}: series {self.names[self.series[i]]!r}, {_time(self.times[i], self.dated)}"


def _all_rows(parts: Sequence[Rows], continued: bool) -> _Rows:
    """The rows of all parts; where they are `continued`, steps are counted on from part to part."""
    pandas = require("pandas", "forecast")
    aware = [bool(part.zone) for part in parts]
    for k, part in enumerate(parts):
        if part.dated != parts[0].dated or aware[k] != aware[0]:
            kinds = [
                ("times in a zone" if a else "times without a zone") if p.dated else "whole numbers"
                for a, p in zip(aware, parts)
            ]
            files = parts[0].table.names[0], part.table.names[0]
            raise DataError(f"{files[0]} has {kinds[0]}, {files[1]} has {kinds[k]}: all parts must have the same")
    numbers: dict[str, int] = {}
    series, times = [], []
    ends = np.zeros(0, np.int64)
    for part in parts:
        codes = np.array([numbers.setdefault(name, len(numbers)) for name in part.names], np.int64)[part.series]
        begun = np.concatenate([ends, np.zeros(len(numbers) - len(ends), np.int64)])
        series.append(codes)
        times.append(part.times + begun[codes] if continued else part.times)
        ends = begun.copy()
        np.maximum.at(ends, codes, times[-1])
    return _Rows(
        names=tuple(numbers),
        series=np.concatenate(series),
        times=np.concatenate(times),
        dated=parts[0].dated,
        zone=parts[0].zone,
        values=np.concatenate([part.values for part in parts]),
        past=np.concatenate([part.past for part in parts]),
        future=np.concatenate([part.future for part in parts]),
        static={
            name: pandas.concat([part.static[name] for part in parts], ignore_index=True) for name in parts[0].static
        },
        part=np.repeat(np.arange(len(parts)), [len(part.series) for part in parts]),
        row=np.concatenate([part.row for part in parts]),
        tables=tuple(part.table for part in parts),
        notes=tuple(note for part in parts for note in part.notes),
    )


def _sorted(rows: _Rows, notes: list[str]) -> _Rows:
    order = np.lexsort((rows.times, rows.series))
    rows = rows.take(order)
    back = np.diff(order, prepend=0) < 0
    back[rows.starts] = False
    if back.any():
        moved = int(back.sum())
        notes.append(f"{_count(moved, 'row')} stood before an earlier one of the same series: sorted by time")
    return rows


def _without_replaced(rows: _Rows, notes: list[str]) -> _Rows:
    """The rows without those of an early part that only spoke of a future which a later part has come to."""
    replaced = np.zeros(len(rows), bool)
    never = np.iinfo(np.int64)
    for part in range(len(rows.tables) - 1):
        last = np.full(len(rows.names), never.min)
        own = rows.part == part
        known = own & rows.known
        np.maximum.at(last, rows.series[known], rows.times[known])
        begin = np.full(len(rows.names), never.max)
        later = rows.part > part
        np.minimum.at(begin, rows.series[later], rows.times[later])
        replaced |= own & (rows.times > last[rows.series]) & (rows.times >= begin[rows.series])
    if replaced.any():
        notes.append(
            f"{_count(int(replaced.sum()), 'row')} without a value at the end of a part are left out, because a later "
            f"part has the times (the first is {rows.where(int(replaced.argmax()))})"
        )
    return rows.take(~replaced)


def _check_parts(rows: _Rows) -> None:
    same = rows.series[1:] == rows.series[:-1]
    back = rows.part[1:] < rows.part[:-1]
    again = (rows.part[1:] != rows.part[:-1]) & (rows.times[1:] == rows.times[:-1])
    wrong = np.flatnonzero(same & (back | again))
    if len(wrong):
        pair = rows.part[wrong[0] : wrong[0] + 2]
        mine = np.flatnonzero(rows.series == rows.series[wrong[0]])
        early = mine[rows.part[mine] == pair.min()][-1]
        late = mine[rows.part[mine] == pair.max()][0]
        raise DataError(
            f"{rows.told(late)} must come after all of an earlier part, which goes on to "
            f"{_time(rows.times[early], rows.dated)} ({rows.where(early)})"
        )


def _without_doubles(rows: _Rows, notes: list[str], columns: Columns) -> _Rows:
    again = (rows.series[1:] == rows.series[:-1]) & (rows.times[1:] == rows.times[:-1])
    if not again.any():
        return rows
    cells = np.column_stack([rows.values, rows.past, rows.future])
    equal = ((cells[1:] == cells[:-1]) | (np.isnan(cells[1:]) & np.isnan(cells[:-1]))).all(1)
    other = np.flatnonzero(again & ~equal)
    if len(other):
        i = int(other[0])
        hint = "" if columns.series else "; if there are several series, name the column that tells them apart"
        raise DataError(f"{rows.told(i + 1)} is there twice with other values, first in {rows.where(i)}{hint}")
    first = int(again.argmax()) + 1
    notes.append(
        f"{_count(int(again.sum()), 'row')} left out that repeat another one (the first is {rows.where(first)})"
    )
    return rows.take(np.concatenate([[True], ~again]))


def _without_empty_series(rows: _Rows, notes: list[str], file: str) -> _Rows:
    known = np.zeros(len(rows.names), bool)
    known[rows.series[rows.known]] = True
    if not known.any():
        raise DataError(f"{file}: there is not one known value to learn from")
    if known.all():
        return rows
    empty = [name for name, there in zip(rows.names, known) if not there]
    left = rows.take(known[rows.series])
    notes.append(f"{_of_series(empty)} without a known value left out ({_count(len(rows) - len(left), 'row')})")
    names = tuple(name for name, there in zip(rows.names, known) if there)
    return replace(left, names=names, series=(np.cumsum(known) - 1)[left.series])


def _frequency(rows: _Rows, frequency: str | Frequency) -> Frequency:
    starts = rows.starts
    if not frequency:
        times = np.split(rows.clock, starts[1:])
        return Frequency.infer(times, rows.zone, lambda series, place: rows.told(int(starts[series]) + place))
    steps = Frequency.parse(frequency, rows.zone) if isinstance(frequency, str) else frequency
    if steps.dated != rows.dated:
        kinds = {True: "dates", False: "whole numbers"}
        raise DataError(f"frequency {steps.alias} is of {kinds[steps.dated]}, but the times are {kinds[rows.dated]}")
    if steps.dated and steps.zone != rows.zone:
        raise DataError(
            f"the frequency is of times in {steps.zone or 'no zone'}, but the table has {rows.zone or 'none'}"
        )
    return steps.with_phase(rows.clock, starts)


def _refuse_off_grid(rows: _Rows, off: Array, steps: Frequency) -> None:
    if off.any():
        i = int(off.argmax())
        begin = rows.times[rows.starts[rows.series[i]]]
        raise DataError(
            f"{rows.told(i)} is not on the steps of {steps.alias} that its series begins at {_time(begin, rows.dated)}"
        )


def _kept_at_the_end(rows: _Rows, ordinals: Array, notes: list[str]) -> Array:
    """Which rows to keep: up to the last known value, and after it as long as step by step the future is known."""
    numbers = np.arange(len(rows))
    last = np.zeros(len(rows.names), np.int64)
    np.maximum.at(last, rows.series[rows.known], numbers[rows.known])
    trailing = numbers > last[rows.series]
    if rows.future.shape[1] == 0:
        dropped, why = trailing, "after the last known value of a series left out: nothing else is known of the future"
    else:
        follows = np.diff(ordinals, prepend=0) == 1
        broken = np.cumsum(trailing & ~(follows & ~np.isnan(rows.future).any(1)))
        dropped = trailing & (broken > broken[last[rows.series]])
        why = "after the last known value of a series left out: a column that speaks of the future ends before"
    if dropped.any():
        first = rows.where(int(dropped.argmax()))
        notes.append(f"{_count(int(dropped.sum()), 'row')} {why} (the first is {first})")
    return ~dropped


def _laid_out(
    rows: _Rows, ordinals: Array, phases: Array, steps: Frequency, columns: Columns, notes: list[str]
) -> Panel:
    """The rows on their grids."""
    begin = rows.starts
    counts = np.diff(begin, append=len(rows))
    first = ordinals[begin]
    lengths = ordinals[begin + counts - 1] - first + 1
    _refuse_sparse(rows, ordinals, lengths, counts)
    starts = _starts(lengths)
    place = starts[rows.series] + ordinals - first[rows.series]

    def spread(cells: Array) -> Array:
        found = np.full((starts[-1], *cells.shape[1:]), np.nan, np.float32)
        found[place] = cells
        return found

    gaps = lengths - counts
    if gaps.any():
        with_gaps = int((gaps > 0).sum())
        notes.append(f"{_count(int(gaps.sum()), 'step')} in {with_gaps:,} series have no row: their values are missing")
    ends = np.zeros((len(rows.tables), len(rows.names)), np.int64)
    for part in range(len(rows.tables)):
        mine = rows.known & (rows.part <= part)
        np.maximum.at(ends[part], rows.series[mine], (ordinals - first[rows.series])[mine] + 1)
    values = spread(rows.values)
    _note_missing(rows, columns, notes)
    _note_constant(rows, notes)
    return Panel(
        names=rows.names,
        starts=starts,
        first=first,
        frequency=steps,
        values=values,
        past=spread(rows.past),
        future=spread(rows.future),
        static={name: _constant(rows, name, cells) for name, cells in rows.static.items()},
        past_names=tuple(columns.past),
        future_names=tuple(columns.future),
        ends=ends,
        notes=tuple(notes),
        phases=phases,
        columns=columns,
    )


def _refuse_sparse(rows: _Rows, ordinals: Array, lengths: Array, counts: Array) -> None:
    sparse = np.flatnonzero((lengths > _SPARSE * counts) & (lengths > _SHORT))
    if len(sparse):
        k = sparse[0]
        begin = rows.starts[k]
        gap = np.diff(ordinals[begin : begin + counts[k]])
        i = int(begin + gap.argmax() + 1)
        raise DataError(
            f"{rows.told(i)} comes {gap.max():,} steps after the row before it, and the {counts[k]:,} rows of this "
            f"series would take {lengths[k]:,} steps: is the time mistyped, or the frequency another?"
        )


def _note_missing(rows: _Rows, columns: Columns, notes: list[str]) -> None:
    last = np.zeros(len(rows.names), np.int64)
    numbers = np.arange(len(rows))
    np.maximum.at(last, rows.series[rows.known], numbers[rows.known])
    trailing = numbers > last[rows.series]
    missing = int((~rows.known & ~trailing).sum())
    if missing:
        notes.append(f"{_count(missing, 'row')} without a value: missing")
    if trailing.any():
        notes.append(f"{_count(int(trailing.sum()), 'row')} after the last known value speak of the future")
    for names, cells in ((columns.past, rows.past), (columns.future, rows.future)):
        for name, count in zip(names, np.isnan(cells).sum(0)):
            if count:
                notes.append(f"{_count(int(count), 'row')} without {name}: missing")


def _note_constant(rows: _Rows, notes: list[str]) -> None:
    begin = rows.starts
    low, high = np.fmin.reduceat(rows.values, begin), np.fmax.reduceat(rows.values, begin)
    constant = [rows.names[k] for k in np.flatnonzero(low == high)]
    if constant:
        notes.append(f"{_of_series(constant)} with one value throughout")


def _constant(rows: _Rows, name: str, column: Any) -> Array:
    """What a column says of each series; cells that are empty say nothing."""
    cells = static_values(column)
    said = (cells != "") if cells.dtype.kind == "U" else ~np.isnan(cells)
    numbers = np.flatnonzero(said)
    series = rows.series[numbers]
    heads = np.flatnonzero(np.diff(series, prepend=-1))
    row_of = np.zeros(len(rows.names), np.int64)
    row_of[series[heads]] = numbers[heads]
    other = np.flatnonzero(cells[numbers] != cells[row_of[series]])
    if len(other):
        i = int(numbers[other[0]])
        j = int(row_of[rows.series[i]])
        raise DataError(
            f"{rows.where(i)}, series {rows.names[rows.series[i]]!r}: {name} is {cells[i].item()!r}, but "
            f"{cells[j].item()!r} in {rows.where(j)}: it must not change within a series"
        )
    found = np.full(len(rows.names), "" if cells.dtype.kind == "U" else np.nan, cells.dtype)
    there = series[heads]
    found[there] = cells[row_of[there]]
    return found


def _check_alike(panel: Panel, other: Panel) -> None:
    if not panel.frequency.same_steps(other.frequency):
        raise DataError(f"the frequency of the new rows must be {panel.frequency.alias}, got {other.frequency.alias}")
    for role in ("past_names", "future_names"):
        if getattr(panel, role) != getattr(other, role):
            raise DataError(f"the {role} of the new rows must be {getattr(panel, role)}, got {getattr(other, role)}")
    if {*panel.static} != {*other.static}:
        raise DataError(f"the static columns of the new rows must be {[*panel.static]}, got {[*other.static]}")


def _check_order(panel: Panel, other: Panel, theirs: Array) -> None:
    """See that series of another panel go on where those of the panel end, at the same place within a step.

    `theirs` are the numbers that the other's series have in the panel; new ones have higher numbers than there are.
    """
    shared = np.flatnonzero(theirs < len(panel))
    numbers = theirs[shared]
    ends = panel.first[numbers] + panel.known[numbers]
    steps, dated = panel.frequency, panel.frequency.dated
    early = np.flatnonzero(other.first[shared] < ends)
    if len(early):
        k = shared[early[0]]
        last = steps.times(ends[early[:1]] - 1, panel.phases[theirs[k]])[0]
        raise DataError(
            f"series {other.names[k]!r}: the new rows begin at {_time(other.times(k)[0], dated)}, but must come after "
            f"{_time(last, dated)}"
        )
    phases = other.phases.copy()
    phases[shared] = panel.phases[numbers]
    found, expected = (steps.times(other.ordinals, np.repeat(each, other.lengths)) for each in (other.phases, phases))
    off = found != expected
    if off.any():
        row = int(off.argmax())
        name = other.names[int(np.searchsorted(other.starts, row, "right")) - 1]
        raise DataError(
            f"series {name!r}: the new rows are not on its steps of {steps.alias}: {_time(found[row], dated)} lies "
            "between two"
        )


def _check_gaps_of_joined(result: Panel, before: Array, other: Panel, theirs: Array) -> None:
    rows, lengths = before + result.cut, result.lengths + result.cut
    rows[theirs] += other.lengths
    sparse = np.flatnonzero((lengths > _SPARSE * rows) & (lengths > _SHORT))
    if len(sparse):
        k = int(sparse[0])
        begin = _time(other.times(int(np.flatnonzero(theirs == k)[0]))[0], other.frequency.dated)
        raise DataError(
            f"series {result.names[k]!r}: the new rows begin at {begin}, and {rows[k]:,} rows would take "
            f"{lengths[k]:,} steps: is the time mistyped?"
        )


def _joined_static(panel: Panel, other: Panel, theirs: Array, count: int) -> dict[str, Array]:
    found = {}
    for name, mine in panel.static.items():
        new = other.static[name]
        texts = "U" in (mine.dtype.kind, new.dtype.kind)
        cells = np.full(count, "" if texts else np.nan, object)
        cells[: len(panel)] = mine
        for k, cell in zip(theirs, new):
            empty = cells[k] == "" or cells[k] != cells[k]
            if not empty and cell not in ("", cells[k]) and cell == cell:
                raise DataError(
                    f"series {other.names[int(np.flatnonzero(theirs == k)[0])]!r}: {name} of the new rows is "
                    f"{str(cell)!r}, but was {str(cells[k])!r}"
                )
            if empty:
                cells[k] = cell
        found[name] = cells.astype(str) if texts else cells.astype(np.float64)
    return found


def _places(panel: Panel, numbers: Array, result: Panel) -> Array:
    """Where the rows of a panel stand in one that it is joined into, in which its series have these numbers."""
    return panel.ordinals + np.repeat((result.starts[:-1] - result.first)[numbers], panel.lengths)


def _starts(lengths: Array) -> Array:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _time(time: Any, dated: bool) -> str:
    if not dated:
        return str(int(time))
    text = str(np.asarray(time).astype("M8[ns]")).replace("T", " ").removesuffix(".000000000")
    return text.removesuffix(" 00:00:00")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _of_series(names: Sequence[str]) -> str:
    """How many series, and the first three."""
    shown = ", ".join(repr(name) for name in names[:3])
    return f"{len(names):,} series ({shown}{', …' if len(names) > 3 else ''})"
