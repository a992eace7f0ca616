"""Pairs from files of lines and from tables, and what is said of those that are not as they must be."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from holdfast.data import DataError
from holdfast.data.pairs import Pair, PairReading, read_pairs, sentence


def _lines(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def _read(*paths: str, **columns: str) -> list[Pair]:
    return list(read_pairs(paths, PairReading(**columns)))


def test_two_files_of_lines_go_together_line_for_line(tmp_path: Path) -> None:
    ours, theirs = _lines(tmp_path / "a.de", "ein Haus", "zwei"), _lines(tmp_path / "a.en", "a house", "two")
    assert _read(ours, theirs) == [
        Pair(f"{ours}, line 1", "ein Haus", "a house", "", 0),
        Pair(f"{ours}, line 2", "zwei", "two", "", 1),
    ]


def test_packed_files_and_several_pairs_of_files_are_read_one_after_the_other(tmp_path: Path) -> None:
    paths = []
    for name, text in (("a.de", "eins\n"), ("a.en", "one\n"), ("b.de", "zwei\n"), ("b.en", "two\n")):
        paths.append(str(tmp_path / f"{name}.gz"))
        with gzip.open(paths[-1], "wt") as file:
            file.write(text)
    assert [(pair.source, pair.target, pair.group) for pair in _read(*paths)] == [
        ("eins", "one", 0),
        ("zwei", "two", 1),
    ]


@pytest.mark.parametrize("kind", ["tsv", "csv", "jsonl", "parquet"])
def test_tables_hold_a_pair_in_each_row(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"pairs.{kind}"
    rows = [("1", "eins, zwei", "one, two"), ("2", "drei", "three")]
    if kind == "parquet":
        pandas = pytest.importorskip("pandas")
        pandas.DataFrame(rows, columns=["id", "source", "target"]).to_parquet(path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"id": k, "source": a, "target": b}) + "\n" for k, a, b in rows))
    else:
        between = {"tsv": "\t", "csv": ";"}[kind]
        path.write_text("\n".join(between.join(row) for row in [("id", "source", "target"), *rows]) + "\n")
    assert [(pair.source, pair.target) for pair in _read(str(path))] == [("eins, zwei", "one, two"), ("drei", "three")]


def test_columns_can_be_named_and_in_tables_without_a_header_numbered(tmp_path: Path) -> None:
    named = _lines(tmp_path / "a.tsv", "de\ten", "eins\tone")
    numbered = _lines(tmp_path / "b.tsv", "eins\tone", "zwei\ttwo")
    assert [pair.target for pair in _read(named, source="de", target="en")] == ["one"]
    assert [pair.source for pair in _read(numbered, source="2", target="1")] == ["one", "two"]


def test_tables_and_files_of_lines_may_be_mixed(tmp_path: Path) -> None:
    table = _lines(tmp_path / "a.tsv", "source\ttarget", "eins\tone")
    ours, theirs = _lines(tmp_path / "a.de", "zwei"), _lines(tmp_path / "a.en", "two")
    assert [pair.target for pair in _read(table, ours, theirs)] == ["one", "two"]


def test_one_file_may_be_the_partner_of_several(tmp_path: Path) -> None:
    german, french = _lines(tmp_path / "a.de", "eins"), _lines(tmp_path / "a.fr", "un")
    english = _lines(tmp_path / "a.en", "one")
    found = _read(german, english, french, english)
    assert [(pair.source, pair.target) for pair in found] == [("eins", "one"), ("un", "one")]


def test_a_file_is_not_its_own_partner(tmp_path: Path) -> None:
    ours, theirs = _lines(tmp_path / "a.de", "eins"), _lines(tmp_path / "a.en", "one")
    with pytest.raises(DataError, match=re.escape(f"{theirs} stands on both sides of a pair")):
        next(read_pairs([ours, theirs, theirs, f"{tmp_path}/./a.en"], PairReading()))


def test_the_line_at_which_two_files_part_is_named(tmp_path: Path) -> None:
    ours, theirs = _lines(tmp_path / "a.de", "eins", "zwei", "drei"), _lines(tmp_path / "a.en", "one")
    with pytest.raises(DataError, match=re.escape(f"{ours} has 3 and {theirs} 1: line 2 of {ours} has no partner")):
        _read(ours, theirs)
    with pytest.raises(DataError, match=re.escape(f"{ours} has 3 and {theirs} 1: line 2 of {ours} has no partner")):
        _read(theirs, ours)


@pytest.mark.parametrize(
    ("source", "target", "fault"),
    [
        ("", "one", "the source is empty"),
        ("eins", " \t", "the target is empty"),
        ("", "", "the source and the target are empty"),
    ],
)
def test_an_empty_line_has_a_fault(source: str, target: str, fault: str, tmp_path: Path) -> None:
    pairs = _read(_lines(tmp_path / "a.de", "eins", source), _lines(tmp_path / "a.en", "one", target))
    assert [pair.fault for pair in pairs] == ["", fault]


def test_cells_that_are_no_texts_and_torn_rows_have_faults(tmp_path: Path) -> None:
    lines = ['{"source": "eins", "target": ["one"]}', '{"source": "eins"', '{"source": 1, "target": 2.5}']
    found = _read(_lines(tmp_path / "a.jsonl", *lines))
    assert "is not a text" in found[0].fault
    assert "not JSON" in found[1].fault
    assert (found[2].source, found[2].target) == ("1", "2.5")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        ("eins\n".encode("utf-16"), "must be UTF-8 text, but it begins like UTF-16"),
        ("größe\n".encode("latin-1"), "must be UTF-8 text, but line 1 is not: it looks like latin-1"),
    ],
)
def test_files_that_are_empty_or_of_another_encoding_are_refused(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.de").write_bytes(content)
    (tmp_path / "a.en").write_bytes(content and b"one\n")
    with pytest.raises(DataError, match=said):
        _read(str(tmp_path / "a.de"), str(tmp_path / "a.en"))


def test_a_file_of_lines_without_a_partner_is_refused(tmp_path: Path) -> None:
    alone = _lines(tmp_path / "a.de", "eins")
    with pytest.raises(DataError, match="needs a partner"):
        _read(alone)
    with pytest.raises(DataError, match="needs a partner"):
        _read(alone, _lines(tmp_path / "b.tsv", "source\ttarget", "eins\tone"))


def test_a_column_that_is_not_there_or_cannot_be_told_is_refused(tmp_path: Path) -> None:
    path = _lines(tmp_path / "a.tsv", "de\ten", "eins\tone")
    with pytest.raises(DataError, match="name it with --source-column, of 'de', 'en'"):
        _read(path)
    with pytest.raises(DataError, match="no column 'fr'"):
        _read(path, source="de", target="fr")
    with pytest.raises(DataError, match="one role"):
        PairReading("de", "de")


def test_texts_are_composed_and_have_single_blanks() -> None:
    assert sentence("\ufeff e\u0301  a\u00a0b\r") == "\ufeff é a b"
