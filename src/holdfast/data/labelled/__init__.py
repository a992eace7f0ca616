"""Labelled sequences from files: texts, and series of numbers, one example after the other."""

from .example import Content, Example, Fault, Kind, Reading, content_of, label_of
from .read import examples
from .sieve import Sieve

__all__ = ["Content", "Example", "Fault", "Kind", "Reading", "Sieve", "content_of", "examples", "label_of"]
