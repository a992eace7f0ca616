"""What a saved layer holds may be loaded by `torch.load(weights_only=True)`.

Nothing of it runs code from the file. A layer takes sizes, options and tensors from its state and checks them; what is
traced from the cell, programs above all, is never saved, and a cell of ours is made anew by its constructor.
"""

from __future__ import annotations

import torch

from holdfast import cells

from .gru import GRU, GRUCell
from .lstm import LSTM, LSTMCell
from .recurrent import Recurrent
from .rnn import RNN, RNNCell
from .single import RecurrentCell
from .slstm import SLSTM, SLSTMCell
from .weights import ForgetBias

LAYERS = (GRU, LSTM, RNN, SLSTM, Recurrent, GRUCell, LSTMCell, RNNCell, SLSTMCell, RecurrentCell)
CELLS = tuple(getattr(cells, name) for name in cells.__all__)

torch.serialization.add_safe_globals([*LAYERS, *CELLS, ForgetBias])
