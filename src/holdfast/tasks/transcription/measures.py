"""How far what is written is from what was said."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.extras import require


def error_rates(said: Sequence[str], written: Sequence[str]) -> dict[str, float]:
    """Measures of texts against what was said.

    >>> found = error_rates(["one two", "three"], ["one too", "three"])
    >>> round(found["cer"], 3), round(found["wer"], 3), found["exact"]
    (0.083, 0.333, 0.5)

    Args:
        said: what was said; in one at least it is something.
        written: what was written down of each.

    Returns:
        cer: symbols that are wrong, missing or too many, over those that were said; wer: the same of words; exact: the
        share of texts without an error.
    """
    jiwer = require("jiwer", "speech")
    right = sum(a == b for a, b in zip(said, written, strict=True))
    return {
        "cer": float(jiwer.cer(list(said), list(written))),
        "wer": float(jiwer.wer(list(said), list(written))),
        "exact": right / len(said),
    }
