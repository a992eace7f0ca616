"""How far back the memory of a model reaches: the gradient of an output by its distance to the input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from holdfast.layers import Recurrent

from .figures import line_chart, numbered
from .recording import MicroscopeError, prepared, recurrent_layers, replaced

SHARES = (0.5, 0.9, 0.99)  # of a gradient that is gone, as reports tell them


@dataclass(frozen=True)
class Horizon:
    """The length of the gradient of an output, by how many steps lie between.

    Attributes:
        states: for each layer's place, (lags, B): with respect to the state after the step so many steps ago.
        inputs: for each layer's place, (T, B): with respect to what the layer was given so many steps ago.
        lags: how many steps ago the states were, rising from 0; by default one after the other.
    """

    states: dict[str, Tensor]
    inputs: dict[str, Tensor]
    lags: Sequence[int]

    def lag(self, share: float, layer: str = "") -> int | None:
        """The lag at which so much of the gradient with respect to the states is gone, and stays gone.

        Args:
            share: 0.9 for nine tenths.
            layer: its place; by default the only one, or the first.

        Returns:
            The number of steps, one of `lags`, in the median of the sequences; None if it is not gone within them.
        """
        if not 0 < share < 1:
            raise MicroscopeError(f"share must be between 0 and 1; got {share!r}")
        if layer and layer not in self.states:
            raise MicroscopeError(f"there is no layer {layer!r}; there are {', '.join(self.states)}")
        lengths = (self.states[layer] if layer else next(iter(self.states.values()))).median(1).values
        left = (lengths > (1 - share) * lengths[0]).nonzero().flatten()
        after = int(left[-1]) + 1 if len(left) else 0
        return self.lags[after] if after < len(lengths) else None


def memory_horizon(
    model: nn.Module,
    *inputs: Any,
    read: Callable[[Any], Tensor],
    lags: Sequence[int] | None = None,
    **named: Any,
) -> Horizon:
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
        lags: the distances at which the states are looked at, beside 0; by default all. Between them the layers run
            without a stop, so a large model with few of them takes far less time.
    """
    if lags is not None and not all(lag >= 0 for lag in lags):
        raise MicroscopeError(f"lags must be whole numbers from 0 on; got {list(lags)}")
    ours = prepared(model).requires_grad_(False)  # the gradients of weights would take longer than all else
    kept: dict[str, _Kept] = {}
    forwards = {layer: _in_pieces(layer, place, lags, kept) for place, layer in recurrent_layers(ours)}
    with torch.enable_grad(), replaced(forwards):
        end = read(ours(*inputs, **named))
        if end.dim():
            raise MicroscopeError(f"read must return one number; got a tensor of shape {tuple(end.shape)}")
        flat = [t for one in kept.values() for t in (*one.inputs, *(s for state in one.states for s in state))]
        found = iter(torch.autograd.grad(end, flat, allow_unused=True))
    by_input, by_state = {}, {}
    for place, one in kept.items():
        by_input[place] = torch.cat([_lengths([next(found)], x, (2,)) for x in one.inputs]).flip(0)  # (T, B)
        by_state[place] = torch.stack([_lengths([next(found) for _ in s], s[0], (0, 2)) for s in one.states]).flip(0)
    return Horizon(by_state, by_input, max((one.lags for one in kept.values()), key=len))


def horizon_chart(horizon: Horizon, step: str = "step", names: Sequence[str] = ()) -> str:
    """The gradient with respect to the states of each layer against the distance, as SVG.

    Args:
        horizon: what was found.
        step: what a step is called.
        names: of the layers; by default their places.
    """
    lines = []
    for k, (place, lengths) in enumerate(horizon.states.items()):
        middle = lengths.median(1).values  # (lags,)
        name = names[k] if names else place or "the layer"
        shares = (middle / middle[0]).tolist()
        lines.append(numbered(k, name, horizon.lags[: len(middle)], shares))
    return line_chart(
        lines,
        title="The gradient with respect to the states of earlier steps",
        x_label=f"{step}s before the last",
        y_label="gradient, 1 at the last",
        log_y=True,
    )


class _Kept(NamedTuple):
    """What a gradient is taken to, piece by piece of the sequence: inputs (t, B, I), and states (layers, B, H)."""

    inputs: list[Tensor]
    states: list[tuple[Tensor, ...]]
    lags: list[int]


def _in_pieces(layer: Recurrent, place: str, lags: Sequence[int] | None, kept: dict[str, _Kept]) -> Callable[..., Any]:
    """A forward that stops at the lags, and keeps the inputs and states that a gradient can be taken to."""
    if layer.bidirectional:
        raise MicroscopeError(f"the layer {place} has two directions, in which no state comes before the end")

    def forward(input: Any, hx: Any = None, *, lengths: Any = None, reset: Any = None) -> Any:
        if not isinstance(input, Tensor) or input.dim() != 3 or lengths is not None or reset is not None:
            raise MicroscopeError(f"the layer {place} must be called with one batch of sequences of the same length")
        if place in kept:
            raise MicroscopeError(f"the layer {place} is called several times in one call of the model")
        sequence = input.transpose(0, 1) if layer.batch_first else input  # (T, B, I)
        steps = len(sequence)
        own = _Kept([], [], sorted({0, *(lag for lag in lags if lag < steps)}) if lags is not None else [*range(steps)])
        kept[place] = own
        ends = [steps - lag for lag in reversed(own.lags)]
        run: Callable[..., Any] = type(layer).forward
        state, outputs = hx, []
        for start, end in zip([0, *ends], ends):
            piece = sequence[start:end]
            # Its own leaf where nothing before needs a gradient, so that frozen weights do not stop it.
            x = piece if piece.requires_grad else piece.detach().requires_grad_()  # (t, B, I)
            output, state = run(layer, x.transpose(0, 1) if layer.batch_first else x, state)
            own.inputs.append(x)
            own.states.append(state if isinstance(state, tuple) else (state,))
            last = own.states[-1][0][-1:]  # h of the last layer, (1, B, H): what reads it goes through the state
            outputs.append(torch.cat([(output.transpose(0, 1) if layer.batch_first else output)[:-1], last]))
        whole = torch.cat(outputs)  # (T, B, H)
        return whole.transpose(0, 1) if layer.batch_first else whole, state

    return forward


def _lengths(gradients: Sequence[Tensor | None], like: Tensor, over: tuple[int, ...]) -> Tensor:
    """The lengths of gradients over some axes, in double precision, which holds what has all but vanished."""
    total = torch.zeros_like(like, dtype=torch.float64).sum(over)
    for gradient in gradients:
        if gradient is not None:  # the last c is shown to nobody but later steps, of which there are none
            total += gradient.double().square().sum(over)
    return total.sqrt()
