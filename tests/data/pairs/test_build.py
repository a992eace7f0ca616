"""Pairs kept on the disk: what was read, in the vocabularies that were made of what is learned from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from holdfast.data import DataError, Encoding, build_encoding
from holdfast.data.pairs import DialogueReading, PairManner, PairReading, build_pairs, every_file
from tests.tasks.translation.phrases import phrases, write


def _texts(part: object) -> list[tuple[str, str]]:
    return [(part.source_text(k), part.target_text(k)) for k in range(len(part))]  # type: ignore[attr-defined, arg-type]


def test_texts_and_tokens_are_those_of_the_files(tmp_path: Path) -> None:
    pairs = phrases(50, 0)
    paths = [str(path) for path in write(tmp_path, "a", pairs)]
    found = build_pairs({"train": paths, "valid": paths}, PairManner(), tmp_path / "cache")
    assert _texts(found.parts["train"]) == _texts(found.parts["valid"]) == pairs
    ours, theirs = found.encodings
    part = found.parts["train"]
    assert [ours.decode(part.source(k)).strip() for k in range(50)] == [source for source, _ in pairs]
    assert [theirs.decode(part.target(k)).strip() for k in range(50)] == [target for _, target in pairs]
    assert part.lengths[0].tolist() == [len(part.source(k)) for k in range(50)]


def test_a_second_call_reads_what_the_first_has_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(path) for path in write(tmp_path, "a", phrases(30, 0))]
    first = build_pairs({"train": paths}, PairManner(), tmp_path / "cache")
    monkeypatch.setattr("holdfast.data.pairs.read.read_pairs", None)
    again = build_pairs({"train": paths}, PairManner(), tmp_path / "cache")
    assert _texts(again.parts["train"]) == _texts(first.parts["train"])
    assert again.digest == first.digest


def test_a_line_that_moves_from_one_file_to_the_next_is_missed(tmp_path: Path) -> None:
    ours, theirs = write(tmp_path, "a", [("eins", "one"), ("zwei", "two")])
    build_pairs({"train": [str(ours), str(theirs)]}, PairManner(share=0.5), tmp_path / "cache")
    ours.write_text("eins\nzwei\none\n")
    theirs.write_text("two\n")
    with pytest.raises(DataError, match="has no partner"):
        build_pairs({"train": [str(ours), str(theirs)]}, PairManner(share=0.5), tmp_path / "cache")


def test_notes_name_the_files_of_this_call(tmp_path: Path) -> None:
    pairs = [*phrases(10, 0), ("", "one")]
    for name in ("a", "b"):
        paths = [str(path) for path in write(tmp_path, name, pairs)]
        (note,) = build_pairs({"train": paths}, PairManner(skip_bad=True), tmp_path / "cache").notes
        assert f"{name}.de, line 11" in note


def test_columns_are_refused_where_no_file_is_a_table(tmp_path: Path) -> None:
    paths = [str(path) for path in write(tmp_path, "a", phrases(10, 0))]
    table = tmp_path / "b.tsv"
    table.write_text("de\ttarget\n" + "eins\tone\n" * 10)
    manner = PairManner(PairReading(source="de"))
    for files in (paths, ["builtin:dates"]):
        with pytest.raises(DataError, match=f"--source-column de: only tables have columns .* and {files[0]} is none"):
            build_pairs({"train": files}, manner, tmp_path / "cache")
    learned = build_pairs({"train": [str(table)], "valid": paths}, manner, tmp_path / "cache")
    given = build_pairs({"given": paths}, manner, tmp_path / "cache", learned.encodings)
    assert len(given.parts["given"]) == len(learned.parts["valid"]) == 10


def test_without_files_to_choose_on_a_share_is_put_aside(tmp_path: Path) -> None:
    pairs = phrases(50, 0)
    found = build_pairs({"train": [str(p) for p in write(tmp_path, "a", pairs)]}, PairManner(share=0.2), tmp_path / "c")
    assert (len(found.parts["train"]), len(found.parts["valid"])) == (40, 10)
    assert sorted(_texts(found.parts["train"]) + _texts(found.parts["valid"])) == sorted(pairs)


def test_vocabularies_are_made_of_what_is_learned_from_alone(tmp_path: Path) -> None:
    train = [str(path) for path in write(tmp_path, "a", [("ab", "ba")] * 9)]
    valid = [str(path) for path in write(tmp_path, "b", [("xy", "yx")])]
    found = build_pairs({"train": train, "valid": valid}, PairManner(), tmp_path / "cache")
    assert found.encodings[0].level == "char"
    assert found.parts["valid"].source(0).tolist() == [0, 0]  # unknown


@pytest.mark.parametrize("shared", [True, False])
def test_the_vocabulary_is_shared_or_each_side_has_its_own(shared: bool, tmp_path: Path) -> None:
    paths = [str(path) for path in write(tmp_path, "a", phrases(30, 0))]
    found = build_pairs({"train": paths}, PairManner(level="word", shared=shared), tmp_path / "cache")
    assert found.shared == shared
    assert found.encodings[0].size == (14 if shared else 8)


def test_characters_are_taken_where_targets_are_single_words_and_byte_pairs_where_not(tmp_path: Path) -> None:
    single = [str(path) for path in write(tmp_path, "a", [("eins zwei", "12"), ("drei", "3")] * 5)]
    several = [str(path) for path in write(tmp_path, "b", phrases(30, 0))]
    levels = [
        build_pairs({"train": paths}, PairManner(), tmp_path / "cache").encodings[0].level
        for paths in (single, several)
    ]
    assert levels == ["char", "bpe"]


@pytest.mark.parametrize(("shared", "wanted"), [(True, [600]), (False, [400, 300])])
def test_a_vocabulary_has_a_byte_pair_for_each_five_hundred_characters_and_three_hundred_at_least(
    shared: bool, wanted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []

    def small(level: str, texts: Iterator[str], size: int | None) -> Encoding:
        asked.append(size)
        return build_encoding(level, [next(texts)], 256)

    monkeypatch.setattr("holdfast.data.pairs.build.build_encoding", small)
    train = [("a b " * 500, "b " * 500)] * 100  # 200,000 characters of sources and 100,000 of targets
    paths = [str(path) for path in write(tmp_path, "a", [(one.strip() + "c", two.strip() + "c") for one, two in train])]
    valid = [str(path) for path in write(tmp_path, "b", [("a b", "b c")])]
    build_pairs({"train": paths, "valid": valid}, PairManner(shared=shared), tmp_path / "cache")
    assert asked == wanted


def test_faults_are_an_error_or_left_out_and_counted(tmp_path: Path) -> None:
    pairs = [("eins", "one"), ("", "two"), ("drei", "three"), ("vier", "")]
    paths = [str(path) for path in write(tmp_path, "a", pairs)]
    with pytest.raises(DataError, match=r"a.de, line 2: the source is empty; fit with --skip-bad"):
        build_pairs({"train": paths}, PairManner(), tmp_path / "cache")
    found = build_pairs({"train": paths}, PairManner(skip_bad=True, share=0.5), tmp_path / "cache")
    assert sum(len(part) for part in found.parts.values()) == 2
    assert [note.split(":")[0] for note in found.notes] == ["1 row left out", "1 row left out"]


def test_characters_that_were_never_seen_can_be_written_in_byte_pairs(tmp_path: Path) -> None:
    train = [str(path) for path in write(tmp_path, "a", phrases(30, 0))]
    learned = build_pairs({"train": train}, PairManner(), tmp_path / "cache")
    strange = [str(path) for path in write(tmp_path, "b", [("Ωμέγα 🙂", "オメガ")])]
    given = build_pairs({"given": strange}, PairManner(), tmp_path / "cache", learned.encodings).parts["given"]
    assert learned.encodings[0].decode(given.source(0)).strip() == "Ωμέγα 🙂"


@pytest.mark.full
def test_dates_come_in_three_parts_and_alone(tmp_path: Path) -> None:
    pytest.importorskip("babel")
    found = build_pairs({"train": ["builtin:dates"]}, PairManner(), tmp_path / "cache")
    assert [*found.parts] == ["train", "valid", "test"]
    assert all(np.char.str_len(found.parts["test"].target_text(k)) == 10 for k in range(100))
    with pytest.raises(DataError, match="all that a part holds"):
        build_pairs({"train": ["builtin:dates", "a.tsv"]}, PairManner(), tmp_path / "cache")


def test_a_misspelt_name_of_what_comes_with_it_is_answered_with_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no builtin:date: the only pairs that come .* are builtin:dates"):
        build_pairs({"train": ["builtin:date"]}, PairManner(), tmp_path / "cache")
    with pytest.raises(DataError, match="builtin:dates is both sources and targets"):
        every_file(["builtin:dates"])


def test_dates_are_written_anew_by_another_babel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    babel = pytest.importorskip("babel")
    few = {"train": (20, 1), "valid": (5, 2), "test": (5, 3)}
    monkeypatch.setattr("holdfast.data.pairs.build._DATES", few)
    for version in (babel.__version__, babel.__version__, "0"):
        monkeypatch.setattr(babel, "__version__", version)
        build_pairs({"train": ["builtin:dates"]}, PairManner(), tmp_path / "cache")
    assert len([*(tmp_path / "cache").iterdir()]) == 2


def test_thirty_thousand_dates_are_learned_from_and_a_thousand_others_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("babel")
    asked: list[tuple[str, int]] = []

    def few(part: str, count: int, seed: int) -> Iterator[tuple[str, str]]:
        asked.append((part, count))
        return iter([("1. Mai 2024", "2024-05-01")])

    monkeypatch.setattr("holdfast.data.pairs.dates.dates", few)
    learned = build_pairs({"train": ["builtin:dates"]}, PairManner(), tmp_path / "cache")
    build_pairs({"given": ["builtin:dates"]}, PairManner(), tmp_path / "cache", learned.encodings)
    assert asked == [("train", 30_000), ("valid", 1_000), ("test", 1_000), ("test", 1_000)]


def test_too_few_pairs_are_refused(tmp_path: Path) -> None:
    paths = [str(path) for path in write(tmp_path, "a", [("eins", "one")])]
    with pytest.raises(DataError, match="of 1 pair 1 cannot be put aside"):
        build_pairs({"train": paths}, PairManner(), tmp_path / "cache")
    (tmp_path / "a.txt").write_text("Hi __eou__ Ho __eou__\n")
    with pytest.raises(DataError, match="of 1 dialogue 1 cannot be put aside"):
        build_pairs({"train": [str(tmp_path / "a.txt")]}, PairManner(DialogueReading()), tmp_path / "cache")
