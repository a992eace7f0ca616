"""Dialogues that are easy to go on with: a greeting, and numbers that are said again in another language."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.tasks.translation.phrases import WORDS


def talks(count: int, seed: int) -> list[list[str]]:
    """Dialogues of four to eight turns."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        turns = ["Hello !", "Good day ."]
        for word in draw.choice([*WORDS], draw.integers(1, 4)):
            turns += [f"What is {word} ?", f"It is {WORDS[str(word)]} ."]
        found.append(turns)
    return found


def write(path: Path, dialogues: list[list[str]]) -> Path:
    """Write them with `__eou__` after each turn, a dialogue in each line."""
    path.write_text("".join("".join(f"{turn} __eou__ " for turn in turns) + "\n" for turns in dialogues))
    return path
