"""How far a gradient reaches back through a layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from holdfast.layers import Recurrent


def state_gradients(layer: Recurrent, x: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
    """The length of the gradient of what is read at the end with respect to the state after each step.

    The state is all that a step hands to the next: h of an RNN, h and c together of an LSTM, in all layers. The
    derivative is the total one, along every path through the later steps: to change the past's influence on the end,
    a step has no other way than through its state. So this is what training has to learn from over that many steps.

    >>> import torch, holdfast
    >>> layer = holdfast.LSTM(3, 5)
    >>> lengths = state_gradients(layer, torch.randn(7, 2, 3), lambda last: last.sum(-1))
    >>> lengths.shape, bool((lengths > 0).all())
    (torch.Size([7, 2]), True)

    Args:
        layer: a layer in one direction, in evaluation mode if it has dropout or other noise.
        x: (T, B, I), or (B, T, I) if the layer is batch_first.
        read: from the output of the last step, (B, H), to one number a sequence, (B,).

    Returns:
        (T, B), in double precision, which holds gradients that have all but vanished.
    """
    if layer.bidirectional:
        raise ValueError("state_gradients needs a layer in one direction: in two, no state comes before the end")
    if x.dim() != 3:
        raise ValueError(f"x must be (T, B, I), or (B, T, I) for a batch_first layer; got shape {tuple(x.shape)}")
    time = 1 if layer.batch_first else 0
    state = None
    states: list[tuple[Tensor, ...]] = []
    with torch.enable_grad():
        for step in x.detach().requires_grad_().split(1, dim=time):  # so that frozen weights do not stop the gradient
            _, state = layer(step, state)
            states.append(state if isinstance(state, tuple) else (state,))
        end = read(states[-1][0][-1]).sum()  # the last layer's h is the output of the step
        # The last c is shown to nobody but later steps, of which there are none: its gradient is missing, that is 0.
        flat = torch.autograd.grad(end, [s for step in states for s in step], allow_unused=True)
    width = len(states[0])
    return torch.stack([_length(flat[k : k + width]) for k in range(0, len(flat), width)])


def _length(gradients: tuple[Tensor | None, ...]) -> Tensor:
    """The length of the gradient of each sequence, of (layers, B, H) for each state."""
    squares = [g.double().square().sum((0, 2)) for g in gradients if g is not None]
    return torch.stack(squares).sum(0).sqrt()
