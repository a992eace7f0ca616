"""Recurrent layers as PyTorch modules."""

from . import saving  # noqa: F401  # by importing it PyTorch learns what may be loaded
from .gru import GRU, GRUCell
from .lstm import LSTM, LSTMCell
from .recurrent import Recurrent
from .rnn import RNN, RNNCell
from .single import RecurrentCell
from .slstm import SLSTM, SLSTMCell
from .stream import Stream
from .tracing import LayerTrace, Trace

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SLSTM",
    "GRUCell",
    "LSTMCell",
    "LayerTrace",
    "RNNCell",
    "Recurrent",
    "RecurrentCell",
    "SLSTMCell",
    "Stream",
    "Trace",
]
