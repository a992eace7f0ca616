"""Recurrent layers as people write them by hand in PyTorch: the peer of everything that `torch.nn.LSTM` cannot do.

The input projection is hoisted out of the loop; a step is one addmm and one chunk; an option is a few lines more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Options:
    """What a loop does beside the plain equations.

    Attributes:
        peephole: i and f see p⊙c of the step before, o sees p⊙c of this step.
        coupled: f = 1 - i.
        layer_norm: of W x, of U h and of the c that is shown.
        cell_clip: a bound on each entry of c.
        grad_clip: a bound on each entry of the gradient that flows back from one step to the one before.
        zoneout: how much of the old h and of the old c stays: masks, (T, B, H), or numbers.
        recurrent_dropout: the scaled mask on the h that feeds the gates, (B, H).
        reset: where the state returns to zero before the step, (T, B).
        trace: whether all gates and c are kept.
    """

    peephole: bool = False
    coupled: bool = False
    layer_norm: bool = False
    cell_clip: float | None = None
    grad_clip: float | None = None
    zoneout: tuple[Tensor, Tensor] | tuple[float, float] | None = None
    recurrent_dropout: Tensor | None = None
    reset: Tensor | None = None
    trace: bool = False


def lstm_loop(x: Tensor, h: Tensor, c: Tensor, weights: Mapping[str, Tensor], options: Options) -> list[Tensor]:
    """An LSTM over x, (T, B, I), from h and c, (B, H), by weights with `torch.nn.LSTM`'s names.

    Returns:
        The output; with `trace` also i, f, g, o and c.
    """
    weight_ih, recurrent = weights["weight_ih_l0"], weights["weight_hh_l0"].t()
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    if options.layer_norm:
        projected = _normed(x @ weight_ih.t(), weights["weight_ln_x_l0"], bias)
    else:
        projected = F.linear(x, weight_ih, bias)  # (T, B, 4H)
    if options.reset is not None:
        carried = (~options.reset).to(x.dtype).unsqueeze(2)  # (T, B, 1)
    if options.peephole:
        p_i, p_f, p_o = weights["weight_ch_l0"]
    outputs, seen = [], []
    for t, row in enumerate(projected.unbind(0)):
        if options.reset is not None:
            h, c = h * carried[t], c * carried[t]
        if options.grad_clip is not None:
            h, c = _clip_gradient(h, options.grad_clip), _clip_gradient(c, options.grad_clip)
        fed = h if options.recurrent_dropout is None else h * options.recurrent_dropout
        if options.layer_norm:
            pre = row + _normed(fed @ recurrent, weights["weight_ln_h_l0"])
        else:
            pre = torch.addmm(row, fed, recurrent)
        if options.coupled:
            i, g, o = pre.chunk(3, 1)
            i = torch.sigmoid(i)
            f = 1 - i
        else:
            i, f, g, o = pre.chunk(4, 1)
            if options.peephole:
                i, f = i + p_i * c, f + p_f * c
            i, f = torch.sigmoid(i), torch.sigmoid(f)
        g = torch.tanh(g)
        new_c = f * c + i * g
        if options.cell_clip is not None:
            new_c = new_c.clamp(-options.cell_clip, options.cell_clip)
        o = torch.sigmoid(o + p_o * new_c if options.peephole else o)
        shown = _normed(new_c, weights["weight_ln_c_l0"], weights["bias_ln_c_l0"]) if options.layer_norm else new_c
        new_h = o * torch.tanh(shown)
        if options.zoneout is not None:
            keep_h, keep_c = options.zoneout
            if isinstance(keep_h, Tensor) and isinstance(keep_c, Tensor):
                keep_h, keep_c = keep_h[t], keep_c[t]
            new_h, new_c = keep_h * h + (1 - keep_h) * new_h, keep_c * c + (1 - keep_c) * new_c
        h, c = new_h, new_c
        outputs.append(h)
        if options.trace:
            seen.append((i, f, g, o, c))
    return [torch.stack(outputs), *(torch.stack(series) for series in zip(*seen))]


def _normed(x: Tensor, gain: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.layer_norm(x, gain.shape, gain, bias, 1e-5)


def _clip_gradient(x: Tensor, bound: float) -> Tensor:
    """x itself, with a bound on the gradient that flows back through it."""
    if not x.requires_grad:
        return x
    x = x.view_as(x)
    x.register_hook(lambda gradient: gradient.clamp(-bound, bound))
    return x
