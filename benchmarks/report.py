"""Tables: printed row by row as they are measured, kept for the JSON file, and held against what they must show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .check import TOLERANCE

Row = dict[str, Any]


def times(value: float) -> str:
    """A ratio.

    >>> times(1.234), times(51.2)
    ('1.23', '51.2')
    """
    return f"{value:.2f}" if value < 20 else f"{value:.1f}"


def interval(bounds: tuple[float, float]) -> str:
    """From where to where.

    >>> interval((0.987, 1.2))
    '0.99–1.20'
    """
    return "–".join(map(times, bounds))


def share(value: float) -> str:
    """A part of a whole.

    >>> share(0.25)
    '25%'
    """
    return f"{value:.0%}"


def milliseconds(value: float) -> str:
    """A duration in milliseconds.

    >>> milliseconds(0.2345), milliseconds(123.4)
    ('0.234', '123')
    """
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def one_decimal(value: float) -> str:
    """A number with one digit after the point."""
    return f"{value:.1f}"


def text(value: object) -> str:
    """Whatever it is."""
    return str(value)


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        key: of the value in a row.
        title: what stands above it.
        show: how a value is written.
        width: in characters.
        compared: whether two revisions are compared by it.
        names: whether it tells one row from the others.
    """

    key: str
    title: str
    show: Callable[[Any], str] = times
    width: int = 10
    compared: bool = False
    names: bool = False

    def cell(self, row: Mapping[str, Any]) -> str:
        """A row's entry, padded."""
        shown = self.show(row[self.key]) if row.get(self.key) is not None else "–"
        return shown.ljust(self.width) if self.show is text else shown.rjust(self.width)

    def head(self) -> str:
        """The title, padded."""
        return self.title.ljust(self.width) if self.show is text else self.title.rjust(self.width)


OTHERS = Column("others", "others", one_decimal, 6)  # cores that other processes kept busy: 0.0 is as it should be
DISTURBING = 0.1


@dataclass(frozen=True)
class Requirement:
    """What a table must show, and what it shows.

    Attributes:
        what: the quantity.
        wanted: the bound, as text.
        figure: what was found, as text.
        reached: whether that is enough.
    """

    what: str
    wanted: str
    figure: str
    reached: bool


@dataclass
class Table:
    """A table.

    Attributes:
        name: what the command line calls it.
        title: one line above it.
        columns: those that are printed.
        note: how it was measured, where that needs saying.
    """

    name: str
    title: str
    columns: Sequence[Column]
    note: str = ""
    rows: list[Row] = field(default_factory=list)
    refused: list[Row] = field(default_factory=list)
    requirements: list[Requirement] = field(default_factory=list)

    def __post_init__(self) -> None:
        print(f"\n{self.name}: {self.title}")
        if self.note:
            print(self.note)
        print("  ".join(column.head() for column in self.columns).rstrip(), flush=True)

    def add(self, row: Row) -> None:
        """A measured row."""
        self.rows.append(row)
        print("  ".join(column.cell(row) for column in self.columns).rstrip(), flush=True)

    def refuse(self, row: Row, who: str, error: float, accepted: float = TOLERANCE) -> None:
        """A row that is not timed, because a result is wrong."""
        self.refused.append({**row, "wrong": who, "error": error})
        print(
            f"{self.label(row)}  WRONG, not timed: {who} is off by {error:.1e} (accepted: {accepted:.0e})", flush=True
        )

    def require_at_least(self, what: str, wanted: float, key: str, rows: Sequence[Row] | None = None) -> None:
        """In no row may a ratio be smaller."""
        self._require_each(what, wanted, key, self.rows if rows is None else rows, at_least=True)

    def require_at_most(self, what: str, wanted: float, key: str, rows: Sequence[Row] | None = None) -> None:
        """In no row may a ratio be greater."""
        self._require_each(what, wanted, key, self.rows if rows is None else rows, at_least=False)

    def _require_each(self, what: str, wanted: float, key: str, rows: Sequence[Row], at_least: bool) -> None:
        bound = f"{'≥' if at_least else '≤'} {wanted:g}"
        having = [row for row in rows if row.get(key) is not None]
        if not having:
            if self.refused:
                self.require(what, bound, "nothing timed", False)
            return
        worst = (min if at_least else max)(having, key=lambda row: float(row[key]))
        value = float(worst[key])
        failing = [row for row in having if (row[key] < wanted if at_least else row[key] > wanted)]
        found = f"{'lowest' if at_least else 'highest'} {times(value)} in {self.label(worst)}"
        if failing:
            found += f"; {len(failing)} of {len(having)} rows miss it"
        self.require(what, bound, found, not failing)

    def require(self, what: str, wanted: str, figure: str, reached: bool) -> None:
        """A requirement of any kind; one on a table with wrong rows is not reached."""
        if self.refused:
            figure += f"; {len(self.refused)} rows are WRONG"
        self.requirements.append(Requirement(what, wanted, figure, reached and not self.refused))

    def label(self, row: Mapping[str, Any]) -> str:
        """A row's name."""
        return " ".join(str(row[column.key]) for column in self.columns if column.names)

    def as_json(self) -> dict[str, Any]:
        """All of it, for the file."""
        return {
            "title": self.title,
            "note": self.note,
            "rows": self.rows,
            "refused": self.refused,
            "requirements": [asdict(r) for r in self.requirements],
        }


def summary(tables: Sequence[Table]) -> None:
    """Each requirement, the figure, and whether it is reached."""
    listed = [(table.name, r) for table in tables for r in table.requirements]
    if not listed:
        return
    print("\nsummary")
    names = [f"{name}: {r.what}" for name, r in listed]
    width = max(len(name) for name in names)
    for name, (_, r) in zip(names, listed):
        print(f"{'reached' if r.reached else 'MISSED':<8} {name:<{width}}  {r.wanted:<7} {r.figure}")
    print(f"{sum(r.reached for _, r in listed)} of {len(listed)} reached")
    rows = [row for table in tables for row in table.rows]
    disturbed = sum((row.get("others") or 0) >= DISTURBING for row in rows)
    if disturbed:
        print(f"{disturbed} of {len(rows)} rows were disturbed by other processes (see their last column)")
