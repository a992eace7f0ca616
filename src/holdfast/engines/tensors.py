"""What is looked at before an engine reads a tensor: shape, dtype, device, layout and memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from operator import attrgetter, lt
from typing import NamedTuple

import torch
from torch import Tensor

from holdfast.language import Program

from .inputs import Inputs, check_lengths
from .parameters import Sizes, names, specs

PLAIN = frozenset((Tensor, torch.nn.Parameter))

_ADDRESSED = ("cpu", "cuda")  # where kernels of ours run; elsewhere an address may mean nothing

Kind = tuple[tuple[int, ...], torch.dtype, torch.device, torch.layout]
_kind: Callable[[Tensor], Kind] = attrgetter("shape", "dtype", "device", "layout")  # faster than one by one
_room = torch.UntypedStorage.nbytes


class Signature:
    """A program and how all tensors of a run are: they were seen to be as the program needs them.

    There is one object for all calls of one signature, so that an engine can remember by it how it runs them.

    Attributes:
        program: the program.
        form: what the tensors are.
        shape: (T, B, I).
        dtype: of all numbers.
        hidden, output: H and P.
        weights: the shapes of the learned tensors, by name.
        results: what the gradients of a run's visible results are called and must be: of the output, the final states,
            and in a trace the other states and the shown values.
        saved: what a run saves for the way back, by engine and whether it is traced.
    """

    def __init__(self, program: Program, form: Form, kinds: Sequence[Kind]) -> None:
        self.program, self.form = program, form
        shape, self.dtype = kinds[0][:2]
        self.shape: tuple[int, int, int] = tuple(shape)  # type: ignore[assignment]
        first = 1 + form.state + form.home
        shapes = [tuple(kind[0]) for kind in kinds]
        self.hidden, self.output = _widths(program, shapes[1], shapes[first])
        self.weights = dict(zip(names(program), shapes[first : first + form.weights]))
        self.device = kinds[0][2]
        self.saved: dict[tuple[object, bool], list[Kind]] = {}
        traced = [*program.states[1:], *(name for name, _ in program.shown)]
        shapes = [(*self.shape[:2], self.output), *shapes[1 : 1 + form.state]]
        shapes += [(*self.shape[:2], self.hidden) for _ in traced]
        called = ["the output", *(f"the final {name}" for name in program.states), *(f"the traced {n}" for n in traced)]
        self.results = [(f"the gradient of {name}", self.kind(shape)) for name, shape in zip(called, shapes)]

    def kind(self, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Kind:
        """Of a tensor that goes with the run's, in its dtype or another."""
        return shape, dtype or self.dtype, self.device, torch.strided


def checked(program: Program, inputs: Inputs) -> tuple[Signature, Inputs]:
    """What a run is given, as an engine can read it: what PyTorch has put off (a sign, zeros) is made up for.

    Raises:
        TypeError, ValueError: a tensor is not as the program needs it, or has no memory.
    """
    tensors = flat(inputs)
    signature = signed(program, inputs, tensors)
    if not _readable_as_they_are(tensors):
        tensors = [readable(name, t) for name, t in zip(_names(program, inputs), tensors)]
        inputs, _ = formed(signature.form, tensors)
    if inputs.lengths is not None:
        check_lengths(inputs.lengths, inputs.x.shape[0])
    return signature, inputs


def signed(program: Program, inputs: Inputs, tensors: Sequence[Tensor]) -> Signature:
    """Refuse tensors of another shape, dtype, device or layout than the program needs, whatever wraps them.

    Args:
        program: the program.
        inputs: what it is to run on.
        tensors: all of them, in the order of `flat`.
    """
    kinds = tuple(map(_kind, tensors))
    signature = _signature(program, form(inputs), kinds)
    if signature is None:
        for name, tensor, kind in zip(_names(program, inputs), tensors, _expected(program, form(inputs), kinds)):
            _check_kind(name, tensor, kind)
        raise AssertionError("tensors that are as they must be have a signature")
    return signature


@functools.lru_cache(maxsize=1024)
def _signature(program: Program, form: Form, kinds: tuple[Kind, ...]) -> Signature | None:
    """The signature of such tensors, if they are as the program needs them; each call asks, so it is remembered."""
    return Signature(program, form, kinds) if [*kinds] == _expected(program, form, kinds) else None


def forget_signatures() -> None:
    """Look at all tensors anew, with what engines remember by a signature, for who has changed what they go by."""
    _signature.cache_clear()


def checked_saved(saved: Sequence[Tensor], kinds: Sequence[Kind]) -> list[Tensor]:
    """What a run saved, as its engine can read it for the way back."""
    _check_count("saved", saved, len(kinds))
    return [t.contiguous() for t in _as_read([f"saved[{k}]" for k in range(len(kinds))], saved, kinds)]


def checked_gradients(
    signature: Signature,
    output: Tensor | None,
    final: Sequence[Tensor | None],
    traced: Sequence[Tensor | None],
    trace: bool,
) -> tuple[Tensor | None, list[Tensor | None], list[Tensor | None]]:
    """The gradients that arrive at a run's results, as an engine can read them."""
    states = len(signature.program.states)
    named = signature.results if trace else signature.results[: 1 + states]
    _check_count("the gradients of the final states", final, states)
    _check_count("the gradients of the traced values", traced, len(named) - 1 - states)
    gradients = [output, *final, *traced]
    arriving = [k for k, gradient in enumerate(gradients) if gradient is not None]
    names, kinds = [named[k][0] for k in arriving], [named[k][1] for k in arriving]
    for k, gradient in zip(arriving, _as_read(names, [g for g in gradients if g is not None], kinds)):
        gradients[k] = gradient
    return gradients[0], gradients[1 : 1 + states], gradients[1 + states :]


def _as_read(names: Sequence[str], tensors: Sequence[Tensor], kinds: Sequence[Kind]) -> Sequence[Tensor]:
    """Tensors of the kinds that they must be, as they can be read by their addresses."""
    if [*map(_kind, tensors)] != [*kinds]:
        for name, tensor, kind in zip(names, tensors, kinds):
            _check_kind(name, tensor, kind)
    if _readable_as_they_are(tensors):
        return tensors
    return [readable(name, tensor) for name, tensor in zip(names, tensors)]


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
        not PLAIN.issuperset(map(type, tensors))
        or any(map(Tensor.is_neg, tensors))
        or not all(map(Tensor.is_contiguous, tensors))
    ):
        return False
    if not all(map(Tensor.data_ptr, tensors)) and any(t.nbytes and not t.data_ptr() for t in tensors):
        return False  # only an empty tensor may lie nowhere
    rooms = map(_room, map(Tensor.untyped_storage, tensors))
    needed = [t.storage_offset() * t.itemsize + t.nbytes for t in tensors]
    return not any(map(lt, rooms, needed))


def flat(inputs: Inputs) -> list[Tensor]:
    """All tensors of a run, in one order."""
    tensors = [inputs.x, *inputs.state, *inputs.home, *inputs.weights, *inputs.masks]
    if inputs.lengths is not None:
        tensors.append(inputs.lengths)
    if inputs.reset is not None:
        tensors.append(inputs.reset)
    return tensors


class Form(NamedTuple):
    """What the tensors of a run are, in the order of `flat`: how many there are of each, and which way time runs."""

    state: int
    home: int
    weights: int
    masks: int
    lengths: bool
    reset: bool
    reverse: bool


def form(inputs: Inputs) -> Form:
    """What the tensors of a run are."""
    _, state, home, weights, masks, lengths, reset, reverse = inputs
    return Form(len(state), len(home), len(weights), len(masks), lengths is not None, reset is not None, reverse)


def formed(form: Form, tensors: Sequence[Tensor]) -> tuple[Inputs, Sequence[Tensor]]:
    """A run of such a form, from its tensors in the order of `flat`; and those that follow."""
    state = 1 + form.state
    home = state + form.home
    weights = home + form.weights
    masks = weights + form.masks
    lengths = masks + form.lengths
    end = lengths + form.reset
    inputs = Inputs(
        tensors[0],
        tensors[1:state],
        tensors[state:home],
        tensors[home:weights],
        tensors[weights:masks],
        tensors[masks] if form.lengths else None,
        tensors[lengths] if form.reset else None,
        form.reverse,
    )
    return inputs, tensors[end:]


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


def _expected(program: Program, form: Form, kinds: Sequence[Kind]) -> list[Kind]:
    """How the tensors of a run must be, in the order of `flat`, by what x, the first state and weights are."""
    shape, dtype, device, _ = kinds[0]
    if len(shape) != 3:
        raise ValueError(f"x must have 3 dimensions; got {_described(kinds[0])}")
    needed = _counts(program, form.home > 0)
    for name, count, right in zip(("state", "home", "weights", "masks"), form, needed):
        if count != right:
            raise ValueError(f"{name} must hold {right} tensors; got {count}")
    steps, batch, features = shape
    first_state = kinds[1][0] if form.state else ()
    first_weight = kinds[1 + form.state + form.home][0] if form.weights else ()
    hidden, output = _widths(program, first_state, first_weight)
    widths = [output, *[hidden] * (len(program.states) - 1)]
    expected = [shape, *((batch, width) for width in widths)]
    expected += [(width,) for width in widths] if form.home else []
    expected += [spec.shape for spec in specs(program, Sizes(features, hidden, output))]
    for mask in program.masks:
        rows = (steps, batch) if mask.per == "step" else (batch,)
        expected.append((*rows, output if mask.wide == "output" else hidden))
    found: list[Kind] = [(tuple(shape), dtype, device, torch.strided) for shape in expected]
    if form.lengths:
        found.append(((batch,), torch.int64, device, torch.strided))
    if form.reset:
        found.append(((steps, batch), torch.bool, device, torch.strided))
    return found


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
