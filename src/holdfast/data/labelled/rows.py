"""Rows of tables, one after the other: CSV, text with tabs, JSON lines and Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, NamedTuple

from holdfast.extras import require

from ..delimited import SAMPLE, column_names, csv_reader, refuse_doubles, told_separator, whole_lines
from ..sources import DataError, numbered, seekable, suffix, text_within
from .example import shown

_BATCH = 256  # rows of a Parquet file at a time, which may be long texts


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        place: where it stands in its file: "line 17".
        cells: what it holds in the columns that were asked for; None or an empty text where nothing.
        fault: why it cannot be used; empty if it can.
    """

    place: str
    cells: Sequence[Any]
    fault: str = ""


class Rows(NamedTuple):
    """A table whose rows are still to be read, once.

    Attributes:
        names: of its columns; empty for a column without a name.
        of: the rows, with the cells of the columns that are asked for.
    """

    names: Sequence[str]
    of: Callable[[Sequence[str]], Iterator[Row]]


def open_rows(path: str, named: Sequence[str]) -> Rows:
    """The rows of a table of any kind.

    Args:
        path: the file, as `files` names it.
        named: the columns that were named; where all are numbers, the first line of a text file is its first row.

    Raises:
        DataError: the file cannot be read, is empty or is no table.
    """
    return _READERS[suffix(path)](path, named)


def cut(path: str) -> Iterator[tuple[int, list[str], str]]:
    """The lines of a text file that are not blank, cut into cells.

    Where a cell holds newlines, the number is that of the last line.

    Yields:
        the number of the line, its cells, and why it cannot be used, if so.

    Raises:
        DataError: the file cannot be read, is empty, or is not UTF-8 text.
    """
    width = 0
    for number, cells, fault in (_cut_at_tabs if suffix(path) in (".tsv", ".tab") else _cut_csv)(path):
        if cells and (width == 1 or len(cells) > 1 or cells[0].strip()):
            width = width or len(cells)
            yield number, cells, fault
    if not width:
        raise DataError(f"{path} is empty")


def _delimited(path: str, named: Sequence[str]) -> Rows:
    lines = cut(path)
    number, first, fault = next(lines)
    if fault:
        raise DataError(f"{path} is not a table: {fault}")
    counted = all(name.isdecimal() for name in named) and not {*named} <= {cell.strip() for cell in first}
    if counted:
        names = [str(k + 1) for k in range(len(first))]
        lines = chain([(number, first, fault)], lines)
    else:
        names = column_names(path, first)
    width, said = len(names), "first line" if counted else "header"

    def of(columns: Sequence[str]) -> Iterator[Row]:
        indices = [names.index(name) for name in columns]
        empty = True
        for number, cells, fault in lines:
            count = len(cells)
            if count > width and not fault:
                fault = f"{count} cells, but the {said} has {width}"
            # What a short line lacks is empty
            yield Row(f"line {number}", [cells[k] if k < count else "" for k in indices], fault)
            empty = False
        if empty:
            raise DataError(f"{path} has a header, but no rows")

    return Rows(names, of)


def _cut_csv(path: str) -> Iterator[tuple[int, list[str], str]]:
    lines = whole_lines(text_within(path))
    first: list[str] = []
    sample: list[str] = []
    while len(sample) < SAMPLE and (line := next(lines, None)) is not None:
        first.append(line)
        if line.strip():
            sample.append(line)
    if not sample:
        return
    ended = False

    def watched() -> Iterator[str]:
        nonlocal ended
        yield from first
        yield from lines
        ended = True

    reader = csv_reader(watched(), told_separator(sample), skipinitialspace=True)
    begin = 1
    for cells in reader:
        # The reader looks for another line before it gives a row only if a cell is still open.
        yield reader.line_num, cells, f"a quotation mark is not closed (line {begin})" if ended else ""
        begin = reader.line_num + 1


def _cut_at_tabs(path: str) -> Iterator[tuple[int, list[str], str]]:
    for number, line in numbered(text_within(path)):
        if "\t" in line or line.strip():
            cells = line.removesuffix("\r").split("\t")
            yield number, [_unquoted(cell) for cell in cells] if '"' in line else cells, ""


def _unquoted(cell: str) -> str:
    """A cell without its quotation marks, where all of them are a writer's and none the text's own."""
    inner = cell[1:-1]
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else cell


def _json_lines(path: str, named: Sequence[str]) -> Rows:
    lines = ((number, line) for number, line in numbered(text_within(path)) if line.strip())
    first = [*islice(lines, SAMPLE)]
    if not first:
        raise DataError(f"{path} is empty")
    names = [*dict.fromkeys(name for _, line in first for name in _object(line)[0])]
    if not names:
        raise DataError(f"{path} must hold a JSON object on each line, but the first is {shown(first[0][1].strip())}")

    def of(columns: Sequence[str]) -> Iterator[Row]:
        for number, line in chain(first, lines):
            found, fault = _object(line)
            yield Row(f"line {number}", [found.get(name) for name in columns], fault)

    return Rows(names, of)


def _object(line: str) -> tuple[dict[str, Any], str]:
    """The object that a line is, or why it is none."""
    try:
        found = json.loads(line)
        if "\\u" in line:
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return {}, "half of a pair of surrogates, which is no character"
    except json.JSONDecodeError as error:
        return {}, f"not JSON: {error.msg} (character {error.pos + 1})"
    except (ValueError, RecursionError) as error:  # thousands of digits, or of brackets
        return {}, f"not JSON: {error}"
    if not isinstance(found, dict):
        return {}, f"{shown(found)} is not a JSON object"
    return found, ""


def _parquet(path: str, named: Sequence[str]) -> Rows:
    with _parquet_file(path) as file:
        names = [*file.schema_arrow.names]
    refuse_doubles(path, names)

    def of(columns: Sequence[str]) -> Iterator[Row]:
        count = 0
        with _parquet_file(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH, columns=[*columns]):
                for cells in zip(*(batch.column(name).to_pylist() for name in columns)):
                    count += 1
                    yield Row(f"row {count}", cells)
        if not count:
            raise DataError(f"{path} has no rows")

    return Rows(names, of)


@contextmanager
def _parquet_file(path: str) -> Iterator[Any]:
    arrow, parquet = require("pyarrow", "classify"), require("pyarrow.parquet", "classify")
    with seekable(path) as file:
        try:
            yield parquet.ParquetFile(file)
        except (OSError, arrow.ArrowException) as error:
            raise DataError(f"{path} is not a Parquet file: {str(error).splitlines()[0]}") from None


_READERS = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".tab": _delimited,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_lines,
    ".parquet": _parquet,
    ".pq": _parquet,
}
KINDS = tuple(_READERS)  # the suffixes of tables
