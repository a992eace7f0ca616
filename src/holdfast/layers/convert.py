"""From PyTorch's recurrent layers to ours, inside any model."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from .gru import GRU, GRUCell
from .lstm import LSTM, LSTMCell
from .rnn import RNN, RNNCell

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


def convert(model: nn.Module, *, quiet: bool = False) -> nn.Module:
    """Swap every `nn.LSTM`, `nn.GRU`, `nn.RNN` and their Cell forms inside a model for ours, in place.

    The parameters are the very same tensors, so an optimiser made before goes on working; hooks, names and the training
    mode stay. What was swapped is printed, one line each, and so is what had to be left alone: a subclass, which may
    have a forward of its own, and a layer with parametrisations.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Embedding(10, 3), nn.LSTM(3, 5))
    >>> model = convert(model)
    1: torch.nn.LSTM(3, 5) -> holdfast.LSTM(3, 5)

    Args:
        model: any module.
        quiet: print nothing.

    Returns:
        The model, or, if it is itself one of these layers, our layer in its stead.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    swapped: dict[nn.Module, nn.Module] = {}
    root = _swap(model, "model", swapped, quiet)
    for path, parent in list(root.named_modules()):
        for name, child in parent._modules.items():  # named_children would skip a module that stands in two places
            if child is not None:
                parent._modules[name] = _swap(child, f"{path}.{name}".lstrip("."), swapped, quiet)
    return root


def _swap(module: nn.Module, path: str, swapped: dict[nn.Module, nn.Module], quiet: bool) -> nn.Module:
    """Our layer for a module of PyTorch's; any other module itself. A module met twice has one counterpart."""
    if module in swapped:
        return swapped[module]
    make = _SWAPS.get(type(module))
    if make is None:
        if isinstance(module, tuple(_SWAPS)):
            why = "parametrised" if parametrize.is_parametrized(module) else "a subclass, which may do more"
            _say(quiet, f"{path}: {type(module).__name__} left alone: {why}")
        return module
    new = _taken_over(module, make(module))
    swapped[module] = new
    shown = f"{type(module).__name__}({module.extra_repr()})"  # on one line, whatever children there are
    _say(quiet, f"{path}: torch.nn.{shown} -> holdfast.{type(new).__name__}({new.extra_repr()})")
    return new


def _taken_over(old: nn.Module, new: nn.Module) -> nn.Module:
    """Our layer with all that PyTorch's module machinery keeps of the old one, and the user's own attributes."""
    own = vars(nn.Module()).keys()  # parameters, buffers, hooks, training
    for name, value in vars(old).items():
        if name in own or name not in (*vars(new), *_PYTORCH_ONLY):
            vars(new)[name] = value
    if hasattr(old, "dropout"):
        new.dropout = old.dropout  # not by the constructor, which would repeat PyTorch's warning
    for hook in new._load_state_dict_pre_hooks.values():
        if getattr(hook, "with_module", False):  # the only hooks that PyTorch ties to the module itself
            hook.module = weakref.ref(new)  # type: ignore[attr-defined]
    return new


def _say(quiet: bool, line: str) -> None:
    if not quiet:
        print(line)


def _layer_arguments(module: Any) -> dict[str, Any]:
    names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional")
    return {name: getattr(module, name) for name in names} | {"device": "meta"}


def _cell_arguments(module: Any) -> dict[str, Any]:
    return {name: getattr(module, name) for name in ("input_size", "hidden_size", "bias")} | {"device": "meta"}
