"""What the recurrent layers inside a model did on an input: every gate and state, at every step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from holdfast.layers import LayerTrace, Recurrent
from holdfast.layers.convert import convert


class MicroscopeError(ValueError):
    """Something that cannot be looked at; the message says why."""


@dataclass(frozen=True)
class Recording:
    """What a model's recurrent layers did.

    Attributes:
        output: what the model returned.
        layers: gates and states, each (T, B, H), by the layer's place in the model, such as "encoder.l0" or
            "layers.1.l0_reverse".
    """

    output: Any
    layers: dict[str, LayerTrace]

    def __getitem__(self, name: str) -> LayerTrace:
        """What one layer did."""
        if name not in self.layers:
            raise MicroscopeError(f"there is no layer {name!r}; there are {', '.join(self.layers)}")
        return self.layers[name]


def record(model: nn.Module, *inputs: Any, **named: Any) -> Recording:
    """Run a model in evaluation and keep every gate and state of its recurrent layers.

    The layers may be ours or PyTorch's `nn.LSTM`, `nn.GRU` and `nn.RNN`; the model itself is left as it is.

    >>> import torch
    >>> from torch import nn
    >>> class Tagger(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.rnn, self.out = nn.LSTM(3, 5), nn.Linear(5, 2)
    ...     def forward(self, x):
    ...         return self.out(self.rnn(x)[0])
    >>> seen = record(Tagger(), torch.randn(7, 2, 3))
    >>> list(seen.layers), list(seen["rnn.l0"].gates), seen["rnn.l0"].states["c"].shape
    (['rnn.l0'], ['i', 'f', 'g', 'o'], torch.Size([7, 2, 5]))

    Args:
        model: any module with recurrent layers in it.
        inputs, named: what the model is called with.
    """
    return recorded(prepared(model), *inputs, **named)


def recorded(ours: nn.Module, *inputs: Any, **named: Any) -> Recording:
    """The same of a model that has been prepared."""
    layers: dict[str, LayerTrace] = {}
    with torch.no_grad(), replaced({layer: _noting(layer, name, layers) for name, layer in recurrent_layers(ours)}):
        output = ours(*inputs, **named)
    return Recording(output, layers)


@contextmanager
def replaced(forwards: Mapping[Recurrent, Callable[..., Any]]) -> Iterator[None]:
    """Let layers run something else for a while; what they have noted is free again as soon as nobody needs it."""
    for layer, forward in forwards.items():
        vars(layer)["forward"] = forward
    try:
        yield
    finally:
        for layer in forwards:
            del vars(layer)["forward"]


def prepared(model: nn.Module) -> nn.Module:
    """A copy of a model, in evaluation, with our layers in the place of PyTorch's.

    Raises:
        MicroscopeError: there is no recurrent layer in it.
    """
    if not isinstance(model, nn.Module):
        raise MicroscopeError(f"the model must be a torch.nn.Module; got {type(model).__name__}")
    ours = convert(copy.deepcopy(model), quiet=True).eval()
    if not recurrent_layers(ours):
        raise MicroscopeError(
            f"there is no recurrent layer in this {type(model).__name__}: no layer of holdfast, no nn.LSTM, nn.GRU or "
            "nn.RNN"
        )
    return ours


def series(seen: LayerTrace, name: str) -> Tensor:
    """A gate or state of a layer by its name, (T, B, H).

    Raises:
        MicroscopeError: the layer has none of that name.
    """
    known = {**seen.gates, **seen.states}
    if name not in known:
        raise MicroscopeError(f"there is no series {name!r} in {seen.name}; there are {', '.join(known)}")
    return known[name]


def recurrent_layers(model: nn.Module) -> list[tuple[str, Recurrent]]:
    """The recurrent layers in a model, with their places."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, Recurrent)]


def _noting(layer: Recurrent, place: str, layers: dict[str, LayerTrace]) -> Callable[..., Any]:
    """A forward that traces, and notes the trace, time first."""

    def forward(input: Any, hx: Any = None, *, lengths: Any = None, reset: Any = None) -> Any:
        packed = isinstance(input, PackedSequence)
        if packed:
            input, lengths = pad_packed_sequence(input, batch_first=layer.batch_first)
        traced = layer.trace(input, hx, lengths=lengths, reset=reset)
        for one in traced.layers:
            name = ".".join(filter(None, (place, one.name)))
            if name in layers:
                raise MicroscopeError(f"the layer {place or 'model'} is called several times in one call of the model")
            layers[name] = LayerTrace(
                name,
                {gate: _time_first(series, layer.batch_first) for gate, series in one.gates.items()},
                {state: _time_first(series, layer.batch_first) for state, series in one.states.items()},
            )
        output: Any = traced.output
        if packed:
            output = pack_padded_sequence(output, lengths, batch_first=layer.batch_first, enforce_sorted=False)
        return output, traced.state

    return forward


def _time_first(series: Tensor, batch_first: bool) -> Tensor:
    """(T, B, H), from the layer's own layout; a single sequence is a batch of one."""
    if series.dim() == 2:
        return series.unsqueeze(1)
    return series.transpose(0, 1) if batch_first else series
