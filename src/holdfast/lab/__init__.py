"""The long-lag tasks, and contests of recurrent layers on them."""

from .contestants import CONTESTANTS, HMM, Contestant, Reader, initialised
from .problem import Batch, Problem, Recipe, Score
from .registry import PROBLEMS
from .trial import Outcome, Point

__all__ = [
    "CONTESTANTS",
    "HMM",
    "PROBLEMS",
    "Batch",
    "Contestant",
    "Outcome",
    "Point",
    "Problem",
    "Reader",
    "Recipe",
    "Score",
    "initialised",
]
