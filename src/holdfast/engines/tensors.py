"""What is looked at before an engine reads a tensor: shape, dtype, device, layout and memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from holdfast.language import Program

from .inputs import Inputs, check_lengths
from .parameters import Sizes, names, specs

PLAIN = (Tensor, torch.nn.Parameter)

_PLAIN = frozenset(PLAIN)
_ADDRESSED = ("cpu", "cuda")  # where kernels of ours run; elsewhere an address may mean nothing

Kind = tuple[tuple[int, ...], torch.dtype, torch.device, torch.layout]
_kind: Callable[[Tensor], Kind] = attrgetter("shape", "dtype", "device", "layout")  # faster than one by one


def checked(program: Program, inputs: Inputs) -> Inputs:
    """What a run is given, as an engine can read it: what PyTorch has put off (a sign, zeros) is made up for.

    Raises:
        TypeError, ValueError: a tensor is not as the program needs it, or has no memory.
    """
    check_kinds(program, inputs)
    tensors = _flat(inputs)
    if not _readable_as_they_are(tensors):
        inputs = _like(inputs, [readable(name, t) for name, t in zip(_names(program, inputs), tensors)])
    check_lengths(inputs.lengths, inputs.x.shape[0])
    return inputs


def check_kinds(program: Program, inputs: Inputs) -> None:
    """Refuse tensors of another shape, dtype, device or layout than the program needs, whatever wraps them."""
    x, state, weights = inputs.x, inputs.state, inputs.weights
    tensors = _flat(inputs)
    expected = _expected(
        program,
        _kind(x)[:3],
        (len(state), len(inputs.home), len(weights), len(inputs.masks)),
        state[0].shape if state else (),
        weights[0].shape if weights and program.projection else (),
        inputs.lengths is not None,
        inputs.reset is not None,
    )
    if [*map(_kind, tensors)] != expected:
        for name, tensor, kind in zip(_names(program, inputs), tensors, expected):
            _check_kind(name, tensor, kind)


def checked_saved(
    saved: Sequence[Tensor], expected: Sequence[tuple[tuple[int, ...], torch.dtype]], device: torch.device
) -> list[Tensor]:
    """What a run saved, as its engine can read it for the way back."""
    _check_count("saved", saved, len(expected))
    for k, (tensor, (shape, dtype)) in enumerate(zip(saved, expected)):
        _check_kind(f"saved[{k}]", tensor, (tuple(shape), dtype, device, torch.strided))
    return [readable(f"saved[{k}]", tensor).contiguous() for k, tensor in enumerate(saved)]


def checked_gradients(
    program: Program,
    inputs: Inputs,
    output: Tensor | None,
    final: Sequence[Tensor | None],
    traced: Sequence[Tensor | None],
    trace: bool,
) -> tuple[Tensor | None, list[Tensor | None], list[Tensor | None]]:
    """The gradients that arrive at a run's results, as an engine can read them."""
    x, state = inputs.x, inputs.state
    series_names = [*program.states[1:], *(name for name, _ in program.shown)] if trace else []
    _check_count("the gradients of the final states", final, len(program.states))
    _check_count("the gradients of the traced values", traced, len(series_names))
    series, hidden = x.shape[:2], inputs.weights[0].shape[0] // len(program.gates)

    def as_read(name: str, gradient: Tensor | None, shape: Sequence[int]) -> Tensor | None:
        if gradient is None:
            return None
        _check_kind(f"the gradient of {name}", gradient, (tuple(shape), x.dtype, x.device, torch.strided))
        return readable(f"the gradient of {name}", gradient)

    return (
        as_read("the output", output, (*series, state[0].shape[-1])),
        [as_read(f"the final {name}", g, s.shape) for name, g, s in zip(program.states, final, state)],
        [as_read(f"the traced {name}", g, (*series, hidden)) for name, g in zip(series_names, traced)],
    )


def readable(name: str, tensor: Tensor) -> Tensor:
    """A tensor that can be read by its address: itself, or where PyTorch has put something off, a copy.

    >>> readable("x", torch._neg_view(torch.ones(2))).is_neg()
    False

    Args:
        name: what it is called in an error.
        tensor: the tensor.

    Raises:
        TypeError: it is of a class that has no memory of its own, or another meaning.
        ValueError: its memory was freed.
    """
    if type(tensor) not in PLAIN and type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        raise TypeError(f"{name} must be an ordinary tensor; got a {type(tensor).__name__}, which kernels cannot read")
    if tensor.is_neg() or tensor._is_zerotensor():
        tensor = tensor.resolve_neg() if tensor.is_neg() else tensor.clone()
    if not tensor.numel() or tensor.device.type not in _ADDRESSED:
        return tensor
    end = tensor.storage_offset() + 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride()))
    bytes_there, needed = tensor.untyped_storage().nbytes(), end * tensor.element_size()
    if not tensor.data_ptr() or bytes_there < needed:
        raise ValueError(
            f"{name}, {_described(_kind(tensor))}, has no memory for its numbers: it needs {needed} bytes, and its "
            f"storage holds {bytes_there if tensor.data_ptr() else 0}, as it does once it was freed"
        )
    return tensor


def check_in_place(program: Program, sizes: Sizes, weights: Sequence[Tensor], dtype: torch.dtype) -> None:
    """Refuse learned tensors that are not as the program needs them, or cannot be read where they lie, on a CPU."""
    like = dtype, torch.device("cpu"), torch.strided
    for spec, tensor in zip(specs(program, sizes), weights):
        _check_kind(spec.name, tensor, (spec.shape, *like))
        if readable(spec.name, tensor) is not tensor or not tensor.is_contiguous():
            raise ValueError(
                f"{spec.name} is read where it lies, so it must be contiguous, with its numbers in memory as they are; "
                f"got strides {tensor.stride()}{', a sign put off' * tensor.is_neg()}"
            )


def check_devices(x: Tensor, others: Sequence[Tensor | None]) -> None:
    """Refuse tensors on another device than x: where one is on "meta", PyTorch computes nothing and says nothing."""
    for tensor in others:
        if tensor is not None and tensor.device != x.device:
            raise ValueError(
                f"all tensors must be on one device; x is on {x.device}, got {_described(_kind(tensor))} beside it"
            )


def _readable_as_they_are(tensors: Sequence[Tensor]) -> bool:
    """Whether `readable` has nothing to do, as far as that can be seen at once; each call of a short sequence asks."""
    if (
        not _PLAIN.issuperset(map(type, tensors))
        or 0 in map(Tensor.data_ptr, tensors)
        or any(map(Tensor.is_neg, tensors))
        or not all(map(Tensor.is_contiguous, tensors))
    ):
        return False
    for tensor in tensors:
        if tensor.untyped_storage().nbytes() < tensor.storage_offset() * tensor.itemsize + tensor.nbytes:
            return False
    return True


def _flat(inputs: Inputs) -> list[Tensor]:
    """All tensors of a run, in one order."""
    tensors = [inputs.x, *inputs.state, *inputs.home, *inputs.weights, *inputs.masks]
    if inputs.lengths is not None:
        tensors.append(inputs.lengths)
    if inputs.reset is not None:
        tensors.append(inputs.reset)
    return tensors


def _like(inputs: Inputs, tensors: Sequence[Tensor]) -> Inputs:
    """A run of other tensors, which are in the order of `_flat`."""
    left = iter(tensors)
    x = next(left)
    state, home, weights, masks = (
        [next(left) for _ in part] for part in (inputs.state, inputs.home, inputs.weights, inputs.masks)
    )
    lengths = None if inputs.lengths is None else next(left)
    reset = None if inputs.reset is None else next(left)
    return Inputs(x, state, home, weights, masks, lengths, reset, inputs.reverse)


def _names(program: Program, inputs: Inputs) -> list[str]:
    """What the tensors of a run are called, in the order of `_flat`."""
    return [
        "x",
        *(f"the initial {name}" for name in program.states),
        *(f"the {name} that a reset returns to" for name, _ in zip(program.states, inputs.home)),
        *names(program),
        *(f"the mask {mask.name}" for mask in program.masks),
        *([] if inputs.lengths is None else ["lengths"]),
        *([] if inputs.reset is None else ["reset"]),
    ]


@functools.lru_cache(maxsize=1024)
def _expected(
    program: Program,
    of_x: tuple[Any, ...],
    counts: tuple[int, int, int, int],
    first_state: tuple[int, ...],
    first_weight: tuple[int, ...],
    lengths: bool,
    reset: bool,
) -> list[Kind]:
    """How the tensors of a run must be, in the order of `_flat`.

    Args:
        program: the program.
        of_x: shape, dtype and device of x.
        counts: how many states, home states, weights and masks are given.
        first_state, first_weight: their shapes; the weight's where there is a projection.
        lengths, reset: whether they are given.
    """
    shape, *like = of_x
    like.append(torch.strided)
    if len(shape) != 3:
        raise ValueError(f"x must have 3 dimensions; got {_described((shape, *like))}")
    for name, count, needed in zip(("state", "home", "weights", "masks"), counts, _counts(program, counts[1] > 0)):
        if count != needed:
            raise ValueError(f"{name} must hold {needed} tensors; got {count}")
    steps, batch, features = shape
    hidden, output = _widths(program, first_state, first_weight)
    widths = [output, *[hidden] * (len(program.states) - 1)]
    expected = [shape, *((batch, width) for width in widths)]
    expected += [(width,) for width in widths] if counts[1] else []
    expected += [spec.shape for spec in specs(program, Sizes(features, hidden, output))]
    for mask in program.masks:
        rows = (steps, batch) if mask.per == "step" else (batch,)
        expected.append((*rows, output if mask.wide == "output" else hidden))
    return [
        *((tuple(shape), *like) for shape in expected),
        *([((batch,), torch.int64, *like[1:])] if lengths else []),
        *([((steps, batch), torch.bool, *like[1:])] if reset else []),
    ]


def _counts(program: Program, home: bool) -> tuple[int, int, int, int]:
    """How many states, home states, weights and masks a program needs."""
    states = len(program.states)
    return states, states if home else 0, len(names(program)), len(program.masks)


def _widths(program: Program, first_state: tuple[int, ...], first_weight: tuple[int, ...]) -> tuple[int, int]:
    """How wide a state and the output are: without a projection as wide as the first state."""
    output = first_state[-1] if len(first_state) == 2 else 0
    hidden = output
    if program.projection:
        hidden = first_weight[0] // len(program.gates) if first_weight else 0
    if hidden < 1 or output < 1 or hidden % program.heads or output % program.heads:
        raise ValueError(
            f"the first state must be a matrix (B, P), with P at least 1 and in {program.heads} equal blocks; got "
            f"{tuple(first_state)}, where there are {hidden} units"
        )
    return hidden, output


def _check_count(name: str, given: Sequence[object], count: int) -> None:
    if len(given) != count:
        raise ValueError(f"{name} must hold {count} tensors; got {len(given)}")


def _check_kind(name: str, tensor: Tensor, kind: Kind) -> None:
    if _kind(tensor) != kind:
        raise ValueError(f"{name} must be {_described(kind)}; got {_described(_kind(tensor))}")


def _described(kind: Kind) -> str:
    shape, dtype, device, layout = kind
    laid = "" if layout == torch.strided else f", laid out as {layout}"
    return f"{tuple(shape)} of {dtype} on {device}{laid}"
