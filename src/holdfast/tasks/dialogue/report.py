"""The report's sections on what a model of dialogue replies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from holdfast.data.pairs import TextPairs
from holdfast.microscope.page import section, table

from ..paired import attention_pictures
from .run import ChatRun, Manners, replies

Array = np.ndarray[Any, Any]

_JUDGED = 500  # contexts that are replied to
_SAMPLES = 12
_COMMON = 10  # replies that are given most often


def sections(run: ChatRun, part: TextPairs, which: Array) -> Iterable[str]:
    """All of them.

    Args:
        run: the model.
        part: dialogues.
        which: the replies in it that are looked at, (S,).
    """
    some = which[np.linspace(0, len(which) - 1, min(len(which), _JUDGED)).astype(np.int64)]
    sources = [part.source_text(int(k)) for k in some]
    wanted = [part.target_text(int(k)) for k in some]
    found = replies(run.model, run.encoding, sources, Manners(), 0, run.options.longest)
    chosen = np.linspace(0, len(some) - 1, min(len(some), _SAMPLES)).astype(np.int64)
    yield section("Samples", "\n".join(_sample(sources[k], wanted[k], found[k]) for k in chosen))
    if run.model.attention is not None:
        given = list(zip(sources, found))
        yield section("What it looks at", attention_pictures(run.model, run.encoding, run.encoding, given))
    yield section("What it says most often", _commonest(found, wanted))


def _sample(source: str, wanted: str, found: str) -> str:
    turns = [(f"turn {k}", [turn.strip()]) for k, turn in enumerate(source.split("\n"), 1)]
    return table([], [*turns, ("replied by somebody", [wanted]), ("by the model", [found])])


def _commonest(found: list[str], wanted: list[str]) -> str:
    """The replies that come most often, and how often people gave them."""
    theirs = Counter(wanted)
    rows = [
        (reply or "nothing", [f"{count / len(found):.1%}", f"{theirs[reply] / len(wanted):.1%}"])
        for reply, count in Counter(found).most_common(_COMMON)
    ]
    return table(["of its replies", "of people's"], rows)
