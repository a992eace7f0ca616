"""Long short-term memory for PyTorch: a cell's equations are written once, and everything else is derived from them."""

import importlib
from typing import TYPE_CHECKING, Any

from . import cells, language
from .language import Cell, CellError
from .layers import (
    GRU,
    LSTM,
    RNN,
    SLSTM,
    GRUCell,
    LayerTrace,
    LSTMCell,
    Recurrent,
    RecurrentCell,
    RNNCell,
    SLSTMCell,
    Stream,
    Trace,
)
from .layers.convert import convert
from .layers.explain import Explanation, explain

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SLSTM",
    "Cell",
    "CellError",
    "Explanation",
    "Forecaster",
    "GRUCell",
    "LSTMCell",
    "LayerTrace",
    "RNNCell",
    "Recurrent",
    "RecurrentCell",
    "SLSTMCell",
    "SequenceClassifier",
    "SequenceRegressor",
    "Stream",
    "Trace",
    "cells",
    "convert",
    "explain",
    "language",
    "load",
    "tasks",
]

_ESTIMATORS = {
    "Forecaster": ".tasks.forecasting",
    "SequenceClassifier": ".tasks.classification",
    "SequenceRegressor": ".tasks.classification",
}

if TYPE_CHECKING:
    from . import tasks
    from .tasks import load
    from .tasks.classification import SequenceClassifier, SequenceRegressor
    from .tasks.forecasting import Forecaster


def __getattr__(name: str) -> Any:
    """What brings the applications with it is imported when it is first asked for."""
    if name == "tasks":
        return importlib.import_module(".tasks", __name__)
    if name == "load":
        return importlib.import_module(".tasks", __name__).load
    if name in _ESTIMATORS:
        return getattr(importlib.import_module(_ESTIMATORS[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
