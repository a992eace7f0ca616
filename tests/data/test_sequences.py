"""Labelled sequences: parts, classes, what is kept, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from holdfast.data import DataError, Kind, Manner, Reading, Sequences, build_encoding, build_labelled, tokens_of
from holdfast.data import sequences as module
from holdfast.data.audio import Mel

from .audio.helpers import tone, written

TEXTS = ["a good film", "so dull", "good , good", "a dull plot", "fine", "no plot at all"]


def _csv(path: Path, texts: list[str], labels: list[str]) -> str:
    path.write_text("".join(f'"{text}",{label}\n' for text, label in zip(["text", *texts], ["label", *labels])))
    return str(path)


def _all(part: Sequences) -> list[tuple[str, float]]:
    return [(part.text(k), float(part.said[k])) for k in range(len(part))]


def test_parts_keep_their_texts_labels_and_order(tmp_path: Path) -> None:
    labels = ["pos", "neg"] * 3
    train, test = _csv(tmp_path / "a.csv", TEXTS, labels), _csv(tmp_path / "b.csv", TEXTS[::-1], labels[::-1])
    found = build_labelled({"train": [train], "valid": [test], "test": [test]}, Manner(Reading()), tmp_path / "kept")
    assert found.classes == ("neg", "pos")
    assert _all(found.parts["train"]) == [(text, float(label == "pos")) for text, label in zip(TEXTS, labels)]
    assert _all(found.parts["test"]) == _all(found.parts["train"])[::-1]
    assert found.encoding is not None
    for k, text in enumerate(TEXTS):
        np.testing.assert_array_equal(found.parts["train"].of(k), found.encoding.encode(text))
    assert found.parts["train"].lengths.tolist() == [3, 2, 3, 3, 1, 4]


def test_the_vocabulary_is_that_of_what_is_learned_from(tmp_path: Path) -> None:
    train = _csv(tmp_path / "a.csv", [*TEXTS, *[f"word{k}" for k in range(40)]], ["pos", "neg"] * 23)
    found = build_labelled({"train": [train]}, Manner(Reading(), share=0.5), tmp_path / "kept")
    assert found.encoding is not None
    unknown = {name: [0 in part.of(k) for k in range(len(part))] for name, part in found.parts.items()}
    assert not any(unknown["train"])
    assert any(unknown["valid"])


def test_numeric_classes_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    train = _csv(tmp_path / "a.csv", TEXTS, ["10", "2", "10", "2", "1", "1"])
    assert build_labelled({"train": [train]}, Manner(Reading()), tmp_path / "kept").classes == ("1", "2", "10")


def test_what_was_made_once_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = _csv(tmp_path / "a.csv", TEXTS, ["pos", "neg"] * 3)
    first = build_labelled({"train": [train]}, Manner(Reading()), tmp_path / "kept")

    def never(*given: object) -> None:
        raise AssertionError("made anew")

    monkeypatch.setattr(module, "_write", never)
    again = build_labelled({"train": [train]}, Manner(Reading()), tmp_path / "kept")
    assert (first.digest, _all(first.parts["valid"])) == (again.digest, _all(again.parts["valid"]))
    with pytest.raises(AssertionError, match="made anew"):
        build_labelled({"train": [train]}, Manner(Reading(), seed=1), tmp_path / "kept")
    _csv(tmp_path / "a.csv", TEXTS, ["neg", "pos"] * 3)
    with pytest.raises(AssertionError, match="made anew"):
        build_labelled({"train": [train]}, Manner(Reading()), tmp_path / "kept")


def test_other_data_are_read_with_what_was_learned(tmp_path: Path) -> None:
    encoding = build_encoding("prose", ["good film dull"])
    given = _csv(tmp_path / "a.csv", ["good trees", "dull"], ["b", "a"])
    found = build_labelled({"given": [given]}, Manner(Reading()), tmp_path / "kept", encoding, ["a", "b"])
    assert [part.of(0).tolist() for part in found.parts.values()] == [encoding.encode("good trees").tolist()]
    assert found.parts["given"].said.tolist() == [1.0, 0.0]


def test_series_keep_their_gaps(tmp_path: Path) -> None:
    x = np.arange(10, dtype=np.float32).reshape(5, 2)
    x[1, 1] = np.nan
    np.savez(tmp_path / "a.npz", x=x, lengths=[2, 3], y=np.array([0.5, -1.0]))
    parts = {"train": [str(tmp_path / "a.npz")], "valid": [str(tmp_path / "a.npz")]}
    found = build_labelled(parts, Manner(Reading(numeric=True)), tmp_path / "kept")
    assert (found.channels, found.classes, found.encoding) == (2, (), None)
    np.testing.assert_array_equal(found.parts["valid"].of(0), x[:2])
    np.testing.assert_array_equal(found.parts["valid"].of(1), x[2:])
    assert found.parts["train"].said.tolist() == [0.5, -1.0]


def test_parts_of_two_kinds_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2, 3), np.float32), y=np.array(["pos", "neg"] * 2))
    texts = _csv(tmp_path / "a.csv", TEXTS, ["pos", "neg"] * 3)
    with pytest.raises(DataError, match=r"a\.npz, row 1: a series, but the model reads texts"):
        build_labelled({"train": [texts], "valid": [str(tmp_path / "a.npz")]}, Manner(Reading()), tmp_path / "kept")


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Kind(channels=0), "row 1: a series, but the model reads texts"),
        (Kind(channels=3), "row 1: 2 channels, but the model learned from 3"),
        (
            Kind(channels=2, gaps=False),
            r"row 3: a missing value \(NaN\), but the model learned from",
        ),
    ],
)
def test_series_that_a_model_cannot_read_are_named(kind: Kind, why: str, tmp_path: Path) -> None:
    x = np.zeros((4, 5, 2), np.float32)
    x[2, 1, 0] = np.nan
    np.savez(tmp_path / "a.npz", x=x, y=np.array(["pos", "neg"] * 2))
    given = {"given": [str(tmp_path / "a.npz")]}
    with pytest.raises(DataError, match=rf"a\.npz, {why}.*; "):
        build_labelled(given, Manner(Reading()), tmp_path / "kept", classes=["neg", "pos"], kind=kind)


@pytest.mark.parametrize("name", ["valid", "test"])
def test_a_class_that_was_not_learned_from_is_named_with_its_line(name: str, tmp_path: Path) -> None:
    train = _csv(tmp_path / "a.csv", TEXTS, ["pos", "neg"] * 3)
    other = _csv(tmp_path / "b.csv", ["", *TEXTS[:3]], ["pos", "pos", "odd", "neg"])
    parts = {"train": [train], name: [other]}
    found = build_labelled(parts, Manner(Reading(), skip=True), tmp_path / "kept")
    assert _all(found.parts[name]) == [(TEXTS[0], 1.0), (TEXTS[2], 0.0)]
    assert found.notes == (
        f"1 row left out: the text is empty (the first is {other}, line 2)",
        f"1 row left out: the class 'odd', of which none was learned from (the first is {other}, line 4)",
    )
    _csv(tmp_path / "b.csv", TEXTS[:3], ["pos", "odd", "neg"])
    with pytest.raises(DataError, match=r"b\.csv, line 3: the class 'odd', of which none was learned from; "):
        build_labelled(parts, Manner(Reading()), tmp_path / "kept")


def test_a_class_with_one_example_is_learned_from(tmp_path: Path) -> None:
    train = _csv(tmp_path / "a.csv", TEXTS, ["pos", "neg", "pos", "neg", "pos", "odd"])
    found = build_labelled({"train": [train]}, Manner(Reading()), tmp_path / "kept")
    assert ("no plot at all", 1.0) in _all(found.parts["train"])
    assert any("one example only" in note and note.endswith(": 1") for note in found.notes)


def test_too_few_examples_to_choose_on_are_refused(tmp_path: Path) -> None:
    train = _csv(tmp_path / "a.csv", TEXTS[:2], ["pos", "neg"])
    with pytest.raises(DataError, match="too few examples to put some aside to choose on"):
        build_labelled({"train": [train]}, Manner(Reading()), tmp_path / "kept")


def test_labels_that_are_all_different_are_no_classes(tmp_path: Path) -> None:
    train = _csv(tmp_path / "a.csv", TEXTS, ["1.5", "2", "2.5", "3", "3.5", "4"])
    with pytest.raises(DataError, match=r"each of the 6 classes has one example only, the first is '1\.5'.* regress"):
        build_labelled({"train": [train]}, Manner(Reading()), tmp_path / "kept")


def test_a_text_has_one_token_at_least() -> None:
    encoding = build_encoding("prose", ["good film"])
    assert tokens_of("  ", encoding).tolist() == [0]
    assert tokens_of("film", encoding).tolist() == encoding.encode("film").tolist()


def _recordings(folder: Path, rates: list[int]) -> str:
    """A folder of two classes, of which recording k has 1,000 + 10 k samples."""
    for k, rate in enumerate(rates):
        written(folder / f"{('high', 'low')[k % 2]}/{k}.wav", tone(300 + 600 * (k % 2), 1, rate)[: 1000 + 10 * k], rate)
    return str(folder)


def test_recordings_become_frames_at_the_commonest_rate(tmp_path: Path) -> None:
    parts = {
        "train": [_recordings(tmp_path / "a", [8000] * 9 + [22050])],
        "test": [_recordings(tmp_path / "b", [16000])],
    }
    found = build_labelled(parts, Manner(Reading()), tmp_path / "kept")
    assert found.mel == Mel(8000)
    assert (found.channels, found.classes) == (64, ("high", "low"))
    assert found.parts["test"].lengths.tolist() == [found.mel.frames(500)]
    again = build_labelled(parts, Manner(Reading()), tmp_path / "kept")
    assert (again.mel, again.digest) == (found.mel, found.digest)
    given = {"given": parts["test"]}
    kind = Kind(channels=64, gaps=False)
    known = Manner(Reading(mel=Mel(4000)))
    other = build_labelled(given, known, tmp_path / "kept", classes=found.classes, kind=kind)
    assert other.mel == Mel(4000)
    assert other.parts["given"].lengths.tolist() == [Mel(4000).frames(250)]
    with pytest.raises(DataError, match=r"0\.wav: a recording, but the model learned from none"):
        build_labelled(given, Manner(Reading()), tmp_path / "kept", classes=found.classes, kind=kind)
    assert (
        build_labelled({"train": [_csv(tmp_path / "a.csv", TEXTS, ["a", "b"] * 3)]}, Manner(Reading()), tmp_path).mel
        is None
    )


def test_another_recording_in_a_table_is_read_anew(tmp_path: Path) -> None:
    _recordings(tmp_path / "a", [8000] * 4)
    rows = [f"{name}/{k}.wav,{name}" for k, name in enumerate(["high", "low"] * 2)]
    (tmp_path / "a/list.csv").write_text("\n".join(["path,label", *rows]))
    parts, manner = {"train": [str(tmp_path / "a/list.csv")]}, Manner(Reading(audio="path"))
    found = build_labelled(parts, manner, tmp_path / "kept")
    assert sorted(len(part) for part in found.parts.values()) == [2, 2]
    written(tmp_path / "a/low/1.wav", tone(440, 1, 8000), 8000)
    other = build_labelled(parts, manner, tmp_path / "kept")
    assert other.digest != found.digest
    assert max(part.lengths.max() for part in other.parts.values()) == 98
    (tmp_path / "a/low/1.wav").unlink()
    (tmp_path / "a/high/2.wav").unlink()
    with pytest.raises(DataError, match="2 recordings are not there: "):
        build_labelled(parts, manner, tmp_path / "kept")
    left = build_labelled(
        {**parts, "valid": parts["train"]}, Manner(Reading(audio="path"), skip=True), tmp_path / "kept"
    )
    assert len(left.parts["train"]) == 2
    assert left.notes == (f"2 rows left out: there is no recording … (the first is {tmp_path}/a/list.csv, line 3)",) * 2
