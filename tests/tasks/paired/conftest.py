"""Sixty phrases."""

from __future__ import annotations

import pytest

from holdfast.data.pairs import PairManner, Pairs, TextPairs, build_pairs
from tests.tasks.translation.phrases import phrases, write


@pytest.fixture(scope="package")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    folder = tmp_path_factory.mktemp("pairs")
    paths = [str(path) for path in write(folder, "a", phrases(60, 0))]
    return build_pairs({"train": paths, "valid": paths}, PairManner(level="word"), folder / "cache")


@pytest.fixture(scope="package")
def part(pairs: Pairs) -> TextPairs:
    return pairs.parts["train"]
