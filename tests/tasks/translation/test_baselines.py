"""The simple methods learn what they can."""

from __future__ import annotations

from pathlib import Path

from holdfast.data.pairs import PairManner, build_pairs
from holdfast.tasks.translation.baselines import WordForWord, baselines
from tests.tasks.translation.phrases import WORDS, phrases, write


def test_a_dictionary_is_learned_from_pairs_of_sentences(tmp_path: Path) -> None:
    paths = [str(path) for path in write(tmp_path, "a", phrases(200, 0))]
    train = build_pairs({"train": paths}, PairManner(), tmp_path / "cache").parts["train"]
    source = " ".join(WORDS)
    assert WordForWord(train).translate([source, "acht eins"]) == [" ".join(WORDS.values()), "acht one"]


def test_the_memory_gives_the_target_of_the_source_that_is_most_alike(tmp_path: Path) -> None:
    train = [("der Hund bellt", "the dog barks"), ("die Katze schläft", "the cat sleeps"), ("ein Haus", "a house")] * 4
    paths = [str(path) for path in write(tmp_path, "a", train)]
    other = [str(path) for path in write(tmp_path, "b", [("die Katze schläft nicht", "the cat sleeps")])]
    data = build_pairs({"train": paths, "valid": other}, PairManner(), tmp_path / "cache")
    found = baselines(data.parts["train"], data.parts["valid"])
    assert found["the most alike source's target"]["exact"] == 1.0
