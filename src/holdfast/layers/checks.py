"""What a layer accepts. PyTorch's own errors where PyTorch has one; otherwise the argument, what was given and what is
accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def whole(name: str, value: object) -> None:
    """A size must be a whole number above 0, as in PyTorch."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
    if value <= 0:
        raise ValueError(f"{name} must be greater than zero; got {value}")


def flag(name: str, value: object) -> None:
    """A switch must be True or False, as in PyTorch."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")


def probability(name: str, value: object, below_one: bool = True) -> None:
    """A probability is a number from 0 up to, but as a rule not including, 1."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not 0 <= value <= 1 or (below_one and value == 1):
        raise ValueError(f"{name} must lie between 0 and 1{' (and under 1)' * below_one}; got {value!r}")


def dropout(value: object) -> float:
    """A probability, 1 included; the message is PyTorch's."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element being zeroed; "
            f"got {value!r}"
        )
    return float(value)


def projection(value: object, hidden_size: int) -> None:
    """A projection must be smaller than the units, or 0 for none."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"proj_size should be a positive integer or zero to disable projections; got {value!r}")
    if value >= hidden_size:
        raise ValueError(f"proj_size has to be smaller than hidden_size; got {value} and {hidden_size}")


def positive(name: str, value: object) -> None:
    """A bound is a number above 0, or None."""
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or not value > 0):
        raise ValueError(f"{name} must be a positive number or None; got {value!r}")


def like_weights(name: str, given: Tensor, weight: Tensor, autocast: bool) -> None:
    """A tensor must have the weights' device and dtype (autocast sees to the dtype); the messages are PyTorch's."""
    if given.device != weight.device:
        raise RuntimeError(
            f"Input and parameter tensors are not at the same device, found {name} tensor at {given.device} and "
            f"parameter tensor at {weight.device}"
        )
    if given.dtype != weight.dtype and not (autocast and given.dtype.is_floating_point):
        raise ValueError(
            f"RNN {name} dtype ({given.dtype}) does not match weight dtype ({weight.dtype}). "
            f"Convert {name}: {name}.to({weight.dtype}), or convert model: model.to({given.dtype})"
        )


def input_shape(layer: str, x: object, features: int, batch_first: bool) -> None:
    """x must be (T, B, I), (B, T, I) or unbatched (T, I), with T > 0."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{layer}: input must be a tensor or a PackedSequence, got {type(x).__name__}")
    shape = x.shape
    if len(shape) not in (2, 3):
        raise ValueError(f"{layer}: Expected input to be 2D or 3D, got {len(shape)}D instead")
    if shape[-1] != features:
        raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {features}, got {shape[-1]}")
    if shape[1 if batch_first and len(shape) == 3 else 0] == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")


def state_tensors(hx: object, states: Sequence[str]) -> list[Tensor]:
    """The passed state as a list: a tensor for one state, a tuple for several."""
    if len(states) == 1:
        if not isinstance(hx, Tensor):
            raise TypeError(f"hx must be one tensor, {states[0]}; got {type(hx).__name__}")
        return [hx]
    shown = "(" + ", ".join(f"{name}_0" for name in states) + ")"
    if not isinstance(hx, tuple | list) or not all(isinstance(t, Tensor) for t in hx):
        raise TypeError(f"hx must be a tuple of {len(states)} tensors, {shown}; got {type(hx).__name__}")
    if len(hx) != len(states):
        raise ValueError(f"hx must hold {len(states)} tensors, {shown}; got {len(hx)}")
    return list(hx)


def state_shapes(given: Sequence[Tensor], expected: Sequence[tuple[int, ...]], batched: bool) -> None:
    """The passed state must be (layers x directions, B, H), or without B for unbatched input."""
    rank = 3 if batched else 2
    if any(t.dim() != rank for t in given):
        dims = ", ".join(f"{t.dim()}-D" for t in given)
        one = len(given) == 1
        kind = "batched 3-D" if batched else "unbatched 2-D"
        raise RuntimeError(
            f"For {kind} input, hx {'should' if one else 'and cx should'} also be {rank}-D but got "
            + (f"{dims} tensor" if one else f"({dims}) tensors")
        )
    for k, (tensor, shape) in enumerate(zip(given, expected)):
        shape = shape if batched else (shape[0], *shape[2:])
        if tuple(tensor.shape) != tuple(shape):
            which = "" if len(given) == 1 else f"[{k}]"
            raise RuntimeError(f"Expected hidden{which} size {tuple(shape)}, got {list(tensor.shape)}")


def lengths(given: object, batch: int, device: torch.device) -> Tensor:
    """The lengths on the input's device, (B,). That they lie between 0 and T is checked where they are used."""
    if not isinstance(given, Tensor):
        try:
            given = torch.as_tensor(given)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"lengths must be whole numbers, one a sequence; got {type(given).__name__}") from error
    if given.dtype.is_floating_point or given.dtype.is_complex or given.dtype == torch.bool:
        raise TypeError(f"lengths must be whole numbers; got dtype {given.dtype}")
    if tuple(given.shape) != (batch,):
        raise ValueError(f"lengths must have one entry a sequence, shape ({batch},); got shape {tuple(given.shape)}")
    return given.to(device=device, dtype=torch.int64)


def reset(given: object, shape: tuple[int, ...], names: str, device: torch.device) -> Tensor:
    """The resets on the input's device, laid out like the input."""
    if not isinstance(given, Tensor):
        raise TypeError(f"reset must be a bool tensor of shape {names} = {tuple(shape)}; got {type(given).__name__}")
    if given.dtype != torch.bool:
        raise TypeError(f"reset must be a bool tensor; got dtype {given.dtype}: pass done.bool() for a tensor done")
    if tuple(given.shape) != tuple(shape):
        raise ValueError(f"reset must have shape {names} = {tuple(shape)}; got {tuple(given.shape)}")
    return given.to(device)


def divides(heads: int, **sizes: int) -> None:
    """The units must fall into equal blocks."""
    for name, size in sizes.items():
        if size % heads:
            raise ValueError(f"heads must divide {name}: {size} units do not fall into {heads} equal blocks")


def step_state_shapes(layer: str, given: Sequence[Tensor], batch: int, hidden: int, batched: bool) -> None:
    """The state passed to a single step must be (B, H), or (H,) for unbatched input; the messages are PyTorch's."""
    for k, tensor in enumerate(given):
        name = f"hx[{k}]" if len(given) > 1 else "hidden"
        if tensor.dim() not in (1, 2):
            raise ValueError(f"{layer}: Expected {name} to be 1D or 2D, got {tensor.dim()}D instead")
        if tensor.dim() != (2 if batched else 1):
            raise ValueError(
                f"{layer}: Expected {name} to be {2 if batched else 1}D like the input, got {tensor.dim()}D"
            )
        if tensor.shape[-1] != hidden:
            raise RuntimeError(f"hidden{k} has inconsistent hidden_size: got {tensor.shape[-1]}, expected {hidden}")
        if batched and tensor.shape[0] != batch:
            raise RuntimeError(f"Input batch size {batch} doesn't match hidden{k} batch size {tensor.shape[0]}")


def no_projection(options: Mapping[str, object]) -> None:
    """GRU and RNN have no projection; PyTorch's own message says so."""
    if "proj_size" in options:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")


def nonlinearity(name: object, activation: str | None) -> None:
    """PyTorch's argument of an RNN."""
    if name not in ("tanh", "relu"):
        raise ValueError(f"Unknown nonlinearity {name!r}. Select from 'tanh' or 'relu'.")
    if activation is not None and name != "tanh" and activation != name:
        raise ValueError(f"nonlinearity={name!r} and activation={activation!r} contradict each other: give one")
