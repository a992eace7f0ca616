"""Long short-term memory for PyTorch: a cell's equations are written once, and everything else is derived from them."""

from . import cells, language
from .exchange.convert import convert
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
    "GRUCell",
    "LSTMCell",
    "LayerTrace",
    "RNNCell",
    "Recurrent",
    "RecurrentCell",
    "SLSTMCell",
    "Stream",
    "Trace",
    "cells",
    "convert",
    "explain",
    "language",
]
