"""Sequences in, a class or a number out."""

from .task import Classify, Regress, SequenceRun

__all__ = ["Classify", "Regress", "SequenceRun"]
