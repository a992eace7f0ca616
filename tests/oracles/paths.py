"""Connectionist temporal classification by hand: every path over the frames, one by one, and what each spells."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby, product

Path = tuple[int, ...]
Symbols = tuple[int, ...]
Probabilities = Sequence[Sequence[float]]  # of each frame, (T, K)


def paths(probabilities: Probabilities) -> Iterator[tuple[Path, float]]:
    """All paths with their probabilities."""
    columns = range(len(probabilities[0])) if probabilities else ()
    for path in product(columns, repeat=len(probabilities)):
        yield path, math.prod(frame[label] for frame, label in zip(probabilities, path))


def spelled(path: Path) -> Symbols:
    """Repeats once, and no blanks."""
    return tuple(label for label, _ in groupby(path) if label != 0)


def totals(probabilities: Probabilities) -> dict[Symbols, float]:
    """What can be spelled, and with which probability."""
    found: defaultdict[Symbols, float] = defaultdict(float)
    for path, probability in paths(probabilities):
        found[spelled(path)] += probability
    return dict(found)


def likeliest(probabilities: Probabilities, symbols: Symbols | None = None) -> tuple[Path, float]:
    """The likeliest path of all, or of those that spell the symbols."""
    return max(
        ((path, p) for path, p in paths(probabilities) if symbols is None or spelled(path) == symbols),
        key=lambda found: found[1],
    )


def runs(path: Path) -> list[tuple[int, int]]:
    """The first frame of each symbol of a path, and the first one after it."""
    found, frame = [], 0
    for label, run in groupby(path):
        length = len(list(run))
        if label != 0:
            found.append((frame, frame + length))
        frame += length
    return found
