"""Composition: music in, more music of the kind out."""

from .learned import Learned
from .options import ComposeOptions
from .report import drawn
from .run import Composed, ComposeRun
from .task import Compose, fit

__all__ = ["Compose", "ComposeOptions", "ComposeRun", "Composed", "Learned", "drawn", "fit"]
