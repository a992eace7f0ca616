"""Rows of tables of all kinds, where they stand, and what is no table."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.data.labelled.rows import KINDS, Row, open_rows

from .helpers import faults, message, pairs, read, written

TEXTS = [
    'he said "no"',
    "two\nlines, and\r\nmore",
    "a;b|c\td",
    "naïve 日本語 \u2028 😀",
    " blanks around ",
    '"',
    "x" * 200_000,
]
ROWS = [(text, f"label {k}") for k, text in enumerate(TEXTS)]


LATIN = "is not: it looks like latin-1, which --encoding latin-1 reads"


def as_csv(separator: str = ",", newline: str = "\n") -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=separator, lineterminator=newline, quoting=csv.QUOTE_ALL).writerows(
        [("text", "label"), *ROWS]
    )
    return out.getvalue()


def rows(path: str, columns: list[str], named: tuple[str, ...] = ()) -> list[Row]:
    return [*open_rows(path, named).of(columns)]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["a.csv", "a.CSV.gz"])
def test_csv_is_read_as_it_was_written(separator: str, newline: str, name: str, tmp_path: Path) -> None:
    assert pairs(read(written(tmp_path / name, as_csv(separator, newline)))) == ROWS


def test_the_line_of_a_csv_row_is_its_last(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", '\ntext,label\r\none,1\r\n\n"two\n\nlines",2\n \n"three\r\nlines",3\nfour,4')
    assert [(row.place, *row.cells) for row in rows(path, ["label"])] == [
        ("line 3", "1"),
        ("line 7", "2"),
        ("line 10", "3"),
        ("line 11", "4"),
    ]


@pytest.mark.parametrize("name", ["a.tsv", "a.tab", "a.tsv.gz"])
def test_quotation_marks_between_tabs_are_characters_except_around_a_cell(name: str, tmp_path: Path) -> None:
    cells = {
        'an "unbalanced one': 'an "unbalanced one',
        '"begins only': '"begins only',
        'ends only"': 'ends only"',
        '"quoted"': "quoted",
        '"he said ""no"""': 'he said "no"',
        '"A" and "B"': '"A" and "B"',
        '"odd ""': '"odd ""',
        '"he ended: ""no"""': 'he ended: "no"',
        '"': '"',
        "a, b; c | d": "a, b; c | d",
        "half\ra line": "half\ra line",
    }
    content = "".join(f"{cell}\t{k}\r\n" for k, cell in enumerate(cells))
    found = read(written(tmp_path / name, f"text\tlabel\r\n\r\n{content}"))
    assert pairs(found) == [(cell, str(k)) for k, cell in enumerate(cells.values())]
    assert found[0].where == f"{tmp_path / name}, line 3"


def test_numbers_count_columns_where_there_is_no_header(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", "pos\ta fine film\nneg\ta bore\nneg\ta\tb\n")
    found = read(path, text="2", label="1")
    assert pairs(found[:2]) == [("a fine film", "pos"), ("a bore", "neg")]
    assert found[0].where == f"{path}, line 1"
    assert found[2].fault == "3 cells, but the first line has 2"
    assert pairs(read(written(tmp_path / "b.csv", "1,good\n2,bad\n"), text="2", label="1"))[0] == ("good", "1")


def test_numbers_name_columns_that_have_them_as_names(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "1,2,id\na bore,neg,7\n")
    assert pairs(read(path, text="1", label="2")) == [("a bore", "neg")]


def test_a_number_beyond_the_columns_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", "pos\ta fine film\n")
    assert message(path, text="3", label="1") == f"{path} has no column '3'; its columns are '1', '2'"
    assert message(path, text="2") == f"{path}: no column looks like the label; name it with --label, of '1', '2'"
    assert pairs(read(path, text="2", labelled=False)) == [("a fine film", None)]


def test_a_row_may_be_too_long_but_what_a_short_one_lacks_is_empty(tmp_path: Path) -> None:
    for name, separator in (("a.csv", ","), ("a.tsv", "\t")):
        content = "id,text,label\n1,good,pos\n1,2,3,4,5\n2,good\n3\n4,,neg\n".replace(",", separator)
        path = written(tmp_path / name, content)
        assert faults(read(path)) == [
            "",
            "5 cells, but the header has 3",
            "the label is missing",
            "the text is empty",
            "the text is empty",
        ]


def test_a_table_may_have_one_column(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'text\none\n\n""\ntwo\n')
    assert faults(read(path, labelled=False)) == ["", "the text is empty", ""]


def test_a_quotation_mark_that_is_not_closed_is_a_fault_of_its_row(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'text,label\none,1\n"two,2\nthree,3\n')
    one, two = read(path)
    assert one.fault == ""
    assert two == (f"{path}, line 4", None, None, "a quotation mark is not closed (line 3)")
    closed = written(tmp_path / "b.csv", 'text,label\none,1\n"two",2')
    assert faults(read(closed)) == ["", ""]


def test_a_cell_may_have_ten_million_characters(tmp_path: Path) -> None:
    long = "word " * 2_000_000
    for name in ("a.csv", "a.tsv"):
        separator = "," if name == "a.csv" else "\t"
        path = written(tmp_path / name, f"text{separator}label\n{long}{separator}1\n")
        assert pairs(read(path)) == [(long, "1")]


@pytest.mark.sweep(every=2)
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.jsonl", "a.parquet"])
def test_long_files_do_not_fill_the_memory(name: str, tmp_path: Path) -> None:
    text = "word " * 200
    count = 20_000
    path = tmp_path / name
    if name == "a.parquet":
        column = pa.array([text + str(k) for k in range(count)])
        pq.write_table(pa.table({"text": column}), path, row_group_size=500, use_dictionary=False)
    else:
        header = "" if name == "a.jsonl" else "id,text\n"
        line = f'{{"id": 1, "text": "{text}"}}\n' if name == "a.jsonl" else f"1,{text}\n"
        content = header + line * count
        written(path, content.replace(",", "\t") if name == "a.tsv" else content)
    tracemalloc.start()
    try:
        assert sum(len(row.cells[0]) >= len(text) for row in open_rows(str(path), ()).of(["text"])) == count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5e6  # of 20 million characters


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "a.jsonl.gz"])
def test_json_lines_hold_texts(name: str, tmp_path: Path) -> None:
    content = "\n".join(json.dumps({"id": 5, "text": text, "label": label}) for text, label in ROWS)
    found = read(written(tmp_path / name, f"\n{content}"))
    assert pairs(found) == ROWS
    assert found[0].where == f"{tmp_path / name}, line 2"


def test_json_lines_hold_series(tmp_path: Path) -> None:
    content = '{"content": [[1, 2], [3.5, null]], "y": 1}\n{"y": 2, "content": [[5, 6]]}\n'
    one, two = read(written(tmp_path / "a.jsonl", content))
    assert str(one.content.tolist()) == "[[1.0, 2.0], [3.5, nan]]"
    assert (two.content.tolist(), two.label) == ([[5.0, 6.0]], "2")


def test_json_lines_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    lines = [
        '{"text": "good", "label": "a"}',
        '{"text": "cut',
        "[1, 2]",
        '{"label": "a"}',
        '{"text": null, "label": "a"}',
        '{"text": 5, "label": "a"}',
        '{"text": "good"}',
        '{"text": "good", "label": ["a"]}',
        '{"text": "\\ud83d alone", "label": "a"}',
        '{"text": "\\ud83d\\ude00", "label": "a"}',
        "[" * 100_000,
    ]
    found = faults(read(written(tmp_path / "a.jsonl", "\n".join(lines))))
    assert found[:-1] == [
        "",
        "not JSON: Unterminated string starting at (character 10)",
        "a list is not a JSON object",
        "the text is empty",
        "the text is empty",
        "5 is neither a text nor a list of numbers",
        "the label is missing",
        "the label is a list, which names no class",
        "half of a pair of surrogates, which is no character",
        "",
    ]
    assert found[-1].startswith("not JSON: ")


def test_a_json_file_that_is_one_value_is_told(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.json", json.dumps([{"text": "good"}] * 2))
    assert message(whole).startswith(f"{whole} must hold a JSON object on each line, but the first is '[{{")
    broken = written(tmp_path / "b.json", json.dumps({"text": "good"}, indent=1))
    assert message(broken) == f"{broken} must hold a JSON object on each line, but the first is '{{'"


@pytest.mark.parametrize("name", ["a.parquet", "a.pq", "a.parquet.gz"])
def test_parquet_holds_texts(name: str, tmp_path: Path) -> None:
    texts = ["one", None, "", *["more"] * 997]
    table = pa.table({"label": pa.array([1, 2, 3] + [4] * 997), "a.b": texts, "text": texts})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    found = read(written(tmp_path / name, buffer.getvalue()))
    assert faults(found) == ["", "the text is empty", "the text is empty", *[""] * 997]
    assert found[0] == (f"{tmp_path / name}, row 1", "one", "1", "")
    assert found[999].where == f"{tmp_path / name}, row 1000"
    assert pairs(read(tmp_path / name, text="a.b")[:1]) == [("one", "1")]


def test_parquet_holds_series(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]], "label": [1.0, None]}), path)
    found = read(path, labelled=False)
    assert pairs(found) == [([[1.0, 2.0], [3.0, 4.0]], "1"), ([[5.0, 6.0]], None)]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
@pytest.mark.parametrize("content", ["", "\n \n\n"])
def test_an_empty_file_is_told(name: str, content: str, tmp_path: Path) -> None:
    path = written(tmp_path / name, content)
    assert message(path) == f"{path} is empty"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "text,label\n", "{} has a header, but no rows"),
        ("a.tsv", "text\tlabel\n\n", "{} has a header, but no rows"),
        ("a.csv", "text,text\n1,2\n", "{} has more than one column named 'text'"),
        ("a.csv", "1,2\n3,4\n", "{} must begin with a line that names the columns, but it begins with 1, …"),
        ("a.csv", '"text,label\n1,2\n', "{} is not a table: a quotation mark is not closed (line 1)"),
        ("a.csv", b"text,label\nna\xefve,1\n", f"{{}} must be UTF-8 text, but line 2 {LATIN}"),
        ("a.tsv", b"text\tlabel\nna\xefve\t1\n", f"{{}} must be UTF-8 text, but line 2 {LATIN}"),
        ("a.jsonl", b'{"text": "na\xefve"}\n', f"{{}} must be UTF-8 text, but line 1 {LATIN}"),
        ("a.csv", b"text,label\na\0b,1\n", "{} must be UTF-8 text, but byte 12 is NUL"),
    ],
)
def test_what_is_no_table_is_told_in_a_line(name: str, content: Any, said: str, tmp_path: Path) -> None:
    path = written(tmp_path / name, content)
    assert message(path) == said.format(path)


def test_a_parquet_file_that_is_none_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", "text,label\n")
    assert message(path).startswith(f"{path} is not a Parquet file: ")
    pq.write_table(pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}), path)
    assert message(path) == f"{path} has no rows"


@pytest.mark.parametrize("suffix", KINDS)
def test_all_kinds_of_tables_lack_columns_in_the_same_words(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix in (".parquet", ".pq"):
        pq.write_table(pa.table({"text": ["a"], "stars": ["1"]}), path)
    elif "js" in suffix:
        written(path, '{"text": "a", "stars": 1}\n')
    else:
        written(path, "text,stars\na,1\n" if suffix == ".csv" else "text\tstars\na\t1\n")
    said = f"{path} has no column 'star'; did you mean stars?; its columns are 'text', 'stars'"
    assert message(path, label="star") == said
