"""Sequences in, a class or a number out."""

from .answers import Answers
from .estimator import SequenceClassifier, SequenceRegressor
from .task import Classify, Regress, SequenceRun

__all__ = ["Answers", "Classify", "Regress", "SequenceClassifier", "SequenceRegressor", "SequenceRun"]
