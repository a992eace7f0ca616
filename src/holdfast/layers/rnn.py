"""`torch.nn.RNN` and `torch.nn.RNNCell`, opened up."""

from __future__ import annotations

from typing import Any, Unpack

from holdfast import cells

from . import checks
from .options import RecurrentOptions, SingleStepOptions
from .recurrent import Recurrent
from .single import RecurrentCell


class RNN(Recurrent):
    """The plain recurrent network over a sequence: `torch.nn.RNN` with options.

    >>> import torch, holdfast
    >>> output, h_n = holdfast.RNN(3, 5, nonlinearity="relu")(torch.randn(7, 2, 3))
    >>> output.shape
    torch.Size([7, 2, 5])

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype: PyTorch's; see
            `Recurrent`.
        nonlinearity: PyTorch's name for `activation`: "tanh" or "relu".
        activation: the squashing, by any name that the other cells take; it wins over `nonlinearity`.
        **options: those of every cell; see `Recurrent`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        activation: str | None = None,
        **options: Unpack[RecurrentOptions],
    ) -> None:
        checks.no_projection(options)
        checks.nonlinearity(nonlinearity, activation)
        super().__init__(
            cells.RNN(activation or nonlinearity),
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
        self._nonlinearity = nonlinearity

    @property
    def nonlinearity(self) -> str:
        """PyTorch's attribute."""
        return self._nonlinearity

    @property
    def mode(self) -> str:
        """ "RNN_TANH" or "RNN_RELU": PyTorch's attribute."""
        return f"RNN_{self.nonlinearity.upper()}"


class RNNCell(RecurrentCell):
    """One step of a plain recurrent network: `torch.nn.RNNCell` with options.

    >>> import torch, holdfast
    >>> holdfast.RNNCell(3, 5)(torch.randn(2, 3)).shape
    torch.Size([2, 5])

    Args:
        input_size, hidden_size, bias, nonlinearity, device, dtype: PyTorch's.
        activation: as for `RNN`.
        **options: those of every single-step cell; see `RecurrentCell`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
        *,
        activation: str | None = None,
        **options: Unpack[SingleStepOptions],
    ) -> None:
        checks.nonlinearity(nonlinearity, activation)
        super().__init__(cells.RNN(activation or nonlinearity), input_size, hidden_size, bias, device, dtype, **options)
        self._nonlinearity = nonlinearity

    @property
    def nonlinearity(self) -> str:
        """PyTorch's attribute."""
        return self._nonlinearity
