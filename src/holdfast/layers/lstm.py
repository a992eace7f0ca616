"""`torch.nn.LSTM` and `torch.nn.LSTMCell`, opened up."""

from __future__ import annotations

from typing import Any, Unpack

from holdfast import cells

from .options import RecurrentOptions, SingleStepOptions
from .recurrent import Recurrent
from .single import RecurrentCell
from .weights import ForgetBias


class LSTM(Recurrent):
    """Long short-term memory over a sequence: `torch.nn.LSTM` with options.

    >>> import torch, holdfast
    >>> layer = holdfast.LSTM(3, 5, peephole=True, layer_norm=True)
    >>> output, (h_n, c_n) = layer(torch.randn(7, 2, 3))
    >>> output.shape, c_n.shape
    (torch.Size([7, 2, 5]), torch.Size([1, 2, 5]))

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype:
            PyTorch's; see `Recurrent`.
        peephole: i and f see p⊙c of the step before, o sees p⊙c of this step (Gers 2002); `weight_ch_l0`, (3, H), rows
            i, f, o; coupled: (2, H), rows i, o.
        coupled: f = 1 - i; the weights have no f rows (CIFG, Greff 2015).
        cell_clip: a bound on each entry of c.
        gate_activation: the squashing of i, f, o: "sigmoid" or "hard_sigmoid".
        activation: the squashing of g and of the shown c: "tanh", "relu", "identity" …
        forget_bias: what the two biases of the forget gate sum up to at the start.
        init: None for PyTorch's initialisation; "chrono" also sets b_f = log U(1, max_lag - 1) and b_i = -b_f
            (Tallec 2018).
        max_lag: the longest lag to expect, for "chrono".
        **options: those of every cell; see `Recurrent`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        peephole: bool = False,
        coupled: bool = False,
        cell_clip: float | None = None,
        gate_activation: str = "sigmoid",
        activation: str = "tanh",
        forget_bias: float | None = None,
        init: str | None = None,
        max_lag: int | None = None,
        **options: Unpack[RecurrentOptions],
    ) -> None:
        cell = cells.LSTM(peephole, coupled, cell_clip, gate_activation, activation)
        forget = ForgetBias.of_options(cell, bias, forget_bias, init, max_lag)
        super().__init__(
            cell,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
            _forget=forget,
            **options,
        )


class LSTMCell(RecurrentCell):
    """One step of an LSTM: `torch.nn.LSTMCell` with options.

    >>> import torch, holdfast
    >>> h, c = holdfast.LSTMCell(3, 5)(torch.randn(2, 3))
    >>> h.shape, c.shape
    (torch.Size([2, 5]), torch.Size([2, 5]))

    Args:
        input_size, hidden_size, bias, device, dtype: PyTorch's.
        peephole, coupled, cell_clip, gate_activation, activation, forget_bias, init, max_lag: as for `LSTM`.
        **options: those of every single-step cell; see `RecurrentCell`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        peephole: bool = False,
        coupled: bool = False,
        cell_clip: float | None = None,
        gate_activation: str = "sigmoid",
        activation: str = "tanh",
        forget_bias: float | None = None,
        init: str | None = None,
        max_lag: int | None = None,
        **options: Unpack[SingleStepOptions],
    ) -> None:
        cell = cells.LSTM(peephole, coupled, cell_clip, gate_activation, activation)
        forget = ForgetBias.of_options(cell, bias, forget_bias, init, max_lag)
        super().__init__(cell, input_size, hidden_size, bias, device, dtype, _forget=forget, **options)
