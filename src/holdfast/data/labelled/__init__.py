"""Labelled sequences from files: texts, and series of numbers, one example after the other."""

from .example import Example, Reading
from .read import examples
from .sieve import Sieve

__all__ = ["Example", "Reading", "Sieve", "examples"]
