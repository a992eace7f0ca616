"""What a layer and a single step have in common: a cell that is traced with the options as they are now."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Self, cast

import torch
from torch import nn

from holdfast.engines.choose import check_name
from holdfast.engines.parameters import Sizes, names, specs
from holdfast.language import Cell, CellError, Options, Program, parse
from holdfast.language import trace as trace_cell
from holdfast.language.holding import with_holding
from holdfast.language.outline import with_every_value_shown

from . import checks, naming
from .counterpart import as_pytorch, beyond_pytorch
from .options import wired, zoneout_pair
from .weights import ForgetBias

_TRACED = ("zoneout", "recurrent_dropout", "grad_clip", "recompute")  # options that are part of the traced program
_CHECKED = (*_TRACED, "weight_drop", "dropout", "batch_first", "engine")  # options that may be set at any time
_COUNTS = ("input_size", "hidden_size", "num_layers", "heads")
_FLAGS = ("bias", "bidirectional", "layer_norm", "learn_state")
_FIXED = ("cell", *_COUNTS, "proj_size", *_FLAGS)  # options that the weights depend on
_DERIVED = ("_texts", "_untraceable", "_shown", "_masks", "_weight_names", "_recurrent_weights")


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
    # What follows is traced from the cell and the options, and never saved: see `_DERIVED`.
    _texts: dict[tuple[bool, bool], str]  # by whether it is for training, and whether for a trace
    _untraceable: str | None  # why a trace cannot show the gates
    _shown: dict[bool, tuple[str, ...]]  # what a trace shows, by whether it is in training
    _masks: dict[bool, list[tuple[float, str, str]]]  # by whether for a trace, which may need more
    _weight_names: list[str]
    _recurrent_weights: set[str]

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """A layer to be initialised; an option that its class does not have is refused by name."""
        naming.check_options(TracedModule, cls, options)
        return super().__new__(cls)

    def _options(self) -> Options:
        raise NotImplementedError

    def _places(self) -> list[tuple[str, Sizes]]:
        """The suffix and the sizes of each layer and direction."""
        raise NotImplementedError

    def _name_weights(self) -> None:
        """Note the names that follow from sizes and the program."""

    def __getstate__(self) -> dict[str, Any]:
        state: Mapping[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name not in _DERIVED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a saved state, which may come from a stranger: what it says is checked as what a caller says is."""
        super().__setstate__(state)
        mine = self.__dict__
        for name in _COUNTS:
            if name in mine:
                checks.whole(name, mine[name])
        for name in _FLAGS:
            if name in mine:
                checks.flag(name, mine[name])
        if "proj_size" in mine:
            checks.projection(mine["proj_size"], self.hidden_size)
        checks.divides(self.heads, hidden_size=self.hidden_size, proj_size=mine.get("proj_size", 0))
        if mine.get("num_layers", 1) > sum(1 for _ in self.parameters()):
            raise ValueError(f"num_layers={mine['num_layers']}, but there are fewer tensors than that")
        if not isinstance(self._forget, ForgetBias | None):
            raise TypeError(f"_forget must be a ForgetBias or None; got {type(self._forget).__name__}")
        mine["cell"] = wired(_made_anew(mine["cell"]), self.layer_norm)
        for name in _CHECKED:
            if name in mine:
                mine[name] = self._checked(name, mine[name])
        self._retrace()
        self._name_weights()
        self._check_shapes()

    def _check_shapes(self) -> None:
        """Refuse learned tensors of other shapes than the sizes ask for."""
        for suffix, sizes in self._places():
            for spec in specs(self.program, sizes):
                tensor = self._parameters.get(f"{spec.name}{suffix}")
                if tensor is not None and tuple(tensor.shape) != spec.shape:
                    raise ValueError(f"{spec.name}{suffix} must have shape {spec.shape}; got {tuple(tensor.shape)}")

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
        if "_initial" in self.__dict__ and not (name in _CHECKED and name in naming.options_of(cast(Any, type(self)))):
            self._refuse_if_ignored(name, value)
        if name in _CHECKED:
            value = self._checked(name, value)
        if name in _TRACED and "_texts" in self.__dict__:
            self._set_and_retrace(name, value)
        else:
            super().__setattr__(name, value)

    def _refuse_if_ignored(self, name: str, value: Any) -> None:
        """Refuse to set what looks like an option and would change nothing.

        A derived class may note an option of its cell under the same name.
        """
        kind: Any = type(self)
        if name in naming.every_option(TracedModule):
            if name not in (*naming.options_of(kind), *inspect.signature(type(self.cell)).parameters):
                raise AttributeError(naming.unknown(TracedModule, kind, name))
            if not hasattr(self.cell, name) or repr(getattr(self.cell, name)) != repr(value):
                raise AttributeError(f"{name} is fixed when the layer is made; make another layer")
            return
        plain = isinstance(value, bool | int | float | str | tuple | None) and not name.startswith("_")
        if plain and not hasattr(self, name) and naming.misspelt(kind, name):
            raise AttributeError(naming.unknown(TracedModule, kind, name))

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
        elif name in ("recompute", "batch_first"):
            checks.flag(name, value)
        elif name == "dropout":
            return checks.dropout(value)
        else:
            checks.probability(name, value)
        return value


def _made_anew(cell: Any) -> Any:
    """A cell of ours as its constructor makes it, so that its options are checked; one of the user's as it is."""
    kind = type(cell)
    if not kind.__module__.startswith("holdfast.cells."):
        return cell
    return kind(**{name: getattr(cell, name) for name in inspect.signature(kind).parameters})
