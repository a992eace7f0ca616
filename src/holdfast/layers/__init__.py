"""Recurrent layers as PyTorch modules."""

from .gru import GRU, GRUCell
from .lstm import LSTM, LSTMCell
from .recurrent import LayerTrace, Recurrent, Trace
from .rnn import RNN, RNNCell
from .single import RecurrentCell
from .slstm import SLSTM, SLSTMCell

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
    "Trace",
]
