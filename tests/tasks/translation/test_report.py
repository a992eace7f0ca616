"""What the report says of translations that were made by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from holdfast.data.pairs import PairManner, build_pairs
from holdfast.tasks.translation import Translation
from holdfast.tasks.translation.report import sections
from tests.tasks.translation.phrases import write

MADE = {
    "Hund": ("dog", "dog"),
    "Katze": ("cat", "cat"),
    "Vogel": ("blackbird", "blackbirds"),
    "Fisch": ("goldfish", "catfish"),
    "Pferd": ("horse", "xyz"),
    "Maus": ("harvest mouse", "harvest hare"),
    "Haus": ("house", "mouse"),
}


def test_the_hardest_are_those_that_are_farthest_from_what_was_wanted_the_farthest_first(tmp_path: Path) -> None:
    pairs = [(source, wanted) for source, (wanted, _) in MADE.items()]
    paths = [str(path) for path in write(tmp_path, "a", pairs)]
    data = build_pairs({"train": paths, "valid": paths}, PairManner(), tmp_path / "cache")

    def translate(texts: Sequence[str]) -> list[Translation]:
        return [Translation(MADE[text][1], 0.0) for text in texts]

    run = SimpleNamespace(translate=translate, model=SimpleNamespace(attention=None))
    (hardest,) = [part for part in sections(run, data) if "The hardest" in part]  # type: ignore[arg-type]
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td>', hardest)
    assert [row[0] for row in rows] == ["Pferd", "Fisch", "Maus", "Haus", "Vogel"]
    assert all(row[1:] == MADE[row[0]] for row in rows)
