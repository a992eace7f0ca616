"""The equations of the built-in cells, one file a cell."""

from .greff import CIFG, FGR, NFG, NIAF, NIG, NOAF, NOG, NP
from .gru import GRU
from .lstm import LSTM
from .rnn import RNN
from .slstm import SLSTM

__all__ = ["CIFG", "FGR", "GRU", "LSTM", "NFG", "NIAF", "NIG", "NOAF", "NOG", "NP", "RNN", "SLSTM"]
