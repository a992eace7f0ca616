"""How much of a piece a run has learned by heart: its longest passage that stands in the training data."""

from __future__ import annotations

from typing import Any

import numpy as np

from holdfast.data.music import Pieces

from .novelty import Copied, Known
from .run import ComposeRun, beats_of

Array = np.ndarray[Any, Any]

_MOST = 500_000  # steps that are looked through
_TRANSPOSED = sorted(range(-11, 12), key=abs)  # at the same pitch first


class Learned:
    """The training pieces of a run, in which passages are looked for, at any pitch.

    Args:
        run: the run.
        train: what it learned from; of more than half a million frames or events the first pieces are looked through.

    Attributes:
        where: what is looked through, in words.
    """

    def __init__(self, run: ComposeRun, train: Pieces) -> None:
        self._run, self._train = run, train
        count = min(len(train), int(np.searchsorted(np.cumsum(train.lengths), _MOST)) + 1)
        self.where = "the training data"
        if count < len(train):
            self.where = f"the first {count:,} of {len(train):,} training pieces"
        self._known = Known([train.of(k) for k in range(count)], self._moved, _TRANSPOSED)

    def _moved(self, piece: Array, by: int) -> Array | None:
        form = self._run.form
        down, up = form.room(piece)
        return form.transposed(piece, by) if -down <= by <= up else None

    def longest(self, piece: Array) -> Copied:
        """The longest passage of a piece that stands there."""
        return self._known.longest(piece)

    def words(self, piece: Array, copied: Copied) -> str:
        """What was found of a piece, in words."""
        run = self._run
        if not copied.length:
            return f"nothing of it stands in {self.where}"
        passage = piece[copied.start : copied.start + copied.length]
        bars = run.form.beats(passage, run.grid) / beats_of(run.meter)
        moved = ""
        if copied.by:
            far = f"{abs(copied.by)} semitone{'s' if abs(copied.by) > 1 else ''}"
            moved = f", {far} {'higher' if copied.by > 0 else 'lower'}"
        where = f"in {self._train.name(copied.piece)}{moved}"
        if copied.length == 1:
            return f"1 {run.form.unit.removesuffix('s')} of it ({bars:.1f} bars) stands {where}"
        return f"{copied.length:,} {run.form.unit} of it ({bars:.1f} bars) stand {where}"
