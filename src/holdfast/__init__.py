"""Long short-term memory for Python: a cell's equations are written once, and everything else is derived from them."""

from . import cells, language
from .language import Cell, CellError
from .layers import GRU, LSTM, RNN, SLSTM, GRUCell, LSTMCell, Recurrent, RecurrentCell, RNNCell, SLSTMCell

__version__ = "0.1.0"
__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SLSTM",
    "Cell",
    "CellError",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Recurrent",
    "RecurrentCell",
    "SLSTMCell",
    "cells",
    "language",
]
