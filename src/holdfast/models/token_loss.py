"""How unlikely tokens are, for models whose logits are features times a large matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_AT_ONCE = 1 << 24  # logits


def token_losses(
    features: Tensor, matrix: Tensor, bias: Tensor, targets: Tensor, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """What is to become small, and minus the logarithm of the probability, of each token, (N,) each, in nats.

    Logits are the largest thing by far: they are kept once, as what the derivative needs of them, or where there are
    more than so many, are made some at a time, and again for the derivative.

    >>> features, matrix = torch.randn(5, 8), torch.randn(11, 8)
    >>> value, nats = token_losses(features, matrix, torch.zeros(11), torch.randint(11, (5,)))
    >>> bool((value == nats).all())
    True

    Args:
        features: (N, E).
        matrix: (V, E).
        bias: (V,).
        targets: the tokens that came, (N,).
        smoothing: the share of what is wanted that is spread over all tokens (Szegedy 2016).
    """
    found = _TokenLosses.apply(features, matrix, bias, targets, smoothing)
    return found[0], found[1]


class _TokenLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, matrix: Tensor, bias: Tensor, targets: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        few = max(1, _AT_ONCE // len(matrix))
        nats, off = [], []
        for some, their in zip(features.split(few), targets.split(few)):
            logits = _logits(some, matrix, bias)  # (n, V)
            own = logits.gather(1, their[:, None])[:, 0]
            mean = logits.mean(1) if smoothing else own
            raised, normaliser = _raised(logits)
            nats.append(normaliser - own)
            off.append(normaliser - mean)
        whole = len(nats) == 1
        ctx.save_for_backward(features, matrix, bias, targets, *([raised] if whole else []))
        ctx.smoothing, ctx.few = smoothing, few
        every = torch.cat(nats)
        return (every.clone() if not smoothing else (1 - smoothing) * every + smoothing * torch.cat(off)), every

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_values: Tensor, of_nats: Tensor) -> tuple[Tensor | None, ...]:
        features, matrix, bias, targets, *kept = ctx.saved_tensors
        to_features, to_matrix, to_bias = torch.empty_like(features), torch.zeros_like(matrix), torch.zeros_like(bias)
        both = of_values + of_nats
        spread = of_values * (ctx.smoothing / len(matrix))
        right = (1 - ctx.smoothing) * of_values + of_nats
        for begin in range(0, len(features), ctx.few):
            part = slice(begin, begin + ctx.few)
            raised = kept[0] if kept else _raised(_logits(features[part], matrix, bias))[0]
            # Probabilities less what is wanted, in place: a second derivative through the same graph is refused.
            logits = raised.mul_((both[part] / raised.sum(1))[:, None])
            if ctx.smoothing:
                logits.sub_(spread[part, None])
            logits[torch.arange(len(logits), device=logits.device), targets[part]] -= right[part]
            to_bias += logits.sum(0).to(bias.dtype)
            narrow = logits.to(features.dtype)
            to_features[part] = narrow @ matrix.to(features.dtype)
            to_matrix += (narrow.T @ features[part]).to(matrix.dtype)
        return to_features, to_matrix, to_bias, None, None


def _logits(features: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    """In single precision at least, whatever autocast multiplies in; (n, V)."""
    found = torch.nn.functional.linear(features, matrix, bias)
    return found.float() if found.dtype in (torch.bfloat16, torch.float16) else found


def _raised(logits: Tensor) -> tuple[Tensor, Tensor]:
    """In place e to the power of logits less the largest of each row, (n, V), and the logarithm of their sum, (n,)."""
    top = logits.amax(1, keepdim=True)
    raised = logits.sub_(top).exp_()
    return raised, raised.sum(1).log() + top[:, 0]
