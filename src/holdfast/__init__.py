"""Long short-term memory for PyTorch: a cell's equations are written once, and everything else is derived from them."""

import importlib
from typing import TYPE_CHECKING, Any

from . import cells, language
from .imported import when_imported
from .language import Cell, CellError

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

# The modules of names that need PyTorch: each is imported when one of its names is first asked for.
_LATER = {
    "Forecaster": ".tasks.forecasting",
    "SequenceClassifier": ".tasks.classification",
    "SequenceRegressor": ".tasks.classification",
    "convert": ".layers.convert",
    "Explanation": ".layers.explain",
    "explain": ".layers.explain",
    "load": ".tasks",
    **dict.fromkeys(("GRU", "LSTM", "RNN", "SLSTM", "GRUCell", "LSTMCell", "RNNCell", "SLSTMCell"), ".layers"),
    **dict.fromkeys(("LayerTrace", "Recurrent", "RecurrentCell", "Stream", "Trace"), ".layers"),
}
_MODULES = ("engines", "layers", "tasks")

if TYPE_CHECKING:
    from . import tasks
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
    from .tasks import load
    from .tasks.classification import SequenceClassifier, SequenceRegressor
    from .tasks.forecasting import Forecaster


def __getattr__(name: str) -> Any:
    """What brings PyTorch or the applications with it is imported when it is first asked for."""
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_LATER[name], __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _bring_layers() -> None:
    importlib.import_module(".layers", __name__)


# `torch.load` and `torch.export.load` must know layers and operators after `import holdfast`, whichever comes first.
when_imported("torch", _bring_layers)
