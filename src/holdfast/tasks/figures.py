"""How measures are written."""

from __future__ import annotations


def shown(value: float | None) -> str:
    """A measure as a table shows it.

    >>> shown(111539), shown(1.44953), shown(123456.7), shown(None)
    ('111,539', '1.4495', '123,457', '–')
    """
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}" if abs(value) < 1000 else f"{value:,.0f}"
