"""Who takes part in a contest: every cell of ours as a layer with a read-out, and a hidden Markov model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from holdfast import cells, layers
from holdfast.language import Cell
from holdfast.layers import Recurrent

from .problem import Batch, Start

HMM = "hmm"
WIDEST, WIDTH = 128, 32  # more symbols than the first are not given one-hot, but as learned codes of that width


class Question(Protocol):
    """What is asked, as far as a model must know it; `Problem` says what the attributes are."""

    symbols: int
    features: int
    outputs: int
    at_end: bool


class Build(Protocol):
    """How a layer is built; `Recipe` says what the attributes are."""

    @property
    def units(self) -> int:
        """How many."""

    @property
    def norm(self) -> bool:
        """Whether there is layer norm."""

    @property
    def start(self) -> Start:
        """What forget gates start from."""


class Reader(nn.Module):
    """A recurrent layer, and a linear read-out of its last output or of all.

    >>> import holdfast
    >>> from holdfast.lab import PROBLEMS
    >>> problem = PROBLEMS["order"](lag=20)
    >>> model = Reader(problem, lambda inputs: holdfast.GRU(inputs, 8))
    >>> model(problem.batch(3, torch.Generator().manual_seed(0))).shape
    torch.Size([3, 4])

    Args:
        problem: what is asked.
        make: makes the layer for a number of inputs.
    """

    def __init__(self, problem: Question, make: Callable[[int], Recurrent]) -> None:
        super().__init__()
        self.at_end = problem.at_end
        self.symbols = problem.symbols
        self.code = nn.Embedding(problem.symbols, WIDTH) if problem.symbols > WIDEST else None
        if self.code is not None:
            nn.init.normal_(self.code.weight, std=WIDTH**-0.5)  # what reaches the gates is as large as from one-hot
        self.layer = make(problem.features or (problem.symbols if self.code is None else WIDTH))
        self.read_out = nn.Linear(self.layer.proj_size or self.layer.hidden_size, problem.outputs)

    def forward(self, batch: Batch) -> Tensor:
        """The answers, (B, O) at the end or (T, B, O) at every step."""
        x = batch.x
        if self.code is not None:
            x = self.code(x)  # (T, B, WIDTH)
        elif self.symbols:
            x = F.one_hot(x, self.symbols).to(self.read_out.weight.dtype)  # (T, B, symbols)
        even = bool((batch.lengths == len(x)).all())
        output, state = self.layer(x, lengths=None if even else batch.lengths)
        last = (state[0] if isinstance(state, tuple) else state)[-1]
        answer: Tensor = self.read_out(last if self.at_end else output)
        return answer


def initialised(build: Callable[[], Reader], generator: Generator) -> Reader:
    """What `build` makes, its weights drawn by `generator` and not by PyTorch's global one, which stays as it is.

    >>> import holdfast
    >>> from holdfast.lab import PROBLEMS
    >>> def build():
    ...     return Reader(PROBLEMS["adding"](), lambda inputs: holdfast.RNN(inputs, 4))
    >>> a, b = (initialised(build, torch.Generator().manual_seed(1)) for _ in range(2))
    >>> torch.equal(a.read_out.weight, b.read_out.weight)
    True
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return build()


@dataclass(frozen=True)
class Contestant:
    """A cell that takes part.

    Attributes:
        name: as on the command line.
        summary: what it is.
        make: makes a layer from the number of inputs, the lag and how it is built.
    """

    name: str
    summary: str
    make: Callable[[int, int, Build], Recurrent]


def _forgetting(cls: Callable[..., Recurrent], inputs: int, lag: int, build: Build) -> Recurrent:
    """A layer whose forget gate starts as it is to."""
    biases: dict[str, dict[str, Any]] = {
        "keep": {"forget_bias": math.log(10 * _known(lag))},  # f = 1 - 1 / (10 lag)
        "chrono": {"init": "chrono", "max_lag": _known(lag)},
        "forget": {"forget_bias": 1.0},
        "pytorch": {},
    }
    return cls(inputs, build.units, layer_norm=build.norm, **biases[build.start])


def _updating(cls: Callable[..., Recurrent], inputs: int, lag: int, build: Build) -> Recurrent:
    """A GRU, whose update gate keeps or writes: one that kept for ever would write nothing, so it starts by chrono."""
    layer = cls(inputs, build.units, layer_norm=build.norm)
    if build.start in ("keep", "chrono"):
        with torch.no_grad():
            rows = slice(build.units, 2 * build.units)  # of z, after r
            own, other = layer.get_parameter("bias_ih_l0")[rows], layer.get_parameter("bias_hh_l0")[rows]
            own.uniform_(1, _known(lag) - 1).log_()
            other.zero_()
    return layer


def _plain(cls: Callable[..., Recurrent], inputs: int, lag: int, build: Build) -> Recurrent:
    return cls(inputs, build.units, layer_norm=build.norm)


def _variant(cell: type[Cell], inputs: int, lag: int, build: Build) -> Recurrent:
    return Recurrent(cell(), inputs, build.units, layer_norm=build.norm)


def _known(lag: int) -> int:
    return max(3, lag)  # the least that the chrono initialisation takes


def _first_line(cell: type) -> str:
    return (cell.__doc__ or "").splitlines()[0].rstrip(".")


_GRU_2014 = partial(layers.GRU, reset_after=False)
_LSTM_PEEPHOLE = partial(layers.LSTM, peephole=True)

CONTESTANTS: dict[str, Contestant] = {
    one.name: one
    for one in (
        Contestant("lstm", "the LSTM", partial(_forgetting, layers.LSTM)),
        Contestant("gru", "the GRU, as in PyTorch", partial(_updating, layers.GRU)),
        Contestant("rnn", "the plain tanh RNN", partial(_plain, layers.RNN)),
        Contestant("slstm", "the sLSTM", partial(_forgetting, layers.SLSTM)),
        Contestant("gru-2014", "the GRU as first published", partial(_updating, _GRU_2014)),
        Contestant("lstm-peephole", "the LSTM with peepholes", partial(_forgetting, _LSTM_PEEPHOLE)),
        *(
            Contestant(cell.__name__.lower(), f"{cell.__name__}: {_first_line(cell)}", partial(_variant, cell))
            for cell in (cells.NIG, cells.NFG, cells.NOG, cells.NIAF, cells.NOAF, cells.NP, cells.CIFG, cells.FGR)
        ),
    )
}
