"""The long-lag tasks, and contests of recurrent layers on them."""

from .adding import AddingProblem, Point, Recipe, SumReader, evaluate, initialised, train

__all__ = ["AddingProblem", "Point", "Recipe", "SumReader", "evaluate", "initialised", "train"]
