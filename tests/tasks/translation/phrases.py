"""Phrases that are easy to translate: numbers, word for word."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WORDS = {"eins": "one", "zwei": "two", "drei": "three", "vier": "four", "fünf": "five", "sechs": "six"}


def phrases(count: int, seed: int) -> list[tuple[str, str]]:
    """Pairs of one to five words."""
    draw = np.random.default_rng(seed)
    sources = [[str(word) for word in draw.choice([*WORDS], draw.integers(1, 6))] for _ in range(count)]
    return [(" ".join(source), " ".join(WORDS[word] for word in source)) for source in sources]


def write(folder: Path, name: str, pairs: list[tuple[str, str]]) -> tuple[Path, Path]:
    """Write the sources and the targets as files of lines."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{name}.de", folder / f"{name}.en"
    for path, texts in zip(paths, zip(*pairs), strict=True):
        path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return paths
