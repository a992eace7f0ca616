"""What a layer and a single step have in common: a cell that is traced with the options as they are now."""

from __future__ import annotations

from typing import Any

from torch import nn

from holdfast.engines.choose import check_name
from holdfast.engines.parameters import names
from holdfast.language import Cell, CellError, Options, Program, parse
from holdfast.language import trace as trace_cell
from holdfast.language.holding import with_holding
from holdfast.language.outline import with_every_value_shown

from . import checks
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
    _held: tuple[str, ...] = ()  # the values that can be held
    _every_value: bool = False  # whether a trace shows all, and not the gates
    # What follows is traced from the cell and the options, and never read from a file.
    _texts: dict[tuple[bool, bool], str]  # by whether it is for training, and whether for a trace
    _untraceable: str | None  # why a trace cannot show the gates
    _shown: dict[bool, tuple[str, ...]]  # what a trace shows, by whether it is in training
    _masks: dict[bool, list[tuple[float, str, str]]]  # by whether for a trace, which may need more
    _weight_names: list[str]
    _recurrent_weights: set[str]

    def _options(self) -> Options:
        raise NotImplementedError

    def _retrace(self) -> None:
        """Trace the cell with the options as they are now; what is held or shown stays so."""
        texts = {(training, False): self._traced(training, shown=False).text() for training in (False, True)}
        untraceable = None
        try:
            texts |= {(training, True): self._traced(training, shown=True).text() for training in (False, True)}
        except CellError as error:  # the layer runs all the same, and raises where it is asked for a trace
            untraceable = str(error)
        programs = {key: parse(text) for key, text in texts.items()}
        self._texts, self._untraceable = texts, untraceable
        self._shown = {
            training: tuple(name for name, _ in p.shown) for (training, shown), p in programs.items() if shown
        }
        self._masks = {
            shown: [(m.probability, m.per, m.wide) for m in program.masks]
            for (training, shown), program in programs.items()
            if training
        }
        self._weight_names = names(programs[True, False])
        self._recurrent_weights = {weight.name for weight in programs[True, False].weights}

    def _traced(self, training: bool, shown: bool) -> Program:
        program = trace_cell(self.cell, self._options(), training=training, shown=shown and not self._every_value)
        for name in self._held:
            program = with_holding(program, name)
        return with_every_value_shown(program) if shown and self._every_value else program

    def _make_holdable(self, name: str) -> None:
        """Let a value be held; the numbers that hold it are the last of the weights."""
        if name not in self._held:
            self._set_and_retrace("_held", (*self._held, name))

    def _show_every_value(self) -> None:
        self._set_and_retrace("_every_value", True)

    def _set_and_retrace(self, name: str, value: Any) -> None:
        """Set what the program depends on; if there is no such program, nothing is changed."""
        before = getattr(self, name)
        super().__setattr__(name, value)
        try:
            self._retrace()
        except Exception:
            super().__setattr__(name, before)
            raise

    @property
    def program(self) -> Program:
        """The traced cell as it runs now: in training with masks, in evaluation with their expectation."""
        return parse(self._texts[self.training, False])

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and "_initial" in self.__dict__:
            raise AttributeError(f"{name} is fixed when the layer is made; make another layer")
        if name in _CHECKED:
            value = self._checked(name, value)
        if name in _TRACED and "_texts" in self.__dict__:
            self._set_and_retrace(name, value)
        else:
            super().__setattr__(name, value)

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
