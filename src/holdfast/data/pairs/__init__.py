"""Pairs of texts, of which one becomes the other: from files of lines and tables, and dates in many languages."""

from . import dates
from .build import PairManner, Pairs, Ragged, TextPairs, build_pairs, spaced
from .read import Pair, PairReading, read_pairs, sentence

__all__ = [
    "Pair",
    "PairManner",
    "PairReading",
    "Pairs",
    "Ragged",
    "TextPairs",
    "build_pairs",
    "dates",
    "read_pairs",
    "sentence",
    "spaced",
]
