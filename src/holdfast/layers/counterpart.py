"""PyTorch's own layer in the place of a plain one of ours, on the same tensors."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from holdfast.engines import vendor
from holdfast.language import parse

# What only our layers have among their attributes; the rest is PyTorch's or the user's.
_OURS_ONLY = (
    *("cell", "layer_norm", "zoneout", "recurrent_dropout", "weight_drop", "heads", "grad_clip", "recompute"),
    *("learn_state", "engine", "_forget", "_initial", "_states", "_shown", "_suffixes", "_all_weights"),
    *("_texts", "_masks", "_weight_names", "_recurrent_weights", "_returns_one", "_untraceable", "_nonlinearity"),
)

_LAYERS: Mapping[str, Any] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN with tanh": nn.RNN, "RNN with relu": nn.RNN}
_CELLS: Mapping[str, Any] = {
    "LSTM": nn.LSTMCell,
    "GRU": nn.GRUCell,
    "RNN with tanh": nn.RNNCell,
    "RNN with relu": nn.RNNCell,
}


def beyond_pytorch(layer: Any) -> str | None:
    """What a layer of ours has that keeps PyTorch's from taking its place; None if nothing does.

    >>> import holdfast
    >>> beyond_pytorch(holdfast.LSTM(3, 5, peephole=True, learn_state=True))
    'it has learn_state, its equations are not those of a PyTorch layer'
    >>> beyond_pytorch(holdfast.GRU(3, 5, bidirectional=True)) is None
    True
    """
    if parametrize.is_parametrized(layer):
        return "parametrised"
    program = parse(layer._texts[True, False])
    options = [name for name in ("weight_drop", "learn_state") if getattr(layer, name, False)]
    found = [f"it has {', '.join(has)}"] if (has := [*options, *vendor.beside(program)]) else []
    if not vendor.beside(program) and vendor.kernel(program) is None:
        found.append("its equations are not those of a PyTorch layer")
    return ", ".join(found) or None


def as_pytorch(layer: Any) -> nn.Module:
    """PyTorch's layer on the tensors of a plain layer of ours: parameters, hooks, training mode and all."""
    kind = vendor.kernel(parse(layer._texts[True, False]))
    if kind is None:
        raise ValueError(f"{type(layer).__name__} has no counterpart in PyTorch: {beyond_pytorch(layer)}")
    options = {name: getattr(layer, name) for name in ("input_size", "hidden_size", "bias")} | {"device": "meta"}
    if kind.startswith("RNN"):
        options["nonlinearity"] = kind.rpartition(" ")[2]
    if not hasattr(layer, "num_layers"):
        return taken_over(layer, _CELLS[kind](**options), _OURS_ONLY)
    options |= {name: getattr(layer, name) for name in ("num_layers", "batch_first", "bidirectional")}
    if layer.proj_size:
        options["proj_size"] = layer.proj_size
    new = taken_over(layer, _LAYERS[kind](**options), _OURS_ONLY)
    new._init_flat_weights()  # type: ignore[operator]
    return new


def taken_over(old: nn.Module, new: nn.Module, replaced: tuple[str, ...]) -> nn.Module:
    """The new layer with all that PyTorch's module machinery keeps of the old one, and the user's own attributes.

    Args:
        old: the layer whose place is taken.
        new: the one that takes it.
        replaced: attributes of the old layer's class that the new one's has no use for.
    """
    own = vars(nn.Module()).keys()  # parameters, buffers, hooks, training
    for name, value in vars(old).items():
        if name in own or name not in (*vars(new), *replaced):
            vars(new)[name] = value
    if hasattr(old, "dropout"):
        new.dropout = old.dropout  # not by the constructor, which would repeat PyTorch's warning
    for hook in new._load_state_dict_pre_hooks.values():
        if getattr(hook, "with_module", False):  # the only hooks that PyTorch ties to the module itself
            hook.module = weakref.ref(new)  # type: ignore[attr-defined]
    return new
