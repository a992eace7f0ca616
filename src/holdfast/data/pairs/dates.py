"""Dates as people write them in many languages, and as ISO 8601 does: pairs of texts for those who have none.

How they are written is what the Unicode project's Common Locale Data Repository (CLDR) says, by Babel. A day belongs to
one part alone: what is tested on was never learned from, in any language.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import numpy as np

from holdfast.extras import require

NAME = "builtin:dates"
LOCALES = (
    *("ar", "bg", "cs", "da", "de", "el", "en", "en_GB", "es", "et", "fa", "fi", "fr", "he", "hi", "hr", "hu"),
    *("id", "it", "ja", "ko", "lt", "lv", "nb", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "th", "tr", "uk"),
    *("vi", "zh"),
)
"""The languages: in none of them the same words mean another day than in another."""
FORMS = ("full", "long", "medium")

_FIRST, _LAST = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
_SHARES = {"train": (0.0, 0.8), "valid": (0.8, 0.9), "test": (0.9, 1.0)}  # of the days, in an order that is drawn once
_ORDER = 20_240_507  # its seed, so that all parts agree


def dates(part: str, count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Days as they are written in some language, and as ISO 8601 writes them.

    >>> next(dates("test", 1, seed=0))[1]
    '1983-11-26'

    Args:
        part: "train", "valid" or "test", which share no day.
        count: how many.
        seed: of the days, the languages and the forms.
    """
    babel = require("babel.dates", "translate")
    days = _days(part)
    draw = np.random.default_rng([seed, len(days)])
    for _ in range(count):
        day = _FIRST + datetime.timedelta(int(draw.choice(days)))
        written = babel.format_date(day, str(draw.choice(FORMS)), str(draw.choice(LOCALES)))
        yield written, day.isoformat()


def version() -> str:
    """The version of Babel, which says how dates are written.

    >>> version()[0].isdecimal()
    True
    """
    return str(require("babel", "translate").__version__)


def _days(part: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The days of a part, counted from the first."""
    order = np.random.default_rng(_ORDER).permutation((_LAST - _FIRST).days + 1)
    begin, end = (int(share * len(order)) for share in _SHARES[part])
    return order[begin:end]
