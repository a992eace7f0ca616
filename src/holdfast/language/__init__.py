"""The cell language: equations in, graphs and derivatives out. Standard library only."""

from .cell import Cell, Options, mask, parameter, recur, trace
from .derivative import Derivative, derive
from .errors import CellError
from .program import Program, parse
from .symbols import (
    Value,
    abs,
    clip,
    exp,
    hard_sigmoid,
    layer_norm,
    log,
    maximum,
    minimum,
    relu,
    sigmoid,
    softplus,
    sqrt,
    tanh,
    where,
)
from .typeset import equations, latex

__all__ = [
    "Cell",
    "CellError",
    "Derivative",
    "Options",
    "Program",
    "Value",
    "abs",
    "clip",
    "derive",
    "equations",
    "exp",
    "hard_sigmoid",
    "latex",
    "layer_norm",
    "log",
    "mask",
    "maximum",
    "minimum",
    "parameter",
    "parse",
    "recur",
    "relu",
    "sigmoid",
    "softplus",
    "sqrt",
    "tanh",
    "trace",
    "where",
]
