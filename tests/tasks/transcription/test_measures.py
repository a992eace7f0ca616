"""Error rates, beside an edit distance that is written out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from holdfast.tasks.transcription.measures import error_rates


def distance(a: Sequence[str], b: Sequence[str]) -> int:
    row = [*range(len(b) + 1)]
    for i, one in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]


def test_rates_are_edits_over_what_was_said() -> None:
    draw = np.random.default_rng(0)
    said = ["".join(draw.choice([*"ab "], 12)).strip() or "a" for _ in range(20)]
    written = ["".join(draw.choice([*"ab "], draw.integers(0, 14))).strip() for _ in range(19)] + [said[-1]]
    found = error_rates(said, written)
    symbols = sum(distance(a, b) for a, b in zip(said, written)) / sum(map(len, said))
    words = sum(distance(a.split(), b.split()) for a, b in zip(said, written)) / sum(len(a.split()) for a in said)
    assert found["cer"] == pytest.approx(symbols)
    assert found["wer"] == pytest.approx(words)
    assert found["exact"] == sum(a == b for a, b in zip(said, written)) / 20 > 0
