"""The losses of tokens agree with PyTorch's cross-entropy and with differences, in parts and at once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.models.token_loss import token_losses
from tests.support import assert_close


def _given(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    features, matrix, bias = (
        torch.randn(*size, generator=draw, dtype=dtype, requires_grad=True) for size in [(9, 4), (7, 4), (7,)]
    )
    return features, matrix, bias, torch.randint(7, (9,), generator=draw)


def _of_both(found: tuple[Tensor, Tensor]) -> Tensor:
    """A loss of both results, in which each token has another weight."""
    return sum((one.cos() * torch.arange(1, 10)).sum() for one in found)  # type: ignore[return-value]


@pytest.mark.parametrize("few", [2, 9], ids=["in parts", "at once"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_values_and_gradients_are_those_of_cross_entropy(
    smoothing: float, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.models.token_loss._AT_ONCE", 7 * few)
    features, matrix, bias, targets = _given()
    found = token_losses(features, matrix, bias, targets, smoothing)
    logits = features @ matrix.T + bias
    wanted = (
        F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing),
        F.cross_entropy(logits, targets, reduction="none"),
    )
    for one, other in zip(found, wanted):
        assert_close(one, other)
    of = (features, matrix, bias)
    for one, other in zip(torch.autograd.grad(_of_both(found), of), torch.autograd.grad(_of_both(wanted), of)):
        assert_close(one, other)


def test_large_logits_neither_overflow_nor_vanish() -> None:
    features, matrix = torch.tensor([[1000.0], [-1000.0]]), torch.tensor([[1.0], [-1.0], [0.5]])
    _, nats = token_losses(features, matrix, torch.zeros(3), torch.tensor([0, 0]))
    assert nats.tolist() == [0.0, 2000.0]


def test_a_second_run_backwards_is_refused_rather_than_wrong() -> None:
    features, *rest = _given()
    values, _ = token_losses(features, *rest)
    values.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        values.sum().backward()


def test_under_autocast_logits_are_summed_in_single_precision() -> None:
    features, matrix, bias, targets = _given(torch.float32)
    exact = token_losses(features, matrix, bias, targets, 0.1)
    (wanted,) = torch.autograd.grad(exact[0].sum(), matrix)
    with torch.autocast("cpu", torch.bfloat16):
        found = token_losses(features, matrix, bias, targets, 0.1)
    (gradient,) = torch.autograd.grad(found[0].sum(), matrix)
    assert found[0].dtype == torch.float32
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(found[0], exact[0], atol=0.05, rtol=0.05)
    torch.testing.assert_close(gradient, wanted, atol=0.05, rtol=0.05)
