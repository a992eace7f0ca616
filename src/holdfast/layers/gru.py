"""`torch.nn.GRU` and `torch.nn.GRUCell`, opened up."""

from __future__ import annotations

from typing import Any, Unpack

from holdfast import cells

from . import checks
from .options import RecurrentOptions, SingleStepOptions
from .recurrent import Recurrent
from .single import RecurrentCell


class GRU(Recurrent):
    """The gated recurrent unit over a sequence: `torch.nn.GRU` with options.

    >>> import torch, holdfast
    >>> output, h_n = holdfast.GRU(3, 5, reset_after=False)(torch.randn(7, 2, 3))
    >>> output.shape
    torch.Size([7, 2, 5])

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype: PyTorch's; see
            `Recurrent`.
        reset_after: whether the reset gate acts on U h (PyTorch, cuDNN) or on h before the product (Cho 2014).
        gate_activation: the squashing of r and z.
        activation: the squashing of the candidate n.
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
        device: Any = None,
        dtype: Any = None,
        *,
        reset_after: bool = True,
        gate_activation: str = "sigmoid",
        activation: str = "tanh",
        **options: Unpack[RecurrentOptions],
    ) -> None:
        checks.no_projection(options)
        super().__init__(
            cells.GRU(reset_after, gate_activation, activation),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
            **options,
        )


class GRUCell(RecurrentCell):
    """One step of a GRU: `torch.nn.GRUCell` with options.

    >>> import torch, holdfast
    >>> holdfast.GRUCell(3, 5)(torch.randn(2, 3)).shape
    torch.Size([2, 5])

    Args:
        input_size, hidden_size, bias, device, dtype: PyTorch's.
        reset_after, gate_activation, activation: as for `GRU`.
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
        reset_after: bool = True,
        gate_activation: str = "sigmoid",
        activation: str = "tanh",
        **options: Unpack[SingleStepOptions],
    ) -> None:
        cell = cells.GRU(reset_after, gate_activation, activation)
        super().__init__(cell, input_size, hidden_size, bias, device, dtype, **options)
