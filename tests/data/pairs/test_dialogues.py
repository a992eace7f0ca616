"""Dialogues of every form become the same pairs of what was said before and what was replied."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from pathlib import Path

import pytest

from holdfast.data import DataError
from holdfast.data.pairs import DialogueReading, Pair, PairManner, build_pairs

TURNS = [["Hi .", "Hello !", "How are you ?"], ["Bye .", "Bye !"]]
PAIRS = [
    ("", "Hi .", 0),
    ("Hi .", "Hello !", 0),
    ("Hi .\n Hello !", "How are you ?", 0),
    ("", "Bye .", 1),
    ("Bye .", "Bye !", 1),
]
MARKED = "Hi . __eou__ Hello ! __eou__ How are you ? __eou__\nBye . __eou__ Bye ! __eou__\n"


def _read(path: Path, context: int = 3) -> list[Pair]:
    return list(DialogueReading(context).pairs([str(path)]))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", MARKED),
        ("a.txt", "Hi .\nHello !\nHow are you ?\n\n\nBye .\nBye !\n"),
        ("a.txt", "Ann: Hi .\nBob: Hello !\nAnn: How are you ?\n\nAnn: Bye .\nBob: Bye !"),
        ("a.jsonl", "".join(json.dumps(turns) + "\n" for turns in TURNS)),
        ("a.jsonl", "".join(json.dumps({"dialog": turns}) + "\n\n" for turns in TURNS)),
        (
            "a.jsonl",
            "".join(
                json.dumps({"messages": [{"role": "ab"[k % 2], "content": turn} for k, turn in enumerate(turns)]})
                + "\n"
                for turns in TURNS
            ),
        ),
    ],
    ids=["eou", "lines", "named", "lists", "objects", "speakers"],
)
def test_every_form_is_read(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    assert [(pair.source, pair.target, pair.group) for pair in _read(tmp_path / name)] == PAIRS
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(content.encode()))
    assert [(pair.source, pair.target, pair.group) for pair in _read(packed)] == PAIRS


def test_of_a_zip_the_files_with_turns_are_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a/acts.txt", "1 2 1\n3 4\n")
        file.writestr("a/talks.txt", MARKED)
    assert [(pair.source, pair.target, pair.group) for pair in _read(tmp_path / "a.zip")] == PAIRS


def test_what_is_passed_over_in_a_zip_may_be_of_any_encoding_and_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/read me.txt", "für alle".encode("latin-1"))
        file.writestr("a/talks.txt", MARKED)
    manner = PairManner(DialogueReading(), level="bpe", share=0.5)
    found = build_pairs({"train": [str(path)]}, manner, tmp_path / "cache")
    assert sum(len(part) for part in found.parts.values()) == len(PAIRS)
    assert found.notes == (f"{path}: a/read me.txt was passed over, without __eou__",)


def test_dialogues_of_another_encoding_in_a_zip_are_not_passed_over(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a.txt", MARKED)
        file.writestr("b.txt", "für alle __eou__ ja __eou__\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"b\.txt.* must be UTF-8 text"):
        _read(tmp_path / "a.zip")


def test_a_damaged_file_in_a_zip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("talks.txt", MARKED)
    path.write_bytes(path.read_bytes().replace(b"Hello", b"Jello"))
    with pytest.raises(DataError, match=r"a\.zip cannot be read: Bad CRC-32 for file 'talks.txt'"):
        _read(path)


def test_what_one_speaker_says_in_a_row_is_one_turn(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Ann: Hi .\nAnn: It is me .\nBob: Hello !\nBob: Come in .\n")
    assert [(pair.source, pair.target) for pair in _read(tmp_path / "a.txt")] == [
        ("", "Hi . It is me ."),
        ("Hi . It is me .", "Hello ! Come in ."),
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["Tell me .", "I have one rule: never lie .", "Why ?"], None),
        (["When ?", "It is 5: 30 .", "It is 5: 30 , then ."], None),
        (["Note: I will come .", "Fine ."], None),
        (["12: 30", "12: 30"], None),
        (["Ann: Hi .", "She is here .", "Ann: Hm ."], None),
        (["Ann: Hi .", "I know this: she lies .", "Ann : Hm ."], ["Hi .", "I know this: she lies .", "Hm ."]),
        (["Ann: Hi .", "Bob: Ho ."] * 5 + ["It is 5: 30 ."], ["Hi .", "Ho ."] * 5 + ["It is 5: 30 ."]),
    ],
    ids=["long", "hours", "once", "digits", "some", "but one", "nearly all"],
)
def test_names_are_what_begins_lines_again_and_again(lines: list[str], said: list[str] | None, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(lines))
    assert [pair.target for pair in _read(tmp_path / "a.txt")] == (said or lines)


def test_so_many_turns_are_read_before_a_reply(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a __eou__ b __eou__ c __eou__ d __eou__\n")
    assert _read(tmp_path / "a.txt", 2)[-1].source == "b\n c"
    with pytest.raises(DataError, match="context must be at least 1"):
        DialogueReading(0)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.txt", "alone __eou__\n", "a dialogue needs two turns, and has 1"),
        ("a.txt", "Hi __eou__ __eou__ Bye __eou__\n", "turn 2 is empty"),
        ("a.txt", "Ann: Hi\nBob:\nAnn: Bye\nBob: Bye\n", "turn 2 is empty"),
        ("a.txt", "Ann: Hi\nAnn: It is me\n", "a dialogue needs two turns, and has 1"),
        ("a.jsonl", '["Hi", "", "Bye"]', "turn 2 is empty"),
        ("a.jsonl", '[{"from": "a", "text": "Hi"}, {"from": "a", "text": "Bye"}]', "needs two turns, and has 1"),
        ("a.jsonl", '["Hi", "\\ud800"]', "half of a pair of surrogates"),
        ("a.jsonl", '{"dialog": ["a"', "not JSON"),
        ("a.jsonl", '{"text": "a"}', "has no list of turns"),
        ("a.jsonl", '["a", 3]', "3 is no turn"),
    ],
)
def test_dialogues_that_cannot_be_used_have_faults(name: str, content: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    (pair,) = _read(tmp_path / name)
    assert fault in pair.fault
    assert pair.where == f"{tmp_path / name}, line 1"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", "is empty"),
        ("a.csv", b"a,b\n", "of no kind that dialogues are read from"),
        ("a.txt", b"\xff", "UTF-8"),
        ("a.zip", b"no archive", "a.zip cannot be read: File is not a zip file"),
    ],
)
def test_files_that_cannot_be_read_are_refused(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        _read(tmp_path / name)


def test_a_zip_without_text_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a.png", "")
    with pytest.raises(DataError, match=re.escape("a.zip has no text or JSON lines in it")):
        _read(tmp_path / "a.zip")


def test_a_dialogue_is_put_aside_whole(tmp_path: Path) -> None:
    talks = "".join(f"a{k} __eou__ b{k} __eou__ c{k} __eou__\n" for k in range(20))
    (tmp_path / "a.txt").write_text(talks)
    manner = PairManner(DialogueReading(), level="bpe", share=0.25)
    found = build_pairs({"train": [str(tmp_path / "a.txt")]}, manner, tmp_path / "cache")
    numbers = [
        {found.parts[name].target_text(k)[1:] for k in range(len(found.parts[name]))} for name in ("train", "valid")
    ]
    assert [len(each) for each in numbers] == [15, 5]
    assert not numbers[0] & numbers[1]
