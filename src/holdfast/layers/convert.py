"""From PyTorch's recurrent layers to ours, inside any model, and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.utils import parametrize

from .counterpart import as_pytorch, beyond_pytorch, taken_over
from .gru import GRU, GRUCell
from .lstm import LSTM, LSTMCell
from .recurrent import Recurrent
from .rnn import RNN, RNNCell
from .single import RecurrentCell
from .traced import TracedModule

# The exact classes: a subclass may have a forward of its own, which a swap would lose.
_SWAPS: Mapping[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.LSTM: lambda m: LSTM(**_layer_arguments(m), proj_size=m.proj_size),
    nn.GRU: lambda m: GRU(**_layer_arguments(m)),
    nn.RNN: lambda m: RNN(**_layer_arguments(m), nonlinearity=m.mode.removeprefix("RNN_").lower()),
    nn.LSTMCell: lambda m: LSTMCell(**_cell_arguments(m)),
    nn.GRUCell: lambda m: GRUCell(**_cell_arguments(m)),
    nn.RNNCell: lambda m: RNNCell(**_cell_arguments(m), nonlinearity=m.nonlinearity),
}


_PYTORCH_ONLY = ("_flat_weights", "_flat_weights_names", "_flat_weight_refs", "mode")


def convert(model: nn.Module, *, to: str = "holdfast", quiet: bool = False, strict: bool = False) -> nn.Module:
    """Swap every `nn.LSTM`, `nn.GRU`, `nn.RNN` and their Cell forms inside a model for ours, in place, or back.

    The parameters are the very same tensors, so an optimiser made before goes on working; hooks, names and the training
    mode stay. What was swapped is printed, one line each, and so is what had to be left alone: a subclass, which may
    have a forward of its own, a layer with parametrisations, a scripted or quantised layer, and, on the way to PyTorch,
    a layer with options that PyTorch's layers do not have. A parent that is known to test for PyTorch's class is
    warned of.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Embedding(10, 3), nn.LSTM(3, 5))
    >>> model = convert(model)
    1: torch.nn.LSTM(3, 5) -> holdfast.LSTM(3, 5)
    >>> model = convert(model, to="torch")
    1: holdfast.LSTM(3, 5) -> torch.nn.LSTM(3, 5)

    Args:
        model: any module.
        to: "holdfast", or "torch" for the way back: exporters and quantisers of others know PyTorch's classes only.
        quiet: print nothing.
        strict: raise an error, and swap nothing, where a recurrent layer would be left alone.

    Returns:
        The model, or, if it is itself one of these layers, the other's layer in its stead.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if to not in _WAYS:
        raise ValueError(f"to must be 'holdfast' or 'torch', got {to!r}")
    way = _WAYS[to]
    if strict:
        kept = [f"{path or 'model'}: {why}" for path, module in model.named_modules() if (why := way.refusal(module))]
        if kept:
            raise ValueError(f"convert(strict=True) would leave {len(kept)} of the recurrent layers: {'; '.join(kept)}")
    swapped: dict[nn.Module, nn.Module] = {}
    root = _swap(model, "model", way, swapped, quiet)
    for path, parent in list(root.named_modules()):
        for name, child in parent._modules.items():  # named_children would skip a module that stands in two places
            if child is not None:
                parent._modules[name] = _swap(child, f"{path}.{name}".lstrip("."), way, swapped, quiet)
        if to == "holdfast":
            _warn_of(parent, path or "model", swapped)
    return root


class _Way(NamedTuple):
    """One direction of `convert`.

    Attributes:
        refusal: why a recurrent layer must be left alone, with its name; None for one that need not, and for others.
        counterpart: the layer that takes a layer's place; None for a module that is no such layer.
    """

    refusal: Callable[[nn.Module], str | None]
    counterpart: Callable[[nn.Module], nn.Module | None]


def _ours(module: nn.Module) -> nn.Module | None:
    make = _SWAPS.get(type(module))
    return None if make is None else taken_over(module, make(module), _PYTORCH_ONLY)


def _refusal_of_theirs(module: nn.Module) -> str | None:
    name = type(module).__name__
    if isinstance(module, tuple(_SWAPS)) and type(module) not in _SWAPS:
        why = "parametrised" if parametrize.is_parametrized(module) else "a subclass, which may do more"
        return f"{name} left alone: {why}"
    if isinstance(module, torch.jit.ScriptModule) and module.original_name in _NAMES:
        return f"{module.original_name} left alone: scripted, its code is fixed"
    if name in _NAMES and ".ao.nn." in f".{type(module).__module__}.":
        return f"{name} left alone: quantised, its weights are not tensors that ours could read"
    return None


def _theirs(module: nn.Module) -> nn.Module | None:
    if type(module) not in _BACK or beyond_pytorch(module) is not None:
        return None
    return as_pytorch(module)


def _refusal_of_ours(module: nn.Module) -> str | None:
    if not isinstance(module, TracedModule):
        return None
    why = beyond_pytorch(module)
    if why is None and type(module) not in _BACK:
        why = "a subclass, which may do more"
    return None if why is None else f"{type(module).__name__} left alone: {why}"


_NAMES = [kind.__name__ for kind in _SWAPS]
_BACK = (LSTM, GRU, RNN, Recurrent, LSTMCell, GRUCell, RNNCell, RecurrentCell)
_WAYS = {"holdfast": _Way(_refusal_of_theirs, _ours), "torch": _Way(_refusal_of_ours, _theirs)}


def _swap(module: nn.Module, path: str, way: _Way, swapped: dict[nn.Module, nn.Module], quiet: bool) -> nn.Module:
    """The counterpart of a recurrent layer; any other module itself. A module met twice has one counterpart."""
    if module in swapped:
        return swapped[module]
    new = way.counterpart(module)
    if new is None:
        refusal = way.refusal(module)
        if refusal is not None:
            _say(quiet, f"{path}: {refusal}")
        return module
    swapped[module] = new
    _say(quiet, f"{path}: {_shown(module)} -> {_shown(new)}")
    return new


def _shown(layer: nn.Module) -> str:
    """A layer on one line, whatever children there are."""
    library = "holdfast" if isinstance(layer, TracedModule) else "torch.nn"
    return f"{library}.{type(layer).__name__}({layer.extra_repr()})"


def _warn_of(parent: nn.Module, path: str, swapped: Mapping[nn.Module, nn.Module]) -> None:
    """Warn of a parent that calls PyTorch's class otherwise than any other."""
    bases = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(parent).__mro__}
    inner = any(child in swapped.values() for child in parent._modules.values() if child is not None)
    if inner and bases & {"torchrl.LSTMModule", "torchrl.GRUModule"} and not hasattr(parent, "resets_by_holdfast"):
        warnings.warn(
            f"{path}: {type(parent).__name__} of torchrl calls any layer but PyTorch's with mask=, at the first reset "
            "within a batch; docs/clients.md has a subclass that passes reset= instead",
            stacklevel=3,
        )


def _say(quiet: bool, line: str) -> None:
    if not quiet:
        print(line)


def _layer_arguments(module: Any) -> dict[str, Any]:
    names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional")
    return {name: getattr(module, name) for name in names} | {"device": "meta"}


def _cell_arguments(module: Any) -> dict[str, Any]:
    return {name: getattr(module, name) for name in ("input_size", "hidden_size", "bias")} | {"device": "meta"}
