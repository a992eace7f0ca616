"""Labelled sequences from files: texts, series of numbers, and recordings, one example after the other."""

from .example import Content, Example, Fault, Kind, Reading, content_of, label_of
from .read import examples, recordings
from .sieve import Sieve

__all__ = [
    "Content",
    "Example",
    "Fault",
    "Kind",
    "Reading",
    "Sieve",
    "content_of",
    "examples",
    "label_of",
    "recordings",
]
