"""What a layer and a single step have in common: a cell that is traced with the options as they are now."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from holdfast.engines.choose import check_name
from holdfast.engines.parameters import names
from holdfast.language import Cell, Options, Program, parse
from holdfast.language import trace as trace_cell

from . import checks
from .counterpart import as_pytorch, beyond_pytorch
from .options import zoneout_pair
from .weights import ForgetBias

_TRACED = ("zoneout", "recurrent_dropout", "grad_clip", "recompute")  # options that are part of the traced program
_CHECKED = (*_TRACED, "weight_drop", "engine")  # options that may be set at any time
_SIZES = ("input_size", "hidden_size", "proj_size", "num_layers", "heads")
_FIXED = ("cell", *_SIZES, "bias", "bidirectional", "layer_norm", "learn_state")  # options that the weights depend on


class TracedModule(nn.Module):
    """A module that runs a traced cell; setting an option that is part of the program traces it anew."""

    cell: Cell
    input_size: int
    hidden_size: int
    bias: bool
    layer_norm: bool
    zoneout: tuple[float, float]
    heads: int
    grad_clip: float | None
    engine: str
    _forget: ForgetBias | None
    _initial: dict[str, float | None]
    _texts: dict[tuple[bool, bool], str]  # by whether it is for training, and whether for a trace
    _masks: dict[bool, list[tuple[float, str, str]]]  # by whether for a trace, which may need more
    _weight_names: list[str]
    _recurrent_weights: set[str]

    def _options(self) -> Options:
        raise NotImplementedError

    def _retrace(self) -> None:
        """Trace the cell with the options as they are now."""
        self._texts = {
            (training, shown): trace_cell(self.cell, self._options(), training=training, shown=shown).text()
            for training in (False, True)
            for shown in (False, True)
        }
        self._masks = {
            shown: [(m.probability, m.per, m.wide) for m in parse(self._texts[True, shown]).masks]
            for shown in (False, True)
        }
        program = parse(self._texts[True, False])
        self._weight_names = names(program)
        self._recurrent_weights = {weight.name for weight in program.weights}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run; a profiler sees the call by the layer's name."""
        if not torch.compiler.is_compiling() and torch.autograd.profiler._is_profiler_enabled:
            with torch.autograd.profiler.record_function(f"holdfast.{type(self).__name__}"):
                return super().__call__(*args, **kwargs)
        return super().__call__(*args, **kwargs)

    @property
    def program(self) -> Program:
        """The traced cell as it runs now: in training with masks, in evaluation with their expectation."""
        return parse(self._texts[self.training, False])

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and "_initial" in self.__dict__:
            raise AttributeError(f"{name} is fixed when the layer is made; make another layer")
        if name in _CHECKED:
            value = self._checked(name, value)
        super().__setattr__(name, value)
        if name in _TRACED and "_texts" in self.__dict__:
            self._retrace()

    def __prepare_scriptable__(self) -> nn.Module:
        """What torch.jit.script compiles in the layer's place: PyTorch's own layer on the same tensors."""
        why = beyond_pytorch(self)
        if why is not None:
            raise NotImplementedError(
                f"torch.jit.script takes a plain layer only, in whose place it compiles PyTorch's own; "
                f"{type(self).__name__}({self.extra_repr()}) is none: {why}. torch.export and torch.jit.trace take any"
            )
        return as_pytorch(self)

    def _checked(self, name: str, value: Any) -> Any:
        """The value of an option, if it is one that the option can have."""
        if name == "zoneout":
            return zoneout_pair(self.cell, value)
        if name == "engine":
            check_name(value)
        elif name == "grad_clip":
            checks.positive(name, value)
        elif name == "recompute":
            checks.flag(name, value)
        else:
            checks.probability(name, value)
        return value
