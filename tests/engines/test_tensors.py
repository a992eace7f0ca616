"""Tensors that change between the two passes, are not what a program needs, or that PyTorch has not computed yet."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

import holdfast
from holdfast.layers import noise

ENGINES = ("reference", "llvm", "vendor")


def _leaves(layer: torch.nn.Module) -> list[Tensor]:
    return list(layer.parameters())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("changed", ["lengths", "reset", "x", "h", "c", "weight"])
def test_a_buffer_changed_between_the_passes_never_gives_wrong_gradients(engine: str, changed: str) -> None:
    layer = holdfast.LSTM(3, 4, engine=engine)
    x, h, c = torch.randn(5, 2, 3), torch.randn(1, 2, 4), torch.randn(1, 2, 4)
    buffers = {"x": x, "h": h, "c": c, "weight": layer.weight_hh_l0}
    options: dict[str, Any] = {}
    if changed in ("lengths", "reset"):
        if engine == "vendor":
            pytest.skip("it takes neither")
        options["lengths"] = buffers["lengths"] = torch.tensor([5, 2])
        options["reset"] = buffers["reset"] = torch.rand(5, 2) < 0.3
    expected = torch.autograd.grad(layer(x, (h, c), **options)[0].sum(), _leaves(layer))
    output = layer(x, (h, c), **options)[0]
    with torch.no_grad():
        buffers[changed].copy_(buffers[changed].flip(0) if changed != "reset" else ~buffers[changed])
    try:
        found = torch.autograd.grad(output.sum(), _leaves(layer))
    except RuntimeError as error:
        found, message = [], str(error)
    assert all(map(torch.equal, found, expected)) if found else "modified by an inplace operation" in message


def test_masks_do_not_outlive_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[weakref.ref[Tensor]] = []
    bernoulli = noise.bernoulli

    def seen(*given: Any) -> Tensor:
        mask = bernoulli(*given)
        drawn.append(weakref.ref(mask))
        return mask

    monkeypatch.setattr(noise, "bernoulli", seen)
    output, _ = holdfast.LSTM(3, 4, recurrent_dropout=0.5)(torch.randn(5, 2, 3))
    assert drawn
    output.sum().backward()
    assert output.grad_fn is not None
    assert all(mask() is None for mask in drawn)


def _other_dtype(weight: Tensor) -> Tensor:
    return weight.double()


def _longer(weight: Tensor) -> Tensor:
    return torch.cat([weight, weight[:16]])


def _freed(weight: Tensor) -> Tensor:
    weight = weight.clone()
    weight.untyped_storage().resize_(0)
    return weight


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("change", [_other_dtype, _longer, _freed])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN", "LSTMCell"])
def test_a_weight_that_is_not_as_needed_is_named(kind: str, engine: str, change: Callable[[Tensor], Tensor]) -> None:
    module = getattr(holdfast, kind)(8, 16, engine=engine)
    name = "weight_hh" + "_l0" * (not kind.endswith("Cell"))
    setattr(module, name, torch.nn.Parameter(change(getattr(module, name).detach())))
    x = torch.randn(2, 8) if kind.endswith("Cell") else torch.randn(3, 2, 8)
    with pytest.raises(ValueError, match="weight_hh"):
        module(x)


def test_an_input_weight_with_too_many_rows_is_named() -> None:
    layer = holdfast.LSTM(8, 16)
    layer.weight_ih_l0 = torch.nn.Parameter(torch.randn(80, 8))
    with pytest.raises(ValueError, match=r"weight_ih must be \(64, 8\).*got \(80, 8\)"):
        layer(torch.randn(3, 2, 8))
    with pytest.raises(ValueError, match=r"weight_ih must be \(64, 8\).*got \(80, 8\)"):
        layer.stream()


@pytest.mark.parametrize("later", [False, True])
def test_a_stream_refuses_what_it_cannot_read_where_it_lies(later: bool) -> None:
    fake = torch.nn.Parameter(FakeTensorMode().from_tensor(torch.randn(16, 4)))
    others = [fake, _freed(torch.randn(16, 4)), torch.randn(20, 4), torch._neg_view(torch.randn(16, 4))]
    for other in others:
        layer = holdfast.LSTM(3, 4)
        stream = layer.stream() if later else None
        layer._parameters["weight_hh_l0"] = other  # type: ignore[assignment]
        with pytest.raises((ValueError, TypeError), match="weight_hh"):
            stream.step(torch.zeros(1, 3)) if stream else layer.stream()


def _negative(t: Tensor) -> Tensor:
    return torch._neg_view(-t)


def _imaginary(t: Tensor) -> Tensor:
    return torch.complex(t, -t).conj().imag


def _zero(t: Tensor) -> Tensor:
    return torch._efficientzerotensor(t.shape, dtype=t.dtype)


def _strided(t: Tensor) -> Tensor:
    return torch.stack([t, t], -1)[..., 0]


def _expanded(t: Tensor) -> Tensor:
    return t[:1].expand(t.shape)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", [_negative, _imaginary, _zero, _strided, _expanded])
@pytest.mark.parametrize("place", ["x", "h", "weight", "gradient"])
def test_what_pytorch_has_put_off_is_made_up_for(engine: str, kind: Callable[[Tensor], Tensor], place: str) -> None:
    layer = holdfast.LSTM(3, 4, engine=engine)
    weight = layer.weight_hh_l0.detach().clone()
    tensors = {"x": torch.randn(5, 2, 3), "h": torch.randn(1, 2, 4), "weight": weight, "gradient": torch.randn(5, 2, 4)}

    def run(given: dict[str, Tensor]) -> list[Tensor]:
        layer._parameters["weight_hh_l0"] = given["weight"]  # type: ignore[assignment]
        output, _ = layer(given["x"], (given["h"], torch.zeros(1, 2, 4)))
        read = [layer.weight_ih_l0, layer.bias_hh_l0]
        return [output, *torch.autograd.grad(output, read, given["gradient"])]

    odd = kind(tensors[place])
    expected = run(tensors | {place: odd.resolve_neg().clone(memory_format=torch.contiguous_format)})
    for got, right in zip(run(tensors | {place: odd}), expected):
        torch.testing.assert_close(got, right)


def test_a_tensor_on_the_meta_device_beside_others_is_refused() -> None:
    layer = holdfast.LSTM(3, 4, engine="reference")
    layer.bias_hh_l0 = torch.nn.Parameter(layer.bias_hh_l0.detach().to("meta"))
    with pytest.raises(ValueError, match="one device"):
        layer(torch.randn(5, 2, 3))
