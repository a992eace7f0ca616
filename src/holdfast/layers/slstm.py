"""The sLSTM as a layer and as a single step."""

from __future__ import annotations

from typing import Any, Unpack

from holdfast import cells

from .options import RecurrentOptions, SingleStepOptions
from .recurrent import Recurrent
from .single import RecurrentCell
from .weights import ForgetBias


class SLSTM(Recurrent):
    """The sLSTM of xLSTM (Beck et al. 2024) over a sequence; its state is (h, c, n, m).

    >>> import torch, holdfast
    >>> output, (h_n, c_n, n_n, m_n) = holdfast.SLSTM(3, 6, heads=2)(torch.randn(7, 2, 3))
    >>> output.shape
    torch.Size([7, 2, 6])

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype:
            as for `LSTM`.
        forget_gate: "sigmoid" or "exp", the two forms of the paper.
        gate_activation: the squashing of the output gate.
        activation: the squashing of the candidate.
        forget_bias, init, max_lag: as for `LSTM`.
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
        forget_gate: str = "sigmoid",
        gate_activation: str = "sigmoid",
        activation: str = "tanh",
        forget_bias: float | None = None,
        init: str | None = None,
        max_lag: int | None = None,
        **options: Unpack[RecurrentOptions],
    ) -> None:
        cell = cells.SLSTM(forget_gate, gate_activation, activation)
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


class SLSTMCell(RecurrentCell):
    """One step of an sLSTM.

    >>> import torch, holdfast
    >>> h, c, n, m = holdfast.SLSTMCell(3, 5)(torch.randn(2, 3))
    >>> h.shape
    torch.Size([2, 5])

    Args:
        input_size, hidden_size, bias, device, dtype: as for `LSTMCell`.
        forget_gate, gate_activation, activation, forget_bias, init, max_lag: as for `SLSTM`.
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
        forget_gate: str = "sigmoid",
        gate_activation: str = "sigmoid",
        activation: str = "tanh",
        forget_bias: float | None = None,
        init: str | None = None,
        max_lag: int | None = None,
        **options: Unpack[SingleStepOptions],
    ) -> None:
        cell = cells.SLSTM(forget_gate, gate_activation, activation)
        forget = ForgetBias.of_options(cell, bias, forget_bias, init, max_lag)
        super().__init__(cell, input_size, hidden_size, bias, device, dtype, _forget=forget, **options)
