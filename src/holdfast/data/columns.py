"""What the columns of a table mean: which one says when, of which series, and how much."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from holdfast.extras import require

from .delimited import listed, no_column
from .numbers import MISSING, TRUTH
from .sources import DataError
from .tables import Table

Array = np.ndarray[Any, Any]

_TIMES = ("ds", "date", "time", "timestamp", "datetime", "month")
_SERIES = ("unique_id", "series", "id")
_DATE = r"\s*\d{1,4}[-/.]\d{1,2}\b|\s*\d{4}-?Q[1-4]\b"  # how a cell begins that is taken for a date unasked
_QUARTER = r"\s*\d{4}-?Q[1-4]\s*"
_OFFSET = r"\d:\d{2}(?:[:.,\d]*)\s*(?:Z|[+-]\d{2}(?::?\d{2})?)$"
_NUMBER = r"\s*[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?\s*"
_POINT = "the decimals of a number must follow a point"
_SAMPLE = 1000  # cells from which a column's kind is told


@dataclass(frozen=True)
class Columns:
    """Which columns say what; what is empty is found by the usual names.

    >>> Columns(target="sales", future=["price"]).future
    ('price',)

    Attributes:
        time: when; else `ds`, `date`, `time`, `timestamp`, `datetime`, `month`, or the first that holds dates.
        target: what is forecast; else `y`, or the only column of numbers that is left.
        series: of which series; else `unique_id`, `series` or `id`.
        past: numbers that are known up to now.
        future: numbers that are known of the future too.
        static: numbers or texts that do not change within a series.

    Raises:
        DataError: a column has two roles.
    """

    time: str = ""
    target: str = ""
    series: str = ""
    past: Sequence[str] = ()
    future: Sequence[str] = ()
    static: Sequence[str] = ()

    def __post_init__(self) -> None:
        for role in ("past", "future", "static"):
            given = getattr(self, role)
            if isinstance(given, str):
                raise DataError(f"{role} must be a list of columns, got {given!r}")
            object.__setattr__(self, role, tuple(given))
        names = self.named
        doubles = [name for name in names if names.count(name) > 1]
        if doubles:
            raise DataError(f"the column {doubles[0]!r} must have one role, got {names.count(doubles[0])}")

    @property
    def named(self) -> list[str]:
        """All columns that are named.

        >>> Columns(time="t", past=("p",)).named
        ['t', 'p']
        """
        found: list[str] = []
        for each in fields(self):
            value = getattr(self, each.name)
            found += [value] if isinstance(value, str) else value
        return [name for name in found if name]


@dataclass(frozen=True)
class Layout:
    """How a table holds series.

    Attributes:
        columns: with what was found by itself.
        targets: the columns that hold what is forecast: one, or one a series.
        across: whether each row is a series, with a column for each step.
        notes: what was taken for what, and what is not used.
    """

    columns: Columns
    targets: tuple[str, ...]
    across: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """Values in any order, each with its series and its time.

    Attributes:
        names: of the series.
        series: the number of the series; (N,).
        times: whole numbers, or nanoseconds in UTC; (N,).
        dated: whether times are nanoseconds.
        zone: the time zone, if times have one.
        values: what is forecast, NaN where missing; (N,).
        past, future: the columns beside it; (N, P), (N, F).
        static: the cells of the columns that do not change; each a pandas Series, (N,).
        row: the table's row; (N,).
        table: what they were read from.
        notes: how times were read.
    """

    names: tuple[str, ...]
    series: Array
    times: Array
    dated: bool
    zone: str
    values: Array
    past: Array
    future: Array
    static: dict[str, Any]
    row: Array
    table: Table
    notes: tuple[str, ...] = ()


def find_layout(table: Table, columns: Columns) -> Layout:
    """What the columns of a table mean, from what is named and what they are called and hold.

    >>> import pandas as pd
    >>> from holdfast.data.tables import read_table
    >>> table = read_table(pd.DataFrame({"Month": ["2020-01", "2020-02"], "sales": [3, 4]}))
    >>> find_layout(table, Columns()).targets
    ('sales',)

    Raises:
        DataError: a column is not there, or it cannot be told what is meant.
    """
    frame, file = table.frame, table.names[0]
    check_columns(table, columns)
    time = columns.time or _usual_time(frame, columns.named)
    if not time and (steps := _steps_across(frame, columns)):
        return _across(frame, columns, steps)
    time = time or _column_of_dates(frame, columns.named)
    if not time:
        raise DataError(f"{file}: no column looks like times; name it, of {listed(frame.columns)}")
    asked, columns = columns, replace(columns, time=time)
    by_case = {name.lower(): name for name in reversed(frame.columns) if name not in columns.named}
    usual = next((by_case[name] for name in _SERIES if name in by_case), "")
    columns = replace(columns, series=columns.series or usual)
    rest = [name for name in frame.columns if name not in columns.named]
    targets = [columns.target] if columns.target else ["y"] if "y" in rest else [*filter(_holds_numbers(frame), rest)]
    if not targets:
        commas = (f": {name} is {cell!r}, but {_POINT}" for name, cell in _first_cells(frame, rest) if _has_comma(cell))
        hint = next(commas, "")
        raise DataError(f"{file}: no column of numbers is left to forecast; it has {listed(frame.columns)}{hint}")
    if len(targets) > 1 and columns.series:
        raise DataError(f"{file}: name the target, which is one of {listed(targets)}")
    columns = replace(columns, target=targets[0] if len(targets) == 1 else "")
    unused = [name for name in rest if name not in targets]
    return Layout(columns, tuple(targets), False, _assumptions(asked, columns, targets, unused))


def check_columns(table: Table, columns: Columns) -> None:
    """See that the columns that are named are there.

    >>> import pandas as pd
    >>> from holdfast.data.tables import read_table
    >>> check_columns(read_table(pd.DataFrame({"y": [1]})), Columns(target="y"))

    Raises:
        DataError: one is not.
    """
    have = [*table.frame.columns]
    for name in columns.named:
        if name not in have:
            raise no_column(table.names[0], name, have)


def read_rows(table: Table, layout: Layout) -> Rows:
    """The values of a table.

    Where each row is a series, the steps are 1, 2, …

    >>> import pandas as pd
    >>> from holdfast.data.tables import read_table
    >>> table = read_table(pd.DataFrame({"V1": ["a", "b"], "V2": [3, 5], "V3": [4, None]}))
    >>> read_rows(table, find_layout(table, Columns())).values.tolist()
    [3.0, 4.0, 5.0]

    Raises:
        DataError: a column or a cell is missing that must be there, or a cell does not hold what it must.
    """
    columns = layout.columns
    if layout.across:
        return _rows_across(table, columns)
    check_columns(table, replace(columns, target="", past=(*layout.targets, *columns.past)))
    times, dated, zone, notes = _times(table, columns.time)
    if columns.series:
        codes, names = _names(table, columns.series)
    else:
        codes, names = np.zeros(len(table), np.int64), layout.targets[:1]
    count = len(layout.targets)

    def said(row: int) -> str:
        return f", series {names[codes[row]]!r}"

    def beside(wanted: Sequence[str]) -> Array:
        cells = [_numbers(table, name, said if count == 1 else _unsaid) for name in wanted]
        found = np.stack(cells, 1) if cells else np.zeros((len(table), 0), np.float32)
        return np.tile(found, (count, 1))

    if count > 1:  # a column is a series
        values = np.concatenate([_numbers(table, name, _unsaid) for name in layout.targets])
        codes, names = np.repeat(np.arange(count), len(table)), layout.targets
    else:
        values = _numbers(table, layout.targets[0], said)
    row = np.tile(np.arange(len(table)), count)
    static = {name: table.frame[name].take(row) for name in columns.static}
    return Rows(
        tuple(names),
        codes,
        np.tile(times, count),
        dated,
        zone,
        values,
        beside(columns.past),
        beside(columns.future),
        static,
        row,
        table,
        notes,
    )


def static_values(column: Any) -> Array:
    """Cells that do not change within a series: numbers if all are, else texts, empty where missing.

    >>> import pandas as pd
    >>> static_values(pd.Series(["1", "2.5"])).tolist(), static_values(pd.Series(["1", "b"])).tolist()
    ([1.0, 2.5], ['1', 'b'])
    """
    numbers, wrong = _converted(column)
    if not wrong.any():
        return numbers
    return column.astype(object).where(column.notna(), "").astype(str).str.strip().to_numpy(object).astype(str)


def _assumptions(asked: Columns, found: Columns, targets: Sequence[str], unused: Sequence[str]) -> tuple[str, ...]:
    """What a reader is told of columns that were not named."""
    roles = ("time", "series", "target")
    taken = [
        f"{getattr(found, role)!r} for the {role}"
        for role in roles
        if getattr(found, role) and not getattr(asked, role)
    ]
    if len(targets) > 1:
        taken.append(f"each of {listed(targets)} for a series")
    notes = [f"taken: {', '.join(taken)}"] if taken else []
    return (*notes, *_unused(unused))


def _unused(names: Sequence[str]) -> list[str]:
    """What is said of columns that mean nothing."""
    return [f"not used: {'the column' if len(names) == 1 else 'the columns'} {listed(names)}"] if names else []


def _usual_time(frame: Any, taken: Sequence[str]) -> str:
    """The column that is called as times usually are; empty if there is none."""
    by_case = {name.lower(): name for name in reversed(frame.columns) if name not in taken}
    return next((by_case[name] for name in _TIMES if name in by_case), "")


def _column_of_dates(frame: Any, taken: Sequence[str]) -> str:
    """The first column that holds dates; empty if there is none."""
    return next((str(name) for name in frame.columns if name not in taken and _holds_dates(frame[name])), "")


def _holds_dates(column: Any) -> bool:
    """Whether cells are dates without anybody having said so: a number is none, however it is written."""
    pandas = require("pandas", "forecast")
    if isinstance(column.dtype, pandas.DatetimeTZDtype | pandas.PeriodDtype) or column.dtype.kind == "M":
        return True
    if not _is_text(column):
        return False
    sample = column[~_missing(column)].head(_SAMPLE).astype(str)
    return (
        len(sample) > 0
        and bool(sample.str.match(_DATE).all())
        and not sample.str.fullmatch(_NUMBER).any()
        and not _wrong_dates(sample).any()
    )


def _steps_across(frame: Any, columns: Columns) -> tuple[str, ...]:
    """The columns of the steps where each row is a series; none where it is not.

    Such a table ends in columns that are numbered on: V2, V3, …, or 1, 2, …. Before them stand the series' name and
    perhaps what else is known of it (M3: N, NF, Starting Year, Category), but no dates.
    """
    if set(columns.named) - {columns.series, *columns.static}:
        return ()  # such roles are of tables with a row for each step
    names = [*frame.columns]
    found = [re.fullmatch(r"(\D*)(\d+)", name) for name in names]
    begin = len(names) - 1
    while begin > 0 and _follow(found[begin - 1], found[begin]):
        begin -= 1
    begin = max(begin, 1)  # the first column is the name of the series, also where it is called V1
    head, steps = names[:begin], tuple(names[begin:])
    if not all(found[begin:]) or len(steps) < min(len(head), 2):
        return ()
    first = frame[columns.series or head[0]]
    named = _is_text(first) and not _missing(first).all()
    return steps if named and not any(_holds_dates(frame[name]) for name in head) else ()


def _follow(one: re.Match[str] | None, other: re.Match[str] | None) -> bool:
    """Whether two columns are numbered on."""
    return one is not None and other is not None and (one[1], int(one[2]) + 1) == (other[1], int(other[2]))


def _across(frame: Any, columns: Columns, steps: tuple[str, ...]) -> Layout:
    """The layout of a table whose rows are series."""
    series = columns.series or str(frame.columns[0])
    unused = [name for name in frame.columns if name not in {series, *columns.static, *steps}]
    notes = ["each row was taken for a series, of steps 1, 2, …", *_unused(unused)]
    return Layout(columns, steps, True, tuple(notes))


def _is_text(column: Any) -> bool:
    return not isinstance(column.dtype, np.dtype) or column.dtype.kind == "O"


def _holds_numbers(frame: Any) -> Callable[[str], bool]:
    """Tells of a column whether most of its cells are numbers."""

    def holds(name: str) -> bool:
        column = frame[name]
        known = column[~_missing(column)].head(_SAMPLE)
        return len(known) > 0 and _converted(known)[1].mean() < 0.5

    return holds


def _first_cells(frame: Any, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Of each column that has one its first cell that holds something."""
    for name in names:
        known = frame[name][~_missing(frame[name])]
        if len(known):
            yield name, known.iloc[0]


def _has_comma(cell: Any) -> bool:
    """Whether a cell is a number but for its comma."""
    return re.fullmatch(r"\s*[-+]?\d+,\d+\s*", str(cell)) is not None


def _missing(column: Any) -> Array:
    """Which cells hold nothing."""
    empty = column.isna().to_numpy(bool)
    if _is_text(column) and not empty.all():
        empty = empty | (column.astype(object) == "").to_numpy(bool)
    return empty


def _converted(column: Any) -> tuple[Array, Array]:
    """The numbers in a column, NaN where there is none, and which cells hold something else."""
    pandas = require("pandas", "forecast")
    if column.dtype.kind in "mM" or isinstance(column.dtype, pandas.PeriodDtype):
        return np.full(len(column), np.nan), np.ones(len(column), bool)
    if isinstance(column.dtype, pandas.CategoricalDtype):
        column = column.astype(object)
    numbers = pandas.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan).copy()
    wrong = np.isnan(numbers) & ~column.isna().to_numpy(bool)
    if wrong.any():
        left = column[wrong].astype(str).str.strip().str.lower()
        numbers[wrong] = left.map(TRUTH).to_numpy(np.float64, na_value=np.nan)
        wrong[wrong] = ~left.isin([*MISSING, *TRUTH]).to_numpy(bool)
    return numbers, wrong


def _unsaid(row: int) -> str:
    """Nothing of the series, where a column is one and is named anyway."""
    return ""


def _numbers(table: Table, name: str, said: Callable[[int], str]) -> Array:
    """The numbers of a column; `said` names the series of a row for a message."""
    column = table.frame[name]
    numbers, wrong = _converted(column)
    with np.errstate(over="ignore"):
        found = numbers.astype(np.float32)
    wrong |= np.isinf(found)
    if wrong.any():
        row = int(wrong.argmax())
        cell = column.iloc[row]
        if np.isinf(found[row]):
            why = "is not finite" if np.isinf(numbers[row]) else "is too large for a number of 32 bits"
        elif _has_comma(cell):
            why = f"is not a number: {_POINT}"
        else:
            why = "is not a number"
        shown = repr(cell) if isinstance(cell, str) else str(cell)
        raise DataError(f"{table.where(row)}{said(row)}: {name} is {shown}, which {why}")
    return found


def _names(table: Table, name: str) -> tuple[Array, tuple[str, ...]]:
    """The series of each row as a number, and their names."""
    column = table.frame[name]
    missing = _missing(column)
    if missing.any():
        raise DataError(f"{table.where(int(missing.argmax()))}: {name} is missing, which must name the series")
    codes, names = require("pandas", "forecast").factorize(column.astype(str).str.strip())
    return codes.astype(np.int64), tuple(str(each) for each in names)


def _rows_across(table: Table, columns: Columns) -> Rows:
    check_columns(table, columns)
    frame = table.frame
    steps = _steps_across(frame, columns)  # a later part may have more of them, or fewer
    if not steps:
        raise DataError(f"{table.names[0]}: each row must be a series, as in the part before it")
    codes, names = _names(table, columns.series or frame.columns[0])

    def said(row: int) -> str:
        return f", series {names[codes[row]]!r}"

    cells = np.stack([_numbers(table, name, said) for name in steps], 1)  # (rows, steps)
    known = ~np.isnan(cells)
    # Empty cells at the end are no steps; a series without any value keeps one, so that it is missed.
    lengths = np.where(known.any(1), cells.shape[1] - known[:, ::-1].argmax(1), 1)
    inside = np.arange(cells.shape[1]) < lengths[:, None]
    row, step = np.nonzero(inside)
    none = np.zeros((len(row), 0), np.float32)
    static = {name: frame[name].take(row) for name in columns.static}
    return Rows(names, codes[row], step + 1, False, "", cells[inside], none, none, static, row, table)


def _times(table: Table, name: str) -> tuple[Array, bool, str, tuple[str, ...]]:
    """The times of a column as whole numbers, whether they are dates, their zone, and how they were read."""
    pandas = require("pandas", "forecast")
    column = table.frame[name]
    missing = _missing(column)
    if missing.any():
        raise DataError(f"{table.where(int(missing.argmax()))}: {name} is missing, which must say when")
    if isinstance(column.dtype, pandas.PeriodDtype):
        column = column.dt.to_timestamp()
    if column.dtype.kind == "M" or isinstance(column.dtype, pandas.DatetimeTZDtype):
        zone = str(column.dtype.tz) if column.dt.tz is not None else ""
        return _nanoseconds(table, name, _in_utc(column)), True, zone, ()
    # Series share most of their times: each is read once.
    codes, cells = pandas.factorize(column if not _is_text(column) else column.astype(str).str.strip())
    read = _Cells(pandas.Series(cells), codes, table, name)
    if _is_text(column) and not re.fullmatch(_NUMBER, str(cells[0])):
        dates, zone, notes = _dates(read)
        return _nanoseconds(table, name, dates.take(codes)), True, zone, notes
    numbers = read.whole_numbers()
    text = pandas.Series(numbers).astype(str)
    if ((numbers >= 1678_00_00) & (numbers < 2262_00_00)).all() and not _wrong_dates(text, format="%Y%m%d").any():
        return _nanoseconds(table, name, _coerced(text, format="%Y%m%d").take(codes)), True, "", ()
    return numbers[codes], False, "", ()


@dataclass(frozen=True)
class _Cells:
    """The different cells of a column, and which of them each row has."""

    cells: Any
    codes: Array
    table: Table
    name: str

    def told(self, k: int) -> str:
        """Where cell k stands first."""
        return self.table.where(int((self.codes == k).argmax()))

    def whole_numbers(self) -> Array:
        numbers, wrong = _converted(self.cells)
        wrong |= (numbers != np.round(numbers)) | (np.abs(numbers) > 1e15)
        if wrong.any():
            k = int(wrong.argmax())
            raise DataError(f"{self.told(k)}: {self.name} is {self.cells[k]}; steps must be whole numbers, or dates")
        return numbers.astype(np.int64)


def _in_utc(column: Any) -> Any:
    return column if column.dt.tz is None else column.dt.tz_convert("UTC").dt.tz_localize(None)


def _nanoseconds(table: Table, name: str, column: Any) -> Array:
    times = column.to_numpy()
    year = times.astype("M8[Y]").astype(np.int64) + 1970
    outside = (year < 1678) | (year > 2261)
    if outside.any():
        row = int(outside.argmax())
        raise DataError(f"{table.where(row)}: {name} is {table.frame[name].iloc[row]}; years must be 1678 to 2261")
    return times.astype("M8[ns]").view(np.int64)


def _dates(read: _Cells) -> tuple[Any, str, tuple[str, ...]]:
    """Texts as dates in UTC, their zone, as all have one or none, and how they were read."""
    pandas = require("pandas", "forecast")
    text, name = read.cells, read.name
    first = text.iloc[0]
    if re.fullmatch(_QUARTER, first) and text.str.fullmatch(_QUARTER).all():
        return pandas.Series(pandas.PeriodIndex(text.str.replace("-", ""), freq="Q").to_timestamp()), "", ()
    aware = text.str.contains(_OFFSET).to_numpy(bool)
    if aware.any() and not aware.all():
        with_zone, without = int(aware.argmax()), int((~aware).argmax())
        raise DataError(
            f"{read.told(with_zone)}: {name} has a time zone, {read.told(without)} has none: all must, or none"
        )
    zone = ""
    notes: list[str] = []
    if aware.all():
        offsets = text.str.extract(r"(Z|[+-]\d{2}(?::?\d{2})?)$")[0].unique()
        zone = str(pandas.Timestamp(f"2000-01-01T00:00{offsets[0]}").tz) if len(offsets) == 1 else "UTC"
        if len(offsets) > 1:
            notes.append(f"{name}: times differ in their distance from UTC, so the calendar is that of UTC")
    readings = _readings(text, first, bool(aware.all()))
    wrong = readings[0].isna().to_numpy(bool)
    if wrong.any():
        k = int(wrong.argmax())
        raise DataError(f"{read.told(k)}: {name} is {text[k]!r}, which is not a date")
    if len(readings) > 1:
        taken, other = (reading[(readings[0] != readings[1]).idxmax()].date() for reading in readings)
        notes.append(f"{name}: times were read so that one is {taken}, not {other}")
    return _in_utc(readings[0]), zone, tuple(notes)


def _readings(text: Any, first: str, utc: bool) -> list[Any]:
    """The texts as dates: as most of them can be read, and if all can be in another way, that too."""
    if re.match(r"\d{4}-\d{2}", first):
        dates = _coerced(text, utc=utc, format="ISO8601")
        return [dates if not dates.isna().any() else _coerced(text, utc=utc)]
    day_first = re.match(r"\d{1,2}\.\d{1,2}\.", first) is not None
    one, two = (_coerced(text, utc=utc, dayfirst=way) for way in (day_first, not day_first))
    if one.isna().sum() > two.isna().sum():
        one, two = two, one
    return [one] if two.isna().any() or (one == two).all() else [one, two]


def _coerced(text: Any, **options: Any) -> Any:
    """Texts as dates, NaT where one is none."""
    pandas = require("pandas", "forecast")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of formats that are read one by one, or with the day first
        return pandas.to_datetime(text, errors="coerce", **options)


def _wrong_dates(text: Any, **options: Any) -> Array:
    """Which texts are no dates."""
    if text.str.fullmatch(_QUARTER).all():
        return np.zeros(len(text), bool)
    found = _coerced(text, **options)
    if found.isna().any() and not options:
        found = found.fillna(_coerced(text, dayfirst=True))
    return found.isna().to_numpy(bool)
