"""How far back the memory of a model reaches: the gradient of an output by its distance to the input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from holdfast.layers import Recurrent

from .recording import MicroscopeError, prepared, recurrent_layers, replaced


@dataclass(frozen=True)
class Horizon:
    """The length of the gradient of an output, by how many steps lie between.

    Attributes:
        states: for each layer's place, (T, B): with respect to the state after the step so many steps ago.
        inputs: for each layer's place, (T, B): with respect to what the layer was given at that step.
    """

    states: dict[str, Tensor]
    inputs: dict[str, Tensor]

    def lag(self, share: float, layer: str = "") -> int | None:
        """The lag at which so much of the gradient with respect to the states is gone, and stays gone.

        Args:
            share: 0.9 for nine tenths.
            layer: its place; by default the only one, or the first.

        Returns:
            The number of steps, in the median of the sequences; None if it is not gone within them.
        """
        if not 0 < share < 1:
            raise MicroscopeError(f"share must be between 0 and 1; got {share!r}")
        if layer and layer not in self.states:
            raise MicroscopeError(f"there is no layer {layer!r}; there are {', '.join(self.states)}")
        lengths = (self.states[layer] if layer else next(iter(self.states.values()))).median(1).values
        left = (lengths > (1 - share) * lengths[0]).nonzero().flatten()
        after = int(left[-1]) + 1 if len(left) else 0
        return after if after < len(lengths) else None


def memory_horizon(model: nn.Module, *inputs: Any, read: Callable[[Any], Tensor], **named: Any) -> Horizon:
    """How an output of a model depends on all earlier states and inputs of its recurrent layers, in one backward.

    The derivative is the total one, along every path through the later steps: a state is all that a step hands to the
    next, h of an RNN, h and c together of an LSTM. Distances count back from the last step.

    >>> import torch, holdfast
    >>> from torch import nn
    >>> class Last(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.rnn = holdfast.LSTM(3, 5, forget_bias=1.0)
    ...     def forward(self, x):
    ...         return self.rnn(x)[0][-1]
    >>> horizon = memory_horizon(Last(), torch.randn(40, 2, 3), read=lambda last: last.sum())
    >>> horizon.states["rnn"].shape, 0 < horizon.lag(0.5) <= horizon.lag(0.9)
    (torch.Size([40, 2]), True)

    Args:
        model: any module with recurrent layers in one direction.
        inputs, named: what the model is called with.
        read: from what the model returns to a number.
    """
    ours = prepared(model)
    kept: dict[str, _Kept] = {}
    forwards = {layer: _stepping(layer, place, kept) for place, layer in recurrent_layers(ours)}
    with torch.enable_grad(), replaced(forwards):
        end = read(ours(*inputs, **named))
        if end.dim():
            raise MicroscopeError(f"read must return one number; got a tensor of shape {tuple(end.shape)}")
        flat = [t for one in kept.values() for t in (*one.inputs, *(s for step in one.states for s in step))]
        found = iter(torch.autograd.grad(end, flat, allow_unused=True))
    by_input, by_state = {}, {}
    for place, one in kept.items():
        by_input[place] = torch.stack([_length([next(found)], x) for x in one.inputs]).flip(0)
        by_state[place] = torch.stack([_length([next(found) for _ in step], step[0]) for step in one.states]).flip(0)
    return Horizon(by_state, by_input)


class _Kept(NamedTuple):
    """What a gradient is taken to, step by step: inputs (1, B, I), and states (layers, B, H)."""

    inputs: list[Tensor]
    states: list[tuple[Tensor, ...]]


def _stepping(layer: Recurrent, place: str, kept: dict[str, _Kept]) -> Callable[..., Any]:
    """A forward that goes step by step and keeps the inputs and states that a gradient can be taken to."""
    if layer.bidirectional:
        raise MicroscopeError(f"the layer {place} has two directions, in which no state comes before the end")

    def forward(input: Any, hx: Any = None, *, lengths: Any = None, reset: Any = None) -> Any:
        if not isinstance(input, Tensor) or input.dim() != 3 or lengths is not None or reset is not None:
            raise MicroscopeError(f"the layer {place} must be called with one batch of sequences of the same length")
        if place in kept:
            raise MicroscopeError(f"the layer {place} is called several times in one call of the model")
        kept[place] = own = _Kept([], [])
        state, outputs = hx, []
        for step in (input.transpose(0, 1) if layer.batch_first else input).split(1):
            # Its own leaf where nothing before needs a gradient, so that frozen weights do not stop it.
            x = step if step.requires_grad else step.detach().requires_grad_()  # (1, B, I)
            _, state = type(layer).forward(layer, x.transpose(0, 1) if layer.batch_first else x, state)
            own.inputs.append(x)
            own.states.append(state if isinstance(state, tuple) else (state,))
            outputs.append(own.states[-1][0][-1])  # h of the last layer: what reads it goes through the state
        return torch.stack(outputs, 1 if layer.batch_first else 0), state

    return forward


def _length(gradients: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """The length of the gradient of each sequence, in double precision, which holds what has all but vanished."""
    total = torch.zeros(like.shape[1], dtype=torch.float64, device=like.device)
    for gradient in gradients:
        if gradient is not None:  # the last c is shown to nobody but later steps, of which there are none
            total += gradient.double().square().sum((0, 2))
    return total.sqrt()
