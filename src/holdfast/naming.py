"""Names that a person has spelled another way."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that is most like one that is not known; empty if none is.

    >>> nearest("hiden", ["hidden", "layers"])
    '; did you mean hidden?'
    """
    close = difflib.get_close_matches(name, [*known], 1)
    return f"; did you mean {close[0]}?" if close else ""
