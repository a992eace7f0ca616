"""Which engine runs a call, and why."""

from __future__ import annotations

from typing import NamedTuple

ENGINES = ("auto", "reference")


class Choice(NamedTuple):
    """An engine and the reason for it."""

    engine: str
    reason: str


def choose(asked: str) -> Choice:
    """The engine for what a layer was asked to use.

    >>> choose("auto").engine
    'reference'
    """
    if asked not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}; got {asked!r}")
    if asked == "reference":
        return Choice("reference", "asked for by name")
    return Choice("reference", "PyTorch operations, step by step: the only engine there is so far")
